// Loading: batches become pages, rows become the queues of their sessions, and each row learns what it waits for.

import { setImmediate as nextTurn } from 'node:timers/promises';
import { mutates } from '../protocol/opcode.ts';
import { RowFlag, type Batch } from '../trace/batch.ts';
import { SkipReason } from '../trace/results.ts';
import { tokenOf } from '../trace/token.ts';
import type { Course } from './course.ts';
import type { Elsewhere } from './elsewhere.ts';
import type { KeyOrder, KeyQueue } from './order.ts';
import { NONE, PAGE_ROWS, rowOf } from './handle.ts';
import type { Page } from './page.ts';
import type { Roster } from './roster.ts';
import type { Session } from './session.ts';
import type { Route } from './target.ts';
import type { Window } from './window.ts';

/** Rows loaded between two looks at what is due: some 50 µs. */
const LOAD_ROWS = 96;

export type Order = 'none' | 'connection' | 'key';

export interface LoadingOptions {
  order: Order;
  route: Route;
  /** How many, of each of which a key may be another's. */
  targets: number;
  tenants: number;
}

export class Loading {
  readonly #options: LoadingOptions;
  readonly #course: Course;
  readonly #window: Window;
  readonly #roster: Roster;
  readonly #keys: KeyOrder<Session>;
  readonly #elsewhere: Elsewhere | undefined;
  #targetOfKey = new Int32Array(0);
  /** Of the batch with this heap: the queues of its keys, by number, and the turn that each was found in. */
  #knownOf: Buffer | undefined;
  #known: (KeyQueue<Session> | undefined)[] = [];
  #knownTurn = new Uint32Array(0);

  constructor(
    options: LoadingOptions,
    course: Course,
    window: Window,
    roster: Roster,
    keys: KeyOrder<Session>,
    elsewhere: Elsewhere | undefined,
  ) {
    this.#options = options;
    this.#course = course;
    this.#window = window;
    this.#roster = roster;
    this.#keys = keys;
    this.#elsewhere = elsewhere;
  }

  /**
   * Loads all batches, as there is room for them.
   * @param onLoad called when there is more to send, and when there is no room for more
   */
  async load(batches: AsyncIterable<Batch>, onLoad: () => void): Promise<void> {
    const window = this.#window;
    for await (const batch of slices(batches)) {
      while (window.isFull && !this.#course.isOver) await window.room();
      if (this.#course.isOver) break;
      await this.#link(batch);
      this.#course.look();
      onLoad();
    }
  }

  async #link(batch: Batch): Promise<void> {
    const course = this.#course;
    const { perConnection } = this.#roster;
    const page = this.#window.add(batch, perConnection > 1 ? perConnection : 0);
    if (perConnection > 1) this.#routeKeys(batch);
    if (this.#knownOf !== batch.heap) this.#forgetKeys(batch);
    const { order } = this.#options;
    for (let row = 0; row < batch.count; row++) {
      if (course.isPaced && row % LOAD_ROWS === LOAD_ROWS - 1) {
        page.linked = row;
        // Whatever is due goes first.
        await nextTurn();
        if (course.isAborted) return this.#drop(page, row);
      }
      const session = this.#sessionOf(batch, row);
      const finishNs = this.#linkSegment(page, row, session);
      if (order === 'key' && batch.keyLength[row]! > 0) this.#linkKey(page, row, session, finishNs);
      // Rows of other workers count as well: what waits for what must be the same for all of them.
      session.loaded++;
      if (this.#elsewhere?.takes(page, row) !== true) this.#enqueue(page, row, session);
    }
    page.linked = batch.count;
    if (this.#elsewhere !== undefined) this.#window.settle();
    if (!course.isPaced) await nextTurn();
    if (batch.count === 0) this.#window.settle();
  }

  #sessionOf(batch: Batch, row: number): Session {
    const roster = this.#roster;
    const id = batch.connection[row]!;
    return roster.perConnection === 1
      ? (roster.sessions[id] ?? roster.session(id, -1))
      : roster.session(id, batch.keyLength[row]! > 0 ? this.#targetOfKey[batch.keyId[row]!]! : -1);
  }

  /** What the row waits for on its own connection, and which rows it leaves with. Returns when it finished, recorded. */
  #linkSegment(page: Page, row: number, session: Session): number {
    const { batch } = page;
    const isOrdered = this.#options.order !== 'none';
    const requestNs = batch.requestNs[row]!;
    const finishNs = session.finishAfter(batch.answerNs[row]!, requestNs);
    page.results.target[row] = session.target.index;
    page.next[row] = NONE;
    const joins = (batch.flags[row]! & RowFlag.sharesSegment) !== 0 && session.lastRequestNs === requestNs;
    session.lastRequestNs = requestNs;
    if (!joins) session.groupFinishNs = finishNs;
    page.joins[row] = joins ? 1 : 0;
    // A refill waits for the read that it may follow, whatever the order.
    const isRefill = (batch.flags[row]! & RowFlag.refill) !== 0;
    page.connectionRequired[row] = isRefill
      ? session.loaded
      : isOrdered
        ? session.finishedBefore(requestNs)
        : 0;
    const { perConnection } = this.#roster;
    if (perConnection > 1)
      for (let target = 0; target < perConnection; target++) {
        const sibling = session.recorded.sessions[target];
        page.siblingsRequired[row * perConnection + target] =
          isOrdered && sibling !== undefined ? sibling.finishedBefore(requestNs) : 0;
      }
    if (isOrdered) session.willFinish(finishNs);
    return finishNs;
  }

  /** What the row waits for on its key. */
  #linkKey(page: Page, row: number, session: Session, finishNs: number): void {
    const { batch } = page;
    const key = this.#keyOf(batch, row, session);
    // Other requests of its connection were under way.
    const isPipelined = page.connectionRequired[row]! < session.loaded;
    const node = this.#keys.load(
      key,
      session,
      batch.requestNs[row]!,
      finishNs,
      session.groupFinishNs,
      mutates[batch.opcode[row]!] === 1,
      isPipelined ? 0 : tokenOf(batch.answerCasHigh[row]!, batch.answerCasLow[row]!),
    );
    if (isPipelined && session.lastNode !== NONE) this.#keys.pipelined(session.lastNode);
    session.lastNode = node;
    page.keyNode[row] = node;
    page.keyRequired[row] = key.ranked;
    page.keys[row] = key;
  }

  #keyOf(batch: Batch, row: number, { connection, target }: Session): KeyQueue<Session> {
    const { targets, tenants } = this.#options;
    const place = connection.space * targets + target.index;
    const id = batch.keyId[row]!;
    const known = this.#known[id];
    if (known !== undefined && known.turn === this.#knownTurn[id] && known.place === place) return known;
    const at = batch.keyAt[row]!;
    const name = batch.heap.toString('latin1', at, at + batch.keyLength[row]!);
    const key = this.#keys.key(targets * tenants === 1 ? name : `${place} ${name}`, place);
    this.#known[id] = key;
    this.#knownTurn[id] = key.turn;
    return key;
  }

  // Keys of a batch by number: no string is made twice, as long as something of the key is under way, and it is not
  // asked for in several places by turns.
  #forgetKeys(batch: Batch): void {
    this.#knownOf = batch.heap;
    this.#known = Array.from({ length: batch.keyCount });
    this.#knownTurn = new Uint32Array(batch.keyCount);
  }

  #enqueue(page: Page, row: number, session: Session): void {
    const handle = page.handle(row);
    session.recorded.loaded++;
    if (session.last === NONE) session.first = handle;
    else this.#window.of(session.last).next[rowOf(session.last)] = handle;
    session.last = handle;
    if (session.nextUnchecked === NONE) session.nextUnchecked = handle;
  }

  /** The run was stopped while a page was loaded: the rest of it is left as not sent. */
  #drop(page: Page, from: number): void {
    page.linked = page.batch.count;
    for (let row = from; row < page.batch.count; row++) {
      page.results.reason[row] = SkipReason.aborted;
      page.left--;
      this.#course.progress.done++;
    }
    this.#window.settle();
  }

  /** Where each key of the batch goes, by its number. */
  #routeKeys(batch: Batch): void {
    if (this.#targetOfKey.length < batch.keyCount) this.#targetOfKey = new Int32Array(batch.keyCount * 2);
    const of = this.#targetOfKey.fill(-1, 0, batch.keyCount);
    const route = this.#options.route.ofKey!;
    for (let row = 0; row < batch.count; row++) {
      const length = batch.keyLength[row]!;
      const id = batch.keyId[row]!;
      if (length > 0 && of[id] === -1) of[id] = route(batch.heap, batch.keyAt[row]!, length);
    }
  }
}

/** Loading a batch at once would keep what is due waiting for milliseconds. */
async function* slices(batches: AsyncIterable<Batch>): AsyncGenerator<Batch> {
  for await (const batch of batches) {
    if (batch.count <= PAGE_ROWS) {
      yield batch;
      continue;
    }
    // All of them look at its memory.
    batch.share(Math.ceil(batch.count / PAGE_ROWS) - 1);
    for (let row = 0; row < batch.count; row += PAGE_ROWS) {
      const part = batch.slice(row, Math.min(batch.count, row + PAGE_ROWS));
      // The heap is held as long as any of them is; each counts its share.
      part.heapLength = Math.ceil((batch.heapLength * part.count) / batch.count);
      yield part;
    }
  }
}
