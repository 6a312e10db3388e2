// Thresholds that end a replay while it runs: what can be known of them then, and the report of a replay that one ended.

import type { Report } from './shape.ts';
import { holds, ThresholdError, type Threshold } from './threshold.ts';

/** What is known while a replay runs. */
export interface LiveFigures {
  sent: number;
  /** Requests without an answer, or with none that is valid. */
  failed: number;
  /** Answers that are not byte for byte the recorded ones. */
  differ: number;
  /** The latest by our own fault, ns. */
  lagNs: number;
}

/** A threshold that was crossed before the end, and the figure that did it. */
export interface Crossing {
  threshold: Threshold;
  /** In the unit of the metric; of a share, the share. */
  value: number;
}

/** Shares of fewer requests say little. */
const LEAST_SENT = 1000;

// These only rise, so that what is crossed stays crossed.
const readers: Readonly<Record<string, (figures: LiveFigures) => number>> = {
  sent: ({ sent }) => sent,
  failed: ({ failed }) => failed,
  differ: ({ differ }) => differ,
  // That an answer is wrong is known at the end; that none came, nearly always a violation, is known at once.
  violations: ({ failed }) => failed,
  'schedule.lag.max': ({ lagNs }) => lagNs / 1000,
};

/** @throws ThresholdError where a replay that runs cannot know it */
export function assertLive({ expression, metric, label, operator }: Threshold): void {
  if (readers[metric] === undefined || label !== undefined)
    throw new ThresholdError(
      `${expression}: expected one of ${Object.keys(readers).join(', ')}, without a label: only these are known while a replay runs, to abort it`,
    );
  if (operator !== '<' && operator !== '<=' && operator !== '==')
    throw new ThresholdError(
      `${expression}: expected <, <= or == of a threshold that aborts, got ${operator}: these figures only rise`,
    );
}

/** Those of the thresholds that are crossed already, for good. */
export function crossedBy(thresholds: readonly Threshold[], figures: LiveFigures): Crossing[] {
  return thresholds.flatMap((threshold) => {
    const { metric, isShare, operator, limit } = threshold;
    const figure = readers[metric]!(figures);
    if (isShare && figures.sent < LEAST_SENT) return [];
    const value = isShare ? figure / figures.sent : figure;
    // What has not reached its figure yet may still do so.
    const isCrossed = operator === '==' ? value > limit : !holds(threshold, value);
    return isCrossed ? [{ threshold, value }] : [];
  });
}

/** The report of a replay that these ended: it failed, and they say by what. */
export function failedBy(report: Report, crossings: readonly Crossing[]): Report {
  return {
    ...report,
    verdict: 'fail',
    thresholds: report.thresholds.map((evaluated) => {
      const crossing = crossings.find(({ threshold }) => threshold.expression === evaluated.expression);
      return crossing === undefined
        ? evaluated
        : { expression: evaluated.expression, value: crossing.value, ok: false, evaluated: true };
    }),
  };
}
