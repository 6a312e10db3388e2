// Items by number: the same key on the same target, among the keys of the same tenant, is one item. Numbers are dense from
// 0, in the order of first sight.

import type { Batch } from '../trace/batch.ts';
import type { ResultBatch } from '../trace/results.ts';
import type { Sides } from './sides.ts';

const NONE = -1;

export class ItemNumbers {
  readonly #sides: Sides;
  readonly #numbers = new Map<string, number>();
  /** By number. */
  readonly #targets: number[] = [];
  // Of the batch at hand, which may come in slices, by the number of the key in it: the item that it was last, and among
  // whose keys.
  #heap: Buffer | undefined;
  #known = new Int32Array(0);
  #place = new Int32Array(0);

  constructor(sides: Sides) {
    this.#sides = sides;
  }

  get count(): number {
    return this.#targets.length;
  }

  targetOf(number: number): number {
    return this.#targets[number]!;
  }

  /** Every item's name, as Sides.nameOf() gives it, and its number. */
  names(): IterableIterator<[string, number]> {
    return this.#numbers.entries();
  }

  /** The number of the item that a row is about. */
  of(batch: Batch, row: number, results: ResultBatch, resultRow: number): number {
    if (batch.heap !== this.#heap) {
      this.#heap = batch.heap;
      if (this.#known.length < batch.keyCount) {
        this.#known = new Int32Array(batch.keyCount * 2);
        this.#place = new Int32Array(batch.keyCount * 2);
      }
      this.#place.fill(NONE, 0, batch.keyCount);
    }
    const key = batch.keyId[row]!;
    const target = results.target[resultRow]!;
    const place = target + this.#sides.spaceOf(batch, row) * 65_536;
    if (batch.keyCount > 0 && this.#place[key] === place) return this.#known[key]!;
    const name = this.#sides.nameOf(batch, row, results, resultRow);
    let number = this.#numbers.get(name);
    if (number === undefined) {
      number = this.#targets.length;
      this.#numbers.set(name, number);
      this.#targets.push(target);
    }
    if (batch.keyCount > 0) {
      this.#place[key] = place;
      this.#known[key] = number;
    }
    return number;
  }
}

/** What the name of an item is made of. */
export function partsOf(name: string): { target: number; space: number; key: string } {
  const first = name.indexOf(' ');
  const second = name.indexOf(' ', first + 1);
  return {
    target: Number(name.slice(0, first)),
    space: Number(name.slice(first + 1, second)),
    key: name.slice(second + 1),
  };
}
