// Patience: for how long a request is waited for before a NOOP is sent behind it, to learn whether it has an answer.
// Servers answer in order, so the answer to a NOOP tells in a round trip what else only a time-out tells. That is asked of
// a target only once a request timed out on it while others were answered. So a target that loses answers now and then
// costs one time-out and not one for each, and everything is asked of it.

/** Of a time-out: the first requests to be asked after may merely be slow. */
const FIRST = 1 / 4;
/** Not sooner, ns: by then, servers have answered. */
const MIN_NS = 4e6;

export class Patience {
  /** A request without an answer for so long is asked after, ns. Infinity: none is. */
  ns = Infinity;
  #isInOrder = true;

  /** A request had no answer in time, and others had. */
  timedOut(timeoutNs: number): void {
    if (this.#isInOrder) this.ns = Math.min(this.ns, timeoutNs * FIRST);
  }

  /** A NOOP was answered, and what was asked before it was not. */
  proved(): void {
    this.ns = Math.max(MIN_NS, this.ns / 2);
  }

  /** What a NOOP had told not to come came: this target answers in another order, so its NOOPs prove nothing. */
  refuted(): void {
    this.#isInOrder = false;
    this.ns = Infinity;
  }
}
