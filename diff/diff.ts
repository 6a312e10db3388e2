// A replay judged: every exchange of the trace is a match, drift, a violation, untestable or skipped. Two passes: the
// first compares answers and settles nearly everything; the second gathers the history of those keys only on which
// something differs, so memory is bounded by the differences and not by the trace.

import type { DistributionName, NamedServer } from '../protocol/distribution.ts';
import type { Batch } from '../trace/batch.ts';
import type { ResultsReader } from '../trace/file.ts';
import { Result, SkipReason, type ResultBatch } from '../trace/results.ts';
import type { Trace } from '../trace/source.ts';
import type { Survey } from '../trace/survey.ts';
import { TraceView } from '../trace/view.ts';
import { replayedAnswer } from './answer.ts';
import { Culprits } from './culprits.ts';
import { glance } from './glance.ts';
import { judgeKeys } from './keys.ts';
import { Ledger, type Diff } from './ledger.ts';
import { Places } from './places.ts';
import { Sides } from './sides.ts';
import { Strangers } from './strangers.ts';
import { isGone, type Suspect } from './suspect.ts';
import type { Verdict } from './verdict.ts';

export type { Diff, TargetFigures } from './ledger.ts';

/** Keys whose histories are held at once: with the values that they had, and without. */
const KEYS_PER_PASS = 60_000;
const GONE_PER_PASS = 150_000;

export interface DiffOptions {
  /** Examples of each kind of finding. Default 10. */
  examples?: number;
  /** What stands behind the targets, where that is known: `host:port` as ketama names them. */
  backends?: readonly NamedServer[];
  /** How they share the keys. Default ketama. */
  distribution?: DistributionName;
  /** Of the trace, where it is known already. */
  survey?: Survey;
  onProgress?: (exchanges: number) => void;
}

/** Judges a replay. @throws TraceError of either file */
export async function diff(trace: Trace, results: ResultsReader, options: DiffOptions = {}): Promise<Diff> {
  const { fromNs, toNs, loops, tenants = 'shared' } = results.meta;
  const view = new TraceView(trace, {
    ...(fromNs === undefined ? {} : { fromNs }),
    ...(toNs === undefined ? {} : { toNs }),
    ...(loops === undefined ? {} : { loops }),
  });
  const { survey = await view.survey(tenants) } = options;
  view.adopt(survey);
  return new Judgement(new Sides(view, results, survey), options).run();
}

class Judgement {
  readonly #sides: Sides;
  readonly #options: DiffOptions;
  readonly #ledger: Ledger;
  /** Keys on which something differs, by name: whether the values that they had matter, or only that they were gone. */
  readonly #suspects = new Map<string, boolean>();
  readonly #strangers: Strangers;

  constructor(sides: Sides, options: DiffOptions) {
    this.#sides = sides;
    this.#options = options;
    const { examples = 10, backends = [], distribution = 'ketama' } = options;
    const { meta, end } = sides.replay;
    const places = new Places(meta.targets, backends, distribution, end?.drills ?? []);
    this.#ledger = new Ledger(sides, places, examples);
    this.#strangers = new Strangers(sides);
  }

  async run(): Promise<Diff> {
    const ledger = this.#ledger;
    for await (const { batch, row, results, resultRow, rows } of this.#sides.join()) {
      for (let n = 0; n < rows; n++) {
        if (results === undefined) ledger.skip(SkipReason.aborted);
        else this.#row(batch, row + n, results, resultRow + n);
      }
      ledger.diff.total += rows;
      this.#options.onProgress?.(ledger.diff.total);
    }
    ledger.measured();
    const settle = (suspect: Suspect, verdict: Verdict): void => ledger.settle(suspect, verdict);
    for (const keys of this.#passes())
      await judgeKeys(this.#sides, keys, (suspect, verdict) => {
        if (verdict.kind !== 'wrong-value' || !this.#strangers.take(suspect)) settle(suspect, verdict);
      });
    await this.#strangers.settle(settle);
    ledger.orphans();
    ledger.diff.culprits = await new Culprits(this.#sides, ledger, this.#options).all();
    return ledger.close();
  }

  #row(batch: Batch, row: number, results: ResultBatch, resultRow: number): void {
    const ledger = this.#ledger;
    const result = results.result[resultRow] as Result;
    if (result === Result.skipped) {
      const reason = results.reason[resultRow] as SkipReason;
      if (reason === SkipReason.notNeeded) {
        // Nobody asked for it.
        ledger.diff.total--;
        return;
      }
      ledger.skip(reason);
      // It was due, and the target was not there to take it: that is an answer too.
      if (reason === SkipReason.unreachable)
        ledger.add(
          { class: 'violation', kind: 'closed', why: 'the target could not be reached' },
          batch,
          row,
          results,
          resultRow,
        );
      return;
    }
    ledger.measure(batch, row, results, resultRow);
    const verdict = glance(batch, row, results, resultRow, this.#sides.hidesNumbers);
    if (verdict === 'match') ledger.diff.matched++;
    else if (verdict === 'suspect') this.#suspect(batch, row, results, resultRow);
    else ledger.add(verdict, batch, row, results, resultRow);
  }

  #suspect(batch: Batch, row: number, results: ResultBatch, resultRow: number): void {
    const name = this.#sides.nameOf(batch, row, results, resultRow);
    if (this.#suspects.get(name) === true) return;
    this.#suspects.set(name, !isGone(replayedAnswer(batch, row, results, resultRow)!));
  }

  /** Keys that are judged together. */
  *#passes(): Generator<Map<string, boolean>> {
    let keys = new Map<string, boolean>();
    let taken = 0;
    for (const [name, needsValues] of this.#suspects) {
      keys.set(name, needsValues);
      taken += needsValues ? 1 / KEYS_PER_PASS : 1 / GONE_PER_PASS;
      if (taken < 1) continue;
      yield keys;
      keys = new Map();
      taken = 0;
    }
    if (keys.size > 0) yield keys;
  }
}
