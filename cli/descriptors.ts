// The limit of open files. Node opens all modules that a module imports at once, which a low limit does not allow; then
// they are loaded one after the other, the innermost first.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** As many as no command needs for its modules and a few dozen connections. */
const ENOUGH = 256;

/** How many files the process may have open; Infinity where the system does not say. */
export function openFileLimit(): number {
  try {
    const [, soft] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
    return soft === undefined ? Infinity : Number(soft);
  } catch {
    return Infinity;
  }
}

/** Whether an error is for want of file descriptors. Under a low limit, Node tells of modules as missing. */
export function isStarved(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EMFILE' || code === 'ENFILE' || /\bE[MN]FILE\b/.test(error.message)) return true;
  const isMissing = code === 'ERR_MODULE_NOT_FOUND' || /^Cannot find (package|module)\b/.test(error.message);
  return isMissing && openFileLimit() < ENOUGH;
}

export const starvedHint = 'raise the limit of open files, for instance with: ulimit -n 1024';

/** Loads a module of the build, and what it imports, with few files open at a time, where only few may be open. */
export async function loadSparingly(url: URL): Promise<void> {
  if (openFileLimit() < ENOUGH && import.meta.url.endsWith('.js')) await loadInnermost(url, new Set());
}

async function loadInnermost(url: URL, seen: Set<string>): Promise<void> {
  if (seen.has(url.href)) return;
  seen.add(url.href);
  for (const inner of importsOf(url)) await loadInnermost(inner, seen);
  await import(url.href);
}

/** What it imports in any case. Packages of one file need no care; those of many are ES modules. */
function importsOf(url: URL): URL[] {
  const text = readFileSync(fileURLToPath(url), 'utf8');
  return Array.from(
    text.matchAll(/^(?:import|export)\b[^;]*?\bfrom\s*['"]([^'"]+)['"]/gm),
    ([, name]) => name!,
  )
    .filter((name) => !name.startsWith('node:'))
    .map((name) => new URL(name.startsWith('.') ? new URL(name, url).href : import.meta.resolve(name)))
    .filter(({ pathname }) => pathname.endsWith('.js') || pathname.endsWith('.mjs'));
}
