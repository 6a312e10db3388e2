// What a row's two answers alone decide: nearly everything. What is left is suspect, and takes the history of its key.

import { Opcode, opcodeInfo } from '../protocol/opcode.ts';
import { Status, statusLabel } from '../protocol/status.ts';
import { Outcome, RowFlag, type Batch } from '../trace/batch.ts';
import { Result, SkipReason, type ResultBatch } from '../trace/results.ts';
import {
  agree,
  isPlain,
  isPossible,
  isWellFormed,
  recordedAnswer,
  replayedAnswer,
  type Answer,
} from './answer.ts';
import { isCounter } from './example.ts';
import type { Verdict } from './verdict.ts';

export const masked: Verdict = {
  class: 'untestable',
  kind: 'masked',
  why: 'the value was made from others that the trace does not hold',
};

/** @param hidesNumbers what counters have become is not in the trace */
export function glance(
  batch: Batch,
  row: number,
  results: ResultBatch,
  resultRow: number,
  hidesNumbers: boolean,
): Verdict | 'match' | 'suspect' {
  const opcode = batch.opcode[row]!;
  const result = results.result[resultRow] as Result;
  const outcome = batch.outcome[row]!;
  const isQuit = opcode === Opcode.quit || opcode === Opcode.quitq;
  if (result === Result.answered && results.agrees[resultRow] === 1) {
    if (isPlain(batch, row)) return 'match';
    const answer = recordedAnswer(batch, row)!;
    return wrongShape(batch, row, answer) ?? 'match';
  }
  if (result === Result.closed || result === Result.unanswered) {
    // The end of the connection is what a QUIT asks for.
    if (isQuit)
      return result === Result.closed
        ? 'match'
        : { class: 'violation', kind: 'unanswered', why: 'the connection stayed open' };
    // Both servers hung up on it, or never answered it.
    if (outcome === Outcome.unanswered) return 'match';
    if (results.reason[resultRow] === SkipReason.behind)
      return {
        class: 'violation',
        kind: 'closed',
        why: 'its connection ended at a request before it, which had no answer',
      };
    return result === Result.closed
      ? { class: 'violation', kind: 'closed', why: 'the target closed the connection before it answered' }
      : { class: 'violation', kind: 'unanswered', why: 'no answer in time' };
  }
  if (result === Result.malformed)
    return { class: 'violation', kind: 'malformed', why: 'the answer is not one to this request' };
  const recorded = recordedAnswer(batch, row);
  const replayed = replayedAnswer(batch, row, results, resultRow);
  if (replayed !== undefined) {
    const wrong = wrongShape(batch, row, replayed);
    if (wrong !== undefined) return wrong;
  }
  if (recorded === undefined) {
    if (outcome === Outcome.gap)
      return { class: 'untestable', kind: 'gap', why: 'the capture has a hole here' };
    return { class: 'untestable', kind: 'unrecorded', why: 'the recording has no answer to compare with' };
  }
  if (replayed === undefined) {
    if (isQuit) return 'match';
    return { class: 'untestable', kind: 'unproven', why: 'nothing proved the silence of a quiet request' };
  }
  if ((batch.flags[row]! & RowFlag.ambiguous) !== 0)
    return {
      class: 'untestable',
      kind: 'ambiguous',
      why: 'which of several alike requests was answered is not known',
    };
  if (agree(opcode, recorded, replayed)) return 'match';
  // What a counter has become is not in the trace.
  if (hidesNumbers && isCounter(opcode) && recorded.status === Status.ok && replayed.status === Status.ok)
    return masked;
  if (!replayed.silent && recorded.status !== replayed.status && !isPossible(batch, row, replayed.status))
    return {
      class: 'violation',
      kind: 'wrong-status',
      why: `no answer to this operation: ${statusLabel(replayed.status)}`,
    };
  if (batch.keyLength[row] === 0)
    return { class: 'violation', kind: 'wrong-status', why: 'another status than recorded' };
  return 'suspect';
}

/** What makes an answer wrong whatever was recorded. */
function wrongShape(batch: Batch, row: number, answer: Answer): Verdict | undefined {
  if (!isWellFormed(batch.opcode[row]!, answer))
    return {
      class: 'violation',
      kind: 'malformed',
      why: 'the answer has other parts than this operation gives',
    };
  const info = opcodeInfo(batch.opcode[row]!);
  if (answer.silent || answer.key.length === 0 || info === undefined || info.family === 'stat')
    return undefined;
  if (answer.key.equals(batch.key(row))) return undefined;
  return { class: 'violation', kind: 'wrong-key', why: 'the answer names another key than the request' };
}
