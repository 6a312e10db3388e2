// Receiving: a response is paired with the request that it answers, compared, and completes it; what it passes over was
// silent.

import { bodyLengthAt, opaqueAt, opcodeAt, statusAt } from '../protocol/header.ts';
import { Opcode, isQuiet } from '../protocol/opcode.ts';
import { isQuit } from '../protocol/semantics.ts';
import { Status } from '../protocol/status.ts';
import { Outcome } from '../trace/batch.ts';
import { Result } from '../trace/results.ts';
import { tokenOf } from '../trace/token.ts';
import { keepAnswer, keepFrames } from './answer.ts';
import type { Completion } from './completion.ts';
import type { Course } from './course.ts';
import { Flooded } from './dial.ts';
import { rowOf } from './handle.ts';
import type { Page } from './page.ts';
import { FENCE, TOMBSTONE, type Session } from './session.ts';
import { Told, type Share } from './share.ts';
import type { Silence } from './silence.ts';
import { itemOf } from './tokens.ts';
import type { Window } from './window.ts';

/** Answers to nothing, one after the other on one connection: what floods it is not waited for. */
const MAX_ORPHANS = 1000;
const MAX_STAT_BYTES = 4 * 1024 * 1024;

export class Receiving {
  readonly #course: Course;
  readonly #window: Window;
  readonly #completion: Completion;
  readonly #silence: Silence;
  readonly #share: Share | undefined;
  readonly #unanswered: (session: Session, sentNs: number) => void;

  /** @param unanswered told of requests to which, as a NOOP tells, no answer comes, with when the first was sent */
  constructor(
    course: Course,
    window: Window,
    completion: Completion,
    silence: Silence,
    share: Share | undefined,
    unanswered: (session: Session, sentNs: number) => void,
  ) {
    this.#course = course;
    this.#window = window;
    this.#completion = completion;
    this.#silence = silence;
    this.#share = share;
    this.#unanswered = unanswered;
  }

  /** One response frame: data[at, end). */
  response(session: Session, data: Buffer, at: number, end: number): void {
    const course = this.#course;
    const now = course.nowNs;
    session.target.lastAnswerNs = now;
    session.lastAnswerNs = now;
    const { outstanding } = session;
    const opcode = opcodeAt(data, at);
    const opaque = opaqueAt(data, at);
    if (session.stat !== undefined) {
      const head = outstanding.slot(0);
      if (opcode === Opcode.stat && opaque === outstanding.opaque[head])
        return this.#statFrame(session, data, at, end);
      this.statEnd(session);
    }
    let n = 0;
    while (n < outstanding.length) {
      const slot = outstanding.slot(n);
      if (outstanding.opaque[slot] === opaque && outstanding.row[slot] !== TOMBSTONE) break;
      n++;
    }
    if (n === outstanding.length || (n === 0 && session.quitAnswered))
      return this.#orphan(session, opcode, opaque);
    session.target.answers++;
    session.target.strikes.answered();
    session.strikes.answered();
    session.orphans = 0;
    if (n > 0 && outstanding.row[outstanding.slot(n)] === FENCE) this.#tellUnanswered(session, n);
    // What was not sent leaves with the request before it: the count is of what is left.
    for (const left = outstanding.length - n; outstanding.length > left;) this.#passOver(session);
    const slot = outstanding.slot(0);
    const handle = outstanding.row[slot]!;
    if (handle === FENCE) return this.#completion.pop(session);
    const page = this.#window.of(handle);
    const row = rowOf(handle);
    const { results } = page;
    results.answeredNs[row] = now - course.startNs;
    keepAnswer(page.batch, results, row, data, at, end);
    if (results.agrees[row] === 0) course.progress.differ++;
    if (opcode !== outstanding.opcode[slot]) {
      results.agrees[row] = 0;
      results.result[row] = Result.malformed;
      this.#completion.head(session, page, row);
      return;
    }
    results.result[row] = Result.answered;
    session.lastAnswered.opaque = opaque;
    session.lastAnswered.index = page.batch.firstIndex + row;
    course.progress.answered++;
    // It is complete once the connection has ended.
    if (isQuit(opcode)) {
      session.quitAnswered = true;
      return;
    }
    const status = statusAt(data, at);
    if (opcode === Opcode.stat && status === Status.ok && bodyLengthAt(data, at) > 0) {
      session.stat = [];
      session.statBytes = 0;
      this.#statFrame(session, data, at, end);
      return;
    }
    this.#learnToken(session, page, row, status);
    this.#completion.head(session, page, row);
  }

  #orphan(session: Session, opcode: number, opaque: number): void {
    const { patience, strikes } = session.target;
    strikes.strayed();
    if (opaque >= session.unanswered.from && opaque <= session.unanswered.to) patience.refuted();
    session.strikes.strayed();
    this.#course.orphan(session, opcode, opaque);
    // What is answered twice says nothing of those under way.
    if (session.outstanding.length > 0 && opaque !== session.lastAnswered.opaque)
      this.#silence.doubt(session);
    if (++session.orphans > MAX_ORPHANS)
      session.drop(new Flooded(`${session.orphans} answers in a row to nothing that was asked`));
  }

  /** A NOOP behind so many was answered: those of them that are not quiet have no answer. */
  #tellUnanswered(session: Session, count: number): void {
    const { outstanding, target, unanswered } = session;
    if (target.patience.ns === Infinity) return;
    let firstNs = Infinity;
    for (let n = 0; n < count; n++) {
      const slot = outstanding.slot(n);
      const handle = outstanding.row[slot]!;
      if (handle < 0 || isQuiet[outstanding.opcode[slot]!] === 1) continue;
      unanswered.to = outstanding.opaque[slot]!;
      if (firstNs !== Infinity) continue;
      if (unanswered.from === 0) unanswered.from = unanswered.to;
      firstNs = this.#course.startNs + this.#window.of(handle).results.sentNs[rowOf(handle)]!;
    }
    if (firstNs === Infinity) return;
    target.patience.proved();
    this.#unanswered(session, firstNs);
  }

  /** The STAT under way has all the frames that it will get. */
  statEnd(session: Session): void {
    const handle = session.outstanding.row[session.outstanding.slot(0)]!;
    const page = this.#window.of(handle);
    keepFrames(page.results, rowOf(handle), session.stat!);
    session.stat = undefined;
    this.#completion.head(session, page, rowOf(handle));
  }

  #statFrame(session: Session, data: Buffer, at: number, end: number): void {
    session.statBytes += end - at;
    if (session.statBytes <= MAX_STAT_BYTES) session.stat!.push(Buffer.from(data.subarray(at, end)));
    if (statusAt(data, at) !== Status.ok || bodyLengthAt(data, at) === 0) this.statEnd(session);
  }

  #learnToken(session: Session, page: Page, row: number, status: number): void {
    const { batch, results } = page;
    const high = batch.answerCasHigh[row]!;
    const low = batch.answerCasLow[row]!;
    if ((high | low) === 0 || status !== Status.ok || batch.status[row] !== Status.ok) return;
    if (batch.outcome[row] !== Outcome.answered) return;
    const toHigh = results.casHigh[row]!;
    const toLow = results.casLow[row]!;
    const token = tokenOf(high, low);
    if ((toHigh | toLow) === 0 || !session.tokens.isNeeded(token)) return;
    const { serverIndex, space } = session.connection;
    const item = itemOf(batch, row, space);
    session.tokens.learn(token, item, toHigh, toLow);
    this.#share?.tell(Told.token, serverIndex, token, item, toHigh, toLow);
  }

  /** The head is behind an answered request: silent where it is quiet, else its answer is not coming. */
  #passOver(session: Session): void {
    const { outstanding } = session;
    const slot = outstanding.slot(0);
    const handle = outstanding.row[slot]!;
    if (handle < 0) {
      this.#completion.pop(session);
      return;
    }
    const page = this.#window.of(handle);
    const row = rowOf(handle);
    const opcode = outstanding.opcode[slot]!;
    // What is answered behind a QUIT says that the connection stayed open.
    const quit = isQuit(opcode);
    if (quit) {
      session.quits = false;
      session.quitAnswered = false;
    }
    const quiet = isQuiet[opcode] === 1 && !quit;
    page.results.result[row] = quiet ? Result.silent : Result.unanswered;
    if (quiet) page.results.answeredNs[row] = this.#course.nowNs - this.#course.startNs;
    this.#completion.head(session, page, row);
  }
}
