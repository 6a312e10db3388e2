// The version of memtape, as files and reports name it: that of the package that this module is part of.

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export const version = readVersion();

function readVersion(): string {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    const path = join(folder, 'package.json');
    if (existsSync(path)) return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
    if (folder === dirname(folder)) throw new Error('memtape: its package.json is missing');
  }
}
