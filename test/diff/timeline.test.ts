// Bins of time: nothing is lost as they grow wider, and percentiles are near the truth.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Timeline } from '../../diff/timeline.ts';

test('every count is in the bin of its time, however long it becomes', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 5e12 })), { minLength: 1 }),
      (counted) => {
        const timeline = new Timeline(3);
        for (const [target, atNs] of counted) timeline.bin(target, timeline.index(atNs)).requests++;
        expect(timeline.length).toBeLessThanOrEqual(240);
        for (const [target, bins] of timeline.targets.entries())
          for (const [n, { requests }] of bins.entries())
            expect(requests).toBe(
              counted.filter(([of, atNs]) => of === target && Math.floor(atNs / timeline.binNs) === n).length,
            );
      },
    ),
  );
});

test('percentiles, to a tenth', () => {
  const timeline = new Timeline(1);
  for (let n = 1; n <= 10_000; n++) timeline.latency('fromSent', timeline.index(n), n);
  timeline.bin(0, timeline.index(2e6)).requests++;
  const [p50] = timeline.percentile('fromSent', 0.5);
  const [p99] = timeline.percentile('fromSent', 0.99);
  expect(Math.abs(p50! / 5000 - 1)).toBeLessThan(0.1);
  expect(Math.abs(p99! / 9900 - 1)).toBeLessThan(0.1);
  expect(timeline.percentile('fromSent', 0.5)[2]).toBe(null);
});
