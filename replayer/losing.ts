// Losing a connection: what becomes of the requests under way on it, and whether its target is down, or rests.

import { ProtocolError } from '../protocol/error.ts';
import { isQuiet } from '../protocol/opcode.ts';
import { isQuit } from '../protocol/semantics.ts';
import { Result, SkipReason } from '../trace/results.ts';
import type { Attention } from './attention.ts';
import type { Completion } from './completion.ts';
import type { Course } from './course.ts';
import { Flooded, Refused } from './dial.ts';
import { rowOf } from './handle.ts';
import type { Page } from './page.ts';
import type { Probes } from './probe.ts';
import type { Receiving } from './receiving.ts';
import type { Roster } from './roster.ts';
import type { Session, TargetState } from './session.ts';
import type { Silence } from './silence.ts';
import type { Window } from './window.ts';

/** With a schedule, a run may be late by less than so many time-outs. */
const MAX_LATE = 1.9;
/** A session stands still that had no answer for this share of a time-out. So many of all that move are few. */
const MOVING = 1 / 8;
const FEW = 1 / 4;

export class Losing {
  readonly #course: Course;
  readonly #window: Window;
  readonly #roster: Roster;
  readonly #attention: Attention;
  readonly #completion: Completion;
  readonly #receiving: Receiving;
  readonly #silence: Silence;
  readonly #probes: Probes;
  readonly #timeoutMs: number;

  constructor(
    rooms: {
      course: Course;
      window: Window;
      roster: Roster;
      attention: Attention;
      completion: Completion;
      receiving: Receiving;
      silence: Silence;
      probes: Probes;
    },
    timeoutMs: number,
  ) {
    this.#course = rooms.course;
    this.#window = rooms.window;
    this.#roster = rooms.roster;
    this.#attention = rooms.attention;
    this.#completion = rooms.completion;
    this.#receiving = rooms.receiving;
    this.#silence = rooms.silence;
    this.#probes = rooms.probes;
    this.#timeoutMs = timeoutMs;
  }

  /** The socket is gone. */
  lost(session: Session, error: Error | undefined, wasOpen: boolean): void {
    const course = this.#course;
    if (error !== undefined) course.incident('lost', session, error.message);
    else if (session.outstanding.length > 0) {
      if (!session.quits) course.incident('lost', session, 'closed by the target');
    } else if (session.recorded.rowsLeft > 0)
      course.incident('lost', session, 'closed by the target between requests');
    if (!wasOpen && !(error instanceof Refused)) this.#probes.begin(session);
    if (wasOpen && session.outstanding.length > 0) this.#broken(session);
    if (error instanceof Flooded) this.#strike(session, course.nowNs);
    if (error instanceof ProtocolError) this.#malformed(session);
    this.#loseOutstanding(session, Result.closed, error === undefined);
  }

  /** The request at the head, sent then, had no answer in time: it costs the connection. */
  timedOut(session: Session, sentNs: number): void {
    // Nothing from the target since, on any connection: it is not this connection that is slow. A QUIT has no answer
    // to wait for, but the end of its own connection.
    const { outstanding, target } = session;
    if (!isQuit(outstanding.opcode[outstanding.slot(0)]!)) {
      if (target.lastAnswerNs < sentNs) this.#probes.begin(session);
      else target.patience.timedOut(this.#timeoutMs * 1e6);
      this.#strike(session, sentNs);
    }
    this.#loseOutstanding(session, Result.unanswered, false);
    session.drop(new Error(`no answer within ${this.#timeoutMs} ms`));
  }

  /** Time-outs in a row: requests that nobody will answer are not sent for a while. */
  #strike(session: Session, sentNs: number): void {
    const { nowNs } = this.#course;
    const { target, strikes } = session;
    const timeoutNs = this.#timeoutMs * 1e6;
    const isResting = strikes.timedOut(sentNs, nowNs, timeoutNs);
    const isTargetResting = target.strikes.timedOut(sentNs, nowNs, timeoutNs);
    const stallNs = this.#stall(target, sentNs, () => this.#isBehind(session));
    if (stallNs > 0) target.strikes.rest(nowNs + stallNs);
    if (isTargetResting || stallNs > 0) this.#touchAll(target);
    if (isResting || isTargetResting) this.#rests(session, 'no answer several times in a row');
    else if (stallNs > 0) this.#rests(session, 'time-outs hold up the run');
  }

  /** The answer to a NOOP told that the request that was sent then has none. Short waits, but they may be many. */
  unanswered(session: Session, sentNs: number): void {
    const { nowNs, isPaced } = this.#course;
    const { target } = session;
    const isBehind = (): boolean => !isPaced || this.#isBehind(session);
    const stallNs = this.#stall(target, sentNs, isBehind);
    if (stallNs === 0) return;
    target.strikes.rest(nowNs + stallNs);
    this.#touchAll(target);
    this.#rests(session, 'requests without an answer hold up the run');
  }

  /** @returns for how long the target rests, ns; 0: it does not */
  #stall(target: TargetState, sentNs: number, isBehind: () => boolean): number {
    const { nowNs, startNs } = this.#course;
    const { answers, lastAnswerNs, stalls } = target;
    const paceNs = answers === 0 ? 0 : (lastAnswerNs - startNs) / answers;
    return stalls.unanswered(sentNs, nowNs, this.#timeoutMs * 1e6, answers, paceNs, isBehind);
  }

  #rests(session: Session, why: string): void {
    const { strikes, target } = session;
    const restNs = Math.max(strikes.restsUntilNs, target.strikes.restsUntilNs) - this.#course.nowNs;
    this.#course.incident(
      'rest',
      session,
      `${why}: what is due in the next ${Math.round(restNs / 1e6)} ms is not sent`,
    );
  }

  /** What is due at the target is skipped now, and not once what it waits for has come. */
  #touchAll(target: TargetState): void {
    for (const session of this.#roster.sessions)
      if (session !== undefined && session.target === target && session.armed > 0)
        this.#attention.touch(session);
  }

  /** With a schedule, by what waits on the session; else, whether most sessions of the target stand still. */
  #isBehind({ target, first, armed }: Session): boolean {
    const { nowNs, startNs, isPaced } = this.#course;
    const timeoutNs = this.#timeoutMs * 1e6;
    if (isPaced) {
      if (armed === 0) return false;
      const dueNs = startNs + this.#course.dueNs(this.#window.of(first), rowOf(first));
      return nowNs - dueNs > MAX_LATE * timeoutNs;
    }
    let [all, moving] = [0, 0];
    for (const { target: other, armed: due, outstanding, lastAnswerNs } of this.#roster.open) {
      if (other !== target || due + outstanding.length === 0) continue;
      all++;
      if (nowNs - lastAnswerNs < MOVING * timeoutNs) moving++;
    }
    return moving < FEW * all;
  }

  /** Connections that break are opened again at once, but not for ever. */
  #broken(session: Session): void {
    const { target } = session;
    const isUseless = target.strikes.broke(this.#course.nowNs, this.#timeoutMs * 1e6);
    if (!isUseless || target.down !== SkipReason.none) return;
    this.#probes.begin(session, SkipReason.resting);
    this.#course.incident(
      'rest',
      session,
      `every connection broke for ${this.#timeoutMs} ms: nothing is sent until a NOOP is answered`,
    );
  }

  /** What came is no frame: it stands where the answer to the first loud request should be. */
  #malformed(session: Session): void {
    const { outstanding } = session;
    while (outstanding.length > 0 && isQuiet[outstanding.opcode[outstanding.slot(0)]!] === 1) {
      const handle = outstanding.row[outstanding.slot(0)]!;
      if (handle < 0) this.#completion.pop(session);
      else this.#completion.head(session, this.#window.of(handle), rowOf(handle));
    }
    if (outstanding.length === 0) return;
    const handle = outstanding.row[outstanding.slot(0)]!;
    if (handle < 0) return this.#completion.pop(session);
    this.#course.progress.failed++;
    const page = this.#window.of(handle);
    page.results.result[rowOf(handle)] = Result.malformed;
    this.#completion.head(session, page, rowOf(handle));
  }

  /** @param isOrderly the target ended the connection, and sent before that what it had to send */
  #loseOutstanding(session: Session, how: Result, isOrderly: boolean): void {
    const course = this.#course;
    if (session.stat !== undefined) this.#receiving.statEnd(session);
    const { outstanding } = session;
    // A QUIT flushes the replies before it: whatever was silent until then, was.
    let isProven = isOrderly && session.quits;
    let isFirst = true;
    while (outstanding.length > 0) {
      const slot = outstanding.slot(0);
      const handle = outstanding.row[slot]!;
      if (handle < 0) {
        this.#completion.pop(session);
        continue;
      }
      const page = this.#window.of(handle);
      const row = rowOf(handle);
      const { results } = page;
      const opcode = outstanding.opcode[slot]!;
      const quit = isQuit(opcode);
      if (quit) isProven = false;
      if (isQuiet[opcode] === 1 && !quit) {
        results.result[row] = isProven ? Result.silent : Result.indeterminate;
        if (isProven) results.answeredNs[row] = course.nowNs - course.startNs;
      } else {
        this.#loseOne(session, page, row, quit, isFirst ? how : Result.closed);
        // The first had no answer; those behind it lose their connection by our own hand.
        if (how === Result.unanswered && !isFirst) results.reason[row] = SkipReason.behind;
        isFirst = false;
      }
      this.#completion.head(session, page, row);
    }
    this.#silence.forget(session);
  }

  /** A request that is not quiet, or a QUITQ: the end of the connection is what a QUIT asked for. */
  #loseOne(session: Session, { results }: Page, row: number, isQuit: boolean, how: Result): void {
    const isObeyed = isQuit && how === Result.closed;
    if (!isObeyed) this.#course.progress.failed++;
    if (isObeyed && session.quitAnswered) session.quitAnswered = false;
    else results.result[row] = how;
  }
}
