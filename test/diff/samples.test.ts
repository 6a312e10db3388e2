// Durations in classes become the histogram that they would have made one by one.

import fc from 'fast-check';
import { build } from 'hdr-histogram-js';
import { expect, test } from 'vitest';
import { Samples } from '../../diff/samples.ts';

test('the same as a histogram of each of them', () => {
  const micros = fc.oneof(
    fc.integer({ min: 0, max: 600 }),
    fc.integer({ min: 0, max: 120_000_000 }),
    fc.integer({ min: 0, max: 26 }).map((power) => 2 ** power),
    fc.integer({ min: 1, max: 26 }).map((power) => 2 ** power - 1),
  );
  fc.assert(
    fc.property(fc.array(micros, { minLength: 1, maxLength: 200 }), (all) => {
      const samples = new Samples();
      const expected = build({
        lowestDiscernibleValue: 1,
        highestTrackableValue: 120_000_000,
        numberOfSignificantValueDigits: 2,
        bitBucketSize: 32,
      });
      for (const value of all) {
        samples.record(value);
        expected.recordValue(value);
      }
      const histogram = samples.histogram();
      const read = (of: typeof expected): unknown => [
        of.totalCount,
        of.minNonZeroValue,
        of.maxValue,
        of.mean,
        ...[0, 10, 50, 90, 99, 99.9, 100].map((share) => of.getValueAtPercentile(share)),
      ];
      expect(read(histogram)).toEqual(read(expected));
    }),
    { numRuns: 1000 },
  );
});

test('what is longer than two minutes counts as two minutes', () => {
  const samples = new Samples();
  samples.record(500_000_000);
  expect(samples.histogram().getValueAtPercentile(50)).toBeGreaterThanOrEqual(120_000_000);
});

test('nothing makes an empty histogram', () => {
  expect(new Samples().histogram().totalCount).toBe(0);
});
