// Markdown and annotations: what they say, and that traffic stays text in them.

import { expect, test } from 'vitest';
import { renderAnnotations } from '../../report/annotations.ts';
import { renderMarkdown } from '../../report/markdown.ts';
import { cleanReport, hostileReport, keys, markup } from '../support/hostile.ts';

const hostile = { name: 'capture.tape', report: hostileReport() };

/** The lines without their code spans, as CommonMark finds them: runs of backticks of equal length. */
function withoutCode(markdown: string): string {
  return markdown
    .split('\n')
    .map((line) => line.replaceAll(/(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)/g, 'CODE'))
    .join('\n');
}

test('the verdict comes first, with what is behind it', () => {
  const text = renderMarkdown([hostile]);
  expect(text.split('\n')[0]).toBe('## ❌ memtape: Failed, `capture.tape`');
  expect(text).toContain('No correct server can have given 70 of the answers (0.23%).');
  expect(text).toContain('| violations | 70 | 0.23% | wrong-value 60, counter 10 |');
  expect(text).toContain('| `violations == 0` | 70 | ❌ crossed |');
  expect(text).toContain('60 of the 70 failing exchanges are of tenant');
});

test('a clean run says what to do with it', () => {
  const text = renderMarkdown([{ name: 'capture.tape', report: cleanReport() }]);
  expect(text.split('\n')[0]).toBe('## ✅ memtape: Passed, `capture.tape`');
  expect(text).toContain('- Nothing. Keep the results');
});

test('what to do is never nothing beside a regression', () => {
  const { baseline } = hostileReport();
  const text = renderMarkdown([{ name: 'capture.tape', report: { ...cleanReport(), baseline: baseline! } }]);
  expect(text).toContain('It is worse than the baseline in 2 ways.');
  expect(text).toContain('- Find out why it is worse than the baseline: ');
  expect(text).toContain("`--threshold 'baseline.regressions == 0'`");
  expect(text).not.toContain('Nothing. Keep');
});

test('several reports: the worst verdict, a table, and each', () => {
  const text = renderMarkdown([{ name: 'a', report: cleanReport() }, hostile]);
  expect(text.split('\n')[0]).toBe('## ❌ memtape: Failed');
  expect(text).toContain('| `a` | ✅ Passed | 29,990 | 0 | 0 |');
  expect(text.match(/^### /gm)).toHaveLength(2);
});

test('a summary stays below what GitHub takes, and says what it left out', () => {
  const most = 1024 * 1000;
  const long = hostileReport();
  for (const { examples } of long.findings)
    for (const example of examples) Object.assign(example.actual, { value: 'x'.repeat(700_000) });
  expect(JSON.stringify(long).length).toBeGreaterThan(2e6);
  const one = renderMarkdown([{ name: 'capture.tape', report: long }]);
  expect(Buffer.byteLength(one)).toBeLessThan(most);
  expect(one).toContain('violation: wrong-value ×60');
  expect(one).toMatch(/_Left out, since a summary has 1,000 kB at most: the examples of findings\./);
  const many = Array.from({ length: 1000 }, (_, n) => ({
    name: `replay ${n} ${'n'.repeat(100)}`,
    report: n === 999 ? hostileReport() : cleanReport(),
  }));
  const all = renderMarkdown(many);
  expect(Buffer.byteLength(all)).toBeLessThan(most);
  expect(all).toContain('replay 999 ');
  expect(all).toMatch(/and 950 more rows[^]*Left out.*all of each replay but its verdict/);
  expect(renderMarkdown([hostile])).not.toContain('Left out');
});

test('keys and values stay in code spans', () => {
  const named = keys.map((name) => ({ name, report: hostileReport() }));
  const rest = withoutCode(renderMarkdown(named));
  // What is left is ours: no HTML but the folds, no link, no control byte.
  expect([...new Set(rest.match(/<[^>]*>?/g))].toSorted()).toEqual([
    '</details>',
    '</summary>',
    '<details>',
    '<summary>',
  ]);
  expect(rest).not.toMatch(/alert|javascript|bold|onerror|forged/);
  // oxlint-disable-next-line no-control-regex
  expect(rest).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/);
});

test('no key adds a cell to a table', () => {
  const rows = renderMarkdown(keys.map((name) => ({ name, report: hostileReport() })))
    .split('\n')
    .filter((line) => line.startsWith('|'));
  const widths = new Set(rows.slice(0, keys.length + 2).map((row) => row.split('|').length));
  expect(widths).toEqual(new Set([7]));
});

test('annotations are one line each, and escaped', () => {
  const lines = renderAnnotations(keys.map((name) => ({ name: `${name}, 100%`, report: hostileReport() })));
  for (const line of lines) expect(line).toMatch(/^::error title=[^\r\n:,]*::[^\r\n]*$/);
  expect(lines[0]).toContain('100%25');
  expect(lines.join('\n')).toContain(`memtape%3A wrong-value%2C ${markup}`);
  expect(renderAnnotations([{ name: 'a', report: cleanReport() }])).toEqual([
    '::notice title=memtape%3A Passed%2C a::Every answer that could be judged is as recorded.',
  ]);
});
