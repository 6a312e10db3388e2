// One exchange's answer, recorded or replayed, in the terms in which they are compared: silence of a quiet operation
// means what its status would have said, and what legitimately differs between correct runs is left out.

import { opcodeInfo } from '../protocol/opcode.ts';
import { silentStatus } from '../protocol/semantics.ts';
import { Status } from '../protocol/status.ts';
import { Outcome, type Batch } from '../trace/batch.ts';
import { sameBytes } from '../trace/bytes.ts';
import { Result, type ResultBatch } from '../trace/results.ts';

export interface Answer {
  /** What the answer says, or what silence means. */
  status: number;
  silent: boolean;
  frames: number;
  /** Views, valid as long as the batch. */
  extras: Buffer;
  key: Buffer;
  value: Buffer;
}

const empty = Buffer.alloc(0);

/** The status of the recorded answer, or what its silence means; -1 where the recording does not know it. */
export function recordedStatus(batch: Batch, row: number): number {
  const outcome = batch.outcome[row];
  if (outcome === Outcome.silent) return silentStatus(batch.opcode[row]!);
  return outcome === Outcome.answered || outcome === Outcome.conditional ? batch.status[row]! : -1;
}

/** An answer, or what silence means, by where its parts stand: no views are made of what is asked of many. */
export class Placed {
  status = 0;
  silent = false;
  frames = 0;
  heap: Buffer = empty;
  extrasAt = 0;
  extrasLength = 0;
  keyAt = 0;
  keyLength = 0;
  valueAt = 0;
  valueLength = 0;

  /** The replay's. @returns false where there was none */
  replayed(batch: Batch, row: number, results: ResultBatch, resultRow: number): boolean {
    const result = results.result[resultRow];
    if (result === Result.silent) return this.#silence(batch.opcode[row]!);
    // Of an answer that was no frame nothing is known.
    if (results.frames[resultRow] === 0) return false;
    if (result !== Result.answered && result !== Result.malformed) return false;
    if (results.agrees[resultRow] === 1) return this.recorded(batch, row);
    this.status = results.status[resultRow]!;
    this.silent = false;
    this.frames = results.frames[resultRow]!;
    this.heap = results.heap;
    this.extrasAt = results.extrasAt[resultRow]!;
    this.extrasLength = results.extrasLength[resultRow]!;
    this.keyAt = results.keyAt[resultRow]!;
    this.keyLength = results.keyLength[resultRow]!;
    this.valueAt = results.valueAt[resultRow]!;
    this.valueLength = results.valueLength[resultRow]!;
    return true;
  }

  /** The recorded one. @returns false where the recording does not know it */
  recorded(batch: Batch, row: number): boolean {
    const outcome = batch.outcome[row];
    if (outcome === Outcome.silent) return this.#silence(batch.opcode[row]!);
    if (outcome !== Outcome.answered && outcome !== Outcome.conditional) return false;
    this.status = batch.status[row]!;
    this.silent = false;
    this.frames = batch.frames[row]!;
    this.heap = batch.heap;
    this.extrasAt = batch.answerExtrasAt[row]!;
    this.extrasLength = batch.answerExtrasLength[row]!;
    this.keyAt = batch.answerKeyAt[row]!;
    this.keyLength = batch.answerKeyLength[row]!;
    this.valueAt = batch.answerValueAt[row]!;
    this.valueLength = batch.answerValueLength[row]!;
    return true;
  }

  #silence(opcode: number): true {
    this.status = silentStatus(opcode);
    this.silent = true;
    this.frames = 0;
    this.heap = empty;
    this.extrasLength = 0;
    this.keyLength = 0;
    this.valueLength = 0;
    return true;
  }
}

const placed = new Placed();

function viewsOf(answer: Placed): Answer {
  const { status, silent, frames, heap, extrasAt, keyAt, valueAt } = answer;
  return {
    status,
    silent,
    frames,
    extras: heap.subarray(extrasAt, extrasAt + answer.extrasLength),
    key: heap.subarray(keyAt, keyAt + answer.keyLength),
    value: heap.subarray(valueAt, valueAt + answer.valueLength),
  };
}

/** The recorded answer; undefined where the recording does not know it. */
export function recordedAnswer(batch: Batch, row: number): Answer | undefined {
  return placed.recorded(batch, row) ? viewsOf(placed) : undefined;
}

/** The replay's answer; undefined where there was none. */
export function replayedAnswer(
  batch: Batch,
  row: number,
  results: ResultBatch,
  resultRow: number,
): Answer | undefined {
  return placed.replayed(batch, row, results, resultRow) ? viewsOf(placed) : undefined;
}

/** The two say the same: CAS ids, error texts, the padding of counters, and what a server says of itself aside. */
export function agree(opcode: number, recorded: Placed, replayed: Placed): boolean {
  if (recorded.status !== replayed.status) return false;
  const family = opcodeInfo(opcode)?.family;
  if (family === 'version') return replayed.valueLength > 0 === recorded.valueLength > 0;
  if (family === 'stat') return recorded.frames > 1 === replayed.frames > 1;
  if (family === 'saslList') return true;
  const { heap, keyLength, extrasLength } = recorded;
  if (keyLength !== replayed.keyLength) return false;
  if (!sameBytes(heap, recorded.keyAt, replayed.heap, replayed.keyAt, keyLength)) return false;
  if (recorded.status !== Status.ok) return true;
  if (extrasLength !== replayed.extrasLength) return false;
  if (!sameBytes(heap, recorded.extrasAt, replayed.heap, replayed.extrasAt, extrasLength)) return false;
  return sameValue(recorded, replayed);
}

/** Equal, or the same decimal counter with other padding: memcached pads with spaces what became shorter in place. */
function sameValue(a: Placed, b: Placed): boolean {
  const { heap, valueAt, valueLength } = a;
  if (valueLength === b.valueLength && sameBytes(heap, valueAt, b.heap, b.valueAt, valueLength)) return true;
  const length = unpadded(a);
  return length > 0 && length === unpadded(b) && sameBytes(heap, valueAt, b.heap, b.valueAt, length);
}

const MAX_COUNTER_BYTES = 24;

/** Bytes of a decimal number without the spaces behind it; 0 where the value is none. */
function unpadded({ heap, valueAt, valueLength }: Placed): number {
  if (valueLength > MAX_COUNTER_BYTES) return 0;
  let length = valueLength;
  while (length > 0 && heap[valueAt + length - 1] === 0x20) length--;
  for (let n = 0; n < length; n++) if (heap[valueAt + n]! < 0x30 || heap[valueAt + n]! > 0x39) return 0;
  return length;
}
