// `memtape cluster run` and `memtape cluster worker` with a real Redis: what each is asked for, and how runs end.

import { EventEmitter } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openRedis } from '../../cluster/redis.ts';
import { startRedis, type RedisServer } from '../../fixtures/redis.ts';
import { runMemtape, type Ran } from '../support/cli.ts';
import { startMemcached, type Memcached } from '../support/memcached.ts';
import { batchOf, temporary, writeTape, type ExchangeInit } from '../support/tape.ts';

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

/** Ten connections that set and read keys of their own trace. */
async function someTape(count = 400, everyMicros = 500): Promise<string> {
  const path = temporary('some.tape');
  const mark = path.slice(-16, -10);
  const exchanges = Array.from({ length: count }, (_, n): ExchangeInit => {
    const key = `${mark}-${n % 50}`;
    const common = { key, connection: n % 10, at: n * everyMicros };
    return n < 50 ? { ...common, op: 'set', value: `v${n}` } : { ...common, op: 'get', answer: `v${n % 50}` };
  });
  await writeTape(path, [batchOf(exchanges)]);
  return path;
}

interface Started {
  stop(): Promise<Ran>;
  said: () => string;
}

/** A worker in this process; its replays have one of their own. */
function worker(url = redis.url, ...args: string[]): Started {
  const signals = new EventEmitter();
  let said = '';
  const ran = runMemtape(['cluster', 'worker', '--redis', url, ...args], {
    signals,
    onPrint: (text) => (said += text),
  });
  return {
    said: () => said,
    stop: async () => {
      signals.emit('SIGINT');
      return ran;
    },
  };
}

const run = async (tape: string, ...args: string[]): Promise<Ran> =>
  runMemtape(['cluster', 'run', tape, '--target', memcached.address, ...args]);

describe('a run', () => {
  test('by two workers: one verdict, as of one replay, and nothing is left in Redis', async () => {
    const workers = [worker(), worker()];
    const [tape, results, json] = [await someTape(), temporary('all.results'), temporary('report.json')];
    const args = [
      '--workers',
      '2',
      '--redis',
      redis.url,
      '--results',
      results,
      '--json',
      json,
      '--run',
      'first',
    ];
    const { code, stdout, stderr } = await run(tape, ...args);
    expect([code, stderr]).toEqual([0, expect.stringContaining('2 of 2 shards handed their results in')]);
    expect(stdout).toMatch(/PASS {2}400 requests .*, by 2 shards that began within /);
    const report = JSON.parse(readFileSync(json, 'utf8'));
    expect(report.shards).toMatchObject({ run: 'first', of: 2, all: [{ lost: null }, { lost: null }] });
    expect(
      report.shards.all.every((shard: { uncertaintySeconds: number }) => shard.uncertaintySeconds < 0.05),
    ).toBe(true);
    expect(existsSync(results)).toBe(true);
    // The same workers take the next run, of a model.
    const model = await run(
      'etc',
      '--requests',
      '300',
      '--workers',
      '2',
      '--redis',
      redis.url,
      '--speed',
      'max',
    );
    expect([model.code, model.stdout]).toEqual([0, expect.stringMatching(/PASS {2}300 requests/)]);
    for (const one of workers) expect((await one.stop()).code).toBe(130);
    // What belongs to no run: the queue itself, and orders to whoever comes late, which go by themselves.
    const client = openRedis(new URL(redis.url));
    const left = await client.keys('*');
    client.disconnect();
    expect(
      left.filter(
        (key) => !/^memtape:(shards-[\d.]+:(meta|id|events|stalled-check)|run:.*:orders)$/.test(key),
      ),
    ).toEqual([]);
  });

  test('Ctrl-C: all workers end, and what there is is merged', async () => {
    const workers = [worker(), worker()];
    const signals = new EventEmitter();
    const tape = await someTape(4000, 5_000);
    const ran = runMemtape(
      ['cluster', 'run', tape, '--target', memcached.address, '--workers', '2', '--redis', redis.url],
      {
        signals,
        onPrint: (text) =>
          void (text.includes('workers are ready') && setTimeout(() => signals.emit('SIGINT'), 3000)),
      },
    );
    const { code, stdout } = await ran;
    expect([code, stdout]).toEqual([
      130,
      expect.stringMatching(/ABORTED {2}[\d,]+ requests[^]* is not whole.* was ended at .*interrupted/),
    ]);
    for (const one of workers) await one.stop();
  });
});

describe('what cannot be', () => {
  test.each([
    [['--workers', '2'], 2, 'expected --redis redis://HOST:6379, or MEMTAPE_REDIS in the environment'],
    [['--workers', '2', '--redis', 'localhost:6379'], 2, 'expected Redis as redis://HOST:6379'],
    [
      ['--workers', '2', '--redis', 'redis://127.0.0.1:1'],
      5,
      'cannot reach Redis at redis://127.0.0.1:1: connection refused',
    ],
    [
      ['--workers', '11', '--redis', 'redis://127.0.0.1:1'],
      2,
      'expected at most 10 workers, as many as the trace has connections',
    ],
    [
      ['--workers', '0', '--redis', 'redis://127.0.0.1:1'],
      2,
      '--workers: expected a whole number of at least 1',
    ],
    [
      ['--workers', '2', '--redis', 'redis://127.0.0.1:1', '--allow', 'flush'],
      2,
      'FLUSH acts on the keys of all shards',
    ],
  ])('%j', async (args, code, message) => {
    const ran = await run(await someTape(), ...args);
    expect([ran.code, ran.stderr]).toEqual([code, expect.stringContaining(message)]);
  });

  test('a wrong password, which is in no message; the environment has the right one', async () => {
    const locked = await startRedis(['--requirepass', 'open-sesame']);
    const tape = await someTape();
    for (const url of [locked.url, locked.url.replace('//', '//:wrong-word@')]) {
      const { code, stderr } = await run(tape, '--workers', '2', '--redis', url);
      expect([code, stderr]).toEqual([2, expect.stringContaining('refuses the password')]);
      expect(stderr).not.toContain('wrong-word');
    }
    const env = { MEMTAPE_REDIS: locked.url.replace('//', '//:open-sesame@') };
    const args = ['cluster', 'run', tape, '--target', memcached.address, '--workers', '2', '--wait', '100ms'];
    const { code, stderr } = await runMemtape(args, { env });
    expect([code, stderr]).toEqual([5, expect.stringContaining('0 of 2 workers came: start more of them')]);
    await locked.stop();
  });

  test('a Redis that evicts', async () => {
    const evicting = await startRedis(['--maxmemory-policy', 'allkeys-lru', '--maxmemory', '10mb']);
    const { code, stderr } = await run(await someTape(), '--workers', '2', '--redis', evicting.url);
    expect([code, stderr]).toEqual([2, expect.stringContaining('maxmemory-policy allkeys-lru')]);
    await evicting.stop();
  });
});
