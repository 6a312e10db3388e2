// What a fit says of each level of popularity: what its objects are, and what is done to them.

import { NONE, type Keys } from './keys.ts';
import { MAX_SIZES, type LocalObject } from '../model/locality.ts';
import { mixOperations, type Mix } from '../laws/mix.ts';
import { round } from '../laws/table.ts';

export const SORTS = 3;
/** Parts of the trace of which it is looked whether other things are done, and by how much of the requests. */
export const EPOCHS = 6;
const CHANGED = 0.1;
/** Fewer requests say nothing of what is done to a level. */
const FEW = 50;
/** Coprime to MAX_SIZES. */
const SCATTER = 37;

/** Of each epoch, where they differ; else of all. */
export function mixesByEpoch(done: readonly Done[]): Mix[][][] {
  const all = done[0]!.map((sorts, level) =>
    sorts.map((own, sort) => own.map((_, n) => done.reduce((sum, of) => sum + of[level]![sort]![n]!, 0))),
  );
  const differ = done.some((of) =>
    of.some((sorts, level) =>
      sorts.some((own, sort) => {
        const [mine, whole] = [total(own), total(all[level]![sort]!)];
        return (
          mine > 4 * FEW &&
          own.some((count, n) => Math.abs(count / mine - all[level]![sort]![n]! / whole) > CHANGED)
        );
      }),
    ),
  );
  return (differ ? done : [all]).map(mixesOf);
}

export function total(counts: Float64Array): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

/** Requests by level, sort and operation. */
type Done = readonly (readonly Float64Array[])[];

/** What is done to each sort of each level; levels of which little is known have what is known of all such. */
function mixesOf(done: Done): Mix[][] {
  const sums = done.map((sorts) => sorts.map(total));
  const pooled = Array.from({ length: SORTS }, (_, sort) => {
    const few = new Float64Array(mixOperations.length);
    for (const [level, sorts] of done.entries())
      if (sums[level]![sort]! < FEW) for (const [n, count] of sorts[sort]!.entries()) few[n]! += count;
    return few;
  });
  return done.map((sorts, level) =>
    sorts.map((own, sort): Mix => {
      const of = sums[level]![sort]! < FEW ? pooled[sort]! : own;
      const sum = total(of);
      if (sum === 0) return { get: 1 };
      return Object.fromEntries(
        mixOperations
          .map((name, n) => [name, round(of[n]! / sum, 6)] as const)
          .filter(([, part]) => part > 0),
      );
    }),
  );
}

/** Bytes of key and value, sort, and expiry where it is the key's own; of many, an even choice. */
export function objectsOf(ids: readonly number[], data: Keys['data'], withTtl: boolean): LocalObject[] {
  const known = ids
    .filter((id) => data.bytes[id] !== NONE)
    .toSorted((a, b) => data.bytes[a]! - data.bytes[b]!);
  // What was never seen with a value is as large as others.
  const bytesOf = (id: number): number =>
    data.bytes[id] === NONE
      ? known.length === 0
        ? 0
        : data.bytes[known[id % known.length]!]!
      : data.bytes[id]!;
  const object = (key: number, id: number): LocalObject => [
    data.keyBytes[key]!,
    bytesOf(id),
    data.sort[id]!,
    ...((withTtl && data.ttl[id] !== NONE ? [data.ttl[id]!] : []) as [number]),
  ];
  const values = ids.toSorted((a, b) => bytesOf(a) - bytesOf(b));
  if (ids.length < MAX_SIZES) return values.map((id) => object(id, id));
  // Of many, each size at evenly spaced places of its order, and keys beside values at random.
  const keys = ids.toSorted((a, b) => data.keyBytes[a]! - data.keyBytes[b]!);
  const at = (n: number): number => Math.floor(((n + 0.5) / MAX_SIZES) * ids.length);
  return Array.from({ length: MAX_SIZES }, (_, n) =>
    object(keys[at((n * SCATTER) % MAX_SIZES)]!, values[at(n)]!),
  );
}
