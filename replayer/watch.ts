// The watch: every few milliseconds it looks for what does not come by itself: answers and connections that are out of
// time, connections to close, and an order that cannot be kept.

import { isQuiet } from '../protocol/opcode.ts';
import { Absences } from './absence.ts';
import type { Attention } from './attention.ts';
import type { Completion } from './completion.ts';
import type { Course } from './course.ts';
import type { Losing } from './losing.ts';
import { rowOf } from './handle.ts';
import type { Probes } from './probe.ts';
import type { Readiness } from './readiness.ts';
import type { Roster } from './roster.ts';
import { FENCE, SocketState, type Session } from './session.ts';
import type { Silence } from './silence.ts';
import type { Window } from './window.ts';

const CHECK_NS = 20e6;
/** Where requests are asked after before they time out. */
const HASTY_CHECK_NS = 4e6;

export class Watch {
  readonly #course: Course;
  readonly #window: Window;
  readonly #roster: Roster;
  readonly #attention: Attention;
  readonly #readiness: Readiness;
  readonly #completion: Completion;
  readonly #silence: Silence;
  readonly #losing: Losing;
  readonly #probes: Probes;
  readonly #timeoutMs: number;
  /** Without progress for so long, rows that wait are stuck. */
  readonly #stuckNs: number;
  readonly #absences = new Absences();
  #checkedNs = 0;
  #everyNs = CHECK_NS;
  /** How many rows were complete when that number last changed, and when that was. */
  #progressed = 0;
  #progressedNs = 0;

  constructor(
    rooms: {
      course: Course;
      window: Window;
      roster: Roster;
      attention: Attention;
      readiness: Readiness;
      completion: Completion;
      silence: Silence;
      losing: Losing;
      probes: Probes;
    },
    timeoutMs: number,
    stuckTimeouts: number,
  ) {
    this.#course = rooms.course;
    this.#window = rooms.window;
    this.#roster = rooms.roster;
    this.#attention = rooms.attention;
    this.#readiness = rooms.readiness;
    this.#completion = rooms.completion;
    this.#silence = rooms.silence;
    this.#losing = rooms.losing;
    this.#probes = rooms.probes;
    this.#timeoutMs = timeoutMs;
    this.#stuckNs = timeoutMs * stuckTimeouts * 1e6;
  }

  begin(): void {
    this.#progressedNs = this.#course.startNs;
  }

  /** The event loop is with us: later than it should? */
  wake(): void {
    this.#absences.see(this.#course.expectedTickNs, this.#course.nowNs);
  }

  /** @param flush looks at every session that something happened to */
  check(flush: () => void): void {
    const { nowNs } = this.#course;
    this.#silence.proveDoubted();
    if (nowNs - this.#checkedNs < this.#everyNs) return;
    this.#checkedNs = nowNs;
    this.#everyNs = this.#roster.leastPatienceNs < 4 * CHECK_NS ? HASTY_CHECK_NS : CHECK_NS;
    this.#silence.proveDue();
    this.#probes.check();
    for (const session of this.#roster.open) {
      if (session.state === SocketState.connecting) {
        if (this.#waited(session.connectingSinceNs) > this.#timeoutMs * 1e6)
          session.drop(new Error(`no connection within ${this.#timeoutMs} ms`));
      } else if (session.outstanding.length > 0) this.#checkAnswer(session);
      else if (session.recorded.rowsLeft === 0) this.#roster.closeIfDue(session);
    }
    this.#unstick(flush);
    flush();
  }

  /** For how long, while we were there to look. Most waits are short, and need no second look. */
  #waited(sinceNs: number): number {
    const { nowNs } = this.#course;
    const waited = nowNs - sinceNs;
    return waited > this.#timeoutMs * 1e6 ? this.#absences.waitedNs(sinceNs, nowNs) : waited;
  }

  #checkAnswer(session: Session): void {
    // It was not wholly sent yet.
    if (session.tail !== undefined) return;
    const { startNs } = this.#course;
    const { outstanding } = session;
    const handle = outstanding.row[outstanding.slot(0)]!;
    let sentNs =
      handle === FENCE
        ? session.fenceSentNs
        : startNs + this.#window.of(handle).results.sentNs[rowOf(handle)]!;
    // What is quiet is told by the answer to what came behind it.
    const isQuietHead = isQuiet[outstanding.opcode[outstanding.slot(0)]!] === 1;
    if (handle === session.splitHandle || isQuietHead) sentNs = Math.max(sentNs, session.tailSentNs);
    const waitedNs = this.#waited(sentNs);
    if (waitedNs > this.#timeoutMs * 1e6) this.#losing.timedOut(session, sentNs);
    else if (waitedNs > session.target.patience.ns && handle !== FENCE)
      this.#silence.askAfter(session, waitedNs);
  }

  /**
   * Nothing is under way, nothing comes to be, and rows are due: they wait for one another. No recording gives such an
   * order; a file made by hand may.
   */
  #unstick(flush: () => void): void {
    const { nowNs } = this.#course;
    if (this.#completion.total !== this.#progressed) {
      this.#progressed = this.#completion.total;
      this.#progressedNs = nowNs;
      return;
    }
    if (this.#waited(this.#progressedNs) < this.#stuckNs) return;
    this.#progressedNs = nowNs;
    const open = [...this.#roster.open];
    const stuck = open.filter(({ armed }) => armed > 0);
    const goesOn = open.some(
      ({ outstanding, state }) => outstanding.length > 0 || state === SocketState.connecting,
    );
    if (stuck.length === 0 || goesOn) return;
    this.#course.incident('disorder', stuck[0]!, 'the trace asks for an order that cannot be kept');
    this.#readiness.ignoresOrder = true;
    for (const session of stuck) this.#attention.touch(session);
    flush();
    this.#readiness.ignoresOrder = false;
  }
}
