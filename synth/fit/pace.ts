// What a fit learns of times: how many requests each stretch has, how arrivals fall into halves of stretches of every
// length, and how a few that are near each other lie (synth/laws/halving.ts makes times of it). One pass; memory is bounded,
// whatever the length of the trace.

import type { ArrivalsInput } from '../laws/arrivals.ts';
import { Reservoir } from './gather.ts';
import { GROUP, MOST_TOGETHER, STEPS, classOf, inequality } from '../laws/halving.ts';
import { round } from '../laws/table.ts';

/** Stretches at most. */
const MOST = 4000;
/** The shortest stretch: level 0. Each level is twice as long as the one below. */
const FIRST_NS = 10e6;
const LOWEST = -24;
const HIGHEST = 30;
/** Requests at most that are kept as they lie. */
const LEAF = 24;
/** Numbers of a model that say so, at most; and examples that they are chosen from, for each level. */
const NUMBERS = 8000;
const EXAMPLES = 1500;
const SPLITS = 1000;
const QUANTILES = 24;
/** Groups larger than a leaf that a model has room for. */
const LARGE = 200;
/** Fewer say nothing of a distribution. */
const FEW = 8;

/** A request, or several that leave together; more may join it after it was told of. */
export interface Group {
  ns: number;
  /** Requests with keys. */
  keys: number;
  /** Quiet reads: a multi-get. */
  isQuiet: boolean;
}

/** Arrivals between two multiples of the level's length; who they are, where they are few. */
interface Part {
  index: number;
  count: number;
  groups: readonly Group[] | undefined;
}

export class Pace {
  #binNs = FIRST_NS;
  #level = 0;
  #counts: number[] = [];
  #groups: Group[] = [];
  #cell = 0;
  /** By level, from LOWEST: how unequal halves are, by class; parts that have few; those whose whole has more. */
  readonly #halves = new Map<number, Map<number, Reservoir<number>>>();
  readonly #all = new Map<number, Reservoir<readonly number[]>>();
  readonly #maximal = new Map<number, Reservoir<readonly number[]>>();
  /** Groups of more than LEAF. */
  readonly #large = new Map<number, Reservoir<readonly number[]>>();
  readonly #pending: (Part | undefined)[] = [];

  /** A request; times do not fall. */
  count(ns: number): void {
    while (Math.floor(ns / this.#binNs) >= MOST) {
      this.#binNs *= 2;
      this.#level++;
      this.#counts = halved(this.#counts);
    }
    const at = Math.floor(ns / this.#binNs);
    while (this.#counts.length <= at) this.#counts.push(0);
    this.#counts[at]!++;
  }

  arrive(group: Group): void {
    const cell = Math.floor(group.ns / FIRST_NS);
    if (cell > this.#cell) this.#endCell();
    this.#cell = Math.max(cell, this.#cell);
    this.#groups.push(group);
  }

  /** @param factor of the requests of each stretch, those that are arrivals of their own */
  arrivals(factor: number): ArrivalsInput {
    this.#fall();
    this.#groups = [];
    let owed = 0;
    const counts = this.#counts.map((count) => {
      const wanted = count * factor + owed;
      owed = wanted - Math.round(wanted);
      return Math.round(wanted);
    });
    const leaves = this.#leaves();
    return {
      counts,
      every: `${this.#binNs / 1e6}ms`,
      ...(leaves.length === 0
        ? {}
        : {
            within: {
              leaf: LEAF,
              halves: this.#halvesByDepth(),
              leaves,
            },
          }),
    };
  }

  #endCell(): void {
    const groups = this.#groups;
    if (groups.length === 0) return;
    const count = this.#fall();
    this.#rise(0, { index: this.#cell, count, groups: count <= LEAF ? groups : undefined });
    this.#groups = [];
  }

  /** Into the halves of a cell of the first length. Returns its requests. */
  #fall(): number {
    const groups = this.#groups;
    if (groups.length === 0) return 0;
    const sums = new Float64Array(groups.length + 1);
    for (const [n, { keys }] of groups.entries()) sums[n + 1] = sums[n]! + keys;
    const from = this.#cell * FIRST_NS;
    if (sums[groups.length]! <= LEAF) this.#example(this.#all, 0, groups, from, FIRST_NS);
    else this.#below(sums, 0, groups.length, from, FIRST_NS, 0);
    return sums[groups.length]!;
  }

  /** @param sums of the requests before each group of the cell; groups a to b have more than LEAF */
  #below(sums: Float64Array, a: number, b: number, from: number, ns: number, level: number): void {
    if (b - a === 1) {
      this.#example(this.#large, 0, this.#groups.slice(a, b), from, ns);
      // One that is large is on one side, however often its time is halved.
      for (let below = level; below > LOWEST; below--) this.#split(below, sums[b]! - sums[a]!, 0);
      return;
    }
    if (level <= LOWEST) return;
    const groups = this.#groups;
    const middle = from + ns / 2;
    let cut = a;
    while (cut < b && groups[cut]!.ns < middle) cut++;
    this.#split(level, sums[b]! - sums[a]!, sums[cut]! - sums[a]!);
    for (const [lo, hi, start] of [
      [a, cut, from],
      [cut, b, middle],
    ] as const) {
      if (sums[hi]! - sums[lo]! > LEAF) this.#below(sums, lo, hi, start, ns / 2, level - 1);
      else if (hi > lo) this.#example(this.#maximal, level - 1, groups.slice(lo, hi), start, ns / 2);
    }
  }

  /** A part is complete: with the one beside it, it is one of the next level. */
  #rise(level: number, part: Part): void {
    if (level >= HIGHEST) return;
    const before = this.#pending[level];
    const whole = Math.floor(part.index / 2);
    this.#pending[level] = undefined;
    if (before !== undefined && Math.floor(before.index / 2) === whole) {
      this.#join(level, whole, before, part);
      return;
    }
    // Nothing was beside it.
    if (before !== undefined) this.#join(level, Math.floor(before.index / 2), before, undefined);
    if (part.index % 2 === 1) this.#join(level, whole, undefined, part);
    else this.#pending[level] = part;
  }

  #join(level: number, index: number, left: Part | undefined, right: Part | undefined): void {
    const lefts = left?.count ?? 0;
    const count = lefts + (right?.count ?? 0);
    const ns = FIRST_NS * 2 ** level;
    let groups: readonly Group[] | undefined;
    if (count <= LEAF) {
      groups = [...(left?.groups ?? []), ...(right?.groups ?? [])];
      this.#example(this.#all, level + 1, groups, index * ns * 2, ns * 2);
    } else {
      this.#split(level + 1, count, lefts);
      for (const [part, from] of [
        [left, index * ns * 2],
        [right, index * ns * 2 + ns],
      ] as const)
        if (part?.groups !== undefined) this.#example(this.#maximal, level, part.groups, from, ns);
    }
    this.#rise(level + 1, { index, count, groups });
  }

  #split(level: number, count: number, left: number): void {
    let classes = this.#halves.get(level);
    if (classes === undefined) this.#halves.set(level, (classes = new Map()));
    const own = classOf(count);
    let seen = classes.get(own);
    if (seen === undefined) classes.set(own, (seen = new Reservoir(SPLITS)));
    seen.add(inequality(count, left));
  }

  #example(
    into: Map<number, Reservoir<readonly number[]>>,
    level: number,
    groups: readonly Group[],
    from: number,
    ns: number,
  ): void {
    let seen = into.get(level);
    if (seen === undefined) into.set(level, (seen = new Reservoir(EXAMPLES)));
    seen.add(
      groups.map((group, n) => {
        const gap = n === 0 ? group.ns - from : group.ns - groups[n - 1]!.ns;
        const steps = Math.round(STEPS * Math.log2(ns / Math.max(gap, 1)));
        return Math.min(GROUP - 1, Math.max(0, steps)) + GROUP * sizeOf(group);
      }),
    );
  }

  /** Of each level as many as were its share, and together not more than a model has room for. */
  #leaves(): number[][] {
    const levels = [...this.#maximal].filter(([level]) => level < this.#level);
    const own = this.#all.get(this.#level);
    if (own !== undefined) levels.push([this.#level, own]);
    const seen = levels.reduce((sum, [, of]) => sum + of.seen, 0);
    const leaves: number[][] = [];
    for (const [level, of] of levels.toSorted(([a], [b]) => b - a)) {
      let room = (NUMBERS * of.seen) / seen;
      for (const gaps of of.items) {
        if (room <= 0) break;
        leaves.push([this.#level - level, ...gaps]);
        room -= gaps.length + 1;
      }
    }
    for (const gaps of this.#large.get(0)?.items.slice(0, LARGE) ?? []) leaves.push([0, ...gaps]);
    return leaves;
  }

  #halvesByDepth(): number[][][] {
    const halves: number[][][] = [];
    for (let level = this.#level; level >= LOWEST; level--)
      halves.push(
        [...(this.#halves.get(level) ?? [])]
          .filter(([, { items }]) => items.length >= FEW)
          .toSorted(([a], [b]) => a - b)
          .map(([own, { items }]) => [own].concat(quantiles(items))),
      );
    while (halves.at(-1)?.length === 0) halves.pop();
    return halves;
  }
}

/** 0 for a request by itself. */
function sizeOf({ keys, isQuiet }: Group): number {
  return 2 * (Math.min(keys, MOST_TOGETHER) - 1) + (isQuiet ? 1 : 0);
}

function quantiles(values: readonly number[]): number[] {
  const sorted = values.toSorted((a, b) => a - b);
  const parts = Math.min(QUANTILES, sorted.length - 1);
  return Array.from({ length: parts + 1 }, (_, n) =>
    round(sorted[Math.round((n / parts) * (sorted.length - 1))]!, 3),
  );
}

/** Every two together. */
function halved(counts: readonly number[]): number[] {
  return Array.from(
    { length: Math.ceil(counts.length / 2) },
    (_, n) => counts[2 * n]! + (counts[2 * n + 1] ?? 0),
  );
}
