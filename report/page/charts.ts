// Charts over the time of a replay, each with a table that says the same.

import type UPlot from 'uplot';
import { figure, micros, percent } from '../format.ts';
import type { Report } from '../shape.ts';
import { el, lazy, table, type Child } from './dom.ts';

declare const uPlot: typeof UPlot;

type Points = (number | null)[];

interface Series {
  name: string;
  points: Points;
  /** A colour of the style: `accent`, `bad`. */
  tone: string;
  dashed?: boolean;
  /** From the axis up; others are lines. */
  as?: 'area' | 'bars';
  /** Where what is drawn is not what is meant, as in stacks. */
  told?: Points;
}

interface ChartOf {
  title: string;
  note: string;
  series: Series[];
  write: (value: number) => string;
  logarithmic?: boolean;
  /** Its values are whole numbers. */
  areCounts?: boolean;
  /** The axis ends here: 1 for a share. */
  upTo?: number;
}

/** Charts by their figures, made again when the colours change. */
const plots = new Map<HTMLElement, { chart: ChartOf; report: Report; plot: UPlot | undefined }>();
const HEIGHT = 190;
// oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- uPlot declares the enum, and exports no value of it
const LOGARITHMIC = 3 as UPlot.Scale.Distr.Logarithmic;
const MARKED_BINS = 40;
const wholeSteps = Array.from({ length: 10 }, (_, n) => 10 ** n).flatMap((step) => [
  step,
  2 * step,
  5 * step,
]);

export function renderCharts(report: Report): Child[] {
  const charts = chartsOf(report);
  return [
    ...(report.drills.length > 0 ? [drillList(report)] : []),
    el(
      'div',
      { class: 'charts' },
      charts.slice(0, CHARTS_SHOWN).map((chart) => renderChart(chart, report)),
    ),
    more(charts.slice(CHARTS_SHOWN), report),
  ];
}

/** What matters at first sight: what went wrong, how slow it was, what was found. */
const CHARTS_SHOWN = 3;

/** The rest, drawn when it is opened. */
function more(charts: readonly ChartOf[], report: Report): HTMLElement {
  const names = charts.map(({ title }) => title.toLowerCase()).join(', ');
  const folded = lazy([`${charts.length} more: ${names}`], () =>
    el(
      'div',
      { class: 'charts' },
      charts.map((chart) => renderChart(chart, report)),
    ),
  );
  folded.addEventListener('toggle', drawCharts);
  return folded;
}

function chartsOf({ timeline, schedule }: Report): ChartOf[] {
  const { latencyMicros, lagMicros, servers, binSeconds } = timeline;
  const length = lagMicros.p99.length;
  const sum = (name: 'requests' | 'reads' | 'hits' | 'drift' | 'violations'): number[] =>
    Array.from({ length }, (_, n) => servers.reduce((total, server) => total + (server[name][n] ?? 0), 0));
  const [requests, reads, hits, drift, violations] = [
    sum('requests'),
    sum('reads'),
    sum('hits'),
    sum('drift'),
    sum('violations'),
  ];
  // The last bin ends with the replay; a sliver of one is no rate.
  const widthOf = (n: number): number => Math.min(binSeconds, schedule.durationSeconds - n * binSeconds);
  const rate = requests.map((count, n) => (widthOf(n) < binSeconds / 4 ? null : count / widthOf(n)));
  const { targetRate } = schedule;
  const latency = (point: 'p50' | 'p99', title: string): ChartOf => ({
    title,
    note: 'by the time it was sent; logarithmic',
    logarithmic: true,
    write: micros,
    series: [
      { name: 'from the intended time', points: latencyMicros.fromIntended[point], tone: 'accent' },
      { name: 'from the sending', points: latencyMicros.fromSent[point], tone: 'second' },
      { name: 'recorded', points: latencyMicros.recorded[point], tone: 'muted', dashed: true },
    ],
  });
  return [
    {
      title: 'Drift and violations',
      note: `exchanges in each ${binSeconds} s`,
      areCounts: true,
      write: (value) => figure(value),
      series: [
        {
          name: 'drift',
          points: drift.map((count, n) => count + violations[n]!),
          told: drift,
          tone: 'warn-fill',
          as: 'bars',
        },
        { name: 'violations', points: violations, tone: 'bad-fill', as: 'bars' },
      ],
    },
    latency('p99', 'Latency, 99th percentile'),
    {
      title: 'Hit rate',
      note: 'of all reads',
      write: percent,
      upTo: 1,
      series: [
        {
          name: 'hit rate',
          points: reads.map((count, n) => (count === 0 ? null : hits[n]! / count)),
          tone: 'good',
        },
      ],
    },
    {
      title: 'Requests a second',
      note: targetRate === null ? 'as many as the target took' : 'sent, and asked for on average',
      write: (value) => figure(Math.round(value)),
      series: [
        { name: 'sent', points: rate, tone: 'accent', as: 'area' },
        ...(targetRate === null
          ? []
          : [{ name: 'asked for', points: rate.map(() => targetRate), tone: 'muted', dashed: true }]),
      ],
    },
    latency('p50', 'Latency, median'),
    ...(schedule.speed === 'max' || lagMicros.p99.every((value) => value === null)
      ? []
      : [
          {
            title: 'Sent late by memtape',
            note: '99th percentile; not the target’s doing',
            write: micros,
            series: [{ name: 'lag', points: lagMicros.p99, tone: 'second', as: 'area' as const }],
          },
        ]),
  ];
}

function renderChart(chart: ChartOf, report: Report): HTMLElement {
  const { title, note, series, write } = chart;
  const { binSeconds } = report.timeline;
  const told = series
    .map(({ name, points, told: meant = points }) => {
      const known = meant.filter((value) => value !== null);
      return known.length === 0
        ? `${name}: no samples`
        : `${name}: from ${write(Math.min(...known))} to ${write(Math.max(...known))}`;
    })
    .join('; ');
  const plot = el('div', { class: 'plot', role: 'img', 'aria-label': `${title}. ${told}.` });
  const holder = el(
    'figure',
    { class: 'chart' },
    el('figcaption', {}, el('strong', {}, title), el('span', { class: 'note' }, note)),
    plot,
    lazy(['As a table'], () =>
      table(
        `${title}, by time`,
        [{ name: 'from', number: true }, ...series.map(({ name }) => ({ name, number: true }))],
        series[0]!.points.map((_, n) =>
          [`${(n * binSeconds).toFixed(0)} s`].concat(series.map((one) => toldAt(one, n, write))),
        ),
      ),
    ),
  );
  plots.set(plot, { chart, report, plot: undefined });
  return holder;
}

function toldAt({ points, told = points }: Series, n: number, write: (value: number) => string): string {
  const value = told[n] ?? null;
  return value === null ? '–' : write(value);
}

function drillList({ drills }: Report): HTMLElement {
  return el(
    'p',
    { class: 'note' },
    'Marked: ',
    drills.map(
      ({ name, atSeconds }, n) => `${n > 0 ? '; ' : ''}${n + 1}, ${name} at ${atSeconds.toFixed(1)} s`,
    ),
  );
}

/** Draws every chart that the page holds by now, in the colours of now and as wide as there is room. */
export function drawCharts(): void {
  for (const [holder, entry] of plots) {
    entry.plot?.destroy();
    entry.plot = undefined;
    // What is folded has no room yet.
    if (!holder.isConnected || holder.clientWidth === 0) continue;
    entry.plot = new uPlot(optionsOf(entry.chart, entry.report, holder.clientWidth), dataOf(entry), holder);
  }
}

export function resizeCharts(): void {
  for (const [holder, { plot }] of plots)
    if (plot !== undefined && plot.width !== holder.clientWidth && holder.clientWidth > 0)
      plot.setSize({ width: holder.clientWidth, height: HEIGHT });
}

function dataOf({ chart, report }: { chart: ChartOf; report: Report }): UPlot.AlignedData {
  const { binSeconds } = report.timeline;
  const times = chart.series[0]!.points.map((_, n) => (n + 0.5) * binSeconds);
  return [times, ...chart.series.map(({ points }) => points)];
}

/** A colour of the style as canvases understand it. */
function colour(tone: string): string {
  const probe = el('span');
  probe.style.color = `var(--${tone})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

function optionsOf(chart: ChartOf, report: Report, width: number): UPlot.Options {
  const { series, write, logarithmic = false, areCounts = false, upTo } = chart;
  const { binSeconds, lagMicros } = report.timeline;
  const end = Math.max(1, lagMicros.p99.length) * binSeconds;
  const [muted, line] = [colour('muted'), colour('line')];
  const font = '11px system-ui, sans-serif';
  const axis: UPlot.Axis = { stroke: muted, font, grid: { stroke: line, width: 1 }, ticks: { show: false } };
  return {
    width: Math.max(200, width),
    height: HEIGHT,
    padding: [14, 18, 0, 0],
    cursor: { sync: { key: 'time' }, y: false, drag: { x: false, y: false } },
    legend: { markers: { width: 0, fill: (_, n) => colour(series[n - 1]?.tone ?? 'muted') } },
    scales: {
      x: { time: false, range: [0, end] },
      y: logarithmic
        ? { distr: LOGARITHMIC, range: (_, least, most) => wholeDecades(least, most) }
        : { range: (_, __, most) => [0, upTo ?? Math.max(1, (Number.isFinite(most) ? most : 1) * 1.08)] },
    },
    axes: [
      { ...axis, size: 28, grid: { show: false }, values: (_, splits) => splits.map((at) => `${at} s`) },
      {
        ...axis,
        size: 62,
        space: 34,
        values: (_, splits) => splits.map((value) => axisLabel(value, write)),
        ...(areCounts ? { incrs: wholeSteps } : {}),
        ...(logarithmic ? { splits: (_, __, least, most) => decades(least, most) } : {}),
      },
    ],
    series: [
      { label: 'time', value: (_, at) => (at === null ? '' : `${at.toFixed(1)} s`) },
      ...series.map((one) => seriesOf(one, write, lagMicros.p99.length <= MARKED_BINS)),
    ],
    hooks: { draw: [(plot) => markDrills(plot, report)] },
  };
}

function seriesOf(series: Series, write: (value: number) => string, isMarked: boolean): UPlot.Series {
  const { name, tone, dashed = false, as, told } = series;
  const stroke = colour(tone);
  const drawn: UPlot.Series = {
    label: name,
    stroke,
    width: as === 'bars' ? 0 : 1.75,
    points: { show: isMarked && as !== 'bars' && !dashed, size: 5, fill: stroke },
    value: (_, value, __, index) => {
      const meant = told === undefined || index === null ? value : (told[index] ?? null);
      return meant === null ? '' : write(meant);
    },
  };
  if (dashed) drawn.dash = [5, 4];
  if (as === 'area') drawn.fill = colour(`${tone}-soft`);
  if (as !== 'bars') return drawn;
  return { ...drawn, fill: stroke, paths: uPlot.paths.bars!({ size: [0.8, 24], align: 0 }) };
}

/** The decades around both; null: nothing was measured. */
function wholeDecades(least: number | null, most: number | null): [number, number] {
  if (least === null || most === null) return [1, 1000];
  const from = Math.floor(Math.log10(Math.max(1, least)));
  return [10 ** from, 10 ** Math.max(from + 1, Math.ceil(Math.log10(most)))];
}

function decades(least: number, most: number): number[] {
  const [from, to] = [least, most].map((value) => Math.round(Math.log10(value))) as [number, number];
  return Array.from({ length: Math.max(0, to - from) + 1 }, (_, n) => 10 ** (from + n));
}

/** `1 ms` for `1.0 ms`; uPlot leaves some out by null. */
function axisLabel(value: number | null, write: (value: number) => string): string {
  return value === null ? '' : write(value).replace(/\.0+(?=\D)/, '');
}

function markDrills(plot: UPlot, { drills }: Report): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = colour('ink');
  ctx.fillStyle = colour('ink');
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.font = `600 ${11 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textAlign = 'center';
  for (const [n, { atSeconds }] of drills.entries()) {
    const x = plot.valToPos(atSeconds, 'x', true);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.fillText(String(n + 1), x, bbox.top - 3 * devicePixelRatio);
  }
  ctx.restore();
}
