// What the receiver of a direction has acknowledged and the capture has not shown: how far, and since when. Each hole is
// waited for from its own acknowledgement on, however many stand before it. Acknowledgements that come close to one another
// are one.

import { NEVER } from '../trace/batch.ts';

/** Of the time that a hole is waited for: acknowledgements so close are one. */
const CLOSE = 1 / 16;

interface Proof {
  to: number;
  /** When the first of those that are one came, and the last. */
  firstNs: number;
  ns: number;
}

export class Proofs {
  /** Bytes before this one were received. */
  furthest = 0;
  #waiting: Proof[] = [];

  /** Of the oldest that is waited for: when it came; NEVER where there is none. */
  get since(): number {
    return this.#waiting[0]?.ns ?? NEVER;
  }

  /** How far the oldest one goes. */
  get oldest(): number {
    return this.#waiting[0]?.to ?? this.furthest;
  }

  /** @param patienceNs so long a hole is waited for */
  add(to: number, ns: number, patienceNs: number): void {
    if (to <= this.furthest) return;
    this.furthest = to;
    const last = this.#waiting.at(-1);
    if (last === undefined || ns - last.firstNs > patienceNs * CLOSE)
      this.#waiting.push({ to, firstNs: ns, ns });
    else Object.assign(last, { to, ns });
  }

  /** Bytes up to here have come, or were given up. */
  reached(at: number): void {
    while (this.#waiting.length > 0 && this.#waiting[0]!.to <= at) this.#waiting.shift();
  }

  /** The stream ends here: what is acknowledged behind is no byte. */
  endAt(at: number): void {
    this.furthest = Math.min(this.furthest, at);
    for (const proof of this.#waiting) proof.to = Math.min(proof.to, at);
  }

  /** Nothing behind this is known to be received. */
  restart(at: number): void {
    this.furthest = at;
    this.#waiting = [];
  }
}
