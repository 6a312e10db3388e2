// How the sizes of values change with each store of a key: kept, drawn anew, or varied around the key's own; by level of
// popularity and by sort of key, as they are learnt and as they are drawn.

import { z } from 'zod';
import { unit } from './hash.ts';
import { numbersSchema, quantileOf, type Numbers } from './numbers.ts';
import { Reservoir } from './gather.ts';
import { rankCorrelation, round, wholeNumbers } from './table.ts';

/** Fewer stores of a level say nothing of it: it has what all levels have. */
const FEW = 30;
const SAMPLES = 50_000;
/** Parts of a table of sizes; there is one for each level and sort. */
const PARTS = 48;
const FACTOR_PARTS = 32;
/** From this rank correlation on, a key's new size depends on its own. */
const RELATED = 0.5;
/** Of what is drawn for a key, that of its n-th version; the others are small. */
const VERSIONS = 16;

export const storesSchema = z
  .strictObject({
    kept: z.number().min(0).max(1).describe('share of the stores that keep the size of the one before'),
    sizes: numbersSchema.optional().describe('bytes, of the others'),
    factors: numbersSchema.optional().describe('or times the size that the key had first'),
  })
  .describe('how a key that is stored again changes its size');
export type StoreLaw = z.output<typeof storesSchema>;

/** The size of a store: what the key has, had first, and which of its stores it is. @param times as large as all others */
export type Resize = (
  bytes: number,
  base: number,
  seed: number,
  key: number,
  version: number,
  times: number,
) => number;

/** @throws RangeError where nothing can be drawn */
export function resizeOf({ kept, sizes, factors }: StoreLaw): Resize {
  const size = sizes === undefined ? undefined : quantileOf(sizes);
  const factor = factors === undefined ? undefined : quantileOf(factors);
  return (bytes, base, seed, key, version, times) => {
    const u = unit(seed, key, VERSIONS + version);
    if (u < kept) return bytes;
    const rest = (u - kept) / (1 - kept);
    if (size !== undefined) return Math.round(size(rest) * times);
    return factor === undefined ? bytes : Math.round(base * factor(rest) * times);
  };
}

interface Store {
  id: number;
  bytes: number;
  /** Of the store before, and of the first that was seen. */
  before: number;
  first: number;
}

/** An even sample of the stores of keys whose size was known before. */
export class Stores {
  readonly #seen = new Reservoir<Store>(SAMPLES);

  add(id: number, bytes: number, before: number, first: number): void {
    this.#seen.add({ id, bytes, before, first });
  }

  /** Keys are numbered anew; those without a number are left out. */
  renumber(ids: Int32Array): void {
    const { items } = this.#seen;
    const kept = items.filter((store) => (store.id = ids[store.id]!) >= 0);
    items.splice(0, items.length, ...kept);
  }

  /**
   * By level, and by sort; null where nothing is known, or all keep their sizes.
   * @param levelOf of an id; -1: none
   */
  laws(levels: number, levelOf: (id: number) => number, sortOf: (id: number) => number): (StoreLaw | null)[][] {
    const of = Array.from({ length: levels }, () => [0, 1, 2].map((): Store[] => []));
    const all = [0, 1, 2].map((): Store[] => []);
    for (const store of this.#seen.items) {
      const sort = sortOf(store.id);
      all[sort]!.push(store);
      of[levelOf(store.id)]?.[sort]!.push(store);
    }
    const common = all.map((stores) => lawOf(stores));
    return of.map((sorts) =>
      sorts.map((stores, sort) => (stores.length < FEW ? common[sort]! : lawOf(stores))),
    );
  }
}

function lawOf(stores: readonly Store[]): StoreLaw | null {
  const changed = stores.filter(({ bytes, before }) => bytes !== before);
  const kept = 1 - changed.length / Math.max(1, stores.length);
  if (stores.length < 5 || changed.length === 0 || kept > 0.995) return null;
  const sizes = changed.map(({ bytes }) => bytes);
  const firsts = changed.map(({ first }) => first);
  if (rankCorrelation(firsts, sizes) < RELATED) return { kept: round(kept, 4), sizes: wholeNumbers(sizes, PARTS) };
  const ratios = changed.map(({ bytes, first }) => bytes / Math.max(1, first));
  return { kept: round(kept, 4), factors: tableOfRatios(ratios) };
}

function tableOfRatios(ratios: readonly number[]): Numbers {
  const sorted = ratios.toSorted((a, b) => a - b);
  return {
    kind: 'quantiles',
    values: Array.from({ length: FACTOR_PARTS + 1 }, (_, n) =>
      round(sorted[Math.round((n / FACTOR_PARTS) * (sorted.length - 1))]!, 4),
    ),
  };
}
