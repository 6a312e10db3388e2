// What is published: what users need, and nothing that only a checkout can run.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const root = new URL('..', import.meta.url).pathname;
const manifest = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
  dependencies: Record<string, string>;
  bin: Record<string, string>;
  man: string;
};

const packed = JSON.parse(
  execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, encoding: 'utf8' }),
) as [{ files: { path: string }[] }];
const files = packed[0].files.map(({ path }) => path);

test('scripts, benches, tests and sources stay at home', () => {
  expect(files.filter((path) => /^dist\/(scripts|bench|test)\/|(?<!\.d)\.ts$/.test(path))).toEqual([]);
});

test('the command, the library, the types and the pages are there', () => {
  for (const path of [
    ...Object.values(manifest.bin),
    manifest.man.slice(2),
    'dist/index.js',
    'dist/index.d.ts',
  ])
    expect(files).toContain(path);
  for (const page of readFileSync(`${root}README.md`, 'utf8').matchAll(/\]\((docs\/[\w-]+\.md)\)/g))
    expect(files).toContain(page[1]);
});

test('the shipped modules import nothing that does not ship', () => {
  const missing = files
    .filter((path) => path.startsWith('dist/') && path.endsWith('.js'))
    .filter((path) =>
      /from '(?:\.\.\/)+(?:scripts|bench|test)\//.test(readFileSync(`${root}${path}`, 'utf8')),
    );
  expect(missing).toEqual([]);
});

test('every dependency has a caret, and its reason in docs/dependencies.md', () => {
  const reasons = readFileSync(`${root}docs/dependencies.md`, 'utf8');
  for (const [name, range] of Object.entries(manifest.dependencies)) {
    expect(range, name).toMatch(/^\^\d+\.\d+\.\d+$/);
    expect(reasons, name).toContain(`| ${name} |`);
  }
});
