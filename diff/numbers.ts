// Items by number: the same key on the same target, among the keys of the same tenant, is one item. Numbers are dense from
// 0, in the order of first sight.

import type { Batch } from '../trace/batch.ts';
import type { ResultBatch } from '../trace/results.ts';
import { KeyTable } from '../trace/keytable.ts';
import type { Sides } from './sides.ts';

const NONE = -1;
/** Targets at most; a place is a target and, times this, a tenant's space. */
const TARGETS = 65_536;

/** What an item is. */
export interface ItemName {
  target: number;
  space: number;
  /** latin1 */
  key: string;
}

export class ItemNumbers {
  readonly #sides: Sides;
  readonly #keys = new KeyTable();
  // Of the batch at hand, which may come in slices, by the number of the key in it: the item that it was last, and among
  // whose keys.
  #heap: Buffer | undefined;
  #known = new Int32Array(0);
  #place = new Float64Array(0);

  constructor(sides: Sides) {
    this.#sides = sides;
  }

  get count(): number {
    return this.#keys.count;
  }

  nameOf(number: number): ItemName {
    const place = this.#keys.placeOf(number);
    return { target: place % TARGETS, space: Math.floor(place / TARGETS), key: this.#keys.keyOf(number) };
  }

  /** The number of the item that a row is about. */
  of(batch: Batch, row: number, results: ResultBatch, resultRow: number): number {
    if (batch.heap !== this.#heap) {
      this.#heap = batch.heap;
      if (this.#known.length < batch.keyCount) {
        this.#known = new Int32Array(batch.keyCount * 2);
        this.#place = new Float64Array(batch.keyCount * 2);
      }
      this.#place.fill(NONE, 0, batch.keyCount);
    }
    const key = batch.keyId[row]!;
    const place = results.target[resultRow]! + this.#sides.spaceOf(batch, row) * TARGETS;
    if (batch.keyCount > 0 && this.#place[key] === place) return this.#known[key]!;
    const number = this.#keys.numberOf(place, batch.heap, batch.keyAt[row]!, batch.keyLength[row]!);
    if (batch.keyCount > 0) {
      this.#place[key] = place;
      this.#known[key] = number;
    }
    return number;
  }
}
