// SIGINT, SIGTERM and SIGHUP as an AbortSignal, so that what was done is saved; the second one ends the command at once.

import type { Shell } from './shell.ts';

export interface Interrupt {
  readonly signal: AbortSignal;
  /** Resolves at the first signal. */
  readonly arrived: Promise<void>;
  ignore(): void;
}

export const INTERRUPTED = 130;

const interrupts = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export function onInterrupt(shell: Shell): Interrupt {
  const controller = new AbortController();
  const arrived = new Promise<void>((resolve) =>
    controller.signal.addEventListener('abort', () => resolve(), { once: true }),
  );
  const arrive = (): void => {
    if (controller.signal.aborted) shell.quit(INTERRUPTED);
    else controller.abort();
  };
  for (const signal of interrupts) shell.listen(signal, arrive);
  return {
    signal: controller.signal,
    arrived,
    ignore: () => shell.ignore(arrive),
  };
}
