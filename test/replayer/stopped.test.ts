// Our own process is stopped for longer than the time-out: what was answered meanwhile is not late.

import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { encodeResponse } from '../../protocol/frame.ts';
import { Absences } from '../../replayer/absence.ts';
import { batchOf, temporary, writeTape, type ExchangeInit } from '../support/tape.ts';
import { startScripted } from '../support/target.ts';

describe('absences do not count', () => {
  const ms = 1e6;
  test.each([
    ['none', [], 1000],
    ['a tick a little late', [[990, 1000]], 1000],
    ['stopped within', [[200, 800]], 405],
    [
      'stopped twice',
      [
        [200, 400],
        [500, 900],
      ],
      410,
    ],
    ['stopped before, and on', [[-500, 100]], 900],
    ['stopped before', [[-500, -100]], 1000],
    ['stopped for longer than was waited', [[-500, 1000]], 0],
  ] as [string, [number, number][], number][])('%s', (_name, spans, waited) => {
    const absences = new Absences();
    const zero = 10_000 * ms;
    for (const [from, to] of spans) absences.see(zero + from * ms, zero + to * ms);
    expect(absences.waitedNs(zero, zero + 1000 * ms)).toBe(waited * ms);
  });

  test('a busy event loop does not wait for ever', () => {
    const absences = new Absences();
    for (let n = 1; n <= 100; n++) absences.see(n * 100 * ms, (n + 1) * 100 * ms);
    expect(absences.waitedNs(5000 * ms, 10_100 * ms)).toBeGreaterThan(250 * ms);
  });
});

test('memtape is stopped three times for 1.3 s, with requests under way: all of them match', async () => {
  const target = await startScripted(({ opcode, opaque }, socket) => {
    setTimeout(() => socket.write(encodeResponse({ opcode, opaque, status: 1 })), 100);
    return undefined;
  });
  const exchanges = Array.from({ length: 400 }, (_, n): ExchangeInit => {
    const at = n * 10_000;
    return { op: 'get', key: `k${n}`, status: 1, connection: n % 40, at, answeredAt: at + 100_000 };
  });
  const trace = temporary('stopped.tape');
  await writeTape(trace, [batchOf(exchanges)]);
  const main = new URL('../../dist/cli/main.js', import.meta.url).pathname;
  const args = ['replay', trace, '--target', target.address, '--timeout', '1s', '--json', '-', '--quiet'];
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (text: Buffer) => (output += text.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  while (target.requests.length < 50) await sleep(10);
  for (let n = 0; n < 3; n++) {
    child.kill('SIGSTOP');
    await sleep(1300);
    child.kill('SIGCONT');
    await sleep(300);
  }
  expect(await ended).toBe(0);
  await target.stop();
  const { exchanges: counts, incidents } = JSON.parse(output) as {
    exchanges: Record<string, number>;
    incidents: { count: number };
  };
  expect([counts, incidents.count]).toMatchObject([{ matched: 400, violations: 0, skipped: 0 }, 0]);
});
