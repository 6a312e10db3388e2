// What is counted of a replay: figures by target, tenant, operation and place, latencies, the timeline, the findings, and
// which rows failed.

import type { Histogram } from 'hdr-histogram-js';
import { sessionOf } from './hangups.ts';
import { isRead, opcodeName } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import { NEVER, Outcome, outcomeNames, type Batch } from '../trace/batch.ts';
import type { DrillRun } from '../trace/meta.ts';
import { Result, SkipReason, resultNames, skipReasonNames, type ResultBatch } from '../trace/results.ts';
import { recordedAnswer, recordedStatus, replayedAnswer } from './answer.ts';
import type { Account } from './accounts.ts';
import type { Culprit, FailureClass } from './attribution.ts';
import { Durations } from './durations.ts';
import { contrast, describe, seconds } from './example.ts';
import { Combinations, FiguresByName, addFigures, emptyFigures, type Figures } from './figures.ts';
import type { Cell, DrillImpact, Places } from './places.ts';
import type { Samples } from './samples.ts';
import type { Sides } from './sides.ts';
import type { Suspect } from './suspect.ts';
import { Timeline } from './timeline.ts';
import { Findings, type Example, type Finding, type Verdict } from './verdict.ts';

/** Failures that are remembered for attribution. */
const MAX_FAILED = 1_000_000;

interface TargetFigures extends Figures {
  address: string;
  /** ns since the replay's start; NEVER where it never answered. */
  lastAnswerNs: number;
}

export interface Diff {
  total: number;
  sent: number;
  answered: number;
  matched: number;
  /** Among them: the recording has no answer, and this one is as it must be. */
  unrecorded: number;
  skipped: number;
  /** By target: what is known of its losses. */
  accounts: readonly Account[];
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
    /** From the intended time. */
    byOperation: Map<string, Histogram>;
    byTenant: Map<string, Histogram>;
  };
  lag: Histogram;
  blocked: Histogram;
  /** Time from the first intended request to the last answer, in the recording and in the replay, ns. */
  recordedNs: number;
  replayedNs: number;
}

const empty = Buffer.alloc(0);
/** For exchanges of a target, or a connection, that the files do not know. */
const nowhere = emptyFigures();

export class Ledger {
  readonly diff: Diff;
  readonly findings: Findings;
  readonly places: Places;
  /** Rows that failed, by index, and how. */
  readonly failed = new Map<number, FailureClass>();
  /** How many of them hang-ups cut off, by connection and target. */
  readonly cutOff = new Map<string, number>();
  readonly #sides: Sides;
  readonly #combinations: Combinations;
  readonly #durations = new Durations();
  /** Of the warm-up: told to nobody. */
  readonly #warming = new Durations();
  readonly #warmupNs: number;
  #last = { target: -1, key: '', place: -1 };

  /** @param examples of each kind of finding @param warmupNs how long durations do not count */
  constructor(sides: Sides, places: Places, examples: number, warmupNs: number) {
    this.#warmupNs = warmupNs;
    this.#sides = sides;
    this.places = places;
    this.#combinations = new Combinations(
      sides.survey.connections.map(({ tenant }) => tenant),
      sides.replay.meta.targets.length,
    );
    this.findings = new Findings(examples);
    this.diff = {
      total: 0,
      sent: 0,
      answered: 0,
      matched: 0,
      unrecorded: 0,
      skipped: 0,
      accounts: [],
      skips: {},
      findings: [],
      counts: { drift: {}, violation: {}, untestable: {} },
      culprits: [],
      places: this.places.names,
      timeline: new Timeline(this.places.names.length + 1),
      cells: [],
      drills: [],
      targets: Array.from(sides.replay.meta.targets, (address) => ({
        address,
        ...emptyFigures(),
        lastAnswerNs: NEVER,
      })),
      tenants: new FiguresByName(),
      operations: new FiguresByName(),
      ...this.#durations.histograms(),
      recordedNs: 0,
      replayedNs: 0,
    };
  }

  /** All rows were: what took how long is known. */
  measured(): void {
    const { targets, tenants, operations } = this.diff;
    for (const cell of this.#combinations.all) {
      addFigures(targets[cell.target]!, cell);
      addFigures(tenants.of(cell.tenant), cell);
      addFigures(operations.of(opcodeName(cell.opcode)), cell);
    }
    Object.assign(this.diff, this.#durations.histograms());
  }

  /** What answers took from their sending. */
  get tookMicros(): Samples {
    return this.#durations.fromSent;
  }

  skip(reason: SkipReason): void {
    this.diff.skipped++;
    const name = skipReasonNames[reason] ?? 'unknown';
    this.diff.skips[name] = (this.diff.skips[name] ?? 0) + 1;
  }

  measure(batch: Batch, row: number, results: ResultBatch, resultRow: number): void {
    const diff = this.diff;
    const { timeline } = diff;
    const target = results.target[resultRow]!;
    const connection = batch.connection[row]!;
    const opcode = batch.opcode[row]!;
    const result = results.result[resultRow]!;
    const sentNs = results.sentNs[resultRow]!;
    const intendedNs = results.intendedNs[resultRow]!;
    const blockedNs = results.blockedNs[resultRow]!;
    const durations = intendedNs < this.#warmupNs ? this.#warming : this.#durations;
    const isReading = isRead[opcode] === 1;
    diff.sent++;
    const place = this.#placeOf(batch, row, results, resultRow);
    const moment = timeline.index(sentNs);
    const bin = timeline.bin(this.#binOf(place), moment);
    bin.requests++;
    const lag = micros(sentNs - intendedNs - blockedNs);
    durations.lag.record(lag);
    timeline.latency('lag', moment, lag);
    durations.blocked.record(micros(blockedNs));
    diff.recordedNs = Math.max(diff.recordedNs, batch.requestEndNs[row]!, batch.answerNs[row]!);
    diff.replayedNs = Math.max(diff.replayedNs, sentNs);
    const cell = this.#combinations.of(target, connection, opcode) ?? nowhere;
    cell.exchanges++;
    const recordedRead = isReading ? recordedStatus(batch, row) : -1;
    if (recordedRead >= 0) {
      cell.recordedReads++;
      if (recordedRead === Status.ok) cell.recordedHits++;
    }
    if (result !== Result.answered && result !== Result.silent) return;
    const answeredNs = results.answeredNs[resultRow]!;
    diff.replayedNs = Math.max(diff.replayedNs, answeredNs);
    this.places.reach(target, place);
    const told = diff.targets[target];
    if (told !== undefined) told.lastAnswerNs = Math.max(told.lastAnswerNs, answeredNs);
    if (isReading) {
      const status = results.agrees[resultRow] === 1 ? batch.status[row] : results.status[resultRow];
      const hits = result === Result.answered && status === Status.ok ? 1 : 0;
      bin.reads++;
      bin.hits += hits;
      cell.reads++;
      cell.hits += hits;
    }
    if (result === Result.silent) return;
    diff.answered++;
    const fromIntended = micros(answeredNs - intendedNs);
    const fromSent = micros(answeredNs - sentNs);
    durations.fromIntended.record(fromIntended);
    durations.fromSent.record(fromSent);
    durations.ofOpcode(opcode).record(fromIntended);
    durations.ofConnection(connection, this.#sides.survey).record(fromIntended);
    timeline.latency('fromIntended', moment, fromIntended);
    timeline.latency('fromSent', moment, fromSent);
    if (batch.outcome[row] !== Outcome.answered) return;
    const recorded = micros(batch.answerNs[row]! - batch.requestEndNs[row]!);
    durations.recorded.record(recorded);
    timeline.latency('recorded', moment, recorded);
  }

  #placeOf(batch: Batch, row: number, results: ResultBatch, resultRow: number): number {
    return this.places.of(results.target[resultRow]!, batch.heap, batch.keyAt[row]!, batch.keyLength[row]!);
  }

  /** What has no place is counted behind the last of them. */
  #binOf(place: number): number {
    return place < 0 ? this.places.names.length : place;
  }

  add(verdict: Verdict, batch: Batch, row: number, results: ResultBatch, resultRow: number): void {
    const sentNs = results.sentNs[resultRow]!;
    const atNs = sentNs === NEVER ? results.intendedNs[resultRow]! : sentNs;
    const place = this.#placeOf(batch, row, results, resultRow);
    const connection = batch.connection[row]!;
    const groups = this.#groupsOf(results.target[resultRow]!, connection, batch.opcode[row]);
    this.#count(verdict, groups, place, atNs, batch.firstIndex + row);
    if (verdict.kind === 'closed' && results.reason[resultRow] !== SkipReason.behind) {
      const session = sessionOf(connection, results.target[resultRow]!);
      this.cutOff.set(session, (this.cutOff.get(session) ?? 0) + 1);
    }
    this.findings.add(verdict, () => {
      const recorded = recordedAnswer(batch, row);
      const replayed = replayedAnswer(batch, row, results, resultRow);
      const { result, reason } = { result: results.result[resultRow]!, reason: results.reason[resultRow]! };
      return {
        index: this.#sides.trace.indexInTrace(batch.firstIndex + row),
        connection: batch.connection[row]!,
        server: this.#sides.address(results.target[resultRow]!),
        opcode: opcodeName(batch.opcode[row]!),
        key: batch.key(row).toString('latin1'),
        atSeconds: seconds(atNs),
        expected: this.#sides.isAlone
          ? {}
          : recorded === undefined
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
    if (index >= 0 && how !== undefined && this.failed.size < MAX_FAILED) this.failed.set(index, how);
    if (how !== undefined) this.places.fail(place, how === 'lost' ? 'lost' : 'error', atNs);
    const { timeline } = this.diff;
    const bin = timeline.bin(this.#binOf(place), timeline.index(atNs));
    if (verdict.class === 'untestable') return;
    const name = verdict.class === 'drift' ? 'drift' : 'violations';
    bin[name]++;
    for (const group of groups) group[name]++;
  }

  /** What an exchange is counted in. @param opcode undefined: it is no exchange */
  #groupsOf(target: number, connection: number, opcode: number | undefined): readonly Figures[] {
    const { targets, tenants, operations } = this.diff;
    const groups: Figures[] = [];
    if (targets[target] !== undefined) groups.push(targets[target]);
    const surveyed = this.#sides.survey.connections[connection];
    if (surveyed !== undefined) groups.push(tenants.of(surveyed.tenant));
    if (opcode !== undefined) groups.push(operations.of(opcodeName(opcode)));
    return groups;
  }

  settle(suspect: Suspect, verdict: Verdict): void {
    const place = this.#placeOfKey(suspect.target, suspect.key);
    const groups = this.#groupsOf(suspect.target, suspect.connection, suspect.opcode);
    this.#count(verdict, groups, place, suspect.fromNs, suspect.index);
    this.findings.add(verdict, () => this.#example(suspect, verdict.why));
  }

  /** Of one key after the other there are many. */
  #placeOfKey(target: number, key: string): number {
    const last = this.#last;
    if (last.key !== key || last.target !== target) {
      const bytes = Buffer.from(key, 'latin1');
      this.#last = { target, key, place: this.places.of(target, bytes, 0, bytes.length) };
    }
    return this.#last.place;
  }

  #example(suspect: Suspect, why: string): Example {
    const { index, connection, target, opcode, key, fromNs, recorded, replayed } = suspect;
    return {
      index: this.#sides.trace.indexInTrace(index),
      connection,
      server: this.#sides.address(target),
      opcode: opcodeName(opcode),
      key,
      atSeconds: seconds(fromNs),
      ...(this.#sides.isAlone
        ? { expected: {}, actual: describe(replayed(), opcode) }
        : contrast(recorded(), replayed(), opcode)),
      why,
    };
  }

  orphans(): void {
    const { end } = this.#sides.replay;
    if (end === null) return;
    // Those of which nothing is kept are counted at once: an endless answer makes very many.
    const known = Math.min(end.orphans.length, end.orphanCount);
    for (let n = 0; n < known || (n === known && end.orphanCount > known); n++) {
      const orphan = n < known ? end.orphans[n] : undefined;
      const verdict: Verdict = {
        class: 'violation',
        kind: 'orphan',
        why: 'an answer that no request asked for',
      };
      if (orphan !== undefined) {
        const place = this.places.of(orphan.target, empty, 0, 0);
        const groups = this.#groupsOf(orphan.target, orphan.connection, undefined);
        this.#count(verdict, groups, place, orphan.atNs, orphan.index ?? -1);
      }
      this.findings.add(
        verdict,
        () => ({
          index: orphan?.index === undefined ? -1 : this.#sides.trace.indexInTrace(orphan.index),
          connection: orphan?.connection ?? -1,
          server: orphan === undefined ? 'unknown' : this.#sides.address(orphan.target),
          opcode: '',
          key: '',
          atSeconds: seconds(orphan?.atNs ?? 0),
          expected: {},
          actual: { answer: orphan?.note ?? '' },
          why: verdict.why,
        }),
        n < known ? 1 : end.orphanCount - known,
      );
    }
  }

  /** All that was counted. */
  close(): Diff {
    const { diff, findings, places } = this;
    diff.findings = findings.all();
    diff.cells = places.cells;
    const { drills = [], outages } = this.#sides.replay.end ?? {};
    diff.drills = Array.from(drills, (run, n) => ({
      ...run,
      servers: places.impacts(n, diff.timeline, outages),
    }));
    for (const name of ['drift', 'violation', 'untestable'] as const)
      diff.counts[name] = findings.counts(name);
    return diff;
  }
}

function micros(ns: number): number {
  return ns <= 0 ? 0 : Math.round(ns / 1000);
}
