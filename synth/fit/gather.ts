// What a fit gathers in one pass over a trace: columns by key, numbers in their order, even samples of bounded size.

import { Random } from '../laws/random.ts';

const CHUNK = 1 << 16;

type Numbers = Uint8Array | Uint32Array | Float64Array;

/** Numbers in the order of their arrival, in chunks. */
export class Sequence<Chunk extends Numbers> {
  readonly #make: (length: number) => Chunk;
  readonly #chunks: Chunk[] = [];
  #chunk: Chunk;
  #filled = 0;

  constructor(make: (length: number) => Chunk) {
    this.#make = make;
    this.#chunk = make(CHUNK);
  }

  get length(): number {
    return this.#chunks.length * CHUNK + this.#filled;
  }

  push(value: number): void {
    if (this.#filled === CHUNK) {
      this.#chunks.push(this.#chunk);
      this.#chunk = this.#make(CHUNK);
      this.#filled = 0;
    }
    this.#chunk[this.#filled++] = value;
  }

  all(): Chunk[] {
    return this.#filled === 0
      ? this.#chunks
      : [...this.#chunks, this.#chunk.subarray(0, this.#filled) as Chunk];
  }
}

/** An even sample of what passes, of bounded size. */
export class Reservoir<Item> {
  readonly items: Item[] = [];
  readonly #random = new Random(11);
  readonly #most: number;
  seen = 0;

  constructor(most: number) {
    this.#most = most;
  }

  add(item: Item): void {
    this.seen++;
    if (this.items.length < this.#most) this.items.push(item);
    else {
      const at = Math.floor(this.#random.float() * this.seen);
      if (at < this.#most) this.items[at] = item;
    }
  }
}
