// Workers that are killed, as processes, and what becomes of the run; `npm run proof cluster` kills many, at random moments.

import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { startRedis, type RedisServer } from '../../fixtures/redis.ts';
import { runMemtape } from '../support/cli.ts';
import { program } from '../support/endings.ts';
import { startMemcached, type Memcached } from '../support/memcached.ts';
import { batchOf, temporary, writeTape } from '../support/tape.ts';

let redis: RedisServer;
let memcached: Memcached;
beforeAll(async () => {
  redis = await startRedis();
  memcached = await startMemcached();
});
afterAll(async () => {
  await redis.stop();
  await memcached.stop();
});

const processes: ChildProcess[] = [];
afterEach(() => {
  for (const child of processes.splice(0)) child.kill('SIGKILL');
});

function worker(): { child: ChildProcess; said: () => string } {
  const child = spawn(process.execPath, [program, 'cluster', 'worker', '--redis', redis.url], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  processes.push(child);
  return { child, said: () => said };
}

test('a worker that is killed while it replays: aborted, with the shard and the time, and the others are shown', async () => {
  const tape = temporary('some.tape');
  const exchanges = Array.from({ length: 1500 }, (_, n) => ({
    op: 'set',
    key: `k${n % 97}`,
    value: 'v',
    connection: n % 8,
    at: n * 4000,
  }));
  await writeTape(tape, [batchOf(exchanges)]);
  const workers = [worker(), worker()];
  const json = temporary('report.json');
  let said = '';
  const args = [
    'cluster',
    'run',
    tape,
    '--target',
    memcached.address,
    '--workers',
    '2',
    '--redis',
    redis.url,
  ];
  const ran = runMemtape([...args, '--silence', '3s', '--json', json, '--timeout', '5s'], {
    onPrint: (text) => (said += text),
  });
  await vi.waitUntil(() => said.includes('2 workers are ready'), 60_000);
  await sleep(3_000);
  workers[0]!.child.kill('SIGKILL');
  const { code } = await ran;
  const { verdict, shards, exchanges: counts } = JSON.parse(readFileSync(json, 'utf8'));
  const lost = shards.all.flatMap((shard: { lost: string | null }) =>
    shard.lost === null ? [] : [shard.lost],
  );
  expect([code, verdict, lost]).toEqual([
    5,
    'aborted',
    [expect.stringMatching(/^was last heard of (at \d+\.\d s|before the start), and handed nothing in$/)],
  ]);
  expect(counts.matched).toBeGreaterThan(500);
});
