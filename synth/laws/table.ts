// Samples as a model writes them: tables of quantiles, and how two properties go together.

import type { Numbers } from './numbers.ts';

const QUANTILES = 200;

/** Of so many even parts, where each begins and ends. */
export function tableOf(
  values: readonly number[],
  digits = 2,
  parts = QUANTILES,
): Extract<Numbers, { kind: 'quantiles' }> {
  const sorted = values.toSorted((a, b) => a - b);
  const last = sorted.length - 1;
  return {
    kind: 'quantiles',
    values: Array.from({ length: parts + 1 }, (_, n) => {
      const at = (n / parts) * last;
      const low = Math.floor(at);
      return round(sorted[low]! + (at - low) * ((sorted[low + 1] ?? sorted[low]!) - sorted[low]!), digits);
    }),
  };
}

/** Whole numbers as they are, where they are few; a table of quantiles where they are many. */
export function wholeNumbers(values: readonly number[], parts = QUANTILES): Numbers {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  if (counts.size === 1) return values[0]!;
  if (counts.size <= parts / 2) return { kind: 'weights', values: [...counts].toSorted(([a], [b]) => a - b) };
  return tableOf(values, 0, parts);
}

/** Spearman's, turned into that of the Gaussian copula. */
export function rankCorrelation(a: readonly number[], b: readonly number[]): number {
  const [ra, rb] = [ranksOf(a), ranksOf(b)];
  const mean = (a.length - 1) / 2;
  let [product, left, right] = [0, 0, 0];
  for (let n = 0; n < a.length; n++) {
    product += (ra[n]! - mean) * (rb[n]! - mean);
    left += (ra[n]! - mean) ** 2;
    right += (rb[n]! - mean) ** 2;
  }
  if (left === 0 || right === 0) return 0;
  return 2 * Math.sin((Math.PI / 6) * (product / Math.sqrt(left * right)));
}

/** Equal ones share the mean of their ranks. */
function ranksOf(values: readonly number[]): Float64Array {
  const order = Array.from(values.keys()).toSorted((a, b) => values[a]! - values[b]!);
  const ranks = new Float64Array(values.length);
  for (let n = 0; n < order.length;) {
    let end = n;
    while (end < order.length && values[order[end]!] === values[order[n]!]) end++;
    for (let i = n; i < end; i++) ranks[order[i]!] = (n + end - 1) / 2;
    n = end;
  }
  return ranks;
}

export function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
