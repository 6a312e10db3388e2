// An answer of the target, compared in place with the recorded one: what agrees byte for byte is a bit, what differs
// is kept whole.

import {
  HEADER_BYTES,
  casHighAt,
  casLowAt,
  extrasLengthAt,
  keyLengthAt,
  statusAt,
} from '../protocol/header.ts';
import { Outcome, type Batch } from '../trace/batch.ts';
import { sameBytes } from '../trace/bytes.ts';
import type { ResultBatch } from '../trace/results.ts';

/** Puts the response frame data[at, end) into the row of the results. */
export function keepAnswer(
  batch: Batch,
  results: ResultBatch,
  row: number,
  data: Buffer,
  at: number,
  end: number,
): void {
  const status = statusAt(data, at);
  const extrasLength = extrasLengthAt(data, at);
  const keyLength = keyLengthAt(data, at);
  const body = at + HEADER_BYTES;
  const bodyLength = end - body;
  results.frames[row] = 1;
  results.status[row] = status;
  results.casHigh[row] = casHighAt(data, at);
  results.casLow[row] = casLowAt(data, at);
  const agrees =
    (batch.outcome[row] === Outcome.answered || batch.outcome[row] === Outcome.conditional) &&
    batch.frames[row] === 1 &&
    batch.status[row] === status &&
    batch.answerExtrasLength[row] === extrasLength &&
    batch.answerKeyLength[row] === keyLength &&
    batch.answerValueLength[row] === bodyLength - extrasLength - keyLength &&
    sameBytes(data, body, batch.heap, batch.answerExtrasAt[row]!, extrasLength) &&
    sameBytes(data, body + extrasLength, batch.heap, batch.answerKeyAt[row]!, keyLength) &&
    sameBytes(
      data,
      body + extrasLength + keyLength,
      batch.heap,
      batch.answerValueAt[row]!,
      bodyLength - extrasLength - keyLength,
    );
  results.agrees[row] = agrees ? 1 : 0;
  if (agrees) return;
  const to = results.allocate(bodyLength);
  if (bodyLength > 0) data.copy(results.heap, to, body, end);
  results.extrasAt[row] = to;
  results.extrasLength[row] = extrasLength;
  results.keyAt[row] = to + extrasLength;
  results.keyLength[row] = keyLength;
  results.valueAt[row] = to + extrasLength + keyLength;
  results.valueLength[row] = bodyLength - extrasLength - keyLength;
}

/** Puts the frames of a STAT into the row, headers included; it is judged by its shape. */
export function keepFrames(results: ResultBatch, row: number, frames: readonly Buffer[]): void {
  if (frames.length < 2) return;
  const all = Buffer.concat(frames);
  const to = results.allocate(all.length);
  all.copy(results.heap, to);
  results.agrees[row] = 0;
  results.frames[row] = frames.length;
  results.extrasLength[row] = 0;
  results.keyLength[row] = 0;
  results.valueAt[row] = to;
  results.valueLength[row] = all.length;
}
