// Two replays of one trace side by side: what differs between them by more than chance, and by more than two runs of the
// same release differ.

import type { Histogram } from 'hdr-histogram-js';
import type { Diff } from './diff.ts';
import { chanceOf, quantileRange } from './statistics.ts';

export interface Difference {
  /** `drift.lost`, `violations.closed`, `servers.hitRate{server=…}`, `latency.fromSent.p99`. */
  metric: string;
  baseline: number;
  candidate: number;
  unit: 'share' | 'micros';
  /** Chance of as much without a cause, times the number of metrics; null where ranges were compared. */
  p: number | null;
}

const MAX_P = 1e-4;
/** A share must change by this part of itself, and latency by this factor, to be worth a word. */
const MIN_CHANGE = 0.1;
const MIN_SLOWER = 1.25;
/** How many times as much as two runs of the same release. */
const OVER_NOISE = 2;

/** @param noise another run of the baseline's release */
export function compare(baseline: Diff, candidate: Diff, noise?: Diff): Difference[] {
  const shares = [...new Set([...sharesOf(baseline).keys(), ...sharesOf(candidate).keys()])];
  const found: Difference[] = [];
  for (const metric of shares) {
    const [a, b] = [shareOf(baseline, metric), shareOf(candidate, metric)];
    const again = noise === undefined ? a : shareOf(noise, metric);
    const p = Math.min(1, chanceOf(a.count, a.of, b.count, b.of) * shares.length);
    const [before, after, noisy] = [a, b, again].map(({ count, of }) => (of === 0 ? 0 : count / of)) as [
      number,
      number,
      number,
    ];
    const changed = Math.abs(after - before);
    if (p > MAX_P || changed < MIN_CHANGE * Math.max(before, after)) continue;
    if (changed < OVER_NOISE * Math.abs(noisy - before)) continue;
    found.push({ metric, baseline: before, candidate: after, unit: 'share', p });
  }
  for (const [name, quantile] of quantiles) {
    const difference = slower(
      latencyOf(baseline),
      latencyOf(candidate),
      noise === undefined ? undefined : latencyOf(noise),
      quantile,
    );
    if (difference !== undefined)
      found.push({ metric: `latency.fromSent.${name}`, ...difference, unit: 'micros', p: null });
  }
  return found;
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

function sharesOf(diff: Diff): Map<string, Share> {
  const shares = new Map<string, Share>();
  const { counts, sent, targets } = diff;
  for (const [group, kinds] of [
    ['violations', counts.violation],
    ['drift', counts.drift],
    ['untestable', counts.untestable],
  ] as const)
    for (const [kind, count] of Object.entries(kinds))
      shares.set(`${group}.${kind}`, { count: Math.min(count, sent), of: sent });
  // Servers have other addresses in another release: the n-th beside the n-th.
  for (const [n, { hits, reads }] of targets.entries())
    shares.set(`servers.hitRate{server=${n + 1}}`, { count: hits, of: reads });
  return shares;
}

function shareOf(diff: Diff, metric: string): Share {
  return sharesOf(diff).get(metric) ?? { count: 0, of: diff.sent };
}
