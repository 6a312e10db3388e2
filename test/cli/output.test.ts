// Where reports go from the command line, files of every kind, and the pages of a GitHub Actions job.

import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { startServer } from '../../embedded/server.ts';
import { runMemtape, type Ran } from '../support/cli.ts';
import { batchOf, temporary, writeTape } from '../support/tape.ts';

async function memtape(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
  return runMemtape(args, { env });
}

/** A trace of which one answer will differ. */
async function tape(key = 'a'): Promise<string> {
  const path = temporary('capture.tape');
  await writeTape(path, [
    batchOf([
      { op: 'set', key, value: 'one' },
      { op: 'get', key, answer: 'two', answerExtras: Buffer.alloc(4) },
    ]),
  ]);
  return path;
}

test('replay and diff write every kind', async () => {
  const trace = await tape();
  const server = await startServer();
  try {
    const results = temporary('run.results');
    const files = Object.fromEntries(
      ['json', 'html', 'junit', 'markdown'].map((kind) => [kind, temporary(`report.${kind}`)]),
    );
    const options = Object.entries(files).flatMap(([kind, path]) => [`--${kind}`, path]);
    const replay = ['replay', trace, '--target', server.address, '--results', results, '--quiet'];
    const told = await memtape([...replay, ...options]);
    expect(told.stderr).toBe('');
    const judge = async (): Promise<string[]> => {
      await memtape(['diff', trace, results, '--quiet', ...options]);
      return Object.values(files).map((path) => readFileSync(path, 'utf8').slice(0, 15));
    };
    expect(Object.values(files).map((path) => readFileSync(path, 'utf8').slice(0, 15))).toEqual(
      await judge(),
    );
    expect(readFileSync(files['html']!, 'utf8')).toMatch(/^<!doctype html>/);
    expect(readFileSync(files['junit']!, 'utf8')).toContain('<testsuite name="run.results"');
    expect(readFileSync(files['markdown']!, 'utf8')).toContain('memtape: ');
  } finally {
    await server.stop();
  }
});

test('a key that a terminal would obey is no command in a document', async () => {
  const trace = await tape('\u009b2J\u202e\u001b[2J\u200b##[error]x');
  const gate = temporary('gate.yaml');
  writeFileSync(gate, `{format: memtape-gate/1, runs: [{name: one, trace: '${trace}', speed: max}]}`);
  for (const args of [
    ['replay', trace, '--quiet', '--json', '-'],
    ['gate', gate, '--quiet', '--json', '-'],
  ]) {
    const { stdout } = await memtape(args);
    for (const obeyed of ['\u009b', '\u200b', '\u202e', '\u001b', '##['])
      expect(stdout).not.toContain(obeyed);
    expect(JSON.stringify(JSON.parse(stdout.slice(stdout.indexOf('{'))))).toContain('##[error]x');
  }
});

test('in GitHub Actions: annotations, and the summary where it is asked for', async () => {
  const trace = await tape();
  const summary = temporary('summary.md');
  writeFileSync(summary, 'before\n');
  const env = { GITHUB_ACTIONS: 'true', GITHUB_STEP_SUMMARY: summary };
  const silent = await memtape(['replay', trace, '--quiet', '--json', '-'], env);
  expect(silent.stderr).toMatch(/^::(notice|error) title=memtape%3A /);
  expect(JSON.parse(silent.stdout)).toMatchObject({ format: 'memtape-report/1' });
  expect(readFileSync(summary, 'utf8')).toBe('before\n');
  await memtape(['replay', trace, '--quiet', '--markdown', 'auto'], env);
  expect(readFileSync(summary, 'utf8')).toMatch(/^before\n## .* memtape: /);
});

test('a file that cannot be written is told in a line', async () => {
  const { code, stderr } = await memtape([
    'replay',
    await tape(),
    '--quiet',
    '--html',
    '/nowhere/report.html',
  ]);
  expect([code, stderr]).toEqual([
    2,
    expect.stringMatching(
      /^memtape: --html: cannot write \/nowhere\/report.html: there is no folder \/nowhere\n$/,
    ),
  ]);
});
