// Comparisons of two streams for people: a table, and a drawing.

import { names, popularityOf, type Curves, type FidelityRow } from './fidelity.ts';
import { BINS_PER_DOUBLING, type Summary, type Tally } from './summary.ts';

const marks = { better: '✓✓', ok: '✓', missed: '✗ off' } as const;

/** What the marks of the table mean. */
export const legend =
  'apart: how much b differs from a. ✓✓ as near as one can hope for, ✓ within the goal, ✗ not.\nIRM: independent draws from the popularity of a; what a model must beat.\n';

/** A table for a terminal of 80 columns; with the baseline's rows, its differences in the last column, under `title`. */
export function renderFidelity(
  rows: readonly FidelityRow[],
  independent: readonly FidelityRow[] = [],
  title = 'IRM',
): string {
  const beside = new Map(independent.map((row) => [row.metric, row.difference]));
  const cells = rows.map((row) => [
    row.metric,
    figure(row.a),
    figure(row.b),
    figure(row.difference),
    figure(row.goal),
    marks[markOf(row)],
    beside.has(row.metric) ? figure(beside.get(row.metric)!) : '',
  ]);
  const widths = [31, 9, 9, 8, 7, 8, 8];
  return [['', 'a', 'b', 'apart', 'goal', '', independent.length > 0 ? title : ''], ...cells]
    .map((line) => line.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))))
    .map((line) => `${line.join('').trimEnd()}\n`)
    .join('');
}

/** Lines of a panel, in parts of its width and height. */
type Line = readonly (readonly [x: number, y: number])[];

interface Panel {
  title: string;
  /** The row of the table that says how near they are. */
  metric: string;
  /** Below the left and right end. */
  from: string;
  to: string;
  /** Beside the bottom and the top. */
  low: string;
  high: string;
  a: Line;
  b: Line;
  independent?: Line;
}

const WIDTH = 230;
const HEIGHT = 140;
const COLUMNS = 3;
const styles = {
  independent: 'stroke="#888" stroke-dasharray="1 3"',
  a: 'stroke="#2a7"',
  b: 'stroke="#d63" stroke-dasharray="6 4"',
} as const;
const colours = { better: '#2a7', ok: '#2a7', missed: '#c33' } as const;

/** An SVG with a panel for each policy's miss ratios: `a` solid, `b` dashed, independent draws dotted. For light and dark pages. */
export function drawCurves(panels: readonly Curves[], rows: readonly FidelityRow[] = []): string {
  return drawn(panels.map(missRatioPanel), rows);
}

/** Draws the curves, and panels for all else that is compared. */
export function drawFidelity(
  a: Summary,
  b: Summary,
  panels: readonly Curves[],
  rows: readonly FidelityRow[],
): string {
  const all = panels.map(missRatioPanel);
  all.push(popularityPanel(a, b));
  const shares: [string, string, string, Tally, Tally, (value: number) => number][] = [
    ['Sizes of values', 'value bytes', ' B', a.valueBytes, b.valueBytes, (bytes) => bytes + 1],
    ['Sizes of keys', 'key bytes', ' B', a.keyBytes, b.keyBytes, (bytes) => bytes + 1],
    ['Expiries', 'expiries', ' s', a.ttls, b.ttls, (seconds) => seconds + 1],
    ['Gaps', 'gaps', ' µs', a.gaps, b.gaps, (bin) => 2 ** (bin / BINS_PER_DOUBLING) / 1000],
  ];
  for (const [title, metric, unit, left, right, valueOf] of shares)
    if (left.size > 0 && right.size > 0) all.push(sharesPanel(title, metric, unit, left, right, valueOf));
  if (a.dispersion.length > 0 && b.dispersion.length > 0) all.push(dispersionPanel(a, b));
  return drawn(all, rows);
}

function missRatioPanel({ policy, sizes, a, b, independent }: Curves): Panel {
  const scale = Math.log(Math.max(sizes.at(-1)!, 2));
  const line = (ratios: Float64Array): Line =>
    Array.from(ratios, (ratio, i) => [Math.log(sizes[i]!) / scale, ratio] as const);
  return {
    title: `Miss ratios, ${names[policy]}`,
    metric: `${names[policy]} miss`,
    from: '1',
    to: `${sizes.at(-1)!.toLocaleString('en')} objects`,
    low: '0',
    high: '1',
    a: line(a),
    b: line(b),
    independent: line(independent),
  };
}

/** Objects by how often they are asked for, both logarithmic: the share of them that is asked for as often or more. */
function popularityPanel(a: Summary, b: Summary): Panel {
  const tallies = [popularityOf(a), popularityOf(b)].map((tally) => [...tally].toSorted(([x], [y]) => y - x));
  const most = Math.log(Math.max(2, ...tallies.map((tally) => tally[0]?.[0] ?? 2)));
  const least = Math.log(1 / Math.max(2, a.footprint, b.footprint));
  const [left, right] = tallies.map((tally): Line => {
    const all = tally.reduce((sum, [, objects]) => sum + objects, 0);
    let above = 0;
    return tally.map(([count, objects]) => {
      above += objects;
      return [Math.log(count) / most, 1 - Math.log(above / all) / least] as const;
    });
  });
  return {
    title: 'Objects asked for at least so often',
    metric: 'references per object',
    from: 'once',
    to: `${Math.round(Math.exp(most)).toLocaleString('en')} times`,
    low: 'one',
    high: 'all',
    a: left!,
    b: right!,
  };
}

/** The share of requests with at most so much, which is logarithmic. */
function sharesPanel(
  title: string,
  metric: string,
  unit: string,
  a: Tally,
  b: Tally,
  valueOf: (value: number) => number,
): Panel {
  const values = [...a.keys(), ...b.keys()];
  const [low, high] = [values.reduce((x, y) => Math.min(x, y)), values.reduce((x, y) => Math.max(x, y))];
  const [from, to] = [Math.log(valueOf(low)), Math.log(valueOf(high))];
  const line = (tally: Tally): Line => {
    const all = [...tally.values()].reduce((sum, count) => sum + count, 0);
    let below = 0;
    const points: [number, number][] = [];
    for (const [value, count] of [...tally].toSorted(([x], [y]) => x - y)) {
      const x = (Math.log(valueOf(value)) - from) / Math.max(to - from, 1e-9);
      points.push([x, below / all]);
      below += count;
      points.push([x, below / all]);
    }
    return [[0, 0], ...points, [1, 1]];
  };
  const shown = (value: number): string => (unit === ' µs' ? plain(valueOf(value), 2) : plain(value, 9));
  return {
    title,
    metric,
    from: `${shown(low)}${unit}`,
    to: `${shown(high)}${unit}`,
    low: '0',
    high: 'all',
    a: line(a),
    b: line(b),
  };
}

/** Variance over mean by the length of windows, both logarithmic. */
function dispersionPanel(a: Summary, b: Summary): Panel {
  const all = [...a.dispersion, ...b.dispersion];
  const indexes = all.map(({ index }) => Math.max(index, 1e-3));
  const [low, high] = [Math.min(...indexes) / 1.5, Math.max(...indexes) * 1.5];
  const [from, to] = [
    Math.min(...all.map(({ windowMs }) => windowMs)),
    Math.max(...all.map(({ windowMs }) => windowMs)),
  ];
  const line = ({ dispersion }: Summary): Line =>
    dispersion.map(({ windowMs, index }) => [
      to === from ? 0.5 : Math.log(windowMs / from) / Math.log(to / from),
      Math.log(Math.max(index, 1e-3) / low) / Math.log(high / low),
    ]);
  return {
    title: 'Dispersion by window (1: Poisson)',
    metric: 'dispersion',
    from: `${from} ms`,
    to: `${to} ms`,
    low: plain(low, 1),
    high: plain(high, 2),
    a: line(a),
    b: line(b),
  };
}

function plain(value: number, digits: number): string {
  return Number(value.toPrecision(digits)).toLocaleString('en', { maximumFractionDigits: 4 });
}

function drawn(panels: readonly Panel[], rows: readonly FidelityRow[]): string {
  const columns = Math.min(COLUMNS, panels.length);
  const parts = panels.map((panel, at) => {
    const left = 44 + (at % columns) * (WIDTH + 44);
    const top = 56 + Math.floor(at / columns) * (HEIGHT + 66);
    const bottom = top + HEIGHT;
    const lines = (['independent', 'a', 'b'] as const).flatMap((which) => {
      const line = panel[which];
      if (line === undefined) return [];
      const points = line.map(
        ([x, y]) => `${(left + x * WIDTH).toFixed(1)},${(bottom - y * HEIGHT).toFixed(1)}`,
      );
      return [`<polyline fill="none" stroke-width="1.5" ${styles[which]} points="${points.join(' ')}"/>`];
    });
    return [
      `<rect x="${left}" y="${top}" width="${WIDTH}" height="${HEIGHT}" fill="none" stroke="#8884"/>`,
      `<text x="${left}" y="${top - 8}" font-weight="bold">${panel.title}</text>`,
      `<text x="${left - 5}" y="${top + 10}" text-anchor="end">${panel.high}</text>`,
      `<text x="${left - 5}" y="${bottom}" text-anchor="end">${panel.low}</text>`,
      `<text x="${left}" y="${bottom + 16}">${panel.from}</text>`,
      `<text x="${left + WIDTH}" y="${bottom + 16}" text-anchor="end">${panel.to}</text>`,
      ...lines,
      verdict(panel, rows, left + WIDTH / 2, bottom + 32),
    ].join('\n');
  });
  const width = 44 + columns * (WIDTH + 44);
  const height = 56 + Math.ceil(panels.length / columns) * (HEIGHT + 66);
  const title = 'a: the original, solid · b: the synthetic stream, dashed · independent draws, dotted';
  const key = (['a', 'b', 'independent'] as const).map((which, n) => {
    const x = 44 + n * 200;
    const says = { a: 'a, the original', b: 'b, what is compared', independent: 'independent draws' }[which];
    return `<line x1="${x}" y1="16" x2="${x + 30}" y2="16" stroke-width="2" ${styles[which]}/><text x="${x + 38}" y="20">${says}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12" fill="#777"><title>${title}</title>\n${key.join('\n')}\n${parts.join('\n')}\n</svg>\n`;
}

/** How far apart they are, the worst of a panel's rows, beside the goal. */
function verdict({ metric }: Panel, rows: readonly FidelityRow[], x: number, y: number): string {
  const own = rows.filter((row) => row.metric.startsWith(metric));
  if (own.length === 0) return '';
  const worst = own.reduce((one, row) => (row.difference / row.goal > one.difference / one.goal ? row : one));
  const mark = markOf(worst);
  return `<text x="${x}" y="${y}" text-anchor="middle" fill="${colours[mark]}">${marks[mark]} ${figure(worst.difference)} apart, goal ${figure(worst.goal)}</text>`;
}

function markOf({ difference, stretch, ok }: FidelityRow): keyof typeof marks {
  return difference <= stretch ? 'better' : ok ? 'ok' : 'missed';
}

/** Three figures behind the point for what is small, none for what is large. */
function figure(value: number): string {
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return value.toFixed(size < 10 ? 4 : size < 1_000 ? 1 : 0).replace(/^(-?)0\./, '$1.');
}
