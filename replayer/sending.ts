// Sending: what a session may send leaves, as far as order, pipeline and socket allow; what must not be sent is skipped.

import { isQuiet } from '../protocol/opcode.ts';
import { isQuit } from '../protocol/semantics.ts';
import { Outcome, RowFlag } from '../trace/batch.ts';
import { Result, SkipReason } from '../trace/results.ts';
import type { Completion } from './completion.ts';
import type { Course } from './course.ts';
import type { Gate } from './gate.ts';
import { NONE, rowOf } from './handle.ts';
import type { Page } from './page.ts';
import type { Readiness } from './readiness.ts';
import type { Roster } from './roster.ts';
import { SocketState, TOMBSTONE, type Session } from './session.ts';
import type { Silence } from './silence.ts';
import type { Slab } from './slab.ts';
import type { Tails } from './tail.ts';
import type { Window } from './window.ts';

/** A socket with more than this unwritten is not written to. */
const MAX_UNWRITTEN = 1024 * 1024;
/** Requests under way on one connection, quiet ones included, whatever the recording did. */
export const MAX_OUTSTANDING = 65_536;

export class Sending {
  readonly #course: Course;
  readonly #window: Window;
  readonly #roster: Roster;
  readonly #readiness: Readiness;
  readonly #completion: Completion;
  readonly #slab: Slab;
  readonly #silence: Silence;
  readonly #gate: Gate;
  readonly #pipeline: number;
  readonly #tails: Tails | undefined;
  readonly #send: (session: Session) => void;

  /**
   * @param pipeline loud requests under way on one connection at most
   * @param tails for what was recorded in parts to leave in two; undefined: everything leaves whole
   */
  constructor(
    rooms: {
      course: Course;
      window: Window;
      roster: Roster;
      readiness: Readiness;
      completion: Completion;
      slab: Slab;
      silence: Silence;
    },
    gate: Gate,
    pipeline: number,
    tails: Tails | undefined,
  ) {
    this.#course = rooms.course;
    this.#window = rooms.window;
    this.#roster = rooms.roster;
    this.#readiness = rooms.readiness;
    this.#completion = rooms.completion;
    this.#slab = rooms.slab;
    this.#silence = rooms.silence;
    this.#gate = gate;
    this.#pipeline = pipeline;
    this.#tails = tails;
    // One look at this before all, and none for each request.
    this.#send =
      tails === undefined ? (session) => this.#sendGroup(session) : (session) => this.#sendParts(session);
  }

  /** Sends what the session may send. */
  pump(session: Session): void {
    const course = this.#course;
    course.look();
    while (session.armed > 0) {
      const reason = course.isAborted ? SkipReason.aborted : this.#reasonToSkip(session);
      if (reason !== SkipReason.none) {
        this.#skip(session, reason);
        continue;
      }
      if (session.state !== SocketState.open) {
        if (session.state === SocketState.closed) this.#roster.connect(session);
        session.blocked = true;
        return;
      }
      if (this.#isHeld(session) || !this.#hasRoom(session) || !this.#readiness.isReady(session)) {
        session.blocked = true;
        break;
      }
      if (session.blocked) {
        session.blocked = false;
        // What ended the wait may have lain there for as long as we did not look.
        session.unblockedNs = course.nowNs - Math.max(0, course.nowNs - course.expectedTickNs);
      }
      this.#send(session);
    }
    if (session.state === SocketState.open) {
      this.#slab.write(session);
      if (session.endsQuiet && !session.quits) this.#silence.expect(session);
    }
  }

  #reasonToSkip(session: Session): SkipReason {
    const reason = this.#gate(this.#window.of(session.first).batch, rowOf(session.first));
    if (reason !== SkipReason.none) return reason;
    const { target, strikes } = session;
    const { nowNs } = this.#course;
    const isClosed = session.state === SocketState.closed;
    if (isClosed && session.isRefused) return SkipReason.unreachable;
    if (isClosed && target.down !== SkipReason.none) return target.down;
    // On connections that are open, too: each would wait for a time-out of its own, one after the other.
    const rests = target.strikes.restsUntilNs > nowNs || (isClosed && strikes.restsUntilNs > nowNs);
    return rests ? SkipReason.resting : SkipReason.none;
  }

  /**
   * Behind half a request nothing may be sent. Behind a QUIT the connection is of no use: what follows waits until the
   * target has closed it, and takes another one. What the recorded server dropped behind a QUIT goes where it went.
   */
  #isHeld(session: Session): boolean {
    if (session.tail !== undefined) return true;
    if (!session.quits) return false;
    const outcome = this.#window.of(session.first).batch.outcome[rowOf(session.first)]!;
    return outcome !== Outcome.unanswered && outcome !== Outcome.indeterminate;
  }

  #hasRoom({ loud, outstanding, socket }: Session): boolean {
    return (
      loud < this.#pipeline && outstanding.length < MAX_OUTSTANDING && socket!.writableLength <= MAX_UNWRITTEN
    );
  }

  #sendGroup(session: Session): void {
    const rows = session.readyRows;
    for (let sent = 0; sent < rows; sent++) this.#sendOne(session, sent);
  }

  /** The same of what may leave in two parts: what follows in the group waits for the second. */
  #sendParts(session: Session): void {
    const rows = session.readyRows;
    for (let sent = 0; sent < rows && session.tail === undefined; sent++) {
      const handle = session.first;
      if (this.#sendOne(session, sent)) this.#tails!.hold(session, handle);
    }
  }

  /** Whether it left; else it was skipped. @param before how many of its group were looked at before */
  #sendOne(session: Session, before: number): boolean {
    const handle = session.first;
    const page = this.#window.of(handle);
    const row = rowOf(handle);
    const reason = isNeedless(session, page, row)
      ? SkipReason.notNeeded
      : before === 0
        ? SkipReason.none
        : this.#gate(page.batch, row);
    const isSent = reason === SkipReason.none && this.#slab.request(session, page, row);
    if (isSent) this.#sent(session, page, row, handle);
    else this.#skip(session, reason === SkipReason.none ? SkipReason.unmappableCas : reason);
    return isSent;
  }

  #sent(session: Session, page: Page, row: number, handle: number): void {
    unlink(session, page, row);
    const { batch, results } = page;
    const course = this.#course;
    const now = course.nowNs - course.startNs;
    const intended = course.isPaced ? course.dueNs(page, row) : now;
    const blocked = course.isPaced
      ? Math.max(0, Math.min(session.unblockedNs, course.nowNs) - course.startNs - intended)
      : 0;
    results.intendedNs[row] = intended;
    results.sentNs[row] = Math.max(now, intended);
    results.blockedNs[row] = blocked;
    results.result[row] = Result.indeterminate;
    results.reason[row] = SkipReason.none;
    const opcode = batch.opcode[row]!;
    session.outstanding.push(handle, opcode, session.opaque);
    if (isQuit(opcode)) session.quits = true;
    if (isQuiet[opcode] === 1) session.endsQuiet = true;
    else {
      session.loud++;
      session.endsQuiet = false;
    }
    const { progress } = course;
    progress.sent++;
    progress.positionNs = intended;
    const lag = Math.max(now, intended) - intended - blocked;
    if (lag > progress.lagNs) progress.lagNs = lag;
  }

  /** The front row is not sent. It keeps its place in the order in which the connection's rows complete. */
  #skip(session: Session, reason: SkipReason): void {
    const page = this.#window.of(session.first);
    const row = rowOf(session.first);
    unlink(session, page, row);
    page.results.result[row] = Result.skipped;
    page.results.reason[row] = reason;
    if (this.#course.isPaced) page.results.intendedNs[row] = this.#course.dueNs(page, row);
    this.#completion.row(page, row);
    if (session.outstanding.length === 0) this.#completion.done(session);
    else session.outstanding.push(TOMBSTONE, 0, 0);
  }
}

/** The front row leaves the queue of its session. */
function unlink(session: Session, page: Page, row: number): void {
  const next = page.next[row]!;
  session.first = next;
  if (next === NONE) session.last = NONE;
  session.armed--;
  if (session.readyRows > 0) session.readyRows--;
  else session.nextUnchecked = next;
}

/** It would store again what a read missed, and that read did not. */
function isNeedless({ missed }: Session, { batch }: Page, row: number): boolean {
  if ((batch.flags[row]! & RowFlag.refill) === 0) return false;
  return missed.size === 0 || !missed.delete(batch.key(row).toString('latin1'));
}
