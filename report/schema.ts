// The report as a schema, for whoever reads its JSON: fields may be added, and those that stand here keep their meaning.

import { z } from 'zod';
import { factors, failureClasses } from '../diff/attribution.ts';
import type { Report } from './shape.ts';

const count = z.int().nonnegative();
const seconds = z.number().nonnegative();
const rate = z.number().min(0).max(1).nullable();
const counts = z.record(z.string(), count);
const micros = z.number().nonnegative();

const percentiles = z
  .object({
    p50: z.exactOptional(micros),
    p90: z.exactOptional(micros),
    p99: z.exactOptional(micros),
    p999: z.exactOptional(micros),
    max: z.exactOptional(micros),
  })
  .meta({ description: 'microseconds; empty where there is no sample' });

const verdict = z.enum(['pass', 'fail', 'insufficient', 'invalid', 'aborted']);

const exchanges = z.object({
  total: count,
  sent: count,
  answered: count,
  matched: count,
  unrecorded: count.meta({ description: 'matched, though the recording has no answer: it is as it must be' }),
  drift: count,
  violations: count,
  untestable: count,
  skipped: count,
});

const side = z.record(z.string(), z.unknown()).meta({
  description:
    'one side of an example: status, flags, bytes, value (latin1 text, perhaps an excerpt marked by …), differsAt (the first byte that differs)',
});

const finding = z.object({
  class: z.enum(['violation', 'drift', 'untestable']),
  kind: z.string(),
  count,
  examples: z
    .array(
      z.object({
        index: z.int().min(-1).meta({ description: 'of the exchange in the trace; -1: of none' }),
        connection: z.int(),
        server: z.string(),
        opcode: z.string(),
        key: z.string().meta({ description: 'latin1' }),
        atSeconds: z.number(),
        expected: side,
        actual: side,
        why: z.string(),
      }),
    )
    .meta({ description: 'the earliest in the trace' }),
});

const culprit = z.object({
  factor: z.enum(factors),
  value: z.string(),
  of: z.enum(failureClasses),
  within: z.exactOptional(z.string()),
  failures: count,
  total: count,
  allFailures: count,
  all: count,
  sinceSeconds: z.number(),
  unit: z.enum(['exchanges', 'keys']),
  lift: z.number().nonnegative(),
  p: z.number().min(0).max(1),
  explained: z.number().min(0).max(1),
});

const group = z.object({
  exchanges: count,
  reads: count,
  hitRate: rate,
  recordedHitRate: rate,
  drift: count,
  violations: count,
});

const server = group.extend({
  address: z.string(),
  lastAnswerSeconds: z.number().nullable(),
  losses: z.object({
    kind: z.enum(['exact', 'restarted', 'shared', 'unknown']),
    evicted: count.nullable().meta({ description: 'keys that the target says it evicted' }),
    lost: count.meta({ description: 'keys that were seen to get lost' }),
  }),
});

const consistency = z.object({
  reads: count,
  judged: count,
  wrong: count,
  right: rate.meta({ description: 'of the reads that could be judged; null without any' }),
  low: z.number().min(0).max(1).meta({ description: 'the share itself is at least this, at `confidence`' }),
  high: z.number().min(0).max(1),
  nines: z
    .number()
    .nonnegative()
    .meta({ description: 'nines that are sure: 3 where at least 99.9% are right' }),
  smallestSeen: z
    .number()
    .min(0)
    .max(1)
    .meta({ description: 'a share of wrong reads as small as this would have been seen, at `confidence`' }),
});

const audit = z
  .object({
    confidence: z.number(),
    all: consistency,
    servers: z.array(consistency.extend({ server: z.string() })),
    partitions: z.array(consistency.extend({ partition: z.string() })),
    tenants: z.array(consistency.extend({ tenant: z.string() })),
    breaks: z
      .array(
        z.object({
          place: z.string(),
          atSeconds: seconds,
          before: z.number().min(0).max(1),
          after: z.number().min(0).max(1),
        }),
      )
      .meta({ description: 'when the hit rate of a server, or of a partition, broke' }),
    isLossy: z.boolean().meta({ description: 'the capture lacks bytes of what was sent' }),
    beginsSeconds: seconds,
  })
  .meta({ description: 'of a recording that was judged by itself' });

const latencyMicros = z.object({
  fromIntended: percentiles,
  fromSent: percentiles,
  recorded: percentiles,
  byOperation: z.record(z.string(), percentiles),
  byTenant: z.record(z.string(), percentiles),
});

const series = z.array(micros.nullable());
const both = z.object({ p50: series, p99: series });

const timeline = z.object({
  binSeconds: z.number().positive(),
  latencyMicros: z.object({ fromIntended: both, fromSent: both, recorded: both }),
  lagMicros: z.object({ p99: series }),
  servers: z.array(
    z.object({
      address: z.string(),
      requests: z.array(count),
      reads: z.array(count),
      hits: z.array(count),
      drift: z.array(count),
      violations: z.array(count),
    }),
  ),
});

const drill = z.object({
  name: z.string(),
  run: z.string(),
  server: z.string().nullable(),
  atSeconds: z.number(),
  tookSeconds: z.number(),
  exitCode: z.int().nullable(),
  output: z.string(),
  servers: z.array(
    z.object({
      server: z.string(),
      exchanges: count,
      errors: count,
      lost: count,
      firstErrorSeconds: z.number().nullable(),
      recoverySeconds: z.number().nullable(),
      recovered: z.boolean().nullable(),
      hitRateBefore: rate,
      hitRateAfter: rate,
    }),
  ),
});

const schedule = z.object({
  speed: z.union([z.number().positive(), z.literal('max')]),
  rate: z.string().nullable(),
  order: z.string(),
  durationSeconds: seconds,
  recordedSeconds: seconds,
  targetRate: z.number().nullable(),
  achievedRate: z.number(),
  lagMicros: percentiles,
  maxLagMicros: z.number().nullable(),
  blockedMicros: percentiles,
  eventLoopDelayMicros: percentiles,
});

const tenants = z.array(group.extend({ tenant: z.string() }));
const operations = z.array(group.extend({ operation: z.string() }));

const change = z.object({
  metric: z.string(),
  baseline: z.number(),
  candidate: z.number(),
  unit: z.enum(['share', 'micros']),
  p: z.number().nullable(),
  isRegression: z.boolean().meta({ description: 'worse, and by more than the sizes in docs/verdicts.md' }),
});

const shards = z
  .object({
    run: z.string(),
    of: count,
    only: count.nullable().meta({ description: 'the report is of this part alone; null: of all' }),
    all: z.array(
      z.object({
        index: count,
        exchanges: count,
        startSeconds: z
          .number()
          .nullable()
          .meta({ description: 'since the first of them began; null where that is not known' }),
        uncertaintySeconds: z.exactOptional(z.number()),
        durationSeconds: z.number().nullable(),
        lost: z.string().nullable().meta({ description: 'why there are not all results of it' }),
      }),
    ),
  })
  .meta({ description: 'of a replay that was divided' });

export const reportSchema: z.ZodType<Report> = z
  .object({
    format: z.literal('memtape-report/1'),
    verdict,
    exchanges,
    drift: counts,
    violations: counts,
    untestable: counts,
    skipped: counts.meta({ description: 'by reason' }),
    findings: z.array(finding),
    attribution: z.array(culprit).meta({ description: 'what failures share, the best explanation first' }),
    servers: z.array(server),
    tenants,
    operations,
    latencyMicros,
    schedule,
    coverage: z.object({
      minimum: count,
      backends: count,
      covered: count,
      cells: z.array(
        z.object({ target: z.string(), backend: z.string(), exchanges: count, covered: z.boolean() }),
      ),
    }),
    timeline: timeline.meta({ description: 'arrays by bin, all of equal length' }),
    drills: z.array(drill),
    prefill: z.object({ keys: count, failed: count, leftover: count.nullable() }),
    incidents: z.object({
      count,
      examples: z.array(
        z.object({ connection: z.int(), server: z.string(), atSeconds: z.number(), note: z.string() }),
      ),
    }),
    thresholds: z.array(
      z.object({
        expression: z.string(),
        value: z.number().nullable(),
        ok: z.boolean(),
        evaluated: z.boolean(),
      }),
    ),
    baseline: z.exactOptional(
      z.object({
        verdict,
        exchanges,
        drift: counts,
        violations: counts,
        untestable: counts,
        skipped: counts,
        servers: z.array(server),
        tenants,
        operations,
        latencyMicros,
        schedule,
        changes: z.array(change),
        regressions: count.meta({ description: 'changes that are worse, see isRegression' }),
      }),
    ),
    audit: z.exactOptional(audit),
    shards: z.exactOptional(shards),
    environment: z.object({
      version: z.string(),
      node: z.string(),
      trace: z.string(),
      targets: z.array(z.string()),
      route: z.string().nullable(),
      startTime: z.string().nullable(),
    }),
  })
  .meta({ title: 'memtape-report/1', description: 'What memtape replay and memtape diff write with --json' });

/** As JSON Schema (draft 2020-12); fields that it does not know are let through. */
export function reportJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(reportSchema, { io: 'input' });
}
