// The page from top to bottom: the verdict, what to do next, and then the evidence.

import { figure, share, shares } from '../format.ts';
import type { PageData, PageReport } from '../html.ts';
import { drawCharts, renderCharts, resizeCharts } from './charts.ts';
import { bar, el, lazy, quoted, section, spoken, table, unfold, type Child } from './dom.ts';
import { renderFindings } from './findings.ts';
import { renderHeat } from './heat.ts';
import {
  renderBaseline,
  renderCoverage,
  renderDrills,
  renderEnvironment,
  renderIncidents,
  renderLatency,
  renderServers,
  renderThresholds,
} from './tables.ts';

const CULPRITS_SHOWN = 2;

const data = JSON.parse(document.getElementById('data')!.textContent) as PageData;

function renderPage({ reports, verdict, meanings }: PageData): void {
  const [only] = reports;
  const isOne = reports.length === 1;
  document.body.append(
    el('a', { class: 'skip', href: '#main' }, 'Skip to the report'),
    el(
      'header',
      { class: 'top' },
      el('span', { class: 'brand' }, 'memtape'),
      el('span', { class: 'name' }, isOne ? quoted(only!.name) : `${figure(reports.length)} replays`),
      themeButton(),
    ),
    el(
      'main',
      { id: 'main', tabindex: -1 },
      isOne ? undefined : renderOverview(reports, verdict),
      reports.map((one, n) =>
        renderReport(one, { meanings, level: isOne ? 1 : 2, prefix: isOne ? '' : `r${n + 1}-` }),
      ),
    ),
    el(
      'footer',
      {},
      `memtape ${only?.report.environment.version ?? ''}. Everything that this page shows is in it.`,
    ),
  );
}

function renderOverview(reports: readonly PageReport[], verdict: string): HTMLElement {
  const worst = reports.find(({ words }) => words.verdict === verdict)?.report.verdict ?? 'aborted';
  return el(
    'section',
    { class: 'overview' },
    el('h1', { class: `state ${worst}` }, verdict),
    table(
      'Replays',
      [
        { name: 'Replay' },
        { name: 'Verdict' },
        { name: 'Requests', number: true },
        { name: 'Violations', number: true },
        { name: 'Drift', number: true },
        { name: 'In a sentence' },
      ],
      reports.map(({ name, report, words }, n) => [
        el('a', { href: `#r${n + 1}-verdict` }, quoted(name)),
        el('span', { class: `state ${report.verdict}` }, words.verdict),
        figure(report.exchanges.sent),
        figure(report.exchanges.violations),
        figure(report.exchanges.drift),
        el('span', { class: 'gist' }, spoken(words.gist)),
      ]),
    ),
  );
}

/** Short names of sections, so that the links to all of them fit into one line. */
const shortNames: Readonly<Record<string, string>> = {
  next: 'Next',
  shared: 'Shared',
  baseline: 'Baseline',
  connections: 'Connections',
};

interface Placing {
  meanings: PageData['meanings'];
  /** The level of its first heading. */
  level: number;
  /** What its ids begin with. */
  prefix: string;
}

function renderReport(one: PageReport, { meanings, level, prefix }: Placing): HTMLElement {
  const { report, words } = one;
  const sections: [id: string, title: string, content: Child[]][] = [
    ['heat', 'Where and when', renderHeat(report)],
    [
      'next',
      'What to do next',
      [
        el(
          'ol',
          { class: 'next' },
          words.next.map((step) => el('li', {}, spoken(step))),
        ),
      ],
    ],
    ['time', 'Over time', renderCharts(report)],
    ['shared', 'What failures share', renderAttribution(one)],
    ['counts', 'Answers', renderCounts(one)],
    ['thresholds', 'Thresholds', renderThresholds(one)],
    ['baseline', 'Beside the baseline', renderBaseline(report)],
    ['drills', 'Drills', renderDrills(report)],
    ['findings', 'Findings', renderFindings(report, meanings)],
    ['servers', 'Servers', renderServers(report)],
    ['latency', 'Latency', renderLatency(report)],
    ['coverage', 'Coverage', renderCoverage(report)],
    ['connections', 'Trouble with connections', renderIncidents(report)],
    ['environment', 'Environment', renderEnvironment(report)],
  ];
  const filled = sections.filter(([, , content]) => content.length > 0);
  return el(
    'article',
    {},
    el(
      'section',
      { class: `verdict ${report.verdict}`, 'aria-labelledby': `${prefix}verdict` },
      el('p', { class: 'eyebrow' }, prefix === '' ? [] : [quoted(one.name), ' · '], words.deed),
      el(`h${level}` as 'h1', { id: `${prefix}verdict` }, words.verdict),
      el('p', { class: 'lead' }, spoken(words.gist)),
      JSON.stringify(words.gist) === JSON.stringify(words.reason)
        ? undefined
        : el('p', { class: 'reason' }, spoken(words.reason)),
      el(
        'dl',
        { class: 'header' },
        words.header.map(({ name, value }) => el('div', {}, el('dt', {}, name), el('dd', {}, spoken(value)))),
      ),
    ),
    el(
      'nav',
      { 'aria-label': 'On this page' },
      filled.map(([id, title]) => el('a', { href: `#${prefix}${id}` }, shortNames[id] ?? title)),
    ),
    filled.map(([id, title, content]) => section(level + 1, `${prefix}${id}`, title, content)),
  );
}

function renderCounts({ report }: PageReport): Child[] {
  const { exchanges, violations, drift, untestable, skipped } = report;
  const { matched, drift: differ, violations: wrong, untestable: open, skipped: left } = exchanges;
  const parts = shares([matched, wrong, differ, open, left]);
  const rows: [name: string, count: number, kinds: Record<string, number>, tone: string][] = [
    ['Matched', matched, {}, 'good'],
    ['Violations', wrong, violations, 'bad'],
    ['Drift', differ, drift, 'warn'],
    ['Untestable', open, untestable, 'muted'],
    ['Skipped', left, skipped, 'muted'],
  ];
  return [
    el(
      'dl',
      { class: 'tiles' },
      rows.map(([name, count, kinds, tone], n) =>
        el(
          'div',
          { class: count > 0 ? `tile ${tone}` : 'tile' },
          el('dt', {}, name),
          el('dd', {}, el('span', { class: 'big' }, figure(count)), el('span', { class: 'share' }, parts[n])),
          Object.entries(kinds).map(([kind, n]) => el('dd', { class: 'of' }, `${kind} ${figure(n)}`)),
        ),
      ),
    ),
  ];
}

function renderAttribution({ words: { attribution } }: PageReport): Child[] {
  if (attribution.length === 0) return [];
  const rest = attribution.slice(CULPRITS_SHOWN);
  return [
    renderCulprits(attribution.slice(0, CULPRITS_SHOWN)),
    ...(rest.length === 0
      ? []
      : [lazy([`${figure(rest.length)} more, which explain less`], () => renderCulprits(rest))]),
  ];
}

function renderCulprits(culprits: PageReport['words']['attribution']): HTMLElement {
  return el(
    'ul',
    { class: 'culprits' },
    culprits.map(({ sentence, measures }) =>
      el(
        'li',
        {},
        el('p', {}, spoken(sentence)),
        el(
          'dl',
          { class: 'measures' },
          measures.map(({ name, share: part }, n) =>
            el(
              'div',
              {},
              el('dt', {}, name),
              el(
                'dd',
                {},
                bar(part, n === 0 ? 'bad' : 'muted'),
                el('span', { class: 'figure' }, share(part, 1)),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}

function themeButton(): HTMLElement {
  const root = document.documentElement;
  const system = matchMedia('(prefers-color-scheme: dark)');
  const isDark = (): boolean => (root.dataset['theme'] ?? (system.matches ? 'dark' : 'light')) === 'dark';
  const button = el('button', { type: 'button', class: 'theme' });
  const label = (): void => {
    button.textContent = isDark() ? 'Light' : 'Dark';
    button.setAttribute('aria-label', `Switch to ${isDark() ? 'light' : 'dark'} colours`);
  };
  label();
  button.addEventListener('click', () => {
    root.dataset['theme'] = isDark() ? 'light' : 'dark';
    label();
    drawCharts();
  });
  system.addEventListener('change', () => {
    label();
    drawCharts();
  });
  return button;
}

/** Paper shows everything, in light colours. */
function preparePrinting(): void {
  const root = document.documentElement;
  let closed: HTMLDetailsElement[] = [];
  let theme: string | undefined;
  addEventListener('beforeprint', () => {
    theme = root.dataset['theme'];
    root.dataset['theme'] = 'light';
    closed = [...document.querySelectorAll<HTMLDetailsElement>('details.finding:not([open])')];
    for (const details of closed) unfold(details);
    drawCharts();
  });
  addEventListener('afterprint', () => {
    if (theme === undefined) delete root.dataset['theme'];
    else root.dataset['theme'] = theme;
    for (const details of closed) details.open = false;
    drawCharts();
  });
}

renderPage(data);
drawCharts();
preparePrinting();
addEventListener('resize', resizeCharts);
