// SIGINT and SIGTERM as an AbortSignal, so that what was done is saved; the second one ends the process.

export interface Interrupt {
  readonly signal: AbortSignal;
  /** Resolves at the first signal. */
  readonly arrived: Promise<void>;
  ignore(): void;
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
  process.on('SIGINT', arrive);
  process.on('SIGTERM', arrive);
  return {
    signal: controller.signal,
    arrived,
    ignore: () => {
      process.off('SIGINT', arrive);
      process.off('SIGTERM', arrive);
    },
  };
}
