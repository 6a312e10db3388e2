// The little statistics that verdicts need: whether two shares, or two distributions of latency, differ by more than chance.

import type { Histogram } from 'hdr-histogram-js';

/** Of a coin that fell so often on either side, nats. */
export function entropyOf(a: number, b: number): number {
  const all = a + b;
  return [a, b].reduce((sum, n) => (n === 0 ? sum : sum - (n / all) * Math.log(n / all)), 0);
}

/** The chance of a value of chi-squared with one degree of freedom above this: erfc(√(x/2)), Abramowitz and Stegun 7.1.26. */
export function chiSquaredTail(statistic: number): number {
  const x = Math.sqrt(Math.max(0, statistic) / 2);
  const t = 1 / (1 + 0.3275911 * x);
  const series =
    t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return series * Math.exp(-x * x);
}

/** The chance that two shares of one size differ as much: a likelihood ratio over the table of two by two. */
export function chanceOf(a: number, ofA: number, b: number, ofB: number): number {
  const total = ofA + ofB;
  if (ofA === 0 || ofB === 0) return 1;
  const apart = (ofA * entropyOf(a, ofA - a) + ofB * entropyOf(b, ofB - b)) / total;
  return chiSquaredTail(2 * total * (entropyOf(a + b, total - a - b) - apart));
}

/** Standard deviations on either side of a quantile's rank. */
const WIDTH = 4;

/** Where a quantile (0 to 1) of what the samples were drawn from lies, in their unit. */
export function quantileRange(histogram: Histogram, quantile: number): [from: number, to: number] {
  const spread = WIDTH * Math.sqrt((quantile * (1 - quantile)) / Math.max(1, histogram.totalCount));
  const at = (share: number): number => histogram.getValueAtPercentile(Math.min(1, Math.max(0, share)) * 100);
  return [at(quantile - spread), at(quantile + spread)];
}
