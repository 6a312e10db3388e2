// What `memtape info` says besides counts: the most frequent keys, sizes, the rate over time, tenants.

import fc from 'fast-check';
import { build } from 'hdr-histogram-js';
import { expect, test } from 'vitest';
import { Outcome } from '../../trace/batch.ts';
import { TraceReader } from '../../trace/file.ts';
import { Sizes } from '../../trace/sizes.ts';
import { summarise, type Summary } from '../../trace/summary.ts';
import { Top } from '../../trace/top.ts';
import { batchOf, connectionOf, temporary, writeTape, type ExchangeInit } from '../support/tape.ts';

async function summaryOf(exchanges: readonly ExchangeInit[], tenants: readonly string[]): Promise<Summary> {
  const path = temporary('some.tape');
  const connections = tenants.map((tenant, id) => ({ ...connectionOf(id), tenant }));
  await writeTape(path, exchanges.length === 0 ? [] : [batchOf(exchanges, connections)]);
  const trace = await TraceReader.open(path);
  try {
    return await summarise(trace);
  } finally {
    await trace.close();
  }
}

test('keys, sizes, hits, the rate and tenants of a small trace', async () => {
  const summary = await summaryOf(
    [
      { op: 'set', key: 'aa', value: 'x'.repeat(100), at: 0 },
      { op: 'get', key: 'aa', answer: 'x'.repeat(100), at: 10_000 },
      { op: 'get', key: 'b', status: 1, at: 20_000 },
      { op: 'getq', key: 'aa', outcome: Outcome.silent, at: 30_000, connection: 1 },
      { op: 'noop', at: 59_949, connection: 1 },
    ],
    ['', 'ann'],
  );
  expect(summary).toMatchObject({
    hitRatio: 1 / 3,
    topKeys: [
      { key: 'aa', exchanges: 3, share: 0.75 },
      { key: 'b', exchanges: 1, share: 0.25 },
    ],
    topKeysMissing: 0,
    keyBytes: { count: 4, mean: 1.8, p50: 2, max: 2 },
    valueBytes: { count: 2, mean: 100, p50: 100, p99: 100, max: 100 },
    tenants: [
      { tenant: '', exchanges: 3 },
      { tenant: 'ann', exchanges: 2 },
    ],
  });
  const { intervalSeconds, exchanges } = summary.rate;
  expect(intervalSeconds).toBeCloseTo(0.001, 5);
  expect([
    exchanges.length,
    exchanges[0],
    exchanges[10],
    exchanges[20],
    exchanges[30],
    exchanges[59],
  ]).toEqual([60, 1, 1, 1, 1, 1]);
});

test('a trace without exchanges has none of it', async () => {
  const none = { count: 0, mean: 0, p50: 0, p90: 0, p99: 0, max: 0 };
  expect(await summaryOf([], [])).toMatchObject({
    hitRatio: null,
    topKeys: [],
    keyBytes: none,
    valueBytes: none,
    tenants: [],
    rate: { exchanges: Array.from({ length: 60 }, () => 0) },
  });
});

test('top: never too high, and too low by what is missing at most', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(30), fc.integer({ min: 1, max: 20 }))), (list) => {
      const top = new Top(8, 4);
      const truth = new Map<string, number>();
      for (const [n, count] of list) {
        top.add(String(n), count);
        truth.set(String(n), (truth.get(String(n)) ?? 0) + count);
      }
      const total = [...truth.values()].reduce((sum, count) => sum + count, 0);
      const found = new Map(top.first(Infinity).map(({ name, count }) => [name, count]));
      expect(found.size).toBeLessThanOrEqual(8);
      expect(top.missing).toBeLessThanOrEqual(total / 5);
      for (const [name, count] of truth) {
        const counted = found.get(name) ?? 0;
        expect(counted).toBeLessThanOrEqual(count);
        expect(counted).toBeGreaterThanOrEqual(count - top.missing);
      }
    }),
  );
});

test('sizes: percentiles to three digits', () => {
  const sizes = new Sizes();
  for (let bytes = 1; bytes <= 100_000; bytes++) sizes.add(bytes);
  const { count, mean, p50, p90, p99, max } = sizes.percentiles;
  expect([count, mean, max]).toEqual([100_000, 50_000.5, 100_000]);
  for (const [found, wanted] of [
    [p50, 50_000],
    [p90, 90_000],
    [p99, 99_000],
  ] as const)
    expect(Math.abs(found - wanted)).toBeLessThan(wanted / 1000);
});

test('sizes: the figures of an HDR histogram', () => {
  const size = fc.oneof(fc.integer({ min: 0, max: 5000 }), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
  fc.assert(
    fc.property(fc.array(size, { maxLength: 300 }), (all) => {
      const sizes = new Sizes();
      const histogram = build({
        lowestDiscernibleValue: 1,
        highestTrackableValue: 2 ** 32,
        numberOfSignificantValueDigits: 3,
      });
      for (const bytes of all) {
        sizes.add(bytes);
        histogram.recordValue(bytes);
      }
      const max = Math.max(0, ...all);
      const at = (percentile: number): number =>
        all.length === 0 ? 0 : Math.min(max, histogram.getValueAtPercentile(percentile));
      const { p50, p90, p99 } = sizes.percentiles;
      expect([p50, p90, p99]).toEqual([at(50), at(90), at(99)]);
    }),
  );
});
