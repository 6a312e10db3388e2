// What of the trace is loaded: pages in its order, from the first that is not complete. It bounds how much, hands on
// the results of complete pages, and knows which row is due next.

import type { Batch } from '../trace/batch.ts';
import type { ResultBatch } from '../trace/results.ts';
import type { Course } from './course.ts';
import { slotOf } from './handle.ts';
import { Page } from './page.ts';

/** At most so many rows, bytes of keys and values, and pages. */
const MAX_ROWS = 65_536;
/** With a schedule, fewer: what is loaded is held in maps, which now and then are made anew as a whole. */
const MAX_PACED_ROWS = 16_384;
const MAX_BYTES = 64 * 1024 * 1024;
const MAX_PAGES = 250;
/** Complete rows that are handed on between two looks at the connections, so that targets are not kept waiting. */
const SOME_ROWS = 256;
/** With a schedule, complete pages that wait for a moment in which nothing is due; beyond them, nobody is told any more. */
const MAX_BEHIND = 6;

/** Takes results in the order of the trace; resolves `drained` when it can take more. */
export interface Sink {
  append(results: ResultBatch): void;
  drained(): Promise<void>;
}

/** Hears of complete rows before their results are appended. */
export interface RowsListener {
  /** Rows [from, to) of the batch and of the results; both are the listener's until it returns. */
  rows(batch: Batch, results: ResultBatch, from: number, to: number): void;
  /** It hears of no more rows: requests would have waited for it. */
  giveUp(): void;
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
  #listener: RowsListener | undefined;
  readonly #maxRows: number;
  readonly #bySlot: Page[] = [];
  readonly #free: Page[] = [];
  /** Complete pages that are not handed on yet, and how many rows of the first of them were seen. */
  readonly #complete: Page[] = [];
  #seen = 0;
  #rows = 0;
  #bytes = 0;
  #room: (() => void) | undefined;

  constructor(course: Course, sink: Sink, listener?: RowsListener) {
    this.#course = course;
    this.#sink = sink;
    this.#listener = listener;
    this.#maxRows = course.isPaced ? MAX_PACED_ROWS : MAX_ROWS;
  }

  get isFull(): boolean {
    const pages = this.pages.length + this.#complete.length;
    return this.#rows >= this.#maxRows || this.#bytes >= MAX_BYTES || pages >= MAX_PAGES;
  }

  /** Everything was loaded, is complete, and was handed on. */
  get isDone(): boolean {
    return this.isAll && this.pages.length === 0 && this.#complete.length === 0;
  }

  /** Complete rows wait for somebody to hand them on. */
  get isBehind(): boolean {
    return this.#complete.length > 0;
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

  /** Looks for pages that are complete; with a schedule, they are handed on when there is time for it. */
  settle(): void {
    const { pages } = this;
    while (pages[0]?.left === 0 && this.cursorPage > 0) {
      this.#complete.push(pages.shift()!);
      this.cursorPage--;
    }
    const { isPaced, isAborted } = this.#course;
    if (isPaced && this.#complete.length > MAX_BEHIND) {
      this.#listener?.giveUp();
      this.#listener = undefined;
    }
    if (this.#listener === undefined || isAborted || (this.isAll && pages.length === 0))
      this.handOn(Infinity);
    else if (!isPaced) this.handOn(SOME_ROWS);
    if (!this.isFull || isAborted) this.makeRoom();
  }

  /** Hands on so many complete rows at most, and makes room for more. */
  handOn(rows: number): void {
    let left = rows;
    for (let page = this.#complete[0]; page !== undefined && left > 0; page = this.#complete[0]) {
      const { count } = page.batch;
      const to = Math.min(count, this.#seen + left);
      left -= to - this.#seen;
      this.#tell(() => this.#listener?.rows(page.batch, page.results, this.#seen, to));
      this.#seen = to;
      if (to < count) return;
      this.#tell(() => this.#sink.append(page.results));
      this.#complete.shift();
      this.#seen = 0;
      this.#rows -= count;
      this.#bytes -= page.batch.heapLength;
      page.batch.release();
      this.#free.push(page);
    }
  }

  #tell(what: () => void): void {
    if (this.#course.failure !== undefined) return;
    try {
      what();
    } catch (error) {
      this.#course.failure = error as Error;
    }
  }
}
