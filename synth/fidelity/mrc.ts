// Exact miss-ratio curves of a reference stream: which share of the references would miss in a cache of each size. LRU has
// the stack property, so one pass gives all sizes; the other policies are simulated size by size. Long streams are
// sampled by object before (SHARDS).

import { clock, fifo, s3fifo, sieve, type Simulation } from './policy.ts';
import { Recency } from '../references/recency.ts';

export const policies = ['lru', 'fifo', 'clock', 'sieve', 's3fifo'] as const;
export type Policy = (typeof policies)[number];

const simulations: Readonly<Record<Exclude<Policy, 'lru'>, Simulation>> = { fifo, clock, sieve, s3fifo };

/**
 * Miss ratios, from 0 to 1, of caches of these sizes (in objects, whole, at least 1) that begin empty. References are
 * dense ids: the arrays are as long as the largest one. With a rate below 1, what a sample by object says of them.
 * @throws RangeError for a size that is no whole number from 1, or a rate outside (0, 1].
 */
export function missRatios(
  policy: Policy,
  references: Uint32Array,
  sizes: readonly number[],
  rate = 1,
): Float64Array<ArrayBuffer> {
  for (const size of sizes)
    if (!Number.isSafeInteger(size) || size < 1)
      throw new RangeError(`expected a cache size in whole objects, got ${size}`);
  if (references.length === 0) return new Float64Array(sizes.length);
  if (rate !== 1) {
    const part = sampled(references, rate);
    const scaled = sizes.map((size) => Math.max(1, Math.round(size * rate)));
    // A sample has too many references, or too few, by its hottest objects; those would hit in nearly every cache.
    const share = part.length / (references.length * rate);
    return missRatios(policy, part, scaled).map((ratio) => Math.min(ratio * share, 1));
  }
  if (policy === 'lru') return lru(references, sizes);
  const simulate = simulations[policy];
  let footprint = 0;
  for (let i = 0; i < references.length; i++) footprint = Math.max(footprint, references[i]! + 1);
  // Where everything fits, only the first references miss, whatever the policy.
  return Float64Array.from(
    sizes,
    (size) => simulate(references, footprint, Math.min(size, 2 * footprint)) / references.length,
  );
}

function lru(references: Uint32Array, sizes: readonly number[]): Float64Array<ArrayBuffer> {
  const recency = new Recency();
  const depths = new Map<number, number>();
  for (let i = 0; i < references.length; i++) {
    const depth = recency.touch(references[i]!);
    depths.set(depth, (depths.get(depth) ?? 0) + 1);
  }
  const hits = new Float64Array(recency.size + 1);
  for (let depth = 1; depth < hits.length; depth++) hits[depth] = hits[depth - 1]! + (depths.get(depth) ?? 0);
  return Float64Array.from(sizes, (size) => 1 - hits[Math.min(size, recency.size)]! / references.length);
}

/** Up to `count` sizes from 1 to the footprint, evenly apart in their logarithms; those that round to the same are kept. */
export function logSizes(footprint: number, count = 61): number[] {
  if (!Number.isSafeInteger(footprint) || footprint < 1)
    throw new RangeError(`expected a footprint in whole objects, got ${footprint}`);
  return Array.from({ length: count }, (_, i) =>
    Math.max(1, Math.round(Math.exp((Math.log(footprint) * i) / Math.max(count - 1, 1)))),
  );
}

/** References with their ids replaced by 0, 1, 2… in the order of their first reference. */
export function dense(references: Iterable<number>, length: number): Uint32Array<ArrayBuffer> {
  const ids = new Map<number, number>();
  const out = new Uint32Array(length);
  let at = 0;
  for (const reference of references) {
    let id = ids.get(reference);
    if (id === undefined) {
      id = ids.size;
      ids.set(reference, id);
    }
    out[at++] = id;
  }
  return out;
}

/**
 * All references of a part of the objects, chosen by a hash of their ids, densely numbered anew: SHARDS (Waldspurger et
 * al., FAST 2015). A cache of n objects misses on the whole stream about as one of n × rate does on the sample, within
 * .01 or so for 8,000 sampled objects. For streams of more than some five million references.
 * @throws RangeError for a rate outside (0, 1].
 */
export function sampled(references: Uint32Array, rate: number): Uint32Array<ArrayBuffer> {
  if (!(rate > 0 && rate <= 1)) throw new RangeError(`expected a rate above 0, up to 1, got ${rate}`);
  const limit = rate * 0x100000000;
  const kept = references.filter((id) => hash(id) < limit);
  return dense(kept, kept.length);
}

/** A 32-bit mix (the finalizer of MurmurHash3): ids that follow each other land far apart. */
function hash(id: number): number {
  let h = id ^ 0x9e3779b9;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
