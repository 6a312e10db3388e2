// Whether a store is laid to the miss before it: what clients store again, and what only happens to be stored soon.

import { expect, test } from 'vitest';
import { Keys } from '../../synth/fit/keys.ts';
import { Random } from '../../synth/laws/random.ts';
import { Refills, type RefillLaw } from '../../synth/fit/refills.ts';

const KEYS = 80;
const LATENCY_NS = 1e5;

/** Reads and stores of a few hot keys, by chance; where `fills`, a reader stores at once what it did not find. */
function lawOf(seed: number, fills: boolean): RefillLaw | undefined {
  const random = new Random(seed);
  const keys = new Keys();
  const refills = new Refills();
  let ns = 0;
  const store = (id: number): void => {
    refills.store(keys.data, id, ns, 'set');
    keys.data.untilNs[id] = Infinity;
  };
  for (let n = 0; n < 5000; n++) {
    ns += 1e6 * random.float();
    const id = keys.idOf(`item:${random.int(KEYS)}`);
    // Now and then all is gone, so that there are misses enough.
    if (n % 1000 === 0) for (let key = 0; key < keys.size; key++) keys.data.untilNs[key] = 0;
    if (random.chance(0.3)) {
      store(id);
      continue;
    }
    const isHit = keys.data.untilNs[id]! > ns;
    refills.read(keys.data, id, ns, isHit);
    if (isHit || !fills) continue;
    ns += 2e5;
    store(id);
  }
  return refills.law(LATENCY_NS);
}

const seeds = Array.from({ length: 40 }, (_, n) => n + 1);

test('what is stored soon by chance does not follow from a miss', () => {
  expect(seeds.filter((seed) => lawOf(seed, false) !== undefined)).toEqual([]);
});

test('what is stored again after each miss does', () => {
  for (const seed of seeds) expect(lawOf(seed, true)?.share, `seed ${seed}`).toBeGreaterThan(0.9);
});
