// Variables in documents: what they become, where they are left alone, and what is said where there is none.

import { expect, test } from 'vitest';
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
