// Which differences from a baseline are regressions: worse, beyond chance, and by more than the sizes that stand here.
// docs/verdicts.md names the same sizes.

import type { Diff } from './diff.ts';
import type { DriftKind } from './verdict.ts';

/** What differs between two replays. */
export interface Difference {
  /** `drift.lost`, `violations.closed`, `hitRate`, `servers.hitRate{server=…}`, `latency.fromSent.p99`. */
  metric: string;
  baseline: number;
  candidate: number;
  unit: 'share' | 'micros';
  /** Chance of as much without a cause, times the number of metrics; null where ranges were compared. */
  p: number | null;
  /** It is worse, and by more than the sizes below. */
  isRegression: boolean;
}

/** What a regression is of. */
export const regressionKinds = ['violations', 'drift', 'hitRate', 'latency'] as const;
export type RegressionKind = (typeof regressionKinds)[number];

/**
 * Drift that a release causes. The others follow from what overlapped, from the ticks of a server's clock, or from a server
 * that kept more than the recorded one.
 */
const worseDrift: readonly DriftKind[] = ['lost', 'capacity', 'unexplained'];

/** A kind of drift must be half as frequent again, and that by one request in a thousand; or ten times as frequent. */
const MIN_DRIFT_FACTOR = 1.5;
const MIN_DRIFT_SHARE = 0.001;
const MUCH_DRIFT_FACTOR = 10;
/** Violations must be half as frequent again. */
const MIN_VIOLATIONS_FACTOR = 1.5;
/** One read in a hundred that hits no more. */
const MIN_HIT_RATE_FALL = 0.01;
/** Answers must take half as long again, and that by half a millisecond. */
const MIN_LATENCY_FACTOR = 1.5;
const MIN_LATENCY_MICROS = 500;
/** Of the parts of a replay, in as many must answers take that much longer: a machine that stood still once is no regression. */
const MIN_SLOW_PARTS = 0.75;
/** Parts that a replay is cut into for that. */
const PARTS = 8;

/** What a difference is of; undefined where more or less of it is not worse. */
export function kindOf({ metric }: Pick<Difference, 'metric'>): RegressionKind | undefined {
  if (metric.startsWith('violations.')) return 'violations';
  if (metric.startsWith('latency.')) return 'latency';
  if (metric.includes('hitRate')) return 'hitRate';
  return worseDrift.some((kind) => metric === `drift.${kind}`) ? 'drift' : undefined;
}

/** Whether a difference of shares, which is beyond chance, is a regression. */
export function isWorseShare(difference: Pick<Difference, 'metric' | 'baseline' | 'candidate'>): boolean {
  const { baseline, candidate } = difference;
  switch (kindOf(difference)) {
    case 'violations':
      return candidate >= MIN_VIOLATIONS_FACTOR * baseline;
    case 'drift':
      return (
        candidate >= MUCH_DRIFT_FACTOR * baseline ||
        (candidate >= MIN_DRIFT_FACTOR * baseline && candidate - baseline >= MIN_DRIFT_SHARE)
      );
    case 'hitRate':
      return baseline - candidate >= MIN_HIT_RATE_FALL;
    default:
      return false;
  }
}

function isMuchSlower(baseline: number, candidate: number): boolean {
  return candidate >= MIN_LATENCY_FACTOR * baseline && candidate - baseline >= MIN_LATENCY_MICROS;
}

/** Whether a difference of a quantile, which is beyond chance, is a regression. */
export function isSlower(
  { baseline, candidate }: Pick<Difference, 'baseline' | 'candidate'>,
  [before, after]: readonly [Diff, Diff],
  quantile: number,
): boolean {
  if (!isMuchSlower(baseline, candidate)) return false;
  const [a, b] = [before, after].map(({ timeline }) => timeline.parts('fromSent', quantile, PARTS)) as [
    (number | null)[],
    (number | null)[],
  ];
  const both = a.flatMap((one, n) => {
    const other = b[n];
    return one === null || other === null || other === undefined ? [] : [isMuchSlower(one, other)];
  });
  return both.length === 0 || both.filter(Boolean).length >= MIN_SLOW_PARTS * both.length;
}

/**
 * How many answers differ for one loss, at least 1: a key that is gone differs at every read, so that answers are no
 * independent samples.
 */
export function answersByLoss({ counts, accounts }: Pick<Diff, 'counts' | 'accounts'>): number {
  const keys = accounts.reduce((sum, { lost }) => sum + lost, 0);
  return keys === 0 ? 1 : Math.max(1, (counts.drift['lost'] ?? 0) / keys);
}
