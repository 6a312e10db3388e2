// The interval of a share: it holds the true one as often as it says.

import { expect, test } from 'vitest';
import { exactInterval, smallestSeen } from '../../audit/interval.ts';
import { Random } from '../../synth/laws/random.ts';

test('the interval is that of tables', () => {
  // Clopper and Pearson, 95%.
  const known: [count: number, of: number, low: number, high: number][] = [
    [0, 10, 0, 0.3085],
    [1, 10, 0.0025, 0.445],
    [5, 10, 0.1871, 0.8129],
    [10, 10, 0.6915, 1],
    [0, 100, 0, 0.0362],
    [3, 1000, 0.0006, 0.0087],
  ];
  for (const [count, of, low, high] of known) {
    const interval = exactInterval(count, of);
    expect(interval[0]).toBeCloseTo(low, 3);
    expect(interval[1]).toBeCloseTo(high, 3);
  }
  expect(exactInterval(0, 0)).toEqual([0, 1]);
});

test('of very many reads it is still a number, and a narrow one', () => {
  const [low, high] = exactInterval(0, 1e9);
  expect(low).toBe(0);
  expect(high).toBeCloseTo(3.689e-9, 11);
  const [from, to] = exactInterval(1000, 1e9);
  expect(from).toBeGreaterThan(0.93e-6);
  expect(to).toBeLessThan(1.07e-6);
});

test('of a thousand simulations with a known share it holds that share at least as often as it says', () => {
  const random = new Random(20261130);
  for (const share of [1e-4, 1e-3, 0.02, 0.5]) {
    let held = 0;
    const of = share < 0.01 ? 20_000 : 2000;
    for (let run = 0; run < 1000; run++) {
      // Gaps between hits of a coin: as many draws as the share has hits.
      let count = 0;
      for (let at = gap(random, share); at < of; at += 1 + gap(random, share)) count++;
      const [low, high] = exactInterval(count, of);
      if (low <= share && share <= high) held++;
    }
    expect({ share, isHeld: held >= 940 }).toEqual({ share, isHeld: true });
  }
});

test('a share that small would have been seen', () => {
  expect(smallestSeen(3000)).toBeCloseTo(0.000998, 5);
  expect(smallestSeen(0)).toBe(1);
});

function gap(random: Random, share: number): number {
  return Math.floor(Math.log(1 - random.float()) / Math.log1p(-share));
}
