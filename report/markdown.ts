// Reports as Markdown for a pull request or the summary of a CI job. What comes from traffic stands in code spans only,
// where neither Markdown nor HTML means anything.

import type { Example, Finding } from '../diff/verdict.ts';
import { fields, figure, isTold, micros, percent, plural, visible } from './format.ts';
import type { NamedReport, Percentiles, Report, ReportVerdict } from './shape.ts';
import {
  changed,
  classesOf,
  culpritSentence,
  deedOf,
  gistOf,
  headerOf,
  meaningOf,
  nextSteps,
  outcomeOf,
  plain,
  reasonOf,
  valueOf,
  severity,
  verdictNames,
  worstOf,
  type Sentence,
} from './words.ts';

const FINDINGS_SHOWN = 12;
const EXAMPLES_SHOWN = 3;
/** Rows of a table; a summary has its limits, and the other renderings have all. */
const ROWS_SHOWN = 50;
const KEY_SHOWN = 300;

const signs: Readonly<Record<ReportVerdict, string>> = {
  pass: '✅',
  fail: '❌',
  insufficient: '⚠️',
  invalid: '⚠️',
  aborted: '⚠️',
};

/** GitHub takes summaries of 1,024 kB, and shows nothing of longer ones. */
const MOST_BYTES = 1_000_000;

/** How much of each report is written: the first of these with which all of them fit. */
type Detail = 'all' | 'findings' | 'verdicts';

const leftOut: Readonly<Record<Detail, string>> = {
  all: '',
  findings: 'the examples of findings',
  verdicts: 'all of each replay but its verdict',
};

export function renderMarkdown(reports: readonly NamedReport[]): string {
  for (const detail of ['all', 'findings'] as const) {
    const text = renderAll(reports, detail);
    if (Buffer.byteLength(text) <= MOST_BYTES) return `${text}${remark(leftOut[detail])}`;
  }
  // Tables are bounded, and so is what is left.
  return `${renderAll(reports, 'verdicts')}${remark(leftOut.verdicts)}`;
}

/** The worst first: a table shows so many rows, and what it leaves out passed. */
function worstFirst(reports: readonly NamedReport[]): NamedReport[] {
  return reports.toSorted((a, b) => severity.indexOf(a.report.verdict) - severity.indexOf(b.report.verdict));
}

function remark(what: string): string {
  if (what === '') return '';
  return `\n_Left out, since a summary has ${figure(MOST_BYTES / 1000)} kB at most: ${what}. The JSON and the HTML page have them._\n`;
}

function renderAll(reports: readonly NamedReport[], detail: Detail): string {
  const [only] = reports;
  if (reports.length === 1) return renderOne(only!, '##', detail);
  const worst = worstOf(reports);
  return [
    `## ${signs[worst]} memtape: ${verdictNames[worst]}`,
    '',
    ...table(
      ['Replay', 'Verdict', '>Requests', '>Violations', '>Drift'],
      (reports.length > ROWS_SHOWN ? worstFirst(reports) : reports).map(
        ({ name, report: { verdict, exchanges } }) => [
          code(name),
          `${signs[verdict]} ${verdictNames[verdict]}`,
          figure(exchanges.sent),
          figure(exchanges.violations),
          figure(exchanges.drift),
        ],
      ),
    ),
    '',
    ...(detail === 'verdicts' ? [] : reports.map((named) => renderOne(named, '###', detail))),
  ].join('\n');
}

function renderOne({ name, report }: NamedReport, level: string, detail: Detail): string {
  const sections: [title: string, lines: string[]][] = [
    ['', counts(report)],
    ['What failures share', bullets(report.attribution.map((culprit) => culpritSentence(culprit)))],
    ['What to do next', bullets(nextSteps(report))],
    ['Thresholds', thresholds(report)],
    ['Findings', findings(report, detail)],
    ['What differs from the baseline', changes(report)],
    ['Drills', drills(report)],
    ['Servers', servers(report)],
    ['Latency', latency(report)],
  ];
  const { verdict } = report;
  const [gist, reason] = [gistOf(report), reasonOf(report)];
  return [
    `${level} ${signs[verdict]} memtape: ${verdictNames[verdict]}, ${code(name)}`,
    '',
    `**${markup(gist)}** ${plain(gist) === plain(reason) ? '' : `${markup(reason)} `}${deedOf(report)}.`,
    '',
    headerOf(report, name)
      .map((one) => `${one.name} ${markup(one.value)}`)
      .join(' · '),
    '',
    ...sections.flatMap(([title, lines]) => titled(title, lines)),
  ].join('\n');
}

function findings({ findings: all }: Report, detail: Detail): string[] {
  const shown = all.slice(0, FINDINGS_SHOWN);
  if (detail === 'all') return shown.flatMap((finding) => renderFinding(finding));
  return bullets(
    shown.map(({ class: of, kind, count }) => [`${of}: ${kind} ×${figure(count)}, ${meaningOf(kind)}`]),
  );
}

function titled(title: string, lines: readonly string[]): string[] {
  if (lines.length === 0) return [];
  return title === '' ? [...lines, ''] : [`**${title}**`, '', ...lines, ''];
}

function counts({ exchanges, drift, violations, untestable, skipped }: Report): string[] {
  const [matched, differ, wrong, open, left] = classesOf(exchanges);
  const row = ([name, count, part]: typeof matched, kinds: Record<string, number>): string[] => [
    name,
    figure(count),
    part,
    kindsOf(kinds),
  ];
  return table(
    ['', '>Exchanges', '>Share', 'Kinds'],
    [row(matched, {}), row(wrong, violations), row(differ, drift), row(open, untestable), row(left, skipped)],
  );
}

function kindsOf(kinds: Record<string, number>): string {
  return Object.entries(kinds)
    .map(([kind, n]) => `${kind} ${figure(n)}`)
    .join(', ');
}

function thresholds({ thresholds: all }: Report): string[] {
  const said = { ok: '✅ holds', crossed: '❌ crossed', 'no samples': '⚠️ no samples' };
  return table(
    ['Threshold', '>Got', ''],
    all.map((threshold) => [code(threshold.expression), valueOf(threshold), said[outcomeOf(threshold)]]),
  );
}

function renderFinding({ class: kindClass, kind, count, examples }: Finding): string[] {
  return [
    // The blank line ends the HTML, so that Markdown holds inside.
    `<details><summary>${kindClass}: ${kind} ×${figure(count)}, ${meaningOf(kind)}</summary>`,
    '',
    ...examples.slice(0, EXAMPLES_SHOWN).flatMap((example) => renderExample(example)),
    '',
    '</details>',
    '',
  ];
}

function renderExample({
  opcode,
  key,
  atSeconds,
  server,
  connection,
  index,
  expected,
  actual,
  why,
}: Example): string[] {
  return [
    `- ${code(`${opcode} ${key}`.slice(0, KEY_SHOWN))} at ${atSeconds.toFixed(3)} s on ${code(server)}, connection ${connection}, exchange ${index}`,
    ...(isTold(expected) ? [`  - expected ${code(fields(expected))}`] : []),
    `  - got ${code(fields(actual))}`,
    `  - ${why.replaceAll(/[\\`*_{}[\]<>#|~@]/g, '\\$&')}`,
  ];
}

function changes({ baseline }: Report): string[] {
  if (baseline === undefined) return [];
  if (baseline.changes.length === 0) return ['Nothing, by more than chance.'];
  return table(
    ['Beyond chance', '>Target', '>Baseline', ''],
    baseline.changes.map(({ metric, candidate, baseline: before, unit, isRegression }) => [
      code(metric),
      changed(candidate, unit),
      changed(before, unit),
      isRegression ? '❌ regression' : '',
    ]),
  );
}

function drills({ drills: all }: Report): string[] {
  return table(
    ['Drill', '>At', 'Server', '>Errors', '>Lost', 'Recovered'],
    all.flatMap(({ name, atSeconds, servers: places }) =>
      places.map(({ server, errors, lost, recovered, recoverySeconds }) => [
        code(name),
        `${atSeconds.toFixed(1)} s`,
        code(server),
        figure(errors),
        figure(lost),
        recoverySeconds !== null
          ? `after ${recoverySeconds.toFixed(2)} s`
          : recovered === false
            ? 'no'
            : errors === 0
              ? 'no error'
              : 'not seen',
      ]),
    ),
  );
}

function servers({ servers: all }: Report): string[] {
  return table(
    ['Server', '>Exchanges', '>Hit rate', '>Recorded', '>Drift', '>Violations'],
    all.map((server) => [
      code(server.address),
      figure(server.exchanges),
      percent(server.hitRate),
      percent(server.recordedHitRate),
      figure(server.drift),
      figure(server.violations),
    ]),
  );
}

function latency({ latencyMicros }: Report): string[] {
  const points = ['p50', 'p90', 'p99', 'p999', 'max'] as const;
  const row = (name: string, of: Percentiles): string[] => [
    name,
    ...points.map((point) => micros(of[point])),
  ];
  return table(
    ['', '>p50', '>p90', '>p99', '>p99.9', '>max'],
    [
      row('from the intended time', latencyMicros.fromIntended),
      row('from the sending', latencyMicros.fromSent),
      row('recorded', latencyMicros.recorded),
    ],
  );
}

/** @param heads those with > are of numbers, and aligned to the right */
function table(heads: readonly string[], rows: readonly (readonly string[])[]): string[] {
  if (rows.length === 0) return [];
  const more = rows.length - ROWS_SHOWN;
  return [
    line(heads.map((head) => head.replace(/^>/, ''))),
    line(heads.map((head) => (head.startsWith('>') ? '--:' : ':--'))),
    ...rows.slice(0, ROWS_SHOWN).map((cells) => line(cells)),
    ...(more > 0 ? ['', `and ${plural(more, 'more row')}`] : []),
  ];
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}

function bullets(sentences: readonly Sentence[]): string[] {
  return sentences.map((sentence) => `- ${markup(sentence)}`);
}

function markup(sentence: Sentence): string {
  return sentence.map((part) => (typeof part === 'string' ? part : code(part.quoted))).join('');
}

/** A code span that its content cannot end; `|` would end a table's cell, even here. */
function code(text: string): string {
  const shown = visible(text).replaceAll('|', '\\x7c');
  if (shown.trim() === '') return '` `';
  const longest = Math.max(0, ...Array.from(shown.matchAll(/`+/g), ([run]) => run.length));
  const fence = '`'.repeat(longest + 1);
  const pad = longest > 0 ? ' ' : '';
  return `${fence}${pad}${shown}${pad}${fence}`;
}
