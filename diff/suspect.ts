// Exchanges whose answer differs from the recorded one, their bytes copied out of the batches, until it is known what this
// replay did to their keys.

import { Status } from '../protocol/status.ts';
import { NEVER, type Batch } from '../trace/batch.ts';
import type { ResultBatch } from '../trace/results.ts';
import { recordedAnswer, replayedAnswer, type Answer } from './answer.ts';

/** A differing exchange, its bytes copied out of the batches. */
export interface Suspect {
  index: number;
  connection: number;
  target: number;
  opcode: number;
  /** latin1 */
  key: string;
  /** ns since the replay's start. */
  fromNs: number;
  toNs: number;
  /** Undefined: the recording does not know it. */
  recorded: CopiedAnswer | undefined;
  replayed: CopiedAnswer;
}

export interface CopiedAnswer {
  status: number;
  silent: boolean;
  extras: Buffer;
  key: Buffer;
  /** Of a hit that became a miss, its beginning only. */
  value: Buffer;
  valueLength: number;
}

/** More of a value than an example shows. */
const KEPT_BYTES = 80;

/** The replay found nothing: of what was recorded the beginning is enough. */
function isGone(replayed: Pick<Answer, 'status'>): boolean {
  return replayed.status === Status.notFound;
}

export function suspectOf(batch: Batch, row: number, results: ResultBatch, resultRow: number): Suspect {
  const answeredNs = results.answeredNs[resultRow]!;
  const replayed = replayedAnswer(batch, row, results, resultRow)!;
  const recorded = recordedAnswer(batch, row);
  return {
    index: batch.firstIndex + row,
    connection: batch.connection[row]!,
    target: results.target[resultRow]!,
    opcode: batch.opcode[row]!,
    key: batch.key(row).toString('latin1'),
    fromNs: results.sentNs[resultRow]!,
    toNs: answeredNs === NEVER ? Infinity : answeredNs,
    recorded: recorded === undefined ? undefined : copied(recorded, isGone(replayed) ? KEPT_BYTES : Infinity),
    replayed: copied(replayed, Infinity),
  };
}

function copied({ status, silent, extras, key, value }: Answer, valueBytes: number): CopiedAnswer {
  return {
    status,
    silent,
    extras: kept(extras),
    key: kept(key),
    value: kept(value.subarray(0, valueBytes)),
    valueLength: value.length,
  };
}

const none = Buffer.alloc(0);

/** A copy; most parts of answers are empty, and need none. */
function kept(bytes: Buffer): Buffer {
  return bytes.length === 0 ? none : Buffer.from(bytes);
}
