// What is asked, and what a cache without limits answers: the operations of a model, each with the rows that it makes and
// what follows from it.

import { Opcode } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import { Outcome, RowFlag } from '../trace/batch.ts';
import { Agenda, TaskKind } from './agenda.ts';
import type { MixOperation } from './mix.ts';
import { exponential } from './random.ts';
import { Rows } from './rows.ts';
import {
  MAX_PIECES,
  PREPENDED,
  Sort,
  appendedPiece,
  expires,
  expiryOf,
  prependedPiece,
  type Space,
} from './space.ts';
import type { Stream } from './stream.ts';

const notFound = Buffer.from('Not found');
const exists = Buffer.from('Data exists for key.');
const notStored = Buffer.from('Not stored.');
const counted = Buffer.alloc(8);

export class Exchanges {
  readonly rows: Rows;
  readonly agenda = new Agenda();
  readonly #latencyNs: number;
  #cas = 0;
  /** Requests made, without conditional ones; and those that name a CAS id. */
  requests = 0;
  casRequests = 0;

  /** @param latencyNs what a client waits for an answer */
  constructor(latencyNs: number) {
    this.#latencyNs = latencyNs;
    this.rows = new Rows(latencyNs);
  }

  /** @param joins leaves together with the request before it */
  operate(
    stream: Stream,
    ns: number,
    connection: number,
    operation: MixOperation,
    id: number,
    joins: boolean,
  ): void {
    const sort = stream.sortOf(operation, id);
    switch (operation) {
      case 'get':
      case 'gets':
        this.read(stream, ns, connection, Opcode.get, sort, id, joins);
        return;
      case 'gat':
        this.read(stream, ns, connection, Opcode.gat, sort, id, joins);
        return;
      case 'cas': {
        const token = this.read(stream, ns, connection, Opcode.get, sort, id, joins);
        if (token !== 0) this.#follow(ns, 0, TaskKind.cas, stream, connection, sort, id, false, token);
        return;
      }
      case 'set':
      case 'add':
      case 'replace':
        this.store(stream, ns, connection, Opcode[operation], sort, id, joins, 0);
        return;
      case 'delete':
      case 'touch':
        this.#remove(stream, ns, connection, operation, sort, id, joins);
        return;
      case 'append':
      case 'prepend':
        this.#concatenate(stream, ns, connection, operation, id, joins);
        return;
      case 'incr':
      case 'decr':
        this.#count(stream, ns, connection, operation, id, joins);
        return;
      case 'noop':
        this.rows.request(ns, connection, Opcode.noop, joins);
        this.#answer(ns, Status.ok);
    }
  }

  /** Returns the CAS id that was read; 0: a miss. */
  read(
    stream: Stream,
    ns: number,
    connection: number,
    opcode: number,
    sort: Sort,
    id: number,
    joins: boolean,
  ): number {
    const { space } = stream;
    const { table } = space;
    const entry = this.#readEntry(stream, sort, id);
    const isHit = table.expiresNs[entry]! > ns;
    this.rows.request(ns, connection, opcode, joins);
    if (opcode === Opcode.gat) {
      const ttl = space.ttl(stream.choose);
      this.rows.expiryExtras(expiryOf(ttl, ns));
      if (isHit) table.expiresNs[entry] = expires(ns, ttl);
    }
    this.rows.key(space, sort, id, entry);
    if (isHit) this.#hit(ns, space, sort, id, entry, false);
    else this.#answer(ns, Status.notFound, notFound);
    this.#fill(stream, ns, connection, sort, id, !isHit);
    return isHit ? table.cas[entry]! : 0;
  }

  /** One read after the other, quiet, and a NOOP. @param version of the keys */
  readMany(stream: Stream, ns: number, connection: number, count: number, version: number): void {
    const { space } = stream;
    for (let n = 0; n < count; n++) {
      if (n > 0) stream.drawKey(ns, false);
      const id = space.versioned(stream.id, version);
      const sort = stream.sortOf('get', id);
      const entry = this.#readEntry(stream, sort, id);
      const isHit = space.table.expiresNs[entry]! > ns;
      this.rows.request(ns, connection, Opcode.getkq, n > 0);
      this.rows.key(space, sort, id, entry);
      if (isHit) this.#hit(ns, space, sort, id, entry, true);
      else {
        this.rows.silence(ns);
        this.requests++;
      }
      this.#fill(stream, ns, connection, sort, id, !isHit);
    }
    this.rows.request(ns, connection, Opcode.noop, true);
    this.#answer(ns, Status.ok);
  }

  /** The state of a key; in a cache that is warm, what is asked for first is there. */
  #readEntry(stream: Stream, sort: Sort, id: number): number {
    const { space } = stream;
    const entry = space.entryOf(sort, id, stream);
    if (space.wasThere(sort, id)) {
      space.table.expiresNs[entry] = Infinity;
      space.table.cas[entry] = ++this.#cas;
    }
    return entry;
  }

  #hit(ns: number, space: Space, sort: Sort, id: number, entry: number, hasKey: boolean): void {
    this.rows.answerValue(ns, space, sort, id, entry, hasKey);
    this.requests++;
  }

  /** After a read: what a client does that missed. */
  #fill(stream: Stream, ns: number, connection: number, sort: Sort, id: number, missed: boolean): void {
    const { onMiss = 'set', refillDelay = 0 } = stream.model;
    if (onMiss === 'none' || sort === Sort.counter) return;
    this.rows.batch.flags[this.rows.row - 1]! |= RowFlag.refilled;
    const delayNs = refillDelay === 0 ? 0 : Math.round(exponential(stream.choose) * refillDelay * 1e6);
    this.#follow(ns, delayNs, TaskKind.refill, stream, connection, sort, id, missed, 0);
  }

  /** What a client does once it has the answer. */
  #follow(
    ns: number,
    delayNs: number,
    kind: TaskKind,
    stream: Stream,
    connection: number,
    sort: Sort,
    id: number,
    missed: boolean,
    token: number,
  ): void {
    const { agenda } = this;
    const at = ns + this.#latencyNs + 1 + delayNs;
    const task = delayNs === 0 ? agenda.soon(at) : agenda.put(at);
    agenda.kind[task] = kind;
    agenda.stream[task] = stream.number;
    agenda.connection[task] = connection;
    agenda.sort[task] = sort;
    agenda.id[task] = id;
    agenda.missed[task] = missed ? 1 : 0;
    agenda.token[task] = token;
  }

  /** @param token of the version that the store is for; 0: any */
  store(
    stream: Stream,
    ns: number,
    connection: number,
    opcode: number,
    sort: Sort,
    id: number,
    joins: boolean,
    token: number,
  ): void {
    const { space } = stream;
    const { table } = space;
    const { rows } = this;
    const entry = space.entryOf(sort, id, stream);
    const isThere = table.expiresNs[entry]! > ns;
    const status = statusOf(opcode, isThere, token, table.cas[entry]!);
    const ttl = space.ttlAt(ns, stream.choose);
    rows.request(ns, connection, opcode, joins);
    if (token !== 0) {
      rows.batch.casLow[rows.row] = token;
      this.casRequests++;
    }
    rows.storeExtras(space.flags, expiryOf(ttl, ns));
    rows.key(space, sort, id, entry);
    if (status === Status.ok) {
      this.#renew(space, entry, ns);
      rows.value(space, sort, id, entry);
      table.expiresNs[entry] = expires(ns, ttl);
      table.cas[entry] = ++this.#cas;
      this.#answer(ns, status, undefined, table.cas[entry]);
      return;
    }
    // What a failing store carries is a version of its own.
    const [version, bytes, count] = [table.version[entry]!, table.bytes[entry]!, table.count[entry]!];
    this.#renew(space, entry, ns);
    rows.value(space, sort, id, entry);
    table.version[entry] = version;
    table.bytes[entry] = bytes;
    table.count[entry] = count;
    rows.changed(space, entry);
    this.#answer(ns, status, status === Status.exists ? exists : notFound);
  }

  #renew(space: Space, entry: number, ns: number): void {
    space.renew(entry, ns);
    this.rows.changed(space, entry);
  }

  /** The value is stored again as it is; a cache that still has it makes that unnecessary. */
  refill(stream: Stream, ns: number, connection: number, sort: Sort, id: number, missed: boolean): void {
    const { space } = stream;
    const { table } = space;
    const { rows } = this;
    const entry = space.entryOf(sort, id, stream);
    const isThere = table.expiresNs[entry]! > ns;
    const isAdd = stream.model.onMiss === 'add';
    const ttl = space.ttlAt(ns, stream.choose);
    rows.request(ns, connection, isAdd ? Opcode.add : Opcode.set, false);
    const { batch, row } = rows;
    batch.flags[row]! |= RowFlag.refill;
    rows.storeExtras(space.flags, expiryOf(ttl, ns));
    rows.key(space, sort, id, entry);
    if (missed && !isThere) this.#renew(space, entry, ns);
    rows.value(space, sort, id, entry);
    if (!missed) {
      rows.answer(ns, Status.ok);
      // No server made it: it says nothing of the order.
      batch.outcome[row] = Outcome.conditional;
      return;
    }
    if (isAdd && isThere) {
      this.#answer(ns, Status.exists, exists);
      return;
    }
    table.expiresNs[entry] = expires(ns, ttl);
    table.cas[entry] = ++this.#cas;
    this.#answer(ns, Status.ok, undefined, table.cas[entry]);
  }

  #remove(
    stream: Stream,
    ns: number,
    connection: number,
    operation: 'delete' | 'touch',
    sort: Sort,
    id: number,
    joins: boolean,
  ): void {
    const { space } = stream;
    const { table } = space;
    const { rows } = this;
    const entry = space.entryOf(sort, id, stream);
    const isThere = table.expiresNs[entry]! > ns;
    const isTouch = operation === 'touch';
    rows.request(ns, connection, Opcode[operation], joins);
    if (isTouch) {
      const ttl = space.ttlAt(ns, stream.choose);
      rows.expiryExtras(expiryOf(ttl, ns));
      if (isThere) table.expiresNs[entry] = expires(ns, ttl);
    } else table.expiresNs[entry] = 0;
    rows.key(space, sort, id, entry);
    if (!isThere) {
      this.#answer(ns, Status.notFound, notFound);
      return;
    }
    if (isTouch) rows.flags(space.flags);
    this.#answer(ns, Status.ok, undefined, isTouch ? table.cas[entry] : 0);
  }

  #concatenate(
    stream: Stream,
    ns: number,
    connection: number,
    operation: 'append' | 'prepend',
    id: number,
    joins: boolean,
  ): void {
    const { space } = stream;
    const { table } = space;
    const { rows } = this;
    const entry = space.entryOf(Sort.list, id, stream);
    const isThere = table.expiresNs[entry]! > ns;
    const isAppend = operation === 'append';
    const count = table.count[entry]!;
    const pieces = isAppend ? count % PREPENDED : Math.floor(count / PREPENDED);
    // One that is long is begun anew; so is one that is not there, unless others of a recording do that.
    if (pieces >= MAX_PIECES || (!isThere && !stream.isLearnt)) {
      this.store(stream, ns, connection, Opcode.set, Sort.list, id, joins, 0);
      return;
    }
    rows.request(ns, connection, Opcode[operation], joins);
    rows.key(space, Sort.list, id, entry);
    rows.piece(space, id, (isAppend ? appendedPiece : prependedPiece)(table.version[entry]!, pieces + 1));
    if (!isThere) {
      this.#answer(ns, Status.notStored, notStored);
      return;
    }
    table.count[entry] = count + (isAppend ? 1 : PREPENDED);
    rows.changed(space, entry);
    table.cas[entry] = ++this.#cas;
    this.#answer(ns, Status.ok, undefined, table.cas[entry]);
  }

  #count(
    stream: Stream,
    ns: number,
    connection: number,
    operation: 'incr' | 'decr',
    id: number,
    joins: boolean,
  ): void {
    const { space } = stream;
    const { table } = space;
    const { rows } = this;
    const entry = space.entryOf(Sort.counter, id, stream);
    const ttl = space.ttlAt(ns, stream.choose);
    rows.request(ns, connection, Opcode[operation], joins);
    rows.countExtras(expiryOf(ttl, ns));
    rows.key(space, Sort.counter, id, entry);
    if (table.expiresNs[entry]! > ns)
      table.count[entry] = Math.max(0, table.count[entry]! + (operation === 'incr' ? 1 : -1));
    else {
      table.count[entry] = 0;
      table.expiresNs[entry] = expires(ns, ttl);
    }
    rows.changed(space, entry);
    table.cas[entry] = ++this.#cas;
    counted.writeBigUInt64BE(BigInt(table.count[entry]!));
    this.#answer(ns, Status.ok, counted, table.cas[entry]);
  }

  flush(space: Space, ns: number, connection: number): void {
    space.table.flush();
    this.rows.request(ns, connection, Opcode.flush, false);
    this.#answer(ns, Status.ok);
  }

  #answer(ns: number, status: number, text?: Buffer, cas = 0): void {
    if (text === undefined) this.rows.answer(ns, status, cas);
    else this.rows.answerWith(ns, status, text, cas);
    this.requests++;
  }
}

function statusOf(opcode: number, isThere: boolean, token: number, current: number): number {
  if (token !== 0) {
    if (!isThere) return Status.notFound;
    return current === token ? Status.ok : Status.exists;
  }
  if (opcode === Opcode.add && isThere) return Status.exists;
  return opcode === Opcode.replace && !isThere ? Status.notFound : Status.ok;
}
