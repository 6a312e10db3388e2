// The place of a recording: what stands there is not written over, whatever its name, and nobody else gets it.

import { execFileSync } from 'node:child_process';
import { existsSync, linkSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { Claim, checkApart, checkOutput } from '../../recorder/claim.ts';
import { temporary } from '../support/tape.ts';

const refused = (message: RegExp): object => ({
  code: 'BAD_OUTPUT',
  message: expect.stringMatching(message) as string,
});

function fails(work: () => unknown, message: RegExp): void {
  let error: unknown;
  try {
    work();
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toMatchObject(refused(message));
}

test('a path is taken once, for its owner alone, and given back where there was nothing to write', () => {
  const path = temporary('live.tape');
  const claim = Claim.take(path, false);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  fails(() => Claim.take(path, false), /is there already.*--force/);
  claim.release();
  expect(existsSync(path)).toBe(false);
  const other = Claim.take(path, false);
  other.use();
  other.release();
  expect(existsSync(path)).toBe(true);
});

test('a file that is there stays, unless it may be replaced; then nothing of it is shared', () => {
  const path = temporary('old.tape');
  writeFileSync(path, 'old');
  const link = join(dirname(path), 'link.tape');
  linkSync(path, link);
  fails(() => Claim.take(path, false), /is there already/);
  expect(readFileSync(path, 'utf8')).toBe('old');
  Claim.take(path, true).use();
  expect([readFileSync(path, 'utf8'), readFileSync(link, 'utf8')]).toEqual(['', 'old']);
});

test('who replaced the file has it; the other does not write into it, and does not take it away', () => {
  for (const end of ['release', 'remove'] as const) {
    const path = temporary(`${end}.tape`);
    const first = Claim.take(path, true);
    first.check();
    const second = Claim.take(path, true);
    fails(() => first.check(), /another command has replaced the file of this recording/);
    second.check();
    first[end]();
    expect(existsSync(path)).toBe(true);
    second[end]();
    expect(existsSync(path)).toBe(false);
  }
});

test('a folder, and a path without one, are refused', () => {
  const path = temporary('x.tape');
  fails(() => checkOutput(dirname(path), true), /expected a file, got a folder/);
  fails(() => checkOutput(join(path, 'y.tape'), true), /expected a folder|cannot write/);
});

test('the input is never the output, by a link of either kind', () => {
  const input = temporary('in.pcap');
  writeFileSync(input, 'capture');
  const hard = join(dirname(input), 'hard.pcap');
  const soft = join(dirname(input), 'soft.pcap');
  linkSync(input, hard);
  symlinkSync(input, soft);
  for (const output of [input, hard, soft])
    fails(() => checkApart(input, output), /would overwrite the capture/);
  checkApart(input, join(dirname(input), 'other.tape'));
});

test('under any umask it is the owner’s; a pipe is nobody’s, and stays', () => {
  const path = temporary('live.tape');
  const before = process.umask(0o777);
  try {
    Claim.take(path, false).use();
  } finally {
    process.umask(before);
  }
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const pipe = temporary('pipe');
  execFileSync('mkfifo', [pipe]);
  const claim = Claim.take(pipe, false);
  claim.use();
  claim.remove();
  expect(statSync(pipe).isFIFO()).toBe(true);
});
