// Thresholds: `METRIC[{label=value}] OP NUMBER[unit]`, for instance `drift.lost < 0.5%` or `latency.fromIntended.p99{operation=get} < 2ms`.

import { nearest } from '../config/nearest.ts';
import { drifts, untestables, violations } from '../diff/verdict.ts';
import type { Percentiles, Report } from './report.ts';

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

export interface EvaluatedThreshold {
  expression: string;
  /** null without samples. Of several servers or operations, the one that is worst. */
  value: number | null;
  ok: boolean;
  /** False: there is nothing to measure it by, and so it is not passed. */
  evaluated: boolean;
}

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
interface Metric {
  kind: Kind;
  labels: readonly string[];
  /** The samples; each must hold. */
  read: (report: Report, label: Threshold['label']) => (number | null | undefined)[];
}

const metrics = new Map<string, Metric>();

function define(name: string, kind: Kind, read: Metric['read'], labels: readonly string[] = []): void {
  metrics.set(name, { kind, labels, read });
}

for (const name of [
  'matched',
  'violations',
  'drift',
  'untestable',
  'skipped',
  'answered',
  'sent',
  'total',
] as const)
  define(name, 'count', ({ exchanges }) => [
    exchanges.sent === 0 && name !== 'total' ? null : exchanges[name],
  ]);
for (const [group, kinds] of [
  ['drift', drifts],
  ['violations', violations],
  ['untestable', untestables],
] as const)
  for (const kind of kinds)
    define(`${group}.${kind}`, 'count', (report) => [
      report.exchanges.sent === 0 ? null : (report[group][kind] ?? 0),
    ]);
for (const point of ['p50', 'p90', 'p99', 'p999', 'max'] as const) {
  for (const from of ['fromIntended', 'fromSent', 'recorded'] as const)
    define(
      `latency.${from}.${point}`,
      'micros',
      ({ latencyMicros }, label) => [ofLabel(latencyMicros, from, label)[point]],
      from === 'fromIntended' ? ['operation'] : [],
    );
  define(`schedule.lag.${point}`, 'micros', ({ schedule }) => [schedule.lagMicros[point]]);
  define(`schedule.blocked.${point}`, 'micros', ({ schedule }) => [schedule.blockedMicros[point]]);
  define(`schedule.eventLoopDelay.${point}`, 'micros', ({ schedule }) => [
    schedule.eventLoopDelayMicros[point],
  ]);
}
define('schedule.achievedRate', 'perSecond', ({ schedule }) => [schedule.achievedRate]);
for (const [name, kind] of [
  ['hitRate', 'rate'],
  ['recordedHitRate', 'rate'],
  ['drift', 'count'],
  ['violations', 'count'],
  ['exchanges', 'count'],
] as const)
  define(
    `servers.${name}`,
    kind,
    ({ servers }, label) =>
      servers
        .filter(({ address }) => label === undefined || address === label.value)
        .map((server) => server[name]),
    ['server', 'address'],
  );

define('coverage.backends', 'rate', ({ coverage }) => [
  coverage.backends === 0 ? null : coverage.covered / coverage.backends,
]);
define('coverage.minimum', 'count', ({ coverage: { cells } }) => [
  cells.length === 0 ? null : Math.min(...cells.map(({ exchanges }) => exchanges)),
]);

function ofLabel(
  latency: Report['latencyMicros'],
  from: 'fromIntended' | 'fromSent' | 'recorded',
  label: Threshold['label'],
): Percentiles {
  return label === undefined ? latency[from] : (latency.byOperation[label.value] ?? {});
}

const timeUnits: Readonly<Record<string, number>> = { us: 1, µs: 1, ms: 1e3, s: 1e6 };
const scales: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6 };

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
  return {
    expression,
    metric: name,
    label: labelName === undefined ? undefined : { name: labelName, value: labelValue },
    operator: operator as Operator,
    ...limitOf(metric.kind, Number(number), unit, expression),
  };
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
  const { expression, metric, label, operator, limit, isShare } = threshold;
  const holds = operators[operator];
  const read = metrics.get(metric)!.read(report, label);
  const samples = read
    .filter((value) => value !== null && value !== undefined)
    .map((value) => (isShare ? value / report.exchanges.sent : value));
  if (samples.length === 0 || samples.length < read.length)
    return { expression, value: null, ok: false, evaluated: false };
  const worst = samples.find((value) => !holds(value, limit));
  return { expression, value: worst ?? samples[0]!, ok: worst === undefined, evaluated: true };
}

/** What may have been meant; else the ways to begin. */
function hint(name: string): string {
  const best = nearest(name, metrics.keys());
  return best !== undefined
    ? `; did you mean ${best}?`
    : '; there are violations, drift, untestable, matched, skipped, latency, schedule, servers and coverage';
}
