// Absence: times at which the event loop was not with us, since the process was stopped, or busy, or had no processor.
// Answers that came meanwhile lie unread, and are not late: such times do not count where something is waited for.

/** Later than this, ns, was an absence. */
const LATE_NS = 50e6;
/** So much of each turn of the event loop counts, however late it is: so whatever is waited for has an end. */
const TURN_NS = 5e6;
/** Absences that are remembered. */
const KEPT = 64;

export class Absences {
  readonly #spans: { fromNs: number; toNs: number }[] = [];

  /** The event loop is with us; when it should have been. */
  see(expectedNs: number, nowNs: number): void {
    if (nowNs - expectedNs < LATE_NS || expectedNs === 0) return;
    this.#spans.push({ fromNs: expectedNs + TURN_NS, toNs: nowNs });
    if (this.#spans.length > KEPT) this.#spans.shift();
  }

  /** How long was waited, absences apart. */
  waitedNs(sinceNs: number, nowNs: number): number {
    let waited = nowNs - sinceNs;
    for (const { fromNs, toNs } of this.#spans)
      if (toNs > sinceNs) waited -= Math.min(toNs, nowNs) - Math.max(fromNs, sinceNs);
    return waited;
  }
}
