// Time-outs that hold up a whole run, though others are answered in between: every second request is, say, or those of all
// backends but one, for which the others wait. Here time counts, and not what comes in a row: time-outs of a target that
// take a good part of its time, so that the run falls behind. What is due then is not sent, for a while.

import { ZERO_NS } from './clock.ts';

/** Of time-outs on end: so many hold up the run. Two on end are a little less, by the time between them. */
const MAX_TIMEOUTS = 1.9;
/** At its pace before the first of them, the run may take so many times as long: each answer takes that off again. */
const SLOWER = 1.5;
/** A rest is at most so many time-outs long. */
const MAX_REST = 16;

export class Stalls {
  /** For how long something was waited for that did not come, ns; answers take it off again. */
  #tookNs = ZERO_NS;
  /** When the last such wait was over. */
  #overNs = ZERO_NS;
  /** The target's, when it was over. */
  #answers = 0;
  /** Time for each answer, before the first such wait; undefined: there was none. */
  #paceNs: number | undefined;
  #rests = 0;

  /**
   * The request that was sent then has no answer: it timed out, or the answer to a NOOP told.
   * @param answers of the target, so far
   * @param paceNs time for each of them, so far
   * @param isBehind whether the run is behind by more than this one
   * @returns for how long the target rests, ns; 0: it does not
   */
  unanswered(
    sentNs: number,
    nowNs: number,
    timeoutNs: number,
    answers: number,
    paceNs: number,
    isBehind: () => boolean,
  ): number {
    const fromNs = Math.max(sentNs, this.#overNs);
    if (fromNs < nowNs) {
      if (this.#paceNs === undefined) {
        this.#paceNs = paceNs;
        this.#answers = answers;
      }
      const wellNs = SLOWER * (answers - this.#answers) * this.#paceNs;
      this.#tookNs = Math.max(0, this.#tookNs + nowNs - fromNs - wellNs);
      if (this.#tookNs === 0) this.#rests = 0;
      this.#tookNs = Math.min(this.#tookNs, 2 * timeoutNs);
      this.#overNs = nowNs;
      this.#answers = answers;
    }
    if (this.#tookNs < MAX_TIMEOUTS * timeoutNs || !isBehind()) return 0;
    const restNs = timeoutNs * Math.min(MAX_REST, 2 ** this.#rests++);
    // Nothing is asked meanwhile: it is no time in which the target did well.
    this.#overNs = nowNs + restNs;
    return restNs;
  }
}
