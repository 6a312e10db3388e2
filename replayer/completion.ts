// Completion: rows leave what is under way, in the order of their connection, and whoever waited for them is looked at.

import { isQuiet } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import { RowFlag } from '../trace/batch.ts';
import { Result } from '../trace/results.ts';
import type { Attention } from './attention.ts';
import type { Course } from './course.ts';
import type { KeyOrder } from './order.ts';
import type { Page } from './page.ts';
import { FENCE, TOMBSTONE, type Session } from './session.ts';
import { Told, type Share } from './share.ts';

export class Completion {
  /** Rows complete anywhere. */
  total = 0;
  readonly #course: Course;
  readonly #keys: KeyOrder<Session>;
  readonly #attention: Attention;
  readonly #share: Share | undefined;

  constructor(course: Course, keys: KeyOrder<Session>, attention: Attention, share: Share | undefined) {
    this.#course = course;
    this.#keys = keys;
    this.#attention = attention;
    this.#share = share;
  }

  /** The row at the head of what is under way is complete. */
  head(session: Session, page: Page, row: number): void {
    const { batch, results } = page;
    if ((batch.flags[row]! & RowFlag.refilled) !== 0) {
      const isMiss =
        results.result[row] === Result.silent ||
        (results.result[row] === Result.answered && results.status[row] === Status.notFound);
      if (isMiss) session.missed.add(batch.key(row).toString('latin1'));
    }
    this.row(page, row);
    this.pop(session);
  }

  /** A row of ours is complete. */
  row(page: Page, row: number): void {
    this.#course.progress.done++;
    this.#share?.tell(Told.complete, page.batch.firstIndex + row);
    this.leave(page, row);
  }

  /** The row is complete, here or at another worker. */
  leave(page: Page, row: number): void {
    page.left--;
    this.total++;
    const key = page.keys[row];
    if (key !== undefined) this.#keys.complete(key, page.keyNode[row]!);
  }

  /** Takes the head off, and the tombstones behind it. */
  pop(session: Session): void {
    const { outstanding } = session;
    const slot = outstanding.slot(0);
    if (outstanding.row[slot] !== TOMBSTONE && isQuiet[outstanding.opcode[slot]!] === 0) session.loud--;
    if (outstanding.row[slot] !== FENCE) this.done(session);
    outstanding.drop(1);
    while (outstanding.length > 0 && outstanding.row[outstanding.slot(0)] === TOMBSTONE) {
      this.done(session);
      outstanding.drop(1);
    }
    if (outstanding.length === 0) session.endsQuiet = false;
  }

  /** One more row of the session is complete, and all before it. */
  done(session: Session): void {
    session.done++;
    const { recorded } = session;
    recorded.rowsLeft--;
    if (session.armed > 0) this.#attention.touch(session);
    if (recorded.sessions.length > 1)
      for (const sibling of recorded.sessions)
        if (sibling !== undefined && sibling.armed > 0) this.#attention.touch(sibling);
  }
}
