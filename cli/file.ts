// Files that options name: small ones (keys, certificates, lists), and inputs that an output must not overwrite.

import { readFileSync, statSync } from 'node:fs';
import { CliError } from './error.ts';

/** @param what it is called in messages @throws CliError */
export function readSmall(path: string, what: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new CliError(`cannot read ${what} ${path}: ${(cause as Error).message}`, 2, { cause });
  }
}

/** Whether two paths lead to one file that is there, also by a link. */
export function isSameFile(a: string, b: string): boolean {
  try {
    const [one, other] = [statSync(a), statSync(b)];
    return one.dev === other.dev && one.ino === other.ino;
  } catch {
    return false;
  }
}
