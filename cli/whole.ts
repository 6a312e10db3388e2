// Files that are written whole or not at all: an interrupt ends the work, and leaves nothing of it behind.

import { lstatSync, rmSync } from 'node:fs';
import { Verdict } from './error.ts';
import { onInterrupt } from './signal.ts';

/**
 * Does the work that writes `output`. Where the file was there before and was not touched yet, it stays.
 * @param work is to call `check` every now and then, which ends it after an interrupt
 * @throws Verdict 130 after one
 */
export async function writeWhole<T>(output: string, work: (check: () => void) => Promise<T>): Promise<T> {
  const before = stampOf(output);
  const interrupt = onInterrupt();
  try {
    return await work(() => {
      if (interrupt.signal.aborted) throw new Verdict(130);
    });
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    if (stampOf(output) !== before) rmSync(output, { force: true });
    process.stderr.write(`memtape: interrupted; ${output} was not finished, and nothing of it is left\n`);
    throw new Verdict(130);
  } finally {
    interrupt.ignore();
  }
}

/** Changes when something writes the file; always the same for what is no file: a pipe, a device. */
function stampOf(path: string): string {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return 'absent';
  return stats.isFile() ? `${stats.ino} ${stats.size} ${stats.mtimeMs}` : 'no file';
}
