// The proof of silence: a NOOP behind quiet requests that nothing follows. Its answer says that those before it had none.

import { Opcode } from '../protocol/opcode.ts';
import type { Course } from './course.ts';
import { FENCE, SocketState, type Session } from './session.ts';
import type { Slab } from './slab.ts';

/** How long a run of quiet requests may wait before a NOOP asks for it. */
const FENCE_NS = 5e6;

export class Silence {
  /** Somebody waits for an exchange that only a proof may complete. */
  isWanted = false;
  readonly #course: Course;
  readonly #slab: Slab;
  /** Whose last requests are quiet. */
  readonly #tails = new Set<Session>();

  constructor(course: Course, slab: Slab) {
    this.#course = course;
    this.#slab = slab;
  }

  expect(session: Session): void {
    if (this.#tails.has(session)) return;
    session.fenceDueNs = this.#course.nowNs + FENCE_NS;
    this.#tails.add(session);
    // With nothing left to send there is nothing to wait for.
    if (!this.#course.isPaced || session.recorded.loaded === session.connection.exchanges)
      this.isWanted = true;
  }

  forget(session: Session): void {
    this.#tails.delete(session);
  }

  /** Whoever waits for silence gets it proven now; false where nobody does, or there is none. */
  proveWanted(): boolean {
    if (!this.isWanted || this.#tails.size === 0) return false;
    this.isWanted = false;
    for (const session of this.#tails) this.#prove(session);
    return true;
  }

  proveDue(): void {
    for (const session of this.#tails) if (session.fenceDueNs <= this.#course.nowNs) this.#prove(session);
  }

  #prove(session: Session): void {
    this.#tails.delete(session);
    // Behind a QUIT, the end of the connection is the proof. Behind half a request there is no place for a NOOP.
    if (!session.endsQuiet || session.quits || session.tail !== undefined) return;
    if (session.state !== SocketState.open) return;
    this.#slab.noop(session);
    session.outstanding.push(FENCE, Opcode.noop, session.opaque);
    session.loud++;
    session.endsQuiet = false;
    session.fenceSentNs = this.#course.nowNs;
    this.#slab.write(session);
  }
}
