// The proof of silence: a NOOP behind quiet requests that nothing follows. Its answer says that those before it had none.
// It is also asked where an answer came that fits no request: servers answer in order, so a NOOP tells in a round trip
// what a time-out would tell, that the requests under way have no answer of their own; and behind requests that have
// waited too long, where the target let some time out (patience.ts).

import { Opcode } from '../protocol/opcode.ts';
import type { Course } from './course.ts';
import { FENCE, SocketState, type Session } from './session.ts';
import type { Slab } from './slab.ts';

/** How long a run of quiet requests may wait before a NOOP asks for it. */
const FENCE_NS = 5e6;
/** How long other answers may take to come, behind one that fits no request. */
const DOUBT_NS = 2e6;

export class Silence {
  /** Somebody waits for an exchange that only a proof may complete. */
  isWanted = false;
  readonly #course: Course;
  readonly #slab: Slab;
  /** Whose last requests are quiet. */
  readonly #tails = new Set<Session>();
  /** Where an answer came that fits no request; and when the first of them is due. */
  readonly #doubted = new Set<Session>();
  #doubtDueNs = Infinity;

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

  /** An answer came that fits no request: it may have been that to one under way. Others may be on their way yet. */
  doubt(session: Session): void {
    if (this.#doubted.size === 0) this.#doubtDueNs = this.#course.nowNs + DOUBT_NS;
    this.#doubted.add(session);
  }

  forget(session: Session): void {
    this.#tails.delete(session);
    this.#doubted.delete(session);
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

  proveDoubted(): void {
    if (this.#course.nowNs < this.#doubtDueNs) return;
    this.#doubtDueNs = Infinity;
    for (const session of this.#doubted) {
      const { outstanding } = session;
      const last = outstanding.length - 1;
      if (last >= 0 && outstanding.row[outstanding.slot(last)] !== FENCE) this.#ask(session);
    }
    this.#doubted.clear();
  }

  /** A request has waited for so long. Asked again after twice the time: the answer to a NOOP may be lost as well. */
  askAfter(session: Session, waitedNs: number): void {
    const { outstanding, fenceSentNs } = session;
    const last = outstanding.row[outstanding.slot(outstanding.length - 1)];
    if (last !== FENCE || this.#course.nowNs - fenceSentNs > waitedNs / 2) this.#ask(session);
  }

  #prove(session: Session): void {
    this.#tails.delete(session);
    if (session.endsQuiet) this.#ask(session);
  }

  #ask(session: Session): void {
    // Behind a QUIT, the end of the connection is the proof. Behind half a request there is no place for a NOOP.
    if (session.quits || session.tail !== undefined || session.state !== SocketState.open) return;
    this.#slab.noop(session);
    session.outstanding.push(FENCE, Opcode.noop, session.opaque);
    session.loud++;
    session.endsQuiet = false;
    session.fenceSentNs = this.#course.nowNs;
    this.#slab.write(session);
  }
}
