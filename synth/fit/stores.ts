// How the sizes of values change with each store of a key: kept, drawn anew, or varied around the key's own; by level of
// popularity and by sort of key, as they are learnt of a trace. resize.ts draws them.

import { Reservoir } from './gather.ts';
import { storing, type StoreLaw, type StoreLaws } from '../model/resize.ts';
import { rankCorrelation, round, tableOf, wholeNumbers } from '../laws/table.ts';

/** Fewer stores of a level say nothing of it: it has what all levels have. */
const FEW = 60;
const SAMPLES = 50_000;
/** Parts of a table of sizes; there is one for each level and sort. */
const PARTS = 96;
const FACTOR_PARTS = 32;
/** From this rank correlation on, a key's new size depends on its own. */
const RELATED = 0.5;

interface Store {
  id: number;
  /** As an index of `storing`. */
  kind: number;
  bytes: number;
  /** Of the store before, and of the first that was seen. */
  before: number;
  first: number;
}

/** An even sample of the stores of keys whose size was known before. */
export class Stores {
  readonly #seen = new Reservoir<Store>(SAMPLES);

  add(id: number, operation: string, bytes: number, before: number, first: number): void {
    const kind = Math.max(0, storing.indexOf(operation as 'set'));
    this.#seen.add({ id, kind, bytes, before, first });
  }

  /** Keys are numbered anew; those without a number are left out. */
  renumber(ids: Int32Array): void {
    const { items } = this.#seen;
    const kept = items.filter((store) => (store.id = ids[store.id]!) >= 0);
    items.splice(0, items.length, ...kept);
  }

  /**
   * By level, by sort and by kind; null where nothing is known, or all keep their sizes.
   * @param levelOf of an id; -1: none
   */
  laws(levels: number, levelOf: (id: number) => number, sortOf: (id: number) => number): StoreLaws[][] {
    const of = Array.from({ length: levels }, noStores);
    const all = noStores();
    for (const store of this.#seen.items) {
      const sort = sortOf(store.id);
      all[sort]![store.kind]!.push(store);
      of[levelOf(store.id)]?.[sort]![store.kind]!.push(store);
    }
    const common = all.map((kinds) => kinds.map(lawOf));
    return of.map((sorts) =>
      sorts.map((kinds, sort) => {
        const laws = kinds.map((stores, kind) =>
          stores.length === 0 ? null : stores.length < FEW ? common[sort]![kind]! : lawOf(stores),
        );
        return laws.every((law) => law === null) ? null : laws;
      }),
    );
  }
}

/** By sort, and by kind. */
function noStores(): Store[][][] {
  return [0, 1, 2].map(() => storing.map((): Store[] => []));
}

function lawOf(stores: readonly Store[]): StoreLaw | null {
  if (stores.length === 0) return null;
  const sizes = stores.map(({ bytes }) => bytes);
  const same = stores.filter(({ bytes, before }) => bytes === before).length / stores.length;
  if (same > 0.995) return null;
  // Sizes drawn anew are the same by chance, too.
  const chance = matching(sizes);
  const kept = round(Math.max(0, same < chance * 1.1 + 0.01 ? 0 : (same - chance) / (1 - chance)), 4);
  const changed = stores.filter(({ bytes, before }) => bytes !== before);
  const isRelated =
    changed.length > 5 &&
    rankCorrelation(
      changed.map(({ first }) => first),
      changed.map(({ bytes }) => bytes),
    ) > RELATED;
  if (!isRelated) return { kept, sizes: wholeNumbers(sizes, PARTS) };
  const ratios = changed.map(({ bytes, first }) => bytes / Math.max(1, first));
  return { kept: round(same, 4), factors: tableOf(ratios, 4, FACTOR_PARTS) };
}

/** How likely two of them are the same. */
function matching(sizes: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const size of sizes) counts.set(size, (counts.get(size) ?? 0) + 1);
  let pairs = 0;
  for (const count of counts.values()) pairs += (count / sizes.length) ** 2;
  return pairs;
}
