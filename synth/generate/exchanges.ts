// What is asked, and what a cache without limits answers: the operations of a model, each with the rows that it makes and
// what follows from it. `at` says whose request comes next; the operations that follow are of it.

import {
  Opcode,
  isRead,
  mutates,
  opcodeInfo,
  opcodeNamed,
  quietOf,
  type Family,
} from '../../protocol/opcode.ts';
import {
  Effect,
  decide,
  decideCounter,
  isSilent,
  type Decision,
  type Found,
} from '../../protocol/semantics.ts';
import { Status, statuses } from '../../protocol/status.ts';
import { Outcome, RowFlag } from '../../trace/batch.ts';
import { mixOperations, type MixOperation } from '../laws/mix.ts';
import { Rows } from './rows.ts';
import {
  MAX_PIECES,
  PREPENDED,
  Sort,
  appendedPiece,
  expires,
  expiryOf,
  piecesOf,
  prependedPiece,
  type Space,
} from './space.ts';
import type { Stream } from './stream.ts';
import { TaskKind, Tasks } from './tasks.ts';

/** Changes that have a quiet sort, which is answered only where it fails. */
const hasQuiet: ReadonlySet<MixOperation> = new Set(
  mixOperations.filter((name) => {
    const opcode = opcodeNamed(name);
    return (
      opcode !== undefined && mutates[opcode] === 1 && isRead[opcode] === 0 && quietOf(opcode) !== opcode
    );
  }),
);
/** The texts that memcached sends with statuses. */
const texts = new Map(Object.entries(statuses).map(([code, { text }]) => [Number(code), Buffer.from(text)]));

export class Exchanges {
  readonly rows: Rows;
  readonly tasks = new Tasks();
  readonly #latencyNs: number;
  #cas = 0;
  /** Requests made, without conditional ones and the NOOPs of multi-gets; and those that name a CAS id. */
  requests = 0;
  casRequests = 0;

  // Of the request that comes next.
  #stream!: Stream;
  #space!: Space;
  #ns = 0;
  #connection = 0;
  #joins = false;
  /** It is a change that is answered only where it fails. */
  #isQuiet = false;
  #opcode: number = Opcode.noop;
  /** What the cache has for it: one object for all. */
  readonly #found: Found = { isThere: false, casAgrees: true, hasCas: false };

  /** @param latencyNs what a client waits for an answer */
  constructor(latencyNs: number) {
    this.#latencyNs = latencyNs;
    this.rows = new Rows(latencyNs);
  }

  /** @param joins the request leaves together with the one before it */
  at(stream: Stream, ns: number, connection: number, joins = false): void {
    this.#stream = stream;
    this.#space = stream.space;
    this.#ns = ns;
    this.#connection = connection;
    this.#joins = joins;
  }

  /** @param sort of the key, as the stream has it for the operation */
  operate(operation: MixOperation, sort: Sort, id: number): void {
    this.#isQuiet = hasQuiet.has(operation) && this.#stream.isQuiet();
    this.#perform(operation, sort, id);
    if (!this.#isQuiet) return;
    // Silence is proven by the next answer. The NOOP asks for nothing, and is no request of the model.
    this.#isQuiet = false;
    this.#joins = true;
    this.#request(Opcode.noop);
    this.rows.answer(this.#ns, Status.ok);
  }

  #perform(operation: MixOperation, sort: Sort, id: number): void {
    switch (operation) {
      case 'get':
      case 'gets':
        this.read(Opcode.get, sort, id);
        return;
      case 'gat':
        this.read(Opcode.gat, sort, id);
        return;
      case 'cas': {
        const entry = this.read(Opcode.get, sort, id);
        const { table } = this.#space;
        if (table.expiresNs[entry]! > this.#ns)
          this.#follow(0, TaskKind.cas, sort, id, entry, table.cas[entry]!);
        return;
      }
      case 'set':
      case 'add':
      case 'replace':
        this.store(Opcode[operation], sort, id, this.#entryOf(sort, id), 0);
        return;
      case 'delete':
      case 'touch':
        this.#change(operation, sort, id);
        return;
      case 'append':
      case 'prepend':
        this.#concatenate(operation, id);
        return;
      case 'incr':
      case 'decr':
        this.#count(operation, id);
        return;
      case 'noop':
        this.#request(Opcode.noop);
        this.#answer(Status.ok);
    }
  }

  // ---- Reads.

  /**
   * Returns the key's number in its table.
   * @param refillNs how long after a miss it is stored again; undefined: as the stream does
   */
  read(opcode: number, sort: Sort, id: number, refillNs?: number): number {
    const { rows } = this;
    const space = this.#space;
    const ns = this.#ns;
    const entry = this.#readEntry(sort, id);
    // Not before: columns are replaced where the table grows.
    const { expiresNs } = space.table;
    const { status, effect } = this.#decide(opcode === Opcode.gat ? 'gat' : 'get', entry);
    const isHit = status === Status.ok;
    this.#request(opcode);
    if (opcode === Opcode.gat) {
      const ttl = space.ttl(this.#stream.choose);
      rows.expiryExtras(expiryOf(ttl, ns));
      if (effect === Effect.touch) expiresNs[entry] = expires(ns, ttl);
    }
    rows.key(space, sort, id, entry);
    if (isHit) this.#hit(sort, id, entry, false);
    else this.#fail(status);
    this.#fill(sort, id, entry, isHit, refillNs);
    return entry;
  }

  /** One read after the other, quiet, and a NOOP. @param first sort of the first key, which the stream drew last */
  readMany(count: number, version: number, first: Sort): void {
    const { rows } = this;
    const stream = this.#stream;
    const space = this.#space;
    const ns = this.#ns;
    for (let n = 0; n < count; n++) {
      if (n > 0) stream.drawRead(ns);
      const id = space.versioned(stream.id, version);
      const sort = n === 0 ? first : stream.sortOf('get', id);
      const entry = this.#readEntry(sort, id);
      const { status } = this.#decide('get', entry);
      const isHit = status === Status.ok;
      this.#joins = n > 0;
      this.#request(Opcode.getkq);
      rows.key(space, sort, id, entry);
      if (isHit) this.#hit(sort, id, entry, true);
      else this.#fail(status);
      this.#fill(sort, id, entry, isHit);
    }
    // The NOOP asks for nothing, and is no request of the model.
    this.#joins = true;
    this.#request(Opcode.noop);
    rows.answer(ns, Status.ok);
  }

  /** The number of a key; in a cache that is warm, what is asked for first is there. */
  #readEntry(sort: Sort, id: number): number {
    const { table } = this.#space;
    const entry = this.#entryOf(sort, id);
    if (table.isNew && this.#stream.isThere(sort, id)) {
      table.expiresNs[entry] = Infinity;
      table.cas[entry] = ++this.#cas;
    }
    return entry;
  }

  #entryOf(sort: Sort, id: number): number {
    return this.#space.entryOf(sort, id, this.#stream);
  }

  /** After a read: what a client does that missed. */
  #fill(sort: Sort, id: number, entry: number, isHit: boolean, refillNs?: number): void {
    if (sort === Sort.counter || sort === Sort.absent || !this.#stream.refills()) return;
    this.rows.batch.flags[this.rows.row - 1]! |= RowFlag.refilled;
    const delayNs = refillNs ?? this.#stream.refillDelayNs();
    this.#follow(delayNs, isHit ? TaskKind.refillAgain : TaskKind.refill, sort, id, entry, 0);
  }

  /** What a client does once it has the answer. */
  #follow(delayNs: number, kind: TaskKind, sort: Sort, id: number, entry: number, token: number): void {
    const { tasks } = this;
    const ns = this.#ns + this.#latencyNs + 1 + delayNs;
    const task = delayNs === 0 ? tasks.soon(ns) : tasks.put(ns);
    tasks.kind[task] = kind;
    tasks.stream[task] = this.#stream.number;
    tasks.connection[task] = this.#connection;
    tasks.sort[task] = sort;
    tasks.id[task] = id;
    tasks.entry[task] = entry;
    tasks.token[task] = token;
  }

  // ---- Stores.

  /** @param token of the version that the store is for; 0: any */
  store(opcode: number, sort: Sort, id: number, entry: number, token: number): void {
    const { rows } = this;
    const space = this.#space;
    const { table } = space;
    const { status, effect } = this.#decide(opcodeInfo(opcode)!.family, entry, token);
    const ttl = this.#requestStore(opcode, sort, id, entry);
    if (token !== 0) {
      rows.batch.casLow[rows.row] = token;
      this.casRequests++;
    }
    if (effect === Effect.store) {
      this.#renew(opcode, sort, id, entry);
      rows.value(space, sort, id, entry);
      this.#stored(entry, ttl);
      return;
    }
    // What a failing store carries is a version of its own.
    const [version, bytes, count] = [table.version[entry]!, table.bytes[entry]!, table.count[entry]!];
    this.#renew(opcode, sort, id, entry);
    rows.value(space, sort, id, entry);
    table.version[entry] = version;
    table.bytes[entry] = bytes;
    table.count[entry] = count;
    rows.changed(space, entry);
    this.#fail(status);
  }

  /**
   * The value is stored again as it is; a cache that still has it makes that unnecessary.
   * @param missed the read before it was answered with a miss
   */
  refill(sort: Sort, id: number, entry: number, missed: boolean): void {
    const { rows } = this;
    const space = this.#space;
    const opcode = this.#stream.refillOpcode;
    const { status } = this.#decide(opcodeInfo(opcode)!.family, entry);
    const isThere = space.table.expiresNs[entry]! > this.#ns;
    const ttl = this.#requestStore(opcode, sort, id, entry);
    const { batch, row } = rows;
    batch.flags[row]! |= RowFlag.refill;
    if (missed && !isThere) this.#renew(opcode, sort, id, entry);
    rows.value(space, sort, id, entry);
    if (!missed) {
      rows.answer(this.#ns, Status.ok);
      // No server made it: it says nothing of the order.
      batch.outcome[row] = Outcome.conditional;
    } else if (status === Status.ok) this.#stored(entry, ttl);
    else this.#fail(status);
  }

  /** A store as far as its value. Returns how long the item lives, ms. */
  #requestStore(opcode: number, sort: Sort, id: number, entry: number): number {
    const space = this.#space;
    const ttl = space.ttlAt(this.#ns, entry, this.#stream.choose);
    this.#request(opcode);
    this.rows.storeExtras(space.flags, expiryOf(ttl, this.#ns));
    this.rows.key(space, sort, id, entry);
    return ttl;
  }

  #renew(opcode: number, sort: Sort, id: number, entry: number): void {
    const space = this.#space;
    const resize = this.#stream.resizeOf(space.table.level[entry]!, sort, opcode);
    space.renew(entry, id, this.#ns, resize);
    this.rows.changed(space, entry);
  }

  #stored(entry: number, ttl: number): void {
    const { table } = this.#space;
    table.expiresNs[entry] = expires(this.#ns, ttl);
    table.cas[entry] = ++this.#cas;
    this.#answer(Status.ok, table.cas[entry]);
  }

  // ---- Other changes.

  #change(operation: 'delete' | 'touch', sort: Sort, id: number): void {
    const { rows } = this;
    const space = this.#space;
    const { table } = space;
    const ns = this.#ns;
    const entry = this.#entryOf(sort, id);
    const { status, effect } = this.#decide(operation, entry);
    const isTouch = operation === 'touch';
    this.#request(Opcode[operation]);
    if (isTouch) {
      const ttl = space.ttlAt(ns, entry, this.#stream.choose);
      rows.expiryExtras(expiryOf(ttl, ns));
      if (effect === Effect.touch) table.expiresNs[entry] = expires(ns, ttl);
    } else if (effect === Effect.remove) table.expiresNs[entry] = 0;
    rows.key(space, sort, id, entry);
    if (status !== Status.ok) {
      this.#fail(status);
      return;
    }
    if (isTouch) rows.flags(space.flags);
    this.#answer(Status.ok, isTouch ? table.cas[entry] : 0);
  }

  #concatenate(operation: 'append' | 'prepend', id: number): void {
    const { rows } = this;
    const space = this.#space;
    const { table } = space;
    const entry = this.#entryOf(Sort.list, id);
    const { status } = this.#decide(operation, entry);
    const isThere = status === Status.ok;
    const isAppend = operation === 'append';
    const count = table.count[entry]!;
    const pieces = piecesOf(count)[isAppend ? 1 : 0];
    // One that is long is begun anew; so is one that is not there, unless others of a recording do that.
    if (pieces >= MAX_PIECES || (!isThere && !this.#stream.isLearnt)) {
      this.store(Opcode.set, Sort.list, id, entry, 0);
      return;
    }
    this.#request(Opcode[operation]);
    rows.key(space, Sort.list, id, entry);
    rows.piece(space, id, (isAppend ? appendedPiece : prependedPiece)(table.version[entry]!, pieces + 1));
    if (!isThere) {
      this.#fail(status);
      return;
    }
    table.count[entry] = count + (isAppend ? 1 : PREPENDED);
    rows.changed(space, entry);
    table.cas[entry] = ++this.#cas;
    this.#answer(Status.ok, table.cas[entry]);
  }

  #count(operation: 'incr' | 'decr', id: number): void {
    const { rows } = this;
    const space = this.#space;
    const { table } = space;
    const ns = this.#ns;
    const entry = this.#entryOf(Sort.counter, id);
    const ttl = space.ttlAt(ns, entry, this.#stream.choose);
    const delta = space.delta(this.#stream.choose);
    this.#request(Opcode[operation]);
    rows.countExtras(delta, space.counter ?? 0, expiryOf(ttl, ns));
    rows.key(space, Sort.counter, id, entry);
    // Counters are numbers from their first request on, and all of these requests create.
    const { effect } = decideCounter(this.#find(entry), false, true, true);
    if (effect === Effect.count)
      table.count[entry] = Math.max(0, table.count[entry]! + (operation === 'incr' ? delta : -delta));
    else {
      table.count[entry] = space.counter ?? 0;
      table.expiresNs[entry] = expires(ns, ttl);
    }
    rows.changed(space, entry);
    table.cas[entry] = ++this.#cas;
    if (isSilent(this.#opcode, Status.ok)) rows.silence(ns);
    else rows.number(ns, table.count[entry], table.cas[entry]);
    this.requests++;
  }

  flush(): void {
    this.#space.table.flush();
    this.#request(Opcode.flush);
    this.#answer(Status.ok);
  }

  // ---- What is there.

  /** @param token of the version that the request names; 0: none */
  #decide(family: Family, entry: number, token = 0): Decision {
    return decide(family, this.#find(entry, token));
  }

  #find(entry: number, token = 0): Found {
    const { table } = this.#space;
    const found = this.#found;
    found.isThere = table.expiresNs[entry]! > this.#ns;
    found.hasCas = token !== 0;
    found.casAgrees = token === 0 || table.cas[entry] === token;
    return found;
  }

  // ---- Rows.

  #request(opcode: number): void {
    this.#opcode = this.#isQuiet ? quietOf(opcode) : opcode;
    this.rows.request(this.#ns, this.#connection, this.#opcode, this.#joins);
  }

  #hit(sort: Sort, id: number, entry: number, hasKey: boolean): void {
    this.rows.answerValue(this.#ns, this.#space, sort, id, entry, hasKey);
    this.requests++;
  }

  #answer(status: number, cas = 0): void {
    if (isSilent(this.#opcode, status)) this.rows.silence(this.#ns);
    else this.rows.answer(this.#ns, status, cas);
    this.requests++;
  }

  #fail(status: number): void {
    if (isSilent(this.#opcode, status)) this.rows.silence(this.#ns);
    else this.rows.error(this.#ns, status, texts.get(status)!);
    this.requests++;
  }
}
