// Servers that restarted during a recording: memcached counts CAS ids up over all of its keys, and begins at 1 again. A proxy
// tells ids of many backends, which are in no order either: of it, too, nothing is taken for granted.

import { mutates } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import { NEVER, type Batch } from '../trace/batch.ts';
import { Result, type ResultBatch } from '../trace/results.ts';
import { tokenOf } from '../trace/token.ts';

/** Answers are taken together by stretches of this length, ns. */
const STRETCH_NS = 10e6;

interface Ids {
  /** The greatest id of answers that were over by then. */
  greatest: number;
  untilNs: number;
  /** Answers that were not. */
  pending: { id: number; toNs: number }[];
}

export class Restarts {
  readonly #ids: Ids[];
  readonly #restarted: boolean[];

  constructor(targets: number) {
    this.#ids = Array.from({ length: targets }, () => ({ greatest: 0, untilNs: 0, pending: [] }));
    this.#restarted = Array.from({ length: targets }, () => false);
  }

  see(batch: Batch, row: number, results: ResultBatch, resultRow: number): void {
    const opcode = batch.opcode[row]!;
    if (results.result[resultRow] !== Result.answered || results.status[resultRow] !== Status.ok) return;
    const id = tokenOf(results.casHigh[resultRow]!, results.casLow[resultRow]!);
    const target = results.target[resultRow]!;
    const ids = this.#ids[target];
    if (id === 0 || ids === undefined || this.#restarted[target]) return;
    const fromNs = results.sentNs[resultRow]!;
    if (fromNs > ids.untilNs + STRETCH_NS) settle(ids, fromNs);
    if (mutates[opcode] === 1 && id < ids.greatest) this.#restarted[target] = true;
    const toNs = results.answeredNs[resultRow]!;
    if (toNs !== NEVER) ids.pending.push({ id, toNs });
  }

  /** By target, once all was seen. */
  get all(): readonly boolean[] {
    return this.#restarted;
  }
}

function settle(ids: Ids, untilNs: number): void {
  ids.untilNs = untilNs;
  const still: Ids['pending'] = [];
  for (const one of ids.pending)
    if (one.toNs < untilNs) ids.greatest = Math.max(ids.greatest, one.id);
    else still.push(one);
  ids.pending = still;
}
