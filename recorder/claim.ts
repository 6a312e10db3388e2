// The place of a recording's file, before there is anything to write: what stands there is refused, and the place is taken,
// so that a second recorder on the same path finds it taken. Nobody else may read what is written there.

import { chmodSync, closeSync, openSync, realpathSync, rmSync, statSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';
import { RecorderError } from './error.ts';

/** The owner alone: traces hold what production holds. */
const MODE = 0o600;

export class Claim {
  readonly path: string;
  /** The file was made here; a pipe or a device was not. */
  readonly #isMade: boolean;
  /** It is not a trace yet. */
  #isEmpty: boolean;

  /** Of the file that was made here. */
  readonly #made: Stats | undefined;

  private constructor(path: string, isMade: boolean) {
    this.path = path;
    this.#isMade = isMade;
    this.#isEmpty = isMade;
    this.#made = isMade ? statsOf(path) : undefined;
  }

  /**
   * Takes the path for a file of this recording.
   * @param overwrite whether a file that is there may be replaced
   * @throws RecorderError BAD_OUTPUT where it cannot be had
   */
  static take(path: string, overwrite: boolean): Claim {
    const there = checkOutput(path, overwrite);
    // A pipe, or a device: it is nobody's place.
    if (there !== undefined && !there.isFile()) return new Claim(path, false);
    if (there !== undefined) rmSync(realpathSync(path));
    try {
      closeSync(openSync(path, 'wx', MODE));
      // Whatever the umask takes away.
      chmodSync(path, MODE);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'EEXIST') throw taken(path);
      throw unwritable(path, cause);
    }
    return new Claim(path, true);
  }

  /** Another command has put a file of its own there. */
  get #isReplaced(): boolean {
    const there = this.#made === undefined ? undefined : statsOf(this.path);
    return there !== undefined && (there.dev !== this.#made!.dev || there.ino !== this.#made!.ino);
  }

  /** Two recorders that may both replace a file do not write into one. @throws RecorderError BAD_OUTPUT */
  check(): void {
    if (this.#isReplaced)
      throw new RecorderError(
        'BAD_OUTPUT',
        `${this.path}: another command has replaced the file of this recording, which is lost; choose an --output for each`,
      );
  }

  /** There is something to write: the place is the trace's. */
  use(): void {
    this.#isEmpty = false;
  }

  /** What was written is nothing after all. */
  remove(): void {
    if (this.#isMade && !this.#isReplaced) rmSync(this.path, { force: true });
    this.#isEmpty = false;
  }

  /** There was nothing to write. */
  release(): void {
    if (this.#isEmpty && !this.#isReplaced) rmSync(this.path, { force: true });
    this.#isEmpty = false;
  }
}

/**
 * Whether a recording could write there; what stands there, undefined where there is nothing.
 * @throws RecorderError BAD_OUTPUT
 */
export function checkOutput(path: string, overwrite: boolean): Stats | undefined {
  const there = statsOf(path);
  if (there === undefined) {
    const folder = statsOf(dirname(path));
    if (folder?.isDirectory() === true) return undefined;
    const got = folder === undefined ? 'none' : 'something else';
    throw new RecorderError('BAD_OUTPUT', `${path}: expected a folder ${dirname(path)}, got ${got}`);
  }
  if (there.isDirectory()) throw new RecorderError('BAD_OUTPUT', `${path}: expected a file, got a folder`);
  if (there.isFile() && !overwrite) throw taken(path);
  return there;
}

/** @throws RecorderError BAD_OUTPUT where the output is the input, by whatever name */
export function checkApart(input: string, output: string): void {
  const [from, to] = [statsOf(input), statsOf(output)];
  if (from === undefined || to === undefined || from.dev !== to.dev || from.ino !== to.ino) return;
  throw new RecorderError(
    'BAD_OUTPUT',
    `${input}: the trace would overwrite the capture; choose another --output`,
  );
}

function statsOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

function taken(path: string): RecorderError {
  return new RecorderError(
    'BAD_OUTPUT',
    `${path} is there already, of an earlier recording or one that is under way; choose another --output, or replace it with --force`,
  );
}

function unwritable(path: string, cause: unknown): RecorderError {
  return new RecorderError('BAD_OUTPUT', `cannot write ${path}: ${(cause as Error).message}`, { cause });
}
