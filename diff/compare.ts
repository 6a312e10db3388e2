// Two replays of one trace side by side: what differs between them by more than chance, and by more than two runs of the
// same release differ.

import type { Histogram } from 'hdr-histogram-js';
import type { Diff } from './diff.ts';
import { answersByLoss, isSlower, isWorseShare, type Difference } from './regression.ts';
import { chanceOf, quantileRange } from './statistics.ts';

const MAX_P = 1e-4;
/** The chance of a regression at most, where answers that follow from one loss are one sample. */
const MAX_REGRESSION_P = 1e-3;
/** A share must change by this part of itself, and latency by this factor, to be worth a word. */
const MIN_CHANGE = 0.1;
const MIN_SLOWER = 1.25;
/** How many times as much as two runs of the same release. */
const OVER_NOISE = 2;

/** @param noise another run of the baseline's release */
export function compare(baseline: Diff, candidate: Diff, noise?: Diff): Difference[] {
  return [...differentShares(baseline, candidate, noise), ...differentLatencies(baseline, candidate, noise)];
}

function differentShares(baseline: Diff, candidate: Diff, noise: Diff | undefined): Difference[] {
  const isSameCluster = baseline.targets.length === candidate.targets.length;
  const [a, b] = [sharesOf(baseline, isSameCluster), sharesOf(candidate, isSameCluster)];
  const again = noise === undefined ? undefined : sharesOf(noise, isSameCluster);
  const metrics = [...new Set([...a.keys(), ...b.keys()])];
  const together = Math.max(answersByLoss(baseline), answersByLoss(candidate));
  return metrics.flatMap((metric): Difference[] => {
    const [one, other] = [a.get(metric) ?? none(baseline), b.get(metric) ?? none(candidate)];
    const chance = (each: number): number =>
      chanceOf(one.count / each, one.of / each, other.count / each, other.of / each) * metrics.length;
    const p = Math.min(1, chance(1));
    const [before, after] = [partOf(one), partOf(other)];
    const changed = Math.abs(after - before);
    const noisy = again === undefined ? 0 : Math.abs(partOf(again.get(metric) ?? none(noise!)) - before);
    if (p > MAX_P || changed < OVER_NOISE * noisy) return [];
    const difference = { metric, baseline: before, candidate: after };
    // A key that is gone differs at every read: what follows from one loss is one sample.
    const each = metric.startsWith('violations.') ? 1 : together;
    const isRegression = chance(each) <= MAX_REGRESSION_P && isWorseShare(difference);
    if (!isRegression && changed < MIN_CHANGE * Math.max(before, after)) return [];
    return [{ ...difference, unit: 'share', p, isRegression }];
  });
}

function differentLatencies(baseline: Diff, candidate: Diff, noise: Diff | undefined): Difference[] {
  return quantiles.flatMap(([name, quantile]): Difference[] => {
    const difference = slower(
      latencyOf(baseline),
      latencyOf(candidate),
      noise === undefined ? undefined : latencyOf(noise),
      quantile,
    );
    if (difference === undefined) return [];
    const isRegression = isSlower(difference, [baseline, candidate], quantile);
    return [{ metric: `latency.fromSent.${name}`, ...difference, unit: 'micros', p: null, isRegression }];
  });
}

const quantiles = [
  ['p50', 0.5],
  ['p90', 0.9],
  ['p99', 0.99],
] as const;

function latencyOf({ latency }: Diff): Histogram {
  return latency.fromSent;
}

function valueAt(histogram: Histogram, quantile: number): number {
  return Math.max(1, histogram.getValueAtPercentile(quantile * 100));
}

function factor(x: number, y: number): number {
  return Math.max(x / y, y / x);
}

function slower(
  baseline: Histogram,
  candidate: Histogram,
  noise: Histogram | undefined,
  quantile: number,
): { baseline: number; candidate: number } | undefined {
  if (baseline.totalCount === 0 || candidate.totalCount === 0) return undefined;
  const [a, b] = [quantileRange(baseline, quantile), quantileRange(candidate, quantile)];
  if (a[0] <= b[1] && b[0] <= a[1]) return undefined;
  const noisy =
    noise === undefined || noise.totalCount === 0
      ? 1
      : factor(valueAt(noise, quantile), valueAt(baseline, quantile));
  const [before, after] = [valueAt(baseline, quantile), valueAt(candidate, quantile)];
  if (factor(before, after) < MIN_SLOWER * noisy) return undefined;
  return { baseline: before, candidate: after };
}

interface Share {
  count: number;
  of: number;
}

/** @param isSameCluster the other one has as many targets */
function sharesOf(diff: Diff, isSameCluster: boolean): Map<string, Share> {
  const shares = new Map<string, Share>();
  const { counts, sent, targets } = diff;
  for (const [group, kinds] of [
    ['violations', counts.violation],
    ['drift', counts.drift],
    ['untestable', counts.untestable],
  ] as const)
    for (const [kind, count] of Object.entries(kinds))
      shares.set(`${group}.${kind}`, { count: Math.min(count, sent), of: sent });
  const total = { count: 0, of: 0 };
  // Servers have other addresses in another release: the n-th beside the n-th.
  for (const [n, { hits, reads }] of targets.entries()) {
    total.count += hits;
    total.of += reads;
    if (isSameCluster) shares.set(`servers.hitRate{server=${n + 1}}`, { count: hits, of: reads });
  }
  if (targets.length > 1 || !isSameCluster) shares.set('hitRate', total);
  return shares;
}

/** The share of a kind that the replay did not have. */
function none({ sent }: Diff): Share {
  return { count: 0, of: sent };
}

function partOf({ count, of }: Share): number {
  return of === 0 ? 0 : count / of;
}
