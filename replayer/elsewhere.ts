// What other workers do: their rows are loaded here as well, for the order, and are complete once they say so.

import { SkipReason } from '../trace/results.ts';
import type { Completion } from './completion.ts';
import type { Course } from './course.ts';
import type { Page } from './page.ts';
import type { Roster } from './roster.ts';
import type { Share, ShareEvents } from './share.ts';
import type { Window } from './window.ts';

export class Elsewhere implements ShareEvents {
  readonly #share: Share;
  readonly #course: Course;
  readonly #window: Window;
  readonly #roster: Roster;
  readonly #completion: Completion;
  /** Rows that are complete there, and not loaded here yet. */
  readonly #early = new Set<number>();

  constructor(share: Share, course: Course, window: Window, roster: Roster, completion: Completion) {
    this.#share = share;
    this.#course = course;
    this.#window = window;
    this.#roster = roster;
    this.#completion = completion;
  }

  hear(): void {
    this.#share.hear(this);
  }

  complete(index: number): void {
    if (this.#course.isAborted) return;
    const page = this.#window.ofIndex(index);
    if (page === undefined) this.#early.add(index);
    else this.#leave(page, index - page.batch.firstIndex);
  }

  token(server: number, token: number, item: number, high: number, low: number): void {
    this.#roster.tokens[server]?.learn(token, item, high, low);
  }

  /** Whether the loaded row is another worker's; what was told of it before is done to it. */
  takes(page: Page, row: number): boolean {
    if (this.#share.owns(page.batch.connection[row]!)) return false;
    const index = page.batch.firstIndex + row;
    if (this.#early.delete(index) || this.#course.isAborted) this.#leave(page, row);
    return true;
  }

  /** Nobody is waited for any more. */
  abort(): void {
    for (const page of this.#window.pages)
      for (let row = 0; row < page.linked; row++)
        if (!this.#share.owns(page.batch.connection[row]!) && page.results.reason[row] === SkipReason.none)
          this.#leave(page, row);
  }

  #leave(page: Page, row: number): void {
    page.results.reason[row] = SkipReason.elsewhere;
    this.#completion.leave(page, row);
  }
}
