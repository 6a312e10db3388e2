// SIGINT, SIGTERM and SIGHUP as an AbortSignal, so that what was done is saved; the second one ends the process.

export interface Interrupt {
  readonly signal: AbortSignal;
  /** Resolves at the first signal. */
  readonly arrived: Promise<void>;
  ignore(): void;
}

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
let listeners = 0;

/** Whether there is something that has to be saved before the process may end. */
export function isInterruptible(): boolean {
  return listeners > 0;
}

export function onInterrupt(): Interrupt {
  const controller = new AbortController();
  const arrived = new Promise<void>((resolve) =>
    controller.signal.addEventListener('abort', () => resolve(), { once: true }),
  );
  const arrive = (): void => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
  };
  for (const signal of signals) process.on(signal, arrive);
  listeners++;
  return {
    signal: controller.signal,
    arrived,
    ignore: () => {
      for (const signal of signals) process.off(signal, arrive);
      listeners--;
    },
  };
}
