// A page: one batch of the trace while it is replayed, with the results of its rows and what each row waits for.

import { NEVER, type Batch } from '../trace/batch.ts';
import { Result, ResultBatch } from '../trace/results.ts';
import { handleOf } from './handle.ts';
import type { KeyQueue } from './order.ts';
import type { Session } from './session.ts';

export class Page {
  readonly slot: number;
  batch!: Batch;
  readonly results = new ResultBatch(1024);
  /** Rows that are not complete. */
  left = 0;
  /** Rows that are loaded; all, but while the page is. */
  linked = 0;
  /** Handle of the next row of the same connection. */
  next = new Int32Array(0);
  /** How many exchanges of the connection must be complete before this one is sent. */
  connectionRequired = new Uint32Array(0);
  /** Where a connection has several sessions: likewise of each of them, targets side by side. */
  siblingsRequired = new Uint32Array(0);
  /** How many of them a row has; 0: the connection is one session. */
  siblings = 0;
  /** Likewise of the key, in the order of their ranks. */
  keyRequired = new Uint32Array(0);
  /** 1: leaves in one write with the row before it on its connection. */
  joins = new Uint8Array(0);
  keyNode = new Int32Array(0);
  keys: (KeyQueue<Session> | undefined)[] = [];

  constructor(slot: number) {
    this.slot = slot;
  }

  /** Takes a batch: nothing is sent yet. */
  begin(batch: Batch, siblings: number): void {
    const { count } = batch;
    this.batch = batch;
    this.siblings = siblings;
    this.left = count;
    this.linked = 0;
    if (this.next.length < count) {
      const capacity = Math.max(count, 1024);
      this.next = new Int32Array(capacity);
      this.connectionRequired = new Uint32Array(capacity);
      this.keyRequired = new Uint32Array(capacity);
      this.joins = new Uint8Array(capacity);
      this.keyNode = new Int32Array(capacity);
    }
    if (siblings > 0 && this.siblingsRequired.length < count * siblings)
      this.siblingsRequired = new Uint32Array(this.next.length * siblings);
    this.keys.length = count;
    this.keys.fill(undefined);
    const { results } = this;
    results.clear();
    results.reserve(count);
    results.count = count;
    results.firstIndex = batch.firstIndex;
    results.result.fill(Result.skipped, 0, count);
    for (const column of [
      results.reason,
      results.agrees,
      results.target,
      results.frames,
      results.status,
      results.casHigh,
      results.casLow,
      results.extrasLength,
      results.keyLength,
      results.valueLength,
    ])
      column.fill(0, 0, count);
    results.intendedNs.fill(NEVER, 0, count);
    results.sentNs.fill(NEVER, 0, count);
    results.answeredNs.fill(NEVER, 0, count);
    results.blockedNs.fill(0, 0, count);
  }

  handle(row: number): number {
    return handleOf(this.slot, row);
  }
}
