// The command line in this process: what was typed in, the exit code and what was printed out. A few tests start the
// binary instead, where it is the process that is tested.

import { EventEmitter } from 'node:events';
import { Readable, Writable } from 'node:stream';
import { run } from '../../cli/run.ts';
import type { World } from '../../cli/shell.ts';

export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  stdin?: Readable;
  /** Told of signals, as the process would be. */
  signals?: EventEmitter;
  /** Hears what is printed, as it comes. */
  onPrint?: (text: string) => void;
}

/** The environment of tests: no colours, and no CI system that would want reports of its own. */
export const quiet = { NO_COLOR: '1', GITHUB_ACTIONS: '', GITHUB_STEP_SUMMARY: '' };

/** A world to run commands in, and what they printed there. */
export function worldOf(options: RunOptions = {}): { world: World; said: Pick<Ran, 'stdout' | 'stderr'> } {
  const { env = {}, cwd = process.cwd(), stdin = Readable.from([]), signals = new EventEmitter() } = options;
  const said = { stdout: '', stderr: '' };
  const into = (name: keyof typeof said): Writable =>
    new Writable({
      decodeStrings: false,
      write: (text: string, _encoding, done) => {
        said[name] += text;
        options.onPrint?.(text);
        done();
      },
    });
  const world = {
    stdin,
    stdout: into('stdout'),
    stderr: into('stderr'),
    env: { ...process.env, ...quiet, ...env },
    cwd,
    signals,
    quit: () => undefined,
  };
  return { world, said };
}

export async function runMemtape(args: readonly string[], options?: RunOptions): Promise<Ran> {
  const { world, said } = worldOf(options);
  return { code: await run(args, world), ...said };
}

export async function memtape(...args: string[]): Promise<Ran> {
  return runMemtape(args);
}
