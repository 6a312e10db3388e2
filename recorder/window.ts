// The stretch of exchanges that still waits for answers: rows in the order of their requests, completed as responses
// arrive, and handed on in batches once everything before them is complete. What waits is bounded in rows, bytes and
// time; a row that passes the bound leaves as indeterminate.

import {
  Batch,
  NEVER,
  Outcome,
  RowFlag,
  copyColumns,
  copyRows,
  sortByTime,
  type Connection,
} from '../trace/batch.ts';
import { ByteIndex } from '../trace/dictionary.ts';
import { lengthOfUnknown } from '../trace/masked.ts';
import { MAX_DURATION_NS, MAX_TRACE_NS } from '../trace/meta.ts';

export interface WindowLimits {
  /** A batch is handed on at this many rows … */
  batchRows: number;
  /** … or this many bytes of keys, distinct values and extras. */
  batchBytes: number;
  /** Most rows, bytes and nanoseconds (of the capture's clock) that may wait for an answer. */
  maxRows: number;
  maxBytes: number;
  maxAgeNs: number;
}

const DEFAULT_LIMITS: WindowLimits = {
  batchRows: 65_536,
  batchBytes: 8 * 1024 * 1024,
  maxRows: 1_000_000,
  maxBytes: 128 * 1024 * 1024,
  maxAgeNs: 60e9,
};

/** Room at first; it doubles as it is needed, and most captures of a test need no more. */
const FIRST_ROWS = 256;
/** Shorter values cost less to store again than to find. */
const MIN_SHARED_BYTES = 16;

const RowState = { open: 0, done: 1, reserved: 2, void: 3 } as const;

export class Window {
  /** Where the rows stand; row `n` of the window is row `n - base` here. */
  batch = new Batch(FIRST_ROWS);
  /** Number of the batch's first row. A lower number has left the window. */
  base = 0;
  /** Rows handed on so far. */
  emitted = 0;
  /** Exchanges with a CAS in the request, counted for the trace's end. */
  casRequests = 0;

  readonly #emit: (batch: Batch) => void;
  readonly #limits: WindowLimits;
  #spare = new Batch(FIRST_ROWS);
  /** The values in the batch's heap: equal ones stand there once. */
  readonly #values = new ByteIndex();
  #state = new Uint8Array(FIRST_ROWS);
  #head = 0;
  /** The latest request so far; and the time before which no row may be any more, since others were handed on. */
  #lastNs = 0;
  #floorNs = 0;
  /** Rows of connections that waited for missing packets came behind later ones of others. */
  #isMixed = false;
  /** Of the rows that are handed on: see #measure(). */
  #bytes = new Float64Array(FIRST_ROWS);
  #touched = new Set<Connection>();
  #live = new Map<number, Connection>();
  #introduced = 0;
  #withdrawn = 0;

  /** Batches that are to be handed on one at a time; their memory is that of #spare. */
  readonly #due: Batch[] = [];
  readonly #isPaced: boolean;

  /**
   * @param isPaced batches are handed on by handOnNext() only, all of them before the next settle(), flush() or finish():
   *   so that whoever takes them can do other work in between
   */
  constructor(emit: (batch: Batch) => void, limits: Partial<WindowLimits> = {}, isPaced = false) {
    this.#emit = emit;
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
    this.#isPaced = isPaced;
  }

  /** Rows that wait, complete or not. */
  get waiting(): number {
    return this.batch.count;
  }

  /** A file begins: no row that waits, or is to come, is from before this, in ns since the trace's zero. */
  begin(): number {
    let oldestNs = this.#lastNs;
    for (let row = 0; row < this.batch.count; row++)
      oldestNs = Math.min(oldestNs, this.batch.requestNs[row]!);
    this.#floorNs = Math.max(this.#floorNs, oldestNs);
    return this.#floorNs;
  }

  /** Registers a connection: its id is the number of those before it. */
  introduce(connection: Omit<Connection, 'id'>): Connection {
    const known = { id: this.#introduced++, ...connection };
    this.#live.set(known.id, known);
    this.#touched.add(known);
    return known;
  }

  /** The connection's facts changed (it closed, its tenant became known): the next batch tells them. */
  touch(connection: Connection): void {
    this.#touched.add(connection);
  }

  get connections(): number {
    return this.#introduced - this.#withdrawn;
  }

  /** The connection has no rows, and is not to be told of. */
  withdraw(connection: Connection): void {
    this.#touched.delete(connection);
    this.#live.delete(connection.id);
    this.#withdrawn++;
  }

  /**
   * A row for a request whose first byte came at `ns`, while its last may be still to come.
   * @returns the row's number; it is void until `fill` is called for it
   */
  reserve(connection: Connection, ns: number): number {
    const batch = this.batch;
    const row = batch.count;
    if (row === batch.capacity) batch.reserve(row + 1);
    if (this.#state.length < batch.capacity) {
      const state = new Uint8Array(batch.capacity);
      state.set(this.#state);
      this.#state = state;
    }
    batch.count = row + 1;
    this.#state[row] = RowState.reserved;
    if (ns > this.#lastNs) this.#lastNs = ns;
    else if (ns < this.#lastNs) this.#isMixed = true;
    const fromNs = Math.max(ns, this.#floorNs);
    batch.requestNs[row] = fromNs;
    batch.requestEndNs[row] = fromNs;
    batch.connection[row] = connection.id;
    batch.outcome[row] = Outcome.indeterminate;
    batch.flags[row] = 0;
    batch.casHigh[row] = 0;
    batch.casLow[row] = 0;
    batch.extrasLength[row] = 0;
    batch.keyLength[row] = 0;
    batch.valueLength[row] = 0;
    batch.answerNs[row] = NEVER;
    batch.frames[row] = 0;
    batch.status[row] = 0;
    batch.answerCasHigh[row] = 0;
    batch.answerCasLow[row] = 0;
    batch.answerExtrasAt[row] = 0;
    batch.answerExtrasLength[row] = 0;
    batch.answerKeyAt[row] = 0;
    batch.answerKeyLength[row] = 0;
    batch.answerValueAt[row] = 0;
    batch.answerValueLength[row] = 0;
    this.#touched.add(connection);
    return this.base + row;
  }

  /** Where a value stands in the batch's heap, once it is there; equal ones share their place, so nobody may change it. */
  keep(data: Buffer, at: number, length: number): number {
    return this.#keep(this.batch, data, at, length);
  }

  /** The reserved row's request is whole; its columns are written by the caller. */
  fill(number: number, endNs: number): void {
    const row = number - this.base;
    this.#state[row] = RowState.open;
    this.batch.requestEndNs[row] = notBefore(this.batch.requestNs[row]!, endNs);
  }

  /** The row's request never came to its end, or was none. */
  cancel(number: number): void {
    const row = number - this.base;
    if (row >= 0) this.#state[row] = RowState.void;
  }

  /** Closes a row; one that has left the window already is passed over. */
  complete(number: number, outcome: Outcome, ns: number): void {
    const row = number - this.base;
    if (row < 0) return;
    this.batch.outcome[row] = outcome;
    if (outcome === Outcome.gap) this.batch.frames[row] = 0;
    // Two directions of one connection can be captured out of order by a hair.
    this.batch.answerNs[row] = ns === NEVER ? NEVER : notBefore(this.batch.requestNs[row]!, ns);
    this.#state[row] = RowState.done;
  }

  /** Whether it is known what became of it, and it is still in the window. */
  isClosed(number: number): boolean {
    return number >= this.base && this.#state[number - this.base] === RowState.done;
  }

  isSilent(number: number): boolean {
    return this.isClosed(number) && this.batch.outcome[number - this.base] === Outcome.silent;
  }

  /** The row's answer is missing, and may still come. */
  doubt(number: number): void {
    const row = number - this.base;
    if (row >= 0) this.batch.outcome[row] = Outcome.gap;
  }

  /** Sets bits of a row's flags; one that has left the window already is passed over. */
  flag(number: number, bits: number): void {
    const row = number - this.base;
    if (row >= 0) this.batch.flags[row]! |= bits;
  }

  /** Hands on what is complete when there is enough of it, and what has waited too long. Call between chunks of input. */
  settle(ns: number): void {
    const { batchRows, batchBytes, maxRows, maxBytes, maxAgeNs } = this.#limits;
    const batch = this.batch;
    this.#advance();
    // Past a bound, the older half goes at once: going row by row would move the rest for each.
    if (batch.count > maxRows || batch.heapLength > maxBytes) this.#expire((batch.count + 1) >> 1);
    while (this.#head < batch.count && ns - batch.requestNs[this.#head]! > maxAgeNs)
      this.#expire(this.#head + 1);
    if (this.#head >= batchRows || (this.#head > 0 && batch.heapLength >= batchBytes)) this.#handOn();
  }

  /** Hands on everything that is complete, however little. */
  flush(): void {
    this.#advance();
    if (this.#head > 0 || this.#touched.size > 0) this.#handOn();
  }

  /** Hands on one batch of those that are due; false where there are none. */
  handOnNext(): boolean {
    const batch = this.#due.shift();
    if (batch === undefined) return false;
    this.#emit(batch);
    return true;
  }

  /** The input is over: what is still open leaves as it is. */
  finish(): void {
    this.#expire(this.batch.count);
    this.flush();
  }

  #expire(rows: number): void {
    const state = this.#state;
    for (let row = this.#head; row < rows; row++) {
      if (state[row] === RowState.reserved) state[row] = RowState.void;
      else if (state[row] === RowState.open) state[row] = RowState.done;
    }
    this.#advance();
  }

  #advance(): void {
    const state = this.#state;
    const count = this.batch.count;
    while (this.#head < count && (state[this.#head] === RowState.done || state[this.#head] === RowState.void))
      this.#head++;
  }

  #handOn(): void {
    const from = this.batch;
    const to = this.#spare;
    const taken = this.#head;
    const rest = from.count - taken;
    to.clear();
    to.reserve(Math.max(rest, from.capacity));
    this.#values.clear();
    copyRows(from, taken, from.count, to);
    for (let row = 0; row < rest; row++) this.#moveBytes(from, to, row);
    to.count = rest;
    const rows = this.#withoutVoid(taken);
    this.#measure(from, rows);
    if (this.#isMixed) sortByTime(from, rows, this.#bytes);
    if (rows > 0) this.#floorNs = from.requestNs[rows - 1]!;
    if (this.#isMixed) this.#isMixed = this.#liftRows(to);
    this.#emitSlices(from, rows);
    this.#state.copyWithin(0, taken, taken + rest);
    this.base += taken;
    this.#head = 0;
    const told = this.#touched;
    this.#touched = new Set();
    for (let row = 0; row < rest; row++) this.#touched.add(this.#live.get(to.connection[row]!)!);
    for (const connection of told)
      if (connection.closeNs !== NEVER && !this.#touched.has(connection)) this.#live.delete(connection.id);
    from.clear();
    this.batch = to;
    this.#spare = from;
  }

  /** The rows that are left are from no time before those that were handed on. True where they are mixed. */
  #liftRows({ count, requestNs, requestEndNs, answerNs }: Batch): boolean {
    let isMixed = false;
    for (let row = 0; row < count; row++) {
      const ns = Math.max(requestNs[row]!, this.#floorNs);
      requestNs[row] = ns;
      requestEndNs[row] = Math.max(requestEndNs[row]!, ns);
      if (answerNs[row] !== NEVER) answerNs[row] = Math.max(answerNs[row]!, ns);
      if (row > 0 && ns < requestNs[row - 1]!) isMixed = true;
    }
    return isMixed;
  }

  /** What each row adds to a block, while they are in the order in which the heap was filled. */
  #measure(from: Batch, rows: number): void {
    if (this.#bytes.length < rows) this.#bytes = new Float64Array(from.capacity);
    const values = valueColumns.map((column) => ({
      ats: from[`${column}At`],
      lengths: from[`${column}Length`],
      unknown: unknownFlags[column],
    }));
    // A value that stands before this was there already.
    let fresh = 0;
    for (let row = 0; row < rows; row++) {
      let bytes = from.keyLength[row]!;
      for (const { ats, lengths, unknown } of values) {
        const length = lengths[row]!;
        const at = ats[row]!;
        if (length === 0 || at < fresh) continue;
        // A reader makes as many bytes of what is not known.
        bytes += (from.flags[row]! & unknown) === 0 ? length : lengthOfUnknown(from, at);
        fresh = at + length;
      }
      this.#bytes[row] = bytes;
    }
  }

  #emitSlices(from: Batch, rows: number): void {
    from.connections = Array.from(this.#touched, (connection) => ({ ...connection }));
    from.firstIndex = this.emitted;
    const { batchRows, batchBytes } = this.#limits;
    const { casHigh, casLow } = from;
    let start = 0;
    let bytes = 0;
    for (let row = 0; row < rows; row++) {
      bytes += this.#bytes[row]!;
      if ((casHigh[row]! | casLow[row]!) !== 0) this.casRequests++;
      if (row + 1 - start < batchRows && bytes < batchBytes) continue;
      this.#give(from.slice(start, row + 1));
      from.connections = [];
      start = row + 1;
      bytes = 0;
    }
    if (start < rows || from.connections.length > 0) this.#give(from.slice(start, rows));
    this.emitted += rows;
  }

  #give(batch: Batch): void {
    if (this.#isPaced) this.#due.push(batch);
    else this.#emit(batch);
  }

  /** Of a row whose columns still point into the heap that it comes from. */
  #moveBytes(from: Batch, to: Batch, row: number): void {
    const { heap } = from;
    to.extrasAt[row] = moveBytes(from, to.extrasAt[row]!, to.extrasLength[row]!, to);
    to.keyAt[row] = moveBytes(from, to.keyAt[row]!, to.keyLength[row]!, to);
    to.valueAt[row] = this.#keep(to, heap, to.valueAt[row]!, to.valueLength[row]!);
    to.answerExtrasAt[row] = moveBytes(from, to.answerExtrasAt[row]!, to.answerExtrasLength[row]!, to);
    to.answerKeyAt[row] = moveBytes(from, to.answerKeyAt[row]!, to.answerKeyLength[row]!, to);
    to.answerValueAt[row] = this.#keep(to, heap, to.answerValueAt[row]!, to.answerValueLength[row]!);
  }

  #keep(to: Batch, data: Buffer, at: number, length: number): number {
    const shared = length >= MIN_SHARED_BYTES ? this.#values.find(to.heap, data, at, length) : -1;
    if (shared >= 0) return this.#values.startOf(shared);
    const start = to.allocate(length);
    if (length > 0) data.copy(to.heap, start, at, at + length);
    if (length >= MIN_SHARED_BYTES) this.#values.add(start, length);
    return start;
  }

  #withoutVoid(taken: number): number {
    let rows = 0;
    for (let row = 0; row < taken; row++) {
      if (this.#state[row] === RowState.void) continue;
      if (rows !== row) copyColumns(this.batch, row, this.batch, rows);
      rows++;
    }
    return rows;
  }
}

const valueColumns = ['value', 'answerValue'] as const;
const unknownFlags = { value: RowFlag.valueUnknown, answerValue: RowFlag.answerUnknown };

/** Nor later than a trace can tell. */
function notBefore(fromNs: number, ns: number): number {
  return Math.min(Math.max(ns, fromNs), fromNs + MAX_DURATION_NS, MAX_TRACE_NS);
}

function moveBytes(from: Batch, at: number, length: number, to: Batch): number {
  if (length === 0) return 0;
  const start = to.allocate(length);
  from.heap.copy(to.heap, start, at, at + length);
  return start;
}
