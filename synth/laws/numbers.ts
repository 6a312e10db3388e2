// Distributions of sizes, lengths and times, as models write them, and their quantiles. A draw is the quantile of a
// uniform number, so that what belongs to a key can follow from the key, and two things can be correlated.

import { z } from 'zod';

const number = z.number();
const share = z.number().min(0).max(1);
const clamp = { min: number.optional(), max: number.optional() };

export const numbersSchema = z
  .union([
    z.number(),
    z.discriminatedUnion('kind', [
      z.strictObject({ kind: z.literal('constant'), value: number }),
      z.strictObject({ kind: z.literal('uniform'), ...clamp, min: number, max: number }),
      z.strictObject({ kind: z.literal('normal'), mean: number, deviation: number.min(0), ...clamp }),
      z.strictObject({
        kind: z.literal('lognormal'),
        mean: number.positive(),
        sigma: number.min(0).describe('of the logarithm'),
        ...clamp,
      }),
      z.strictObject({ kind: z.literal('exponential'), mean: number.positive(), ...clamp }),
      z.strictObject({
        kind: z.literal('gev'),
        location: number,
        scale: number.positive(),
        shape: number,
        ...clamp,
      }),
      z.strictObject({
        kind: z.literal('gpd'),
        location: number.optional(),
        scale: number.positive(),
        shape: number,
        from: number.optional().describe('conditioned on being at least this'),
        atoms: z
          .array(z.tuple([number, share]))
          .optional()
          .describe('values of their own, with their shares; the rest is as said'),
        ...clamp,
      }),
      z.strictObject({
        kind: z.literal('weights'),
        values: z.array(z.tuple([number, number.min(0)])).min(1),
      }),
      z.strictObject({
        kind: z.literal('ranges'),
        ranges: z
          .array(z.tuple([number, number, number.min(0)]))
          .min(1)
          .describe('from, to, weight; even in between'),
      }),
      z.strictObject({
        kind: z.literal('quantiles'),
        values: z.array(number).min(2).describe('at evenly spaced shares from 0 to 1, straight in between'),
      }),
    ]),
  ])
  .describe('a number, or a distribution');
export type Numbers = z.output<typeof numbersSchema>;

/** The value that a share `u` in (0, 1) of draws does not pass. */
export type Quantile = (u: number) => number;

/** @throws RangeError where nothing can be drawn */
export function quantileOf(numbers: Numbers): Quantile {
  if (typeof numbers === 'number') return () => numbers;
  const raw = rawQuantileOf(numbers);
  const { min = -Infinity, max = Infinity } = 'min' in numbers || 'max' in numbers ? numbers : {};
  if (min > max) throw new RangeError(`expected min up to max, got ${min} and ${max}`);
  return min === -Infinity && max === Infinity ? raw : (u) => Math.min(max, Math.max(min, raw(u)));
}

function rawQuantileOf(numbers: Exclude<Numbers, number>): Quantile {
  switch (numbers.kind) {
    case 'constant':
      return () => numbers.value;
    case 'uniform':
      return (u) => numbers.min + u * (numbers.max - numbers.min);
    case 'normal':
      return (u) => numbers.mean + numbers.deviation * normalQuantile(u);
    case 'lognormal': {
      const { mean, sigma } = numbers;
      const mu = Math.log(mean) - (sigma * sigma) / 2;
      return (u) => Math.exp(mu + sigma * normalQuantile(u));
    }
    case 'exponential':
      return (u) => -numbers.mean * Math.log(1 - u);
    case 'gev': {
      const { location, scale, shape } = numbers;
      return shape === 0
        ? (u) => location - scale * Math.log(-Math.log(u))
        : (u) => location + (scale * ((-Math.log(u)) ** -shape - 1)) / shape;
    }
    case 'gpd':
      return generalizedPareto(numbers);
    case 'weights': {
      const pick = alias(numbers.values.map(([, weight]) => weight));
      return (u) => numbers.values[pick(u)]![0];
    }
    case 'ranges': {
      for (const [from, to] of numbers.ranges)
        if (from > to) throw new RangeError(`expected from up to, got ${from} and ${to}`);
      const sums = cumulative(numbers.ranges.map(([, , weight]) => weight));
      return (u) => {
        const at = u * sums.at(-1)!;
        const n = search(sums, at);
        const [from, to, weight] = numbers.ranges[n]!;
        return from + ((at - (sums[n]! - weight)) / weight) * (to - from);
      };
    }
    default: {
      const { values } = numbers;
      for (const [n, value] of values.entries())
        if (n > 0 && value < values[n - 1]!)
          throw new RangeError(`expected quantiles that rise, got ${values[n - 1]} before ${value}`);
      return (u) => {
        const at = u * (values.length - 1);
        const n = Math.min(values.length - 2, Math.floor(at));
        return values[n]! + (at - n) * (values[n + 1]! - values[n]!);
      };
    }
  }
}

type Pareto = Extract<Numbers, { kind: 'gpd' }>;

function generalizedPareto({ location = 0, scale, shape, from, atoms = [] }: Pareto): Quantile {
  const tail = (u: number): number =>
    shape === 0 ? location - scale * Math.log(1 - u) : location + (scale * ((1 - u) ** -shape - 1)) / shape;
  // How much of it is below what it is conditioned on.
  const x = from === undefined ? 0 : Math.max(0, (from - location) / scale);
  const below = x === 0 ? 0 : shape === 0 ? 1 - Math.exp(-x) : 1 - (1 + shape * x) ** (-1 / shape);
  const sums = cumulative(atoms.map(([, part]) => part));
  const own = sums.at(-1) ?? 0;
  if (own > 1 + 1e-9) throw new RangeError(`expected atoms with shares of 1 at most, got ${own}`);
  return (u) => {
    if (u < own) return atoms[search(sums, u)]![0];
    const rest = own >= 1 ? 0.5 : (u - own) / (1 - own);
    return tail(below + rest * (1 - below));
  };
}

/** Running sums. @throws RangeError where all weights are 0 */
function cumulative(weights: readonly number[]): number[] {
  let sum = 0;
  const sums = weights.map((weight) => (sum += weight));
  if (weights.length > 0 && !(sum > 0)) throw new RangeError('expected a weight above 0');
  return sums;
}

/** Index of the first sum above `at`; the last one at most. */
function search(sums: readonly number[], at: number): number {
  let low = 0;
  let high = sums.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sums[middle]! > at) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * Walker's alias method in Vose's form: an index by its weight in constant time, from one uniform number.
 * @throws RangeError where all weights are 0
 */
export function alias(weights: readonly number[]): (u: number) => number {
  const n = weights.length;
  const sum = weights.reduce((total, weight) => total + weight, 0);
  if (!(sum > 0)) throw new RangeError('expected a weight above 0');
  const scaled = Float64Array.from(weights, (weight) => (weight * n) / sum);
  const other = new Uint32Array(n);
  const small: number[] = [];
  const large: number[] = [];
  for (let i = 0; i < n; i++) (scaled[i]! < 1 ? small : large).push(i);
  while (small.length > 0 && large.length > 0) {
    const less = small.pop()!;
    const more = large.at(-1)!;
    other[less] = more;
    scaled[more]! -= 1 - scaled[less]!;
    if (scaled[more]! < 1) small.push(large.pop()!);
  }
  for (const i of [...small, ...large]) scaled[i] = 1;
  return (u) => {
    const at = u * n;
    const i = Math.min(n - 1, Math.floor(at));
    return at - i < scaled[i]! ? i : other[i]!;
  };
}

/** The quantile of the standard normal distribution: Acklam's rational approximation, to 1.2e-9. */
export function normalQuantile(u: number): number {
  if (u < 0.02425) {
    const q = Math.sqrt(-2 * Math.log(u));
    return tailOf(q);
  }
  if (u > 1 - 0.02425) return -tailOf(Math.sqrt(-2 * Math.log(1 - u)));
  const q = u - 0.5;
  const r = q * q;
  return (
    ((((((-39.69683028665376 * r + 220.9460984245205) * r - 275.9285104469687) * r + 138.357751867269) * r -
      30.66479806614716) *
      r +
      2.506628277459239) *
      q) /
    (((((-54.47609879822406 * r + 161.5858368580409) * r - 155.6989798598866) * r + 66.80131188771972) * r -
      13.28068155288572) *
      r +
      1)
  );
}

function tailOf(q: number): number {
  return (
    (((((-0.007784894002430293 * q - 0.3223964580411365) * q - 2.400758277161838) * q - 2.549732539343734) *
      q +
      4.374664141464968) *
      q +
      2.938163982698783) /
    ((((0.007784695709041462 * q + 0.3224671290700398) * q + 2.445134137142996) * q + 3.754408661907416) * q +
      1)
  );
}

/** How much of the standard normal distribution is below x (Abramowitz and Stegun 26.2.17, to 7.5e-8). */
export function normalShare(x: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(x));
  const density = 0.3989422804014327 * Math.exp((-x * x) / 2);
  const tail =
    density *
    t *
    (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return x > 0 ? 1 - tail : tail;
}
