// Miss-ratio curves against caches written the obvious way, over random streams; and the sampled curve against the whole.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { dense, logSizes, missRatios, policies, sampled, type Policy } from '../../synth/fidelity/mrc.ts';
import { Random, Zipf } from '../../synth/laws/random.ts';
import { Recency } from '../../synth/references/recency.ts';

interface Entry {
  id: number;
  used: number;
}

/** Whether a reference hits, in a cache that is an array of entries, the newest first. */
type Naive = (id: number) => boolean;

const naive: Record<Policy, (size: number) => Naive> = {
  lru(size) {
    let stack: number[] = [];
    return (id) => {
      const hit = stack.includes(id);
      stack = [id, ...stack.filter((other) => other !== id)].slice(0, size);
      return hit;
    };
  },
  fifo(size) {
    let queue: number[] = [];
    return (id) => {
      const hit = queue.includes(id);
      if (!hit) queue = [id, ...queue].slice(0, size);
      return hit;
    };
  },
  clock(size) {
    // The second-chance queue, which CLOCK is without moving anything.
    const queue: Entry[] = [];
    return (id) => {
      const found = queue.find((entry) => entry.id === id);
      if (found) found.used = 1;
      else {
        while (queue.length === size) {
          const oldest = queue.pop()!;
          if (oldest.used > 0) queue.unshift({ id: oldest.id, used: 0 });
        }
        queue.unshift({ id, used: 0 });
      }
      return found !== undefined;
    };
  },
  sieve(size) {
    const queue: Entry[] = [];
    let hand: Entry | undefined;
    return (id) => {
      const found = queue.find((entry) => entry.id === id);
      if (found) found.used = 1;
      else {
        if (queue.length === size) {
          let at = hand ? queue.indexOf(hand) : queue.length - 1;
          while (queue[at]!.used > 0) {
            queue[at]!.used = 0;
            at = at === 0 ? queue.length - 1 : at - 1;
          }
          hand = queue[at - 1];
          queue.splice(at, 1);
        }
        queue.unshift({ id, used: 0 });
      }
      return found !== undefined;
    };
  },
  s3fifo(size) {
    const small: Entry[] = [];
    const main: Entry[] = [];
    const ghost: number[] = [];
    function evictMain(): void {
      for (let entry = main.pop(); entry; entry = main.pop()) {
        if (entry.used === 0) return;
        main.unshift({ id: entry.id, used: entry.used - 1 });
      }
    }
    function evictSmall(): void {
      for (let entry = small.pop(); entry; entry = small.pop()) {
        if (entry.used > 1) {
          if (main.length >= 0.9 * size) evictMain();
          main.unshift({ id: entry.id, used: 0 });
        } else {
          ghost.unshift(entry.id);
          while (ghost.length > 1 && ghost.length > 0.9 * size) ghost.pop();
          return;
        }
      }
    }
    return (id) => {
      const found = [...small, ...main].find((entry) => entry.id === id);
      if (found) found.used = Math.min(found.used + 1, 3);
      else {
        while (small.length + main.length >= size)
          if (small.length >= 0.1 * size) evictSmall();
          else evictMain();
        const at = ghost.indexOf(id);
        if (at >= 0) ghost.splice(at, 1);
        (at >= 0 ? main : small).unshift({ id, used: 0 });
      }
      return found !== undefined;
    };
  },
};

test.each(policies)('%s misses as often as the obvious cache does', (policy) => {
  const streams = fc.array(fc.nat(24), { minLength: 1, maxLength: 300 });
  fc.assert(
    fc.property(streams, (ids) => {
      const sizes = [1, 2, 3, 5, 8, 11, 19, 25, 60];
      const expected = sizes.map((size) => {
        const cache = naive[policy](size);
        return ids.filter((id) => !cache(id)).length / ids.length;
      });
      const got = missRatios(policy, Uint32Array.from(ids), sizes);
      for (const [i, ratio] of expected.entries()) expect(got[i], `size ${sizes[i]}`).toBeCloseTo(ratio, 12);
    }),
    { numRuns: 150 },
  );
});

function zipfian(length: number, objects: number): Uint32Array {
  const random = new Random(9);
  const zipf = new Zipf(objects, 0.9);
  return Uint32Array.from({ length }, () => zipf.sample(random));
}

test('the recency stack finds who lies how deep, also after it moved together', () => {
  const recency = new Recency();
  let stack: number[] = [];
  for (const id of zipfian(30_000, 300)) {
    const at = stack.indexOf(id);
    expect(recency.touch(id)).toBe(at + 1);
    stack = [id, ...stack.filter((other) => other !== id)];
  }
  expect(recency.size).toBe(stack.length);
  expect(stack.map((_, i) => recency.at(i + 1))).toEqual(stack);
});

test('a sample by object has the curve of the whole', () => {
  const references = dense(zipfian(400_000, 100_000), 400_000);
  const sizes = [1_000, 5_000, 20_000];
  const part = sampled(references, 0.2);
  expect(part.length).toBeLessThan(references.length / 2);
  const whole = missRatios('lru', references, sizes);
  const estimate = missRatios('lru', references, sizes, 0.2);
  for (const [i, ratio] of whole.entries()) expect(Math.abs(estimate[i]! - ratio)).toBeLessThan(0.015);
  expect(() => sampled(references, 0)).toThrow(RangeError);
});

test('sizes are apart by logarithm, from one object to all', () => {
  expect(logSizes(1_000, 4)).toEqual([1, 10, 100, 1_000]);
  expect(logSizes(20_000)).toHaveLength(61);
  expect(logSizes(1)).toEqual(Array.from({ length: 61 }, () => 1));
  expect(() => logSizes(0)).toThrow(RangeError);
  expect(() => missRatios('lru', Uint32Array.of(0), [0])).toThrow('expected a cache size');
  expect([...missRatios('sieve', new Uint32Array(0), [1])]).toEqual([0]);
});
