// When requests are due: by the recording, by a rate, over a stretch of the trace, over and over.

import { describe, expect, test } from 'vitest';
import { startServer } from '../../embedded/server.ts';
import { parseDuration, parseRate } from '../../config/units.ts';
import {
  parseRatePlan,
  rateSchedule,
  recordedSchedule,
  requestsWithin,
  type RatePlan,
} from '../../replayer/schedule.ts';
import { startMemcached } from '../support/memcached.ts';
import { kindsOf, replayed } from '../support/replay.ts';
import type { ExchangeInit } from '../support/tape.ts';

const plan = (text: string): RatePlan => parseRatePlan(text, parseRate, parseDuration);
const dueSeconds = (text: string, index: number): number => rateSchedule(plan(text), 0).dueNs(index, 0) / 1e9;
const within = (text: string, seconds: number): number => requestsWithin(plan(text), seconds);

describe('rates', () => {
  test('the recorded times, scaled', () => {
    expect(recordedSchedule(10).dueNs(5, 2e9)).toBe(2e8);
  });

  test('constant', () => {
    expect([0, 1, 50_000, 1_500_000].map((index) => dueSeconds('50k', index))).toEqual([
      0,
      1 / 50_000,
      1,
      30,
    ]);
  });

  test('rising: after the ramp as many as its area says, and then the last rate', () => {
    // 10k..30k over 10 s: 200,000 requests; half the time gives 10k · 5 + 2k · 25 / 2 = 75,000.
    const text = '10k..30k over 10s';
    expect(dueSeconds(text, 75_000)).toBeCloseTo(5, 9);
    expect(dueSeconds(text, 200_000)).toBeCloseTo(10, 9);
    expect(dueSeconds(text, 230_000)).toBeCloseTo(11, 9);
  });

  test('within a time: as many as have their time in it', () => {
    expect(within('50k', 2)).toBe(100_000);
    expect(within('10k..30k over 10s', 5)).toBe(75_000);
    expect(within('10k..30k over 10s', 11)).toBe(230_000);
    expect(within('10k..30k in 3 steps over 30s', 20)).toBe(300_000);
  });

  test('falling, and in steps', () => {
    expect(dueSeconds('30k..10k over 10s', 200_000)).toBeCloseTo(10, 9);
    const steps = '10k..30k in 3 steps over 30s';
    expect([100_000, 300_000, 330_000].map((index) => dueSeconds(steps, index))).toEqual([10, 20, 21]);
  });

  test('never goes back, and can be asked out of turn', () => {
    const schedule = rateSchedule(plan('1k..50k over 3s'), 0);
    let before = -1;
    for (let index = 0; index < 100_000; index++) {
      const due = schedule.dueNs(index, 0);
      expect(due).toBeGreaterThan(before);
      before = due;
    }
    expect(schedule.dueNs(0, 0)).toBe(0);
  });

  test.each([
    '',
    '0',
    'fast',
    '10k..',
    '10k..20k',
    '10k 20k',
    '1..2 in 1 steps over 3s',
    '10k..20k over never',
  ])('"%s" is none', (text) => expect(() => plan(text)).toThrow(/expected/));
});

/** Sets of keys 0 to 9, 10 ms apart, each read again 5 ms later. */
const exchanges: ExchangeInit[] = Array.from({ length: 10 }, (_, n): ExchangeInit[] => [
  { op: 'set', key: `k${n}`, value: `v${n}`, at: n * 10_000 },
  { op: 'get', key: `k${n}`, answer: `v${n}`, at: n * 10_000 + 5_000 },
]).flat();

describe('stretches', () => {
  test('from and to: only these, at their place in the stretch, with what was there before set', async () => {
    const server = await startMemcached();
    try {
      // From between the set and the get of k3 to just before the get of k7.
      const report = await replayed(exchanges, {
        targets: [server.address],
        fromNs: 32e6,
        toNs: 75e6,
      });
      expect([report.verdict, report.exchanges.total, report.exchanges.matched]).toEqual(['pass', 8, 8]);
      expect(report.prefill.keys).toBe(1);
      expect(report.schedule.durationSeconds).toBeLessThan(0.06);
      await expect(replayed(exchanges, { targets: [server.address], fromNs: 1e9 })).rejects.toThrow(
        /no exchange between/,
      );
    } finally {
      await server.stop();
    }
  });

  test('examples name the exchange of the trace, whatever part of it was replayed', async () => {
    const server = await startServer();
    // The recording is at odds with itself: what the server answers is right.
    const wrong = exchanges.map((one) =>
      one.key === 'k5' && one.op === 'get' ? { ...one, answer: 'v' } : one,
    );
    const report = await replayed(wrong, { targets: [server.address], fromNs: 20e6, loops: 3 });
    await server.stop();
    expect(kindsOf(report)).toEqual(['drift unexplained 3']);
    expect(report.findings[0]!.examples.map(({ index }) => index)).toEqual([11, 11, 11]);
  });

  test('loops: each turn after the one before, judged by what the turns before did', async () => {
    const server = await startMemcached();
    try {
      const counted: ExchangeInit[] = [
        ...exchanges,
        { op: 'get', key: 'later', status: 1, at: 100_000 },
        { op: 'set', key: 'later', value: 'x', at: 101_000 },
      ];
      const report = await replayed(counted, { targets: [server.address], loops: 5, speed: 10 });
      // From the second turn on the key is there: found, and legal.
      expect([report.verdict, report.exchanges.total, report.drift]).toEqual(['pass', 110, { found: 4 }]);
      expect(report.schedule.durationSeconds).toBeGreaterThan(0.045);
    } finally {
      await server.stop();
    }
  });

  test('a rate in place of the recorded times', async () => {
    const server = await startMemcached();
    try {
      const rate = { plan: plan('200'), text: '200' };
      const report = await replayed(exchanges, { targets: [server.address], rate, loops: 3 });
      expect([report.verdict, report.schedule.targetRate]).toEqual(['pass', 200]);
      expect(report.schedule.durationSeconds).toBeGreaterThan(0.29);
      expect(report.schedule.durationSeconds).toBeLessThan(0.5);
    } finally {
      await server.stop();
    }
  });
});
