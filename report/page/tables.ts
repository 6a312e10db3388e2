// What the report tells in tables: servers, latency, thresholds, coverage, drills, connections, the baseline, the
// environment.

import { figure, micros, percent, share } from '../format.ts';
import type { PageReport } from '../html.ts';
import type { Percentiles, Report } from '../shape.ts';
import { bar, el, lazy, quoted, table, type Child } from './dom.ts';

const points = ['p50', 'p90', 'p99', 'p999', 'max'] as const;
const pointColumns = ['p50', 'p90', 'p99', 'p99.9', 'max'].map((name) => ({ name, number: true }));

function seconds(value: number | null): string {
  return value === null ? '–' : `${value.toFixed(3)} s`;
}

/** A number in the colour of what it counts, where it counts any. */
function toned(count: number, tone: string): Child {
  return count === 0 ? el('span', { class: 'zero' }, '0') : el('span', { class: tone }, figure(count));
}

export function renderThresholds({ report, words }: PageReport): Child[] {
  if (report.thresholds.length === 0) return [];
  const tones = { ok: 'good', crossed: 'bad', 'no samples': 'warn' } as const;
  return [
    table(
      'Thresholds',
      [{ name: 'Threshold' }, { name: 'Got', number: true }, { name: 'Result' }],
      report.thresholds.map(({ expression }, n) => {
        const { outcome, value } = words.thresholds[n]!;
        return [
          quoted(expression),
          value,
          el('span', { class: `state ${tones[outcome]}` }, outcome === 'ok' ? 'holds' : outcome),
        ];
      }),
    ),
  ];
}

export function renderServers({ servers }: Pick<Report, 'servers'>): Child[] {
  return [
    table(
      'Servers',
      [
        { name: 'Server' },
        { name: 'Exchanges', number: true },
        { name: 'Hit rate', number: true },
        { name: 'Recorded', number: true },
        { name: 'Drift', number: true },
        { name: 'Violations', number: true },
        { name: 'Last answer', number: true },
      ],
      servers.map((server) => [
        quoted(server.address),
        figure(server.exchanges),
        percent(server.hitRate),
        percent(server.recordedHitRate),
        toned(server.drift, 'warn'),
        toned(server.violations, 'bad'),
        server.lastAnswerSeconds === null
          ? el('span', { class: 'bad' }, 'never')
          : seconds(server.lastAnswerSeconds),
      ]),
    ),
  ];
}

function latencyRow(name: Child, of: Percentiles): Child[] {
  return [name, ...points.map((point) => micros(of[point]))];
}

export function renderLatency({ latencyMicros, schedule }: Report): Child[] {
  return [
    table(
      'Latency',
      [{ name: 'Measured' }, ...pointColumns],
      [
        latencyRow('from the intended time', latencyMicros.fromIntended),
        latencyRow('from the sending', latencyMicros.fromSent),
        latencyRow('recorded', latencyMicros.recorded),
        ...(schedule.speed === 'max'
          ? []
          : [
              latencyRow('sent late by memtape', schedule.lagMicros),
              latencyRow('waited for the target', schedule.blockedMicros),
            ]),
        latencyRow('our event loop', schedule.eventLoopDelayMicros),
      ],
    ),
    ...latencyBy('operation', latencyMicros.byOperation),
    ...latencyBy('tenant', latencyMicros.byTenant),
  ];
}

function latencyBy(what: 'operation' | 'tenant', all: Record<string, Percentiles>): Child[] {
  const rows = Object.entries(all);
  if (rows.length === 0) return [];
  return [
    lazy([`By ${what}, from the intended time`], () =>
      table(
        `Latency by ${what}`,
        [{ name: what === 'operation' ? 'Operation' : 'Tenant' }, ...pointColumns],
        rows.map(([name, of]) => latencyRow(name === '' ? 'none' : quoted(name), of)),
      ),
    ),
  ];
}

export function renderCoverage({ coverage: { cells, covered, backends, minimum } }: Report): Child[] {
  if (cells.length === 0) return [];
  const most = Math.max(1, ...cells.map(({ exchanges }) => exchanges));
  const hasBackends = cells.some(({ target, backend }) => target !== backend);
  return [
    el(
      'p',
      { class: 'note' },
      `${figure(covered)} of ${figure(backends)} had ${figure(minimum)} or more exchanges answered.`,
    ),
    table(
      'Coverage',
      [
        { name: hasBackends ? 'Backend' : 'Target' },
        ...(hasBackends ? [{ name: 'Through' }] : []),
        { name: 'Exchanges', number: true },
        { name: '' },
        { name: 'Enough' },
      ],
      cells.map(({ target, backend, exchanges, covered: enough }) => [
        quoted(backend),
        ...(hasBackends ? [quoted(target)] : []),
        figure(exchanges),
        bar(exchanges / most, enough ? 'accent' : 'warn'),
        el('span', { class: `state ${enough ? 'good' : 'warn'}` }, enough ? 'yes' : 'no'),
      ]),
    ),
  ];
}

export function renderDrills({ drills }: Report): Child[] {
  return drills.flatMap(({ name, run, atSeconds, tookSeconds, exitCode, output, servers }, n) => [
    el(
      'p',
      {},
      `${n + 1}. `,
      el('strong', {}, quoted(name)),
      ` at ${seconds(atSeconds)}, `,
      exitCode === 0
        ? `took ${seconds(tookSeconds)}`
        : el('span', { class: 'bad' }, exitCode === null ? 'did not end' : `exit code ${exitCode}`),
    ),
    ...(name === run ? [] : [el('p', { class: 'note' }, quoted(run))]),
    ...(output.trim() === '' ? [] : [el('pre', {}, linesOf(output))]),
    table(
      `What the servers made of ${n + 1}`,
      [
        { name: 'Server' },
        { name: 'Errors', number: true },
        { name: 'Lost', number: true },
        { name: 'First error after', number: true },
        { name: 'Recovered after', number: true },
        { name: 'Hit rate before', number: true },
        { name: 'At the end', number: true },
      ],
      servers.map((place) => [
        quoted(place.server),
        toned(place.errors, 'bad'),
        toned(place.lost, 'warn'),
        seconds(place.firstErrorSeconds),
        place.recovered === false ? el('span', { class: 'bad' }, 'never') : seconds(place.recoverySeconds),
        percent(place.hitRateBefore),
        percent(place.hitRateAfter),
      ]),
    ),
  ]);
}

function linesOf(output: string): Child[] {
  return output
    .trim()
    .split(/\r?\n/)
    .flatMap((line, n) => [n > 0 ? '\n' : '', quoted(line)]);
}

export function renderIncidents({ incidents: { count, examples } }: Report): Child[] {
  if (count === 0) return [];
  return [
    ...(count > examples.length
      ? [el('p', { class: 'note' }, `The first ${figure(examples.length)} of ${figure(count)}:`)]
      : []),
    table(
      'Trouble with connections',
      [
        { name: 'At', number: true },
        { name: 'Server' },
        { name: 'Connection', number: true },
        { name: 'What' },
      ],
      examples.map(({ atSeconds, server, connection, note }) => [
        seconds(atSeconds),
        quoted(server),
        String(connection),
        quoted(note),
      ]),
    ),
  ];
}

function changed(value: number, unit: 'share' | 'micros'): string {
  return unit === 'share' ? share(value, 1) : micros(value);
}

function kindRows(name: string, here: Record<string, number>, there: Record<string, number>): Child[][] {
  return [...new Set([...Object.keys(here), ...Object.keys(there)])].map((kind) => [
    `${name}: ${kind}`,
    figure(here[kind] ?? 0),
    figure(there[kind] ?? 0),
  ]);
}

export function renderBaseline({ baseline, exchanges, violations, drift }: Report): Child[] {
  if (baseline === undefined) return [];
  const { changes } = baseline;
  return [
    changes.length === 0
      ? el('p', {}, 'Nothing differs by more than chance.')
      : table(
          'What differs by more than chance',
          [
            { name: 'Beyond chance' },
            { name: 'Target', number: true },
            { name: 'Baseline', number: true },
            { name: 'Regression' },
          ],
          changes.map(({ metric, candidate, baseline: before, unit, isRegression }) => [
            quoted(metric),
            changed(candidate, unit),
            changed(before, unit),
            isRegression ? el('span', { class: 'state bad' }, 'worse') : '',
          ]),
        ),
    lazy(['Side by side'], () =>
      table(
        'Target and baseline',
        [{ name: 'Exchanges' }, { name: 'Target', number: true }, { name: 'Baseline', number: true }],
        [
          ['matched', figure(exchanges.matched), figure(baseline.exchanges.matched)],
          ...kindRows('violation', violations, baseline.violations),
          ...kindRows('drift', drift, baseline.drift),
          ['p99 from the sending', '', micros(baseline.latencyMicros.fromSent.p99)],
        ],
      ),
    ),
  ];
}

export function renderEnvironment({ environment, schedule, prefill, audit }: Report): Child[] {
  const rows: [string, Child[]][] = [
    ['Targets', environment.targets.flatMap((target, n) => [n > 0 ? ', ' : '', quoted(target)])],
    ['Trace', [quoted(environment.trace)]],
    ['Order', [schedule.order]],
    [
      'Recorded',
      [
        `${schedule.recordedSeconds.toFixed(2)} s${audit === undefined ? `, replayed in ${schedule.durationSeconds.toFixed(2)} s` : ''}`,
      ],
    ],
    ...(audit === undefined
      ? ([['Prefill', [`${figure(prefill.keys)} keys, ${figure(prefill.failed)} refused`]]] as typeof rows)
      : []),
    ['memtape', [`${environment.version}, Node.js ${environment.node}`]],
  ];
  return [
    el(
      'dl',
      { class: 'facts' },
      rows.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))),
    ),
  ];
}
