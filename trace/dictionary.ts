// Distinct byte strings. An index finds the one that equals given bytes among those in somebody's heap; a dictionary is
// an index with a heap of its own: what a block stores each string once in. Open addressing in typed arrays; no strings
// are made.

import { crc32 } from 'node:zlib';

/**
 * Strings that fall on one stretch of the table, beyond which another is not looked for, and stands twice: nobody can
 * make us compare all with all by strings whose hashes are equal.
 */
const MAX_PROBES = 64;

/** Numbers, dense from 0, for distinct byte strings that stand in a heap of the caller's. */
export class ByteIndex {
  count = 0;
  #at = new Float64Array(1024);
  #length = new Uint32Array(1024);
  #hash = new Uint32Array(1024);
  #table = new Int32Array(4096).fill(-1);
  // Where the last find() ended: where add() puts what was not there.
  #lastHash = 0;
  #lastSlot = 0;

  clear(): void {
    this.count = 0;
    this.#table.fill(-1);
  }

  lengthOf(id: number): number {
    return this.#length[id]!;
  }

  /** Where string `id` stands in the heap. */
  startOf(id: number): number {
    return this.#at[id]!;
  }

  /** The number of the string in `heap` that equals data[at, at + length); -1 if there is none. */
  find(heap: Buffer, data: Buffer, at: number, length: number): number {
    const hash = hashOf(data, at, length);
    let slot = hash & (this.#table.length - 1);
    let id = this.#table[slot]!;
    for (let probes = 0; id >= 0; id = this.#table[slot]!) {
      if (this.#hash[id] === hash && this.#length[id] === length) {
        const from = this.#at[id]!;
        if (heap.compare(data, at, at + length, from, from + length) === 0) break;
      }
      if (++probes === MAX_PROBES) {
        this.#lastSlot = -1;
        this.#lastHash = hash;
        return -1;
      }
      slot = (slot + 1) & (this.#table.length - 1);
    }
    this.#lastHash = hash;
    this.#lastSlot = slot;
    return id;
  }

  /** Takes in what find() did not find just now, at its place in the heap. */
  add(at: number, length: number): number {
    const id = this.count++;
    if (id === this.#hash.length) this.#growEntries();
    this.#at[id] = at;
    this.#length[id] = length;
    this.#hash[id] = this.#lastHash;
    if (this.#lastSlot >= 0) this.#table[this.#lastSlot] = id;
    if (this.count * 2 > this.#table.length) this.#growTable();
    return id;
  }

  #growEntries(): void {
    const at = new Float64Array(this.count * 2);
    const length = new Uint32Array(this.count * 2);
    const hash = new Uint32Array(this.count * 2);
    at.set(this.#at);
    length.set(this.#length);
    hash.set(this.#hash);
    this.#at = at;
    this.#length = length;
    this.#hash = hash;
  }

  #growTable(): void {
    const table = new Int32Array(this.#table.length * 2).fill(-1);
    for (let id = 0; id < this.count; id++) {
      let slot = this.#hash[id]! & (table.length - 1);
      let probes = 0;
      for (; table[slot]! >= 0 && probes < MAX_PROBES; probes++) slot = (slot + 1) & (table.length - 1);
      if (probes < MAX_PROBES) table[slot] = id;
    }
    this.#table = table;
  }
}

export class Dictionary {
  /** The distinct strings, one after the other. */
  heap = Buffer.allocUnsafe(65_536);
  heapLength = 0;
  readonly #index = new ByteIndex();

  get count(): number {
    return this.#index.count;
  }

  clear(): void {
    this.heapLength = 0;
    this.#index.clear();
  }

  lengthOf(id: number): number {
    return this.#index.lengthOf(id);
  }

  /** The number of data[at, at + length); a new one is `count` as it was before the call. */
  number(data: Buffer, at: number, length: number): number {
    const known = this.#index.find(this.heap, data, at, length);
    if (known >= 0) return known;
    const id = this.#index.add(this.heapLength, length);
    this.#store(data, at, length);
    return id;
  }

  #store(data: Buffer, at: number, length: number): void {
    if (this.heapLength + length > this.heap.length) {
      const heap = Buffer.allocUnsafe(Math.max(this.heapLength + length, this.heap.length * 2));
      this.heap.copy(heap, 0, 0, this.heapLength);
      this.heap = heap;
    }
    data.copy(this.heap, this.heapLength, at, at + length);
    this.heapLength += length;
  }
}

// FNV-1a where a native call would cost more than the bytes do.
function hashOf(data: Buffer, at: number, length: number): number {
  if (length > 64) return crc32(data.subarray(at, at + length)) >>> 0;
  let hash = 0x811c9dc5;
  for (let end = at + length; at < end; at++) hash = Math.imul(hash ^ data[at]!, 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}
