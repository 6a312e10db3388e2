// Files that commands write: their owner's alone, never over something that somebody would miss, and whole or not there.

import { spawn } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Random } from '../../synth/laws/random.ts';
import { TraceReader } from '../../trace/file.ts';
import { memtape } from '../support/cli.ts';
import { makeFiles, program } from '../support/endings.ts';

const root = mkdtempSync(join(tmpdir(), 'memtape-test-'));
const trace = join(root, 'capture.tape');
const results = join(root, 'run.results');
let folder: string;
let made = 0;

beforeAll(async () => {
  await makeFiles(root);
  const { code } = await memtape('replay', trace, '--speed', 'max', '--results', results, '--quiet');
  expect(code).toBe(0);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeEach(() => mkdirSync((folder = join(root, `test-${made++}`))));

interface Writer {
  /** How the file is named in what is refused. */
  option: string;
  /** Whether CI writes it over and over. */
  isReport?: true;
  /** It reads no trace. */
  hasNoInput?: true;
  words: (output: string) => string[];
}

const quick = ['--requests', '500', '--quiet'];
const writers: Record<string, Writer> = {
  filter: { option: '--output', words: (output) => ['filter', trace, '-o', output, '--limit', '50'] },
  csv: { option: '<out>', words: (output) => ['convert', trace, output, '--to-format', 'csv'] },
  pcap: { option: '<out>', words: (output) => ['convert', trace, output, '--to-format', 'pcap'] },
  synth: {
    option: '--output',
    hasNoInput: true,
    words: (output) => ['synth', 'etc', '-o', output, ...quick],
  },
  fit: { option: '--output', words: (output) => ['synth', 'fit', trace, '-o', output, '--quiet'] },
  scale: { option: '--output', words: (output) => ['synth', 'scale', trace, '-o', output, '--copies', '2'] },
  results: {
    option: '--results',
    words: (output) => ['replay', trace, '--speed', 'max', '--quiet', '--results', output],
  },
  ...Object.fromEntries(
    ['json', 'html', 'junit', 'markdown'].map((kind): [string, Writer] => [
      kind,
      {
        option: `--${kind}`,
        isReport: true,
        words: (output) => ['diff', trace, results, '--quiet', `--${kind}`, output],
      },
    ]),
  ),
  svg: {
    option: '--svg',
    isReport: true,
    words: (output) => ['synth', 'check', trace, trace, '--svg', output],
  },
};
const isForced = ({ isReport }: Writer): string[] => (isReport === true ? [] : ['--force']);

describe.each(Object.entries(writers))('%s', (_name, writer) => {
  test('is its owner’s alone under any umask, and nothing lies beside it', async () => {
    for (const umask of [0, 0o277]) {
      const output = join(folder, `out-${umask}`);
      const before = process.umask(umask);
      const { code, stderr } = await memtape(...writer.words(output)).finally(() => process.umask(before));
      expect([code, stderr]).toEqual([0, expect.not.stringContaining('cannot')]);
      expect((statSync(output).mode & 0o7777).toString(8)).toBe('600');
    }
    expect(readdirSync(folder)).toEqual(['out-0', 'out-191']);
  });

  test('does not replace what somebody would miss; an empty file is nothing', async () => {
    const output = join(folder, 'out');
    writeFileSync(output, '');
    expect((await memtape(...writer.words(output))).code).toBe(0);
    const first = readFileSync(output);
    const again = await memtape(...writer.words(output));
    if (writer.isReport !== true) {
      expect([again.code, again.stderr]).toEqual([
        2,
        `memtape: ${writer.option}: ${output} is there already; choose another file, or replace it with --force\n`,
      ]);
      expect(readFileSync(output).equals(first)).toBe(true);
    } else expect(again.code).toBe(0);
    expect((await memtape(...writer.words(output), ...isForced(writer))).code).toBe(0);
    const precious = join(folder, 'copy.tape');
    writeFileSync(precious, readFileSync(trace));
    const over = await memtape(...writer.words(precious));
    expect([over.code, over.stderr]).toEqual([2, expect.stringMatching(/is there already/)]);
    expect(readFileSync(precious).equals(readFileSync(trace))).toBe(true);
  });

  test('never goes over its input, by whatever name, nor into what is no file', async () => {
    const before = readFileSync(trace);
    const [hard, soft] = ['hard', 'soft'].map((name) => join(folder, name)) as [string, string];
    linkSync(trace, hard);
    symlinkSync(trace, soft);
    for (const output of writer.hasNoInput === true ? [] : [trace, hard, soft]) {
      const { code, stderr } = await memtape(...writer.words(output), ...isForced(writer));
      expect([code, stderr]).toEqual([2, expect.stringMatching(/would overwrite it; choose another/)]);
    }
    expect(readFileSync(trace).equals(before)).toBe(true);
    for (const [output, why] of [
      [folder, 'expected a file, got a folder'],
      [join(folder, 'none/x'), `there is no folder ${folder}/none`],
      [join(trace, 'x'), 'ENOTDIR'],
    ] as const) {
      const { code, stderr } = await memtape(...writer.words(output));
      expect([code, stderr]).toEqual([
        2,
        expect.stringContaining(`${writer.option}: cannot write ${output}: ${why}`),
      ]);
    }
    expect((await memtape(...writer.words('/dev/null'))).code).toBe(0);
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
  });
});

test('a link to a file is followed, and another name of the old file keeps it', async () => {
  const [file, hard, soft] = ['file', 'hard', 'soft'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(file, 'before');
  linkSync(file, hard);
  symlinkSync('file', soft);
  expect((await memtape(...writers['filter']!.words(soft), '--force')).code).toBe(0);
  expect([statSync(file).size > 100, readFileSync(hard, 'utf8'), statSync(file).nlink]).toEqual([
    true,
    'before',
    1,
  ]);
});

test('what cannot be written is known before anything is sent', async () => {
  chmodSync(folder, 0o500);
  const isRoot = process.getuid?.() === 0;
  for (const option of ['--json', '--html', '--junit', '--markdown', '--results']) {
    const output = isRoot ? '/proc/none' : join(folder, 'x');
    const { code, stderr } = await memtape('replay', trace, '--target', '127.0.0.1:1', option, output);
    // A target that is not there would be 5.
    expect([code, stderr]).toEqual([
      2,
      expect.stringContaining(`memtape: ${option}: cannot write ${output}`),
    ]);
  }
  const twice = join(root, 'twice');
  const { code, stderr } = await memtape('replay', trace, '--json', twice, '--results', twice);
  expect([code, stderr]).toEqual([2, expect.stringContaining('a file of its own for --json and --results')]);
});

test('a gate replaces its results, and nothing else', async () => {
  const gate = join(folder, 'gate.yaml');
  for (const [output, code] of [
    ['one.results', 0],
    ['one.results', 0],
    ['gate.yaml', 2],
    ['../capture.tape', 2],
  ] as const) {
    const run = `{name: one, trace: ../capture.tape, speed: max, timeout: 20s, results: ${output}}`;
    writeFileSync(gate, `format: memtape-gate/1\nruns: [${run}]\n`);
    const ran = await memtape('gate', gate, '--quiet');
    expect([output, ran.code, ran.stderr]).toEqual([
      output,
      code,
      code === 0 ? '' : expect.stringMatching(/overwrite|is there already/),
    ]);
  }
});

test('two commands on one file: one of them has it', async () => {
  const output = join(folder, 'out.tape');
  const ran = await Promise.all([1, 2].map(async () => memtape(...writers['synth']!.words(output))));
  expect(ran.map(({ code }) => code).toSorted((a, b) => a - b)).toEqual([0, 2]);
  expect(readdirSync(folder)).toEqual(['out.tape']);
});

/** Kills the command over and over, in a folder of its own, where what was killed before is still lying. */
async function killOften(to: string, random: Random, kills: number, withinMs: number): Promise<void> {
  mkdirSync(to);
  const output = join(to, 'out.tape');
  const words = ['synth', 'scale', trace, '-o', output, '--copies', '40', '--quiet', '--force'];
  for (let n = 0; n < kills; n++) {
    const child = spawn(process.execPath, [program, ...words], { stdio: 'ignore' });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await sleep(200 + random.float() * withinMs);
    child.kill('SIGKILL');
    await ended;
    for (const name of readdirSync(to)) {
      if (name !== basename(output)) expect(name).toMatch(/^\.memtape-[0-9a-f]{12}\.part$/);
      else {
        const tape = await TraceReader.open(join(to, name));
        expect([tape.truncated, tape.exchangeCount]).toEqual([false, 120_000]);
        await tape.close();
      }
    }
  }
}

test('killed at any moment, a file is whole or not there', async () => {
  const kills = Number(process.env['KILL_RUNS'] ?? 2);
  const seed = Number(process.env['KILL_SEED'] ?? 1);
  const lanes = Math.min(kills, 4);
  await Promise.all(
    Array.from({ length: lanes }, async (_, lane) =>
      killOften(
        join(folder, `${lane}`),
        new Random(seed, lane),
        Math.ceil((kills - lane) / lanes),
        500 * lanes,
      ),
    ),
  );
});
