#!/usr/bin/env node
// The `memtape` command. It imports nothing of its own at first, so that whatever goes wrong while the rest is loaded is told
// in a line, and does not end with 1, which would be a verdict.

import process from 'node:process';

const LEAST_NODE = [20, 19] as const;
const USAGE = 2;
const DEFECT = 5;
const INTERRUPTED = 130;

function isTooOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < LEAST_NODE[0] || (major === LEAST_NODE[0] && minor < LEAST_NODE[1]);
}

function fail(message: string, code: number): never {
  process.stderr.write(`memtape: ${message}\n`);
  process.exit(code);
}

/** Nothing that was not foreseen may end with 1. */
function abort(error: unknown): never {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return fail(`this is a defect in memtape, please report it\n${text}`, DEFECT);
}

/** What is heard until the command line is there, which hears of it then. */
const early: Record<string, (error: unknown) => never> = {
  uncaughtException: abort,
  unhandledRejection: abort,
  SIGINT: () => process.exit(INTERRUPTED),
  SIGTERM: () => process.exit(INTERRUPTED),
  SIGHUP: () => process.exit(INTERRUPTED),
};

for (const [name, listener] of Object.entries(early)) process.on(name, listener);
if (isTooOld(process.versions.node))
  fail(`expected Node.js ${LEAST_NODE.join('.')} or newer, got ${process.versions.node}`, USAGE);
try {
  const { loadSparingly } = await import('./descriptors.ts');
  await loadSparingly(new URL('process.js', import.meta.url));
  const { runProcess } = await import('./process.ts');
  for (const [name, listener] of Object.entries(early)) process.off(name, listener);
  await runProcess();
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  // Node tells of modules as missing that it could not open.
  if (code === 'EMFILE' || code === 'ENFILE' || code === 'ERR_MODULE_NOT_FOUND')
    fail(`${message}; is the limit of open files too low, or the installation not whole?`, USAGE);
  abort(error);
}
