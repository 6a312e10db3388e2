// How faithful one stream of requests is to another: what is collected of each, request by request, and the measures of
// their difference beside the goals: miss-ratio curves, popularity, operations, sizes, and arrivals.

import { dense, logSizes, missRatios, policies, type Policy } from './mrc.ts';
import { Random } from './random.ts';

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
  /** Times between arrivals, in bins of 1/32 of a doubling: the bin's number is 32 × log2 of the nanoseconds. */
  gaps: Tally;
  /** Variance over mean of the requests per window, for windows of which there were ten or more. */
  dispersion: { windowMs: number; index: number }[];
}

export interface FidelityRow {
  metric: string;
  /** What was measured of either stream: the mean where a whole distribution or curve was compared. */
  a: number;
  b: number;
  /** As the metric has it: absolute, relative, a mean absolute error (MAE), or Kolmogorov–Smirnov's (KS). */
  difference: number;
  /** The difference that is good enough, and the one to strive for. */
  goal: number;
  stretch: number;
  ok: boolean;
}

/** Miss ratios of one policy in caches of these sizes, in objects: of two streams, and of independent draws. */
export interface Curves {
  policy: Policy;
  sizes: number[];
  a: Float64Array;
  b: Float64Array;
  independent: Float64Array;
}

const WINDOWS_MS = [10, 100, 1_000, 10_000];
const MIN_WINDOWS = 10;
const BINS_PER_DOUBLING = 32;
const CHUNK = 1 << 16;
/** Longer streams' curves are those of a sample of about so many references. */
const EXACT = 5_000_000;
const SAMPLE = 1_000_000;

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
  readonly #gaps = new Map<number, number>();
  readonly #windows = WINDOWS_MS.map((ms) => new Windows(ms));
  #firstNs = -1;
  #lastNs = 0;

  /** `id` tells objects apart. `valueBytes` is undefined where the request has no value. */
  add(id: number, op: string, keyBytes: number, valueBytes: number | undefined, atNs: number): void {
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

function tally<T>(counts: Map<T, number>, value: T): void {
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

/** Miss ratios of the streams at 61 sizes up to the first one's footprint, for each policy. */
export function curves(a: Summary, b: Summary, independent: Summary): Curves[] {
  const sizes = logSizes(a.footprint);
  return policies.map((policy) => ({
    policy,
    sizes,
    a: curve(policy, a, sizes),
    b: curve(policy, b, sizes),
    independent: curve(policy, independent, sizes),
  }));
}

/**
 * The second stream's difference from the first, by metric. Metrics are left out that either stream has no data for.
 * @throws RangeError where the first has no requests.
 */
export function compare(a: Summary, b: Summary): FidelityRow[] {
  const rows: FidelityRow[] = [];
  function row(
    metric: string,
    goals: readonly number[],
    left: number,
    right: number,
    difference: number,
  ): void {
    const [goal = 0, stretch = 0] = goals;
    rows.push({ metric, a: left, b: right, difference, goal, stretch, ok: difference <= goal });
  }

  const sizes = logSizes(a.footprint);
  const errors = policies.map((policy) => {
    const left = curve(policy, a, sizes);
    const right = curve(policy, b, sizes);
    const error = mean(left.map((ratio, i) => Math.abs(ratio - right[i]!)));
    row(
      `${names[policy]} miss ratios, MAE`,
      policy === 'lru' ? [0.01, 0.005] : [0.02, 0.01],
      mean(left),
      mean(right),
      error,
    );
    return error;
  });
  const missed = [0, 1].map((side) => mean(rows.map((each) => (side === 0 ? each.a : each.b))));
  row('mean of the five, MAE', [0.02, 0.01], missed[0]!, missed[1]!, mean(errors));

  const popularity = [popularityOf(a), popularityOf(b)] as const;
  row('references per object, KS', [0.02, 0.01], ...meansAndDistance(...popularity));
  const once = [oneHit(popularity[0], a), oneHit(popularity[1], b)] as const;
  row('one-hit objects', [0.02, 0.01], ...once, Math.abs(once[0] - once[1]));
  row('footprint, relative', [0.05, 0.02], a.footprint, b.footprint, relative(a.footprint, b.footprint));
  const lengths = [a.references.length, b.references.length] as const;
  row('requests, relative', [0.01, 0], ...lengths, relative(...lengths));

  const shares = [sharesOf(a.ops), sharesOf(b.ops)] as const;
  const ops = [...new Set([...shares[0].keys(), ...shares[1].keys()])]
    .map((op) => ({ op, a: shares[0].get(op) ?? 0, b: shares[1].get(op) ?? 0 }))
    .toSorted((one, other) => Math.abs(other.a - other.b) - Math.abs(one.a - one.b));
  const worst = ops[0];
  if (worst && shares[0].size > 0 && shares[1].size > 0)
    row(`operations, worst: ${worst.op}`, [0.002, 0.001], worst.a, worst.b, Math.abs(worst.a - worst.b));
  const tallies: [string, number[], Tally, Tally][] = [
    ['key bytes, KS', [0.02, 0.01], a.keyBytes, b.keyBytes],
    ['value bytes, KS', [0.02, 0.01], a.valueBytes, b.valueBytes],
  ];
  for (const [metric, goals, left, right] of tallies)
    if (left.size > 0 && right.size > 0) row(metric, goals, ...meansAndDistance(left, right));
  if (a.gaps.size > 0 && b.gaps.size > 0)
    row('gaps, µs, KS', [0.03, 0.02], meanGap(a.gaps), meanGap(b.gaps), distance(a.gaps, b.gaps));
  for (const { windowMs, index } of a.dispersion) {
    const other = b.dispersion.find((each) => each.windowMs === windowMs);
    if (other)
      row(
        `dispersion at ${windowMs} ms, relative`,
        [0.15, 0.1],
        index,
        other.index,
        relative(index, other.index),
      );
  }
  return rows;
}

const names: Readonly<Record<Policy, string>> = {
  lru: 'LRU',
  fifo: 'FIFO',
  clock: 'CLOCK',
  sieve: 'SIEVE',
  s3fifo: 'S3-FIFO',
};

/** A table for a terminal of 80 columns; with the baseline's rows, its differences beside the stream's. */
export function renderFidelity(
  rows: readonly FidelityRow[],
  independent: readonly FidelityRow[] = [],
): string {
  const beside = new Map(independent.map((row) => [row.metric, row.difference]));
  const cells = rows.map((row) => [
    row.metric,
    figure(row.a),
    figure(row.b),
    figure(row.difference),
    figure(row.goal),
    row.difference <= row.stretch ? 'better' : row.ok ? 'ok' : 'off',
    beside.has(row.metric) ? figure(beside.get(row.metric)!) : '',
  ]);
  const widths = [31, 9, 9, 8, 6, 7, 8];
  return [['', 'a', 'b', 'apart', 'goal', '', independent.length > 0 ? 'IRM' : ''], ...cells]
    .map((line) => line.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))))
    .map((line) => `${line.join('').trimEnd()}\n`)
    .join('');
}

/** An SVG with a panel for each policy: `a` solid, `b` dashed, independent draws dotted. For light and dark pages. */
export function drawCurves(panels: readonly Curves[]): string {
  const width = 230;
  const height = 150;
  const columns = Math.min(3, panels.length);
  const drawn = panels.map(({ policy, sizes, a, b, independent }, at) => {
    const left = 40 + (at % columns) * (width + 40);
    const top = 30 + Math.floor(at / columns) * (height + 60);
    const scale = Math.log(Math.max(sizes.at(-1)!, 2));
    const line = (ratios: Float64Array, colour: string, dash: string): string => {
      const points = Array.from(ratios, (ratio, i) =>
        [left + (Math.log(sizes[i]!) / scale) * width, top + (1 - ratio) * height]
          .map((coordinate) => coordinate.toFixed(1))
          .join(','),
      );
      return `<polyline fill="none" stroke="${colour}" stroke-width="1.5"${dash} points="${points.join(' ')}"/>`;
    };
    const bottom = top + height;
    return [
      `<rect x="${left}" y="${top}" width="${width}" height="${height}" fill="none" stroke="#8884"/>`,
      `<text x="${left + width / 2}" y="${top - 8}" text-anchor="middle">${names[policy]}</text>`,
      `<text x="${left - 5}" y="${top + 10}" text-anchor="end">1</text>`,
      `<text x="${left - 5}" y="${bottom}" text-anchor="end">0</text>`,
      `<text x="${left}" y="${bottom + 16}">1</text>`,
      `<text x="${left + width}" y="${bottom + 16}" text-anchor="end">${sizes.at(-1)!.toLocaleString('en')} objects</text>`,
      line(independent, '#888', ' stroke-dasharray="1 3"'),
      line(a, '#2a7', ''),
      line(b, '#d63', ' stroke-dasharray="6 4"'),
    ].join('\n');
  });
  const total = 40 + columns * (width + 40);
  const rows = Math.ceil(panels.length / columns);
  const size = `${total} ${30 + rows * (height + 60)}`;
  const title =
    'Miss ratio by cache size: the original solid, the synthetic stream dashed, independent draws dotted';
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size}" font-family="sans-serif" font-size="12" fill="#777"><title>${title}</title>\n${drawn.join('\n')}\n</svg>\n`;
}

/** Three figures behind the point for what is small, none for what is large. */
function figure(value: number): string {
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return value.toFixed(size < 10 ? 4 : size < 1_000 ? 1 : 0).replace(/^(-?)0\./, '$1.');
}

function curve(policy: Policy, { references, footprint }: Summary, sizes: readonly number[]): Float64Array {
  const { length } = references;
  // At least 16,000 objects, or the sample's curve is not the whole's.
  const rate = length <= EXACT ? 1 : Math.min(1, Math.max(SAMPLE / length, 16_000 / footprint));
  return missRatios(policy, references, sizes, rate);
}

function footprintOf(references: Uint32Array): number {
  let footprint = 0;
  for (const id of references) footprint = Math.max(footprint, id + 1);
  return footprint;
}

/** Objects by their number of references. */
function popularityOf({ references, footprint }: Summary): Tally {
  const counts = new Uint32Array(footprint);
  for (const id of references) counts[id]!++;
  const objects = new Map<number, number>();
  for (const count of counts) tally(objects, count);
  return objects;
}

function oneHit(popularity: Tally, { footprint }: Summary): number {
  return (popularity.get(1) ?? 0) / footprint;
}

function sharesOf(ops: Readonly<Record<string, number>>): Map<string, number> {
  const total = Object.values(ops).reduce((sum, count) => sum + count, 0);
  return new Map(Object.entries(ops).map(([op, count]) => [op, count / total]));
}

function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / values.length;
}

function meanOf(values: Tally, valueOf: (value: number) => number = (value) => value): number {
  let sum = 0;
  let total = 0;
  for (const [value, count] of values) {
    sum += valueOf(value) * count;
    total += count;
  }
  return sum / total;
}

function meanGap(gaps: Tally): number {
  return meanOf(gaps, (bin) => 2 ** ((bin + 0.5) / BINS_PER_DOUBLING) / 1_000);
}

function meansAndDistance(a: Tally, b: Tally): [number, number, number] {
  return [meanOf(a), meanOf(b), distance(a, b)];
}

/** Kolmogorov–Smirnov: the largest difference of the shares of values up to some value. */
function distance(a: Tally, b: Tally): number {
  const values = [...new Set([...a.keys(), ...b.keys()])].toSorted((one, other) => one - other);
  const totals = [a, b].map((each) => [...each.values()].reduce((sum, count) => sum + count, 0));
  let apart = 0;
  let largest = 0;
  for (const value of values) {
    apart += (a.get(value) ?? 0) / totals[0]! - (b.get(value) ?? 0) / totals[1]!;
    largest = Math.max(largest, Math.abs(apart));
  }
  // What is left of rounding where both are the same.
  return largest < 1e-12 ? 0 : largest;
}

function relative(a: number, b: number): number {
  return Math.abs(b / a - 1);
}
