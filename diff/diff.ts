// A replay judged from its files, or while it runs.

import type { Batch } from '../trace/batch.ts';
import type { ResultsReader } from '../trace/file.ts';
import type { ResultsEnd, ResultsMeta } from '../trace/meta.ts';
import type { ResultBatch } from '../trace/results.ts';
import type { Trace } from '../trace/source.ts';
import type { Survey } from '../trace/survey.ts';
import { TraceView } from '../trace/view.ts';
import { Judgement, type Beginning, type JudgementOptions } from './judgement.ts';
import type { Diff } from './ledger.ts';
import { Sides, type Replay } from './sides.ts';

export type { Diff } from './ledger.ts';

export interface DiffOptions extends JudgementOptions {
  /** The survey of the trace, where it is known already. */
  survey?: Survey;
  onProgress?: (exchanges: number) => void;
}

/** Judges a replay. @throws TraceError of either file */
export async function diff(trace: Trace, results: ResultsReader, options: DiffOptions = {}): Promise<Diff> {
  const view = viewOf(trace, results.meta);
  const { survey = await view.survey(results.meta.tenants ?? 'shared'), onProgress } = options;
  view.adopt(survey);
  const sides = new Sides(view, results, survey);
  const judgement = new Judgement(sides, results.end, options);
  let done = 0;
  for await (const { batch, row, results: seen, resultRow, rows } of sides.join()) {
    if (seen === undefined) judgement.lack(rows);
    else judgement.take(batch, row, seen, resultRow, rows);
    onProgress?.((done += rows));
  }
  return judgement.close();
}

/**
 * A replay that is judged while it runs, as diff() judges it afterwards: when its last answer is in, only exchanges of keys
 * on which something differs are looked at again. Drills have to be known beforehand, so a replay with drills is judged
 * from its files.
 */
export class LiveDiff {
  readonly #replay: Replay & { end: ResultsEnd | null };
  readonly #judgement: Judgement;
  readonly #all: number;
  #done = 0;
  #results: ResultsReader | undefined;

  /** @param survey of what is replayed · @param beginning what was found on the targets before */
  constructor(
    trace: Trace,
    meta: ResultsMeta,
    survey: Survey,
    beginning: Beginning,
    options: JudgementOptions = {},
  ) {
    this.#replay = { meta, end: null, batches: () => this.#results!.batches() };
    const view = viewOf(trace, meta);
    view.adopt(survey);
    this.#judgement = new Judgement(new Sides(view, this.#replay, survey), beginning, options);
    this.#all = survey.exchanges;
  }

  /** Rows [from, to) of the batch, and of their results, which are complete; rows come in the order of the trace. */
  take(batch: Batch, results: ResultBatch, from: number, to: number): void {
    this.#judgement.take(batch, from, results, from, to - from);
    this.#done += to - from;
  }

  /** The replay is over. @param results of it @throws TraceError of the trace or the results */
  async close(results: ResultsReader): Promise<Diff> {
    this.#results = results;
    this.#replay.end = results.end;
    this.#judgement.lack(this.#all - this.#done);
    return this.#judgement.close();
  }
}

function viewOf(trace: Trace, { fromNs, toNs, loops, shard }: ResultsMeta): TraceView {
  return new TraceView(trace, {
    ...(fromNs === undefined ? {} : { fromNs }),
    ...(toNs === undefined ? {} : { toNs }),
    ...(loops === undefined ? {} : { loops }),
    ...(shard === undefined ? {} : { shard }),
  });
}
