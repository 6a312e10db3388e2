// What a model of references is learned from: references, of all keys or of some that stand for several, and how often and
// from when to when each is referenced.

import { grown } from '../../trace/batch.ts';
import type { Counts } from './renewal.ts';

/** Entries of a level's counts; beyond them, neighbours are merged. */
const ENTRIES = 64;

/** References of which some keys were kept, each for several. */
export interface Sample {
  /** Goes through them, in order: ids are dense from 0, places are among all references. */
  each(visit: (id: number, place: number) => void): void;
  /** All references there were. Default: those that are gone through. */
  total?: number;
  /** How many keys a key stands for, a whole number. */
  weight(id: number): number;
  /** Of the keys of the first numbers, what is known instead of their references, which are not gone through. */
  known?: {
    size: number;
    counts: ArrayLike<number>;
    firstAt: Float64Array;
    lastAt: Float64Array;
    eachGap(id: number, visit: (gap: number, times: number) => void): void;
  };
}

/** What a stream's objects are, by id. */
export interface Census {
  references: number;
  counts: Uint32Array;
  firstAt: Float64Array;
  lastAt: Float64Array;
}

/** References in chunks as a sample of all. They are gone through twice: an array, or what begins anew. */
export function sampleOf(references: Iterable<Uint32Array>): Sample {
  return {
    each: (visit) => {
      let at = 0;
      for (const chunk of references) for (const id of chunk) visit(id, at++);
    },
    weight: () => 1,
  };
}

/** Objects of a level are referenced up to 1.41 times as often as others of it. */
export function levelOf(count: number): number {
  return Math.floor(2 * Math.log2(count));
}

/** @throws RangeError where there are no references, or an id is left out */
export function censusOf(sample: Sample): Census {
  let counts = new Uint32Array(1 << 10);
  let firstAt = new Float64Array(1 << 10);
  let lastAt = new Float64Array(1 << 10);
  let [objects, references] = [0, 0];
  const grow = (least: number): void => {
    counts = grown(counts, new Uint32Array(Math.max(least, counts.length * 2)));
    firstAt = grown(firstAt, new Float64Array(counts.length));
    lastAt = grown(lastAt, new Float64Array(counts.length));
  };
  sample.each((id, place) => {
    if (id >= counts.length) grow(id + 1);
    if (counts[id]!++ === 0) {
      firstAt[id] = place;
      objects = Math.max(objects, id + 1);
    }
    lastAt[id] = place;
    references++;
  });
  const { known } = sample;
  for (let id = 0; id < (known?.size ?? 0); id++) {
    if (id >= counts.length) grow(id + 1);
    counts[id] = known!.counts[id]!;
    firstAt[id] = known!.firstAt[id]!;
    lastAt[id] = known!.lastAt[id]!;
    references += counts[id]!;
    objects = Math.max(objects, id + 1);
  }
  counts = counts.slice(0, objects);
  if (references === 0) throw new RangeError('expected references, got none');
  if (counts.includes(0)) throw new RangeError(`expected dense ids, got none of ${counts.indexOf(0)}`);
  return { references, counts, firstAt, lastAt };
}

/** Objects by count, as few entries as are allowed: the closest counts are merged, and keep their sum. */
export function countsOf(tally: ReadonlyMap<number, number>): Counts {
  const sorted = [...tally].toSorted(([a], [b]) => a - b);
  const low = sorted[0]![0];
  const width = (sorted.at(-1)![0] + 1 - low) / ENTRIES;
  const merged: Counts = [];
  let place = -1;
  for (const [references, objects] of sorted) {
    const here = sorted.length <= ENTRIES ? place + 1 : Math.floor((references - low) / width);
    if (here !== place) merged.push([0, 0]);
    place = here;
    const entry = merged.at(-1)!;
    entry[0] += objects;
    entry[1] += objects * references;
  }
  return merged;
}
