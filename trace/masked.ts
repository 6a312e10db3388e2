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
import { MAX_BLOCK_BYTES } from './block.ts';
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

/** No body that memtape records is longer. */
const MAX_VALUE_BYTES = 64 * 1024 * 1024;
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
  throw new TraceError(
    'BROKEN',
    `${where} is broken: expected the token of an unknown value in its row ${row}`,
  );
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

/** Writers begin another block where the tokens of one become more than this. */
export const BLOCK_VALUE_BYTES = 64 * 1024 * 1024;

/** Bytes that a reader makes of the tokens of a row. */
export function derivedBytes(batch: Batch, row: number, areMasked: boolean): number {
  const flags = batch.flags[row]!;
  let bytes = 0;
  if ((flags & RowFlag.valueUnknown) !== 0 || (areMasked && hasMaskedValue(batch, row)))
    bytes += bytesOfToken(batch.heap, batch.valueAt[row]!, batch.valueLength[row]!);
  if ((flags & RowFlag.answerUnknown) !== 0 || (areMasked && hasMaskedAnswer(batch, row)))
    bytes += bytesOfToken(batch.heap, batch.answerValueAt[row]!, batch.answerValueLength[row]!);
  return bytes;
}

function bytesOfToken(heap: Buffer, at: number, length: number): number {
  if (length < UNKNOWN_BYTES) return length;
  return heap[at] === TokenKind.clear ? length - 1 : heap.readUInt32LE(at + 1);
}

/** A value that is to be derived, and where it will stand in the heap. */
interface Derived {
  kind: number;
  at: number;
  length: number;
  low: number;
  high: number;
}

/**
 * Puts derived bytes in the place of every token of a batch that was just read.
 * @param areMasked whether tokens stand for all values, or only for those that are not known
 * @param fills false: who reads the batch looks at lengths only, and bytes are not made
 * @throws TraceError BROKEN
 */
export function deriveValues(batch: Batch, where: string, areMasked: boolean, fills = true): void {
  const known = new Map<number | string, Derived>();
  const { heap } = batch;
  let end = batch.heapLength;
  // Places first: what does not fit is refused before any of it is made.
  const place = (name: number | string, kind: number, length: number, low: number, high: number): Derived => {
    checkRoom(length, end, where);
    const derived = { kind, at: end, length, low, high };
    known.set(name, derived);
    end += length;
    return derived;
  };
  const unknown = (row: number, at: number, length: number): Derived => {
    const bytes = unknownBytes(batch, row, at, length, where);
    const hash = hashOfKey(batch, row);
    const name = `${batch.keyId[row]} ${bytes}`;
    return known.get(name) ?? place(name, TokenKind.bytes, bytes, hash, ~hash >>> 0);
  };
  const told = (at: number, length: number): { at: number; length: number } => {
    const before = known.get(at);
    if (before !== undefined) return before;
    const kind = checkToken(heap, at, length, where);
    if (kind === TokenKind.clear) return { at: at + 1, length: length - 1 };
    const [bytes, low, high] = [1, 5, 9].map((offset) => heap.readUInt32LE(at + offset)) as [
      number,
      number,
      number,
    ];
    return place(at, kind, bytes, low, high);
  };
  for (let row = 0; row < batch.count; row++) {
    const flags = batch.flags[row]!;
    const isUnknown = (flags & RowFlag.valueUnknown) !== 0;
    if (isUnknown || (areMasked && hasMaskedValue(batch, row))) {
      const { at, length } = isUnknown
        ? unknown(row, batch.valueAt[row]!, batch.valueLength[row]!)
        : told(batch.valueAt[row]!, batch.valueLength[row]!);
      batch.valueAt[row] = at;
      batch.valueLength[row] = length;
    }
    const isAnswerUnknown = (flags & RowFlag.answerUnknown) !== 0;
    if (isAnswerUnknown || (areMasked && hasMaskedAnswer(batch, row))) {
      const { at, length } = isAnswerUnknown
        ? unknown(row, batch.answerValueAt[row]!, batch.answerValueLength[row]!)
        : told(batch.answerValueAt[row]!, batch.answerValueLength[row]!);
      batch.answerValueAt[row] = at;
      batch.answerValueLength[row] = length;
    }
  }
  if (known.size === 0 || !fills) return;
  batch.heap = Buffer.allocUnsafe(end);
  heap.copy(batch.heap, 0, 0, batch.heapLength);
  batch.heapLength = end;
  for (const { kind, at, length, low, high } of known.values())
    deriveInto(batch.heap, at, kind, length, low, high);
}

/** That tokens which are copied as they stand are such as a reader takes. @throws TraceError BROKEN */
export function checkTokens(batch: Batch, where: string, areMasked: boolean): void {
  const { heap, valueAt, valueLength, answerValueAt, answerValueLength } = batch;
  const check = (row: number, isUnknown: boolean, isMasked: boolean, at: number, length: number): void => {
    if (isUnknown) checkRoom(unknownBytes(batch, row, at, length, where), 0, where);
    else if (isMasked && checkToken(heap, at, length, where) !== TokenKind.clear)
      checkRoom(heap.readUInt32LE(at + 1), 0, where);
  };
  for (let row = 0; row < batch.count; row++) {
    const flags = batch.flags[row]!;
    const isValueMasked = areMasked && hasMaskedValue(batch, row);
    const isAnswerMasked = areMasked && hasMaskedAnswer(batch, row);
    check(row, (flags & RowFlag.valueUnknown) !== 0, isValueMasked, valueAt[row]!, valueLength[row]!);
    const isUnknown = (flags & RowFlag.answerUnknown) !== 0;
    check(row, isUnknown, isAnswerMasked, answerValueAt[row]!, answerValueLength[row]!);
  }
}

/** @returns its kind @throws TraceError BROKEN */
function checkToken(heap: Buffer, at: number, length: number, where: string): number {
  const kind = heap[at]!;
  const isDerived = length === TOKEN_BYTES && (kind === TokenKind.bytes || kind === TokenKind.digits);
  if (kind === TokenKind.clear || isDerived) return kind;
  throw new TraceError(
    'BROKEN',
    `${where} is broken: expected the token of a value, got ${length} bytes of kind ${kind}`,
  );
}

function checkRoom(bytes: number, end: number, where: string): void {
  if (bytes > MAX_VALUE_BYTES)
    throw new TraceError(
      'BROKEN',
      `${where} is broken: expected values of at most ${MAX_VALUE_BYTES} bytes, got the token of one of ${bytes}`,
    );
  if (end + bytes > MAX_BLOCK_BYTES)
    throw new TraceError(
      'BROKEN',
      `${where} is broken: its values take more than the ${MAX_BLOCK_BYTES} bytes that a block may become`,
    );
}

/** The bytes of a token. */
export function deriveBytes(kind: number, length: number, low: number, high: number): Buffer {
  const out = Buffer.allocUnsafe(length);
  deriveInto(out, 0, kind, length, low, high);
  return out;
}

/** Fills out[at, at + length): xorshift128 from the two halves of the hash. */
function deriveInto(out: Buffer, at: number, kind: number, length: number, low: number, high: number): void {
  let a = (low ^ 0x9e3779b9) | 0;
  let b = (high ^ 0x243f6a88) | 0;
  let c = (low + Math.imul(length, 0x85ebca6b)) | 0;
  let d = (high ^ Math.imul(length, 0xc2b2ae35)) | 1;
  for (let round = 0; round < 8; round++) step();
  const end = at + length;
  let to = at;
  for (; to + 4 <= end; to += 4) out.writeInt32LE(step(), to);
  if (to < end) for (let rest = step(); to < end; rest >>>= 8) out[to++] = rest & 0xff;
  if (kind !== TokenKind.digits || length === 0) return;
  for (to = at; to < end; to++) out[to] = 0x30 + (out[to]! % 10);
  // No leading zero, and nothing beyond 2^64.
  out[at] = length >= MAX_DIGITS ? 0x31 : 0x31 + (out[at]! % 9);

  function step(): number {
    const t = a ^ (a << 11);
    a = b;
    b = c;
    c = d;
    d = d ^ (d >>> 19) ^ t ^ (t >>> 8);
    return d;
  }
}
