// The rows of the batch that is being made. Keys and values stand in its heap once, however many rows name them: each key
// of the batch has a number, as the reader of a trace numbers them, and a value is written anew once it has changed.

import { putUint32 } from '../../protocol/header.ts';
import { Status } from '../../protocol/status.ts';
import {
  Batch,
  Outcome,
  RowFlag,
  byteColumns,
  grown,
  shortColumns,
  wordColumns,
  type Connection,
} from '../../trace/batch.ts';
import { Sort, type Space } from './space.ts';

const BATCH_ROWS = 4096;
const BATCH_BYTES = 4 * 1024 * 1024;
/** What a batch has room for at first. */
const FIRST_BYTES = 256 * 1024;
const NOWHERE = 0xffffffff;

export class Rows {
  batch = new Batch(BATCH_ROWS + 64, FIRST_BYTES);
  /** The row that is being made. */
  row = 0;
  /** Rows of the batches before. */
  made = 0;
  readonly #latencyNs: number;
  #opaque = 0;
  #connections: Connection[] = [];

  // By number of a key in the batch: whose it is, and where it and its value stand.
  #keys = 0;
  #spaceOf = new Uint32Array(BATCH_ROWS);
  #entryOf = new Uint32Array(BATCH_ROWS);
  #keyAt = new Uint32Array(BATCH_ROWS);
  #keyLength = new Uint8Array(BATCH_ROWS);
  #valueAt = new Uint32Array(BATCH_ROWS);

  // What many rows have alike stands in the heap once, too: the flags of the last hit, the last extras of a store, the
  // last error's text, and where.
  #flags = 0;
  #flagsAt = NOWHERE;
  #storeFlags = 0;
  #storeExpiry = 0;
  #storeAt = NOWHERE;
  #text: Buffer | undefined;
  #textAt = 0;

  /** @param latencyNs what a client waits for an answer */
  constructor(latencyNs: number) {
    this.#latencyNs = latencyNs;
  }

  get isFull(): boolean {
    return this.row >= BATCH_ROWS || this.batch.heapLength > BATCH_BYTES;
  }

  connection(opened: Connection): void {
    this.#connections.push(opened);
  }

  /** The batch as far as it is; it takes no more rows before `begin`. */
  take(): Batch {
    const { batch } = this;
    batch.count = this.row;
    batch.firstIndex = this.made;
    batch.connections = this.#connections;
    batch.keyCount = this.#keys;
    this.#connections = [];
    this.made += this.row;
    this.row = 0;
    return batch;
  }

  /** An empty batch: the last one again, or one of its own. */
  begin(isAgain: boolean): void {
    this.#keys = 0;
    this.#flagsAt = NOWHERE;
    this.#storeAt = NOWHERE;
    this.#text = undefined;
    if (!isAgain) {
      // As the last one, it will be filled with about as much.
      const bytes = Math.max(FIRST_BYTES, Math.ceil(this.batch.heapLength * 1.1));
      this.batch = new Batch(BATCH_ROWS + 64, bytes);
      return;
    }
    const { batch } = this;
    batch.clear();
    for (const name of byteColumns) batch[name].fill(0);
    for (const name of shortColumns) batch[name].fill(0);
    for (const name of wordColumns) batch[name].fill(0);
  }

  // ---- Requests.

  request(ns: number, connection: number, opcode: number, joins: boolean): void {
    const { batch, row } = this;
    if (row >= batch.capacity) batch.reserve(row + 1);
    batch.connection[row] = connection;
    batch.opcode[row] = opcode;
    batch.outcome[row] = Outcome.answered;
    batch.flags[row] = joins ? RowFlag.sharesSegment : 0;
    batch.requestNs[row] = ns;
    batch.requestEndNs[row] = ns;
    batch.opaque[row] = this.#opaque = (this.#opaque + 1) >>> 0;
  }

  /** Of a store. @param expiry as it stands in a request */
  storeExtras(flags: number, expiry: number): void {
    const { batch, row } = this;
    if (this.#storeAt === NOWHERE || flags !== this.#storeFlags || expiry !== this.#storeExpiry) {
      this.#storeAt = batch.allocate(8);
      this.#storeFlags = flags;
      this.#storeExpiry = expiry;
      putUint32(batch.heap, this.#storeAt, flags);
      putUint32(batch.heap, this.#storeAt + 4, expiry);
    }
    batch.extrasAt[row] = this.#storeAt;
    batch.extrasLength[row] = 8;
  }

  expiryExtras(expiry: number): void {
    const at = this.#extras(4);
    putUint32(this.batch.heap, at, expiry);
  }

  /** Of a counter. @param initial what it begins at where there is none */
  countExtras(delta: number, initial: number, expiry: number): void {
    const at = this.#extras(20);
    const { heap } = this.batch;
    putUint64(heap, at, delta);
    putUint64(heap, at + 8, initial);
    putUint32(heap, at + 16, expiry);
  }

  #extras(bytes: number): number {
    const { batch, row } = this;
    const at = batch.allocate(bytes);
    batch.extrasAt[row] = at;
    batch.extrasLength[row] = bytes;
    return at;
  }

  key(space: Space, sort: Sort, id: number, entry: number): void {
    const { batch, row } = this;
    const local = this.#localOf(space, sort, id, entry);
    batch.keyId[row] = local;
    batch.keyAt[row] = this.#keyAt[local]!;
    batch.keyLength[row] = this.#keyLength[local]!;
  }

  /** The value that the key has, of lists with all their pieces. */
  value(space: Space, sort: Sort, id: number, entry: number): void {
    const { batch, row } = this;
    const at = this.#valueOf(space, sort, id, entry);
    batch.valueAt[row] = at;
    batch.valueLength[row] = space.lengthOf(entry, sort, id);
  }

  /** What is appended or prepended. @param version of the piece */
  piece(space: Space, id: number, version: number): void {
    const { batch, row } = this;
    const at = batch.allocate(space.pieceLength(id, version));
    batch.valueAt[row] = at;
    batch.valueLength[row] = space.writePiece(batch.heap, at, id, version);
  }

  /** The key's value is another one than the batch has. */
  changed(space: Space, entry: number): void {
    const local = space.table.local[entry]!;
    if (this.#isLocal(space, entry, local)) this.#valueAt[local] = NOWHERE;
  }

  #isLocal(space: Space, entry: number, local: number): boolean {
    return local < this.#keys && this.#entryOf[local] === entry && this.#spaceOf[local] === space.number;
  }

  #localOf(space: Space, sort: Sort, id: number, entry: number): number {
    const known = space.table.local[entry]!;
    if (this.#isLocal(space, entry, known)) return known;
    const local = this.#keys++;
    if (local === this.#spaceOf.length) this.#grow();
    space.table.local[entry] = local;
    this.#spaceOf[local] = space.number;
    this.#entryOf[local] = entry;
    this.#valueAt[local] = NOWHERE;
    const { batch } = this;
    const at = batch.allocate(space.keyLength(entry, id));
    this.#keyAt[local] = at;
    this.#keyLength[local] = space.writeKey(batch.heap, at, entry, sort, id);
    return local;
  }

  #valueOf(space: Space, sort: Sort, id: number, entry: number): number {
    const local = this.#localOf(space, sort, id, entry);
    const known = this.#valueAt[local]!;
    if (known !== NOWHERE) return known;
    const { batch } = this;
    const at = batch.allocate(space.lengthOf(entry, sort, id));
    space.writeValue(batch.heap, at, entry, sort, id);
    this.#valueAt[local] = at;
    return at;
  }

  #grow(): void {
    const length = this.#spaceOf.length * 2;
    this.#spaceOf = grown(this.#spaceOf, new Uint32Array(length));
    this.#entryOf = grown(this.#entryOf, new Uint32Array(length));
    this.#keyAt = grown(this.#keyAt, new Uint32Array(length));
    this.#keyLength = grown(this.#keyLength, new Uint8Array(length));
    this.#valueAt = grown(this.#valueAt, new Uint32Array(length));
  }

  // ---- Answers; each ends its row.

  answer(ns: number, status: number, cas = 0): void {
    const { batch, row } = this;
    batch.frames[row] = 1;
    batch.status[row] = status;
    batch.answerCasLow[row] = cas;
    batch.answerNs[row] = ns + this.#latencyNs;
    this.row++;
  }

  /** An error. @param text always the same buffer for the same text */
  error(ns: number, status: number, text: Buffer): void {
    const { batch, row } = this;
    if (text !== this.#text) {
      this.#text = text;
      this.#textAt = batch.allocate(text.length);
      text.copy(batch.heap, this.#textAt);
    }
    batch.answerValueAt[row] = this.#textAt;
    batch.answerValueLength[row] = text.length;
    this.answer(ns, status);
  }

  /** What a counter counts now. */
  number(ns: number, value: number, cas: number): void {
    const { batch, row } = this;
    const at = batch.allocate(8);
    putUint64(batch.heap, at, value);
    batch.answerValueAt[row] = at;
    batch.answerValueLength[row] = 8;
    this.answer(ns, Status.ok, cas);
  }

  /** With the value that the key has. @param hasKey the key is returned too */
  answerValue(ns: number, space: Space, sort: Sort, id: number, entry: number, hasKey: boolean): void {
    const { batch, row } = this;
    this.flags(sort === Sort.counter ? 0 : space.flags);
    if (hasKey) {
      batch.answerKeyAt[row] = batch.keyAt[row]!;
      batch.answerKeyLength[row] = batch.keyLength[row]!;
    }
    const at = this.#valueOf(space, sort, id, entry);
    batch.answerValueAt[row] = at;
    batch.answerValueLength[row] = space.lengthOf(entry, sort, id);
    this.answer(ns, Status.ok, space.table.cas[entry]);
  }

  /** None: a quiet request, whose silence a later answer proves. */
  silence(ns: number): void {
    this.batch.outcome[this.row] = Outcome.silent;
    this.batch.answerNs[this.row] = ns + this.#latencyNs;
    this.row++;
  }

  /** Of the answer. */
  flags(flags: number): void {
    const { batch, row } = this;
    if (this.#flagsAt === NOWHERE || flags !== this.#flags) {
      this.#flags = flags;
      this.#flagsAt = batch.allocate(4);
      putUint32(batch.heap, this.#flagsAt, flags);
    }
    batch.answerExtrasAt[row] = this.#flagsAt;
    batch.answerExtrasLength[row] = 4;
  }
}

/** @param value a whole number of up to 53 bits */
function putUint64(to: Buffer, at: number, value: number): void {
  putUint32(to, at, Math.floor(value / 0x1_0000_0000));
  putUint32(to, at + 4, value);
}
