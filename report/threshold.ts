// Thresholds: `METRIC[{label=value}] OP NUMBER[unit]`, for instance `drift.lost < 0.5%` or `latency.fromIntended.p99{operation=get} < 2ms`.

import { given } from '../config/given.ts';
import { nearest } from '../config/nearest.ts';
import { kindOf, regressionKinds } from '../diff/regression.ts';
import { drifts, untestables, violations, type ViolationKind } from '../diff/verdict.ts';
import type {
  BaselineReport,
  Consistency,
  GroupReport,
  Percentiles,
  Report,
  EvaluatedThreshold,
} from './shape.ts';

export interface Threshold {
  /** As it was written. */
  expression: string;
  metric: string;
  label: { name: string; value: string } | undefined;
  operator: Operator;
  /** In the unit of the metric. */
  limit: number;
  /** The limit is a share of the exchanges sent. */
  isShare: boolean;
}

/** What passes of a recording that is judged by itself, where nobody says: no wrong answer, and nearly everything judged. */
export const auditExpressions: readonly string[] = ['violations == 0', 'judged > 90%'];

/** What passes where nobody says: no wrong answer, nearly everything judged, and few keys lost. */
const defaultExpressions: readonly string[] = ['violations == 0', 'judged > 90%', 'drift.lost < 5%'];

/** What a release must keep to besides, where there is a baseline: it is not worse. */
const baselineExpressions: readonly string[] = ['baseline.regressions == 0'];

export class ThresholdError extends Error {
  override readonly name = 'ThresholdError';
}

const operators = {
  '<': (a: number, b: number) => a < b,
  '<=': (a: number, b: number) => a <= b,
  '>': (a: number, b: number) => a > b,
  '>=': (a: number, b: number) => a >= b,
  '==': (a: number, b: number) => a === b,
  '!=': (a: number, b: number) => a !== b,
};
type Operator = keyof typeof operators;

type Kind = 'count' | 'rate' | 'micros' | 'perSecond';

/**
 * What a metric asks about. `evidence`: how much was seen, and not what; crossed, there is too little of it. `violations`:
 * wrong answers. `latency`: times of answers, which mean nothing where memtape itself was late. `time`: what else depends on
 * how fast the target or the machine is.
 */
export type Role = 'evidence' | 'violations' | 'latency' | 'time' | 'other';

interface Metric {
  kind: Kind;
  role: Role;
  labels: readonly string[];
  /** The samples; each must hold. */
  read: (report: Report, label: Threshold['label']) => (number | null | undefined)[];
  /** What a share of each sample is of; absent: of the exchanges sent. */
  whole?: (report: Report, label: Threshold['label']) => number[];
}

const metrics = new Map<string, Metric>();

/** Violations for want of a valid answer. */
const unansweredKinds: readonly ViolationKind[] = ['unanswered', 'closed', 'malformed'];

function define(
  name: string,
  role: Role,
  kind: Kind,
  read: Metric['read'],
  labels: readonly string[] = [],
  whole?: Metric['whole'],
): void {
  metrics.set(name, { kind, role, labels, read, ...given({ whole }) });
}

/** What labels tell apart, by the name of the label. */
const groupings: Readonly<Record<string, (report: Report) => readonly (GroupReport & { name: string })[]>> = {
  server: ({ servers }) => Array.from(servers, (one) => ({ ...one, name: one.address })),
  tenant: ({ tenants }) => Array.from(tenants, (one) => ({ ...one, name: one.tenant })),
  operation: ({ operations }) => Array.from(operations, (one) => ({ ...one, name: one.operation })),
};
/** Other words for the same. */
const synonyms: Readonly<Record<string, string>> = { address: 'server', opcode: 'operation' };
const groupLabels = [...Object.keys(groupings), ...Object.keys(synonyms)];

/** The members of a grouping that a label means: without one, all. */
function membersOf(report: Report, grouping: string, label: Threshold['label']): readonly GroupReport[] {
  const members = groupings[grouping]!(report);
  return label === undefined ? members : members.filter(({ name }) => name === label.value);
}

function labelled(report: Report, label: NonNullable<Threshold['label']>): readonly GroupReport[] {
  return membersOf(report, synonyms[label.name] ?? label.name, label);
}

for (const name of ['matched', 'untestable', 'skipped', 'answered', 'sent', 'total'] as const)
  define(name, name === 'untestable' ? 'evidence' : 'other', 'count', ({ exchanges }) => [
    exchanges.sent === 0 && name !== 'total' ? null : exchanges[name],
  ]);
for (const name of ['violations', 'drift'] as const)
  define(
    name,
    name === 'violations' ? 'violations' : 'other',
    'count',
    (report, label) =>
      label === undefined
        ? [report.exchanges.sent === 0 ? null : report.exchanges[name]]
        : labelled(report, label).map((one) => one[name]),
    groupLabels,
    (report, label) =>
      label === undefined
        ? [report.exchanges.sent]
        : labelled(report, label).map(({ exchanges }) => exchanges),
  );
// What is known while a replay runs has the same names afterwards.
define('failed', 'time', 'count', ({ exchanges: { sent }, violations: kinds }) => [
  sent === 0 ? null : unansweredKinds.reduce((sum, kind) => sum + (kinds[kind] ?? 0), 0),
]);
define('differ', 'other', 'count', ({ exchanges: { sent, drift, violations: wrong } }) => [
  sent === 0 ? null : drift + wrong,
]);
for (const [group, role, kinds] of [
  ['drift', 'other', drifts],
  ['violations', 'violations', violations],
  ['untestable', 'evidence', untestables],
] as const)
  for (const kind of kinds)
    define(`${group}.${kind}`, role, 'count', (report) => [
      report.exchanges.sent === 0 ? null : (report[group][kind] ?? 0),
    ]);
for (const point of ['p50', 'p90', 'p99', 'p999', 'max'] as const) {
  for (const from of ['fromIntended', 'fromSent', 'recorded'] as const)
    define(
      `latency.${from}.${point}`,
      from === 'recorded' ? 'time' : 'latency',
      'micros',
      ({ latencyMicros }, label) => [ofLabel(latencyMicros, from, label)[point]],
      from === 'fromIntended' ? ['operation', 'tenant'] : [],
    );
  define(`schedule.lag.${point}`, 'time', 'micros', ({ schedule }) => [schedule.lagMicros[point]]);
  define(`schedule.blocked.${point}`, 'time', 'micros', ({ schedule }) => [schedule.blockedMicros[point]]);
  define(`schedule.eventLoopDelay.${point}`, 'time', 'micros', ({ schedule }) => [
    schedule.eventLoopDelayMicros[point],
  ]);
}
define('schedule.achievedRate', 'time', 'perSecond', ({ schedule }) => [schedule.achievedRate]);
for (const [group, grouping, labels] of [
  ['servers', 'server', ['server', 'address']],
  ['tenants', 'tenant', ['tenant']],
  ['operations', 'operation', ['operation', 'opcode']],
] as const)
  for (const [name, kind] of [
    ['hitRate', 'rate'],
    ['recordedHitRate', 'rate'],
    ['drift', 'count'],
    ['violations', 'count'],
    ['exchanges', 'count'],
  ] as const)
    define(
      `${group}.${name}`,
      'other',
      kind,
      (report, label) =>
        membersOf(report, grouping, label)
          .map((one) => one[name])
          // An operation that reads nothing has no hit rate.
          .filter((value) => grouping === 'server' || label !== undefined || value !== null),
      labels,
      (report, label) => membersOf(report, grouping, label).map(({ exchanges }) => exchanges),
    );

// A verdict was reached: of what was sent, and of what could not be sent for want of the CAS id that the target gave, or since
// the target had answered nothing several times in a row.
define('judged', 'evidence', 'rate', ({ exchanges: { sent, untestable }, drift, skipped }) => {
  const asked = sent + (skipped['unmappable-cas'] ?? 0) + (skipped['resting'] ?? 0);
  return [sent === 0 ? null : (sent - untestable - (drift['unexplained'] ?? 0)) / asked];
});
// Of a recording that is judged by itself: the share of right reads that is sure.
define(
  'consistency',
  'other',
  'rate',
  (report, label) => consistencyOf(report, label).map(({ judged, low }) => (judged === 0 ? null : low)),
  ['server', 'tenant', 'partition'],
);
define(
  'consistency.judged',
  'other',
  'count',
  (report, label) => consistencyOf(report, label).map((one) => one.judged),
  ['server', 'tenant', 'partition'],
);
define('coverage.backends', 'evidence', 'rate', ({ coverage }) => [
  coverage.backends === 0 ? null : coverage.covered / coverage.backends,
]);
define('coverage.minimum', 'evidence', 'count', ({ coverage: { cells } }) => [
  cells.length === 0 ? null : Math.min(...cells.map(({ exchanges }) => exchanges)),
]);

// Every figure of a replay is one of its baseline too, but for what only the replay itself is asked.
const ofReplays = Array.from(metrics);
for (const [name, { kind, role, labels, read, whole }] of ofReplays)
  if (!/^(coverage|consistency)/.test(name))
    define(
      `baseline.${name}`,
      role,
      kind,
      ({ baseline }, label) => (baseline === undefined ? [null] : read(asReport(baseline), label)),
      labels,
      ({ baseline }, label) => {
        if (baseline === undefined) return [];
        return whole?.(asReport(baseline), label) ?? [baseline.exchanges.sent];
      },
    );
define(
  'baseline.regressions',
  'time',
  'count',
  ({ baseline }, label) => {
    if (baseline === undefined) return [null];
    const worse = baseline.changes.filter(({ isRegression }) => isRegression);
    return [worse.filter((change) => label === undefined || kindOf(change) === label.value).length];
  },
  ['of'],
);

/** What metrics read of a report, the baseline has; the rest they do not ask for. */
function asReport(baseline: BaselineReport): Report {
  return baseline as unknown as Report;
}

/** Those that a label means; without one, all reads together. */
function consistencyOf({ audit }: Report, label: Threshold['label']): readonly Consistency[] {
  if (audit === undefined) return [];
  if (label === undefined) return [audit.all];
  const { servers, tenants, partitions } = audit;
  if (label.name === 'server') return servers.filter(({ server }) => server === label.value);
  if (label.name === 'tenant') return tenants.filter(({ tenant }) => tenant === label.value);
  return partitions.filter(({ partition }) => partition === label.value);
}

function ofLabel(
  latency: Report['latencyMicros'],
  from: 'fromIntended' | 'fromSent' | 'recorded',
  label: Threshold['label'],
): Percentiles {
  if (label === undefined) return latency[from];
  const all = label.name === 'tenant' ? latency.byTenant : latency.byOperation;
  return (Object.hasOwn(all, label.value) ? all[label.value] : undefined) ?? {};
}

const timeUnits: Readonly<Record<string, number>> = { us: 1, µs: 1, ms: 1e3, s: 1e6 };
const scales: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6 };

/** Those that hold where nobody sets any. */
export function defaultThresholds(hasBaseline = false): Threshold[] {
  return [...defaultExpressions, ...(hasBaseline ? baselineExpressions : [])].map(parseThreshold);
}

/** It asks for what only a baseline has. */
export function needsBaseline({ metric }: Pick<Threshold, 'metric'>): boolean {
  return metric.startsWith('baseline.');
}

/** The metric that an expression begins with; undefined where there is none of its name. */
function metricIn(expression: string): Metric | undefined {
  return metrics.get(/^\s*([\w.-]+)/.exec(expression)?.[1] ?? '');
}

/** What a threshold asks about. */
export function roleOf({ expression }: Pick<Threshold, 'expression'>): Role {
  return metricIn(expression)?.role ?? 'other';
}

/** The unit in which the value of a threshold is shown. */
export function unitOf({ expression }: Pick<Threshold, 'expression'>): 'micros' | 'percent' | 'none' {
  if (metricIn(expression)?.kind === 'micros') return 'micros';
  return /%\s*$/.test(expression) ? 'percent' : 'none';
}

/** @throws ThresholdError that says what was expected */
export function parseThreshold(expression: string): Threshold {
  const match =
    /^\s*([a-z][\w.-]*)\s*(?:\{\s*(\w+)\s*=\s*"?([^"}]*?)"?\s*\})?\s*(<=|>=|==|!=|<|>)\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-zµ%]*)\s*$/i.exec(
      expression,
    );
  if (match === null)
    throw new ThresholdError(
      `expected METRIC[{label=value}] OP NUMBER[unit], for instance "violations == 0" or "drift.lost < 0.5%"; got ${JSON.stringify(expression)}`,
    );
  const [, name = '', labelName, labelValue = '', operator = '', number = '', unit = ''] = match;
  const metric = metrics.get(name);
  if (metric === undefined)
    throw new ThresholdError(
      `unknown metric ${JSON.stringify(name)} in ${JSON.stringify(expression)}${hint(name)}`,
    );
  if (labelName !== undefined && !metric.labels.includes(labelName))
    throw new ThresholdError(
      `${name} has no label ${JSON.stringify(labelName)}; ${metric.labels.length === 0 ? 'it has none' : `it has ${metric.labels.join(', ')}`}`,
    );
  if (name === 'baseline.regressions' && labelName !== undefined) assertRegressionKind(labelValue);
  return {
    expression,
    metric: name,
    label: labelName === undefined ? undefined : { name: labelName, value: labelValue },
    operator: operator as Operator,
    ...limitOf(metric.kind, Number(number), unit, expression),
  };
}

/** @throws ThresholdError */
function assertRegressionKind(kind: string): void {
  if ((regressionKinds as readonly string[]).includes(kind)) return;
  throw new ThresholdError(
    `baseline.regressions{of=…}: expected one of ${regressionKinds.join(', ')}, got ${JSON.stringify(kind)}`,
  );
}

function limitOf(
  kind: Kind,
  number: number,
  unit: string,
  expression: string,
): Pick<Threshold, 'limit' | 'isShare'> {
  const wrong = (wanted: string): ThresholdError =>
    new ThresholdError(`${expression}: expected ${wanted}, got the unit ${JSON.stringify(unit)}`);
  if (kind === 'micros') {
    const scale = timeUnits[unit.toLowerCase()];
    if (scale === undefined) throw wrong('a time in us, ms or s');
    return { limit: number * scale, isShare: false };
  }
  if (unit === '%') {
    if (kind === 'perSecond') throw wrong('a rate such as 50k');
    return { limit: number / 100, isShare: kind === 'count' };
  }
  const scale = scales[unit.toLowerCase()];
  if (scale === undefined) throw wrong('a number or a percentage');
  return { limit: number * scale, isShare: false };
}

export function evaluate(threshold: Threshold, report: Report): EvaluatedThreshold {
  const { expression, metric, label, isShare } = threshold;
  const { read: readSamples, whole } = metrics.get(metric)!;
  const read = readSamples(report, label);
  const wholes = isShare ? whole?.(report, label) : undefined;
  const samples = read
    .map((value, n) => (isShare ? shareOf(value, wholes?.[n] ?? report.exchanges.sent) : value))
    .filter((value) => value !== null && value !== undefined);
  if (samples.length === 0 || samples.length < read.length)
    return { expression, value: null, ok: false, evaluated: false };
  const worst = samples.find((value) => !holds(threshold, value));
  return { expression, value: worst ?? samples[0]!, ok: worst === undefined, evaluated: true };
}

function shareOf(value: number | null | undefined, whole: number): number | null {
  return value === null || value === undefined || whole === 0 ? null : value / whole;
}

/** Whether a figure keeps to a threshold. */
export function holds({ operator, limit }: Threshold, value: number): boolean {
  return operators[operator](value, limit);
}

/** What may have been meant, by its whole name; else all that there is. */
function hint(name: string): string {
  const wanted = name.toLowerCase().split('.');
  const best = nearest(name, metrics.keys());
  const meant = best === undefined ? longerThan(wanted) : [best];
  if (meant.length > 0) return `; did you mean ${meant.slice(0, MAX_HINTS).join(', or ')}?`;
  return `; there are ${ofReplays.map(([metric]) => metric).join(', ')}, and the same of a baseline: baseline.${ofReplays[0]![0]} and so on, with baseline.regressions`;
}

const MAX_HINTS = 3;

/** Metrics whose names have these parts in this order, and others between them; or parts that are nearly these. */
function longerThan(wanted: readonly string[]): string[] {
  const exact = withParts(wanted, (part, asked) => part === asked);
  return exact.length > 0 ? exact : withParts(wanted, (part, asked) => nearest(asked, [part]) !== undefined);
}

function withParts(wanted: readonly string[], isSame: (part: string, asked: string) => boolean): string[] {
  return [...metrics.keys()].filter((metric) => {
    let at = 0;
    for (const part of metric.toLowerCase().split('.')) {
      const asked = wanted[at];
      if (asked !== undefined && isSame(part, asked)) at++;
    }
    return at === wanted.length;
  });
}
