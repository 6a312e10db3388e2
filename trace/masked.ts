// Values that a trace does not hold: where it was recorded with `--values hash` or `size`, a token stands for each, and
// the reader derives bytes from it, the same wherever the same value was. So a replay sends and compares real bytes of
// the right length, and nothing of the customer's.
//
// A token: kind (1 byte), length (u32, little-endian), hash (8 bytes; zeros in `size`). Kind 2 is followed by the value
// itself instead. Kind 3 ends behind the length: a value that the capture lacked bytes of, which also traces with values
// have; its row is marked (RowFlag.valueUnknown, RowFlag.answerUnknown), and bytes are derived from the key.

import { fnv1a32 } from '../protocol/distribution.ts';
import { isRead } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import { Outcome, RowFlag, type Batch } from './batch.ts';
import { TraceError } from './error.ts';
import type { TraceMeta } from './meta.ts';

export const TokenKind = {
  bytes: 0,
  /** A decimal number: digits are derived, so that counters stay counters. */
  digits: 1,
  /** Kept as it is. */
  clear: 2,
  /** Not known. */
  unknown: 3,
} as const;
export const TOKEN_BYTES = 13;
const UNKNOWN_BYTES = 5;
const ANY_UNKNOWN = RowFlag.valueUnknown | RowFlag.answerUnknown;

/** Bytes that the tokens of one block may become. */
const MAX_DERIVED_BYTES = 512 * 1024 * 1024;
/** Digits of a number that memcached can count with, whatever they are. */
const MAX_DIGITS = 20;

/** A request's value, unless it was withheld altogether. */
export function hasMaskedValue(batch: Batch, row: number): boolean {
  return batch.valueLength[row]! > 0 && (batch.flags[row]! & RowFlag.secret) === 0;
}

/** The value of a hit. */
export function hasMaskedAnswer(batch: Batch, row: number): boolean {
  return (
    batch.answerValueLength[row]! > 0 &&
    isRead[batch.opcode[row]!] === 1 &&
    batch.outcome[row] === Outcome.answered &&
    batch.status[row] === Status.ok
  );
}

/** What is known of a value: it was recorded, a reader has derived it from a token, or the capture lacked bytes of it. */
export type Origin = 'recorded' | 'derived' | 'unknown';

/** Of the request's value in a row that was read. @param privacy of its trace */
export function originOfValue(batch: Batch, row: number, privacy: TraceMeta['privacy']): Origin {
  if ((batch.flags[row]! & RowFlag.valueUnknown) !== 0) return 'unknown';
  if (privacy.values === 'full' || !hasMaskedValue(batch, row)) return 'recorded';
  return isClear(batch.value(row), privacy) ? 'recorded' : 'derived';
}

/** The same of the answer's value. */
export function originOfAnswer(batch: Batch, row: number, privacy: TraceMeta['privacy']): Origin {
  if ((batch.flags[row]! & RowFlag.answerUnknown) !== 0) return 'unknown';
  if (privacy.values === 'full' || !hasMaskedAnswer(batch, row)) return 'recorded';
  return isClear(batch.answerValue(row), privacy) ? 'recorded' : 'derived';
}

/** A number, in a trace that has numbers as they were. */
function isClear(value: Buffer, { numbers }: TraceMeta['privacy']): boolean {
  return numbers === 'clear' && value.length <= MAX_DIGITS && /^\d+$/.test(value.toString('latin1'));
}

/** Puts the token of a value of so many bytes, of which some are not known, into the heap; returns its place. */
export function putUnknown(batch: Batch, bytes: number): number {
  const at = batch.allocate(UNKNOWN_BYTES);
  batch.heap[at] = TokenKind.unknown;
  batch.heap.writeUInt32LE(bytes, at + 1);
  return at;
}

/** How long the value is that stands at this place of a row whose values may be unknown. */
export function lengthOfUnknown(batch: Batch, at: number): number {
  return batch.heap.readUInt32LE(at + 1);
}

/** Whether there is anything to derive in a batch of a trace that has its values. */
export function hasUnknown(batch: Batch): boolean {
  for (let row = 0; row < batch.count; row++) if ((batch.flags[row]! & ANY_UNKNOWN) !== 0) return true;
  return false;
}

/**
 * Makes tokens of values that are not known into such as stand for values that were recorded, with the same derived bytes,
 * and takes the marks away: for whoever changes values.
 * @throws TraceError BROKEN
 */
export function settleUnknown(batch: Batch, where: string): void {
  for (let row = 0; row < batch.count; row++) {
    const flags = batch.flags[row]!;
    if ((flags & RowFlag.valueUnknown) !== 0) {
      const bytes = unknownBytes(batch, row, batch.valueAt[row]!, batch.valueLength[row]!, where);
      batch.valueAt[row] = putDerived(batch, row, bytes);
      batch.valueLength[row] = TOKEN_BYTES;
    }
    if ((flags & RowFlag.answerUnknown) !== 0) {
      const { answerValueAt, answerValueLength } = batch;
      const bytes = unknownBytes(batch, row, answerValueAt[row]!, answerValueLength[row]!, where);
      batch.answerValueAt[row] = putDerived(batch, row, bytes);
      batch.answerValueLength[row] = TOKEN_BYTES;
    }
    batch.flags[row] = flags & ~ANY_UNKNOWN;
  }
}

/** How long the value is whose token should stand there. @throws TraceError BROKEN */
function unknownBytes(batch: Batch, row: number, at: number, length: number, where: string): number {
  if (length === UNKNOWN_BYTES && batch.heap[at] === TokenKind.unknown) return lengthOfUnknown(batch, at);
  throw new TraceError('BROKEN', `${where}: expected the token of an unknown value in its row ${row}`);
}

function putDerived(batch: Batch, row: number, bytes: number): number {
  const hash = hashOfKey(batch, row);
  const at = batch.allocate(TOKEN_BYTES);
  batch.heap[at] = TokenKind.bytes;
  batch.heap.writeUInt32LE(bytes, at + 1);
  batch.heap.writeUInt32LE(hash, at + 5);
  batch.heap.writeUInt32LE(~hash >>> 0, at + 9);
  return at;
}

function hashOfKey(batch: Batch, row: number): number {
  return fnv1a32(batch.heap, batch.keyAt[row]!, batch.keyLength[row]!);
}

/** Forgets which values are not known, once bytes are derived for them. */
export function clearUnknown(batch: Batch): void {
  for (let row = 0; row < batch.count; row++) batch.flags[row]! &= ~ANY_UNKNOWN;
}

/**
 * Puts derived bytes in the place of every token of a batch that was just read.
 * @param areMasked whether tokens stand for all values, or only for those that are not known
 * @throws TraceError BROKEN
 */
export function deriveValues(batch: Batch, where: string, areMasked: boolean): void {
  const known = new Map<number | string, { at: number; length: number }>();
  const parts: Buffer[] = [batch.heap];
  let end = batch.heapLength;
  const unknown = (row: number, at: number, length: number): { at: number; length: number } => {
    const bytes = unknownBytes(batch, row, at, length, where);
    const name = `${batch.keyId[row]} ${bytes}`;
    const before = known.get(name);
    if (before !== undefined) return before;
    const hash = hashOfKey(batch, row);
    checkRoom(bytes, MAX_DERIVED_BYTES - (end - batch.heapLength), where);
    parts.push(deriveBytes(TokenKind.bytes, bytes, hash, ~hash >>> 0));
    const place = { at: end, length: bytes };
    known.set(name, place);
    end += bytes;
    return place;
  };
  const derived = (at: number, length: number): { at: number; length: number } => {
    const before = known.get(at);
    if (before !== undefined) return before;
    const value = derive(batch.heap, at, length, MAX_DERIVED_BYTES - (end - batch.heapLength), where);
    const place = { at: end, length: value.length };
    known.set(at, place);
    parts.push(value);
    end += value.length;
    return place;
  };
  for (let row = 0; row < batch.count; row++) {
    const flags = batch.flags[row]!;
    const isUnknown = (flags & RowFlag.valueUnknown) !== 0;
    if (isUnknown || (areMasked && hasMaskedValue(batch, row))) {
      const { at, length } = isUnknown
        ? unknown(row, batch.valueAt[row]!, batch.valueLength[row]!)
        : derived(batch.valueAt[row]!, batch.valueLength[row]!);
      batch.valueAt[row] = at;
      batch.valueLength[row] = length;
    }
    const isAnswerUnknown = (flags & RowFlag.answerUnknown) !== 0;
    if (isAnswerUnknown || (areMasked && hasMaskedAnswer(batch, row))) {
      const { at, length } = isAnswerUnknown
        ? unknown(row, batch.answerValueAt[row]!, batch.answerValueLength[row]!)
        : derived(batch.answerValueAt[row]!, batch.answerValueLength[row]!);
      batch.answerValueAt[row] = at;
      batch.answerValueLength[row] = length;
    }
  }
  batch.heap = Buffer.concat(parts, end);
  batch.heapLength = end;
}

function derive(heap: Buffer, at: number, length: number, most: number, where: string): Buffer {
  const kind = heap[at]!;
  if (kind === TokenKind.clear) return heap.subarray(at + 1, at + length);
  if (length !== TOKEN_BYTES || (kind !== TokenKind.bytes && kind !== TokenKind.digits))
    throw new TraceError(
      'BROKEN',
      `${where}: expected the token of a value, got ${length} bytes of kind ${kind}`,
    );
  const bytes = heap.readUInt32LE(at + 1);
  checkRoom(bytes, most, where);
  return deriveBytes(kind, bytes, heap.readUInt32LE(at + 5), heap.readUInt32LE(at + 9));
}

function checkRoom(bytes: number, most: number, where: string): void {
  if (bytes > most)
    throw new TraceError('BROKEN', `${where}: values of more than ${MAX_DERIVED_BYTES} bytes in one block`);
}

/** The bytes of a token: xorshift128 from the two halves of the hash. */
export function deriveBytes(kind: number, length: number, low: number, high: number): Buffer {
  const out = Buffer.allocUnsafe((length + 3) & ~3);
  let a = (low ^ 0x9e3779b9) | 0;
  let b = (high ^ 0x243f6a88) | 0;
  let c = (low + Math.imul(length, 0x85ebca6b)) | 0;
  let d = (high ^ Math.imul(length, 0xc2b2ae35)) | 1;
  for (let round = 0; round < 8; round++) step();
  for (let at = 0; at < length; at += 4) out.writeInt32LE(step(), at);
  if (kind === TokenKind.digits) {
    for (let at = 0; at < length; at++) out[at] = 0x30 + (out[at]! % 10);
    // No leading zero, and nothing beyond 2^64.
    if (length > 0) out[0] = length >= MAX_DIGITS ? 0x31 : 0x31 + (out[0]! % 9);
  }
  return out.subarray(0, length);

  function step(): number {
    const t = a ^ (a << 11);
    a = b;
    b = c;
    c = d;
    d = d ^ (d >>> 19) ^ t ^ (t >>> 8);
    return d;
  }
}
