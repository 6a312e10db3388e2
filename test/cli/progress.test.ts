// Progress: a bar on a terminal, lines elsewhere, nothing when quiet. And figures for people.

import { Writable } from 'node:stream';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Printer } from '../../cli/printer.ts';
import { Progress } from '../../cli/progress.ts';
import type { Shell } from '../../cli/shell.ts';
import { formatBytes, formatCount, formatDuration, plural, printable } from '../../cli/text.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

function shellOf(isTTY: boolean): { written: string[]; shell: Pick<Shell, 'stderr'> } {
  const written: string[] = [];
  const stream = new Writable({
    decodeStrings: false,
    write: (text: string, _encoding, done) => {
      written.push(text);
      done();
    },
  });
  return { written, shell: { stderr: new Printer(Object.assign(stream, { isTTY, columns: 80 })) } };
}

test('in a pipe: a line every few seconds, with rate and time left', () => {
  const { written, shell } = shellOf(false);
  const progress = new Progress(shell, 1000, { label: 'recording', unit: 'packets' });
  for (let second = 1; second <= 12; second++) {
    vi.advanceTimersByTime(1000);
    progress.update(second * 50, second * 100);
  }
  progress.stop();
  expect(written).toEqual([
    'recording: 25%, 500 packets, 100/s, 15.0 s left\n',
    'recording: 50%, 1,000 packets, 100/s, 10.0 s left\n',
  ]);
});

test('quiet says nothing', () => {
  const { written, shell } = shellOf(false);
  const progress = new Progress(shell, 10, { label: 'x', unit: 'y', quiet: true });
  vi.advanceTimersByTime(60_000);
  progress.update(5, 5);
  progress.stop();
  expect(written).toEqual([]);
});

test('of an unknown total there is a count, and it is wiped at the end', () => {
  const { written, shell } = shellOf(true);
  const progress = new Progress(shell, 0, { label: 'recording', unit: 'exchanges' });
  vi.advanceTimersByTime(1000);
  progress.update(0, 10, '1 connection');
  progress.stop();
  expect(written).toEqual(['\r\u001b[Krecording: 10 exchanges, 10/s, 1 connection', '\r\u001b[K']);
});

test.each([
  [formatCount(1234567), '1,234,567'],
  [plural(1, 'exchange'), '1 exchange'],
  [plural(2, 'exchange'), '2 exchanges'],
  [formatBytes(512), '512 B'],
  [formatBytes(3_400_000), '3.4 MB'],
  [formatBytes(250_000_000), '250 MB'],
  [formatDuration(0.85), '850 ms'],
  [formatDuration(4.23), '4.2 s'],
  [formatDuration(200), '3 min 20 s'],
  [formatDuration(7500), '2 h 5 min'],
  [printable(Buffer.from('a\u001b[2J\\\n')), 'a\\x1b[2J\\\\\\x0a'],
  [printable(Buffer.from('abcdef'), 3), 'abc… (6 bytes)'],
])('%s', (got, expected) => expect(got).toBe(expected));
