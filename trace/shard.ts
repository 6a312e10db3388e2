// Shards: the parts of a replay that machines share. Whose an exchange is depends on its key alone, so that all that was
// ever asked of a key lies in one shard: its order, its values and its CAS tokens need nothing of the others. The same key
// of another user or another server lies there too, since whether those are one item depends on users and routes.

import { grown, type Batch } from './batch.ts';
import { hashKey } from './sample.ts';

export interface Shard {
  /** From 1 on. */
  index: number;
  of: number;
}

export const MAX_SHARDS = 4096;

/** Another hash than that of samples, of which each would lie in few shards; the digits of pi. */
const SEED = 0x243f6a88;

/** Of the key data[start, end): its shard is the rest of the division by their number. */
export function shardHash(data: Uint8Array, start: number, end: number): number {
  return hashKey(data, start, end, SEED);
}

/** `2/8` */
export function formatShard({ index, of }: Shard): string {
  return `${index}/${of}`;
}

/** Undefined where it is none. */
export function parseShard(text: string): Shard | undefined {
  const [, index, of] = /^(\d{1,4})\/(\d{1,4})$/.exec(text)?.map(Number) ?? [];
  if (index === undefined || of === undefined) return undefined;
  return index >= 1 && index <= of && of <= MAX_SHARDS ? { index, of } : undefined;
}

/**
 * Tells the shards of rows, from the beginning of a trace, or of a stretch of it. What has no key goes with the key before it
 * on its connection, as routes send it; before there was any, all such rows of a connection go to one shard.
 */
export class Sharding {
  readonly #of: number;
  /** By connection: of the key before. */
  readonly #last: number[] = [];
  #ofKey = new Int32Array(0);
  #shards = new Uint16Array(0);

  constructor(of: number) {
    this.#of = of;
  }

  /** By row, counted from 0; valid until the next batch. */
  shardsOf(batch: Batch): Uint16Array {
    const { count, keyCount } = batch;
    if (this.#shards.length < count) this.#shards = new Uint16Array(count);
    if (this.#ofKey.length < keyCount) this.#ofKey = new Int32Array(keyCount);
    const known = this.#ofKey.fill(-1, 0, keyCount);
    const shards = this.#shards;
    const last = this.#last;
    for (let row = 0; row < count; row++) {
      const connection = batch.connection[row]!;
      const length = batch.keyLength[row]!;
      if (length === 0) {
        shards[row] = last[connection] ?? connection % this.#of;
        continue;
      }
      const id = batch.keyId[row]!;
      let shard = known[id]!;
      if (shard === -1) {
        const at = batch.keyAt[row]!;
        shard = shardHash(batch.heap, at, at + length) % this.#of;
        known[id] = shard;
      }
      last[connection] = shard;
      shards[row] = shard;
    }
    return shards;
  }
}

/** The batch without the rows of other shards. The batch itself is changed. */
export function keepShard(batch: Batch, shards: Uint16Array, shard: Shard): Batch {
  const wanted = shard.index - 1;
  let kept = 0;
  for (let row = 0; row < batch.count; row++) {
    if (shards[row] !== wanted) continue;
    if (kept !== row) batch.copyRow(row, kept);
    kept++;
  }
  batch.count = kept;
  return batch;
}

const WORD_BITS = 32;
/** Words between two counts. */
const STEP = 64;

/** Which rows of a trace are a shard's, a bit each, so that the n-th of them is found among all. */
export class Membership {
  #words = new Uint32Array(1024);
  #count = 0;
  /** Members before each STEP of words, once they were asked for. */
  #before: number[] | undefined;

  /** The next rows of the trace. */
  add(shards: Uint16Array, count: number, shard: Shard): void {
    const needed = Math.ceil((this.#count + count) / WORD_BITS);
    if (needed > this.#words.length) {
      this.#words = grown(this.#words, new Uint32Array(Math.max(needed, this.#words.length * 2)));
    }
    const wanted = shard.index - 1;
    for (let row = 0; row < count; row++) {
      const at = this.#count + row;
      if (shards[row] === wanted) this.#words[at >>> 5]! |= 1 << (at & 31);
    }
    this.#count += count;
    this.#before = undefined;
  }

  /** Place among all rows of the n-th member, from 0; -1 where there are fewer. */
  nth(n: number): number {
    const before = (this.#before ??= this.#counted());
    let low = 0;
    let high = before.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (before[middle]! <= n) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return -1;
    let left = n - before[low - 1]!;
    for (let word = (low - 1) * STEP; word * WORD_BITS < this.#count; word++) {
      const ones = bitsOf(this.#words[word]!);
      if (left >= ones) {
        left -= ones;
        continue;
      }
      for (let bit = 0; bit < WORD_BITS; bit++)
        if (((this.#words[word]! >>> bit) & 1) === 1 && left-- === 0) return word * WORD_BITS + bit;
    }
    return -1;
  }

  #counted(): number[] {
    const before: number[] = [];
    let members = 0;
    for (let word = 0; word * WORD_BITS < this.#count; word++) {
      if (word % STEP === 0) before.push(members);
      members += bitsOf(this.#words[word]!);
    }
    return before;
  }
}

function bitsOf(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
