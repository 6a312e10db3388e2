// A frame into the row of a batch: the bytes of a request and of its answer. What is secret (SASL) is wiped here, before
// anything else sees the row; what the capture lacks of a value is marked.

import {
  HEADER_BYTES,
  bodyLengthAt,
  casHighAt,
  casLowAt,
  datatypeAt,
  extrasLengthAt,
  keyLengthAt,
  opaqueAt,
  opcodeAt,
  statusAt,
} from '../protocol/header.ts';
import { isRead, isSecret } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import { RowFlag, type Batch } from '../trace/batch.ts';
import { putUnknown } from '../trace/masked.ts';
import { parsePlain } from './plain.ts';
import type { Window } from './window.ts';

/** Bytes that stand for a secret which the capture lacks; no mechanism says more. */
const MAX_SECRET_BYTES = 4096;

/**
 * Writes the request in data[at, end) into a row of the window's batch, flags included.
 * @param missing bytes of its value that the capture lacks
 * @returns the user whom SASL PLAIN names, undefined where it names none
 */
export function putRequest(
  window: Window,
  row: number,
  data: Buffer,
  at: number,
  end: number,
  missing: number,
  flags: number,
): string | undefined {
  const { batch } = window;
  const opcode = opcodeAt(data, at);
  const extrasLength = extrasLengthAt(data, at);
  const keyLength = keyLengthAt(data, at);
  const claimed = bodyLengthAt(data, at);
  let bodyLength = end - at - HEADER_BYTES;
  if (bodyLength + missing !== claimed) {
    flags |= RowFlag.unsafe;
    bodyLength = Math.min(bodyLength, claimed);
  }
  batch.opcode[row] = opcode;
  batch.datatype[row] = datatypeAt(data, at);
  batch.vbucket[row] = statusAt(data, at);
  batch.opaque[row] = opaqueAt(data, at);
  batch.casHigh[row] = casHighAt(data, at);
  batch.casLow[row] = casLowAt(data, at);
  const isWithheld = isSecret[opcode] === 1;
  const valueLength = bodyLength - extrasLength - keyLength;
  // What will be wiped shares its place with nothing.
  const headLength = isWithheld ? bodyLength : extrasLength + keyLength;
  const from = at + HEADER_BYTES;
  const body = copyIn(batch, data, from, headLength);
  const keyAt = body + extrasLength;
  batch.extrasAt[row] = body;
  batch.extrasLength[row] = extrasLength;
  batch.keyAt[row] = keyAt;
  batch.keyLength[row] = keyLength;
  batch.flags[row] = flags;
  if (isWithheld) return withhold(batch, row, keyAt, valueLength, missing);
  if (missing > 0) {
    batch.flags[row] = flags | RowFlag.valueUnknown;
    batch.valueAt[row] = putUnknown(batch, missing);
    batch.valueLength[row] = batch.heapLength - batch.valueAt[row];
    return undefined;
  }
  batch.valueAt[row] = window.keep(data, from + headLength, valueLength);
  batch.valueLength[row] = valueLength;
  return undefined;
}

/** The mechanism's name stays, and the length of what it said. */
function withhold(
  batch: Batch,
  row: number,
  keyAt: number,
  valueLength: number,
  missing: number,
): string | undefined {
  const valueAt = keyAt + batch.keyLength[row]!;
  const user = missing > 0 ? undefined : parsePlain(batch.heap, keyAt, valueAt, valueAt + valueLength);
  batch.heap.fill(0, batch.extrasAt[row], keyAt);
  batch.heap.fill(0, valueAt, valueAt + valueLength);
  if (!isMechanism(batch.heap, keyAt, valueAt)) batch.heap.fill(0, keyAt, valueAt);
  batch.flags[row]! |= RowFlag.secret;
  batch.valueAt[row] = valueAt;
  batch.valueLength[row] = valueLength;
  if (missing === 0) return user;
  const zeros = Math.min(missing, MAX_SECRET_BYTES);
  batch.valueAt[row] = batch.allocate(zeros);
  batch.heap.fill(0, batch.valueAt[row], batch.heapLength);
  batch.valueLength[row] = zeros;
  return undefined;
}

/**
 * Writes the answer in data[at, end) into its request's row.
 * @param missing bytes of its value that the capture lacks
 */
export function putAnswer(
  window: Window,
  row: number,
  data: Buffer,
  at: number,
  end: number,
  missing: number,
): void {
  const { batch } = window;
  const opcode = opcodeAt(data, at);
  const status = statusAt(data, at);
  const extrasLength = extrasLengthAt(data, at);
  const keyLength = keyLengthAt(data, at);
  const bodyLength = end - at - HEADER_BYTES;
  batch.frames[row] = 1;
  batch.status[row] = status;
  batch.answerCasHigh[row] = casHighAt(data, at);
  batch.answerCasLow[row] = casLowAt(data, at);
  const isWithheld = isSecret[opcode] === 1;
  const valueLength = bodyLength - extrasLength - keyLength;
  const headLength = isWithheld ? bodyLength : extrasLength + keyLength;
  const from = at + HEADER_BYTES;
  const body = copyIn(batch, data, from, headLength);
  batch.answerExtrasAt[row] = body;
  batch.answerExtrasLength[row] = extrasLength;
  batch.answerKeyAt[row] = body + extrasLength;
  batch.answerKeyLength[row] = keyLength;
  batch.answerValueLength[row] = valueLength;
  if (missing > 0 && !isWithheld && status === Status.ok) {
    batch.flags[row]! |= RowFlag.answerUnknown;
    batch.answerValueAt[row] = putUnknown(batch, missing);
    batch.answerValueLength[row] = batch.heapLength - batch.answerValueAt[row];
  } else
    batch.answerValueAt[row] = isWithheld
      ? body + extrasLength + keyLength
      : window.keep(data, from + headLength, valueLength);
  // A challenge belongs to the secret exchange; the text `Authenticated` does not.
  if (isWithheld && status === Status.authContinue) batch.heap.fill(0, body, body + bodyLength);
}

/**
 * Does an answer of which so much of the value is missing still tell what it has to? The value of a read is marked, and
 * the text of an error says nothing; a counter's number, a version and a statistic are their answer.
 */
export function tellsEnough(data: Buffer, at: number, missing: number): boolean {
  return missing === 0 || isRead[opcodeAt(data, at)] === 1 || statusAt(data, at) !== Status.ok;
}

function copyIn(batch: Batch, data: Buffer, from: number, length: number): number {
  const at = batch.allocate(length);
  if (length > 0) data.copy(batch.heap, at, from, from + length);
  return at;
}

// Names of SASL mechanisms are 1 to 20 upper-case letters, digits, hyphens and underscores (RFC 4422).
function isMechanism(data: Buffer, start: number, end: number): boolean {
  if (end - start < 1 || end - start > 20) return false;
  for (let at = start; at < end; at++) {
    const byte = data[at]!;
    const fits =
      (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x30 && byte <= 0x39) || byte === 0x2d || byte === 0x5f;
    if (!fits) return false;
  }
  return true;
}
