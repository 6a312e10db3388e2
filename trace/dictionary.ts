// The byte strings of one block, each stored once: keys, values and extras of requests and answers share it, so a GET
// that returns what a SET stored costs a reference. An open-addressing table in typed arrays; no strings are made.

import { crc32 } from 'node:zlib';

export class Dictionary {
  /** The distinct strings, one after the other. */
  heap = Buffer.allocUnsafe(65_536);
  heapLength = 0;
  count = 0;
  #at = new Float64Array(1024);
  #length = new Uint32Array(1024);
  #hash = new Uint32Array(1024);
  #table = new Int32Array(4096).fill(-1);

  clear(): void {
    this.heapLength = 0;
    this.count = 0;
    this.#table.fill(-1);
  }

  lengthOf(id: number): number {
    return this.#length[id]!;
  }

  /** The number of data[at, at + length); a new one is `count` as it was before the call. */
  number(data: Buffer, at: number, length: number): number {
    const hash = hashOf(data, at, length);
    let slot = hash & (this.#table.length - 1);
    for (let id = this.#table[slot]!; id >= 0; id = this.#table[slot]!) {
      if (this.#hash[id] === hash && this.#length[id] === length) {
        const from = this.#at[id]!;
        if (this.heap.compare(data, at, at + length, from, from + length) === 0) return id;
      }
      slot = (slot + 1) & (this.#table.length - 1);
    }
    const id = this.count++;
    if (id === this.#hash.length) this.#growEntries();
    this.#at[id] = this.heapLength;
    this.#length[id] = length;
    this.#hash[id] = hash;
    this.#table[slot] = id;
    this.#store(data, at, length);
    if (this.count * 2 > this.#table.length) this.#growTable();
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
      while (table[slot]! >= 0) slot = (slot + 1) & (table.length - 1);
      table[slot] = id;
    }
    this.#table = table;
  }
}

// FNV-1a where a native call would cost more than the bytes do.
function hashOf(data: Buffer, at: number, length: number): number {
  if (length > 64) return crc32(data.subarray(at, at + length)) >>> 0;
  let hash = 0x811c9dc5;
  for (let end = at + length; at < end; at++) hash = Math.imul(hash ^ data[at]!, 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}
