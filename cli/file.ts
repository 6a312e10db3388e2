// Files that options name: small ones (keys, certificates, lists), and inputs by a pattern.

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { globPattern } from '../trace/glob.ts';
import { CliError } from './error.ts';

/** @param what it is called in messages @throws CliError */
export function readSmall(path: string, what: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new CliError(`cannot read ${what} ${path}: ${(cause as Error).message}`, 2, { cause });
  }
}

/** Paths whose last part has `*` or `?`, for shells that leave them as they are, become the files that match. @throws CliError */
export function expandFiles(paths: readonly string[]): string[] {
  return paths.flatMap((path) => {
    if (!/[*?]/.test(basename(path)) || existsSync(path)) return [path];
    const folder = dirname(path);
    const pattern = globPattern(basename(path));
    const found = namesIn(folder).filter((name) => pattern.test(name) && !name.startsWith('.'));
    if (found.length === 0) throw new CliError(`${path}: expected files that match, got none`, 2);
    return found.toSorted().map((name) => join(folder, name));
  });
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (cause) {
    throw new CliError(`cannot read ${folder}: ${(cause as Error).message}`, 2, { cause });
  }
}
