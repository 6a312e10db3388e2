// What a replay saw, in columns: one row an exchange of the trace, in the trace's order. A results file is to a replay
// what a trace is to a recording; verdicts are computed from the two together.

import { NEVER, giveUp, grown, renewed, type Lease } from './batch.ts';

/**
 * How an exchange ended in the replay. QUIT and QUITQ ask for the end of the connection: they are *answered* where it ended
 * behind an answer, *closed* where it ended without one, and *unanswered* where the target kept it open.
 */
export const Result = {
  answered: 0,
  /** Quiet, and proven silent by a later answer on its connection. */
  silent: 1,
  /** No answer within the time-out. */
  unanswered: 2,
  /** The connection ended before the answer. */
  closed: 3,
  /** Quiet, and nothing proved the silence. */
  indeterminate: 4,
  /** Not sent; `reason` says why. */
  skipped: 5,
  /** The answer was no valid frame, or not one that this request could get. */
  malformed: 6,
} as const;
export type Result = (typeof Result)[keyof typeof Result];
export const resultNames = [
  'answered',
  'silent',
  'unanswered',
  'closed',
  'indeterminate',
  'skipped',
  'malformed',
] as const;

/** Why an exchange was not sent. */
export const SkipReason = {
  none: 0,
  /** The operation is gated: FLUSH, STAT reset and the like. */
  gated: 1,
  /** SASL exchanges: a replay brings its own credentials. */
  auth: 2,
  /** Its CAS token was issued before the capture, so the replay cannot know its counterpart. */
  unmappableCas: 3,
  /** The frame was not well-formed; sending it could smuggle requests. */
  unsafe: 4,
  /** The connection could not be opened. */
  unreachable: 5,
  /** The run was stopped before this exchange was due. */
  aborted: 6,
  /** Another worker's; in the parts of a results file only, before they are put together. */
  elsewhere: 7,
  /** It was sent; its connection ended at a request before it. */
  behind: 8,
  /** It would have stored again what a read missed, and the target did not miss it. */
  notNeeded: 9,
  /** Too many time-outs, or broken connections, came in a row on its target or connection: it would have met one more. */
  resting: 10,
  /** In a recording that is judged by itself: it began while requests that are not in it were under way. */
  early: 11,
} as const;
export type SkipReason = (typeof SkipReason)[keyof typeof SkipReason];
export const skipReasonNames = [
  'none',
  'gated',
  'auth',
  'unmappable-cas',
  'unsafe',
  'unreachable',
  'aborted',
  'elsewhere',
  'behind',
  'not-needed',
  'resting',
  'early',
] as const;

export class ResultBatch {
  /** Index in the trace of row 0. */
  firstIndex = 0;
  count = 0;
  heap: Buffer;
  heapLength = 0;

  capacity = 0;
  result!: Uint8Array;
  /** A SkipReason. */
  reason!: Uint8Array;
  /** 1: status, extras, key and value are byte for byte those recorded, and are not stored again. */
  agrees!: Uint8Array;
  /** Index of the target that the request went to, in the results' metadata. */
  target!: Uint16Array;
  /** Times in ns since the replay's start; NEVER where there is none. */
  intendedNs!: Float64Array;
  sentNs!: Float64Array;
  /** First byte of the answer; of the proof, where silent. */
  answeredNs!: Float64Array;
  /** How long the request waited for answers of the target after it was due, ns. */
  blockedNs!: Float64Array;

  frames!: Uint32Array;
  status!: Uint16Array;
  casHigh!: Uint32Array;
  casLow!: Uint32Array;
  extrasAt!: Uint32Array;
  extrasLength!: Uint8Array;
  keyAt!: Uint32Array;
  keyLength!: Uint16Array;
  valueAt!: Uint32Array;
  valueLength!: Uint32Array;

  /** Of a batch whose memory its reader uses again. */
  lease: Lease | undefined;

  constructor(capacity = 1024, heapBytes = 65_536) {
    this.heap = Buffer.allocUnsafe(heapBytes);
    this.reserve(capacity);
  }

  /** Makes room for `rows` rows; what is there stays. */
  reserve(rows: number): void {
    if (rows <= this.capacity) return;
    const capacity = Math.max(rows, this.capacity * 2);
    for (const name of resultByteColumns) this[name] = grown(this[name], new Uint8Array(capacity));
    for (const name of resultShortColumns) this[name] = grown(this[name], new Uint16Array(capacity));
    for (const name of resultWordColumns) this[name] = grown(this[name], new Uint32Array(capacity));
    for (const name of resultTimeColumns)
      this[name] = grown(this[name], new Float64Array(capacity).fill(NEVER));
    this.capacity = capacity;
  }

  /** Adds a row that was not sent. */
  skip(reason: SkipReason): void {
    const row = this.count++;
    this.reserve(this.count);
    for (const name of [...resultByteColumns, ...resultShortColumns, ...resultWordColumns])
      this[name][row] = 0;
    for (const name of resultTimeColumns) this[name][row] = NEVER;
    this.blockedNs[row] = 0;
    this.result[row] = Result.skipped;
    this.reason[row] = reason;
  }

  /** Adds a row of another batch, with its bytes. */
  take(from: ResultBatch, row: number): void {
    const at = this.count++;
    this.reserve(this.count);
    for (const name of resultByteColumns) this[name][at] = from[name][row]!;
    for (const name of resultShortColumns) this[name][at] = from[name][row]!;
    for (const name of resultWordColumns) this[name][at] = from[name][row]!;
    for (const name of resultTimeColumns) this[name][at] = from[name][row]!;
    this.#takeBytes(from, from.extrasAt[row]!, from.extrasLength[row]!, this.extrasAt, at);
    this.#takeBytes(from, from.keyAt[row]!, from.keyLength[row]!, this.keyAt, at);
    this.#takeBytes(from, from.valueAt[row]!, from.valueLength[row]!, this.valueAt, at);
  }

  /** Adds all rows of another batch, and its heap. */
  append(from: ResultBatch): void {
    const at = this.count;
    const { count } = from;
    this.reserve(at + count);
    for (const name of resultByteColumns) this[name].set(from[name].subarray(0, count), at);
    for (const name of resultShortColumns) this[name].set(from[name].subarray(0, count), at);
    for (const name of resultWordColumns) this[name].set(from[name].subarray(0, count), at);
    for (const name of resultTimeColumns) this[name].set(from[name].subarray(0, count), at);
    this.count = at + count;
    if (from.heapLength === 0) return;
    const base = this.allocate(from.heapLength);
    from.heap.copy(this.heap, base, 0, from.heapLength);
    for (let row = at; row < this.count; row++) {
      this.extrasAt[row]! += base;
      this.keyAt[row]! += base;
      this.valueAt[row]! += base;
    }
  }

  #takeBytes(from: ResultBatch, start: number, length: number, places: Uint32Array, row: number): void {
    places[row] = length === 0 ? 0 : this.allocate(length);
    if (length > 0) from.heap.copy(this.heap, places[row], start, start + length);
  }

  /** Makes room for `bytes` more bytes in the heap and returns where they begin; the caller fills them. */
  allocate(bytes: number): number {
    const at = this.heapLength;
    if (at + bytes > this.heap.length) {
      const heap = Buffer.allocUnsafe(Math.max(at + bytes, this.heap.length * 2));
      this.heap.copy(heap, 0, 0, at);
      this.heap = heap;
    }
    this.heapLength = at + bytes;
    return at;
  }

  /** As of a Batch. */
  release(): void {
    giveUp(this.lease);
  }

  /** Empties the batch for the next use; the memory stays. */
  clear(): void {
    this.count = 0;
    this.heapLength = 0;
    this.heap = renewed(this.heap);
  }

  /** A view of the answer's extras; empty where the answer agrees. */
  extras(row: number): Buffer {
    return this.heap.subarray(this.extrasAt[row], this.extrasAt[row]! + this.extrasLength[row]!);
  }

  /** A view of the answer's key; empty where the answer agrees. */
  key(row: number): Buffer {
    return this.heap.subarray(this.keyAt[row], this.keyAt[row]! + this.keyLength[row]!);
  }

  /** A view of the answer's value; empty where the answer agrees. */
  value(row: number): Buffer {
    return this.heap.subarray(this.valueAt[row], this.valueAt[row]! + this.valueLength[row]!);
  }

  cas(row: number): bigint {
    return (BigInt(this.casHigh[row]!) << 32n) | BigInt(this.casLow[row]!);
  }
}

export const resultByteColumns = ['result', 'reason', 'agrees', 'extrasLength'] as const;
export const resultShortColumns = ['target', 'status', 'keyLength'] as const;
export const resultWordColumns = [
  'frames',
  'casHigh',
  'casLow',
  'extrasAt',
  'keyAt',
  'valueAt',
  'valueLength',
] as const;
export const resultTimeColumns = ['intendedNs', 'sentNs', 'answeredNs', 'blockedNs'] as const;
