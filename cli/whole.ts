// Files that are written whole or not at all: an interrupt, or an error, ends the work and leaves nothing of it behind.

import { Verdict } from './error.ts';
import { Place, type PlaceOptions } from './place.ts';
import type { Shell } from './shell.ts';
import { INTERRUPTED, onInterrupt } from './signal.ts';

/**
 * Does the work that writes `output`. What stood there before stays until the new file is whole.
 * @param work is given the path to write to, and calls `check` every now and then, which ends it after an interrupt
 * @throws Verdict 130 after one · CliError where the file cannot be written · what the work throws
 */
export async function writeWhole<T>(
  shell: Shell,
  output: string,
  options: PlaceOptions,
  work: (path: string, check: () => void) => Promise<T>,
): Promise<T> {
  const place = Place.take(shell, output, options);
  const interrupt = onInterrupt(shell);
  try {
    const made = await work(place.temporary, () => {
      if (interrupt.signal.aborted) throw new Verdict(INTERRUPTED);
    });
    await place.publish();
    return made;
  } catch (error) {
    if (!interrupt.signal.aborted) throw renamed(error, place);
    shell.stderr.write(`memtape: interrupted; ${output} was not finished, and nothing of it is left\n`);
    throw new Verdict(INTERRUPTED);
  } finally {
    place.discard();
    interrupt.ignore();
  }
}

/** An error names the file that was asked for. */
export function renamed(error: unknown, { temporary, path }: Place): unknown {
  if (error instanceof Error) error.message = error.message.replaceAll(temporary, path);
  return error;
}
