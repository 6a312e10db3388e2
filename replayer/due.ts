// What is due: rows of the window join what their session may send, in the order of the trace.

import type { Attention } from './attention.ts';
import type { Course } from './course.ts';
import type { Page } from './page.ts';
import type { Roster } from './roster.ts';
import type { Share } from './share.ts';
import type { Window } from './window.ts';

export class Due {
  readonly #course: Course;
  readonly #window: Window;
  readonly #roster: Roster;
  readonly #attention: Attention;
  readonly #share: Share | undefined;

  constructor(
    course: Course,
    window: Window,
    roster: Roster,
    attention: Attention,
    share: Share | undefined,
  ) {
    this.#course = course;
    this.#window = window;
    this.#roster = roster;
    this.#attention = attention;
    this.#share = share;
  }

  arm(): void {
    const course = this.#course;
    const window = this.#window;
    const share = this.#share;
    const { perConnection, sessions } = this.#roster;
    for (;;) {
      const page = window.pages[window.cursorPage];
      if (page === undefined) return;
      const { batch, linked } = page;
      while (window.cursorRow < linked) {
        const row = window.cursorRow;
        if (course.isPaced && this.#intendedNs(page, row) > course.nowNs) return;
        const id = batch.connection[row]!;
        window.cursorRow++;
        if (share !== undefined && !share.owns(id)) continue;
        const session =
          perConnection === 1 ? sessions[id]! : sessions[id * perConnection + page.results.target[row]!]!;
        session.armed++;
        this.#attention.touch(session);
      }
      if (linked < batch.count) return;
      window.cursorPage++;
      window.cursorRow = 0;
    }
  }

  /** When the next row is due, by the clock; Infinity where none has a time. */
  nextNs(): number {
    const { pages, cursorPage, cursorRow } = this.#window;
    const page = pages[cursorPage];
    if (!this.#course.isPaced || page === undefined) return Infinity;
    return cursorRow < page.linked ? this.#intendedNs(page, cursorRow) : this.#course.nowNs;
  }

  #intendedNs(page: Page, row: number): number {
    return this.#course.startNs + this.#course.dueNs(page, row);
  }
}
