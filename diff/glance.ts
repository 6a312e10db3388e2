// What a row's two answers alone decide: their form, and whether they are the same. Whether the answer is right takes the
// history of its key.

import { isPossible, isQuit, isSilent, shapeOf } from '../protocol/semantics.ts';
import { isQuiet, opcodeInfo } from '../protocol/opcode.ts';
import { Status, statusLabel } from '../protocol/status.ts';
import { Outcome, type Batch } from '../trace/batch.ts';
import { sameBytes } from '../trace/bytes.ts';
import { Result, SkipReason, type ResultBatch } from '../trace/results.ts';
import { Placed, agree, recordedStatus } from './answer.ts';
import { unrecordedOf } from './gather.ts';
import type { Verdict, ViolationKind } from './verdict.ts';
import { namesVersion } from '../trace/token.ts';

/**
 * `match`: as recorded, and there is no key whose history could say more · `same`: as recorded · `suspect`: it differs, or
 * the recording has no answer.
 */
export type Glance = Verdict | 'match' | 'same' | 'suspect';

const violation = (kind: ViolationKind, why: string): Verdict => ({ class: 'violation', kind, why });

const behind = violation('closed', 'its connection ended at a request before it, which had no answer');
const closed = violation('closed', 'the target closed the connection before it answered');
const unanswered = violation('unanswered', 'no answer in time');
const staysOpen = violation('unanswered', 'the connection stayed open');
const malformed = violation('malformed', 'the answer is not one to this request');
const misshapen = violation('malformed', 'the answer has other parts than this operation gives');
const otherKey = violation('wrong-key', 'the answer names another key than the request');
export const noKey = violation(
  'wrong-key',
  'the answer names no key, and this operation is answered with it',
);
const otherStatus = violation('wrong-status', 'another status than recorded');
const notSilent = violation(
  'wrong-status',
  'a quiet miss and a quiet success are silent, and this one was answered',
);
export const noCas = violation('cas', 'the answer has no CAS id, and others of the server have one');
const unknownFate: Verdict = {
  class: 'untestable',
  kind: 'unrecorded',
  why: 'the recording does not tell whether it was answered before the connection ended',
};
const unproven: Verdict = {
  class: 'untestable',
  kind: 'unproven',
  why: 'nothing proved the silence of a quiet request',
};

/** What is looked at: no views are made for it. */
const recorded = new Placed();
const replayed = new Placed();

export function glance(batch: Batch, row: number, results: ResultBatch, resultRow: number): Glance {
  const opcode = batch.opcode[row]!;
  const result = results.result[resultRow] as Result;
  if (result === Result.closed || result === Result.unanswered) {
    if (isQuit(opcode)) return result === Result.closed ? 'match' : staysOpen;
    // Both servers hung up on it, or never answered it.
    if (batch.outcome[row] === Outcome.unanswered) return 'match';
    // What stood behind a request that both hung up on may have had no answer in the recording either.
    if (batch.outcome[row] === Outcome.indeterminate && results.reason[resultRow] === SkipReason.behind)
      return unknownFate;
    if (results.reason[resultRow] === SkipReason.behind) return behind;
    return result === Result.closed ? closed : unanswered;
  }
  if (isQuit(opcode)) return 'match';
  if (result === Result.malformed) return malformed;
  const agrees = result === Result.answered && results.agrees[resultRow] === 1;
  if (agrees && isPlain(batch, row, results, resultRow)) return 'same';
  if (!replayed.replayed(batch, row, results, resultRow)) return unproven;
  const wrong = misfit(batch, row, replayed, agrees);
  if (wrong !== undefined) return wrong;
  const { status } = replayed;
  const hasKey = batch.keyLength[row]! > 0;
  const isUnrecorded = unrecordedOf(batch, row) !== 0;
  const isSame =
    agrees || (!isUnrecorded && recorded.recorded(batch, row) && agree(opcode, recorded, replayed));
  if (!isPossible(opcode, namesVersion(batch, row), status) && isOfItem(opcode)) {
    // Both servers refused the request; else it is no answer to this operation.
    return isSame
      ? 'match'
      : violation('wrong-status', `no answer to this operation: ${statusLabel(status)}`);
  }
  if (lacksCas(batch, row, results, resultRow, replayed)) return noCas;
  if (isSilent(opcode, status) && !replayed.silent && !wasLoud(batch, row)) return notSilent;
  if (!hasKey) return isSame || isUnrecorded ? 'match' : otherStatus;
  return isSame ? 'same' : 'suspect';
}

/** A loud success, byte for byte as recorded, with its parts and a CAS id: so are most, and no views are made of them. */
function isPlain(batch: Batch, row: number, results: ResultBatch, resultRow: number): boolean {
  const opcode = batch.opcode[row]!;
  const shape = shapeOf(opcode, Status.ok);
  return (
    shape !== undefined &&
    batch.status[row] === Status.ok &&
    batch.outcome[row] === Outcome.answered &&
    isQuiet[opcode] === 0 &&
    (results.casHigh[resultRow]! | results.casLow[resultRow]!) !== 0 &&
    batch.keyLength[row]! > 0 &&
    batch.answerKeyLength[row] === 0 &&
    !shape.key &&
    batch.answerExtrasLength[row] === shape.extras &&
    (shape.value < 0 || batch.answerValueLength[row] === shape.value) &&
    isPossible(opcode, namesVersion(batch, row), Status.ok)
  );
}

/** The answer tells of its key, whatever else is wrong with it. */
export function isSound(seen: Glance): boolean {
  return seen === 'same' || seen === 'suspect' || seen === noCas || seen === notSilent || seen === noRoom;
}

/** A store that found no memory: legal, and worth counting where nothing was recorded to compare it with. */
export const noRoom: Verdict = {
  class: 'drift',
  kind: 'capacity',
  why: `the server answers ${statusLabel(Status.outOfMemory)}`,
};

/** The recorded server answered as well where others are silent. */
function wasLoud(batch: Batch, row: number): boolean {
  return recorded.recorded(batch, row) && !recorded.silent && isSilent(batch.opcode[row]!, recorded.status);
}

/** Operations whose statuses follow from an item, or from nothing. */
export function isOfItem(opcode: number): boolean {
  return opcodeInfo(opcode)?.success !== 'various';
}

/** A success that tells no CAS id, where the recorded one does. */
function lacksCas(
  batch: Batch,
  row: number,
  results: ResultBatch,
  resultRow: number,
  { silent, status }: Placed,
): boolean {
  if (silent || status !== Status.ok || (results.casHigh[resultRow]! | results.casLow[resultRow]!) !== 0)
    return false;
  if (
    (batch.answerCasHigh[row]! | batch.answerCasLow[row]!) === 0 ||
    recordedStatus(batch, row) !== Status.ok
  )
    return false;
  // Where no server made the recorded answer, it says nothing of what servers tell.
  return batch.outcome[row] === Outcome.answered && opcodeInfo(batch.opcode[row]!)?.tellsCas === true;
}

/** What makes an answer wrong whatever was recorded. */
export function misfit(batch: Batch, row: number, answer: Placed, agrees: boolean): Verdict | undefined {
  const { silent, status, heap, keyAt, keyLength } = answer;
  if (silent) return undefined;
  const opcode = batch.opcode[row]!;
  const shape = shapeOf(opcode, status);
  if (shape === undefined) return undefined;
  if (status === Status.ok && answer.extrasLength !== shape.extras) return misshapen;
  if (status === Status.ok && shape.value >= 0 && answer.valueLength !== shape.value) return misshapen;
  if (keyLength > 0)
    return keyLength === batch.keyLength[row] &&
      sameBytes(heap, keyAt, batch.heap, batch.keyAt[row]!, keyLength)
      ? undefined
      : otherKey;
  // A release that answers without keys may stand in production too.
  return shape.key && !agrees && batch.answerKeyLength[row]! > 0 ? noKey : undefined;
}
