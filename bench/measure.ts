// What the benches have in common: whole commands, measured in turn in one run, and tables in Markdown.

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** The command line, as users start it. */
export const command = new URL('../cli/main.js', import.meta.url).pathname;

export const say = (line: string): void => void process.stdout.write(`${line}\n`);

export function isMain({ filename }: ImportMeta): boolean {
  return filename === process.argv[1];
}

export function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n');
}

/** Runs with a folder of its own, which is gone afterwards. */
export async function inFolder<T>(run: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'memtape-bench-'));
  try {
    return await run(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Path of a peer: what the environment names, or what is on the path; undefined where it is missing. */
export function find(name: string, program: string): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return process.env[name] ?? folders.map((at) => join(at, program)).find((at) => existsSync(at));
}

export interface Cost {
  /** Seconds, user and system. */
  cpu: number;
  seconds: number;
  /** At most, resident. */
  megabytes: number;
  stdout: string;
}

/**
 * A program, from its start to its end.
 * @param core to which it is bound; by default to none
 * @param codes with which it may end
 * @throws Error where it ends with another code
 */
export function timed(
  folder: string,
  args: readonly string[],
  { core, codes = [0] }: { core?: number; codes?: readonly number[] } = {},
): Cost {
  const times = join(folder, 'times');
  const bound = core === undefined ? [] : ['taskset', '-c', String(core)];
  const [program, ...rest] = [...bound, '/usr/bin/time', '-o', times, '-f', '%U %S %e %M', ...args];
  const { status, stdout, stderr } = spawnSync(program!, rest, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (!codes.includes(status ?? -1))
    throw new Error(`${args.join(' ')} ended with ${status}: ${stderr}${stdout}`);
  const last = readFileSync(times, 'utf8').trim().split('\n').at(-1)!;
  const [user, system, seconds, kilobytes] = last.split(' ').map(Number);
  return { cpu: user! + system!, seconds: seconds!, megabytes: kilobytes! / 1024, stdout };
}

/** Captures with tcpdump what passes the port of the loopback meanwhile; returns what tcpdump said of drops. */
export async function captured(path: string, port: number, run: () => Promise<void> | void): Promise<string> {
  const args = [
    '-i',
    'lo',
    '-s',
    '0',
    '-B',
    '262144',
    '--nano',
    '-Z',
    'root',
    '-w',
    path,
    `tcp port ${port}`,
  ];
  const dump = spawn('tcpdump', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  dump.stderr.on('data', (text: Buffer) => (said += text.toString()));
  while (!said.includes('listening')) await sleep(50);
  await run();
  // What the kernel has is still to be written.
  await sleep(1500);
  const gone = new Promise((resolve) => dump.on('close', resolve));
  dump.kill('SIGINT');
  await gone;
  return /.*dropped by kernel/.exec(said)?.[0] ?? '';
}
