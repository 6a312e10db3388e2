// The table of the long proofs: what its rows run is there, and what the documentation asks readers to run is in it.

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { expect, test } from 'vitest';

type Kind = 'proof' | 'sample' | 'bench';
type Row = { needs: string } & Partial<Record<Kind, string>>;

const root = new URL('..', import.meta.url).pathname;
const program = `${root}scripts/proofs.mjs`;
const { table, lineOf } = (await import(program)) as {
  table: Record<string, Row>;
  lineOf: (kind: Kind, name: string) => string;
};
const { scripts } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
  scripts: Record<string, string>;
};

/** The commands in a page that begin with `npm run`, word by word. */
function commandsIn(page: string): string[][] {
  return Array.from(page.matchAll(/`(?:[A-Z_]+=\S+ )?npm run ([^`\n]+)`/g), ([, words]) =>
    words!
      .replaceAll(/[[\]]/g, '')
      .split(' ')
      .filter((word) => !word.startsWith('-')),
  );
}

test('each row runs scripts and tests that exist', () => {
  const missing = Object.entries(table).flatMap(([name, { proof, sample, bench }]) =>
    [proof, sample, bench]
      .flatMap((line) => line?.match(/dist\/\S+\.js|test\/\S+\.ts/g) ?? [])
      .map((path) => path.replace(/^dist\/(.*)\.js$/, '$1.ts'))
      .filter((path) => !existsSync(root + path))
      .map((path) => `${name}: ${path}`),
  );
  expect(missing).toEqual([]);
});

test('each row is a line that a shell takes', () => {
  const lines = Object.entries(table).flatMap(([name, row]) =>
    (['proof', 'sample', 'bench'] as const)
      .filter((kind) => row[kind] !== undefined)
      .map((kind) => lineOf(kind, name)),
  );
  expect(lines.length).toBeGreaterThan(30);
  const wrong = lines.filter((line) => spawnSync('sh', ['-n', '-c', line]).status !== 0);
  expect(wrong).toEqual([]);
});

test('what the documentation says to run can be run', () => {
  const pages = ['README.md', 'CHANGELOG.md', ...readdirSync(`${root}docs`).map((name) => `docs/${name}`)];
  const commands = pages
    .filter((path) => path.endsWith('.md'))
    .flatMap((path) => commandsIn(readFileSync(root + path, 'utf8')));
  expect(commands.length).toBeGreaterThan(30);
  const unknown = commands.filter(([script, name]) => {
    if (scripts[script!] === undefined) return true;
    const isKind = script === 'proof' || script === 'sample' || script === 'bench';
    return isKind && name !== undefined && name !== 'NAME' && table[name]?.[script] === undefined;
  });
  expect(unknown).toEqual([]);
});

test('a name that is not there is told beside those that are, and nothing runs', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, 'sample', 'truth'], {
    encoding: 'utf8',
  });
  expect([status, stdout, stderr]).toEqual([2, '', expect.stringMatching(/no sample truth; .* semantics,/)]);
});
