// The place of a file that a command writes: looked at before the work begins, written beside, under a name of its own, and
// put there when it is whole, so that a command that is killed leaves no half of a file under the final name. Files are
// their owner's alone. What is there already is replaced where that was asked for, or where it is a report.

import { randomBytes } from 'node:crypto';
import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  createReadStream,
  createWriteStream,
  linkSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  type Stats,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { CliError } from './error.ts';
import { kindOf, nameOfKind, type Kind } from './kind.ts';
import type { Shell } from './shell.ts';

/** The owner alone: traces hold what production holds, and reports name keys. */
const MODE = 0o600;

/**
 * Which files that are there may be replaced: `none` but empty ones; `all`; or all that are not what somebody would miss,
 * which is how reports are written, over and over, by CI. A gate writes its results over and over as well.
 */
export type Replacing = 'none' | 'all' | 'reports' | 'results';

export interface PlaceOptions {
  /** What the user wrote that names it: `--html`. */
  option: string;
  replacing: Replacing;
  /** Files that are read meanwhile. */
  inputs?: readonly string[];
}

/** The option of commands that write traces. */
export const forceOption = ['--force', 'replace a file that is there'] as const;

export function replacing(force: true | undefined): Replacing {
  return force === true ? 'all' : 'none';
}

const precious: Readonly<Record<'reports' | 'results', readonly Kind[]>> = {
  reports: ['capture', 'trace', 'results', 'model', 'gate', 'drills', 'packed', 'parquet'],
  results: ['capture', 'trace', 'model', 'gate', 'drills', 'packed', 'parquet', 'report', 'page'],
};

/** Looks whether something could be written there, and touches nothing. @throws CliError with the option */
export function checkPlace(path: string, options: PlaceOptions): void {
  const { option, inputs = [] } = options;
  const there = statsOf(path, option);
  if (there === undefined) return checkFolder(path, option);
  if (there.isDirectory()) throw unwritable(path, option, 'expected a file, got a folder');
  for (const input of inputs)
    if (isSame(statsOf(input, option), there))
      throw new CliError(`${input}: the output would overwrite it; choose another ${option}`, 2);
  if (there.isFile()) {
    checkReplaced(path, there, options);
    // It is replaced by another file, and so its folder has to take one.
    tryFolder(path, dirname(realpathSync(path)), option);
  } else checkAccess(path, path, option);
}

/** Several outputs of one command: each can be written, and no two are one. @throws CliError */
export function checkPlaces(places: readonly (readonly [path: string, options: PlaceOptions])[]): void {
  const taken = new Map<string, string>();
  for (const [path, options] of places) {
    checkPlace(path, options);
    const there = statsOf(path, options.option);
    if (there !== undefined && !there.isFile()) continue;
    const name = there === undefined ? resolve(path) : `${there.dev} ${there.ino}`;
    const other = taken.get(name);
    if (other !== undefined)
      throw new CliError(
        `expected a file of its own for ${other} and ${options.option}, got ${path} for both`,
        2,
      );
    taken.set(name, options.option);
  }
}

export class Place {
  readonly path: string;
  /** Where it is written. */
  readonly temporary: string;
  readonly #shell: Shell;
  readonly #options: PlaceOptions;

  private constructor(shell: Shell, path: string, temporary: string, options: PlaceOptions) {
    this.#shell = shell;
    this.path = path;
    this.temporary = temporary;
    this.#options = options;
  }

  /** @throws CliError with the option */
  static take(shell: Shell, path: string, options: PlaceOptions): Place {
    checkPlace(path, options);
    const there = statsOf(path, options.option);
    const isFile = there?.isFile() !== false;
    // What is no file, a pipe or a device, is given the whole at the end.
    const folder = isFile
      ? dirname(there === undefined ? path : realpathSync(path))
      : shell.temporaryFolder();
    const temporary = makeTemporary(path, folder, options.option);
    shell.addLeftover(temporary);
    return new Place(shell, path, temporary, options);
  }

  /**
   * Puts what was written in its place.
   * @returns where it can be read, until the command ends
   * @throws CliError where something came there meanwhile, or it cannot be put there
   */
  async publish(): Promise<string> {
    const { path, temporary } = this;
    const { option, replacing } = this.#options;
    const there = statsOf(path, option);
    try {
      if (there !== undefined && !there.isFile()) {
        await pipeline(createReadStream(temporary), createWriteStream(path));
        return temporary;
      }
      if (there === undefined && replacing === 'none') linked(temporary, path);
      else {
        if (there !== undefined) checkReplaced(path, there, this.#options);
        renameSync(temporary, there === undefined ? path : realpathSync(path));
      }
    } catch (cause) {
      if (cause instanceof CliError) throw cause;
      if ((cause as NodeJS.ErrnoException).code === 'EEXIST') throw taken(path, option);
      throw unwritable(path, option, (cause as Error).message, cause);
    }
    this.#shell.keep(temporary);
    return path;
  }

  /** Nothing of it is left. */
  discard(): void {
    this.#shell.remove(this.temporary);
  }
}

/** A small file, whole. @throws CliError */
export async function writePlace(
  shell: Shell,
  path: string,
  text: string,
  options: PlaceOptions,
): Promise<void> {
  const place = Place.take(shell, path, options);
  try {
    writeFileSync(place.temporary, text);
    await place.publish();
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw unwritable(path, options.option, (cause as Error).message, cause);
  } finally {
    place.discard();
  }
}

/** As a rename that does not replace what came there meanwhile. */
function linked(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch (cause) {
    // Some file systems have one name for each file.
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes((cause as NodeJS.ErrnoException).code ?? ''))
      throw cause;
    renameSync(from, to);
    return;
  }
  rmSync(from);
}

function checkReplaced(path: string, there: Stats, { option, replacing }: PlaceOptions): void {
  if (replacing === 'all' || there.size === 0) return;
  if (replacing === 'none') throw taken(path, option);
  const kind = kindOf(path);
  if (kind !== undefined && precious[replacing].includes(kind))
    throw new CliError(
      `${option}: ${path} is there already, and is ${nameOfKind(kind)}, which ${replacing === 'reports' ? 'a report does' : 'results do'} not replace; choose another file`,
      2,
    );
}

function checkFolder(path: string, option: string): void {
  const folder = dirname(path);
  if (basename(path) === '' || path.endsWith('/'))
    throw unwritable(path, option, 'expected a file, got a folder');
  const there = statsOf(folder, option);
  if (there === undefined) throw unwritable(path, option, `there is no folder ${folder}`);
  if (!there.isDirectory()) throw unwritable(path, option, `${folder} is no folder`);
  tryFolder(path, folder, option);
}

/** A file of its own beside the final one, empty. @throws CliError */
function makeTemporary(path: string, folder: string, option: string): string {
  const temporary = join(folder, `.memtape-${randomBytes(6).toString('hex')}.part`);
  try {
    closeSync(openSync(temporary, 'wx', MODE));
    // Whatever the umask takes away or leaves.
    chmodSync(temporary, MODE);
    return temporary;
  } catch (cause) {
    throw unwritable(path, option, (cause as Error).message, cause);
  }
}

/** A file can be made there: what the system says of rights is not all there is to it. */
function tryFolder(path: string, folder: string, option: string): void {
  rmSync(makeTemporary(path, folder, option));
}

function checkAccess(path: string, touched: string, option: string): void {
  try {
    accessSync(touched, constants.W_OK);
  } catch (cause) {
    throw unwritable(path, option, (cause as Error).message, cause);
  }
}

function statsOf(path: string, option: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    throw unwritable(path, option, (cause as Error).message, cause);
  }
}

function isSame(a: Stats | undefined, b: Stats): boolean {
  return a !== undefined && a.dev === b.dev && a.ino === b.ino;
}

function taken(path: string, option: string): CliError {
  return new CliError(
    `${option}: ${path} is there already; choose another file, or replace it with --force`,
    2,
  );
}

function unwritable(path: string, option: string, why: string, cause?: unknown): CliError {
  return new CliError(`${option}: cannot write ${path}: ${why}`, 2, cause === undefined ? {} : { cause });
}
