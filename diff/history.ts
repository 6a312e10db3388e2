// What a replay did to one key: its changes, each with the interval in which it took effect, and whether a value that
// somebody read can be one that the key had then. Intervals are the replay's own: from the sending of a request to the
// first byte of its answer, so whatever the server did, it did in between.

import type { Family } from '../protocol/opcode.ts';
import { unpadded } from './answer.ts';

/** A change of the key that happened, or may have. */
export interface Change {
  /** Index of the exchange; -1: before the replay. */
  index: number;
  /** -1: before the replay. */
  connection: number;
  family: Family | 'initial';
  /** ns since the replay's start. */
  fromNs: number;
  toNs: number;
  /** It took effect, for sure. */
  definite: boolean;
  /** It left the key absent. */
  removes: boolean;
  /** The value that it wrote, or that a counter said it had, latin1. */
  value: string | undefined;
  flags: number;
  /** Appended or prepended, latin1. */
  operand: string;
  /** Of a counter: what was added (negative: subtracted), and what it starts from. */
  delta: bigint;
  initial: bigint | undefined;
  /** Seconds, as recorded; 0: none. */
  ttl: number;
  /** How long the item lives in the replay, ns; 0: for ever, or it is not known. */
  livesNs: number;
  /** The same interval in the recording; recordedToNs is Infinity where there is no end. */
  recordedFromNs: number;
  recordedToNs: number;
}

/**
 * `live`: the key may have had it then · `superseded`: it had it, and a later change was over before · `never`: nothing
 * ever gave it this value · `unknown`: the key's state is not known well enough, or finding out would take too long
 */
export type Explanation = 'live' | 'superseded' | 'never' | 'unknown';

const none: readonly Change[] = [];

/** Steps of the search for one answer's explanation. */
const MAX_STEPS = 20_000;

/** Whether something happened for sure between two times. */
class Intervals {
  readonly #starts: Float64Array;
  /** By place: the earliest end among it and those after it. */
  readonly #earliestEnd: Float64Array;

  constructor(changes: readonly Change[]) {
    const sorted = changes.toSorted((a, b) => a.fromNs - b.fromNs);
    this.#starts = Float64Array.from(sorted, ({ fromNs }) => fromNs);
    this.#earliestEnd = new Float64Array(sorted.length);
    let earliest = Infinity;
    for (let n = sorted.length - 1; n >= 0; n--) {
      earliest = Math.min(earliest, sorted[n]!.toNs);
      this.#earliestEnd[n] = earliest;
    }
  }

  /** One began after `endNs`, and was over before `fromNs`. */
  isBetween(endNs: number, fromNs: number): boolean {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle]! > endNs) high = middle;
      else low = middle + 1;
    }
    return low < this.#starts.length && this.#earliestEnd[low]! < fromNs;
  }
}

const nothing = new Intervals([]);

export class KeyHistory {
  readonly #changes: Change[] = [];
  /** What stood there before the replay is not known. */
  readonly #initialUnknown: boolean;
  /** By recorded CAS token: when this replay asked for, and saw, the version that it names. */
  #tokens: Map<number, { fromNs: number; toNs: number }[]> | undefined;
  #doubted: Set<number> | undefined;
  #sorted = false;
  /** By value, and those whose value is worked out: of use where a value is to be explained. */
  #indexed = false;
  #byValue: Map<string, Change[]> | undefined;
  #derived: readonly Change[] = none;
  #definite = nothing;
  /** Of stores and removals, which leave nothing of what was there, its expiry included. */
  #renewals = nothing;
  #steps = 0;

  constructor(initialUnknown: boolean) {
    this.#initialUnknown = initialUnknown;
  }

  add(change: Change): void {
    this.#changes.push(change);
    this.#sorted = false;
    this.#indexed = false;
  }

  /** The answer of this counter's change is wrong, it seems: what it made is not what it said. Or it is not, after all. */
  doubt(index: number, isWrong: boolean): void {
    this.#doubted ??= new Set();
    if (isWrong) this.#doubted.add(index);
    else this.#doubted.delete(index);
    this.#indexed = false;
  }

  get changes(): readonly Change[] {
    return this.#changes;
  }

  /** Can the key have had this value at some moment from `fromNs` to `toNs`? `flags` undefined: whatever they are. */
  explain(value: string, flags: number | undefined, fromNs: number, toNs: number, self: number): Explanation {
    this.#sort();
    this.#index();
    this.#steps = 0;
    const now = this.#explain(value, flags, fromNs, toNs, new Set([self]));
    // What concatenations and counters made earlier is looked for only where nothing else explains the value.
    return now === 'never' && this.#wasMade(value, flags, fromNs, self) ? 'superseded' : now;
  }

  /** A change that was superseded before the time had made the value. */
  #wasMade(value: string, flags: number | undefined, fromNs: number, self: number): boolean {
    const counter = unpadded(Buffer.from(value, 'latin1'))?.toString('latin1');
    return this.#derived.some((change) => {
      if (change.index === self || change.fromNs > fromNs) return false;
      return basesOf(change, value, counter).some((base) => {
        this.#steps = 0;
        return (
          this.#explain(base, flags, change.fromNs, change.toNs, new Set([self, change.index])) === 'live'
        );
      });
    });
  }

  /** Was the key possibly there at some moment of the interval? */
  mayBePresent(fromNs: number, toNs: number, self: number): boolean {
    this.#sort();
    if (this.#initialUnknown && !this.#definite.isBetween(-Infinity, fromNs)) return true;
    return this.#changes.some(
      (change) =>
        !change.removes &&
        change.index !== self &&
        change.fromNs <= toNs &&
        !this.#definite.isBetween(change.toNs, fromNs),
    );
  }

  /** Was it possibly removed, by one of the requests, and not stored again before the interval? */
  mayBeRemoved(fromNs: number, toNs: number, self: number): boolean {
    this.#sort();
    return this.#changes.some(
      (change) =>
        change.removes &&
        change.index !== self &&
        change.fromNs <= toNs &&
        !this.#definite.isBetween(change.toNs, fromNs),
    );
  }

  /** Another change of the key overlaps, in the replay or in the recording: their order was open. */
  hasRace(of: {
    index: number;
    fromNs: number;
    toNs: number;
    recordedFromNs: number;
    recordedToNs: number;
  }): boolean {
    return this.#changes.some(
      (change) =>
        change.index !== of.index &&
        change.index >= 0 &&
        change.family !== 'touch' &&
        ((change.fromNs <= of.toNs && change.toNs >= of.fromNs) ||
          (change.recordedFromNs <= of.recordedToNs && change.recordedToNs >= of.recordedFromNs)),
    );
  }

  get hasConcatenation(): boolean {
    return this.#changes.some(({ family }) => family === 'append' || family === 'prepend');
  }

  get hasCounter(): boolean {
    return this.#changes.some(({ family }) => family === 'incr' || family === 'decr');
  }

  hasOtherWriters(connection: number): boolean {
    return this.#changes.some(
      (change) => change.index >= 0 && change.connection !== connection && change.family !== 'touch',
    );
  }

  /** What the key had, or may have had, in the replay was about to expire, or had. */
  mayHaveExpired(at: { index: number; fromNs: number; toNs: number }, marginNs: number): boolean {
    this.#sort();
    return this.#changes.some(
      ({ index, ttl, livesNs, fromNs, toNs }) =>
        ttl > 0 &&
        index !== at.index &&
        fromNs <= at.toNs &&
        at.toNs - fromNs >= (livesNs > 0 ? livesNs : ttl * 1e9) - marginNs &&
        !this.#renewals.isBetween(toNs, at.fromNs),
    );
  }

  /** An expiry that some change set was near, or over, in the replay or in the recording. */
  nearExpiry(at: { index: number; toNs: number; recordedToNs: number }, marginNs: number): boolean {
    return this.#changes.some(
      ({ index, ttl, fromNs, recordedFromNs }) =>
        ttl > 0 &&
        index !== at.index &&
        ((fromNs <= at.toNs && at.toNs - fromNs >= ttl * 1e9 - marginNs) ||
          (recordedFromNs <= at.recordedToNs && at.recordedToNs - recordedFromNs >= ttl * 1e9 - marginNs)),
    );
  }

  /** Everything that gave the key this value was to expire, and so were all who prolonged it, long before the time. */
  hasExpired(value: string, fromNs: number, marginNs: number): boolean {
    if (this.#initialUnknown || this.#changes.some(({ family }) => isDerived(family))) return false;
    const before = this.#changes.filter((change) => change.fromNs < fromNs);
    const stores = before.filter((change) => change.value === value);
    const touches = before.filter(({ family }) => family === 'touch');
    return (
      stores.length > 0 &&
      [...stores, ...touches].every(({ livesNs, toNs }) => livesNs > 0 && toNs + livesNs + marginNs < fromNs)
    );
  }

  /** A definite store or removal was over before the time: what the key had before the replay is gone. */
  isKnown(fromNs: number): boolean {
    this.#sort();
    return !this.#initialUnknown || this.#definite.isBetween(-Infinity, fromNs);
  }

  #explain(
    value: string,
    flags: number | undefined,
    fromNs: number,
    toNs: number,
    used: Set<number>,
  ): Explanation {
    if (++this.#steps > MAX_STEPS) return 'unknown';
    let best: Explanation = 'never';
    const counter = unpadded(Buffer.from(value, 'latin1'))?.toString('latin1');
    for (const change of this.#byValue?.get(counter ?? value) ?? none) {
      if (used.has(change.index) || change.fromNs > toNs) continue;
      if (flags !== undefined && hasFlags(change) && change.flags !== flags) continue;
      if (!this.#definite.isBetween(change.toNs, fromNs)) return 'live';
      best = 'superseded';
    }
    for (const change of this.#derived) {
      if (change.fromNs > toNs || used.has(change.index)) continue;
      if (this.#definite.isBetween(change.toNs, fromNs)) continue;
      for (const base of basesOf(change, value, counter)) {
        used.add(change.index);
        const found = this.#explain(base, flags, change.fromNs, change.toNs, used);
        used.delete(change.index);
        if (found === 'live' || found === 'unknown') return found;
      }
      if (counter !== undefined && change.initial?.toString() === counter) return 'live';
    }
    if (this.#initialUnknown && !this.#definite.isBetween(-Infinity, fromNs)) return 'unknown';
    return best;
  }

  /** The replay saw the version that a recorded CAS token names, in an exchange of this interval. */
  learnToken(token: number, fromNs: number, toNs: number): void {
    this.#tokens ??= new Map();
    const seen = this.#tokens.get(token);
    if (seen === undefined) this.#tokens.set(token, [{ fromNs, toNs }]);
    else seen.push({ fromNs, toNs });
  }

  /**
   * Whether the version of a token was current all the time from when it was seen to a later request: `current` where
   * nothing can have changed it, `superseded` where something did for sure, else `unknown`.
   */
  tokenAt(token: number, fromNs: number, toNs: number, index: number): 'current' | 'superseded' | 'unknown' {
    // Which of them the request's token came from is not known.
    const seen = (this.#tokens?.get(token) ?? []).filter((sight) => sight.fromNs < fromNs);
    if (seen.length === 0) return 'unknown';
    this.#sort();
    const since = this.#changes.filter((change) => change.index !== index && change.family !== 'touch');
    const isOver = (sight: { toNs: number }): boolean =>
      since.some((change) => change.definite && change.fromNs > sight.toNs && change.toNs < fromNs);
    if (seen.every(isOver)) return 'superseded';
    const first = Math.min(...seen.map((sight) => sight.fromNs));
    return since.some((change) => change.toNs > first && change.fromNs < toNs) ? 'unknown' : 'current';
  }

  #sort(): void {
    if (this.#sorted) return;
    this.#sorted = true;
    const definite = this.#changes.filter((change) => change.definite);
    this.#definite = new Intervals(definite);
    this.#renewals = new Intervals(definite.filter(({ family }) => !isDerived(family)));
  }

  #index(): void {
    if (this.#indexed) return;
    this.#indexed = true;
    const byValue = new Map<string, Change[]>();
    this.#byValue = byValue;
    for (const change of this.#changes) {
      if (change.value === undefined || this.#doubted?.has(change.index) === true) continue;
      const value = unpadded(Buffer.from(change.value, 'latin1'))?.toString('latin1') ?? change.value;
      const same = byValue.get(value);
      if (same === undefined) byValue.set(value, [change]);
      else same.push(change);
    }
    // A counter says what it has become; only of those that did not, the value is worked out.
    this.#derived = this.#changes.filter(
      ({ index, family, value }) =>
        isDerived(family) && (value === undefined || this.#doubted?.has(index) === true),
    );
  }
}

/** Made from the value before: its result depends on which that was. */
function isDerived(family: Change['family']): boolean {
  return family === 'append' || family === 'prepend' || family === 'incr' || family === 'decr';
}

/** Concatenations and counters keep the flags of what they change. */
function hasFlags({ family }: Change): boolean {
  return !isDerived(family);
}

const MAX_UINT64 = 0xffffffffffffffffn;

/** The values from which the change makes this one. */
function basesOf(change: Change, value: string, counter: string | undefined): string[] {
  const { family, operand, delta } = change;
  if (family === 'append')
    return value.endsWith(operand) ? [value.slice(0, value.length - operand.length)] : [];
  if (family === 'prepend') return value.startsWith(operand) ? [value.slice(operand.length)] : [];
  if (counter === undefined || counter.length > 20) return [];
  const result = BigInt(counter);
  if (result > MAX_UINT64) return [];
  const bases = [BigInt.asUintN(64, result - delta).toString()];
  // A DECR stops at 0: it may have started from anything up to its delta, and most likely from what others left there.
  if (family === 'decr' && result === 0n)
    for (let less = 0n; less < -delta && less < 32n; less++) bases.push(less.toString());
  return bases;
}
