// The operations on some keys, gathered from a trace and the results of its replay. They stand in columns, some hundred
// bytes each, and become objects for one key at a time; values are held once.

import { lifetimeOf } from '../protocol/expiry.ts';
import { uint32 } from '../protocol/header.ts';
import { opcodeInfo, mutates } from '../protocol/opcode.ts';
import { isCounter, isStore, readExtras } from '../protocol/semantics.ts';
import { Status } from '../protocol/status.ts';
import { NEVER, Outcome, RowFlag, grown, type Batch } from '../trace/batch.ts';
import { Result, type ResultBatch } from '../trace/results.ts';
import { tokenOf } from '../trace/token.ts';
import { Placed, recordedStatus } from './answer.ts';
import { Ending, UNKNOWN, Values, areIdsInOrder, isFinding, type Operation } from './operation.ts';
import type { UntestableKind } from './verdict.ts';
import { forgetEarlyIds, meaninglessIds, type RecordedVersion, type WhoseIds } from './versions.ts';

/** How the expiries of a trace are to be understood in its replay. */
export interface ReplayClock {
  /** By which expiries were divided. */
  speed: number;
  /** Unix time of the trace's first moment, seconds. */
  recordedAtSeconds: number;
}

const Bit = {
  silent: 1,
  hasCas: 2,
  differs: 4,
  counts: 8,
  readsFlags: 16,
  mayCreate: 32,
  judged: 64,
  madeUp: 128,
} as const;
const unrecordedKinds: readonly (UntestableKind | undefined)[] = [
  undefined,
  'gap',
  'unrecorded',
  'ambiguous',
];
const NONE = -1;

/** Why the recording has no answer to compare with; 0: it has one. */
export function unrecordedOf(batch: Batch, row: number): number {
  if ((batch.flags[row]! & RowFlag.ambiguous) !== 0) return 3;
  switch (batch.outcome[row]) {
    case Outcome.answered:
    case Outcome.silent:
    case Outcome.conditional:
      return 0;
    case Outcome.gap:
      return 1;
    default:
      return 2;
  }
}

export class Operations {
  readonly values = new Values();
  count = 0;
  #capacity = 0;
  #index!: Uint32Array;
  #connection!: Uint32Array;
  #opcode!: Uint8Array;
  #ending!: Uint8Array;
  #bits!: Uint8Array;
  #unrecorded!: Uint8Array;
  #status!: Uint16Array;
  #recordedStatus!: Int32Array;
  #fromNs!: Float64Array;
  #toNs!: Float64Array;
  #recordedFromNs!: Float64Array;
  #recordedToNs!: Float64Array;
  #cas!: Float64Array;
  #recordedCas!: Float64Array;
  #token!: Float64Array;
  #read!: Int32Array;
  #recordedRead!: Int32Array;
  #readFlags!: Uint32Array;
  #value!: Int32Array;
  #flags!: Uint32Array;
  #mayLiveNs!: Float64Array;
  #mustDieNs!: Float64Array;
  /** Into #numbers: delta, initial value, result. */
  #counter!: Int32Array;
  #next!: Int32Array;
  readonly #numbers: bigint[] = [];
  /** By key: the first and the last of its operations. */
  readonly #first: number[] = [];
  readonly #last: number[] = [];
  /** By target and tenant's space. */
  readonly #flushes = new Map<string, number[]>();
  readonly #clock: ReplayClock;
  readonly #answer = new Placed();

  constructor(clock: ReplayClock) {
    this.#clock = clock;
    this.#reserve(1024);
  }

  #reserve(rows: number): void {
    if (rows <= this.#capacity) return;
    const n = Math.max(rows, Math.floor(this.#capacity * 1.5));
    this.#index = grown(this.#index, new Uint32Array(n));
    this.#connection = grown(this.#connection, new Uint32Array(n));
    this.#opcode = grown(this.#opcode, new Uint8Array(n));
    this.#ending = grown(this.#ending, new Uint8Array(n));
    this.#bits = grown(this.#bits, new Uint8Array(n));
    this.#unrecorded = grown(this.#unrecorded, new Uint8Array(n));
    this.#status = grown(this.#status, new Uint16Array(n));
    this.#recordedStatus = grown(this.#recordedStatus, new Int32Array(n));
    this.#fromNs = grown(this.#fromNs, new Float64Array(n));
    this.#toNs = grown(this.#toNs, new Float64Array(n));
    this.#recordedFromNs = grown(this.#recordedFromNs, new Float64Array(n));
    this.#recordedToNs = grown(this.#recordedToNs, new Float64Array(n));
    this.#cas = grown(this.#cas, new Float64Array(n));
    this.#recordedCas = grown(this.#recordedCas, new Float64Array(n));
    this.#token = grown(this.#token, new Float64Array(n));
    this.#read = grown(this.#read, new Int32Array(n));
    this.#recordedRead = grown(this.#recordedRead, new Int32Array(n));
    this.#readFlags = grown(this.#readFlags, new Uint32Array(n));
    this.#value = grown(this.#value, new Int32Array(n));
    this.#flags = grown(this.#flags, new Uint32Array(n));
    this.#mayLiveNs = grown(this.#mayLiveNs, new Float64Array(n));
    this.#mustDieNs = grown(this.#mustDieNs, new Float64Array(n));
    this.#counter = grown(this.#counter, new Int32Array(n));
    this.#next = grown(this.#next, new Int32Array(n));
    this.#capacity = n;
  }

  /**
   * Takes a row in, if it can have changed its key, or tells of it.
   * @param key number of the key, dense from 0
   * @param isSound the answer has the form of one to this operation
   * @param differs from the recorded answer, or there is none
   * @param isJudged there is a verdict on it already
   * @returns the operation's number; -1: there is none
   */
  add(
    key: number,
    batch: Batch,
    row: number,
    results: ResultBatch,
    resultRow: number,
    isSound: boolean,
    differs: boolean,
    isJudged: boolean,
  ): number {
    const at = this.#put(batch, row, results, resultRow, isSound, differs);
    if (at === NONE) return NONE;
    if (isJudged) this.#bits[at]! |= Bit.judged;
    if (this.#first[key] === undefined) this.#first[key] = at;
    else this.#next[this.#last[key]!] = at;
    this.#last[key] = at;
    return at;
  }

  /** Takes in a FLUSH, which is an operation on every key of its place: its target, and whose keys. */
  addFlush(place: string, batch: Batch, row: number, results: ResultBatch, resultRow: number): void {
    const at = this.#put(batch, row, results, resultRow, true, false);
    if (at === NONE) return;
    this.#bits[at]! |= Bit.judged;
    // memcached's clock ticks in seconds: a FLUSH with a delay comes up to a second early, and empties until it is over.
    const { expiry = 0 } = readExtras(batch.opcode[row]!, batch.extras(row)) ?? {};
    const { mayLiveNs, mustDieNs } = lifetimeOf(expiry, this.#clock.speed, this.#atSeconds(batch, row));
    if (expiry > 0) {
      this.#fromNs[at]! += Math.max(0, mayLiveNs - 1e9);
      this.#toNs[at]! += mustDieNs;
    }
    const all = this.#flushes.get(place);
    if (all === undefined) this.#flushes.set(place, [at]);
    else all.push(at);
  }

  #atSeconds(batch: Batch, row: number): number {
    return this.#clock.recordedAtSeconds + batch.requestNs[row]! / 1e9;
  }

  #put(
    batch: Batch,
    row: number,
    results: ResultBatch,
    resultRow: number,
    isSound: boolean,
    differs: boolean,
  ): number {
    const opcode = batch.opcode[row]!;
    const info = opcodeInfo(opcode);
    if (info === undefined || results.result[resultRow] === Result.skipped) return NONE;
    const extras = readExtras(opcode, batch.extras(row));
    if (extras === undefined || (batch.flags[row]! & RowFlag.unsafe) !== 0) return NONE;
    const answer = this.#answer;
    const isKnown = isSound && answer.replayed(batch, row, results, resultRow);
    const ending = isKnown ? Ending.known : Ending.open;
    if (ending === Ending.open && mutates[opcode] === 0) return NONE;
    this.#reserve(this.count + 1);
    const at = this.count++;
    const { family } = info;
    const answeredNs = results.answeredNs[resultRow]!;
    this.#index[at] = batch.firstIndex + row;
    this.#connection[at] = batch.connection[row]!;
    this.#opcode[at] = opcode;
    this.#ending[at] = ending;
    this.#unrecorded[at] = unrecordedOf(batch, row);
    this.#fromNs[at] = results.sentNs[resultRow]!;
    this.#toNs[at] = ending === Ending.known && answeredNs !== NEVER ? answeredNs : Infinity;
    this.#recordedFromNs[at] = batch.requestNs[row]!;
    this.#recordedToNs[at] = batch.answerNs[row] === NEVER ? Infinity : batch.answerNs[row]!;
    this.#recordedStatus[at] = recordedStatus(batch, row);
    this.#status[at] = isKnown ? answer.status : Status.ok;
    this.#token[at] = tokenOf(batch.casHigh[row]!, batch.casLow[row]!);
    const isAnswered = isKnown && !answer.silent && answer.status === Status.ok;
    this.#cas[at] = isAnswered ? tokenOf(results.casHigh[resultRow]!, results.casLow[resultRow]!) : 0;
    this.#recordedCas[at] =
      batch.status[row] === Status.ok ? tokenOf(batch.answerCasHigh[row]!, batch.answerCasLow[row]!) : 0;
    const isRead = family === 'get' || family === 'gat';
    this.#read[at] =
      isAnswered && isRead ? this.values.of(answer.heap, answer.valueAt, answer.valueLength) : UNKNOWN;
    this.#recordedRead[at] =
      isRead && this.#recordedCas[at] !== 0
        ? this.values.of(batch.heap, batch.answerValueAt[row]!, batch.answerValueLength[row]!)
        : UNKNOWN;
    const hasFlags = isAnswered && answer.extrasLength === 4;
    this.#readFlags[at] = hasFlags ? uint32(answer.heap, answer.extrasAt) : 0;
    this.#value[at] = info.value
      ? this.values.of(batch.heap, batch.valueAt[row]!, batch.valueLength[row]!)
      : UNKNOWN;
    this.#flags[at] = extras.flags;
    const counts = isCounter(family);
    // What does not create has no expiry to set.
    const expiry = counts && !extras.mayCreate ? 0 : extras.expiry;
    const { mayLiveNs, mustDieNs } = lifetimeOf(expiry, this.#clock.speed, this.#atSeconds(batch, row));
    this.#mayLiveNs[at] = mayLiveNs;
    this.#mustDieNs[at] = mustDieNs;
    this.#counter[at] = counts ? this.#countOf(extras, isAnswered ? answer : undefined) : NONE;
    this.#bits[at] =
      (isKnown && answer.silent ? Bit.silent : 0) |
      (this.#token[at] === 0 ? 0 : Bit.hasCas) |
      (differs ? Bit.differs : 0) |
      (counts && isAnswered ? Bit.counts : 0) |
      (hasFlags ? Bit.readsFlags : 0) |
      (extras.mayCreate ? Bit.mayCreate : 0) |
      ((batch.flags[row]! & RowFlag.valueUnknown) === 0 ? 0 : Bit.madeUp);
    this.#next[at] = NONE;
    return at;
  }

  #countOf({ delta, initial }: { delta: bigint; initial: bigint }, answer: Placed | undefined): number {
    const at = this.#numbers.length;
    this.#numbers.push(
      delta,
      initial,
      answer === undefined ? 0n : answer.heap.readBigUInt64BE(answer.valueAt),
    );
    return at;
  }

  /**
   * The operations on a key, and on everything that its target holds, in the order of their sending; and the number of each.
   * @param ids whose CAS ids say which version is which
   */
  of(key: number, place: string, ids: WhoseIds): { operations: Operation[]; numbers: number[] } {
    const numbers: number[] = [];
    for (let at = this.#first[key] ?? NONE; at !== NONE; at = this.#next[at]!) numbers.push(at);
    const flushes = this.#flushes.get(place);
    if (flushes !== undefined) for (const at of this.#near(numbers, flushes)) numbers.push(at);
    numbers.sort((a, b) => this.#fromNs[a]! - this.#fromNs[b]! || a - b);
    const meaningless = this.#meaningless(numbers, ids);
    const learned = this.#learned(numbers, meaningless);
    const operations = numbers.map((at) => this.#operation(at, learned, meaningless));
    // Without a recording that shows what ids are worth, they count where they are as memcached's.
    if (ids === 'replay' && !areIdsInOrder(operations)) for (const one of operations) one.cas = 0;
    forgetEarlyIds(operations, this.values);
    markContended(operations);
    return { operations, numbers };
  }

  /** Of many FLUSHes between two operations on a key one is as good as all. */
  #near(numbers: readonly number[], flushes: readonly number[]): number[] {
    if (flushes.length <= 8) return [...flushes];
    const times = numbers.flatMap((at) => [this.#fromNs[at]!, this.#toNs[at]!]).toSorted((a, b) => a - b);
    const near: number[] = [];
    let last = '';
    for (const at of flushes) {
      const place = `${rank(times, this.#fromNs[at]!)} ${rank(times, this.#toNs[at]!)}`;
      if (place !== last) near.push(at);
      last = place;
    }
    return near;
  }

  /** Recorded CAS ids that mark no version; undefined: none does. */
  #meaningless(numbers: readonly number[], ids: WhoseIds): ReadonlySet<number> | undefined {
    if (ids === 'nobody') return undefined;
    if (ids === 'replay') return new Set();
    const recorded = numbers.map((at): RecordedVersion => {
      const opcode = this.#opcode[at]!;
      const { family } = opcodeInfo(opcode)!;
      const status = this.#recordedStatus[at]!;
      const isRead = isFinding({ family });
      return {
        cas: this.#recordedCas[at]!,
        token: this.#token[at]!,
        value: isRead ? this.#recordedRead[at]! : isStore(family) ? this.#value[at]! : UNKNOWN,
        makes: !isRead && status === Status.ok,
        mayChange: !isRead && (status === Status.ok || status < 0 || family === 'set'),
        fromNs: this.#recordedFromNs[at]!,
        toNs: this.#recordedToNs[at]!,
      };
    });
    return meaninglessIds(recorded.toSorted((a, b) => a.fromNs - b.fromNs));
  }

  /** By recorded CAS id that a request names: the target's ids for it, in the order in which the replay learned them. */
  #learned(
    numbers: readonly number[],
    meaningless: ReadonlySet<number> | undefined,
  ): Map<number, { cas: number; atNs: number }[]> {
    const learned = new Map<number, { cas: number; atNs: number }[]>();
    if (meaningless === undefined) return learned;
    for (const at of numbers) {
      const token = this.#token[at]!;
      if (token !== 0 && !meaningless.has(token)) learned.set(token, []);
    }
    for (const at of numbers) {
      const cas = this.#cas[at]!;
      if (cas !== 0) learned.get(this.#recordedCas[at]!)?.push({ cas, atNs: this.#toNs[at]! });
    }
    for (const all of learned.values()) all.sort((a, b) => a.atNs - b.atNs);
    return learned;
  }

  #operation(
    at: number,
    learned: ReadonlyMap<number, { cas: number; atNs: number }[]>,
    meaningless: ReadonlySet<number> | undefined,
  ): Operation {
    const recordedCas = this.#recordedCas[at]!;
    const marksNone = meaningless === undefined || (recordedCas !== 0 && meaningless.has(recordedCas));
    const bits = this.#bits[at]!;
    const opcode = this.#opcode[at]!;
    const fromNs = this.#fromNs[at]!;
    const token = this.#token[at]!;
    const counter = this.#counter[at]!;
    return {
      index: this.#index[at]!,
      connection: this.#connection[at]!,
      opcode,
      family: opcodeInfo(opcode)!.family,
      ending: this.#ending[at] as Ending,
      fromNs,
      toNs: this.#toNs[at]!,
      status: this.#status[at]!,
      silent: (bits & Bit.silent) !== 0,
      read: this.#read[at]!,
      readFlags: (bits & Bit.readsFlags) === 0 ? UNKNOWN : this.#readFlags[at]!,
      cas: marksNone ? 0 : this.#cas[at]!,
      result: (bits & Bit.counts) === 0 ? undefined : this.#numbers[counter + 2],
      value: this.#value[at]!,
      flags: this.#flags[at]!,
      mayLiveNs: this.#mayLiveNs[at]!,
      mustDieNs: this.#mustDieNs[at]!,
      delta: counter === NONE ? 0n : this.#numbers[counter]!,
      initial: counter === NONE ? 0n : this.#numbers[counter + 1]!,
      mayCreate: (bits & Bit.mayCreate) !== 0,
      hasCas: (bits & Bit.hasCas) !== 0,
      tokens: token === 0 ? undefined : sentOf(learned.get(token), fromNs),
      isMadeUp: (bits & Bit.madeUp) !== 0,
      isContended: false,
      differs: (bits & Bit.differs) !== 0,
      isJudged: (bits & Bit.judged) !== 0,
      unrecorded: unrecordedKinds[this.#unrecorded[at]!],
      recordedStatus: this.#recordedStatus[at]!,
      recordedFromNs: this.#recordedFromNs[at]!,
      recordedToNs: this.#recordedToNs[at]!,
    };
  }
}

/** Says of refusals whether another operation that may change the key was under way. @param operations in the order of their beginnings */
function markContended(operations: readonly Operation[]): void {
  let untilNs = -Infinity;
  let next = 0;
  for (const [n, one] of operations.entries()) {
    const { opcode, status, fromNs, toNs } = one;
    if (status === Status.notStored) {
      next = Math.max(next, n + 1);
      while (next < operations.length && mutates[operations[next]!.opcode] === 0) next++;
      one.isContended = untilNs >= fromNs || (operations[next]?.fromNs ?? Infinity) <= toNs;
    }
    if (mutates[opcode] === 1) untilNs = Math.max(untilNs, toNs);
  }
}

/** What workers tell each other takes so long at most, ns. */
const TOLD_WITHIN_NS = 20e6;

/** Which of the target's ids was sent for a recorded one: the last that the replay had learned; of several near that, any. */
function sentOf(
  learned: readonly { cas: number; atNs: number }[] | undefined,
  fromNs: number,
): readonly number[] | undefined {
  if (learned === undefined || learned.length === 0) return undefined;
  const before = learned.filter(({ atNs }) => atNs <= fromNs);
  if (before.length === 0) return learned.map(({ cas }) => cas);
  const last = before.at(-1)!;
  const near = before.filter(
    ({ atNs }) => atNs >= last.atNs - TOLD_WITHIN_NS || atNs >= fromNs - TOLD_WITHIN_NS,
  );
  return [...new Set(near.map(({ cas }) => cas))];
}

/** How many of the ascending numbers are below this. */
export function rank(sorted: readonly number[], value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
