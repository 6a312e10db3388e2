// Keys by number, dense from 0 in the order of first sight: found by their bytes, so that no string is made of a key that is
// known. Hashes begin with a random number, so that no trace can make them meet.

import { randomBytes } from 'node:crypto';
import { grown } from './batch.ts';

const SEED = randomBytes(4).readInt32LE(0);
/** Slots are at least twice as many as keys. */
const FEW_SLOTS = 1 << 13;
const FEW_BYTES = 1 << 16;

export class KeyTable {
  #count = 0;
  /** Number of a key, from 1; 0: the slot is free. */
  #slots = new Uint32Array(FEW_SLOTS);
  // By number: hash, place, and where its bytes are.
  #hashes = new Int32Array(FEW_SLOTS / 2);
  #places = new Float64Array(FEW_SLOTS / 2);
  #at = new Float64Array(FEW_SLOTS / 2 + 1);
  #bytes = Buffer.allocUnsafe(FEW_BYTES);

  get count(): number {
    return this.#count;
  }

  /** @param place among whose keys it is: the same key of two places is two keys */
  numberOf(place: number, heap: Buffer, at: number, length: number): number {
    const hash = hashOf(place, heap, at, length);
    const mask = this.#slots.length - 1;
    let slot = hash & mask;
    for (let known = this.#slots[slot]!; known !== 0; known = this.#slots[slot]!) {
      const number = known - 1;
      if (
        this.#hashes[number] === hash &&
        this.#places[number] === place &&
        this.#is(number, heap, at, length)
      )
        return number;
      slot = (slot + 1) & mask;
    }
    return this.#add(place, hash, heap, at, length);
  }

  placeOf(number: number): number {
    return this.#places[number]!;
  }

  /** latin1 */
  keyOf(number: number): string {
    return this.#bytes.toString('latin1', this.#at[number], this.#at[number + 1]);
  }

  #is(number: number, heap: Buffer, at: number, length: number): boolean {
    const own = this.#at[number]!;
    if (this.#at[number + 1]! - own !== length) return false;
    const bytes = this.#bytes;
    for (let i = 0; i < length; i++) if (bytes[own + i] !== heap[at + i]) return false;
    return true;
  }

  #add(place: number, hash: number, heap: Buffer, at: number, length: number): number {
    if (2 * this.#count === this.#slots.length) this.#grow();
    const number = this.#count++;
    const own = this.#at[number]!;
    if (own + length > this.#bytes.length) {
      const bytes = Buffer.allocUnsafe(Math.max(own + length, 2 * this.#bytes.length));
      this.#bytes.copy(bytes, 0, 0, own);
      this.#bytes = bytes;
    }
    heap.copy(this.#bytes, own, at, at + length);
    this.#at[number + 1] = own + length;
    this.#hashes[number] = hash;
    this.#places[number] = place;
    this.#put(number);
    return number;
  }

  #put(number: number): void {
    const mask = this.#slots.length - 1;
    let slot = this.#hashes[number]! & mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = number + 1;
  }

  #grow(): void {
    const slots = 2 * this.#slots.length;
    this.#slots = new Uint32Array(slots);
    this.#hashes = grown(this.#hashes, new Int32Array(slots / 2));
    this.#places = grown(this.#places, new Float64Array(slots / 2));
    this.#at = grown(this.#at, new Float64Array(slots / 2 + 1));
    for (let number = 0; number < this.#count; number++) this.#put(number);
  }
}

function hashOf(place: number, heap: Buffer, at: number, length: number): number {
  let hash = SEED ^ Math.imul(place, 0x9e3779b1) ^ length;
  const end = at + length;
  let i = at;
  for (; i + 4 <= end; i += 4) {
    const word = heap[i]! | (heap[i + 1]! << 8) | (heap[i + 2]! << 16) | (heap[i + 3]! << 24);
    hash = Math.imul(hash ^ Math.imul(word, 0xcc9e2d51), 0x85ebca6b);
    hash ^= hash >>> 15;
  }
  for (; i < end; i++) hash = Math.imul(hash ^ heap[i]!, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0xc2b2ae35);
  return hash ^ (hash >>> 13);
}
