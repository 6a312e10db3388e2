// A replay judged: every exchange of the trace is a match, drift, a violation, untestable or skipped. Two passes: the
// first compares answers and settles nearly everything; the second gathers the history of those keys only on which
// something differs, so memory is bounded by the differences and not by the trace.

import { build as buildHistogram, type Histogram } from 'hdr-histogram-js';
import type { DistributionName, NamedServer } from '../protocol/distribution.ts';
import { Opcode, isRead, opcodeInfo, opcodeName, type Family } from '../protocol/opcode.ts';
import { Status, statusLabel } from '../protocol/status.ts';
import { NEVER, Outcome, RowFlag, outcomeNames, type Batch, type Connection } from '../trace/batch.ts';
import type { ResultsReader, TraceReader } from '../trace/file.ts';
import type { DrillRun } from '../trace/meta.ts';
import { Result, SkipReason, resultNames, skipReasonNames, type ResultBatch } from '../trace/results.ts';
import type { Survey } from '../trace/survey.ts';
import { tokenOf } from '../trace/token.ts';
import { TraceView } from '../trace/view.ts';
import { agree, isPossible, isWellFormed, recordedAnswer, replayedAnswer, type Answer } from './answer.ts';
import {
  Attribution,
  failureClasses,
  isCircumstance,
  isPlace,
  valueOf,
  type Culprit,
  type Factor,
  type FailureClass,
  type Observed,
} from './attribution.ts';
import { changeOf, initialChange } from './changes.ts';
import { HangUps } from './hangups.ts';
import { FiguresByName, emptyFigures, type Figures } from './figures.ts';
import { KeyHistory } from './history.ts';
import { join } from './join.ts';
import { judge, type CopiedAnswer, type Suspect } from './judge.ts';
import { Places, type Cell, type DrillImpact } from './places.ts';
import { Timeline } from './timeline.ts';
import { Findings, type Example, type Finding, type Verdict } from './verdict.ts';

/** Keys whose histories are held at once. */
const KEYS_PER_PASS = 60_000;
/** Failures that are remembered for attribution. */
const MAX_FAILED = 1_000_000;
/** Of hang-ups, what explains less of who fails than this is chance: they fall on what is frequent. */
const WEAK = 0.1;
/** An answer is slow from so long on, and so many times what a quarter of all take at most; it is asked who is slow where so many of a hundred are. */
const SLOW_MICROS = 3000;
const SLOW_TIMES = 4;
const SLOW_PERCENT = 2;
const SLOW_EXPLAINED = 0.3;
/** A value of so many bytes is hardly that of two keys by chance. */
const TELLING_BYTES = 6;
const MAX_STRANGE = 20_000;
const MAX_OWNERS = 4;
/** Histograms span a microsecond to two minutes, in microseconds, to two digits. */
const MAX_MICROS = 120_000_000;

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

export interface TargetFigures extends Figures {
  address: string;
  /** ns since the replay's start; NEVER where it never answered. */
  lastAnswerNs: number;
}

export interface Diff {
  total: number;
  sent: number;
  answered: number;
  matched: number;
  skipped: number;
  /** By reason. */
  skips: Record<string, number>;
  findings: Finding[];
  counts: {
    drift: Record<string, number>;
    violation: Record<string, number>;
    untestable: Record<string, number>;
  };
  targets: TargetFigures[];
  tenants: FiguresByName;
  operations: FiguresByName;
  /** What failures share. */
  culprits: Culprit[];
  /** The targets; or the backends behind them, where they were told. */
  places: readonly string[];
  /** By place. */
  timeline: Timeline;
  cells: Cell[];
  drills: (DrillRun & { servers: DrillImpact[] })[];
  /** In microseconds. */
  latency: {
    fromIntended: Histogram;
    fromSent: Histogram;
    recorded: Histogram;
    byOperation: Map<string, Histogram>;
  };
  lag: Histogram;
  blocked: Histogram;
  /** Time from the first intended request to the last answer, in the recording and in the replay, ns. */
  recordedNs: number;
  replayedNs: number;
}

/** Operations that say, one way or another, whether they found the key. */
const finding: ReadonlySet<Family> = new Set([
  'get',
  'gat',
  'touch',
  'delete',
  'replace',
  'append',
  'prepend',
  'incr',
  'decr',
]);

const masked: Verdict = {
  class: 'untestable',
  kind: 'masked',
  why: 'the value was made from others that the trace does not hold',
};

const empty = Buffer.alloc(0);

/** Judges a replay. @throws TraceError of either file */
export async function diff(
  trace: TraceReader,
  results: ResultsReader,
  options: DiffOptions = {},
): Promise<Diff> {
  const { fromNs, toNs, loops, tenants = 'shared' } = results.meta;
  const view = new TraceView(trace, {
    ...(fromNs === undefined ? {} : { fromNs }),
    ...(toNs === undefined ? {} : { toNs }),
    ...(loops === undefined ? {} : { loops }),
  });
  const { survey = await view.survey(tenants) } = options;
  view.adopt(survey);
  return new Judgement(view, results, survey, options).run();
}

function newHistogram(): Histogram {
  return buildHistogram({
    lowestDiscernibleValue: 1,
    highestTrackableValue: MAX_MICROS,
    numberOfSignificantValueDigits: 2,
    bitBucketSize: 32,
  });
}

class Judgement {
  readonly #trace: TraceView;
  readonly #replay: ResultsReader;
  readonly #survey: Survey;
  readonly #options: DiffOptions;
  readonly #findings: Findings;
  readonly #connections: Connection[] = [];
  /** Keys on which something differs, `target space key`. */
  readonly #suspects = new Set<string>();
  readonly #diff: Diff;
  /** Rows that failed, by index, and how. */
  readonly #failed = new Map<number, FailureClass>();
  /** Wrong values that may be those of other keys. */
  readonly #strange: Suspect[] = [];
  /** The trace does not hold values, or not even numbers: what was made from them cannot be compared. */
  readonly #hidesValues: boolean;
  readonly #hidesNumbers: boolean;
  readonly #places: Places;
  readonly #groups: Figures[] = [];
  readonly #byConnection: (Figures | undefined)[] = [];
  readonly #byOpcode: (Figures | undefined)[] = [];

  constructor(trace: TraceView, replay: ResultsReader, survey: Survey, options: DiffOptions) {
    this.#trace = trace;
    this.#replay = replay;
    this.#survey = survey;
    this.#options = options;
    const { privacy } = trace.meta;
    this.#hidesValues = privacy.values !== 'full';
    this.#hidesNumbers = this.#hidesValues && privacy.numbers !== 'clear';
    this.#findings = new Findings(options.examples ?? 10);
    const { backends = [], distribution = 'ketama' } = options;
    const drills = replay.end?.drills ?? [];
    this.#places = new Places(replay.meta.targets, backends, distribution, drills);
    this.#diff = {
      total: 0,
      sent: 0,
      answered: 0,
      matched: 0,
      skipped: 0,
      skips: {},
      findings: [],
      counts: { drift: {}, violation: {}, untestable: {} },
      culprits: [],
      places: this.#places.names,
      timeline: new Timeline(this.#places.names.length + 1),
      cells: [],
      drills: [],
      targets: Array.from(replay.meta.targets, (address) => ({
        address,
        ...emptyFigures(),
        lastAnswerNs: NEVER,
      })),
      tenants: new FiguresByName(),
      operations: new FiguresByName(),
      latency: {
        fromIntended: newHistogram(),
        fromSent: newHistogram(),
        recorded: newHistogram(),
        byOperation: new Map(),
      },
      lag: newHistogram(),
      blocked: newHistogram(),
      recordedNs: 0,
      replayedNs: 0,
    };
  }

  async run(): Promise<Diff> {
    const diff = this.#diff;
    for await (const { batch, row, results, resultRow, rows } of this.#join()) {
      for (let n = 0; n < rows; n++) {
        if (results === undefined) this.#skipRow(SkipReason.aborted);
        else this.#row(batch, row + n, results, resultRow + n);
      }
      diff.total += rows;
      this.#options.onProgress?.(diff.total);
    }
    const keys = [...this.#suspects];
    for (let from = 0; from < keys.length; from += KEYS_PER_PASS)
      await this.#judgeKeys(new Set(keys.slice(from, from + KEYS_PER_PASS)));
    await this.#foreign();
    this.#orphans();
    await this.#attribute();
    diff.findings = this.#findings.all();
    diff.cells = this.#places.cells;
    diff.drills = Array.from(this.#replay.end?.drills ?? [], (run, n) => ({
      ...run,
      servers: this.#places.impacts(n, diff.timeline),
    }));
    for (const name of ['drift', 'violation', 'untestable'] as const)
      diff.counts[name] = this.#findings.counts(name);
    return diff;
  }

  #join(): ReturnType<typeof join> {
    return join(this.#trace.batches(), this.#replay.batches(), this.#connections);
  }

  #skipRow(reason: SkipReason): void {
    this.#diff.skipped++;
    const name = skipReasonNames[reason] ?? 'unknown';
    this.#diff.skips[name] = (this.#diff.skips[name] ?? 0) + 1;
  }

  // ---- First pass.

  #row(batch: Batch, row: number, results: ResultBatch, resultRow: number): void {
    const result = results.result[resultRow] as Result;
    if (result === Result.skipped) {
      const reason = results.reason[resultRow] as SkipReason;
      if (reason === SkipReason.notNeeded) {
        // Nobody asked for it.
        this.#diff.total--;
        return;
      }
      this.#skipRow(reason);
      // It was due, and the target was not there to take it: that is an answer too.
      if (reason === SkipReason.unreachable)
        this.#add(
          { class: 'violation', kind: 'closed', why: 'the target could not be reached' },
          batch,
          row,
          results,
          resultRow,
        );
      return;
    }
    this.#measure(batch, row, results, resultRow);
    const verdict = this.#first(batch, row, results, resultRow, result);
    if (verdict === 'match') this.#diff.matched++;
    else if (verdict === 'suspect') this.#suspects.add(this.#nameOf(batch, row, results, resultRow));
    else this.#add(verdict, batch, row, results, resultRow);
  }

  #first(
    batch: Batch,
    row: number,
    results: ResultBatch,
    resultRow: number,
    result: Result,
  ): Verdict | 'match' | 'suspect' {
    const opcode = batch.opcode[row]!;
    const outcome = batch.outcome[row]!;
    const isQuit = opcode === Opcode.quit || opcode === Opcode.quitq;
    if (result === Result.answered && results.agrees[resultRow] === 1) {
      const answer = recordedAnswer(batch, row)!;
      return this.#wrongShape(batch, row, answer) ?? 'match';
    }
    if (result === Result.closed || result === Result.unanswered) {
      // Both servers hung up on it, or never answered it.
      if (outcome === Outcome.unanswered || isQuit) return 'match';
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
      const wrong = this.#wrongShape(batch, row, replayed);
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
    if (
      this.#hidesNumbers &&
      isCounter(opcode) &&
      recorded.status === Status.ok &&
      replayed.status === Status.ok
    )
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
  #wrongShape(batch: Batch, row: number, answer: Answer): Verdict | undefined {
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

  #measure(batch: Batch, row: number, results: ResultBatch, resultRow: number): void {
    const diff = this.#diff;
    const target = diff.targets[results.target[resultRow]!];
    const opcode = batch.opcode[row]!;
    const result = results.result[resultRow]!;
    const sentNs = results.sentNs[resultRow]!;
    const intendedNs = results.intendedNs[resultRow]!;
    const blockedNs = results.blockedNs[resultRow]!;
    diff.sent++;
    const place = this.#placeOf(batch, row, results, resultRow);
    const bin = diff.timeline.at(this.#binOf(place), sentNs);
    bin.requests++;
    const lag = micros(sentNs - intendedNs - blockedNs);
    diff.lag.recordValue(lag);
    diff.timeline.latency('lag', sentNs, lag);
    diff.blocked.recordValue(micros(blockedNs));
    diff.recordedNs = Math.max(diff.recordedNs, batch.requestEndNs[row]!, batch.answerNs[row]!);
    diff.replayedNs = Math.max(diff.replayedNs, sentNs);
    const groups = this.#groupsOf(results.target[resultRow]!, batch.connection[row]!, opcode);
    for (const group of groups) group.exchanges++;
    const recordedRead = isRead[opcode] === 1 ? recordedAnswer(batch, row) : undefined;
    if (recordedRead !== undefined)
      for (const group of groups) {
        group.recordedReads++;
        if (recordedRead.status === Status.ok) group.recordedHits++;
      }
    if (result !== Result.answered && result !== Result.silent) return;
    const answeredNs = results.answeredNs[resultRow]!;
    diff.replayedNs = Math.max(diff.replayedNs, answeredNs);
    this.#places.reach(results.target[resultRow]!, place);
    const status = results.agrees[resultRow] === 1 ? batch.status[row] : results.status[resultRow];
    const isHit = result === Result.answered && status === Status.ok;
    if (target !== undefined) target.lastAnswerNs = Math.max(target.lastAnswerNs, answeredNs);
    if (isRead[opcode] === 1)
      for (let n = -1; n < groups.length; n++) {
        const group = groups[n] ?? bin;
        group.reads++;
        if (isHit) group.hits++;
      }
    if (result === Result.silent) return;
    diff.answered++;
    const fromIntended = micros(answeredNs - intendedNs);
    const fromSent = micros(answeredNs - sentNs);
    diff.latency.fromIntended.recordValue(fromIntended);
    diff.latency.fromSent.recordValue(fromSent);
    diff.timeline.latency('fromIntended', sentNs, fromIntended);
    diff.timeline.latency('fromSent', sentNs, fromSent);
    const name = opcodeName(opcode);
    let histogram = diff.latency.byOperation.get(name);
    if (histogram === undefined) diff.latency.byOperation.set(name, (histogram = newHistogram()));
    histogram.recordValue(fromIntended);
    if (batch.outcome[row] !== Outcome.answered) return;
    const recorded = micros(batch.answerNs[row]! - batch.requestEndNs[row]!);
    diff.latency.recorded.recordValue(recorded);
    diff.timeline.latency('recorded', sentNs, recorded);
  }

  #placeOf(batch: Batch, row: number, results: ResultBatch, resultRow: number): number {
    return this.#places.of(results.target[resultRow]!, batch.heap, batch.keyAt[row]!, batch.keyLength[row]!);
  }

  /** What has no place is counted behind the last of them. */
  #binOf(place: number): number {
    return place < 0 ? this.#places.names.length : place;
  }

  #add(verdict: Verdict, batch: Batch, row: number, results: ResultBatch, resultRow: number): void {
    const sentNs = results.sentNs[resultRow]!;
    const atNs = sentNs === NEVER ? results.intendedNs[resultRow]! : sentNs;
    const place = this.#placeOf(batch, row, results, resultRow);
    const connection = batch.connection[row]!;
    const groups = this.#groupsOf(results.target[resultRow]!, connection, batch.opcode[row]);
    this.#count(verdict, groups, place, atNs, batch.firstIndex + row);
    this.#findings.add(verdict, () => {
      const recorded = recordedAnswer(batch, row);
      const replayed = replayedAnswer(batch, row, results, resultRow);
      const { result, reason } = { result: results.result[resultRow]!, reason: results.reason[resultRow]! };
      return {
        index: this.#trace.indexInTrace(batch.firstIndex + row),
        connection: batch.connection[row]!,
        server: this.#address(results.target[resultRow]!),
        opcode: opcodeName(batch.opcode[row]!),
        key: batch.key(row).toString('latin1'),
        atSeconds: seconds(atNs),
        expected:
          recorded === undefined
            ? { outcome: outcomeNames[batch.outcome[row] as Outcome] }
            : describe(recorded, batch.opcode[row]!),
        actual:
          replayed === undefined
            ? {
                outcome:
                  result === Result.skipped
                    ? skipReasonNames[reason as SkipReason]
                    : resultNames[result as Result],
              }
            : describe(replayed, batch.opcode[row]!),
        why: verdict.why,
      };
    });
  }

  /** @param index of the row; -1: it belongs to none */
  #count(verdict: Verdict, groups: readonly Figures[], place: number, atNs: number, index: number): void {
    const how: FailureClass | undefined =
      verdict.class === 'violation'
        ? 'violations'
        : verdict.class === 'drift' && (verdict.kind === 'lost' || verdict.kind === 'capacity')
          ? verdict.kind
          : undefined;
    if (index >= 0 && how !== undefined && this.#failed.size < MAX_FAILED) this.#failed.set(index, how);
    if (how !== undefined) this.#places.fail(place, how === 'lost' ? 'lost' : 'error', atNs);
    const bin = this.#diff.timeline.at(this.#binOf(place), atNs);
    if (verdict.class === 'untestable') return;
    const name = verdict.class === 'drift' ? 'drift' : 'violations';
    bin[name]++;
    for (const group of groups) group[name]++;
  }

  /** What an exchange is counted in; the list is the next call's. @param opcode undefined: it is no exchange */
  #groupsOf(target: number, connection: number, opcode: number | undefined): readonly Figures[] {
    const { targets, tenants, operations } = this.#diff;
    const groups = this.#groups;
    groups.length = 0;
    if (targets[target] !== undefined) groups.push(targets[target]);
    const surveyed = this.#survey.connections[connection];
    if (surveyed !== undefined) groups.push((this.#byConnection[connection] ??= tenants.of(surveyed.tenant)));
    if (opcode !== undefined) groups.push((this.#byOpcode[opcode] ??= operations.of(opcodeName(opcode))));
    return groups;
  }

  #address(target: number): string {
    return this.#diff.targets[target]?.address ?? 'unknown';
  }

  // ---- Second pass: the keys on which something differs.

  async #judgeKeys(keys: ReadonlySet<string>): Promise<void> {
    const histories = new Map<string, KeyHistory>();
    const suspects: Suspect[] = [];
    // The replayer asked the targets, before it began, whether they held any key that it did not set itself.
    const startsEmpty = this.#replay.end?.leftover === 0;
    const speed = this.#replay.meta.speed === 'max' ? 1 : this.#replay.meta.speed;
    const history = (name: string): KeyHistory => {
      let known = histories.get(name);
      if (known === undefined) histories.set(name, (known = new KeyHistory(!startsEmpty)));
      return known;
    };
    if (this.#replay.meta.prefill === 'auto') this.#initial(keys, histories);
    for await (const { batch, row, results, resultRow, rows } of this.#join()) {
      if (results === undefined) continue;
      for (let n = 0; n < rows; n++) {
        if (batch.keyLength[row + n] === 0 || results.result[resultRow + n] === Result.skipped) continue;
        const name = this.#nameOf(batch, row + n, results, resultRow + n);
        if (!keys.has(name)) continue;
        const answer = replayedAnswer(batch, row + n, results, resultRow + n);
        const token = tokenOf(batch.answerCasHigh[row + n]!, batch.answerCasLow[row + n]!);
        if (token !== 0 && answer !== undefined && !answer.silent && answer.status === Status.ok)
          history(name).learnToken(token, results.sentNs[resultRow + n]!, results.answeredNs[resultRow + n]!);
        const change = changeOf(batch, row + n, results, resultRow + n, answer, speed);
        if (change !== undefined) history(name).add(change);
        const result = results.result[resultRow + n] as Result;
        if (this.#first(batch, row + n, results, resultRow + n, result) === 'suspect')
          suspects.push(suspectOf(batch, row + n, results, resultRow + n, name));
      }
    }
    const historyOf = (suspect: Suspect): KeyHistory => history(suspect.name);
    doubtCounters(suspects, historyOf);
    for (const suspect of suspects) {
      const known = historyOf(suspect);
      const isHidden =
        suspect.replayed.status === Status.ok &&
        ((this.#hidesValues && known.hasConcatenation) || (this.#hidesNumbers && known.hasCounter));
      const verdict = isHidden ? masked : judge(suspect, known);
      if (verdict.kind === 'wrong-value' && this.#isTelling(suspect)) this.#strange.push(suspect);
      else this.#settle(suspect, verdict);
    }
  }

  #settle(suspect: Suspect, verdict: Verdict): void {
    const key = Buffer.from(suspect.key, 'latin1');
    const place = this.#places.of(suspect.target, key, 0, key.length);
    const groups = this.#groupsOf(suspect.target, suspect.connection, suspect.opcode);
    this.#count(verdict, groups, place, suspect.fromNs, suspect.index);
    this.#findings.add(verdict, () => this.#example(suspect, verdict.why));
  }

  /** The value is long enough to know again, and there is room to remember it. */
  #isTelling({ replayed }: Suspect): boolean {
    return replayed.value.length >= TELLING_BYTES && this.#strange.length < MAX_STRANGE;
  }

  /** Of values that the key never had: whose are they? */
  async #foreign(): Promise<void> {
    if (this.#strange.length === 0) return;
    const owners = new Map(
      this.#strange.map(({ replayed }) => [replayed.value.toString('latin1'), new Set<string>()]),
    );
    const lengths = new Set(this.#strange.map(({ replayed }) => replayed.value.length));
    const own = (value: Buffer, owner: () => string): void => {
      if (!lengths.has(value.length)) return;
      const of = owners.get(value.toString('latin1'));
      if (of !== undefined && of.size < MAX_OWNERS) of.add(owner());
    };
    for (const { value, key, tenant } of this.#survey.present) own(value, () => named(key, tenant));
    for await (const batch of this.#trace.batches())
      for (let row = 0; row < batch.count; row++)
        if (batch.keyLength[row]! > 0 && lengths.has(batch.valueLength[row]!))
          own(batch.value(row), () => named(batch.key(row).toString('latin1'), this.#tenantOf(batch, row)));
    for (const suspect of this.#strange) {
      const tenant = this.#survey.connections[suspect.connection]?.tenant ?? '';
      const self = named(suspect.key, this.#survey.tenants.length > 1 ? tenant : '');
      const owner = [...owners.get(suspect.replayed.value.toString('latin1'))!].find((name) => name !== self);
      this.#settle(
        suspect,
        owner === undefined
          ? {
              class: 'violation',
              kind: 'wrong-value',
              why: 'nothing that this replay did gives the key this value',
            }
          : {
              class: 'violation',
              kind: 'foreign-value',
              why: `the value is that of another key: ${printable(owner)}`,
            },
      );
    }
  }

  /** Whose keys a row is about; empty where tenants share them. */
  #tenantOf(batch: Batch, row: number): string {
    const connection = this.#survey.connections[batch.connection[row]!];
    return this.#survey.tenants.length > 1 ? (connection?.tenant ?? '') : '';
  }

  /** Further passes, where something failed: what do failures share that passes do not? */
  async #attribute(): Promise<void> {
    const slowNs = this.#slowFromNs();
    if (this.#failed.size === 0 && slowNs === Infinity) return;
    const { backends, distribution } = this.#options;
    const all = await this.#weigh(() => true);
    const named = new Map(
      failureClasses.map((of) => [of, all[of].culprits(of, backends, distribution)] as const),
    );
    // A moment, a connection or a size that is slow is no news; a place that is nearly always slow is.
    named.set(
      'slow',
      named.get('slow')!.filter((culprit) => isPlace(culprit.factor) && culprit.explained >= SLOW_EXPLAINED),
    );
    // A server that hangs up after some request fails whatever is under way then: the better explanation stands, that of
    // a place is better than any other, and a weak one is none.
    const [wrong, hangUps] = [named.get('violations')?.[0], named.get('hang-ups')?.[0]];
    if (isWeak(hangUps) || worth(hangUps) < worth(wrong)) named.delete('hang-ups');
    else named.delete('violations');
    if (this.#isMostlyClosed() && isWeak(wrong) && (wrong === undefined || !isPlace(wrong.factor)))
      named.delete('violations');
    for (const [of, culprits] of named) {
      const [first] = culprits;
      // What is asked for, and when, is no place: among its like, is it one place that fails?
      const among =
        first === undefined || !isCircumstance(first.factor)
          ? []
          : Array.from(await this.#placesWithin(of, first.factor, first.value), (place) => ({
              ...place,
              within: `${first.factor} ${first.value}`,
            }));
      const others = culprits.filter(({ factor }) => among.every((place) => place.factor !== factor));
      // A stable sort: of the same sort, the better explanation stays first.
      const ordered =
        first !== undefined && isCircumstance(first.factor)
          ? others.toSorted((a, b) => Number(isPlace(b.factor)) - Number(isPlace(a.factor)))
          : others;
      this.#diff.culprits.push(...among, ...ordered);
    }
  }

  /** What takes so long is slow; Infinity where too few do to say who. */
  #slowFromNs(): number {
    const { fromSent } = this.#diff.latency;
    const slow = Math.max(SLOW_MICROS, SLOW_TIMES * fromSent.getValueAtPercentile(25));
    return fromSent.getValueAtPercentile(100 - SLOW_PERCENT) >= slow ? slow * 1000 : Infinity;
  }

  #isMostlyClosed(): boolean {
    const kinds = this.#findings.counts('violation');
    const all = Object.values(kinds).reduce((sum, count) => sum + count, 0);
    return (kinds['closed'] ?? 0) >= 0.9 * all;
  }

  /** The places that fail, among the exchanges with this value of a factor. */
  async #placesWithin(of: FailureClass, factor: Factor, value: string): Promise<Culprit[]> {
    const { backends, distribution } = this.#options;
    const alike = await this.#weigh((seen) => valueOf(seen, factor) === value);
    return alike[of].culprits(of, backends, distribution).filter((culprit) => isPlace(culprit.factor));
  }

  async #weigh(takes: (seen: Observed) => boolean): Promise<Record<FailureClass, Attribution>> {
    const all = {
      violations: new Attribution(),
      'hang-ups': new Attribution(),
      lost: new Attribution(),
      capacity: new Attribution(),
      slow: new Attribution('mostly'),
    };
    const hangUps = new HangUps(this.#replay.end?.incidents ?? [], all['hang-ups']);
    const slowNs = this.#slowFromNs();
    for await (const { batch, row, results, resultRow, rows } of this.#join()) {
      if (results === undefined) continue;
      for (let n = 0; n < rows; n++) {
        const at = row + n;
        const of = resultRow + n;
        const how = this.#failed.get(batch.firstIndex + at);
        // What only stood behind a failure, or was not even sent, says nothing of its cause.
        if (results.result[of] === Result.skipped || results.reason[of] === SkipReason.behind) continue;
        const seen = this.#observed(batch, at, results, of, how !== undefined);
        if (!takes(seen)) continue;
        if (slowNs !== Infinity && results.result[of] === Result.answered)
          all.slow.add({ ...seen, failed: results.answeredNs[of]! - results.sentNs[of]! >= slowNs });
        hangUps.see(seen, results.target[of]!, results.sentNs[of]!, results.answeredNs[of]!);
        if (how !== undefined) {
          all[how].add(seen);
          continue;
        }
        all.violations.add(seen);
        // Only what was there can get lost, only what is stored finds no room.
        if (wasThere(batch, at)) all.lost.add(seen);
        if (batch.valueLength[at]! > 0) all.capacity.add(seen);
      }
    }
    hangUps.end();
    return all;
  }

  #observed(batch: Batch, row: number, results: ResultBatch, resultRow: number, failed: boolean): Observed {
    const connection = batch.connection[row]!;
    return {
      failed,
      server: this.#address(results.target[resultRow]!),
      tenant: this.#survey.connections[connection]?.tenant ?? '',
      opcode: opcodeName(batch.opcode[row]!),
      connection,
      key: batch.key(row).toString('latin1'),
      valueBytes: Math.max(batch.valueLength[row]!, batch.answerValueLength[row]!),
      moment: Math.max(0, results.intendedNs[resultRow]!) / Math.max(1, this.#diff.replayedNs),
      atSeconds: seconds(results.sentNs[resultRow]!),
    };
  }

  #initial(keys: ReadonlySet<string>, histories: Map<string, KeyHistory>): void {
    const { targets, route } = this.#replay.meta;
    for (const { server, tenant, key, value, flags } of this.#survey.present) {
      const space = Math.max(0, this.#survey.tenants.indexOf(tenant));
      // Where the key decides, its requests went where it was set: no other target has it among the suspects.
      const places =
        route === 'single' || targets.length === 1 ? [0] : route === 'index' ? [server] : targets.keys();
      for (const target of places) {
        const name = `${target} ${space} ${key}`;
        if (!keys.has(name)) continue;
        const history = new KeyHistory(false);
        history.add(initialChange(value, flags));
        histories.set(name, history);
      }
    }
  }

  /** Of the item that a row is about: its target, whose keys it is among, and its key. */
  #nameOf(batch: Batch, row: number, results: ResultBatch, resultRow: number): string {
    const at = batch.keyAt[row]!;
    const space = this.#survey.connections[batch.connection[row]!]?.space ?? 0;
    return `${results.target[resultRow]} ${space} ${batch.heap.toString('latin1', at, at + batch.keyLength[row]!)}`;
  }

  #example(suspect: Suspect, why: string): Example {
    const { index, connection, target, opcode, key, fromNs, recorded, replayed } = suspect;
    return {
      index: this.#trace.indexInTrace(index),
      connection,
      server: this.#address(target),
      opcode: opcodeName(opcode),
      key,
      atSeconds: seconds(fromNs),
      ...contrast(recorded, replayed, opcode),
      why,
    };
  }

  #orphans(): void {
    const { end } = this.#replay;
    if (end === null) return;
    for (let n = 0; n < end.orphanCount; n++) {
      const orphan = end.orphans[n];
      const verdict: Verdict = {
        class: 'violation',
        kind: 'orphan',
        why: 'an answer that no request asked for',
      };
      if (orphan !== undefined) {
        const place = this.#places.of(orphan.target, empty, 0, 0);
        const groups = this.#groupsOf(orphan.target, orphan.connection, undefined);
        this.#count(verdict, groups, place, orphan.atNs, orphan.index ?? -1);
      }
      this.#findings.add(verdict, () => ({
        index: orphan?.index === undefined ? -1 : this.#trace.indexInTrace(orphan.index),
        connection: orphan?.connection ?? -1,
        server: orphan === undefined ? 'unknown' : this.#address(orphan.target),
        opcode: '',
        key: '',
        atSeconds: seconds(orphan?.atNs ?? 0),
        expected: {},
        actual: { answer: orphan?.note ?? '' },
        why: verdict.why,
      }));
    }
  }
}

/**
 * Finds the counters whose answers are wrong, so that what was read of them, or counted on from them, is judged by what
 * they must have been. Of two that race, the right one may look wrong until the other is doubted: hence the second look.
 */
function doubtCounters(suspects: readonly Suspect[], historyOf: (suspect: Suspect) => KeyHistory): void {
  const isWrong = (suspect: Suspect): boolean => {
    const verdict = judge(suspect, historyOf(suspect));
    return verdict.class === 'violation' && verdict.kind === 'counter';
  };
  const doubted = suspects.filter(({ opcode }) => isCounter(opcode)).filter(isWrong);
  for (const suspect of doubted) historyOf(suspect).doubt(suspect.index, true);
  for (const suspect of doubted) if (!isWrong(suspect)) historyOf(suspect).doubt(suspect.index, false);
}

/** The recording shows that the key was there: its absence would have been told, or made a counter begin anew. */
function wasThere(batch: Batch, row: number): boolean {
  const { family, quiet } = opcodeInfo(batch.opcode[row]!) ?? {};
  if (family === undefined) return false;
  if (batch.outcome[row] === Outcome.silent)
    return quiet === true && finding.has(family) && !isRead[batch.opcode[row]!];
  if (batch.outcome[row] !== Outcome.answered) return false;
  if (batch.status[row] === Status.exists) return true;
  const isCas = batch.casHigh[row] !== 0 || batch.casLow[row] !== 0;
  return batch.status[row] === Status.ok && (isCas || finding.has(family));
}

function isWeak(culprit: Culprit | undefined): boolean {
  return culprit === undefined || culprit.explained < WEAK;
}

function worth(culprit: Culprit | undefined): number {
  return culprit === undefined ? -1 : Number(isPlace(culprit.factor)) + culprit.explained;
}

function named(key: string, tenant: string): string {
  return tenant === '' ? key : `${key} of ${tenant}`;
}

/** A key in a sentence. */
function printable(key: string): string {
  return key.replace(/[^\x20-\x7e]/g, '.').slice(0, 80);
}

function suspectOf(
  batch: Batch,
  row: number,
  results: ResultBatch,
  resultRow: number,
  name: string,
): Suspect {
  const answeredNs = results.answeredNs[resultRow]!;
  return {
    index: batch.firstIndex + row,
    connection: batch.connection[row]!,
    target: results.target[resultRow]!,
    opcode: batch.opcode[row]!,
    name,
    key: batch.key(row).toString('latin1'),
    requestValueLength: batch.valueLength[row]!,
    requestCas: tokenOf(batch.casHigh[row]!, batch.casLow[row]!),
    requestExtras: Buffer.from(batch.extras(row)),
    fromNs: results.sentNs[resultRow]!,
    toNs: answeredNs === NEVER ? Infinity : answeredNs,
    recordedFromNs: batch.requestNs[row]!,
    recordedToNs: batch.answerNs[row] === NEVER ? Infinity : batch.answerNs[row]!,
    recorded: copied(recordedAnswer(batch, row)!),
    replayed: copied(replayedAnswer(batch, row, results, resultRow)!),
  };
}

function copied({ status, silent, extras, key, value }: Answer): CopiedAnswer {
  return { status, silent, extras: Buffer.from(extras), key: Buffer.from(key), value: Buffer.from(value) };
}

/** Bytes of a value shown in an example. */
const SHOWN_BYTES = 64;

function isCounter(opcode: number): boolean {
  const family = opcodeInfo(opcode)?.family;
  return family === 'incr' || family === 'decr';
}

function describe(answer: CopiedAnswer | Answer, opcode: number): Record<string, unknown> {
  const { status, silent, extras, value } = answer;
  const told: Record<string, unknown> = { status: statusLabel(status) };
  if (silent) told['silent'] = true;
  if (extras.length === 4) told['flags'] = extras.readUInt32BE(0);
  if (value.length === 0 || status !== Status.ok) return told;
  if (isCounter(opcode) && value.length === 8) return { ...told, value: value.readBigUInt64BE(0).toString() };
  return { ...told, bytes: value.length, value: shown(value, 0) };
}

/** Both sides; of long values the stretch around the first difference. */
function contrast(
  expected: CopiedAnswer,
  actual: CopiedAnswer,
  opcode: number,
): Pick<Example, 'expected' | 'actual'> {
  const sides = { expected: describe(expected, opcode), actual: describe(actual, opcode) };
  if (isCounter(opcode)) return sides;
  if (sides.expected['value'] === undefined || sides.actual['value'] === undefined) return sides;
  let at = 0;
  while (at < expected.value.length && expected.value[at] === actual.value[at]) at++;
  const from = at < SHOWN_BYTES / 2 ? 0 : at - 8;
  for (const [side, { value }] of [
    [sides.expected, expected],
    [sides.actual, actual],
  ] as const) {
    side['value'] = shown(value, from);
    side['differsAt'] = at;
  }
  return sides;
}

function shown(value: Buffer, from: number): string {
  const part = value.subarray(from, from + SHOWN_BYTES).toString('latin1');
  return `${from > 0 ? '…' : ''}${part}${from + SHOWN_BYTES < value.length ? '…' : ''}`;
}

function micros(ns: number): number {
  return ns <= 0 ? 0 : Math.min(MAX_MICROS, Math.round(ns / 1000));
}

function seconds(ns: number): number {
  return Math.round(ns / 1000) / 1e6;
}
