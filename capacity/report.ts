// What a search found, as JSON: the highest rate that holds, why no higher one does, and every step on the way.

import { z } from 'zod';
import { exitCodes } from '../report/report.ts';
import type { ReportVerdict } from '../report/shape.ts';
import { figure, plural } from '../report/format.ts';
import { version } from '../trace/version.ts';
import type { Found, SearchOptions } from './search.ts';
import type { Limit, Step } from './step.ts';

export interface CapacityReport {
  format: 'memtape-capacity/1';
  verdict: ReportVerdict;
  /** The highest rate that holds, requests a second; null: none does. */
  ceiling: number | null;
  /** The lowest that does not; null: none was found up to --max. */
  above: number | null;
  /** What keeps it from more; null where nothing was seen to. */
  limitedBy: Limit | 'max' | null;
  /** In a sentence. */
  reason: string;
  /** What it has to be at least; null where nobody asked. */
  atLeast: number | null;
  thresholds: string[];
  /** In the order in which they were done. */
  steps: Step[];
  settings: SearchOptions & {
    stepSeconds: number;
    warmupSeconds: number;
    maxLagMicros: number;
    order: string;
  };
  environment: {
    version: string;
    node: string;
    source: string;
    targets: string[];
    baseline: string[];
  };
}

export interface CapacityInput extends Pick<CapacityReport, 'atLeast' | 'thresholds' | 'steps' | 'settings'> {
  found: Found;
  /** Why it ended before its end; null where it did not. */
  aborted: string | null;
  environment: Pick<CapacityReport['environment'], 'source' | 'targets' | 'baseline'>;
}

export function makeCapacityReport(input: CapacityInput): CapacityReport {
  const { found, aborted, atLeast, thresholds, steps, settings, environment } = input;
  const limiting = limitingStep(found, steps);
  const limitedBy = limiting?.limits[0] ?? (found.ceiling === null ? null : 'max');
  const reason = aborted ?? reasonOf(found, limiting, settings.max);
  return {
    format: 'memtape-capacity/1',
    verdict: verdictOf(input, limitedBy),
    ceiling: found.ceiling,
    above: found.above,
    limitedBy: aborted === null ? limitedBy : null,
    reason,
    atLeast,
    thresholds,
    steps,
    settings,
    environment: { version, node: process.version, ...environment },
  };
}

/** The step that says why the lowest rate that does not hold does not. */
function limitingStep({ above, limit }: Found, steps: readonly Step[]): Step | undefined {
  const there = steps.filter(({ rate, outcome }) => rate === above && outcome !== 'holds');
  return there.find(({ outcome }) => outcome === limit) ?? there[0];
}

function reasonOf({ ceiling, above }: Found, limiting: Step | undefined, max: number): string {
  if (above === null || limiting === undefined)
    return `No rate was found that does not hold: ${figure(max)} requests a second is the highest that may be tried (--max).`;
  const why = `At ${figure(above)} requests a second ${limiting.reasons.join('; ')}.`;
  if (limiting.outcome === 'void')
    return `${why} The target may take more: use more --workers, a faster or a quieter machine.`;
  return ceiling === null ? `No rate holds. ${why}` : why;
}

function verdictOf(
  { found, aborted, atLeast, steps }: CapacityInput,
  limitedBy: CapacityReport['limitedBy'],
): ReportVerdict {
  const { ceiling } = found;
  if (aborted !== null) return 'aborted';
  if (ceiling !== null && atLeast !== null && ceiling >= atLeast) return 'pass';
  if (limitedBy === 'evidence' || steps.length === 0) return 'insufficient';
  if (limitedBy === 'memtape') return 'invalid';
  return ceiling === null || (atLeast !== null && ceiling < atLeast) ? 'fail' : 'pass';
}

export function capacityExitCode({ verdict }: Pick<CapacityReport, 'verdict'>): number {
  return exitCodes[verdict];
}

/** `8,120 requests a second` */
export function rateOf(rate: number): string {
  return plural(Math.round(rate), 'request') + ' a second';
}

const count = z.int().nonnegative();
const number = z.number().nonnegative();
const percentiles = z
  .object({
    p50: z.exactOptional(number),
    p90: z.exactOptional(number),
    p99: z.exactOptional(number),
    p999: z.exactOptional(number),
    max: z.exactOptional(number),
  })
  .meta({ description: 'microseconds; empty where there is no sample' });
const outcome = z.enum(['holds', 'fails', 'void', 'thin']).meta({
  description: 'void: memtape itself was too slow to say · thin: there was too little to judge by',
});
const limits = ['wrong-answers', 'thresholds', 'keeping-up', 'unanswered', 'memtape', 'evidence'] as const;
const measured = {
  achievedRate: number,
  sent: count,
  seconds: number,
  latencyMicros: z
    .object({ fromIntended: percentiles, fromSent: percentiles })
    .meta({ description: 'after the warm-up' }),
  lagMicros: percentiles,
  violations: z.record(z.string(), count),
  drift: z.record(z.string(), count),
};

export const capacitySchema: z.ZodType<CapacityReport> = z
  .object({
    format: z.literal('memtape-capacity/1'),
    verdict: z.enum(['pass', 'fail', 'insufficient', 'invalid', 'aborted']),
    ceiling: number.nullable().meta({ description: 'the highest rate that holds, requests a second' }),
    above: number.nullable().meta({ description: 'the lowest rate that does not hold' }),
    limitedBy: z
      .enum([...limits, 'max'])
      .nullable()
      .meta({ description: 'what keeps it from more; max: no higher rate may be tried' }),
    reason: z.string(),
    atLeast: number.nullable(),
    thresholds: z.array(z.string()),
    steps: z.array(
      z.object({
        rate: number,
        ...measured,
        outcome,
        limits: z.array(z.enum(limits)),
        reasons: z.array(z.string()),
        baseline: z.exactOptional(z.object({ ...measured, outcome, regressions: count })),
      }),
    ),
    settings: z.object({
      start: number,
      max: number,
      growth: number,
      precision: number,
      repeats: count,
      stepSeconds: number,
      warmupSeconds: number,
      maxLagMicros: number,
      order: z.string(),
    }),
    environment: z.object({
      version: z.string(),
      node: z.string(),
      source: z.string(),
      targets: z.array(z.string()),
      baseline: z.array(z.string()),
    }),
  })
  .meta({ title: 'memtape-capacity/1', description: 'What memtape capacity writes with --json' });

/** As JSON Schema (draft 2020-12); fields that it does not know are let through. */
export function capacityJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(capacitySchema, { io: 'input' });
}
