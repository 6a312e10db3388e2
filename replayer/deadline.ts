// A time-out for the connections around a replay. It is told only after the sockets were read once more: where our own
// process was stopped, timers come due before the bytes that lie there are looked at.

import type { Socket } from 'node:net';

export class Deadline {
  readonly #timer: NodeJS.Timeout;
  #immediate: NodeJS.Immediate | undefined;

  constructor(afterMs: number, late: () => void) {
    this.#timer = setTimeout(() => (this.#immediate = setImmediate(late)), afterMs);
  }

  /** Counts from now on. */
  refresh(): void {
    clearImmediate(this.#immediate);
    this.#timer.refresh();
  }

  clear(): void {
    clearImmediate(this.#immediate);
    clearTimeout(this.#timer);
  }
}

/** Told once nothing was read from the socket, and nothing written, for so long. */
export function onIdle(socket: Socket, afterMs: number, idle: () => void): void {
  socket.setTimeout(afterMs, () => {
    const { bytesRead } = socket;
    setImmediate(() => {
      if (socket.bytesRead === bytesRead) idle();
    });
  });
}
