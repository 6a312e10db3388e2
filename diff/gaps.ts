// The changes of a key in the order of their CAS ids, and between each two of them a gap, into which what has no id is fitted
// where its interval and the order of its connection's requests allow it. What stands in a gap bounds the gaps before it
// and behind it.

import { Status } from '../protocol/status.ts';
import type { Item } from './item.ts';
import { isFinding, isNumbered, type Operation } from './operation.ts';

/** Gaps that are tried for one operation, in each direction. */
const NEAR = 400;

const noSight = { fromNs: -Infinity, toNs: Infinity };

/** What stands behind a change, until the next. */
export interface Gap {
  /** The change that opens it; undefined: the beginning. */
  change: number | undefined;
  /** When it can begin at the earliest, for what stands before it; and when what stands behind must have been executed, ns. */
  fromNs: number;
  untilNs: number;
  /** The item in it, and behind the removal. */
  item: Item;
  /** What sees the item, or is refused by it. */
  seen: number[];
  removal: number | undefined;
  removed: Item | undefined;
  /** What finds nothing. */
  missed: number[];
  /** Stores without an id, which the next change replaces. */
  replaced: number[];
  /** By part: the latest beginning and the earliest end of what stands in it, ns. */
  beginsNs: number[];
  endsNs: number[];
}

/** The parts of a gap, in their order. */
export const Part = { seen: 0, removal: 1, missed: 2, replaced: 3 } as const;
export type Part = (typeof Part)[keyof typeof Part];

/** It stores whatever was there. */
export function isBlindStore({ family, status, hasCas }: Operation): boolean {
  return family === 'set' && status === Status.ok && !hasCas;
}

/** What tells beforehand in which gaps an operation may stand. */
export interface Bounds {
  byTime: boolean;
  byConnections: boolean;
}

export class Gaps {
  readonly all: Gap[] = [];
  readonly operations: readonly Operation[];
  /** Ordinals of the operations that are known to have been executed, and of the changes among them, by id. */
  readonly known: readonly number[];
  readonly changes: readonly number[];
  /** By ordinal: the first gap and the last one that the order of its connection leaves it. */
  readonly first: Int32Array;
  readonly last: Int32Array;
  /** Something has left a gap, and others are still bounded by it: that leaves less to try, and nothing wrong. */
  isTight = false;
  /** CAS id -> the latest beginning and the earliest end of the reads that tell it; 0: whose id no change here has. */
  readonly #sights = new Map<number, { fromNs: number; toNs: number }>();

  constructor(operations: readonly Operation[], known: readonly number[], { byTime, byConnections }: Bounds) {
    this.operations = operations;
    this.known = known;
    this.changes = known
      .filter((ordinal) => isNumbered(operations[ordinal]!))
      .toSorted((a, b) => operations[a]!.cas - operations[b]!.cas);
    const ids = new Set(this.changes.map((ordinal) => operations[ordinal]!.cas));
    for (const ordinal of known) {
      const one = operations[ordinal]!;
      if (!isFinding(one) || one.cas === 0) continue;
      const cas = ids.has(one.cas) ? one.cas : 0;
      const { fromNs, toNs } = this.#sights.get(cas) ?? noSight;
      this.#sights.set(cas, { fromNs: Math.max(fromNs, one.fromNs), toNs: Math.min(toNs, one.toNs) });
    }
    this.first = new Int32Array(operations.length);
    this.last = new Int32Array(operations.length).fill(this.changes.length);
    if (byTime) this.#boundByTime();
    if (byConnections) this.#boundByConnections();
  }

  /** What begins after a gap must be over, or is over before it can begin, does not stand in it. */
  #boundByTime(): void {
    const { operations, changes, known, first, last } = this;
    const earliestNs = new Float64Array(changes.length + 1).fill(-Infinity);
    for (const [n, ordinal] of changes.entries())
      earliestNs[n + 1] = Math.max(
        earliestNs[n]!,
        operations[ordinal]!.fromNs,
        this.sightsOf(n === 0 ? undefined : changes[n - 1]).fromNs,
      );
    const latestNs = this.latestNs();
    for (const ordinal of known) {
      const { fromNs, toNs } = operations[ordinal]!;
      first[ordinal] = firstWhere(latestNs, (ns) => ns >= fromNs);
      last[ordinal] = firstWhere(earliestNs, (ns) => ns > toNs) - 1;
    }
  }

  /** By gap: when what stands in it must have been executed, for the changes after it and the reads that tell their ids. */
  latestNs(): Float64Array {
    const { operations, changes } = this;
    const latestNs = new Float64Array(changes.length + 1).fill(Infinity);
    for (let n = changes.length - 1; n >= 0; n--) {
      const { toNs } = operations[changes[n]!]!;
      latestNs[n] = Math.min(latestNs[n + 1]!, toNs, this.sightsOf(changes[n]).toNs);
    }
    return latestNs;
  }

  /** Between those of its connection whose place the ids tell, or whose interval does. */
  #boundByConnections(): void {
    const { operations, known, changes, first, last } = this;
    const gapOf = new Map(changes.map((ordinal, n) => [operations[ordinal]!.cas, n + 1]));
    const pinned = (ordinal: number): number | undefined => {
      const one = operations[ordinal]!;
      return one.cas === 0 ? undefined : (gapOf.get(one.cas) ?? 0);
    };
    const reached = new Map<number, number>();
    for (const ordinal of known) {
      const { connection } = operations[ordinal]!;
      const gap = Math.max(reached.get(connection) ?? 0, first[ordinal]!, pinned(ordinal) ?? 0);
      first[ordinal] = gap;
      reached.set(connection, gap);
    }
    const left = new Map<number, number>();
    for (const ordinal of known.toReversed()) {
      const one = operations[ordinal]!;
      const before = left.get(one.connection) ?? changes.length;
      const gap = Math.min(before, last[ordinal]!, pinned(ordinal) ?? Infinity);
      last[ordinal] = gap;
      // A change opens its gap: what came before it on its connection stands in an earlier one.
      left.set(one.connection, isNumbered(one) ? gap - 1 : gap);
    }
  }

  /** Of the reads that tell the id of the change. */
  sightsOf(change: number | undefined): { fromNs: number; toNs: number } {
    return this.#sights.get(change === undefined ? 0 : this.operations[change]!.cas) ?? noSight;
  }

  add(change: number | undefined, fromNs: number, untilNs: number, item: Item): void {
    this.all.push({
      change,
      fromNs,
      untilNs,
      item,
      seen: [],
      removal: undefined,
      removed: undefined,
      missed: [],
      replaced: [],
      ...this.#bounds(change),
    });
  }

  /** Of a gap in which nothing stands yet but the reads that tell its change's id. */
  #bounds(change: number | undefined): Pick<Gap, 'beginsNs' | 'endsNs'> {
    const { fromNs, toNs } = this.sightsOf(change);
    return {
      beginsNs: [fromNs, -Infinity, -Infinity, -Infinity],
      endsNs: [toNs, Infinity, Infinity, Infinity],
    };
  }

  /** The next change, if any, does not need what the gap leaves. */
  isReplaced(at: number): boolean {
    const next = this.all[at + 1]?.change;
    return next === undefined || isBlindStore(this.operations[next]!);
  }

  /** It may stand in this part of the gap: after what stands in the parts before, and before what stands in those after. */
  fits(at: number, ordinal: number, part: Part): boolean {
    if (at < this.first[ordinal]! || at > this.last[ordinal]!) return false;
    const gap = this.all[at]!;
    const { fromNs, toNs } = this.operations[ordinal]!;
    if (fromNs > gap.untilNs || toNs < gap.fromNs) return false;
    for (let other = 0; other < part; other++) if (toNs < gap.beginsNs[other]!) return false;
    for (let other = part + 1; other <= Part.replaced; other++) if (fromNs > gap.endsNs[other]!) return false;
    return true;
  }

  put(at: number, ordinal: number, part: Part): void {
    const { all } = this;
    const gap = all[at]!;
    const { fromNs, toNs } = this.operations[ordinal]!;
    gap.beginsNs[part] = Math.max(gap.beginsNs[part]!, fromNs);
    gap.endsNs[part] = Math.min(gap.endsNs[part]!, toNs);
    if (part === Part.seen) gap.seen.push(ordinal);
    else if (part === Part.missed) gap.missed.push(ordinal);
    else if (part === Part.replaced) gap.replaced.push(ordinal);
    else gap.removal = ordinal;
    for (let later = at + 1; later < all.length && all[later]!.fromNs < fromNs; later++)
      all[later]!.fromNs = fromNs;
    for (let earlier = at - 1; earlier >= 0 && all[earlier]!.untilNs > toNs; earlier--)
      all[earlier]!.untilNs = toNs;
  }

  /** When what stands in the gap begins and ends. */
  measure(gap: Gap): void {
    const { change, seen, removal, missed, replaced } = gap;
    Object.assign(gap, this.#bounds(change));
    const parts = [seen, removal === undefined ? [] : [removal], missed, replaced];
    for (const [part, ordinals] of parts.entries())
      for (const ordinal of ordinals) {
        const { fromNs, toNs } = this.operations[ordinal]!;
        gap.beginsNs[part] = Math.max(gap.beginsNs[part]!, fromNs);
        gap.endsNs[part] = Math.min(gap.endsNs[part]!, toNs);
      }
  }

  /** Bounds of all gaps, by what stands in them now. */
  loosen(): void {
    this.isTight = false;
    let fromNs = -Infinity;
    for (const gap of this.all) {
      const { change } = gap;
      this.measure(gap);
      if (change !== undefined) fromNs = Math.max(fromNs, this.operations[change]!.fromNs);
      gap.fromNs = fromNs;
      fromNs = Math.max(fromNs, ...gap.beginsNs);
    }
    let untilNs = Infinity;
    for (const gap of this.all.toReversed()) {
      gap.untilNs = untilNs;
      untilNs = Math.min(untilNs, ...gap.endsNs);
      if (gap.change !== undefined) untilNs = Math.min(untilNs, this.operations[gap.change]!.toNs);
    }
  }

  /** Gaps that its interval allows: the one at its beginning first, then those after it, then those before. */
  *near(ordinal: number): Generator<number> {
    const { all } = this;
    const one = this.operations[ordinal]!;
    const [start, end] = [this.first[ordinal]!, Math.min(this.last[ordinal]!, all.length - 1)];
    let low = start;
    let high = end + 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (all[middle]!.fromNs <= one.fromNs) low = middle + 1;
      else high = middle;
    }
    const first = Math.max(start, low - 1);
    for (let at = first; at <= end && at < first + NEAR; at++) {
      if (all[at]!.fromNs > one.toNs) break;
      yield at;
    }
    for (let at = first - 1; at >= start && at > first - NEAR; at--) {
      if (all[at]!.untilNs < one.fromNs) break;
      yield at;
    }
  }
}

/** The first place in the ascending numbers of which this is so; their count where there is none. */
function firstWhere(numbers: Float64Array, isSo: (number: number) => boolean): number {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isSo(numbers[middle]!)) high = middle;
    else low = middle + 1;
  }
  return low;
}
