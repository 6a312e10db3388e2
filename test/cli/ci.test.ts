// What is made to be copied: the examples of docs/ci.md and docs/gate.md, the action, and the image. They parse, name what
// is there, and use options that exist.

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { readGate } from '../../cli/gatefile.ts';
import { memtape } from '../support/cli.ts';
import { temporary } from '../support/tape.ts';

const root = new URL('../..', import.meta.url).pathname;
const read = (name: string): string => readFileSync(`${root}${name}`, 'utf8');

async function help(...command: string[]): Promise<string> {
  return (await memtape(...command, '--help')).stdout;
}

/** The fenced blocks of a page in this language. */
function blocks(page: string, language: string): string[] {
  return Array.from(read(page).matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm), ([, name, text]) =>
    name === language ? text! : '',
  ).filter((text) => text !== '');
}

const names = Array.from((await help()).matchAll(/^ {2}([a-z]+) (?:\[|<)/gm), ([, name]) => name!).filter(
  (name) => name !== 'help',
);
const commands = new Map(
  await Promise.all(names.map(async (name): Promise<[string, string]> => [name, await help(name)])),
);

describe('options that are named exist in --help', () => {
  test.each([
    'docs/ci.md',
    'docs/gate.md',
    'action.yml',
    'Containerfile',
    'examples/memtape.gate.yaml',
    'README.md',
  ])('%s', (page) => {
    const text = read(page).replaceAll(/\\\n\s*/g, ' ');
    const unknown = Array.from(text.matchAll(/\bmemtape ([a-z]+)([^\n`|]*)/g), ([, name, rest]) => {
      const known = commands.get(name!);
      if (known === undefined) return [];
      return (rest!.match(/(?<=\s)--[a-z-]+/g) ?? [])
        .filter((option) => !new RegExp(`${option}[ ,\\n]`).test(known))
        .map((option) => `${name} ${option}`);
    }).flat();
    expect(unknown).toEqual([]);
  });

  test('the test itself knows the commands', () => {
    expect(commands.size).toBeGreaterThan(10);
    expect(commands.get('gate')).toContain('--dry-run');
  });
});

test('every YAML of docs/ci.md parses, and so does the gate of docs/gate.md', () => {
  const examples = blocks('docs/ci.md', 'yaml').map((text) => parse(text) as object);
  expect(examples.map((example) => Object.keys(example)[0])).toEqual(['name', 'name', 'gate']);
  const path = temporary('guide.yaml');
  writeFileSync(path, blocks('docs/gate.md', 'yaml')[0]!);
  const { runs } = readGate(path, {}).value;
  expect(runs.map(({ name }) => name)).toEqual(['recorded', 'peak', 'incident']);
});

interface Step {
  id?: string;
  uses?: string;
  shell?: string;
  run?: string;
  env?: Record<string, string>;
}

test('the action: composite, with a shell for every script, and nothing put into one', () => {
  const action = parse(read('action.yml')) as {
    inputs: Record<string, { description: string; default: string }>;
    outputs: Record<string, { value: string }>;
    runs: { using: string; steps: Step[] };
  };
  expect([action.runs.using, Object.keys(action.inputs)]).toEqual(['composite', ['file', 'version']]);
  const text = JSON.stringify(action);
  for (const [, name] of text.matchAll(/\$\{\{ inputs\.(\w+) \}\}/g))
    expect(action.inputs).toHaveProperty(name!);
  const ids = action.runs.steps.map(({ id }) => id);
  for (const [, id] of text.matchAll(/\$\{\{ steps\.(\w+)\./g)) expect(ids).toContain(id);
  for (const { uses, shell, run } of action.runs.steps) {
    if (uses !== undefined) continue;
    expect(shell).toBe('bash');
    // An expression in a script would be run as one.
    expect(run).not.toContain('${{');
    const { status, stderr } = spawnSync('bash', ['-n'], { input: run!, encoding: 'utf8' });
    expect([status, stderr]).toEqual([0, '']);
  }
  expect(action.runs.steps.at(-1)!.run).toContain('--markdown auto');
});

test('the examples use the inputs and outputs that the action has', () => {
  const [workflow] = blocks('docs/ci.md', 'yaml').map(
    (text) =>
      parse(text) as { jobs: { gate: { steps: { uses?: string; with?: Record<string, string> }[] } } },
  );
  const action = parse(read('action.yml')) as { inputs: object; outputs: object };
  const step = workflow!.jobs.gate.steps.find(({ uses }) => uses?.startsWith('OWNER/memtape'));
  for (const name of Object.keys(step!.with ?? {})) expect(action.inputs).toHaveProperty(name);
  for (const [, name] of read('docs/ci.md').matchAll(/steps\.gate\.outputs\.(\w+)/g))
    expect(action.outputs).toHaveProperty(name!);
});

test('the image: from what is here, in stages, as a user without rights', () => {
  const instructions = read('Containerfile')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(' '));
  expect(instructions.filter(([name]) => name === 'FROM').map(([, image]) => image)).toEqual([
    'node:20-slim',
    'node:20-slim',
  ]);
  const last = instructions.slice(instructions.findLastIndex(([name]) => name === 'FROM'));
  expect(last.find(([name]) => name === 'USER')).toEqual(['USER', 'node']);
  for (const [name, ...words] of instructions)
    if (name === 'COPY' && !words[0]!.startsWith('--'))
      for (const source of words.slice(0, -1))
        expect([source, existsSync(`${root}${source}`)]).toEqual([source, true]);
  for (const [, from, ...rest] of last.filter(([name]) => name === 'COPY')) {
    expect(from).toBe('--from=build');
    // What the build makes is there after it, what is committed before.
    for (const source of rest.slice(0, -1))
      expect(source).toMatch(/^\/src\/(package\.json|LICENSE|node_modules|dist)$/);
  }
  expect(last.find(([name]) => name === 'ENTRYPOINT')).toEqual(['ENTRYPOINT', '["memtape"]']);
});
