// Findings: each kind with its examples, and of each example both answers, byte by byte.

import type { Example, Finding } from '../../diff/verdict.ts';
import { figure, isTold, share, visible } from '../format.ts';
import type { Report } from '../shape.ts';
import { el, lazy, quoted, type Child } from './dom.ts';

const ROW_BYTES = 8;

/** An excerpt of a value, and where it stands in it. */
interface Excerpt {
  bytes: number[];
  from: number;
  hasMore: boolean;
}

export function renderFindings(
  { findings, exchanges }: Report,
  meanings: Readonly<Record<string, string>>,
): Child[] {
  if (findings.length === 0) return [el('p', { class: 'note' }, 'None: every answer is as recorded.')];
  return findings.map((finding, n) =>
    lazy(
      [
        el('span', { class: `badge ${finding.class}` }, finding.class),
        el('span', { class: 'kind' }, finding.kind),
        el('span', { class: 'meaning' }, meanings[finding.kind] ?? ''),
        el(
          'span',
          { class: 'count' },
          figure(finding.count),
          el('span', { class: 'share' }, share(finding.count, exchanges.total)),
        ),
      ],
      () => renderExamples(finding),
      { class: 'finding', open: n === 0 && finding.class === 'violation' },
    ),
  );
}

function renderExamples({ examples, count }: Finding): Child[] {
  if (examples.length === 0) return [el('p', { class: 'note' }, 'No examples were kept (--examples).')];
  return [
    ...(count > examples.length
      ? [el('p', { class: 'note' }, `The first ${figure(examples.length)} of ${figure(count)} in the trace:`)]
      : []),
    ...examples.map((example, n) =>
      lazy(
        [
          el('span', { class: 'opcode' }, example.opcode),
          quoted(example.key),
          el('span', { class: 'count' }, `${example.atSeconds.toFixed(3)} s`),
        ],
        () => renderExample(example),
        { class: 'example', open: n === 0 },
      ),
    ),
  ];
}

function renderExample({ why, server, connection, index, expected, actual }: Example): Child[] {
  const sides = [excerptOf(expected), excerptOf(actual)] as const;
  const [first, second] = sides;
  const differs = (at: number): boolean => first?.bytes[at] !== second?.bytes[at];
  const isCompared = first !== undefined && second !== undefined && typeof expected['differsAt'] === 'number';
  let at = 0;
  if (isCompared) while (at < first.bytes.length && !differs(at)) at++;
  const from = isCompared ? Math.max(0, (expected['differsAt'] as number) - at) : 0;
  const isMarked = (n: number): boolean => isCompared && differs(n);
  return [
    el('p', { class: 'why' }, `${why.charAt(0).toUpperCase()}${why.slice(1)}.`),
    el(
      'p',
      { class: 'note' },
      'on ',
      quoted(server),
      `, connection ${connection}${index < 0 ? '' : `, exchange ${figure(index)} of the trace`}`,
    ),
    ...(isCompared && (at < first.bytes.length || at < second.bytes.length)
      ? [
          el(
            'p',
            { class: 'note' },
            `The first byte that differs is ${from + at}: ${byteName(first.bytes[at])} was expected, ${byteName(second.bytes[at])} came.`,
          ),
        ]
      : []),
    el(
      'div',
      { class: 'sides' },
      ...(isTold(expected) ? [renderSide('Expected', expected, first, from, at, isMarked)] : []),
      renderSide('Actual', actual, second, from, at, isMarked),
    ),
  ];
}

/** The bytes of a side; undefined where its value is no text, or is a counter's number. */
function excerptOf(side: Record<string, unknown>): Excerpt | undefined {
  const { value, bytes } = side;
  if (typeof value !== 'string' || typeof bytes !== 'number') return undefined;
  // Values are latin1, so that dots are ours.
  const text = value.replace(/^…/, '');
  const hasMore = text.endsWith('…');
  const kept = hasMore ? text.slice(0, -1) : text;
  return { bytes: Array.from(kept, (char) => char.charCodeAt(0)), from: 0, hasMore };
}

function byteName(byte: number | undefined): string {
  if (byte === undefined) return 'the end';
  return byte > 0x20 && byte < 0x7f ? `0x${hex(byte)} (${String.fromCharCode(byte)})` : `0x${hex(byte)}`;
}

function renderSide(
  title: string,
  side: Record<string, unknown>,
  excerpt: Excerpt | undefined,
  from: number,
  firstMarked: number,
  isMarked: (at: number) => boolean,
): HTMLElement {
  const told = Object.entries(side).filter(
    ([name]) => name !== 'differsAt' && !(name === 'value' && excerpt !== undefined),
  );
  return el(
    'div',
    { class: 'side', role: 'group', 'aria-label': title },
    el('p', { class: 'title' }, title),
    told.length === 0
      ? el('p', { class: 'note' }, 'nothing')
      : el(
          'dl',
          {},
          told.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, quoted(String(value))))),
        ),
    excerpt === undefined ? undefined : renderBytes(`${title} value`, excerpt, from, firstMarked, isMarked),
  );
}

function renderBytes(
  label: string,
  { bytes, hasMore }: Excerpt,
  from: number,
  firstMarked: number,
  isMarked: (at: number) => boolean,
): HTMLElement {
  const part = (at: number, text: string): Child =>
    isMarked(at) ? el('mark', { class: at === firstMarked ? 'first' : undefined }, text) : text;
  const rows = Array.from({ length: Math.ceil(bytes.length / ROW_BYTES) }, (_, row) => {
    const at = row * ROW_BYTES;
    const those = bytes.slice(at, at + ROW_BYTES);
    return el(
      'tr',
      {},
      el('th', { scope: 'row' }, String(from + at)),
      el(
        'td',
        { class: 'hex' },
        those.flatMap((byte, n) => [n > 0 ? ' ' : '', part(at + n, hex(byte))]),
      ),
      el(
        'td',
        { class: 'text' },
        those.map((byte, n) =>
          part(at + n, byte >= 0x20 && byte < 0x7f ? visible(String.fromCharCode(byte)) : '·'),
        ),
      ),
    );
  });
  return el(
    'table',
    { class: 'bytes', 'aria-label': `${label}: offset, bytes in hex, as text` },
    el('tbody', {}, rows),
    hasMore ? el('tfoot', {}, el('tr', {}, el('td', { colspan: 3 }, '… and more'))) : undefined,
  );
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}
