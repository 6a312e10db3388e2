// CAS tokens: a recorded request names a version by the id that the recorded server gave it; the target gave that
// version another id. The map learns the pairs from answers, for those tokens only that some request will name. An id of
// 0 names no version: a server without CAS ids answers it, and a request that carries it is a plain store.

import { tokenOf } from '../trace/token.ts';

export class TokenMap {
  readonly #needed: ReadonlySet<number>;
  /** By recorded token: high and low half of the target's. */
  readonly #known = new Map<number, { high: number; low: number }>();

  /** @param needed the tokens that requests of the trace name, on one recorded server */
  constructor(needed: ReadonlySet<number>) {
    this.#needed = needed;
  }

  /** Whether some request names it, and both sides gave it an id. */
  learn(recordedHigh: number, recordedLow: number, high: number, low: number): boolean {
    if (this.#needed.size === 0 || (recordedHigh | recordedLow) === 0 || (high | low) === 0) return false;
    const token = tokenOf(recordedHigh, recordedLow);
    if (!this.#needed.has(token)) return false;
    this.#known.set(token, { high, low });
    return true;
  }

  /** The target's token for a recorded one; undefined where its version was never seen in this replay. */
  find(recordedHigh: number, recordedLow: number): { high: number; low: number } | undefined {
    return this.#known.get(tokenOf(recordedHigh, recordedLow));
  }
}
