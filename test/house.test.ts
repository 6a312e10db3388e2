// The house shows its plan: which folder may import which, and nothing that was left behind.

import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { expect, test } from 'vitest';

const root = new URL('..', import.meta.url).pathname;

/** What each room may import from; docs/architecture.md says the same in words. */
const allowed: Record<string, readonly string[]> = {
  protocol: [],
  config: [],
  trace: ['protocol'],
  convert: ['protocol', 'trace'],
  synth: ['protocol', 'trace', 'config'],
  recorder: ['protocol', 'trace'],
  replayer: ['protocol', 'trace', 'config'],
  diff: ['protocol', 'trace'],
  audit: ['protocol', 'trace', 'diff'],
  report: ['protocol', 'trace', 'config', 'diff', 'audit'],
  capacity: ['trace', 'report'],
  cluster: ['protocol', 'trace', 'config', 'replayer', 'synth'],
  embedded: ['protocol', 'trace', 'synth'],
  fixtures: ['protocol', 'trace', 'synth', 'embedded'],
  library: [
    'protocol',
    'config',
    'trace',
    'convert',
    'synth',
    'recorder',
    'replayer',
    'diff',
    'audit',
    'report',
  ],
  cli: [
    'library',
    'protocol',
    'config',
    'trace',
    'convert',
    'synth',
    'recorder',
    'replayer',
    'diff',
    'audit',
    'report',
    'capacity',
    'cluster',
    'embedded',
    'fixtures',
  ],
  scripts: [
    'library',
    'protocol',
    'config',
    'trace',
    'convert',
    'synth',
    'recorder',
    'replayer',
    'diff',
    'audit',
    'report',
    'capacity',
    'cluster',
    'embedded',
    'fixtures',
    'cli',
  ],
  bench: ['protocol', 'trace', 'recorder', 'synth', 'report', 'embedded', 'fixtures'],
};

/** The same of what is inside synth/. */
const allowedInSynth: Record<string, readonly string[]> = {
  laws: [],
  references: ['laws'],
  fidelity: ['laws', 'references'],
  model: ['laws', 'references'],
  generate: ['laws', 'references', 'model'],
  fit: ['laws', 'references', 'fidelity', 'model', 'generate'],
  rewrite: ['laws', 'model', 'generate'],
  scenarios: ['laws', 'model', 'generate', 'rewrite'],
};

const files = Object.keys(allowed).flatMap((room) =>
  readdirSync(join(root, room), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(room, name)),
);

function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  return Array.from(text.matchAll(/(?:from|import\()\s*'(\.[^']+)'/g), (match) =>
    relative(root, join(root, dirname(file), match[1]!)),
  );
}

test('imports run one way', () => {
  const wrong = files.flatMap((file) => {
    const room = file.split('/')[0]!;
    return importsOf(file)
      .map((imported) => imported.split('/')[0]!)
      .filter((other) => other !== room && !allowed[room]!.includes(other))
      .map((other) => `${file} imports from ${other}`);
  });
  expect(wrong).toEqual([]);
});

test('imports run one way inside synth, too', () => {
  const wrong = files
    .filter((file) => file.startsWith('synth/'))
    .flatMap((file) => {
      const room = file.split('/')[1]!;
      return importsOf(file)
        .filter((imported) => imported.startsWith('synth/'))
        .map((imported) => imported.split('/')[1]!)
        .filter((other) => other !== room && allowedInSynth[room]?.includes(other) !== true)
        .map((other) => `${file} imports from ${other}`);
    });
  expect(wrong).toEqual([]);
});

test('every file opens with a paragraph that says what it owns', () => {
  const silent = files.filter((file) => !/^(#!.*\n)?\/\/ \S/.test(readFileSync(join(root, file), 'utf8')));
  expect(silent).toEqual([]);
});

/** Rooms whose docstrings were rewritten; the others still lean on the line above here and there. */
const rewritten =
  /^(protocol|config|embedded|fixtures|library|audit|report|capacity|cluster|convert|cli|scripts|bench)\//;

test('docstrings say what a thing is, and do not begin with Of or The same', () => {
  const leaning = files
    .filter((file) => rewritten.test(file) && file !== 'cli/metrics.ts')
    .filter((file) => /\/\*\* (Of|The same)\b/.test(readFileSync(join(root, file), 'utf8')));
  expect(leaning).toEqual([]);
});

test('only the command line prints and exits', () => {
  const loud = files
    .filter((file) => !/^(cli|scripts|bench)\//.test(file))
    .filter((file) => /console\.|process\.(exit|stdout|stderr)/.test(readFileSync(join(root, file), 'utf8')));
  expect(loud).toEqual([]);
});
