// The attacks on how the command ends: every command, with its streams closed, full or cut off, without descriptors,
// stopped by a signal, or broken by a defect. `expected` says which exit codes are honest.

import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Random } from '../../synth/laws/random.ts';
import { batchOf, writeTape, type ExchangeInit } from './tape.ts';

export const program = new URL('../../dist/cli/main.js', import.meta.url).pathname;

export interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

export interface Attack {
  name: string;
  /** The shell's command line; "$@" is the command that is attacked. */
  script: string;
  env?: NodeJS.ProcessEnv;
  /** Codes that are honest, where the command alone ends with `alone` and prints `said`. */
  expected: (alone: Ended) => readonly number[];
  /** It prints as much as alone. */
  isWhole?: true;
}

const unchanged = ({ code }: Ended): number[] => [code];
/** Output that was lost makes a pass a failure, and leaves any other code. */
const lost = ({ code, stdout }: Ended): number[] => [code === 0 && stdout !== '' ? 2 : code];
const CUT_BYTES = 1024;
/** As lost, of what is longer; and files that the command writes are cut as well. */
const cut = ({ code, stdout }: Ended): number[] => [code === 0 && stdout.length > CUT_BYTES ? 2 : code, 2, 5];
/** Without descriptors, either the work is done, or it says that it could not be. */
const starved = ({ code }: Ended): number[] => [code, 2, 5];
/** Before it listens for signals, the process is what every process is. */
const EARLY_MS = 1000;
const broken =
  (afterMs: number) =>
  ({ code }: Ended): number[] => [code, 5, ...(afterMs < EARLY_MS ? [1] : [])];
const stopped =
  (number: number, afterMs: number) =>
  ({ code }: Ended): number[] => [code, 130, ...(afterMs < EARLY_MS ? [128 + number] : [])];

/** A server that nobody stops. */
const open = preload(`(await import('node:net')).createServer().listen(0, '127.0.0.1')`);

function preload(code: string): NodeJS.ProcessEnv {
  const onMain = `if ((await import('node:worker_threads')).isMainThread) { ${code} }`;
  return { NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(onMain)}` };
}

/** Preloaded, so that it happens somewhere in the middle of the command. */
function defect(how: 'throw' | 'reject', afterMs: number): NodeJS.ProcessEnv {
  const what = how === 'throw' ? `throw new Error('boom')` : `Promise.reject(new Error('boom'))`;
  return preload(`setTimeout(() => { ${what} }, ${afterMs}).unref()`);
}

/** Every kind of attack, with moments drawn from the seed. */
export function attacksOf(seed: number): Attack[] {
  const random = new Random(seed, 0);
  const ms = (): number => Math.round(random.float() ** 2 * 2500);
  const signal = (name: string, number: number): Attack => {
    const afterMs = ms();
    return {
      name: `SIG${name}`,
      script: `"$@" & child=$!; sleep ${(afterMs / 1000).toFixed(3)}; kill -${name} $child 2>/dev/null; wait $child`,
      expected: name === 'PIPE' ? unchanged : stopped(number, afterMs),
    };
  };
  const breaking = (how: 'throw' | 'reject'): Attack => {
    const afterMs = ms();
    return { name: `a ${how}`, script: '"$@"', env: defect(how, afterMs), expected: broken(afterMs) };
  };
  return [
    { name: 'nobody reads stdout', script: '"$@" | true; exit ${PIPESTATUS[0]}', expected: unchanged },
    { name: 'two lines are read', script: '"$@" | head -2; exit ${PIPESTATUS[0]}', expected: unchanged },
    { name: 'nobody reads stderr', script: '"$@" 2> >(true)', expected: unchanged },
    { name: 'nobody reads either', script: '"$@" 2>&1 | true; exit ${PIPESTATUS[0]}', expected: unchanged },
    { name: 'stdout is full', script: '"$@" > /dev/full', expected: lost },
    { name: 'stderr is full', script: '"$@" 2> /dev/full', expected: unchanged },
    { name: 'both are full', script: '"$@" > /dev/full 2>&1', expected: lost },
    {
      name: 'a file that takes a part',
      script: 'ulimit -f 1; "$@" > cut-$$; code=$?; rm -f cut-$$; exit $code',
      expected: cut,
    },
    { name: 'stdout is closed', script: '"$@" >&-', expected: unchanged },
    { name: 'all streams are closed', script: '"$@" <&- >&- 2>&-', expected: unchanged },
    {
      name: 'a slow reader',
      script: '"$@" | (sleep 1.5; cat); exit ${PIPESTATUS[0]}',
      expected: unchanged,
      isWhole: true,
    },
    { name: 'something stays open', script: '"$@"', env: open, expected: unchanged },
    { name: '64 descriptors', script: 'ulimit -n 64; "$@"', expected: starved },
    { name: '40 descriptors', script: 'ulimit -n 40; "$@"', expected: starved },
    { name: '24 descriptors', script: 'ulimit -n 24; "$@"', expected: starved },
    breaking('throw'),
    breaking('reject'),
    signal('PIPE', 13),
    signal('HUP', 1),
    signal('TERM', 15),
    signal('INT', 2),
  ];
}

/** Runs a script of the shell with the command as "$@"; killed after a minute, which is code -1. */
export async function runAttack(
  { script, env }: Pick<Attack, 'script' | 'env'>,
  args: readonly string[],
  cwd: string,
): Promise<Ended> {
  const child = spawn('bash', ['-c', script, 'bash', process.execPath, program, ...args], {
    cwd,
    env: { ...process.env, NO_COLOR: '1', GITHUB_ACTIONS: '', GITHUB_STEP_SUMMARY: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (text: Buffer) => (stdout += text.toString()));
  child.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
  const timer = setTimeout(() => process.kill(-child.pid!, 'SIGKILL'), 60_000);
  const code = await new Promise<number>((resolve) => child.once('close', (status) => resolve(status ?? -1)));
  clearTimeout(timer);
  return { code, stdout, stderr };
}

/** A gate file with a run for each fault; an empty one is none. */
function gateOf(...faults: string[]): string {
  const run = 'trace: capture.tape, speed: max, order: none, timeout: 20s';
  const lines = faults.map((fault, n) => {
    const embedded = fault === '' ? '' : `, embedded: {faults: [${fault}]}`;
    return `  - {name: run-${n}, ${run}${embedded}}`;
  });
  return ['format: memtape-gate/1', 'runs:', ...lines, ''].join('\n');
}

/** Files for the commands, in this folder: a trace that a sick target answers wrongly, gates, a capture's name. */
export async function makeFiles(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const gets = Array.from({ length: 3000 }, (_, n): ExchangeInit => ({
    op: n % 10 === 0 ? 'set' : 'get',
    key: `key-${n % 10 === 0 ? n : n - (n % 10)}`,
    at: n * 100,
    connection: n % 7,
    ...(n % 10 === 0 ? { value: `value ${n}` } : { answer: `value ${n - (n % 10)}` }),
  }));
  await writeTape(join(folder, 'capture.tape'), [batchOf(gets)]);
  writeFileSync(join(folder, 'pass.yaml'), gateOf('', ''));
  writeFileSync(join(folder, 'fail.yaml'), gateOf('corrupt=1/50', '', 'corrupt=1/50'));
}

/** Commands, each with the code that it ends with when nothing is wrong. */
export const commands: readonly (readonly [code: number, ...args: string[]])[] = [
  [0, '--version'],
  [0, '--help'],
  [2, 'nothing-like-it'],
  [0, 'info', 'capture.tape'],
  [0, 'info', 'capture.tape', '--json'],
  [0, 'cat', 'capture.tape'],
  [0, 'cat', 'capture.tape', '--format', 'jsonl'],
  [0, 'filter', 'capture.tape', '-o', '/dev/null'],
  [0, 'convert', 'capture.tape', '/dev/null', '--to-format', 'csv'],
  [0, 'replay', 'capture.tape', '--speed', 'max', '--timeout', '20s'],
  [1, 'replay', 'capture.tape', '--speed', 'max', '--timeout', '20s', '--threshold', 'matched < 1'],
  [5, 'replay', 'capture.tape', '--target', '127.0.0.1:1'],
  [0, 'gate', 'pass.yaml'],
  [1, 'gate', 'fail.yaml'],
  [1, 'gate', 'fail.yaml', '--json', '-'],
  [0, 'gate', 'pass.yaml', '--dry-run'],
  [0, 'gate', '--schema'],
  [0, 'coverage', 'capture.tape', '--target', 'a:1,b:2', '--route', 'ketama'],
  [3, 'coverage', 'capture.tape', '--target', 'a:1,b:2', '--route', 'ketama', '--min', '100000'],
  [0, 'synth', 'etc', '-o', '/dev/null', '--requests', '3000'],
  [0, 'synth', 'list'],
  [0, 'synth', 'show', 'etc'],
  [0, 'synth', 'schema'],
  [0, 'synth', 'fit', 'capture.tape', '-o', '/dev/null'],
  [0, 'synth', 'check', 'capture.tape', 'capture.tape'],
  [
    0,
    'minimize',
    'capture.tape',
    '--finding',
    'wrong-value',
    '--fault',
    'corrupt=1/2',
    '--max-tries',
    '4',
    '-o',
    '/dev/null',
  ],
  [0, 'completion', 'bash'],
  [0, 'man'],
];
