// What of the trace is loaded: pages in its order, from the first that is not complete. It bounds how much, hands on
// the results of complete pages, and knows which row is due next.

import type { Batch } from '../trace/batch.ts';
import type { ResultBatch } from '../trace/results.ts';
import type { Course } from './course.ts';
import { Page, slotOf } from './page.ts';

/** At most so many rows, bytes of keys and values, and pages. */
const MAX_ROWS = 65_536;
/** With a schedule, fewer: what is loaded is held in maps, which now and then are made anew as a whole. */
const MAX_PACED_ROWS = 16_384;
const MAX_BYTES = 64 * 1024 * 1024;
const MAX_PAGES = 250;

/** Takes results in the order of the trace; resolves `drained` when it can take more. */
export interface Sink {
  append(results: ResultBatch): void;
  drained(): Promise<void>;
}

export class Window {
  /** In the trace's order. */
  readonly pages: Page[] = [];
  /** The row that is due next: the place of its page, and its number there. */
  cursorPage = 0;
  cursorRow = 0;
  /** There is no more of the trace. */
  isAll = false;
  readonly #course: Course;
  readonly #sink: Sink;
  readonly #maxRows: number;
  readonly #bySlot: Page[] = [];
  readonly #free: Page[] = [];
  #rows = 0;
  #bytes = 0;
  #room: (() => void) | undefined;

  constructor(course: Course, sink: Sink) {
    this.#course = course;
    this.#sink = sink;
    this.#maxRows = course.isPaced ? MAX_PACED_ROWS : MAX_ROWS;
  }

  get isFull(): boolean {
    return this.#rows >= this.#maxRows || this.#bytes >= MAX_BYTES || this.pages.length >= MAX_PAGES;
  }

  /** Everything was loaded, and is complete. */
  get isDone(): boolean {
    return this.isAll && this.pages.length === 0;
  }

  /** Resolves once pages were handed on, or the run is over. */
  async room(): Promise<void> {
    await new Promise<void>((resolve) => (this.#room = resolve));
    await this.#sink.drained();
  }

  makeRoom(): void {
    const room = this.#room;
    this.#room = undefined;
    room?.();
  }

  /** A page for the batch, the last of the window. @param siblings sessions of each connection, where several */
  add(batch: Batch, siblings: number): Page {
    let page = this.#free.pop();
    if (page === undefined) {
      page = new Page(this.#bySlot.length);
      this.#bySlot.push(page);
    }
    page.begin(batch, siblings);
    this.pages.push(page);
    this.#rows += batch.count;
    this.#bytes += batch.heapLength;
    return page;
  }

  /** The page that a handle names. */
  of(handle: number): Page {
    return this.#bySlot[slotOf(handle)]!;
  }

  /** The page of a row, by its index in the trace; undefined where the row is not loaded yet. */
  ofIndex(index: number): Page | undefined {
    let low = 0;
    let high = this.pages.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.pages[middle]!.batch.firstIndex <= index) low = middle + 1;
      else high = middle;
    }
    const page = this.pages[low - 1];
    return page !== undefined && index < page.batch.firstIndex + page.linked ? page : undefined;
  }

  /** Nothing is due any more. */
  passAll(): void {
    this.cursorPage = this.pages.length;
    this.cursorRow = 0;
  }

  /** Hands on the results of complete pages, and makes room for more. */
  settle(): void {
    const { pages } = this;
    let page = pages[0];
    while (page !== undefined && page.left === 0 && this.cursorPage > 0) {
      pages.shift();
      this.cursorPage--;
      this.#rows -= page.batch.count;
      this.#bytes -= page.batch.heapLength;
      if (this.#course.failure === undefined) {
        try {
          this.#sink.append(page.results);
        } catch (error) {
          this.#course.failure = error as Error;
        }
      }
      this.#free.push(page);
      page = pages[0];
    }
    if (!this.isFull || this.#course.isAborted) this.makeRoom();
  }
}
