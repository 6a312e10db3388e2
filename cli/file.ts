// Small files that options name: keys, certificates, lists.

import { readFileSync } from 'node:fs';
import { CliError } from './error.ts';

/** @param what it is called in messages @throws CliError */
export function readSmall(path: string, what: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new CliError(`cannot read ${what} ${path}: ${(cause as Error).message}`, 2, { cause });
  }
}
