// Losing a connection: what becomes of the requests under way on it, and for how long its target is left alone.

import { ProtocolError } from '../protocol/error.ts';
import { Opcode, isQuiet } from '../protocol/opcode.ts';
import { Result, SkipReason } from '../trace/results.ts';
import type { Completion } from './completion.ts';
import type { Course } from './course.ts';
import { Refused } from './dial.ts';
import { rowOf } from './page.ts';
import type { Receiving } from './receiving.ts';
import type { Session, TargetState } from './session.ts';
import type { Silence } from './silence.ts';
import type { Window } from './window.ts';

/** After a target refused, or a request to it ran out of time with nothing heard since: no requests for this long. */
const BACK_OFF_NS = 250e6;
const MAX_BACK_OFF_NS = 5e9;

export class Losing {
  readonly #course: Course;
  readonly #window: Window;
  readonly #completion: Completion;
  readonly #receiving: Receiving;
  readonly #silence: Silence;

  constructor(
    course: Course,
    window: Window,
    completion: Completion,
    receiving: Receiving,
    silence: Silence,
  ) {
    this.#course = course;
    this.#window = window;
    this.#completion = completion;
    this.#receiving = receiving;
    this.#silence = silence;
  }

  /** The socket is gone. */
  lost(session: Session, error: Error | undefined, wasOpen: boolean): void {
    const course = this.#course;
    if (error !== undefined) course.incident(session, error.message);
    else if (session.outstanding.length > 0) {
      if (!obeysQuit(session)) course.incident(session, 'closed by the target');
    } else if (session.recorded.rowsLeft > 0)
      course.incident(session, 'closed by the target between requests');
    if (!wasOpen && !(error instanceof Refused)) this.#leaveAlone(session.target);
    if (error instanceof ProtocolError) this.#malformed(session);
    this.#loseOutstanding(session, Result.closed);
  }

  /** The request at the head, sent then, had no answer in time: it costs the connection. */
  timedOut(session: Session, sentNs: number, timeoutMs: number): void {
    // Nothing from the target since, on any connection: it is not this connection that is slow.
    if (session.target.lastAnswerNs < sentNs) this.#leaveAlone(session.target);
    this.#loseOutstanding(session, Result.unanswered);
    session.drop(new Error(`no answer within ${timeoutMs} ms`));
  }

  #leaveAlone(target: TargetState): void {
    const forNs = Math.min(BACK_OFF_NS * 2 ** target.failures, MAX_BACK_OFF_NS);
    target.downUntilNs = this.#course.nowNs + forNs;
    if (target.failures < 10) target.failures++;
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

  #loseOutstanding(session: Session, how: Result): void {
    const course = this.#course;
    if (session.stat !== undefined) this.#receiving.statEnd(session);
    const { outstanding } = session;
    // A QUIT flushes the replies before it: whatever was silent until then, was.
    const proven = outstanding.length > 0 && how === Result.closed && obeysQuit(session);
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
      const quiet = isQuiet[outstanding.opcode[slot]!] === 1;
      const silent = quiet && proven;
      page.results.result[row] = silent ? Result.silent : quiet ? Result.indeterminate : how;
      // The first had no answer; those behind it lose their connection by our own hand.
      if (!quiet && how === Result.unanswered && !isFirst) {
        page.results.result[row] = Result.closed;
        page.results.reason[row] = SkipReason.behind;
      }
      isFirst = false;
      if (!quiet && !proven) course.progress.failed++;
      if (silent) page.results.answeredNs[row] = course.nowNs - course.startNs;
      this.#completion.head(session, page, row);
    }
    this.#silence.forget(session);
  }
}

/** The target closes because the last request told it to. */
function obeysQuit({ outstanding }: Session): boolean {
  const opcode = outstanding.opcode[outstanding.slot(outstanding.length - 1)];
  return opcode === Opcode.quit || opcode === Opcode.quitq;
}
