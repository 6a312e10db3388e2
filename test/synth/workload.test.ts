// The workload: the same for the same seed, with the mix and the popularity that were asked for.

import { expect, test } from 'vitest';
import { Random, Zipf } from '../../synth/random.ts';
import { Workload, defaultWorkload } from '../../synth/workload.ts';

function steps(options: object): string {
  return JSON.stringify(new Workload(options).take(200));
}

test('a seed gives the same steps, another gives others, and so does another client', () => {
  expect(steps({ seed: 1 })).toBe(steps({ seed: 1 }));
  expect(steps({ seed: 1 })).not.toBe(steps({ seed: 2 }));
  expect(steps({ seed: 1, client: 1 })).not.toBe(steps({ seed: 1, client: 2 }));
});

test('operations come in their proportion', () => {
  const taken = new Workload({ seed: 3 }).take(20_000);
  const total = Object.values(defaultWorkload.mix).reduce((sum, weight) => sum + weight, 0);
  for (const [op, weight] of Object.entries(defaultWorkload.mix)) {
    const share = taken.filter((step) => step.op === op).length / taken.length;
    expect(Math.abs(share - weight / total), op).toBeLessThan(0.02);
  }
});

test('Zipf: the n-th most popular is drawn 1/n^s times as often as the first', () => {
  const random = new Random(5);
  const zipf = new Zipf(1000, 1);
  const counts = new Float64Array(1000);
  for (let n = 0; n < 200_000; n++) counts[zipf.sample(random)]!++;
  for (const rank of [2, 5, 10, 50]) expect(counts[0]! / counts[rank - 1]! / rank).toBeCloseTo(1, 0);
});

test('random numbers keep to their range and are spread over it', () => {
  const random = new Random(7);
  const counts = new Float64Array(10);
  for (let n = 0; n < 100_000; n++) counts[random.int(10)]!++;
  for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500);
  for (let n = 0; n < 1000; n++) expect(random.float()).toBeLessThan(1);
});
