// How many workers a rate takes: the arithmetic beside a count by hand, and the command.

import { describe, expect, test } from 'vitest';
import { demandOf, planOf } from '../../cluster/plan.ts';
import { Random } from '../../synth/laws/random.ts';
import { TraceReader } from '../../trace/file.ts';
import { memtape } from '../support/cli.ts';
import { randomBatches, shardsOf } from '../support/divided.ts';
import { batchOf, temporary, writeTape } from '../support/tape.ts';

async function demanded(path: string): ReturnType<typeof demandOf> {
  const trace = await TraceReader.open(path);
  try {
    return await demandOf(trace);
  } finally {
    await trace.close();
  }
}

test.each([1, 2, 3])('the fullest shard is the one that the rule makes (seed %i)', async (seed) => {
  const random = new Random(seed);
  const path = temporary('some.tape');
  await writeTape(path, randomBatches(random, 1500));
  const demand = await demanded(path);
  const rate = 100_000;
  const plan = planOf(demand, { rate, measured: 60_000, headroom: 0.5, targets: 3 });
  expect(plan.workers).toBeGreaterThanOrEqual(rate / 30_000);
  const shards = await shardsOf(path, plan.workers!);
  const keyed = Array.from({ length: plan.workers! }, (_, n) => shards.filter((shard) => shard === n).length);
  // What has no key counts as spread evenly, and goes with the keys before it.
  expect(Math.abs(plan.fullest!.share - Math.max(...keyed) / shards.length)).toBeLessThan(0.15);
  expect(plan.fullest!.rate).toBeLessThanOrEqual(30_000);
  expect(plan.connections).toBe(demand.connections * plan.workers! * 3);
});

test('figures of a trace that can be counted by hand', async () => {
  const path = temporary('some.tape');
  const one = { op: 'get', key: 'abcd', answer: '0123456789', at: 0 };
  await writeTape(path, [
    batchOf([
      one,
      { ...one, key: 'efgh', at: 500_000 },
      { ...one, connection: 1, at: 1_000_000 },
      { ...one, op: 'noop', key: '', answer: '', at: 2_000_000 },
    ]),
  ]);
  const demand = await demanded(path);
  expect(demand).toMatchObject({ exchanges: 4, seconds: 2, connections: 2, keys: 2, hottest: 0.5 });
  expect(demand.requestBytes).toBe(24 + (3 * 4) / 4);
  // An answer to a GET has four bytes of flags.
  expect(demand.answerBytes).toBe(24 + (3 * 14) / 4);
  const plan = planOf(demand, { rate: 1000, measured: 1e6, headroom: 1, targets: 1 });
  expect(plan).toMatchObject({ workers: 1, why: null, speed: 500, fullest: { share: 1, rate: 1000 } });
  expect(plan.bandwidth.requests).toBe(1000 * (27 + 66) * 8);
  const hot = planOf(demand, { rate: 3_000_000, measured: 1e6, headroom: 1, targets: 1 });
  expect([hot.workers, hot.why]).toEqual([
    null,
    expect.stringContaining('one key has 50.00% of the requests'),
  ]);
});

describe('memtape cluster plan', () => {
  test('measures a worker, and shows the arithmetic', async () => {
    const { code, stdout } = await memtape(
      'cluster',
      'plan',
      'etc',
      '--rate',
      '20k',
      '--requests',
      '3000',
      '--quiet',
    );
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(/a worker +measured here [\d,]+\/s as fast as it goes; × 0\.5/),
    ]);
    expect(stdout).toMatch(/memtape cluster run etc --rate 20000 --workers \d+ --redis/);
  });

  test('as JSON; and up to ten million a second', async () => {
    const args = ['etc', '--rate', '10M', '--measured', '90k', '--requests', '20000', '--json', '--quiet'];
    const { code, stdout } = await memtape('cluster', 'plan', ...args);
    const plan = JSON.parse(stdout);
    expect([code, plan.format]).toEqual([0, 'memtape-plan/1']);
    expect(plan.workers).toBeGreaterThan(222);
    expect(plan.fullest.rate).toBeLessThanOrEqual(45_000);
  });

  test.each([
    [['etc'], "required option '--rate <rate>' not specified"],
    [['etc', '--rate', '0'], '--rate: expected a rate above 0, got "0"'],
    [['etc', '--rate', '1M', '--headroom', '2'], '--headroom: expected a share above 0 and up to 1'],
    [['nothing.tape', '--rate', '1M'], 'cannot read'],
  ])('%j', async (args, message) => {
    const { code, stderr } = await memtape('cluster', 'plan', ...args);
    expect([code, stderr]).toEqual([2, expect.stringContaining(message)]);
  });

  test('a key that one worker cannot send alone: said, exit 2', async () => {
    const path = temporary('hot.tape');
    await writeTape(path, [
      batchOf(
        Array.from({ length: 50 }, (_, n) => ({ op: 'get', key: n < 40 ? 'hot' : `k${n}`, status: 1 })),
      ),
    ]);
    const { code, stdout } = await memtape(
      'cluster',
      'plan',
      path,
      '--rate',
      '1M',
      '--measured',
      '100k',
      '--quiet',
    );
    expect([code, stdout]).toEqual([
      2,
      expect.stringContaining('no number of them is enough: one key has 80.00% of the requests'),
    ]);
  });
});
