// The command line with the streams, the environment and the signals of this process. It ends the process itself, once
// everything is printed, so that no socket or thread keeps it alive after its verdict.

import { fstatSync, writeSync } from 'node:fs';
import { Writable } from 'node:stream';
import { DEFECT } from './error.ts';
import type { Stream } from './printer.ts';
import { defectText, runIn } from './run.ts';
import { Shell } from './shell.ts';
import { INTERRUPTED } from './signal.ts';

/** Runs what was typed, and ends the process. */
export async function runProcess(): Promise<never> {
  process.on('uncaughtException', abort);
  process.on('unhandledRejection', abort);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      // A command that has something to save listens too.
      if (process.listenerCount(signal) === 1) end(INTERRUPTED);
    });
  return end(await runIn(shell, process.argv.slice(2)));
}

/** Node takes a write to a file for whole of which the disk took a part only. */
function streamOf(standard: () => Stream, fd: number): Stream {
  if (!isFile(fd)) return standard();
  return new Writable({
    write: (data: Buffer, _encoding, done) => {
      try {
        for (let at = 0; at < data.length;) at += writeSync(fd, data, at);
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  });
}

function isFile(fd: number): boolean {
  try {
    return fstatSync(fd).isFile();
  } catch {
    return false;
  }
}

const shell = new Shell({
  get stdin() {
    return process.stdin;
  },
  stdout: streamOf(() => process.stdout, 1),
  stderr: streamOf(() => process.stderr, 2),
  env: process.env,
  cwd: process.cwd(),
  signals: process,
  quit: end,
});

function end(code: number): never {
  shell.clear();
  process.exit(code);
}

/** Nothing that was not foreseen may end with 1, which is a verdict. */
function abort(error: unknown): void {
  shell.stderr.write(defectText(error));
  shell.stderr.flush().then(
    () => end(DEFECT),
    () => end(DEFECT),
  );
}
