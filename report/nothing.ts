// The report of a replay that did not begin: its target could not be reached, or refused it. It is aborted, has no figures,
// and says why.

import { version } from '../trace/version.ts';
import type { Report } from './shape.ts';
import type { Threshold } from './threshold.ts';

export interface NothingInput {
  /** The trace's file or the model's name. */
  source: string;
  targets: readonly string[];
  speed: number | 'max';
  /** As `--rate` was given; null without it. */
  rate: string | null;
  order: string;
  thresholds: readonly Threshold[];
  /** What kept it from beginning, in a sentence. */
  why: string;
}

export function reportOfNothing({
  source,
  targets,
  speed,
  rate,
  order,
  thresholds,
  why,
}: NothingInput): Report {
  const both = { p50: [], p99: [] };
  return {
    format: 'memtape-report/1',
    verdict: 'aborted',
    exchanges: {
      total: 0,
      sent: 0,
      answered: 0,
      matched: 0,
      unrecorded: 0,
      drift: 0,
      violations: 0,
      untestable: 0,
      skipped: 0,
    },
    drift: {},
    violations: {},
    untestable: {},
    skipped: {},
    findings: [],
    attribution: [],
    servers: [],
    tenants: [],
    operations: [],
    latencyMicros: { fromIntended: {}, fromSent: {}, recorded: {}, byOperation: {}, byTenant: {} },
    schedule: {
      speed,
      rate,
      order,
      durationSeconds: 0,
      recordedSeconds: 0,
      targetRate: null,
      achievedRate: 0,
      lagMicros: {},
      maxLagMicros: null,
      blockedMicros: {},
      eventLoopDelayMicros: {},
    },
    coverage: { minimum: 1, backends: 0, covered: 0, cells: [] },
    timeline: {
      binSeconds: 1,
      latencyMicros: { fromIntended: both, fromSent: both, recorded: both },
      lagMicros: { p99: [] },
      servers: [],
    },
    drills: [],
    prefill: { keys: 0, failed: 0, leftover: null },
    incidents: {
      count: 1,
      examples: [{ connection: -1, server: targets.join(', '), atSeconds: 0, note: why }],
    },
    thresholds: thresholds.map(({ expression }) => ({
      expression,
      value: null,
      ok: false,
      evaluated: false,
    })),
    environment: {
      version,
      node: process.version,
      trace: source,
      targets: [...targets],
      route: null,
      startTime: null,
    },
  };
}
