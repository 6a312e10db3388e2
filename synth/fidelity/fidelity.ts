// How faithful one stream of requests is to another: the measures of their difference beside the goals: miss-ratio curves,
// popularity, operations, sizes, expiries, and arrivals.

import { logSizes, missRatios, policies, type Policy } from './mrc.ts';
import { BINS_PER_DOUBLING, tally, type Summary, type Tally } from './summary.ts';

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

/** Longer streams' curves are those of a sample of about so many references. */
const EXACT = 5_000_000;
const SAMPLE = 1_000_000;
/** Policies other than LRU are simulated size by size: of longer streams, in fewer sizes. */
const LONG = 1_500_000;
const SIZES = 61;
const FEWER_SIZES = 21;

/** Miss ratios of the streams at up to 61 sizes up to the first one's footprint, for each policy. */
export function curves(a: Summary, b: Summary, independent: Summary): Curves[] {
  return policies.map((policy) => {
    const sizes = sizesFor(policy, a);
    return {
      policy,
      sizes,
      a: curve(policy, a, sizes),
      b: curve(policy, b, sizes),
      independent: curve(policy, independent, sizes),
    };
  });
}

function sizesFor(policy: Policy, { references, footprint }: Summary): number[] {
  return logSizes(footprint, policy !== 'lru' && references.length > LONG ? FEWER_SIZES : SIZES);
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

  const errors = policies.map((policy) => {
    const sizes = sizesFor(policy, a);
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
    ['expiries, s, KS', [0.02, 0.01], a.ttls, b.ttls],
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

export const names: Readonly<Record<Policy, string>> = {
  lru: 'LRU',
  fifo: 'FIFO',
  clock: 'CLOCK',
  sieve: 'SIEVE',
  s3fifo: 'S3-FIFO',
};

/** Of each stream, what was simulated already: one is often compared with several. */
const simulated = new WeakMap<Summary, Map<string, Float64Array>>();

function curve(policy: Policy, of: Summary, sizes: readonly number[]): Float64Array {
  const name = `${policy} ${sizes.join()}`;
  const known = simulated.get(of) ?? new Map<string, Float64Array>();
  simulated.set(of, known);
  const ratios = known.get(name) ?? simulate(policy, of, sizes);
  known.set(name, ratios);
  return ratios;
}

function simulate(
  policy: Policy,
  { references, footprint }: Summary,
  sizes: readonly number[],
): Float64Array {
  const { length } = references;
  // At least 16,000 objects, or the sample's curve is not the whole's.
  const rate = length <= EXACT ? 1 : Math.min(1, Math.max(SAMPLE / length, 16_000 / footprint));
  return missRatios(policy, references, sizes, rate);
}

/** Objects by their number of references. */
export function popularityOf({ references, footprint }: Summary): Tally {
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
