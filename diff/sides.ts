// The trace and the results of its replay, side by side, and who and what a row of both is about.

import type { Batch, Connection } from '../trace/batch.ts';
import type { ResultsEnd, ResultsMeta } from '../trace/meta.ts';
import type { ResultBatch } from '../trace/results.ts';
import type { Survey } from '../trace/survey.ts';
import type { TraceView } from '../trace/view.ts';
import { glance, type Glance } from './glance.ts';
import type { Circumstances } from './item.ts';
import { join } from './join.ts';
import type { Operation } from './operation.ts';
import type { Wrong } from './explanation.ts';
import type { Verdict } from './verdict.ts';

/** What is known of a replay: a results file, or one that is still being written. */
export interface Replay {
  readonly meta: ResultsMeta;
  /** Null where the file was cut before it, and until the replay is over. */
  readonly end: ResultsEnd | null;
  /** In order, from the beginning, once the replay is over. @throws TraceError CHECKSUM, BROKEN */
  batches(): AsyncIterable<ResultBatch>;
}

/** What is to be said of an answer that no order explains, instead of calling it wrong; undefined: it is wrong. */
export type Doubt = (wrong: Wrong) => Verdict | undefined;

export class Sides {
  /** There is no replay: a recording is judged by itself, and is on both sides. */
  readonly isAlone: boolean = false;
  readonly trace: TraceView;
  readonly replay: Replay;
  readonly survey: Survey;
  /** The trace does not hold values, or not even numbers: what was made from them cannot be compared. */
  readonly hidesValues: boolean;
  readonly hidesNumbers: boolean;
  readonly #connections: Connection[] = [];

  constructor(trace: TraceView, replay: Replay, survey: Survey) {
    this.trace = trace;
    this.replay = replay;
    this.survey = survey;
    const { privacy } = trace.meta;
    this.hidesValues = privacy.values !== 'full';
    this.hidesNumbers = this.hidesValues && privacy.numbers !== 'clear';
  }

  /** Walks both, from their beginning. */
  join(): ReturnType<typeof join> {
    return join(this.trace.batches(), this.replay.batches(), this.#connections);
  }

  /** What the two answers of a row alone decide. */
  glance(batch: Batch, row: number, results: ResultBatch, resultRow: number): Glance {
    return glance(batch, row, results, resultRow);
  }

  /** @param _operations all on one key, in the order of their beginnings */
  doubts(_operations: readonly Operation[], _about: Circumstances): Doubt {
    return () => undefined;
  }

  address(target: number): string {
    return this.replay.meta.targets[target] ?? 'unknown';
  }

  /** Whose keys a row is about; empty where tenants share them. */
  tenantOf(batch: Batch, row: number): string {
    const connection = this.survey.connections[batch.connection[row]!];
    return this.survey.tenants.length > 1 ? (connection?.tenant ?? '') : '';
  }

  /** Number of the tenant whose keys a row is about; 0 where tenants share them. */
  spaceOf(batch: Batch, row: number): number {
    return this.survey.connections[batch.connection[row]!]?.space ?? 0;
  }
}
