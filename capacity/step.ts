// One step of a search: the report of so many requests a second for a while, and whether the target kept to what is asked.

import type { Percentiles, Report } from '../report/shape.ts';
import { figure, micros, plural } from '../report/format.ts';
import { evaluate, roleOf, type Threshold } from '../report/threshold.ts';
import { valueOf } from '../report/words.ts';
import type { Outcome } from './search.ts';

/** What holds where nobody says; that no answer is wrong is asked in any case. */
export const capacityExpressions: readonly string[] = [
  'violations == 0',
  'judged > 90%',
  'drift.lost < 5%',
  'latency.fromIntended.p99 < 10ms',
];

/** Why a step did not hold, the most telling first. */
export type Limit = 'wrong-answers' | 'thresholds' | 'keeping-up' | 'unanswered' | 'memtape' | 'evidence';

/** What was measured of one place at one rate. */
export interface Measured {
  achievedRate: number;
  sent: number;
  seconds: number;
  /** After the warm-up. */
  latencyMicros: { fromIntended: Percentiles; fromSent: Percentiles };
  lagMicros: Percentiles;
  violations: Record<string, number>;
  drift: Record<string, number>;
}

export interface Step extends Measured {
  /** Requests a second that were asked for. */
  rate: number;
  outcome: Outcome;
  limits: Limit[];
  /** In sentences, without what comes from traffic. */
  reasons: string[];
  /** What was measured of the other targets at the same rate, with --baseline, and how many regressions the target shows beside it. */
  baseline?: Measured & { outcome: Outcome; regressions: number };
}

/** Violations for want of an answer: an overloaded target shows them, and none of them is wrong. */
const missing: readonly string[] = ['unanswered', 'closed'];

/** A target keeps up with a rate where it answers so much of it. */
const KEEPING_UP = 0.97;

export interface Asked {
  rate: number;
  thresholds: readonly Threshold[];
  /** Later than this by our own fault, in the 99th percentile, and what was slow says nothing of the target. */
  maxLagMicros: number;
}

export function measuredOf(report: Report): Measured {
  const { exchanges, schedule, latencyMicros, violations, drift } = report;
  return {
    achievedRate: schedule.achievedRate,
    sent: exchanges.sent,
    seconds: schedule.durationSeconds,
    latencyMicros: { fromIntended: latencyMicros.fromIntended, fromSent: latencyMicros.fromSent },
    lagMicros: schedule.lagMicros,
    violations,
    drift,
  };
}

interface Reason {
  limit: Limit;
  why: string;
  /** Had we been quicker, it might be otherwise. */
  isOfTime: boolean;
}

/** What a step came to. @param report of the replay, whose thresholds are looked at again */
export function judgeStep(report: Report, asked: Asked): Omit<Step, 'baseline'> {
  const measured = measuredOf(report);
  const lag = measured.lagMicros.p99 ?? 0;
  const reasons = [
    ...wrongAnswers(report),
    ...crossed(report, asked.thresholds),
    ...slowness(measured, report, asked.rate),
  ];
  if (reasons.length === 0) reasons.push(...wantOfEvidence(report, asked.thresholds));
  else if (lag > asked.maxLagMicros && reasons.every(({ isOfTime }) => isOfTime))
    reasons.unshift({
      limit: 'memtape',
      why: `memtape itself was late: 1% of the requests by ${micros(lag)} or more, allowed are ${micros(asked.maxLagMicros)}`,
      isOfTime: true,
    });
  return {
    rate: asked.rate,
    ...measured,
    outcome: outcomeOf(reasons[0]?.limit),
    limits: [...new Set(reasons.map(({ limit }) => limit))],
    reasons: reasons.map(({ why }) => why),
  };
}

function wrongAnswers({ violations }: Report): Reason[] {
  const kinds = Object.entries(violations).filter(([kind]) => !missing.includes(kind));
  const wrong = kinds.reduce((sum, [, n]) => sum + n, 0);
  if (wrong === 0) return [];
  const named = kinds.map(([kind, n]) => `${kind} ${figure(n)}`).join(', ');
  return [
    {
      limit: 'wrong-answers',
      why: `${plural(wrong, 'answer is', 'answers are')} wrong (${named})`,
      isOfTime: false,
    },
  ];
}

function crossed(report: Report, thresholds: readonly Threshold[]): Reason[] {
  return thresholds.flatMap((threshold): Reason[] => {
    const evaluated = evaluate(threshold, report);
    const role = roleOf(threshold);
    // Violations are told by what they are.
    if (evaluated.ok || !evaluated.evaluated || role === 'evidence' || role === 'violations') return [];
    return [
      {
        limit: 'thresholds',
        why: `${threshold.expression} is crossed (${valueOf(evaluated)})`,
        isOfTime: role === 'latency' || role === 'time',
      },
    ];
  });
}

function slowness({ achievedRate }: Measured, { violations }: Report, rate: number): Reason[] {
  const unanswered = missing.reduce((sum, kind) => sum + (violations[kind] ?? 0), 0);
  return [
    ...(achievedRate < KEEPING_UP * rate
      ? [
          {
            limit: 'keeping-up' as const,
            why: `${figure(Math.round(achievedRate))} requests a second were answered of ${figure(rate)}`,
            isOfTime: true,
          },
        ]
      : []),
    ...(unanswered > 0
      ? [
          {
            limit: 'unanswered' as const,
            why: `${plural(unanswered, 'request')} had no answer`,
            isOfTime: true,
          },
        ]
      : []),
  ];
}

function wantOfEvidence(report: Report, thresholds: readonly Threshold[]): Reason[] {
  const open = thresholds.flatMap((threshold) => {
    const { expression, ok, evaluated } = evaluate(threshold, report);
    return !evaluated || (!ok && roleOf(threshold) === 'evidence') ? [expression] : [];
  });
  const { matched, drift, violations } = report.exchanges;
  if (open.length > 0)
    return [
      { limit: 'evidence', why: `there is too little to judge ${open.join(' and ')} by`, isOfTime: false },
    ];
  if (matched + drift + violations > 0) return [];
  return [{ limit: 'evidence', why: 'nothing could be judged', isOfTime: false }];
}

/** An answer was wrong: that is no chance, and no matter of how busy a machine is. */
export function isSure({ limits }: Pick<Step, 'limits'>): boolean {
  return limits.includes('wrong-answers');
}

function outcomeOf(limit: Limit | undefined): Outcome {
  if (limit === undefined) return 'holds';
  if (limit === 'memtape') return 'void';
  return limit === 'evidence' ? 'thin' : 'fails';
}
