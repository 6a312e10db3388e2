// One exchange's answer, recorded or replayed, in the terms in which they are compared: silence of a quiet operation
// means what its status would have said, and what legitimately differs between correct runs is left out.

import { opcodeInfo } from '../protocol/opcode.ts';
import { silentStatus } from '../protocol/semantics.ts';
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
function sameValue(a: Buffer, b: Buffer): boolean {
  if (a.equals(b)) return true;
  const trimmedA = unpadded(a);
  const trimmedB = unpadded(b);
  return trimmedA !== undefined && trimmedB !== undefined && trimmedA.equals(trimmedB);
}

const MAX_COUNTER_BYTES = 24;

/** A decimal number without the spaces behind it; undefined where the bytes are none. */
function unpadded(value: Buffer): Buffer | undefined {
  if (value.length === 0 || value.length > MAX_COUNTER_BYTES) return undefined;
  let end = value.length;
  while (end > 0 && value[end - 1] === 0x20) end--;
  if (end === 0) return undefined;
  for (let at = 0; at < end; at++) if (value[at]! < 0x30 || value[at]! > 0x39) return undefined;
  return value.subarray(0, end);
}
