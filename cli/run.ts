// The command line as a function: it takes what was typed and the world around it, and returns the exit code. Several may
// run in one process, one beside the other.

import { CommanderError } from 'commander';
import { isStarved } from './descriptors.ts';
import { CliError, DEFECT, Verdict } from './error.ts';
import { withHint } from './hint.ts';
import { createProgram } from './program.ts';
import { Shell, type World } from './shell.ts';

/**
 * Runs a command to its end: everything that it printed has been handed over, or cannot be.
 * @param argv what follows the name of the program
 */
export async function run(argv: readonly string[], world: World): Promise<number> {
  return runIn(new Shell(world), argv);
}

/** As run, in a shell of the caller's. */
export async function runIn(shell: Shell, argv: readonly string[]): Promise<number> {
  let code = 0;
  try {
    const program = await createProgram(shell, argv);
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    code = fail(error, shell);
  } finally {
    shell.clear();
  }
  await shell.stdout.flush();
  const { failure } = shell.stdout;
  if (failure !== undefined) {
    shell.stderr.write(`memtape: cannot write all of standard output: ${failure.message}\n`);
    // A verdict stands, but nothing passes of which a part was lost.
    if (code === 0) code = 2;
  }
  await shell.stderr.flush();
  return code;
}

function fail(error: unknown, shell: Shell): number {
  if (error instanceof Verdict) return error.exitCode;
  if (error instanceof CommanderError) {
    // Help and --version arrive here too, with exit code 0; commander has printed what there is to say.
    return error.exitCode === 0 ? 0 : 2;
  }
  const exitCode = codeOf(error);
  if (exitCode === undefined) {
    shell.stderr.write(defectText(error));
    return DEFECT;
  }
  shell.stderr.write(`memtape: ${withHint(error as Error)}\n`);
  return exitCode;
}

export function defectText(error: unknown): string {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `memtape: this is a defect in memtape, please report it\n${text}\n`;
}

/** By the names of their classes, so that none of them is loaded for this. */
const codes: Readonly<Record<string, number>> = {
  ConfigError: 2,
  RecorderError: 2,
  ReplayError: 2,
  TraceError: 2,
  ConvertError: 2,
  ClusterError: 2,
};

export function codeOf(error: unknown): number | undefined {
  if (error instanceof CliError) return error.exitCode;
  if (!(error instanceof Error)) return undefined;
  const { code } = error as NodeJS.ErrnoException;
  if (isStarved(error)) return 2;
  if (error.name === 'ReplayError' && code === 'UNREACHABLE') return 5;
  // What was asked for could be, and was not to be had.
  if (error.name === 'ClusterError' && code !== 'USAGE') return 5;
  return Object.hasOwn(codes, error.name) ? codes[error.name] : undefined;
}
