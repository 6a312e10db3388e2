// The heat map: where and when answers were wrong, or drifted. It is a table, so that it can be read as one.

import { figure, share, visible } from '../format.ts';
import type { Report } from '../shape.ts';
import { el, quoted, scrolling, type Child } from './dom.ts';

const MAX_COLUMNS = 60;
const MAX_ROWS = 60;
/** Columns under one label. */
const LABELLED = 5;

type Server = Report['timeline']['servers'][number];

interface Cell {
  requests: number;
  drift: number;
  violations: number;
}

export function renderHeat({ timeline, drills }: Report): Child[] {
  const { servers, binSeconds } = timeline;
  const bins = Math.max(0, ...servers.map(({ requests }) => requests.length));
  if (bins === 0) return [];
  const merged = Math.ceil(bins / MAX_COLUMNS);
  const columns = Math.ceil(bins / merged);
  const seconds = merged * binSeconds;
  const shown = servers.toSorted((a, b) => trouble(b) - trouble(a)).slice(0, MAX_ROWS);
  const labels = Array.from({ length: Math.ceil(columns / LABELLED) }, (_, n) =>
    el(
      'th',
      { scope: 'colgroup', colspan: Math.min(LABELLED, columns - n * LABELLED) },
      `${round(n * LABELLED * seconds)} s`,
    ),
  );
  const rows = shown.map((server) =>
    el(
      'tr',
      {},
      el('th', { scope: 'row' }, server.address === 'other' ? 'without a key' : quoted(server.address)),
      Array.from({ length: columns }, (_, n) => renderCell(cellOf(server, n * merged, merged), n * seconds)),
    ),
  );
  return [
    el(
      'p',
      { class: 'note legend' },
      swatch('fine', 0),
      'as recorded',
      swatch('drift', 0.6),
      'drift',
      swatch('wrong', 0.8),
      'violations',
      swatch('idle', 0),
      'no requests',
      ...(drills.length > 0 ? [el('span', { class: 'mark', 'aria-hidden': 'true' }, '▼'), 'drill'] : []),
      el(
        'span',
        { class: 'says' },
        `A cell is ${round(seconds)} s; the deeper its colour, the larger the share.`,
      ),
    ),
    scrolling(
      'Servers by time',
      el(
        'table',
        { class: 'heat' },
        el(
          'caption',
          { class: 'unseen' },
          `Violations and drift by server, in steps of ${round(seconds)} seconds`,
        ),
        el(
          'thead',
          {},
          ...(drills.length > 0 ? [drillRow(drills, columns, seconds)] : []),
          el('tr', {}, el('td'), labels),
        ),
        el('tbody', {}, rows),
      ),
    ),
    ...(servers.length > shown.length
      ? [el('p', { class: 'note' }, `and ${figure(servers.length - shown.length)} more with less trouble`)]
      : []),
  ];
}

/** A row above the times, in which each drill stands where it was done. */
function drillRow(drills: Report['drills'], columns: number, seconds: number): HTMLElement {
  const column = ({ atSeconds }: Report['drills'][number]): number =>
    Math.min(columns - 1, Math.max(0, Math.floor(atSeconds / seconds)));
  return el(
    'tr',
    { class: 'drills' },
    el('th', { scope: 'row' }, 'drills'),
    Array.from({ length: columns }, (_, n) => {
      const here = drills.filter((drill) => column(drill) === n);
      const told = here.map(({ name, atSeconds }) => `${visible(name)} at ${round(atSeconds)} s`).join('; ');
      return here.length === 0
        ? el('td')
        : el(
            'td',
            { class: 'drill', title: told },
            el('span', { 'aria-hidden': 'true' }, '▼'),
            el('span', { class: 'unseen' }, told),
          );
    }),
  );
}

/** To a tenth, of seconds that are no round number. */
function round(seconds: number): number {
  return Number(seconds.toFixed(seconds < 1 ? 3 : 1));
}

function trouble({ drift, violations }: Server): number {
  return sum(violations) * 1e6 + sum(drift);
}

function cellOf({ requests, drift, violations }: Server, from: number, length: number): Cell {
  const [sent, drifted, wrong] = [requests, drift, violations].map((counts) =>
    sum(counts.slice(from, from + length)),
  );
  return { requests: sent!, drift: drifted!, violations: wrong! };
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}

function renderCell({ requests, drift, violations }: Cell, atSeconds: number): HTMLElement {
  const kind = violations > 0 ? 'wrong' : drift > 0 ? 'drift' : requests > 0 ? 'fine' : 'idle';
  // What could not even be sent is a violation without a request.
  const all = Math.max(requests, violations + drift);
  const told =
    kind === 'idle'
      ? 'no requests'
      : kind === 'fine'
        ? 'as recorded'
        : [
            ...(violations > 0 ? [`${figure(violations)} violations (${share(violations, all)})`] : []),
            ...(drift > 0 ? [`${figure(drift)} drift (${share(drift, all)})`] : []),
          ].join(', ');
  const cell = el(
    'td',
    { class: kind, title: `at ${round(atSeconds)} s: ${told}; ${figure(requests)} requests` },
    el('span', { class: 'unseen' }, told),
  );
  warm(cell, kind === 'wrong' ? violations / all : drift / Math.max(1, all));
  return cell;
}

function swatch(kind: string, part: number): HTMLElement {
  const element = el('span', { class: `swatch ${kind}`, 'aria-hidden': 'true' });
  warm(element, part);
  return element;
}

/** One in a hundred must be seen too: colour goes by the root. */
function warm(element: HTMLElement, part: number): void {
  element.style.setProperty('--heat', `${Math.round(25 + 75 * Math.sqrt(Math.min(1, part)))}%`);
}
