// What is collected of a stream of requests to compare it by, request by request, and streams to compare it with.

import { dense } from './mrc.ts';
import { Random } from '../laws/random.ts';

/** How many requests there are of each value. */
export type Tally = ReadonlyMap<number, number>;

export interface Summary {
  /** Object of each request, numbered in the order of their first requests. */
  references: Uint32Array;
  /** Distinct objects. */
  footprint: number;
  /** Requests by operation. Empty where only references are known; so are the tallies then. */
  ops: Readonly<Record<string, number>>;
  keyBytes: Tally;
  valueBytes: Tally;
  /** Expiries of stores, seconds from each; 0: none. */
  ttls: Tally;
  /** Times between arrivals, in bins of 1/32 of a doubling: the bin's number is 32 × log2 of the nanoseconds. */
  gaps: Tally;
  /** Variance over mean of the requests per window, for windows of which there were ten or more. */
  dispersion: { windowMs: number; index: number }[];
}

const WINDOWS_MS = [10, 100, 1_000, 10_000];
const MIN_WINDOWS = 10;
export const BINS_PER_DOUBLING = 32;
const CHUNK = 1 << 16;

/** Mean and variance of the requests per window, in one pass (Welford). */
class Windows {
  readonly #ns: number;
  #current = 0;
  #count = 0;
  #windows = 0;
  #mean = 0;
  #squares = 0;

  constructor(ms: number) {
    this.#ns = ms * 1e6;
  }

  /** A request so long after the first one. */
  add(ns: number): void {
    const window = Math.floor(ns / this.#ns);
    for (; this.#current < window; this.#current++) {
      this.#windows++;
      const before = this.#count - this.#mean;
      this.#mean += before / this.#windows;
      this.#squares += before * (this.#count - this.#mean);
      this.#count = 0;
    }
    this.#count++;
  }

  /** Variance over mean of the windows that are over; undefined for too few of them. */
  index(): number | undefined {
    if (this.#windows < MIN_WINDOWS || this.#mean === 0) return undefined;
    return this.#squares / this.#windows / this.#mean;
  }
}

/** Collects a Summary, request by request in the order of their arrival. */
export class Summarizer {
  readonly #ids = new Map<number, number>();
  readonly #chunks: Uint32Array[] = [];
  #chunk = new Uint32Array(CHUNK);
  #filled = 0;
  readonly #ops = new Map<string, number>();
  readonly #keyBytes = new Map<number, number>();
  readonly #valueBytes = new Map<number, number>();
  readonly #ttls = new Map<number, number>();
  readonly #gaps = new Map<number, number>();
  readonly #windows = WINDOWS_MS.map((ms) => new Windows(ms));
  #firstNs = -1;
  #lastNs = 0;

  /** `id` tells objects apart. `valueBytes` is undefined where the request has no value, `ttl` where it is no store. */
  add(
    id: number,
    op: string,
    keyBytes: number,
    valueBytes: number | undefined,
    atNs: number,
    ttl?: number,
  ): void {
    if (this.#filled === CHUNK) this.#turn();
    let object = this.#ids.get(id);
    if (object === undefined) {
      object = this.#ids.size;
      this.#ids.set(id, object);
    }
    this.#chunk[this.#filled++] = object;
    tally(this.#ops, op);
    tally(this.#keyBytes, keyBytes);
    if (valueBytes !== undefined) tally(this.#valueBytes, valueBytes);
    if (ttl !== undefined) tally(this.#ttls, ttl);
    if (this.#firstNs < 0) this.#firstNs = atNs;
    else tally(this.#gaps, Math.floor(BINS_PER_DOUBLING * Math.log2(Math.max(atNs - this.#lastNs, 1))));
    this.#lastNs = atNs;
    for (const windows of this.#windows) windows.add(atNs - this.#firstNs);
  }

  finish(): Summary {
    this.#turn();
    const references = new Uint32Array(this.#chunks.reduce((sum, chunk) => sum + chunk.length, 0));
    let at = 0;
    for (const chunk of this.#chunks) {
      references.set(chunk, at);
      at += chunk.length;
    }
    return {
      references,
      footprint: this.#ids.size,
      ops: Object.fromEntries(this.#ops),
      keyBytes: this.#keyBytes,
      valueBytes: this.#valueBytes,
      ttls: this.#ttls,
      gaps: this.#gaps,
      dispersion: WINDOWS_MS.flatMap((windowMs, i) => {
        const index = this.#windows[i]!.index();
        return index === undefined ? [] : [{ windowMs, index }];
      }),
    };
  }

  #turn(): void {
    this.#chunks.push(this.#chunk.subarray(0, this.#filled));
    this.#chunk = new Uint32Array(CHUNK);
    this.#filled = 0;
  }
}

export function tally<T>(counts: Map<T, number>, value: T): void {
  counts.set(value, (counts.get(value) ?? 0) + 1);
}

/** What is known of references alone, whatever numbers tell the objects apart. */
export function summarizeReferences(ids: Uint32Array): Summary {
  const references = dense(ids, ids.length);
  const nothing = new Map<number, number>();
  return {
    references,
    footprint: footprintOf(references),
    ops: {},
    keyBytes: nothing,
    valueBytes: nothing,
    ttls: nothing,
    gaps: nothing,
    dispersion: [],
  };
}

/**
 * The independent-reference model of a stream: its own references in random order, so that popularity is kept exactly
 * and locality is gone. What a generator must beat.
 */
export function baseline(summary: Summary, seed: number): Summary {
  const random = new Random(seed);
  const shuffled = summary.references.slice();
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = random.int(i + 1);
    const other = shuffled[j]!;
    shuffled[j] = shuffled[i]!;
    shuffled[i] = other;
  }
  return { ...summary, references: dense(shuffled, shuffled.length) };
}

function footprintOf(references: Uint32Array): number {
  let footprint = 0;
  for (const id of references) footprint = Math.max(footprint, id + 1);
  return footprint;
}
