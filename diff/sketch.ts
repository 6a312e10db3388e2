// Values by 64 bits each, so that it costs nothing to remember them. Two values that differ have the same sketch by chance
// in one of 2^64 cases; a value that stands in a batch several times is looked at once.

import { randomBytes } from 'node:crypto';

const seed = randomBytes(8);
const SEED_HIGH = seed.readInt32LE(0);
const SEED_LOW = seed.readInt32LE(4);
const SLOTS = 1 << 14;

export class Sketches {
  /** Of the value that of() looked at last. */
  high = 0;
  low = 0;
  /** Where in the heap values stand whose sketches are known, by their place modulo the number of slots. */
  readonly #at = new Float64Array(SLOTS).fill(-1);
  readonly #lengths = new Uint32Array(SLOTS);
  readonly #highs = new Int32Array(SLOTS);
  readonly #lows = new Int32Array(SLOTS);
  #heap: Buffer | undefined;

  /** Values of this heap stand in it several times, perhaps. */
  begin(heap: Buffer): void {
    if (heap === this.#heap) return;
    this.#heap = heap;
    this.#at.fill(-1);
  }

  of(heap: Buffer, at: number, length: number): void {
    if (heap !== this.#heap) {
      this.#look(heap, at, length);
      return;
    }
    const slot = Math.imul(at, 0x9e3779b1) >>> 18;
    if (this.#at[slot] === at && this.#lengths[slot] === length) {
      this.high = this.#highs[slot]!;
      this.low = this.#lows[slot]!;
      return;
    }
    this.#look(heap, at, length);
    this.#at[slot] = at;
    this.#lengths[slot] = length;
    this.#highs[slot] = this.high;
    this.#lows[slot] = this.low;
  }

  #look(heap: Buffer, at: number, length: number): void {
    let a = SEED_HIGH ^ length;
    let b = SEED_LOW + length;
    const end = at + length;
    let i = at;
    for (; i + 4 <= end; i += 4) {
      const word = heap[i]! | (heap[i + 1]! << 8) | (heap[i + 2]! << 16) | (heap[i + 3]! << 24);
      a = Math.imul(a ^ word, 0x85ebca6b);
      a ^= a >>> 15;
      b = Math.imul((b << 13) | (b >>> 19), 5) + Math.imul(word, 0xc2b2ae35);
    }
    for (; i < end; i++) {
      a = Math.imul(a ^ heap[i]!, 0x01000193);
      b = Math.imul(b, 31) + heap[i]!;
    }
    a = Math.imul(a ^ (a >>> 16), 0xcc9e2d51);
    b = Math.imul(b ^ (b >>> 16), 0x1b873593);
    this.high = a ^ (a >>> 13);
    this.low = b ^ (b >>> 16);
  }
}
