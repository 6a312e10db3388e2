// Commands as the proofs of faults run them: under a limit, in an environment, or on a small file system.

import { execFileSync, spawn, type ChildProcessByStdio } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';

const command = new URL('../cli/main.js', import.meta.url).pathname;

/** How many characters are kept of what a command prints. */
const KEPT_CHARS = 65_536;

export interface Ended {
  code: number | null;
  /** On its standard error. */
  said: string;
  /** On its standard output, as far as that is kept. */
  printed: string;
  ms: number;
}

export interface Started {
  child: ChildProcessByStdio<null, Readable, Readable>;
  /** On its standard error, so far. */
  said: () => string;
  ended: Promise<Ended>;
}

/** @param wrap what the command is run by: a program and its arguments */
export function start(
  words: readonly string[],
  wrap: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Started {
  const [program, ...args] = [...wrap, process.execPath, command, ...words];
  const from = performance.now();
  const child = spawn(program!, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  let [said, printed] = ['', ''];
  child.stdout.on('data', (text: Buffer) => {
    if (printed.length < KEPT_CHARS) printed += text.toString();
  });
  child.stderr.on('data', (text: Buffer) => (said += text.toString()));
  const ended = new Promise<Ended>((resolve) =>
    child.once('close', (code) => resolve({ code, said, printed, ms: performance.now() - from })),
  );
  return { child, said: () => said, ended };
}

export const run = async (...given: Parameters<typeof start>): Promise<Ended> => start(...given).ended;
/** What runs a command under a limit of the shell. */
export const limited = (limit: string): string[] => ['bash', '-c', `ulimit ${limit}; exec "$@"`, 'bash'];

/** Mounts a file system of so many kilobytes there, where one may. */
export function mount(to: string, kilobytes: number): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${kilobytes}k`, 'tmpfs', to], { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
}

/** What it holds of memory, in megabytes: now, or at most so far. 0: it is gone. */
export function megabytesOf(pid: number, of: 'VmRSS' | 'VmHWM' = 'VmRSS'): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(new RegExp(`${of}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

export function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It is gone.
  }
}

export function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
      .trim()
      .split(' ')
      .filter(Boolean)
      .map(Number);
  } catch {
    return [];
  }
}
