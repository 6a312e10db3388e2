// Standard output and standard error as a command writes to them. A reader that goes away ends the printing and not the
// work; a disk that is full is remembered, and the exit code says so at the end.

import type { Writable } from 'node:stream';

export type Stream = Writable & { isTTY?: boolean; columns?: number };

/** A pipe or a socket was closed: whoever read it has seen all that they wanted. */
const unread = new Set(['EPIPE', 'ECONNRESET', 'ERR_STREAM_DESTROYED']);

export class Printer {
  readonly stream: Stream;
  #failure: Error | undefined;
  #isGone = false;
  #hasWritten = false;
  readonly #waiting = new Set<() => void>();
  readonly #fail = (error: NodeJS.ErrnoException): void => {
    this.#isGone = true;
    // Of a terminal that is gone, EIO is all that is left.
    const isUnread = unread.has(error.code ?? '') || (error.code === 'EIO' && this.isTTY);
    if (!isUnread) this.#failure ??= error;
    this.#wake();
  };
  readonly #wake = (): void => {
    for (const resume of this.#waiting) resume();
    this.#waiting.clear();
  };

  constructor(stream: Stream) {
    this.stream = stream;
    stream.on('error', this.#fail);
    stream.on('drain', this.#wake);
    stream.on('close', this.#wake);
  }

  get isTTY(): boolean {
    return this.stream.isTTY === true;
  }

  /** Nobody reads any more: what only prints may end here. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /** Why something could not be written, other than that nobody reads. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  write(text: string): void {
    if (this.#isGone || text === '') return;
    this.#hasWritten = true;
    try {
      this.stream.write(text);
    } catch (error) {
      // Files are written at once, and some versions of Node throw what happens then.
      this.#fail(error as Error);
    }
  }

  /** Resolves when there is room for more, or nobody reads. */
  async drained(): Promise<void> {
    while (!this.#isGone && this.stream.writableNeedDrain)
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
  }

  /** Resolves when everything was handed to the system, or cannot be. */
  async flush(): Promise<void> {
    if (this.#isGone || !this.#hasWritten || this.stream.destroyed) return;
    await new Promise<void>((resolve) => {
      this.#waiting.add(resolve);
      this.stream.write('', () => resolve());
    });
    this.#waiting.clear();
  }
}
