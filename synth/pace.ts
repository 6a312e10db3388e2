// What a fit learns of times: how many requests each stretch has, how arrivals fall into halves of stretches of every
// length, and how a few that are near each other lie (synth/halving.ts makes times of it). One pass; memory is bounded,
// whatever the length of the trace.

import type { ArrivalsInput } from './arrivals.ts';
import { Reservoir } from './gather.ts';
import { STEPS, classOf, inequality } from './halving.ts';
import { round } from './table.ts';

/** Stretches at most. */
const MOST = 4000;
/** The shortest stretch: level 0. Each level is twice as long as the one below. */
const FIRST_NS = 10e6;
const LOWEST = -24;
const HIGHEST = 30;
/** Arrivals at most that are kept as they lie. */
const LEAF = 24;
/** Numbers of a model that say so, at most; and examples that they are chosen from, for each level. */
const NUMBERS = 8000;
const EXAMPLES = 1500;
const SPLITS = 1000;
const QUANTILES = 24;
/** Fewer say nothing of a distribution. */
const FEW = 8;
const LONGEST_STEPS = 60 * STEPS;

/** Arrivals between two multiples of the level's length. Their times where they are few. */
interface Part {
  index: number;
  count: number;
  times: readonly number[] | undefined;
}

export class Pace {
  #binNs = FIRST_NS;
  #level = 0;
  #counts: number[] = [];
  #times: number[] = [];
  #cell = 0;
  /** By level, from LOWEST: how unequal halves are, by class; parts that have few; those whose whole has more. */
  readonly #halves = new Map<number, Map<number, Reservoir<number>>>();
  readonly #all = new Map<number, Reservoir<readonly number[]>>();
  readonly #maximal = new Map<number, Reservoir<readonly number[]>>();
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

  /** An arrival: a request, or the first of some that leave together. */
  arrive(ns: number): void {
    const cell = Math.floor(ns / FIRST_NS);
    if (cell > this.#cell) this.#endCell();
    this.#cell = Math.max(cell, this.#cell);
    this.#times.push(ns);
  }

  /** @param factor of the requests of each stretch, those that are arrivals of their own */
  arrivals(factor: number): ArrivalsInput {
    const last = this.#times.length;
    if (last > 0) this.#below(this.#times, 0, last, this.#cell * FIRST_NS, FIRST_NS, 0);
    this.#times = [];
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
      ...(leaves.length === 0 ? {} : { within: { leaf: LEAF, halves: this.#halvesByDepth(), leaves } }),
    };
  }

  #endCell(): void {
    const { length } = this.#times;
    if (length === 0) return;
    const from = this.#cell * FIRST_NS;
    this.#below(this.#times, 0, length, from, FIRST_NS, 0);
    this.#rise(0, { index: this.#cell, count: length, times: length <= LEAF ? this.#times : undefined });
    this.#times = [];
  }

  /** A part of the lowest level that counts, and its halves. */
  #below(times: readonly number[], a: number, b: number, from: number, ns: number, level: number): void {
    if (b - a <= LEAF) {
      if (level === 0) this.#example(this.#all, 0, times.slice(a, b), from, ns);
      return;
    }
    if (level <= LOWEST) return;
    const middle = from + ns / 2;
    let cut = a;
    while (cut < b && times[cut]! < middle) cut++;
    this.#split(level, b - a, cut - a);
    for (const [lo, hi, start] of [
      [a, cut, from],
      [cut, b, middle],
    ] as const) {
      if (hi - lo > LEAF) this.#below(times, lo, hi, start, ns / 2, level - 1);
      else if (hi > lo) this.#example(this.#maximal, level - 1, times.slice(lo, hi), start, ns / 2);
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
    let times: readonly number[] | undefined;
    if (count <= LEAF) {
      times = [...(left?.times ?? []), ...(right?.times ?? [])];
      this.#example(this.#all, level + 1, times, index * ns * 2, ns * 2);
    } else {
      this.#split(level + 1, count, lefts);
      for (const [part, from] of [
        [left, index * ns * 2],
        [right, index * ns * 2 + ns],
      ] as const)
        if (part?.times !== undefined) this.#example(this.#maximal, level, part.times, from, ns);
    }
    this.#rise(level + 1, { index, count, times });
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
    times: readonly number[],
    from: number,
    ns: number,
  ): void {
    let seen = into.get(level);
    if (seen === undefined) into.set(level, (seen = new Reservoir(EXAMPLES)));
    seen.add(
      times.map((time, n) => {
        const gap = n === 0 ? time - from : time - times[n - 1]!;
        return Math.min(LONGEST_STEPS, Math.max(0, Math.round(STEPS * Math.log2(ns / Math.max(gap, 1)))));
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
    return leaves;
  }

  #halvesByDepth(): number[][][] {
    const halves: number[][][] = [];
    for (let level = this.#level; level >= LOWEST; level--)
      halves.push(
        [...(this.#halves.get(level) ?? [])]
          .filter(([, { items }]) => items.length >= FEW)
          .toSorted(([a], [b]) => a - b)
          .map(([own, { items }]) => [own, ...quantiles(items)]),
      );
    while (halves.at(-1)?.length === 0) halves.pop();
    return halves;
  }
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
