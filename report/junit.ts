// Reports as JUnit XML, in the dialect that Jenkins, GitLab and others read: a suite for each report, a case for each
// threshold and each kind of finding.

import type { Finding } from '../diff/verdict.ts';
import { fields, isTold, plural, visible } from './format.ts';
import type { EvaluatedThreshold, NamedReport, Report } from './shape.ts';
import { deedOf, gistOf, meaningOf, plain, reasonOf, valueOf, verdictNames } from './words.ts';

type Outcome = 'passed' | 'failure' | 'error' | 'skipped';

interface Case {
  group: string;
  name: string;
  outcome: Outcome;
  /** What its outcome says in a line; unused where it passed. */
  message: string;
  /** What is behind it; empty: nothing to tell. */
  details: string;
}

const EXAMPLES_SHOWN = 3;

export function renderJunit(reports: readonly NamedReport[]): string {
  const suites = reports.map(({ name, report }) => ({ name, report, cases: casesOf(report) }));
  const all = suites.flatMap(({ cases }) => cases);
  const seconds = suites.reduce((sum, { report }) => sum + report.schedule.durationSeconds, 0);
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="memtape" ${totals(all)} time="${seconds.toFixed(3)}">`,
    ...suites.flatMap((suite) => renderSuite(suite)),
    '</testsuites>',
    '',
  ].join('\n');
}

function renderSuite({ name, report, cases }: NamedReport & { cases: Case[] }): string[] {
  return [
    `  <testsuite name="${xml(name)}" ${totals(cases)} skipped="${having(cases, 'skipped')}" time="${report.schedule.durationSeconds.toFixed(3)}">`,
    '    <properties>',
    ...propertiesOf(report).map(
      ([key, value]) => `      <property name="${xml(key)}" value="${xml(value)}"/>`,
    ),
    '    </properties>',
    ...cases.map((one) => renderCase(name, one)),
    `    <system-out>${xml(summaryOf(report).join('\n'))}</system-out>`,
    '  </testsuite>',
  ];
}

/** Lines: what was done and how it came out, what is wrong, and why; the reason once, where it is what is wrong. */
function summaryOf(report: Report): string[] {
  const [gist, reason] = [plain(gistOf(report)), plain(reasonOf(report))];
  return [`${verdictNames[report.verdict]}: ${deedOf(report)}`, ...new Set([gist, reason])];
}

function casesOf(report: Report): Case[] {
  return [
    verdictCase(report),
    ...report.thresholds.map((threshold) => thresholdCase(threshold, report)),
    ...report.findings.map((finding) => findingCase(finding)),
  ];
}

/** Whether there is a verdict at all: what a replay that proves nothing fails by. */
function verdictCase(report: Report): Case {
  const isReached = report.verdict === 'pass' || report.verdict === 'fail';
  return {
    group: 'verdict',
    name: 'a verdict was reached',
    outcome: isReached ? 'passed' : 'error',
    message: `${verdictNames[report.verdict]}: ${plain(gistOf(report))}`,
    details: '',
  };
}

function thresholdCase(threshold: EvaluatedThreshold, report: Report): Case {
  const { expression, ok, evaluated } = threshold;
  return {
    group: 'thresholds',
    name: expression,
    outcome: !evaluated ? 'skipped' : ok ? 'passed' : 'failure',
    message: evaluated
      ? `crossed: got ${valueOf(threshold)}. ${plain(gistOf(report))}`
      : 'there was nothing to measure it by',
    details: '',
  };
}

function findingCase({ class: kindClass, kind, count, examples }: Finding): Case {
  const told = examples.slice(0, EXAMPLES_SHOWN).flatMap((example) => {
    const { opcode, key, atSeconds, server, connection, index, expected, actual, why } = example;
    const wanted = isTold(expected) ? `\n  expected  ${fields(expected)}` : '';
    return [
      `${opcode} ${visible(key)} at ${atSeconds.toFixed(3)} s on ${server}, connection ${connection}, exchange ${index}${wanted}`,
      `  got       ${fields(actual)}`,
      `  ${why}`,
    ];
  });
  return {
    group: kindClass,
    name: kind,
    outcome: kindClass === 'violation' ? 'failure' : 'passed',
    message: `${plural(count, 'time')}: ${meaningOf(kind)}`,
    details: [`${plural(count, 'time')}: ${meaningOf(kind)}`, ...told].join('\n'),
  };
}

function renderCase(suite: string, { group, name, outcome, message, details }: Case): string {
  const open = `    <testcase classname="${xml(`memtape.${suite.replaceAll('.', '_')}.${group}`)}" name="${xml(name)}" time="0"`;
  const text = xml(details);
  if (outcome === 'passed')
    return text === '' ? `${open}/>` : `${open}><system-out>${text}</system-out></testcase>`;
  const type = outcome === 'skipped' ? '' : ` type="${xml(group)}"`;
  return `${open}><${outcome} message="${xml(message)}"${type}>${text}</${outcome}></testcase>`;
}

function having(cases: readonly Case[], outcome: Outcome): number {
  return cases.filter((one) => one.outcome === outcome).length;
}

function totals(cases: readonly Case[]): string {
  return `tests="${cases.length}" failures="${having(cases, 'failure')}" errors="${having(cases, 'error')}"`;
}

function propertiesOf({ environment, schedule, verdict }: Report): [string, string][] {
  return [
    ['verdict', verdict],
    ['version', environment.version],
    ['node', environment.node],
    ['trace', environment.trace],
    ['targets', environment.targets.join(', ')],
    ['speed', schedule.rate ?? String(schedule.speed)],
    ['order', schedule.order],
  ];
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&apos;',
};

/** Text or an attribute's value; what XML 1.0 has no characters for is shown as its code. */
function xml(text: string): string {
  return text
    .replace(
      // oxlint-disable-next-line no-control-regex
      /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]/g,
      (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
    )
    .replace(/[&<>"']/g, (char) => entities[char]!);
}
