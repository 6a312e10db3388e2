#!/usr/bin/env node
// The `memtape` command: runs what was asked for, and makes one line and an exit code of a failure.

import { CommanderError } from 'commander';
import { ConfigError } from '../config/error.ts';
import { ConvertError } from '../convert/error.ts';
import { RecorderError } from '../recorder/error.ts';
import { ReplayError } from '../replayer/error.ts';
import { TraceError } from '../trace/error.ts';
import { CliError, Verdict } from './error.ts';
import { isInterruptible } from './signal.ts';
import { createProgram } from './program.ts';

async function main(argv: readonly string[]): Promise<number> {
  const program = createProgram();
  try {
    await program.parseAsync(argv);
    return 0;
  } catch (error) {
    return fail(error);
  }
}

function fail(error: unknown): number {
  if (error instanceof Verdict) return error.exitCode;
  if (error instanceof CommanderError) {
    // Help and --version arrive here too, with exit code 0; commander has printed what there is to say.
    return error.exitCode === 0 ? 0 : 2;
  }
  const exitCode = codeOf(error);
  if (exitCode !== undefined) {
    process.stderr.write(`memtape: ${(error as Error).message}\n`);
    return exitCode;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`memtape: this is a defect in memtape, please report it\n${text}\n`);
  return 5;
}

function codeOf(error: unknown): number | undefined {
  if (error instanceof CliError) return error.exitCode;
  if (error instanceof ConfigError) return 2;
  if (error instanceof RecorderError) return 2;
  if (error instanceof ReplayError) return error.code === 'UNREACHABLE' ? 5 : 2;
  if (error instanceof TraceError) return 2;
  if (error instanceof ConvertError) return 2;
  return undefined;
}

// A reader that goes away (`memtape cat … | head`) is no failure, and what is being written elsewhere is finished first.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  if (!isInterruptible()) process.exit(0);
});
// Nobody is there to be told.
process.stderr.on('error', () => undefined);

process.exitCode = await main(process.argv);
