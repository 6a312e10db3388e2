// Time-outs in a row, on one connection or one target: after a few, requests to it are not sent for a while, which grows
// as long as nothing gets better. So what a target that does not answer costs is bounded by time-outs in a row, and not
// by the number of requests. A target that is silent altogether is down at its first (probe.ts).

/** A rest is at most so many time-outs long. */
const MAX_REST = 16;

export class Strikes {
  /** Requests are not sent before, by the clock, ns. */
  restsUntilNs = 0;
  readonly #most: number;
  readonly #enough: number;
  #inRow = 0;
  #answers = 0;
  #lastNs = 0;

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
    if (this.#inRow > 0 && ++this.#answers >= this.#enough) this.#inRow = 0;
  }

  /** The request that was sent then was not answered in time. @returns whether a rest begins */
  timedOut(sentNs: number, nowNs: number, timeoutNs: number): boolean {
    // What was under way at the last one tells nothing new.
    if (sentNs < this.#lastNs) return false;
    this.#lastNs = nowNs;
    this.#answers = 0;
    this.#inRow++;
    if (this.#inRow < this.#most) return false;
    this.restsUntilNs = nowNs + timeoutNs * Math.min(MAX_REST, 2 ** (this.#inRow - this.#most));
    return true;
  }
}
