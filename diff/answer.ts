// One exchange's answer, recorded or replayed, in the terms in which they are compared: silence of a quiet operation
// means what its status would have said, and what legitimately differs between correct runs is left out.

import { HEADER_BYTES } from '../protocol/header.ts';
import { Opcode, isRead, opcodeInfo, type Family } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import { Outcome, type Batch } from '../trace/batch.ts';
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

function silentStatus(opcode: number): number {
  return isRead[opcode] === 1 ? Status.notFound : Status.ok;
}

function silence(opcode: number): Answer {
  return { status: silentStatus(opcode), silent: true, frames: 0, extras: empty, key: empty, value: empty };
}

/** The recorded answer; undefined where the recording does not know it. */
export function recordedAnswer(batch: Batch, row: number): Answer | undefined {
  const outcome = batch.outcome[row];
  if (outcome === Outcome.silent) return silence(batch.opcode[row]!);
  if (outcome !== Outcome.answered && outcome !== Outcome.conditional) return undefined;
  return {
    status: batch.status[row]!,
    silent: false,
    frames: batch.frames[row]!,
    extras: batch.answerExtras(row),
    key: batch.answerKey(row),
    value: batch.answerValue(row),
  };
}

/** The status of the recorded answer, or what its silence means; -1 where the recording does not know it. */
export function recordedStatus(batch: Batch, row: number): number {
  const outcome = batch.outcome[row];
  if (outcome === Outcome.silent) return silentStatus(batch.opcode[row]!);
  return outcome === Outcome.answered || outcome === Outcome.conditional ? batch.status[row]! : -1;
}

/** The replay's answer; undefined where there was none. */
export function replayedAnswer(
  batch: Batch,
  row: number,
  results: ResultBatch,
  resultRow: number,
): Answer | undefined {
  const result = results.result[resultRow];
  if (result === Result.silent) return silence(batch.opcode[row]!);
  // Of an answer that was no frame nothing is known.
  if (results.frames[resultRow] === 0) return undefined;
  if (result !== Result.answered && result !== Result.malformed) return undefined;
  if (results.agrees[resultRow] === 1) return recordedAnswer(batch, row);
  return {
    status: results.status[resultRow]!,
    silent: false,
    frames: results.frames[resultRow]!,
    extras: results.extras(resultRow),
    key: results.key(resultRow),
    value: results.value(resultRow),
  };
}

/** The two say the same: CAS ids, error texts, the padding of counters, and what a server says of itself aside. */
export function agree(opcode: number, recorded: Answer, replayed: Answer): boolean {
  if (recorded.status !== replayed.status) return false;
  const family = opcodeInfo(opcode)?.family;
  if (family === 'version') return replayed.value.length > 0 === recorded.value.length > 0;
  if (family === 'stat') return recorded.frames > 1 === replayed.frames > 1;
  if (family === 'saslList') return true;
  if (!recorded.key.equals(replayed.key)) return false;
  if (recorded.status !== Status.ok) return true;
  if (!recorded.extras.equals(replayed.extras)) return false;
  return sameValue(recorded.value, replayed.value);
}

/** Equal, or the same decimal counter with other padding: memcached pads with spaces what became shorter in place. */
export function sameValue(a: Buffer, b: Buffer): boolean {
  if (a.equals(b)) return true;
  const trimmedA = unpadded(a);
  const trimmedB = unpadded(b);
  return trimmedA !== undefined && trimmedB !== undefined && trimmedA.equals(trimmedB);
}

const MAX_COUNTER_BYTES = 24;

/** A decimal number without the spaces behind it; undefined where the bytes are none. */
export function unpadded(value: Buffer): Buffer | undefined {
  if (value.length === 0 || value.length > MAX_COUNTER_BYTES) return undefined;
  let end = value.length;
  while (end > 0 && value[end - 1] === 0x20) end--;
  if (end === 0) return undefined;
  for (let at = 0; at < end; at++) if (value[at]! < 0x30 || value[at]! > 0x39) return undefined;
  return value.subarray(0, end);
}

/** Statuses that the operation may answer with at all; 0x04, 0x20 and 0x81 say that the server refused the request. */
export function isPossible(batch: Batch, row: number, status: number): boolean {
  const opcode = batch.opcode[row]!;
  const withCas = (batch.casHigh[row]! | batch.casLow[row]!) !== 0;
  switch (opcodeInfo(opcode)?.family) {
    case 'get':
    case 'gat':
    case 'touch':
      return status === Status.ok || status === Status.notFound || status === Status.outOfMemory;
    case 'set':
      return isStoreStatus(status) || (withCas && (status === Status.notFound || status === Status.exists));
    case 'add':
      return isStoreStatus(status) || status === Status.exists || (withCas && status === Status.notFound);
    case 'replace':
      return isStoreStatus(status) || status === Status.notFound || (withCas && status === Status.exists);
    case 'append':
    case 'prepend':
      return isStoreStatus(status) || status === Status.notStored || (withCas && status === Status.exists);
    case 'delete':
      return status === Status.ok || status === Status.notFound || (withCas && status === Status.exists);
    case 'incr':
    case 'decr':
      return (
        status === Status.ok ||
        status === Status.notFound ||
        status === Status.notStored ||
        status === Status.nonNumeric ||
        status === Status.outOfMemory ||
        (withCas && status === Status.exists)
      );
    case undefined:
      return status === Status.unknownCommand;
    default:
      return false;
  }
}

function isStoreStatus(status: number): boolean {
  return status === Status.ok || status === Status.tooLarge || status === Status.outOfMemory;
}

/** Bytes of extras and value that a successful answer has, by the family of its operation. */
const shapes: Partial<Record<Family, { extras: number; value?: number }>> = {
  get: { extras: 4 },
  gat: { extras: 4 },
  touch: { extras: 4, value: 0 },
  incr: { extras: 0, value: 8 },
  decr: { extras: 0, value: 8 },
};
const anyLength = -1;
const extrasBytes = new Int8Array(256).fill(anyLength);
const valueBytes = new Int8Array(256).fill(anyLength);
for (let opcode = 0; opcode < 256; opcode++) {
  const family = opcodeInfo(opcode)?.family;
  if (family === undefined || family === 'version' || family === 'saslList' || opcode === Opcode.stat)
    continue;
  const { extras, value = anyLength } = shapes[family] ?? { extras: 0, value: 0 };
  extrasBytes[opcode] = extras;
  valueBytes[opcode] = value;
}

function hasShape(opcode: number, status: number, extrasLength: number, valueLength: number): boolean {
  if (status !== Status.ok) return true;
  const extras = extrasBytes[opcode]!;
  const value = valueBytes[opcode]!;
  return (extras === anyLength || extras === extrasLength) && (value === anyLength || value === valueLength);
}

/** Lengths that memcached gives a successful answer; anything else is no answer to this request. */
export function isWellFormed(opcode: number, { silent, status, extras, value }: Answer): boolean {
  return silent || hasShape(opcode, status, extras.length, value.length);
}

/** The recorded answer is well-formed, and names no key. */
export function isPlain(batch: Batch, row: number): boolean {
  return (
    batch.answerKeyLength[row] === 0 &&
    hasShape(
      batch.opcode[row]!,
      batch.status[row]!,
      batch.answerExtrasLength[row]!,
      batch.answerValueLength[row]!,
    )
  );
}

/** Bytes of the request's frame. */
export function requestBytes(batch: Batch, row: number): number {
  return HEADER_BYTES + batch.extrasLength[row]! + batch.keyLength[row]! + batch.valueLength[row]!;
}
