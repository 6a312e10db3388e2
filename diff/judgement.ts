// A replay judged, row by row in the order of the trace: every exchange is a match, drift, a violation, untestable or
// skipped. Two looks: the first, as rows come, compares answers and follows each key as long as its operations came one
// after the other (sequence.ts); the second, at the end, gathers all operations of the other keys, some at a time, and
// searches an order that explains their answers (search.ts).

import type { DistributionName, NamedServer } from '../protocol/distribution.ts';
import { isRead } from '../protocol/opcode.ts';
import { isFlush } from '../protocol/semantics.ts';
import { Status } from '../protocol/status.ts';
import type { Batch } from '../trace/batch.ts';
import type { ResultsEnd } from '../trace/meta.ts';
import { Result, SkipReason, type ResultBatch } from '../trace/results.ts';
import { Accounts } from './accounts.ts';
import { recordedStatus } from './answer.ts';
import { Culprits } from './culprits.ts';
import type { ReplayClock } from './gather.ts';
import { isSound, type Glance } from './glance.ts';
import { judgeKeys, type Settle } from './keys.ts';
import { Ledger, type Diff } from './ledger.ts';
import { ItemNumbers } from './numbers.ts';
import { Places } from './places.ts';
import { Present } from './present.ts';
import { Sequences } from './sequence.ts';
import type { Sides } from './sides.ts';
import { Slowness } from './slowness.ts';
import { Strangers } from './strangers.ts';
import { Telling } from './versions.ts';
import type { Suspect } from './suspect.ts';
import type { Verdict } from './verdict.ts';

/** Operations, and bytes of their values, that are held at once; those of one key are, however many. */
const ROWS_PER_PASS = 500_000;
const BYTES_PER_PASS = 256 * 1024 * 1024;

const unreachable: Verdict = {
  class: 'violation',
  kind: 'closed',
  why: 'the target could not be reached',
};

/** Hears of what is judged. */
export interface Witness {
  /** A row with a key, in its order. @param key number of the item */
  row(seen: Glance, key: number, batch: Batch, row: number, results: ResultBatch, resultRow: number): void;
  /** What the history of its key says of an exchange. */
  settled(suspect: Suspect, verdict: Verdict): void;
}

export interface JudgementOptions {
  /** Examples of each kind of finding. Default 10. */
  examples?: number;
  /** What stands behind the targets, where that is known: `host:port` as ketama names them. */
  backends?: readonly NamedServer[];
  /** How they share the keys. Default ketama. */
  distribution?: DistributionName;
  /** Latencies, and how late we were ourselves, count from this time of the replay on. Default 0. */
  warmupNs?: number;
  /** Default: nobody. */
  witness?: Witness;
}

/** What is known before the first row. */
export type Beginning = Pick<ResultsEnd, 'leftover' | 'prefillFailed'>;

export class Judgement {
  readonly #sides: Sides;
  readonly #options: JudgementOptions;
  readonly #ledger: Ledger;
  readonly #numbers: ItemNumbers;
  readonly #sequences: Sequences;
  readonly #accounts: Accounts;
  readonly #telling = new Telling();
  readonly #clock: ReplayClock;
  readonly #strangers: Strangers;
  readonly #slowness: Slowness;
  readonly #witness: Witness | undefined;
  readonly #present = new Present();
  readonly #startsEmpty: boolean;
  readonly #isFilled: boolean;
  /** A FLUSH was sent: it is an operation on every key. */
  #flushed = false;

  /** @param beginning null: it is not known, for want of the end of a results file */
  constructor(sides: Sides, beginning: Beginning | null, options: JudgementOptions) {
    this.#sides = sides;
    this.#options = options;
    const { examples = 10, backends = [], distribution = 'ketama', witness, warmupNs = 0 } = options;
    this.#witness = witness;
    const { meta, end } = sides.replay;
    const places = new Places(meta.targets, backends, distribution, end?.drills);
    this.#ledger = new Ledger(sides, places, examples, warmupNs);
    this.#slowness = new Slowness(this.#ledger.tookMicros, sides.survey.connections);
    this.#strangers = new Strangers(sides);
    this.#numbers = new ItemNumbers(sides);
    this.#accounts = new Accounts(meta.targets.length, sides.survey.tenants.length > 1);
    this.#clock = {
      speed: meta.speed === 'max' ? 1 : meta.speed,
      recordedAtSeconds: sides.trace.startSeconds,
    };
    this.#sequences = new Sequences(this.#clock);
    // The replayer asked the targets, before it began, whether they held any key that it did not set itself.
    this.#startsEmpty = beginning?.leftover === 0;
    this.#isFilled = (beginning?.prefillFailed ?? 0) === 0;
    if (meta.prefill === 'auto') this.#fill();
  }

  /** Rows [row, row + count) of the batch, and their results. Rows come in the order of the trace, each once. */
  take(batch: Batch, row: number, results: ResultBatch, resultRow: number, count: number): void {
    for (let n = 0; n < count; n++) this.#row(batch, row + n, results, resultRow + n);
    this.#ledger.diff.total += count;
  }

  /** So many rows of which there are no results: the replay ended before them. */
  lack(count: number): void {
    for (let n = 0; n < count; n++) this.#ledger.skip(SkipReason.aborted);
    this.#ledger.diff.total += count;
  }

  /** The target is known to have restarted meanwhile, or its CAS ids are in no order. */
  restarted(target: number): void {
    this.#accounts.missed(target);
  }

  /** All rows were told. @throws TraceError of the trace or the results, where some of them are looked at again */
  async close(): Promise<Diff> {
    const ledger = this.#ledger;
    this.#accounts.tell(this.#sides.replay.end?.accounts);
    ledger.measured();
    for (const keys of this.#passes())
      await judgeKeys(
        this.#sides,
        {
          keys,
          numbers: this.#numbers,
          clock: this.#clock,
          accounts: this.#accounts,
          present: this.#present,
          startsEmpty: this.#startsEmpty,
          isFilled: this.#isFilled,
          // What a recording says of itself is what is judged.
          ids: this.#sides.isAlone ? 'replay' : this.#telling.ids,
        },
        this.#settle,
      );
    await this.#strangers.settle((suspect, verdict) => this.#conclude(suspect, verdict));
    ledger.orphans();
    ledger.diff.accounts = this.#accounts.all;
    ledger.diff.culprits = await new Culprits(
      this.#sides,
      ledger,
      this.#slowness,
      this.#numbers,
      this.#options,
    ).all();
    return ledger.close();
  }

  readonly #settle: Settle = {
    match: (isRecorded) => {
      this.#ledger.diff.matched++;
      if (!isRecorded) this.#ledger.diff.unrecorded++;
    },
    tell: (suspect, verdict, differs) => {
      // It was counted as recorded, which it is, and is wrong all the same.
      if (!differs) this.#ledger.diff.matched--;
      const isStrange = verdict.kind === 'wrong-value' || verdict.kind === 'unseen';
      if (!isStrange || !this.#strangers.take(suspect, verdict)) this.#conclude(suspect, verdict);
    },
  };

  #conclude(suspect: Suspect, verdict: Verdict): void {
    this.#ledger.settle(suspect, verdict);
    this.#witness?.settled(suspect, verdict);
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
      // It was due, and the target was not there to take it: that is an answer too.
      if (reason !== SkipReason.unreachable) ledger.skip(reason);
      else ledger.add(unreachable, batch, row, results, resultRow);
      return;
    }
    ledger.measure(batch, row, results, resultRow);
    this.#telling.see(batch, row, results, resultRow);
    this.#accounts.see(batch, row, results, resultRow);
    const seen = this.#sides.glance(batch, row, results, resultRow);
    if (seen === 'match' || seen === 'same') ledger.diff.matched++;
    else if (seen !== 'suspect') ledger.add(seen, batch, row, results, resultRow);
    if (batch.keyLength[row] === 0) {
      if (isFlush(batch.opcode[row]!)) this.#flushed = true;
      return;
    }
    if (seen === 'match' && result === Result.answered) return;
    if (results.status[resultRow] === Status.outOfMemory) this.#accounts.short(results.target[resultRow]!);
    const before = this.#numbers.count;
    const key = this.#numbers.of(batch, row, results, resultRow);
    if (key === before) this.#begin(key, batch, row, results, resultRow);
    this.#witness?.row(seen, key, batch, row, results, resultRow);
    const sequences = this.#sequences;
    if (result === Result.answered) {
      const sentNs = results.sentNs[resultRow]!;
      this.#slowness.add(key, batch.connection[row]!, results.answeredNs[resultRow]! - sentNs, sentNs);
    }
    sequences.see(key, batch, row, results, resultRow, isSound(seen));
    if (seen !== 'suspect') return;
    sequences.mark(key);
    if (isMissed(batch, row, results, resultRow)) this.#accounts.missed(results.target[resultRow]!);
  }

  #begin(key: number, batch: Batch, row: number, results: ResultBatch, resultRow: number): void {
    const at = batch.keyAt[row]!;
    const held = this.#present.of(
      results.target[resultRow]!,
      this.#sides.spaceOf(batch, row),
      batch.heap.toString('latin1', at, at + batch.keyLength[row]!),
    );
    if (held !== undefined) this.#sequences.begin(key, this.#isFilled ? held : undefined);
    else this.#sequences.begin(key, this.#startsEmpty ? null : undefined);
  }

  /** What stood there before the replay. */
  #fill(): void {
    const { replay, survey } = this.#sides;
    const { targets, route } = replay.meta;
    for (const held of survey.present) {
      const { server, tenant, key } = held;
      const space = Math.max(0, survey.tenants.indexOf(tenant));
      // Where the key decides, its requests went where it was set: no other target has it among its keys.
      const places =
        route === 'single' || targets.length === 1 ? [0] : route === 'index' ? [server] : targets.keys();
      for (const target of places) this.#present.add(target, space, key, held);
    }
  }

  /** Keys that are judged together: their numbers, and their places among each other. */
  *#passes(): Generator<Map<number, number>> {
    let keys = new Map<number, number>();
    let rows = 0;
    let bytes = 0;
    for (let key = 0; key < this.#numbers.count; key++) {
      if (!this.#flushed && !this.#sequences.isOdd(key)) continue;
      keys.set(key, keys.size);
      rows += this.#sequences.rowsOf(key);
      bytes += this.#sequences.bytesOf(key);
      if (rows < ROWS_PER_PASS && bytes < BYTES_PER_PASS) continue;
      yield keys;
      keys = new Map();
      rows = 0;
      bytes = 0;
    }
    if (keys.size > 0) yield keys;
  }
}

/** A read that found in the recording what the target has not. */
function isMissed(batch: Batch, row: number, results: ResultBatch, resultRow: number): boolean {
  if (isRead[batch.opcode[row]!] !== 1 || recordedStatus(batch, row) !== Status.ok) return false;
  return results.result[resultRow] === Result.silent || results.status[resultRow] === Status.notFound;
}
