// Time-outs in a row, on one connection or one target: after a few, requests to it are not sent for a while, which grows
// as long as nothing gets better. So what a target that does not answer costs is bounded by time-outs in a row, and not
// by the number of requests. A target that is silent altogether is down at its first (probe.ts). A target that breaks its
// connections, each at a request, does not let anything wait; but once it has done nothing else for a whole time-out, it
// is left alone too, until a probe is answered.

import { ZERO_NS } from './clock.ts';

/** A rest is at most so many time-outs long. */
const MAX_REST = 16;
/** Of connections that break, so many in a row at least: a few break whenever a server restarts. */
const MAX_BREAKS = 8;

export class Strikes {
  /** Requests are not sent before, by the clock, ns. */
  restsUntilNs = ZERO_NS;
  readonly #most: number;
  readonly #enough: number;
  #inRow = 0;
  #answers = 0;
  /** Answers to nothing since then: where they are as many, what fits a request does so by chance. */
  #strays = 0;
  #lastNs = ZERO_NS;
  /** Connections that broke since the last answer, and when the first of them did. */
  #breaks = 0;
  #brokenSinceNs = ZERO_NS;

  /**
   * @param most time-outs in a row, after which it rests
   * @param enough answers between two time-outs, which say that it is single requests that have none
   */
  constructor(most: number, enough: number) {
    this.#most = most;
    this.#enough = enough;
  }

  /** A request was answered. */
  answered(): void {
    this.#breaks = 0;
    if (this.#inRow === 0) return;
    this.#answers++;
    if (this.#answers >= this.#enough && this.#answers > this.#strays) this.#inRow = 0;
  }

  /** An answer came that no request asked for. */
  strayed(): void {
    this.#strays++;
  }

  /** The request that was sent then was not answered in time. @returns whether a rest begins */
  timedOut(sentNs: number, nowNs: number, timeoutNs: number): boolean {
    // What was under way at the last one tells nothing new.
    if (sentNs < this.#lastNs) return false;
    this.#lastNs = nowNs;
    this.#answers = 0;
    this.#strays = 0;
    this.#inRow++;
    if (this.#inRow < this.#most) return false;
    this.restsUntilNs = nowNs + timeoutNs * Math.min(MAX_REST, 2 ** (this.#inRow - this.#most));
    return true;
  }

  /** Requests are not sent until then, if not for longer. */
  rest(untilNs: number): void {
    this.restsUntilNs = Math.max(this.restsUntilNs, untilNs);
  }

  /** A connection broke that requests were on. @returns whether none was answered for a whole time-out meanwhile */
  broke(nowNs: number, timeoutNs: number): boolean {
    if (this.#breaks++ === 0) this.#brokenSinceNs = nowNs;
    return this.#breaks >= MAX_BREAKS && nowNs - this.#brokenSinceNs >= timeoutNs;
  }
}
