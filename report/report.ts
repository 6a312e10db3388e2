// Makes the report of a replay (shape.ts) out of what was judged: what every rendering is made from.

import type { Histogram } from 'hdr-histogram-js';
import type { Audit } from '../audit/audit.ts';
import type { Judged } from '../audit/consistency.ts';
import { CONFIDENCE, exactInterval, smallestSeen } from '../audit/interval.ts';
import type { Diff } from '../diff/diff.ts';
import type { Difference } from '../diff/regression.ts';
import type { Figures } from '../diff/figures.ts';
import type { Clock } from '../diff/timeline.ts';
import { NEVER } from '../trace/batch.ts';
import { emptyEnd, type ResultsEnd, type ResultsMeta } from '../trace/meta.ts';
import { version } from '../trace/version.ts';
import { defaultThresholds, evaluate, roleOf, type Threshold } from './threshold.ts';
import type {
  AuditReport,
  BaselineReport,
  Consistency,
  GroupReport,
  Percentiles,
  Report,
  ReportVerdict,
} from './shape.ts';

export interface ReportInput {
  diff: Diff;
  meta: ResultsMeta;
  /** null: the results file was cut. */
  end: ResultsEnd | null;
  /** Default: those of defaultThresholds(), with a baseline's where there is one. */
  thresholds?: readonly Threshold[];
  /**
   * Where 99% of the requests were not sent within this of when they should have been, by our own fault, what was
   * measured of latency says nothing of the target.
   */
  maxLagMicros?: number;
  /** Exchanges that each backend must have, else there is not enough evidence. Default: none is asked for. */
  minCoverage?: number;
  /** What a recording that is judged by itself says besides. */
  audit?: Pick<Audit, 'consistency' | 'breaks' | 'isLossy' | 'beginsSeconds'>;
  /** A replay of these requests to other targets, or at another time, and what differs. */
  baseline?: { report: Report; changes: Difference[] };
}

/** What is borne where a threshold asks for latency and nobody said how much. */
const DEFAULT_MAX_LAG_MICROS = 5_000;
const EXAMPLES = 10;

export function makeReport(input: ReportInput): Report {
  const { diff, meta, end, maxLagMicros, minCoverage, baseline, audit } = input;
  const { thresholds = defaultThresholds(baseline !== undefined) } = input;
  const { counts, latency } = diff;
  const hasTenants = [...diff.tenants.all.keys()].some((tenant) => tenant !== '');
  const replayedSeconds = diff.replayedNs / 1e9;
  const recordedSeconds = diff.recordedNs / 1e9;
  const report: Report = {
    format: 'memtape-report/1',
    verdict: 'pass',
    exchanges: {
      total: diff.total,
      sent: diff.sent,
      answered: diff.answered,
      matched: diff.matched,
      unrecorded: diff.unrecorded,
      drift: sum(counts.drift),
      violations: sum(counts.violation),
      untestable: sum(counts.untestable),
      skipped: diff.skipped,
    },
    drift: counts.drift,
    violations: counts.violation,
    untestable: counts.untestable,
    skipped: diff.skips,
    findings: diff.findings,
    attribution: diff.culprits,
    servers: Array.from(diff.targets, (target, n) => ({
      address: target.address,
      ...groupReport(target),
      lastAnswerSeconds: target.lastAnswerNs === NEVER ? null : round(target.lastAnswerNs / 1e9, 6),
      losses: diff.accounts[n] ?? { kind: 'unknown', evicted: null, lost: 0 },
    })),
    tenants: hasTenants
      ? Array.from(diff.tenants.all, ([tenant, figures]) => ({ tenant, ...groupReport(figures) }))
      : [],
    operations: Array.from(diff.operations.all, ([operation, figures]) => ({
      operation,
      ...groupReport(figures),
    })),
    latencyMicros: {
      fromIntended: percentiles(latency.fromIntended),
      fromSent: percentiles(latency.fromSent),
      recorded: percentiles(latency.recorded),
      byOperation: byName(latency.byOperation),
      byTenant: hasTenants ? byName(latency.byTenant) : {},
    },
    schedule: {
      speed: meta.speed,
      rate: meta.rate ?? null,
      order: meta.order,
      durationSeconds: round(replayedSeconds, 6),
      recordedSeconds: round(recordedSeconds, 6),
      targetRate:
        meta.targetRate ??
        (meta.speed === 'max' || recordedSeconds === 0
          ? null
          : round((diff.total / recordedSeconds) * meta.speed, 1)),
      achievedRate: replayedSeconds === 0 ? 0 : round(diff.sent / replayedSeconds, 1),
      lagMicros: percentiles(diff.lag),
      maxLagMicros: null,
      blockedMicros: percentiles(diff.blocked),
      eventLoopDelayMicros:
        end === null
          ? {}
          : {
              p50: round(end.eventLoopDelayNs.p50 / 1000, 1),
              p99: round(end.eventLoopDelayNs.p99 / 1000, 1),
              max: round(end.eventLoopDelayNs.max / 1000, 1),
            },
    },
    coverage: coverageOf(diff, minCoverage),
    timeline: timelineOf(diff),
    drills: diff.drills,
    prefill: {
      keys: end?.prefilled ?? 0,
      failed: end?.prefillFailed ?? 0,
      leftover: end?.leftover ?? null,
    },
    incidents: {
      count: end?.incidentCount ?? 0,
      examples: (end?.incidents ?? []).slice(0, EXAMPLES).map(({ connection, target, atNs, note }) => ({
        connection,
        server: meta.targets[target] ?? 'unknown',
        atSeconds: round(atNs / 1e9, 6),
        note,
      })),
    },
    thresholds: [],
    ...(baseline === undefined ? {} : { baseline: baselineReport(baseline) }),
    ...(audit === undefined ? {} : { audit: auditReport(audit) }),
    ...shardsOf(meta, end),
    environment: {
      version,
      node: process.version,
      trace: `sha256:${meta.trace}`,
      targets: meta.targets,
      route: audit === undefined ? meta.route : null,
      startTime: meta.startTime,
    },
  };
  const bound = maxLagMicros ?? (thresholds.some(isOfLatency) ? DEFAULT_MAX_LAG_MICROS : Infinity);
  const isLate = (report.schedule.lagMicros.p99 ?? 0) > bound;
  report.schedule.maxLagMicros = bound === Infinity ? null : bound;
  report.thresholds = Array.from(thresholds, (threshold) => {
    const evaluated = evaluate(threshold, report);
    return isLate && isOfLatency(threshold) ? { ...evaluated, ok: false, evaluated: false } : evaluated;
  });
  report.verdict = verdictOf(report, end, { isLate, isThin: isThin(report, minCoverage) });
  return report;
}

function baselineReport({ report, changes }: NonNullable<ReportInput['baseline']>): BaselineReport {
  const { verdict, exchanges, drift, violations, untestable, skipped } = report;
  const { servers, tenants, operations, latencyMicros, schedule } = report;
  const counts = { exchanges, drift, violations, untestable, skipped };
  const regressions = changes.filter(({ isRegression }) => isRegression).length;
  return { verdict, ...counts, servers, tenants, operations, latencyMicros, schedule, changes, regressions };
}

function auditReport({
  consistency,
  breaks,
  isLossy,
  beginsSeconds,
}: NonNullable<ReportInput['audit']>): AuditReport {
  const { all, servers, partitions, tenants } = consistency;
  const hasTenants = [...tenants.keys()].some((tenant) => tenant !== '');
  return {
    confidence: CONFIDENCE,
    all: consistencyOf(all),
    servers: Array.from(servers, ([server, judged]) => ({ server, ...consistencyOf(judged) })),
    partitions: Array.from(partitions, ([partition, judged]) => ({ partition, ...consistencyOf(judged) })),
    tenants: hasTenants
      ? Array.from(tenants, ([tenant, judged]) => ({ tenant, ...consistencyOf(judged) }))
      : [],
    breaks: breaks.map(({ place, atSeconds, before, after }) => ({
      place,
      atSeconds: round(atSeconds, 6),
      before: round(before, 6),
      after: round(after, 6),
    })),
    isLossy,
    beginsSeconds: round(beginsSeconds, 6),
  };
}

/** More nines than any recording shows. */
const MAX_NINES = 12;

export function consistencyOf({ reads, judged, wrong }: Readonly<Judged>): Consistency {
  // The history of a key may show a read to be wrong that was not counted among those to be judged.
  const of = Math.max(judged, wrong);
  const [wrongLow, wrongHigh] = exactInterval(wrong, of);
  return {
    reads,
    judged: of,
    wrong,
    right: of === 0 ? null : 1 - wrong / of,
    low: 1 - wrongHigh,
    high: 1 - wrongLow,
    nines: round(Math.min(MAX_NINES, Math.max(0, -Math.log10(wrongHigh))), 2),
    smallestSeen: smallestSeen(of),
  };
}

function shardsOf({ shard }: ResultsMeta, end: ResultsEnd | null): Pick<Report, 'shards'> {
  if (shard !== undefined) return { shards: { run: shard.run, of: shard.of, only: shard.index, all: [] } };
  if (end?.shards === undefined) return {};
  const { run, all } = end.shards;
  return { shards: { run, of: all.length, only: null, all } };
}

function isThin({ coverage }: Report, minCoverage: number | undefined): boolean {
  return minCoverage !== undefined && coverage.covered < coverage.backends;
}

/** The report with these thresholds evaluated, and the verdict that follows: of one that was put together from others. */
export function evaluated(report: Report, thresholds: readonly Threshold[], minCoverage?: number): Report {
  const told = { ...report, thresholds: Array.from(thresholds, (threshold) => evaluate(threshold, report)) };
  const verdict = verdictOf(told, emptyEnd(), { isLate: false, isThin: isThin(report, minCoverage) });
  return { ...told, verdict };
}

function groupReport(figures: Readonly<Figures>): GroupReport {
  const { exchanges, hits, reads, recordedHits, recordedReads, drift, violations } = figures;
  return {
    exchanges,
    reads,
    hitRate: rate(hits, reads),
    recordedHitRate: rate(recordedHits, recordedReads),
    drift,
    violations,
  };
}

function coverageOf({ cells }: Diff, minimum = 1): Report['coverage'] {
  const judged = cells.map((cell) => ({ ...cell, covered: cell.exchanges >= minimum }));
  const covered = judged.filter((cell) => cell.covered).length;
  return { minimum, backends: cells.length, covered, cells: judged };
}

function timelineOf({ timeline, places }: Diff): Report['timeline'] {
  const both = (clock: Clock): Record<'p50' | 'p99', (number | null)[]> => ({
    p50: timeline.percentile(clock, 0.5),
    p99: timeline.percentile(clock, 0.99),
  });
  return {
    binSeconds: timeline.binNs / 1e9,
    latencyMicros: {
      fromIntended: both('fromIntended'),
      fromSent: both('fromSent'),
      recorded: both('recorded'),
    },
    lagMicros: { p99: timeline.percentile('lag', 0.99) },
    servers: timeline.targets
      .map((bins, n) => ({
        address: places[n] ?? 'other',
        requests: bins.map(({ requests }) => requests),
        reads: bins.map(({ reads }) => reads),
        hits: bins.map(({ hits }) => hits),
        drift: bins.map(({ drift }) => drift),
        violations: bins.map(({ violations }) => violations),
      }))
      .filter(
        ({ address, requests, violations }) =>
          address !== 'other' || requests.some((n) => n > 0) || violations.some((n) => n > 0),
      ),
  };
}

function isOfLatency(threshold: Threshold): boolean {
  return roleOf(threshold) === 'latency';
}

function verdictOf(
  { thresholds, exchanges }: Report,
  end: ResultsEnd | null,
  { isLate, isThin }: { isLate: boolean; isThin: boolean },
): ReportVerdict {
  if (end === null || end.aborted !== null) return 'aborted';
  // What was seen to fail outweighs what was not seen.
  if (thresholds.some((one) => one.evaluated && !one.ok && roleOf(one) !== 'evidence')) return 'fail';
  if (isLate) return 'invalid';
  // Nothing was judged, whatever was asked of it.
  const isBlind = exchanges.matched + exchanges.drift + exchanges.violations === 0;
  if (exchanges.sent === 0 || isBlind || isThin || thresholds.some(({ evaluated, ok }) => !evaluated || !ok))
    return 'insufficient';
  return 'pass';
}

/** The exit code that a verdict means; an interrupted run is 130, which its caller knows. */
export const exitCodes: Readonly<Record<ReportVerdict, number>> = {
  pass: 0,
  fail: 1,
  insufficient: 3,
  invalid: 4,
  aborted: 5,
};

function byName(histograms: ReadonlyMap<string, Histogram>): Record<string, Percentiles> {
  return Object.fromEntries(Array.from(histograms, ([name, histogram]) => [name, percentiles(histogram)]));
}

export function percentiles(histogram: Histogram): Percentiles {
  if (histogram.totalCount === 0) return {};
  // A class of the histogram reaches beyond what was in it, and no share of all took longer than the longest.
  const max = histogram.maxValue;
  const at = (percent: number): number => Math.min(max, histogram.getValueAtPercentile(percent));
  return { p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), max };
}

function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

function rate(part: number, whole: number): number | null {
  return whole === 0 ? null : round(part / whole, 6);
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
