// Times within a stretch whose arrivals were counted, as they were learnt: the stretch is halved again and again, and each
// half's share of the arrivals is drawn from those that were seen of stretches of that length and number, until few are
// left; those are placed as some that were seen. So that counts vary in windows of every length as they did, more than
// chance has it (bursts) or less (clients that wait for their answers), and gaps are those that were.

import { z } from 'zod';
import type { Random } from './random.ts';

/** Lengths of gaps are kept in so many steps of a doubling. */
export const STEPS = 16;
/** To a gap's steps, for an arrival of several requests: this, times twice those that follow it, and once for a multi-get. */
export const GROUP = 1024;
export const MOST_TOGETHER = 10_000;
const DEEPEST = 40;

const whole = z.number().int().min(0);

export const halvingSchema = z
  .strictObject({
    leaf: z.number().int().positive().max(1000).describe('requests at most that are placed as they were'),
    halves: z
      .array(
        z
          .array(z.array(z.number().min(0)).min(3).max(200))
          .max(64)
          .describe('how many doublings of arrivals, then quantiles of how unequal their halves are'),
      )
      .max(DEEPEST)
      .describe('of the stretch, its halves, their halves, and so on'),
    leaves: z
      .array(z.array(whole).min(2).max(1001))
      .min(1)
      .max(20_000)
      .describe(
        'how often the stretch was halved, then the gaps: 1/16 of a doubling that each is below it, and 1024 times twice the requests that leave with one, or once more for a multi-get',
      ),
  })
  .describe('how arrivals lie within a stretch, as `synth fit` learns it');
export type HalvingModel = z.output<typeof halvingSchema>;

/** How unequal halves are: 1 is about what chance makes of any number. */
export function inequality(all: number, left: number): number {
  return Math.abs(2 * left - all) / Math.sqrt(all);
}

/** Whose halves are alike: those of about as many arrivals. */
export function classOf(all: number): number {
  return Math.floor(Math.log2(all));
}

/** Requests that leave at once. */
export interface Arrival {
  ns: number;
  keys: number;
  /** They are a multi-get. */
  isMany: boolean;
}

function requestsOf(leaf: readonly number[]): number {
  let requests = 0;
  for (let n = 1; n < leaf.length; n++) requests += 1 + (Math.floor(leaf[n]! / GROUP) >> 1);
  return requests;
}

export class Halving {
  readonly #model: HalvingModel;
  readonly #random: Random;
  /** Leaves by how many requests they have; the large ones, of one group, together. */
  readonly #leaves: number[][][];
  readonly #large: number[][];
  /** What is still to be placed, the earliest last: arrivals, from, length, depth. */
  readonly #stack: [count: number, fromNs: number, ns: number, depth: number][] = [];

  constructor(model: HalvingModel, random: Random) {
    this.#model = model;
    this.#random = random;
    this.#leaves = Array.from({ length: model.leaf + 1 }, () => []);
    this.#large = model.leaves.filter((leaf) => requestsOf(leaf) > model.leaf);
    for (const leaf of model.leaves) this.#leaves[requestsOf(leaf)]?.push(leaf);
  }

  /** Nothing is to be placed. */
  get isEmpty(): boolean {
    return this.#stack.length === 0;
  }

  /** So many requests are to be placed in a stretch. */
  begin(count: number, fromNs: number, ns: number): void {
    if (count > 0) this.#stack.push([count, fromNs, ns, 0]);
  }

  /** The next arrivals, the last one first; undefined: the stretch is over. */
  next(): Arrival[] | undefined {
    for (;;) {
      const part = this.#stack.pop();
      if (part === undefined) return undefined;
      const [count, fromNs, ns, depth] = part;
      if (count <= this.#model.leaf || depth >= DEEPEST) return this.#place(count, fromNs, ns, depth);
      const left = this.#left(count, depth);
      const half = ns / 2;
      if (left < count) this.#stack.push([count - left, fromNs + half, half, depth + 1]);
      if (left > 0) this.#stack.push([left, fromNs, half, depth + 1]);
    }
  }

  #left(count: number, depth: number): number {
    const random = this.#random;
    const apart = this.#inequality(count, depth) * Math.sqrt(count) * (random.float() < 0.5 ? -1 : 1);
    const exact = (count + apart) / 2;
    const low = Math.floor(exact);
    const rest = exact - low;
    // Between two whole numbers, either.
    const left = rest === 0.5 ? low + (random.float() < 0.5 ? 1 : 0) : Math.round(exact);
    return Math.min(count, Math.max(0, left));
  }

  #inequality(count: number, depth: number): number {
    const { halves } = this.#model;
    const own = classOf(count);
    const u = this.#random.float();
    // Of those that were not seen: the nearest in number, of the same depth or the nearest.
    for (let at = Math.min(depth, halves.length - 1); at >= 0; at--) {
      let best: readonly number[] | undefined;
      for (const row of halves[at]!)
        if (best === undefined || Math.abs(row[0]! - own) < Math.abs(best[0]! - own)) best = row;
      if (best === undefined) continue;
      const place = 1 + u * (best.length - 2);
      const low = Math.floor(place);
      return best[low]! + (place - low) * ((best[low + 1] ?? best[low]!) - best[low]!);
    }
    // As chance has it: about the absolute value of a normal variable.
    return u * 1.6;
  }

  #place(count: number, fromNs: number, ns: number, depth: number): Arrival[] {
    const random = this.#random;
    const arrivals: Arrival[] = [];
    if (count > this.#model.leaf) {
      const large = this.#large.length === 0 ? undefined : random.pick(this.#large);
      const isMany = Math.floor((large?.[1] ?? 0) / GROUP) % 2 === 1;
      return [{ ns: fromNs + random.float() * ns, keys: Math.min(count, MOST_TOGETHER), isMany }];
    }
    const leaf = this.#leafOf(count, depth);
    let at = 0;
    let left = count;
    for (let n = 1; n < (leaf?.length ?? 0) && left > 0; n++) {
      at += 2 ** ((0.5 - random.float() - (leaf![n]! % GROUP)) / STEPS);
      const group = Math.floor(leaf![n]! / GROUP);
      const keys = Math.min(left, 1 + (group >> 1));
      left -= keys;
      arrivals.push({ ns: at, keys, isMany: group % 2 === 1 });
    }
    // What was rounded may be too long.
    if (at >= 1) for (const arrival of arrivals) arrival.ns *= 0.999 / at;
    while (left-- > 0) arrivals.push({ ns: random.float(), keys: 1, isMany: false });
    arrivals.sort((a, b) => b.ns - a.ns);
    for (const arrival of arrivals) arrival.ns = fromNs + arrival.ns * ns;
    return arrivals;
  }

  /** One of as many requests, of about the same length; else of more, or of less. */
  #leafOf(count: number, depth: number): readonly number[] | undefined {
    const own = Math.min(count, this.#model.leaf);
    for (let off = 0; off < this.#leaves.length; off++)
      for (const size of off === 0 ? [own] : [own + off, own - off]) {
        const leaves = this.#leaves[size];
        if (leaves === undefined || leaves.length === 0) continue;
        let nearest = Infinity;
        for (const [at] of leaves) nearest = Math.min(nearest, Math.abs(at! - depth));
        let alike = 0;
        for (const [at] of leaves) if (Math.abs(at! - depth) === nearest) alike++;
        let turn = this.#random.int(alike);
        for (const leaf of leaves) if (Math.abs(leaf[0]! - depth) === nearest && turn-- === 0) return leaf;
      }
    return undefined;
  }
}
