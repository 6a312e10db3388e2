// The report for a person at a terminal, or in a log: the verdict first, then what is behind it.

import type { Example, Finding } from '../diff/verdict.ts';
import {
  breakSentence,
  changed,
  classesOf,
  consistencySentence,
  culpritSentence,
  deedOf,
  gistOf,
  headerOf,
  lossesOf,
  outcomeOf,
  plain,
  reasonOf,
  shardsSentence,
  valueOf,
} from './words.ts';
import { fields, figure, isTold, micros, percent, plural, visible } from './format.ts';
import type { EvaluatedThreshold, Percentiles, Report } from './shape.ts';

/** How words are coloured; plain where the output is no terminal. */
export interface Palette {
  good: (text: string) => string;
  bad: (text: string) => string;
  warn: (text: string) => string;
  dim: (text: string) => string;
  strong: (text: string) => string;
}

const same = (text: string): string => text;
export const plainPalette: Palette = { good: same, bad: same, warn: same, dim: same, strong: same };

const EXAMPLES_SHOWN = 3;
const TENANTS_SHOWN = 5;

/** @param name of the trace or the model */
export function renderText(report: Report, palette: Palette = plainPalette, name?: string): string {
  return [
    headline(report, palette),
    `  ${plain(gistOf(report))}`,
    '',
    palette.dim(
      `  ${headerOf(report, name)
        .map(({ name: what, value }) => `${what} ${plain(value)}`)
        .join(' · ')}`,
    ),
    '',
    ...counts(report, palette),
    ...notes(report, palette),
    ...divided(report, palette),
    '',
    ...report.findings.flatMap((finding) => renderFinding(finding, palette)),
    ...attribution(report, palette),
    ...servers(report, palette),
    ...coverage(report, palette),
    ...drills(report, palette),
    ...timing(report, palette),
    ...besides(report, palette),
    ...consistency(report, palette),
    ...incidents(report, palette),
    ...(report.thresholds.length > 0
      ? ['', ...report.thresholds.map((threshold) => renderThreshold(threshold, palette))]
      : []),
    '',
  ].join('\n');
}

function headline(report: Report, palette: Palette): string {
  const words = {
    pass: palette.good('PASS'),
    fail: palette.bad('FAIL'),
    insufficient: palette.warn('NOT ENOUGH EVIDENCE'),
    invalid: palette.warn('INVALID'),
    aborted: palette.warn('ABORTED'),
  };
  return `${words[report.verdict]}  ${deedOf(report)}`;
}

/** A class of exchanges, and its kinds. */
function classLine(
  [name, count, part]: ReturnType<typeof classesOf>[number],
  kinds: Record<string, number>,
  color: (text: string) => string,
): string {
  const listed = Object.entries(kinds).map(([kind, n]) => `${kind} ${figure(n)}`);
  const text = `  ${name.padEnd(11)} ${figure(count).padStart(11)} ${part.padStart(8)}`;
  return `${count > 0 ? color(text) : text}${listed.length > 0 ? `   ${listed.join(', ')}` : ''}`;
}

function counts({ exchanges, drift, violations, untestable, skipped }: Report, palette: Palette): string[] {
  const { unrecorded } = exchanges;
  const [matched, differ, wrong, open, left] = classesOf(exchanges);
  return [
    classLine(matched, unrecorded > 0 ? { 'without a recorded answer': unrecorded } : {}, same),
    classLine(differ, drift, palette.warn),
    classLine(wrong, violations, palette.bad),
    classLine(open, untestable, palette.dim),
    classLine(left, skipped, palette.dim),
  ];
}

function notes({ prefill, verdict, attribution: culprits }: Report, palette: Palette): string[] {
  const { leftover, failed } = prefill;
  return [
    ...(leftover !== null && leftover > 0
      ? [
          palette.warn(
            `  the targets held ${plural(leftover, 'key')} of the trace beforehand: what is read of them cannot be judged; start from an empty target (--flush-before)`,
          ),
        ]
      : []),
    // Legal for a cache, and yet one place's doing: the incident may look like this, where nothing is written.
    ...(verdict === 'pass' && culprits.some(({ of }) => of === 'lost')
      ? [
          palette.warn(
            "  what was lost has something in common, see below: to fail on it, say --threshold 'drift.lost < 0.5%'",
          ),
        ]
      : []),
    ...(failed > 0 ? [palette.warn(`  the targets refused ${plural(failed, 'key')} of the prefill`)] : []),
  ];
}

/** What does not hold for a replay that was divided, and what of it is lost. */
function divided(report: Report, palette: Palette): string[] {
  const sentence = shardsSentence(report);
  if (report.shards?.all.some(({ lost }) => lost !== null) === true)
    // Where nothing else is wrong, the gist has said so.
    return plain(gistOf(report)) === plain(reasonOf(report))
      ? []
      : [palette.warn(`  ${plain(reasonOf(report))}`)];
  return sentence === undefined ? [] : [palette.dim(`  ${plain(sentence)}`)];
}

function renderFinding({ class: kindClass, kind, count, examples }: Finding, palette: Palette): string[] {
  if (kindClass === 'untestable') return [];
  const color = kindClass === 'violation' ? palette.bad : palette.warn;
  const shown = examples.slice(0, kindClass === 'violation' ? EXAMPLES_SHOWN : 1);
  const head = `  ${color(`${kindClass}: ${kind}`)} ×${figure(count)}`;
  return [head, ...shown.flatMap((example) => renderExample(example, palette)), ''];
}

function renderExample(example: Example, palette: Palette): string[] {
  const { index, connection, server, opcode, key, atSeconds, expected, actual, why } = example;
  const where = `at ${atSeconds.toFixed(3)} s on ${server}, connection ${connection}, exchange ${index}`;
  return [
    `    ${palette.strong(`${opcode} ${visible(key)}`)} ${palette.dim(where)}`,
    ...(isTold(expected) ? [`      expected  ${fields(expected)}`] : []),
    `      got       ${fields(actual)}`,
    `      ${why}`,
  ];
}

function attribution({ attribution: all }: Report, palette: Palette): string[] {
  if (all.length === 0) return [];
  const lines = all.map(
    (culprit) =>
      `    ${culpritSentence(culprit)
        .map((part) => (typeof part === 'string' ? part : palette.strong(visible(part.quoted))))
        .join('')}`,
  );
  return [`  ${palette.bad('what failures share')}`, ...lines, ''];
}

/** How many nines a recording that was judged by itself has, and when hit rates broke. */
function consistency({ audit }: Report, palette: Palette): string[] {
  if (audit === undefined) return [];
  const { all, servers: byServer, partitions, tenants, breaks } = audit;
  const rows = [
    ...Array.from(byServer, (one) => ({ what: `server ${visible(one.server)}`, one, of: byServer })),
    ...Array.from(partitions, (one) => ({
      what: `partition ${visible(one.partition)}`,
      one,
      of: partitions,
    })),
    ...Array.from(tenants, (one) => ({ what: `tenant ${visible(one.tenant)}`, one, of: tenants })),
  ].filter(({ of }) => of.length > 1);
  return [
    '',
    `  consistency: ${consistencySentence(all)}`,
    ...rows.map(({ what, one }) => {
      const line = `    ${what}: ${consistencySentence(one)}`;
      return one.wrong > 0 ? palette.bad(line) : line;
    }),
    ...breaks.map((broken) => `  ${palette.warn(plain(breakSentence(broken)))}`),
  ];
}

function servers({ servers: all }: Report, palette: Palette): string[] {
  const width = Math.max(6, ...all.map(({ address }) => address.length));
  return [
    `  ${'server'.padEnd(width)}   exchanges  hit rate  recorded    drift  violations`,
    ...all.map((server) => {
      const line = `  ${server.address.padEnd(width)} ${figure(server.exchanges).padStart(11)} ${percent(server.hitRate).padStart(9)} ${percent(server.recordedHitRate).padStart(9)} ${figure(server.drift).padStart(8)} ${figure(server.violations).padStart(11)}`;
      return server.violations > 0 ? palette.bad(line) : line;
    }),
    ...all
      .filter(({ losses }) => losses.lost > 0)
      .map((server) => `  ${server.address}: ${lossesOf(server)}`),
  ];
}

function coverage({ coverage: { cells, minimum, covered, backends } }: Report, palette: Palette): string[] {
  // Targets alone are in the table above.
  if (covered === backends && cells.every(({ target, backend }) => target === backend)) return [];
  const width = Math.max(...cells.map(({ backend }) => backend.length));
  const several = new Set(cells.map(({ target }) => target)).size > 1;
  return [
    '',
    `  coverage: ${covered} of ${backends} have ${plural(minimum, 'answer')} or more`,
    ...cells.map(({ target, backend, exchanges, covered: enough }) => {
      const line = `    ${backend.padEnd(width)} ${figure(exchanges).padStart(11)}${several ? `  through ${target}` : ''}`;
      return enough ? line : palette.warn(`${line}  not evaluated`);
    }),
  ];
}

function drills({ drills: all }: Report, palette: Palette): string[] {
  return all.flatMap(({ name, atSeconds, tookSeconds, exitCode, output, servers: places }) => {
    const how =
      exitCode === 0
        ? `took ${tookSeconds.toFixed(2)} s`
        : palette.bad(
            `${exitCode === null ? 'did not end' : `exit code ${exitCode}`}: ${visible(output.trim())}`,
          );
    const width = Math.max(...places.map(({ server }) => server.length));
    return [
      '',
      `  drill at ${atSeconds.toFixed(3)} s: ${palette.strong(visible(name))}, ${how}`,
      ...places.map((place) => {
        const { server, errors, lost, firstErrorSeconds, recoverySeconds, recovered } = place;
        const trouble =
          errors === 0
            ? palette.good('no error')
            : `${plural(errors, 'error')}, the first after ${firstErrorSeconds!.toFixed(3)} s, ${recovered === true ? `recovered after ${recoverySeconds!.toFixed(3)} s` : palette.bad(recovered === false ? 'never recovered' : 'not seen to recover')}`;
        const rates = `hit rate ${percent(place.hitRateBefore)} before, ${percent(place.hitRateAfter)} at the end`;
        return `    ${server.padEnd(width)}  ${trouble}, ${figure(lost)} lost, ${rates}`;
      }),
    ];
  });
}

function row(name: string, of: Percentiles): string {
  const points = ['p50', 'p90', 'p99', 'p999', 'max'] as const;
  return `  ${name.padEnd(24)} ${points.map((point) => micros(of[point]).padStart(9)).join('')}`;
}

/** The tenants that waited longest, where there are several. */
function slowest(byTenant: Record<string, Percentiles>): string[] {
  const all = Object.entries(byTenant);
  if (all.length < 2) return [];
  return all
    .toSorted(([, a], [, b]) => (b.p99 ?? 0) - (a.p99 ?? 0))
    .slice(0, TENANTS_SHOWN)
    .map(([name, of]) => row(name === '' ? 'without a tenant' : `tenant ${visible(name)}`, of));
}

/** The baseline, where there is one: what it has, and the targets have not, is not the release's doing. */
function besides({ baseline, exchanges, violations, drift }: Report, palette: Palette): string[] {
  if (baseline === undefined) return [];
  const kinds = (name: string, here: Record<string, number>, there: Record<string, number>): string[] =>
    [...new Set([...Object.keys(here), ...Object.keys(there)])].map((kind) =>
      sideBySide(`${name} ${kind}`, here[kind] ?? 0, there[kind] ?? 0),
    );
  return [
    '',
    palette.dim(`  ${''.padEnd(24)} ${'target'.padStart(11)} ${'baseline'.padStart(11)}`),
    sideBySide('matched', exchanges.matched, baseline.exchanges.matched),
    ...kinds('drift', drift, baseline.drift),
    ...kinds('violation', violations, baseline.violations),
    ...(baseline.changes.length === 0
      ? [palette.good('  nothing differs by more than chance')]
      : [
          palette.warn('  beyond chance'),
          ...baseline.changes.map(({ metric, candidate, baseline: before, unit, isRegression }) => {
            const line = `    ${metric.padEnd(34)} ${changed(candidate, unit).padStart(9)} ${changed(before, unit).padStart(9)}`;
            return isRegression ? palette.bad(`${line}  regression`) : line;
          }),
        ]),
  ];
}

function sideBySide(name: string, here: number, there: number): string {
  return `  ${name.padEnd(24)} ${figure(here).padStart(11)} ${figure(there).padStart(11)}`;
}

function timing({ latencyMicros, schedule, verdict, audit }: Report, palette: Palette): string[] {
  const { maxLagMicros, lagMicros } = schedule;
  if (audit !== undefined)
    return [
      '',
      `  ${'latency'.padEnd(24)} ${['p50', 'p90', 'p99', 'p99.9', 'max'].map((name) => name.padStart(9)).join('')}`,
      row('recorded', latencyMicros.recorded),
      ...slowest(latencyMicros.byTenant),
    ];
  return [
    '',
    `  ${'latency'.padEnd(24)} ${['p50', 'p90', 'p99', 'p99.9', 'max'].map((name) => name.padStart(9)).join('')}`,
    row('from the intended time', latencyMicros.fromIntended),
    row('from the sending', latencyMicros.fromSent),
    row('recorded', latencyMicros.recorded),
    ...slowest(latencyMicros.byTenant),
    ...(schedule.speed === 'max'
      ? []
      : [
          row('sent late by memtape', schedule.lagMicros),
          row('waited for the target', schedule.blockedMicros),
        ]),
    ...(verdict === 'invalid' && maxLagMicros !== null
      ? [
          palette.warn(
            `  we were late ourselves (1% of requests by ${micros(lagMicros.p99)} or more, allowed are ${micros(maxLagMicros)}): latency is not judged; lower --speed or --rate, or use a quieter machine`,
          ),
        ]
      : []),
  ];
}

function incidents({ incidents: all }: Report, palette: Palette): string[] {
  if (all.count === 0) return [];
  return [
    '',
    `  ${palette.warn(`connection trouble ×${figure(all.count)}`)}`,
    ...all.examples
      .slice(0, EXAMPLES_SHOWN)
      .map(
        ({ atSeconds, server, connection, note }) =>
          `    at ${atSeconds.toFixed(3)} s ${server}, connection ${connection}: ${note}`,
      ),
  ];
}

function renderThreshold(threshold: EvaluatedThreshold, palette: Palette): string {
  const { expression } = threshold;
  const outcome = outcomeOf(threshold);
  if (outcome === 'no samples') return `  ${palette.warn(outcome)}  ${expression}`;
  if (outcome === 'ok') return `  ${palette.good(outcome)}  ${expression}`;
  return `  ${palette.bad(outcome)}  ${expression} (got ${valueOf(threshold)})`;
}
