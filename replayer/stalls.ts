// Time-outs that hold up a whole run, though others are answered in between: every second request is, say, or those of all
// backends but one, for which the others wait. Here time counts, and not what comes in a row: time-outs of a target that
// take a good part of its time, so that the run falls behind. What is due then is not sent, for a while.

/** Of time-outs on end: so many hold up the run. Two on end are a little less, by the time between them. */
const MAX_TIMEOUTS = 1.9;
/** Time between two takes off so much of what they took: a target that is slow on top is not forgiven for it. */
const REDEEMED = 1 / 4;
/** Where so many requests are answered for each that is not, a time-out counts less: what fails is to be found out. */
const MANY_ANSWERS = 16;
const LESS = 1 / 4;
/** A rest is at most so many time-outs long. */
const MAX_REST = 16;

export class Stalls {
  /** What time-outs took, ns; the time between them takes it off again. */
  #tookNs = 0;
  /** When the last one was over that did not overlap with the one before it. */
  #overNs = 0;
  /** Since then. */
  #timeouts = 0;
  /** The target's, when it was over. */
  #answers = 0;
  #rests = 0;

  /**
   * The request that was sent then was not answered in time.
   * @param answers of the target, so far
   * @param isBehind whether the run is behind by more than this one
   * @returns for how long the target rests, ns; 0: it does not
   */
  timedOut(
    sentNs: number,
    nowNs: number,
    timeoutNs: number,
    answers: number,
    isBehind: () => boolean,
  ): number {
    this.#timeouts++;
    if (sentNs >= this.#overNs) {
      const isMostlyWell = answers - this.#answers >= MANY_ANSWERS * this.#timeouts;
      const tookNs = (nowNs - sentNs) * (isMostlyWell ? LESS : 1);
      this.#tookNs = Math.max(0, this.#tookNs - REDEEMED * (sentNs - this.#overNs));
      if (this.#tookNs === 0) this.#rests = 0;
      this.#tookNs = Math.min(this.#tookNs + tookNs, 2 * timeoutNs);
      this.#overNs = nowNs;
      this.#timeouts = 0;
      this.#answers = answers;
    }
    if (this.#tookNs < MAX_TIMEOUTS * timeoutNs || !isBehind()) return 0;
    const restNs = timeoutNs * Math.min(MAX_REST, 2 ** this.#rests++);
    // Nothing is asked meanwhile: it is no time in which the target did well.
    this.#overNs = nowNs + restNs;
    return restNs;
  }
}
