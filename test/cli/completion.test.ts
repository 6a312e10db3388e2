// Shell completion and the manual, as the command line was built: what each shell offers, and that both know every command
// and option.

import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Shell } from '../../cli/shell.ts';
import { allOf, wholeTree } from '../../cli/tree.ts';
import { runMemtape, worldOf } from '../support/cli.ts';
import { temporary } from '../support/tape.ts';

const root = new URL('../..', import.meta.url).pathname;

async function memtape(...args: string[]): Promise<string> {
  return (await runMemtape(args)).stdout;
}

function has(program: string): boolean {
  return spawnSync(program, ['--version']).error === undefined;
}

const nodes = allOf(await wholeTree(new Shell(worldOf().world)));
const bash = await memtape('completion', 'bash');

function quoted(words: readonly string[]): string {
  return ['memtape', ...words].map((word) => `'${word}'`).join(' ');
}

/** What bash offers for the last word of each of these lines. */
function offered(lines: readonly string[][]): string[][] {
  const script = temporary('completion.bash');
  const probes = lines.map(
    (words) => `
      COMP_WORDS=(${quoted(words)}) COMP_CWORD=${words.length} COMPREPLY=()
      _memtape
      echo "\${COMPREPLY[*]}"`,
  );
  writeFileSync(script, bash + probes.join('\n'));
  const out = execFileSync('bash', [script], { encoding: 'utf8' });
  return out
    .split('\n')
    .slice(0, lines.length)
    .map((line) => line.split(' ').filter((word) => word !== ''));
}

const cases: [words: string[], offers: string[]][] = [
  [['re'], ['record', 'replay', 'report']],
  [['g'], ['gate']],
  [['replay', '--or'], ['--order']],
  [
    ['replay', 'x.tape', '--order', ''],
    ['key', 'connection', 'none'],
  ],
  [['replay', 'x.tape', '--order', 'c'], ['connection']],
  [['record', '--values', 'h'], ['hash']],
  [['synth', 'sh'], ['show']],
  [['synth', 'list', '--sc'], ['--scenarios']],
  [
    ['completion', ''],
    ['bash', 'zsh', 'fish'],
  ],
  // The value of an option is no command.
  [['synth', '--scenario', 'list', '--out'], ['--output']],
  [['replay', '--target', 'gate', '--dr'], ['--drill']],
  [['replay', '--speed', ''], []],
  // Files are completed by readline itself.
  [['replay', '--results', ''], []],
  [['nothing-like-it'], []],
];

test('bash offers what may come next', () => {
  const answers = offered(cases.map(([words]) => words));
  expect(cases.map(([words], n) => [words, answers[n]])).toEqual(cases);
});

test('every command and option is in every script, and none that is hidden', async () => {
  const scripts = [bash, await memtape('completion', 'zsh'), await memtape('completion', 'fish')];
  expect(nodes.length).toBeGreaterThan(15);
  for (const { name, options } of nodes.slice(1))
    for (const script of scripts) {
      expect(script).toContain(name);
      for (const option of options)
        for (const flag of option.names)
          expect(script).toMatch(new RegExp(`(${flag}|-l ${flag.slice(2)}|-s ${flag.slice(1)})\\b`));
    }
  for (const script of scripts) expect(script).not.toMatch(/\bmemtape man\b|'man'/);
});

test('the scripts are such as their shells read', async () => {
  for (const shell of ['bash', 'zsh', 'fish'].filter((name) => has(name))) {
    const script = temporary(shell);
    writeFileSync(script, await memtape('completion', shell));
    const { status, stderr } = spawnSync(shell, ['-n', script], { encoding: 'utf8' });
    expect([shell, status, stderr]).toEqual([shell, 0, '']);
  }
});

test('fish offers the same', async () => {
  if (!has('fish')) return;
  const script = temporary('memtape.fish');
  writeFileSync(script, await memtape('completion', 'fish'));
  const probe = (line: string): string[] =>
    execFileSync('fish', ['--no-config', '-c', `source ${script}; complete -C ${JSON.stringify(line)}`], {
      encoding: 'utf8',
    })
      .trim()
      .split('\n')
      .map((offer) => offer.split('\t')[0]!);
  expect(probe('memtape re')).toEqual(['record', 'replay', 'report']);
  expect(probe('memtape replay --order ')).toEqual(['connection', 'key', 'none']);
  expect(probe('memtape synth list --sc')).toEqual(['--scenarios']);
});

test('another shell is refused', async () => {
  const { code, stderr } = await runMemtape(['completion', 'tcsh']);
  expect([code, stderr]).toEqual([
    2,
    expect.stringMatching(/<shell>: expected one of bash, zsh, fish; got "tcsh"/),
  ]);
});

const page = readFileSync(`${root}docs/memtape.1`, 'utf8');

test('docs/memtape.1 is up to date (npm run man), and has every command and option', async () => {
  expect(await memtape('man')).toBe(page);
  for (const { path, options } of nodes) {
    expect(page).toContain(path.join(' '));
    for (const { flags } of options) expect(page.replaceAll('\\', '')).toContain(flags.split(' ')[0]);
  }
  const { man, files } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
    man: string;
    files: string[];
  };
  expect([man, files.includes('docs')]).toEqual(['./docs/memtape.1', true]);
});

test('groff has nothing to say against it', () => {
  if (!has('groff')) return;
  const { status, stdout, stderr } = spawnSync('groff', ['-man', '-Tutf8', '-ww', '-'], {
    input: page,
    encoding: 'utf8',
  });
  expect([status, stderr]).toEqual([0, '']);
  expect(stdout.length).toBeGreaterThan(10_000);
});
