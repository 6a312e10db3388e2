// Variables in documents: what they become, where they are left alone, and what is said where there is none.

import { expect, test, vi } from 'vitest';
import { z } from 'zod';
import { openYaml, readYaml } from '../../config/yaml.ts';

const anything = z.record(z.string(), z.unknown());
const values = { HOST: 'mc1', PORT: '11211', EMPTY: '', YES: 'true', ZEROS: '007' };

function read(...lines: string[]): unknown {
  return openYaml(lines.join('\n'), 'a.yaml', anything, { values, except: ['run'] }).value;
}

test.each([
  ['a: ${HOST}:${PORT}', 'mc1:11211'],
  ['a: ${PORT}', 11_211],
  ['a: "${PORT}"', '11211'],
  ['a: ${YES}', true],
  ['a: ${ZEROS}', '007'],
  ['a: ${NONE:-10k}', '10k'],
  ['a: ${NONE:-}', ''],
  ['a: ${EMPTY:-full}', 'full'],
  ['a: ${EMPTY}', ''],
  ['a: $${HOST}', '${HOST}'],
  ['a: $HOST and {HOST}', '$HOST and {HOST}'],
  ['a: [1, "${HOST}"]', [1, 'mc1']],
])('%s', (text, value) => {
  expect(read(text)).toEqual({ a: value });
});

test('names of fields, and what the reader excepts, are left alone', () => {
  expect(read('"${HOST}": 1', 'run: echo ${NONE}')).toEqual({ '${HOST}': 1, run: 'echo ${NONE}' });
});

test('nothing but our messages is said of a key that is no text', () => {
  const emitted = vi.spyOn(process, 'emitWarning');
  expect(read('? [a, b]', ': 1', '? {c: d}', ': 2')).toEqual({ '[ a, b ]': 1, '{ c: d }': 2 });
  expect(emitted).not.toHaveBeenCalled();
  emitted.mockRestore();
});

test('a document is never read twice: a value is no YAML', () => {
  const { value } = openYaml('a: ${TEXT}', 'a.yaml', anything, { values: { TEXT: 'x\nb: 2' } });
  expect(value).toEqual({ a: 'x\nb: 2' });
});

test('what is missing has its line, all of it at once', () => {
  expect(() => read('a: 1', 'b: ${NO}', 'c: ["${NEITHER}"]')).toThrow(
    /^a\.yaml:2:4: the environment has no NO; .*\na\.yaml:3:5: the environment has no NEITHER; /,
  );
});

test('without variables nothing is replaced', () => {
  expect(readYaml('a: ${HOST}', 'a.yaml', anything)).toEqual({ a: '${HOST}' });
});

test('where a part stands, or what it would stand in', () => {
  const { at } = openYaml('a:\n  - {b: 1}\n', 'a.yaml', anything);
  expect([at(['a', 0, 'b']), at(['a', 0, 'c']), at(['none'])]).toEqual([
    'a.yaml:2:6',
    'a.yaml:2:5',
    'a.yaml:1:1',
  ]);
});

const strict = z.strictObject({
  name: z.string(),
  list: z.array(z.strictObject({ x: z.number() })).optional(),
});

/** Processor time, in milliseconds, that a document of so many pieces takes to be refused. */
function cost(text: string): number {
  const from = process.cpuUsage();
  expect(() => openYaml(text, 'a.yaml', strict, { values: {} })).toThrow(/^a\.yaml/);
  const { user, system } = process.cpuUsage(from);
  return (user + system) / 1000;
}

const pieces: readonly [name: string, document: (n: number) => string][] = [
  ['unknown fields', (n) => Array.from({ length: n }, (_, m) => `k${m}: 1\n`).join('')],
  ['the same field', (n) => 'k: 1\n'.repeat(n)],
  ['fields in braces', (n) => `{${Array.from({ length: n }, (_, m) => `k${m}: 1, `).join('')}}`],
  ['variables without an end', (n) => `a: "${'${a:-'.repeat(n)}"`],
  ['variables that are missing', (n) => Array.from({ length: n }, (_, m) => `k${m}: \${NO}\n`).join('')],
  ['documents in one', (n) => '{}'.repeat(n)],
  ['wrong items', (n) => `list:\n${'- 1\n'.repeat(n)}`],
  ['levels', (n) => '['.repeat(n)],
  [
    'aliases, each of another anchor',
    (n) => Array.from({ length: n }, (_, m) => `k${m}: &a${m} [*a${m - 1}]\n`).join(''),
  ],
  ['aliases of one anchor', (n) => `a: &a 1\n${Array.from({ length: n }, (_, m) => `k${m}: *a\n`).join('')}`],
  ['a field of very many letters', (n) => `${'k'.repeat(n * 10)}: 1`],
];

test.each(pieces)('the cost of %s grows as their number does', (_name, document) => {
  cost(document(500));
  const [few, many] = [cost(document(2000)), cost(document(16_000))];
  // Eight times as many, with room for a busy machine; what is quadratic takes 64 times as long.
  expect(many).toBeLessThan(Math.max(few, 30) * 30);
});

test('a field that stands twice, and more levels than anybody writes', () => {
  expect(() => read('a: 1', 'b: 2', 'a: 3')).toThrow(
    'a.yaml:3:1: the field "a" stands there for the second time',
  );
  expect(() => read('[ '.repeat(101))).toThrow(
    /^a\.yaml:1:20\d: expected at most 100 levels of lists and maps/,
  );
});

test('as many aliases as anybody writes, and more', () => {
  const anchor = 'a: &a 1';
  const uses = Array.from({ length: 1001 }, (_, n) => `k${n}: *a`);
  expect(
    Object.keys(
      openYaml([anchor, ...uses.slice(2)].join('\n'), 'a.yaml', z.record(z.string(), z.number())).value,
    ),
  ).toHaveLength(1000);
  expect(() => read(anchor, ...uses)).toThrow(
    'a.yaml:1:1: expected at most 1000 aliases in a document of this size, got 1001',
  );
});

test('a mistake in what is very long is told in few words', () => {
  const text = `${'k'.repeat(100_000)}: ${'v'.repeat(100_000)}`;
  expect(() => openYaml(text, 'a.yaml', strict)).toThrow(/^[^]{1,1000}$/);
});
