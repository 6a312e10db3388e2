// The search as one HTML page: what was found and why, the curve of latency over rate, and a row for each step. It needs no
// script, and its policy lets none run.

import { documentOf } from '../report/document.ts';
import { figure, micros, visible } from '../report/format.ts';
import { style } from '../report/style.ts';
import { rateOf, type CapacityReport } from './report.ts';
import { headlineOf, outcomeNames, sorted } from './text.ts';
import type { Measured, Step } from './step.ts';

const WIDTH = 1040;
const HEIGHT = 380;
const LEFT = 76;
const RIGHT = 24;
const TOP = 34;
const BOTTOM = 52;

const css = `${style}
.curve { inline-size: 100%; block-size: auto; display: block; }
.curve text { font: 12px system-ui, sans-serif; fill: var(--muted); }
.curve .grid { stroke: var(--line); stroke-width: 1; }
.curve .edge { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 5 4; }
.curve .p50 { stroke: var(--second); }
.curve .p99 { stroke: var(--accent); }
.curve .p999 { stroke: var(--muted); }
.curve .before { stroke-dasharray: 4 4; opacity: .75; }
.curve path { fill: none; stroke-width: 2; }
.curve .holds { fill: var(--good); }
.curve .fails { fill: var(--bad-fill); }
.curve .void, .curve .thin { fill: var(--warn-fill); }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; color: var(--muted); font-size: .85rem; margin: .5rem 0 0; }
.legend svg { width: 1.6rem; height: .7rem; vertical-align: middle; }
`;

export function renderCapacityPage(report: CapacityReport): string {
  const tone = { pass: 'good', fail: 'bad' }[report.verdict as 'pass' | 'fail'] ?? 'warn';
  const { environment, settings, thresholds, atLeast, ceiling } = report;
  const title = `${text(headlineOf(report))}: memtape capacity`;
  const body = `<header class="top"><span class="brand">memtape</span><span class="name">${text(environment.source)} to ${text(environment.targets.join(', '))}</span></header>
<main id="main">
<article>
<section class="verdict ${tone}" aria-labelledby="found">
<h1 id="found">${text(headlineOf(report))}</h1>
<p class="lead">${text(report.reason)}</p>
${atLeast === null ? '' : `<p>It has to be at least ${text(rateOf(atLeast))}: ${(ceiling ?? 0) >= atLeast ? 'it is' : 'it is not'}.</p>`}
</section>
<section><h2>Latency by rate</h2>${curve(report)}${legend(report)}</section>
<section><h2>Steps</h2>${table(report)}</section>
<section><h2>What was asked</h2><dl class="facts">
${fact('Has to hold', thresholds.join(', '))}
${fact('Each step', `${settings.stepSeconds} s after ${settings.warmupSeconds} s of warm-up; the rate that is told was tried ${figure(settings.repeats)} times or more`)}
${fact('Sent late by memtape', `a step in which memtape sent 1% of the requests late by ${micros(settings.maxLagMicros)} or more, and which does not hold, is void`)}
${fact('Order', settings.order)}
${environment.baseline.length === 0 ? '' : fact('Baseline', environment.baseline.join(', '))}
${fact('memtape', `${environment.version}, Node.js ${environment.node}`)}
</dl></section>
</article>
</main>
<footer>Latency counts from the time at which a request was due, so that requests which waited for their turn count with what they waited.</footer>`;
  return documentOf({ title, css, body });
}

/** Text from anywhere, as text of a page. */
function text(from: string): string {
  return visible(from).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}

function fact(name: string, value: string): string {
  return `<div><dt>${text(name)}</dt><dd>${text(value)}</dd></div>`;
}

type Point = 'p50' | 'p99' | 'p999';
const points: readonly Point[] = ['p50', 'p99', 'p999'];
const pointNames: Readonly<Record<Point, string>> = { p50: 'p50', p99: 'p99', p999: 'p99.9' };

interface Scale {
  x: (rate: number) => number;
  y: (micros: number) => number;
  rates: number[];
  latencies: number[];
}

function scaleOf(steps: readonly Step[]): Scale {
  const all = steps.flatMap(({ latencyMicros, baseline }) =>
    [latencyMicros, baseline?.latencyMicros].flatMap((one) =>
      points.map((point) => one?.fromIntended[point]),
    ),
  );
  const latencies = all.filter((value) => value !== undefined && value > 0) as number[];
  const low = 10 ** Math.floor(Math.log10(Math.min(1000, ...latencies)));
  const high = Math.max(low * 10, 10 ** Math.ceil(Math.log10(Math.max(1000, ...latencies))));
  const most = Math.max(1, ...steps.map(({ rate }) => rate)) * 1.05;
  const step = niceStep(most / 6);
  const powers = Math.round(Math.log10(high / low));
  return {
    x: (rate) => LEFT + (rate / most) * (WIDTH - LEFT - RIGHT),
    y: (value) =>
      HEIGHT - BOTTOM - (Math.log10(Math.max(low, value) / low) / powers) * (HEIGHT - TOP - BOTTOM),
    rates: Array.from({ length: Math.floor(most / step) + 1 }, (_, n) => n * step),
    latencies: Array.from({ length: powers + 1 }, (_, n) => low * 10 ** n),
  };
}

/** 1, 2 or 5 times a power of ten. */
function niceStep(about: number): number {
  const power = 10 ** Math.floor(Math.log10(about));
  return power * ([1, 2, 5, 10].find((times) => times * power >= about) ?? 10);
}

function curve({ steps, ceiling, above }: CapacityReport): string {
  const ordered = sorted(steps);
  const scale = scaleOf(ordered);
  const { x, y, rates, latencies } = scale;
  const bottom = HEIGHT - BOTTOM;
  const label = `Latency by rate; ${ceiling === null ? 'no rate holds' : `the highest rate that holds is ${rateOf(ceiling)}`}`;
  return `<svg class="curve" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${text(label)}">
${latencies.map((value) => `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(value)}" y2="${y(value)}"/><text x="${LEFT - 8}" y="${y(value) + 4}" text-anchor="end">${micros(value)}</text>`).join('\n')}
${rates.map((rate) => `<text x="${x(rate)}" y="${bottom + 18}" text-anchor="middle">${figure(rate)}</text>`).join('\n')}
<text x="${WIDTH - RIGHT}" y="${HEIGHT - 10}" text-anchor="end">requests a second</text>
${above === null ? '' : `<line class="edge" x1="${x(above)}" x2="${x(above)}" y1="${TOP - 12}" y2="${bottom}"/><text x="${x(above)}" y="${TOP - 18}" text-anchor="middle">does not hold</text>`}
${points.map((point) => lineOf(ordered, point, scale)).join('\n')}
${points
  .map((point) =>
    lineOf(
      ordered.flatMap(({ rate, baseline }) => (baseline === undefined ? [] : [{ ...baseline, rate }])),
      point,
      scale,
      ' before',
    ),
  )
  .join('\n')}
${ordered.map(({ rate, outcome, latencyMicros }) => `<circle class="${outcome}" cx="${x(rate)}" cy="${y(latencyMicros.fromIntended.p99 ?? 0)}" r="4"><title>${text(`${figure(rate)}/s: ${outcomeNames[outcome]}`)}</title></circle>`).join('\n')}
</svg>`;
}

function lineOf(
  steps: readonly (Pick<Measured, 'latencyMicros'> & { rate: number })[],
  point: Point,
  { x, y }: Scale,
  more = '',
): string {
  const told = steps.flatMap(({ rate, latencyMicros }) => {
    const value = latencyMicros.fromIntended[point];
    return value === undefined ? [] : [`${x(rate).toFixed(1)},${y(value).toFixed(1)}`];
  });
  return told.length < 2 ? '' : `<path class="${point}${more}" d="M${told.join('L')}"/>`;
}

/** A piece of a line, as the curve has it; and a step. */
const swatch = (name: string, more = ''): string =>
  `<svg class="curve" viewBox="0 0 24 10" aria-hidden="true"><path class="${name}${more}" d="M0 5H24"/></svg>`;
const dot = (outcome: Step['outcome']): string =>
  `<svg class="curve" viewBox="0 0 24 10" aria-hidden="true"><circle class="${outcome}" cx="12" cy="5" r="4"/></svg>`;

function legend({ environment }: CapacityReport): string {
  return `<p class="legend">${points.map((point) => `<span>${swatch(point)} ${pointNames[point]}</span>`).join('')}${environment.baseline.length > 0 ? `<span>${swatch('p99', ' before')} the baseline</span>` : ''}<span>${dot('holds')} holds</span><span>${dot('fails')} does not hold</span><span>${dot('void')} void</span></p>`;
}

function table({ steps, environment }: CapacityReport): string {
  const hasBaseline = environment.baseline.length > 0;
  const names = ['Rate', 'Answered', 'p50', 'p99', 'p99.9', 'Late p99', 'Violations'];
  const numbers = [...names, ...(hasBaseline ? ['Baseline p99', 'Worse in'] : [])];
  const rows = sorted(steps).map((step) => {
    const { rate, achievedRate, latencyMicros, lagMicros, violations, outcome, reasons, baseline } = step;
    const { p50, p99, p999 } = latencyMicros.fromIntended;
    const wrong = Object.values(violations).reduce((sum, n) => sum + n, 0);
    const cells = [
      figure(rate),
      figure(Math.round(achievedRate)),
      ...[p50, p99, p999, lagMicros.p99].map((value) => micros(value)),
      figure(wrong),
      ...(hasBaseline
        ? [micros(baseline?.latencyMicros.fromIntended.p99), figure(baseline?.regressions ?? 0)]
        : []),
    ];
    const tone = { holds: 'good', fails: 'bad', void: 'warn', thin: 'warn' }[outcome];
    return `<tr>${cells.map((cell) => `<td class="number">${cell}</td>`).join('')}<td><span class="state ${tone}">${outcomeNames[outcome]}</span> ${text(reasons.join('; '))}</td></tr>`;
  });
  return `<div class="scroll" tabindex="0" role="region" aria-label="Steps"><table><thead><tr>${numbers.map((name) => `<th scope="col" class="number">${name}</th>`).join('')}<th scope="col">Outcome</th></tr></thead><tbody>
${rows.join('\n')}
</tbody></table></div>`;
}
