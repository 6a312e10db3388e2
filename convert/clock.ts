// The whole second of an exchange, Unix time: what formats with a resolution of one second keep of it.

import type { TraceMeta } from '../trace/meta.ts';

const NS = 1_000_000_000n;

export class Clock {
  readonly #seconds: number;
  readonly #restNs: number;

  constructor({ startNs }: Pick<TraceMeta, 'startNs'>) {
    this.#seconds = Number(BigInt(startNs) / NS);
    this.#restNs = Number(BigInt(startNs) % NS);
  }

  /** @param ns since the trace's start */
  second(ns: number): number {
    return this.#seconds + Math.floor((this.#restNs + ns) / 1e9);
  }

  /** Nanoseconds into that second. */
  nanosecond(ns: number): number {
    return (((this.#restNs + ns) % 1e9) + 1e9) % 1e9;
  }
}
