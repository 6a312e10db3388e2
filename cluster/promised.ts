// Promises that others keep: what comes by messages, and is waited for elsewhere.

export interface Promised<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: Error) => void;
}

/** A promise that others keep; that nobody waits for it yet is no defect where it fails. */
export function promised<T = void>(): Promised<T> {
  let settle: Omit<Promised<T>, 'promise'> | undefined;
  const promise = new Promise<T>((resolve, reject) => (settle = { resolve, reject }));
  promise.catch(() => undefined);
  return { promise, resolve: settle!.resolve, reject: settle!.reject };
}
