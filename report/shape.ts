// The shape of a report: what `--json` writes, field by field. schema.ts says the same to whoever reads it from outside.

import type { Account } from '../diff/accounts.ts';
import type { Culprit } from '../diff/attribution.ts';
import type { Diff } from '../diff/diff.ts';
import type { Difference } from '../diff/regression.ts';
import type { Finding } from '../diff/verdict.ts';
import type { MergedShard } from '../trace/meta.ts';

export interface EvaluatedThreshold {
  expression: string;
  /** null without samples. Of several servers or operations, the one that is worst. */
  value: number | null;
  ok: boolean;
  /** False: there is nothing to measure it by, and so it is not passed. */
  evaluated: boolean;
}

export type ReportVerdict = 'pass' | 'fail' | 'insufficient' | 'invalid' | 'aborted';

/** All in microseconds; an empty object where there is no sample. */
export type Percentiles = Partial<Record<'p50' | 'p90' | 'p99' | 'p999' | 'max', number>>;

export interface GroupReport {
  exchanges: number;
  /** Reads that were answered, or whose silence was proven. */
  reads: number;
  /** null where nothing was read. */
  hitRate: number | null;
  recordedHitRate: number | null;
  drift: number;
  violations: number;
}

export interface ServerReport extends GroupReport {
  address: string;
  /** Since the replay's start; null where it never answered. */
  lastAnswerSeconds: number | null;
  /** Keys that got lost, and what the target says of what it evicted meanwhile. */
  losses: Account;
}

export interface Report {
  format: 'memtape-report/1';
  verdict: ReportVerdict;
  exchanges: {
    total: number;
    sent: number;
    answered: number;
    matched: number;
    /** How many of those that matched have no recorded answer, and are answered as they must be. */
    unrecorded: number;
    drift: number;
    violations: number;
    untestable: number;
    skipped: number;
  };
  drift: Record<string, number>;
  violations: Record<string, number>;
  untestable: Record<string, number>;
  /** By reason. */
  skipped: Record<string, number>;
  findings: Finding[];
  /** What failures share, the best explanation first. */
  attribution: Culprit[];
  servers: ServerReport[];
  /** By SASL user, where there are any. */
  tenants: (GroupReport & { tenant: string })[];
  operations: (GroupReport & { operation: string })[];
  latencyMicros: {
    fromIntended: Percentiles;
    fromSent: Percentiles;
    recorded: Percentiles;
    /** From the intended time. */
    byOperation: Record<string, Percentiles>;
    /** Likewise, where there are any. */
    byTenant: Record<string, Percentiles>;
  };
  schedule: {
    speed: number | 'max';
    /** As `--rate` was given; null without it. */
    rate: string | null;
    order: string;
    durationSeconds: number;
    recordedSeconds: number;
    /** Requests a second that the schedule asked for; null at `max`. */
    targetRate: number | null;
    achievedRate: number;
    lagMicros: Percentiles;
    /** The limit of its 99th percentile; null where none was set. */
    maxLagMicros: number | null;
    blockedMicros: Percentiles;
    eventLoopDelayMicros: Percentiles;
  };
  /** Which places the requests reached; a cell is a backend through a target. */
  coverage: {
    /** Exchanges that a cell must have. */
    minimum: number;
    /** Cells in all, and those that have as many. */
    backends: number;
    covered: number;
    cells: { target: string; backend: string; exchanges: number; covered: boolean }[];
  };
  /** What happened when: arrays by bin, all of equal length. */
  timeline: {
    binSeconds: number;
    /** Microseconds; null where nothing was answered. */
    latencyMicros: Record<'fromIntended' | 'fromSent' | 'recorded', Record<'p50' | 'p99', (number | null)[]>>;
    lagMicros: { p99: (number | null)[] };
    /** By target, or by backend behind them where those were told; `other`: of no key. */
    servers: {
      address: string;
      requests: number[];
      reads: number[];
      hits: number[];
      drift: number[];
      violations: number[];
    }[];
  };
  /** What was done to the targets meanwhile, and what became of it. */
  drills: Diff['drills'];
  /** `leftover`: other keys of the trace that the targets held before; null where nobody asked. */
  prefill: { keys: number; failed: number; leftover: number | null };
  /** Trouble with connections: how many times, and the first of them. */
  incidents: {
    count: number;
    examples: { connection: number; server: string; atSeconds: number; note: string }[];
  };
  thresholds: EvaluatedThreshold[];
  /** The replay to the other targets, with --baseline. */
  baseline?: BaselineReport;
  /** What a recording says that was judged by itself. */
  audit?: AuditReport;
  /** The parts of a replay that was divided. */
  shards?: ShardsReport;
  environment: {
    version: string;
    node: string;
    trace: string;
    targets: string[];
    /** Who got which requests; null where none were sent. */
    route: string | null;
    /** When it began, ISO 8601; null where it did not. */
    startTime: string | null;
  };
}

export interface BaselineReport extends Pick<
  Report,
  | 'verdict'
  | 'exchanges'
  | 'drift'
  | 'violations'
  | 'untestable'
  | 'skipped'
  | 'servers'
  | 'tenants'
  | 'operations'
  | 'latencyMicros'
  | 'schedule'
> {
  /** What differs by more than chance, and than two runs of the baseline do. */
  changes: Difference[];
  /** How many of them are worse, and by more than the sizes that docs/verdicts.md names. */
  regressions: number;
}

/** How many of the reads that could be judged were right. */
export interface Consistency {
  reads: number;
  /** Hits on keys of which the recording shows what they hold, and reads that were wrong whatever they hold. */
  judged: number;
  wrong: number;
  /** null where nothing could be judged. */
  right: number | null;
  /** The share itself lies in here, at `confidence`. */
  low: number;
  high: number;
  /** Nines that are sure: 3 where at least 99.9% are right. */
  nines: number;
  /** A share of wrong reads as small as this would have been seen, at `confidence`. */
  smallestSeen: number;
}

export interface AuditReport {
  confidence: number;
  all: Consistency;
  servers: (Consistency & { server: string })[];
  /** The backends of --backends. */
  partitions: (Consistency & { partition: string })[];
  tenants: (Consistency & { tenant: string })[];
  /** When hit rates broke, by server, or by partition where those were told. */
  breaks: { place: string; atSeconds: number; before: number; after: number }[];
  /** The capture lacks bytes of what was sent: what it lacks may have changed any key. */
  isLossy: boolean;
  /** From when on every request that may still act is in the recording, seconds. */
  beginsSeconds: number;
}

interface ShardsReport {
  run: string;
  /** In how many parts the replay was divided. */
  of: number;
  /** The report is of this part alone; null: of all. */
  only: number | null;
  /** By number; empty where the report is of one part alone. */
  all: MergedShard[];
}

/** As renderings of several take them: a run's name, which people choose. */
export interface NamedReport {
  name: string;
  report: Report;
}
