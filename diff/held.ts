// What is known of the item under each key, as the first look follows it: columns by the number of the key.

import { lifetimeOf, type Lifetime } from '../protocol/expiry.ts';
import { grown, type Batch } from '../trace/batch.ts';
import type { ReplayClock } from './gather.ts';

export const Known = { unknown: 0, absent: 1, present: 2 } as const;
/** How a key is followed: in the order of the trace, by its CAS ids for a while, or no more. */
export const Following = { inOrder: 0, byIds: 1, odd: 2 } as const;
export const NOT_NUMERIC = -1;
/** There is no version that another may have overtaken. */
export const NONE = -1;

export class Held {
  #capacity = 0;
  following!: Uint8Array;
  known!: Uint8Array;
  high!: Int32Array;
  low!: Int32Array;
  length!: Uint32Array;
  flags!: Uint32Array;
  /** The number that the value is, written plainly; or NOT_NUMERIC. */
  number!: Float64Array;
  /** CAS id of the version that is there, 0: not known; the same in the recording; and the greatest so far. */
  cas!: Float64Array;
  recordedCas!: Float64Array;
  greatest!: Float64Array;
  mayNs!: Float64Array;
  mustNs!: Float64Array;
  /** The earliest moments at which the last change and the last read can have been executed. */
  changedNs!: Float64Array;
  readNs!: Float64Array;
  /** Where the version that is there stands among the recent ones. */
  last!: Float64Array;
  rows!: Uint32Array;
  bytes!: Float64Array;

  constructor() {
    this.reserve(4096);
  }

  reserve(keys: number): void {
    if (keys <= this.#capacity) return;
    const before = this.#capacity;
    const n = Math.max(keys, this.#capacity * 2);
    this.following = grown(this.following, new Uint8Array(n));
    this.known = grown(this.known, new Uint8Array(n));
    this.high = grown(this.high, new Int32Array(n));
    this.low = grown(this.low, new Int32Array(n));
    this.length = grown(this.length, new Uint32Array(n));
    this.flags = grown(this.flags, new Uint32Array(n));
    this.number = grown(this.number, new Float64Array(n));
    this.cas = grown(this.cas, new Float64Array(n));
    this.recordedCas = grown(this.recordedCas, new Float64Array(n));
    this.greatest = grown(this.greatest, new Float64Array(n));
    this.mayNs = grown(this.mayNs, new Float64Array(n));
    this.mustNs = grown(this.mustNs, new Float64Array(n));
    this.changedNs = grown(this.changedNs, new Float64Array(n));
    this.readNs = grown(this.readNs, new Float64Array(n));
    this.last = grown(this.last, new Float64Array(n));
    this.rows = grown(this.rows, new Uint32Array(n));
    this.bytes = grown(this.bytes, new Float64Array(n));
    this.changedNs.fill(-Infinity, before);
    this.readNs.fill(-Infinity, before);
    this.last.fill(NONE, before);
    this.mayNs.fill(Infinity, before);
    this.mustNs.fill(Infinity, before);
    this.#capacity = n;
  }
}

const MAX_DIGITS = 15;

/** The number that these bytes are, written as memcached writes one; or NOT_NUMERIC. */
export function numberOf(heap: Buffer, at: number, length: number): number {
  if (length === 0 || length > MAX_DIGITS || (heap[at] === 0x30 && length > 1)) return NOT_NUMERIC;
  let number = 0;
  for (let i = at; i < at + length; i++) {
    const digit = heap[i]! - 0x30;
    if (digit < 0 || digit > 9) return NOT_NUMERIC;
    number = number * 10 + digit;
  }
  return number;
}

/** Of an item that a row stores, or touches. @param expiry in seconds, as recorded */
export function lifetimeIn(
  { speed, recordedAtSeconds }: ReplayClock,
  expiry: number,
  batch: Batch,
  row: number,
): Lifetime {
  return lifetimeOf(expiry, speed, recordedAtSeconds + batch.requestNs[row]! / 1e9);
}
