// Requests out of a model, in the order of their times, as batches of exchanges: each with the answer that a cache
// without limits would give. What only some caches make necessary (to store again what was evicted) is generated too, as
// conditional: a replay sends it where its own target missed.

import { MAX_RELATIVE_SECONDS } from '../protocol/expiry.ts';
import { putUint32 } from '../protocol/header.ts';
import { Opcode } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import {
  Batch,
  ConnectionEnd,
  NEVER,
  Outcome,
  RowFlag,
  byteColumns,
  shortColumns,
  wordColumns,
  type Connection,
} from '../trace/batch.ts';
import { Agenda } from './agenda.ts';
import { ArrivalStream } from './arrivals.ts';
import { KeyTable } from './cache.ts';
import { Content, widthOf, writeKey } from './content.ts';
import { Permutation, hash, unit } from './hash.ts';
import { localityOf } from './locality.ts';
import { normalized, type MixOperation } from './mix.ts';
import { type Model, type ModelEvent, type StreamModel, type Tenant } from './model.ts';
import { alias, normalQuantile, normalShare, quantileOf, type Numbers, type Quantile } from './numbers.ts';
import { ConnectionPool, ORDER } from './pool.ts';
import { ranksOf } from './popularity.ts';
import { Random, Stratified, exponential } from './random.ts';
import { meanRate } from './transform.ts';

export interface GeneratorOptions {
  seed?: number;
  durationMs?: number;
  /** Ends after so many requests. */
  requests?: number;
}

const BATCH_ROWS = 4096;
const BATCH_BYTES = 4 * 1024 * 1024;
/** Of every generated trace: 2026-01-01T00:00:00Z, ns. */
export const START_NS = 1_767_225_600n * 1_000_000_000n;
const SERVER = 'memcached.invalid:11211';
/** Length of a run where neither model nor options say. */
export const DEFAULT_MS = 10_000;
/** memcached's limit of an item is 1 MiB, its header and key included. */
const MAX_VALUE = 1024 * 1024 - 512;
/** Keys of one version of the application are this far from those of the next. */
const VERSION_STEP = 2 ** 44;
/** Sorts of keys, as localities number them too: values, counters, lists that are appended to, and those asked for once. */
const Sort = { value: 0, counter: 1, list: 2, once: 3 } as const;
type Sort = (typeof Sort)[keyof typeof Sort];
const SORTS = 4;
const sortLetters = Buffer.from('kclo');
/** Pieces that a list has at either end before it is stored anew, and their bytes. */
const MAX_PIECES = 30;
/** In the count of a list: this much for each that was prepended. */
const PREPENDED = 64;
const PIECE_BYTES = 16;
/** Lengths of keys are drawn from a table of 2^14 quantiles. */
const LENGTH_SHIFT = 18;
const notFound = Buffer.from('Not found');
const exists = Buffer.from('Data exists for key.');

/** Changes that have a quiet sort, which is answered only where it fails; and by opcode, which one. */
const changes = ['set', 'add', 'replace', 'delete', 'append', 'prepend', 'incr', 'decr'] as const;
const hasQuiet: ReadonlySet<MixOperation> = new Set(changes);
const quietOpcodes: ReadonlyMap<number, number> = new Map(
  changes.map((name) => [Opcode[name], Opcode[`${name}q`]]),
);

/** What is drawn from the seed for a key. */
const Field = { size: 1, length: 2 } as const;

/** What follows from a request later. */
interface Task {
  kind: 'refill' | 'cas' | 'again' | 'read' | 'flush';
  stream: Stream;
  connection: number;
  sort: Sort;
  id: number;
  /** refill: the read missed. */
  missed: boolean;
  /** cas: the version that was read. */
  token: number;
  operation: MixOperation;
}

/** Everything that a tenant's streams share. */
interface Space {
  tenant: Tenant;
  name: string;
  seed: number;
  prefix: Buffer;
  width: number;
  table: KeyTable;
  content: Content;
  /** By the first bits of a hash. */
  keyLengths: Uint8Array | undefined;
  valueSize: Quantile;
  maxValue: number;
  ttlOf: (random: Random) => number;
  permutation: Permutation;
  pool: ConnectionPool;
  events: readonly ModelEvent[];
  isWarm: boolean;
  /** Keys that were asked for once. */
  once: number;
}

interface Stream {
  space: Space;
  model: StreamModel;
  arrivals: ArrivalStream;
  nextNs: number;
  toNs: number;
  /** @param inserts a key that is new, where popularity knows of such */
  rank: (inserts: boolean) => number;
  /** Of the last rank, where that is not what the rank says. */
  popularity: () => number | undefined;
  /** Of its key and value, bytes, where the locality knows them. */
  sizes: () => readonly [number, number] | undefined;
  operation: () => MixOperation;
  sortOfRead: (u: number) => Sort;
  /** Of a locality that was learnt: what its last object is, and what is done to such. */
  sortOfLast: () => Sort;
  mixes: (() => MixOperation)[] | undefined;
  choose: Random;
  multiget: { share: number; keys: Quantile } | undefined;
  pipeline: Quantile | undefined;
  /** Requests that leave together, on average: so much rarer are arrivals than requests. */
  together: number;
}

export class ModelGenerator {
  readonly model: Model;
  readonly seed: number;
  readonly durationNs: number;
  readonly #maxRequests: number;
  readonly #streams: Stream[] = [];
  readonly #agenda = new Agenda<Task>();
  readonly #latencyNs: number;
  readonly #connections: Connection[] = [];
  readonly #batch = new Batch(BATCH_ROWS + 64, BATCH_BYTES + MAX_VALUE * 2);
  #row = 0;
  #opaque = 0;
  #cas = 0;
  /** Requests generated, without conditional ones; and rows. */
  requests = 0;
  rows = 0;
  casRequests = 0;

  /** @throws ConfigError, RangeError where the model cannot be */
  constructor(model: Model, options: GeneratorOptions = {}) {
    this.model = model;
    this.seed = options.seed ?? model.seed ?? 1;
    const requests = options.requests ?? model.requests;
    this.#maxRequests = requests ?? Infinity;
    // With a number of requests and no time, the number decides.
    const unlimited =
      requests !== undefined && options.durationMs === undefined && model.duration === undefined;
    this.durationNs = unlimited ? Infinity : (options.durationMs ?? model.duration ?? DEFAULT_MS) * 1e6;
    this.#latencyNs = Math.max(1, Math.round((model.latency ?? 0.2) * 1e6));
    for (const tenant of model.tenants) this.#add(tenant);
  }

  /** About how many requests there will be. */
  get expected(): number {
    return Math.min(this.#maxRequests, Math.round((meanRate(this.model) * this.durationNs) / 1e9));
  }

  /** Each is the caller's until the next one is asked for. */
  *batches(): Generator<Batch, void, void> {
    let streams = this.#streams;
    for (const space of new Set(streams.map((stream) => stream.space))) this.#plan(space);
    for (;;) {
      let first: Stream | undefined;
      for (const stream of streams) if (first === undefined || stream.nextNs < first.nextNs) first = stream;
      const arrivalNs = first?.nextNs ?? Infinity;
      const taskNs = this.#agenda.nextNs;
      const ns = Math.min(arrivalNs, taskNs);
      if (ns > this.durationNs || ns === Infinity || this.requests >= this.#maxRequests) break;
      if (taskNs <= arrivalNs) this.#do(this.#agenda.take()!, taskNs);
      else {
        this.#arrive(first!, ns);
        if (first!.nextNs > first!.toNs) streams = streams.filter((stream) => stream !== first);
      }
      if (this.#row >= BATCH_ROWS || this.#batch.heapLength > BATCH_BYTES) {
        yield this.#take();
        this.#clear();
      }
    }
    if (this.#row > 0 || this.rows === 0) yield this.#take();
  }

  /** The batch again, with nothing in it. */
  #clear(): void {
    const batch = this.#batch;
    batch.clear();
    for (const name of byteColumns) batch[name].fill(0);
    for (const name of shortColumns) batch[name].fill(0);
    for (const name of wordColumns) batch[name].fill(0);
    this.#row = 0;
  }

  #take(): Batch {
    const batch = this.#batch;
    batch.count = this.#row;
    batch.firstIndex = this.rows;
    batch.connections = this.#connections.splice(0);
    this.rows += this.#row;
    return batch;
  }

  // ---- Setting up.

  #add(tenant: Tenant): void {
    const { name = '', keys, values, ttl, connections, events = [] } = tenant;
    const random = (concern: string): Random => new Random(this.seed, named(`${name}/${concern}`));
    const seed = hash(this.seed, named(name), 0);
    const maxValue = Math.min(MAX_VALUE, tenant.maxValue ?? MAX_VALUE);
    const valueSize = values === undefined ? () => 100 : quantileOf(values.size);
    const pool = new ConnectionPool(
      {
        tenant: name,
        count: connections?.count ?? 10,
        lifetimeNs: (connections?.lifetime ?? Infinity) * 1e6,
        assignment: connections?.assignment ?? 'random',
        events,
      },
      random('connections'),
      (connection) =>
        this.#open({
          ...connection,
          closeNs: connection.closeNs > this.durationNs ? NEVER : connection.closeNs,
        }),
    );
    const space: Space = {
      tenant,
      name,
      seed,
      prefix: Buffer.from(keys.prefix ?? (name === '' ? '' : `${name}:`)),
      width: widthOf(keys.space),
      table: new KeyTable(),
      content: new Content(values?.bytes ?? 'random', values?.compressible ?? 0, maxValue),
      keyLengths: keys.length === undefined ? undefined : lengthsOf(quantileOf(keys.length)),
      valueSize,
      maxValue,
      ttlOf: ttlOf(ttl),
      permutation: new Permutation(keys.space, seed),
      pool,
      events,
      isWarm: this.model.start === 'warm',
      once: 0,
    };
    const { streams = [] } = tenant;
    if (tenant.arrivals !== undefined) this.#addStream(space, '', tenant);
    for (const stream of streams) {
      const { arrivals = tenant.arrivals, ...own } = stream;
      if (arrivals !== undefined)
        this.#addStream(space, own.name, { ...inherited(tenant), ...own, arrivals });
    }
  }

  #addStream(space: Space, name: string, model: StreamModel): void {
    const random = (concern: string): Random =>
      new Random(this.seed, named(`${space.name}/${name}/${concern}`));
    const { keys } = space.tenant;
    const {
      popularity = { kind: 'zipf', alpha: 0.99 },
      mix = { get: 1 },
      locality,
      multiget,
      pipeline,
    } = model;
    const fromNs = (model.from ?? 0) * 1e6;
    const arrivals = new ArrivalStream(model.arrivals!, random('arrivals'), fromNs);
    const shares = normalized(mix);
    const pickOperation = pickerOf(perArrival(shares, multiget));
    const pick = new Stratified(random('operations'));
    const choose = random('choices');
    const ranks = ranksOf(popularity, keys.space);
    const rankRandom = random('popularity');
    const local = localityOf(locality, hash(this.seed, named(`${space.name}/${name}`), 1));
    const stream: Stream = {
      space,
      model,
      arrivals,
      nextNs: arrivals.next(),
      toNs: (model.to ?? Infinity) * 1e6,
      rank: local === undefined ? (inserts) => ranks(rankRandom, inserts) : () => local.next(),
      popularity: () => local?.popularity(),
      sizes: () => local?.sizes(),
      operation: () => pickOperation(pick.float()),
      sortOfRead: sortsOf(shares),
      sortOfLast: () => (local?.sortOfLast() ?? Sort.value) as Sort,
      mixes:
        local?.mixes === undefined
          ? undefined
          : local.mixes.map((own, sort) => {
              const choice = pickerOf(perArrival(normalized(own), multiget));
              const draws = new Stratified(random(`operations of sort ${sort}`));
              return () => choice(draws.float());
            }),
      choose,
      multiget:
        multiget === undefined ? undefined : { share: multiget.share, keys: quantileOf(multiget.keys) },
      pipeline: pipeline === undefined ? undefined : quantileOf(pipeline),
      together: togetherOf(perArrival(shares, multiget), multiget, pipeline),
    };
    this.#streams.push(stream);
  }

  /** What has its time in the model. */
  #plan(space: Space): void {
    const stream = this.#streams.find((one) => one.space === space)!;
    for (const event of space.events) {
      const ns = event.at * 1e6;
      const task = { kind: 'again', stream, sort: Sort.value, missed: false, token: 0 } as const;
      if (event.kind === 'flush')
        this.#agenda.put(ns, { ...task, kind: 'flush', connection: -1, id: 0, operation: 'noop' });
      if (event.kind !== 'herd') continue;
      const id = event.key ?? 0;
      if (event.delete !== false) this.#agenda.put(ns, { ...task, connection: -1, id, operation: 'delete' });
      for (let client = 0; client < event.clients; client++)
        this.#agenda.put(ns + this.#latencyNs + client, {
          ...task,
          kind: 'read',
          connection: -1,
          id,
          operation: 'get',
        });
    }
  }

  #open(connection: Omit<Connection, 'id' | 'client' | 'server' | 'end'>): number {
    const id = this.#opened++;
    this.#connections.push({
      ...connection,
      id,
      client: `10.${(id >> 16) & 255}.${(id >> 8) & 255}.${id & 255}:${40_000 + (id % 20_000)}`,
      server: SERVER,
      end: connection.closeNs === NEVER ? ConnectionEnd.open : ConnectionEnd.client,
    });
    return id;
  }
  #opened = 0;

  // ---- Requests.

  #arrive(stream: Stream, ns: number): void {
    const { space, multiget, pipeline, choose } = stream;
    const [first, id] = this.#draw(stream, ns);
    let count = 1;
    const isMany =
      multiget !== undefined && (first === 'get' || first === 'gets') && choose.float() < multiget.share;
    if (isMany) count = clampCount(multiget.keys(choose.float()), space.tenant.keys.space);
    else if (pipeline !== undefined) count = clampCount(pipeline(choose.float()), 10_000);
    const connection = space.pool.at(ns, choose, id);
    if (connection >= 0) {
      this.#version = versionOf(space, ns, connection) * VERSION_STEP;
      if (isMany) this.#readMany(stream, ns, connection, id, count);
      else {
        this.#operate(stream, ns, connection, first, this.#versioned(id), false);
        for (let n = 1; n < count; n++) {
          const [next, other] = this.#draw(stream, ns);
          this.#operate(stream, ns, connection, next, this.#versioned(other), true);
        }
      }
      this.#retry(stream, ns, first, id);
    }
    stream.nextNs = stream.arrivals.next(stream.together, count);
  }

  /** What is done, and to which key. */
  #draw(stream: Stream, ns: number): [MixOperation, number] {
    if (stream.mixes === undefined) {
      const operation = stream.operation();
      return [operation, this.#idOf(stream, ns, operation)];
    }
    // Of a locality that was learnt, the object comes first: what is done to it depends on what it is.
    const id = this.#idOf(stream, ns, 'get');
    return [stream.mixes[stream.sortOfLast()]!(), id];
  }

  #idOf(stream: Stream, ns: number, operation: MixOperation): number {
    const { space, model, choose } = stream;
    if (model.oneHit !== undefined && model.oneHit > 0 && choose.float() < model.oneHit)
      return -1 - space.once++;
    let rank = stream.rank(operation === 'add');
    this.#popularity = stream.popularity();
    this.#sizes = stream.sizes();
    const { space: size } = space.tenant.keys;
    for (const event of space.events)
      if (event.kind === 'shift' && ns >= event.at * 1e6) rank = (((rank + event.by) % size) + size) % size;
    return rank;
  }

  /** Of the key that was drawn last. */
  #popularity: number | undefined;
  #sizes: readonly [number, number] | undefined;

  /** Added to the keys that a connection asks for: it may be of a newer version of the application. */
  #version = 0;

  #versioned(id: number): number {
    return id < 0 ? id : id + this.#version;
  }

  #retry(stream: Stream, ns: number, operation: MixOperation, id: number): void {
    for (const event of stream.space.events) {
      if (event.kind !== 'retries' || ns < event.at * 1e6 || ns >= (event.at + event.for) * 1e6) continue;
      if (stream.choose.float() >= event.share) continue;
      for (let turn = 1; turn <= event.times; turn++)
        this.#agenda.put(ns + turn * event.after * 1e6, {
          kind: 'again',
          stream,
          connection: -1,
          sort: Sort.value,
          id,
          missed: false,
          token: 0,
          operation,
        });
    }
  }

  #do(task: Task, ns: number): void {
    const { kind, stream, sort, id, operation } = task;
    const { space } = stream;
    // A connection that ended meanwhile has a successor.
    const connection =
      task.connection >= 0 && space.pool.isOpen(task.connection, ns)
        ? task.connection
        : space.pool.at(ns, stream.choose, id);
    if (connection < 0) return;
    switch (kind) {
      case 'again':
        this.#operate(stream, ns, connection, operation, id, false);
        return;
      case 'read':
        this.#read(stream, ns, connection, Opcode.get, Sort.value, id, false);
        return;
      case 'refill':
        // Whether a read missed, a replay knows on that read's connection only.
        if (connection === task.connection) this.#refill(stream, ns, connection, sort, id, task.missed);
        else if (task.missed) this.#store(stream, ns, connection, refillOpcode(stream), sort, id, false, 0);
        return;
      case 'cas':
        this.#store(stream, ns, connection, Opcode.set, sort, id, false, task.token);
        return;
      case 'flush':
        space.table.flush();
        this.#request(ns, connection, Opcode.flush, false);
        this.#answer(ns, Status.ok);
        return;
    }
  }

  #operate(
    stream: Stream,
    ns: number,
    connection: number,
    operation: MixOperation,
    id: number,
    joins: boolean,
  ): void {
    const { quiet = 0 } = stream.model;
    this.#isQuietly = quiet > 0 && hasQuiet.has(operation) && stream.choose.float() < quiet;
    this.#perform(stream, ns, connection, operation, id, joins);
    if (!this.#isQuietly) return;
    // Silence is proven by the next answer.
    this.#isQuietly = false;
    this.#perform(stream, ns, connection, 'noop', id, true);
  }

  /** The change that is under way is a quiet one. */
  #isQuietly = false;

  #perform(
    stream: Stream,
    ns: number,
    connection: number,
    operation: MixOperation,
    id: number,
    joins: boolean,
  ): void {
    const sort = this.#sortOf(stream, operation, id);
    switch (operation) {
      case 'get':
      case 'gets':
        this.#read(stream, ns, connection, Opcode.get, sort, id, joins);
        return;
      case 'gat':
        this.#read(stream, ns, connection, Opcode.gat, sort, id, joins);
        return;
      case 'cas': {
        const token = this.#read(stream, ns, connection, Opcode.get, sort, id, joins);
        if (token !== 0)
          this.#later(ns, { kind: 'cas', stream, connection, sort, id, missed: false, token, operation });
        return;
      }
      case 'set':
      case 'add':
      case 'replace':
        this.#store(stream, ns, connection, Opcode[operation], sort, id, joins, 0);
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
        this.#request(ns, connection, Opcode.noop, joins);
        this.#answer(ns, Status.ok);
    }
  }

  /** What an operation finds under a key. */
  #sortOf(stream: Stream, operation: MixOperation, id: number): Sort {
    if (id < 0) return Sort.once;
    if (operation === 'incr' || operation === 'decr') return Sort.counter;
    if (operation === 'append' || operation === 'prepend') return Sort.list;
    if (stream.mixes !== undefined) return stream.sortOfLast();
    return operation === 'get' || operation === 'gets'
      ? stream.sortOfRead(stream.choose.float())
      : Sort.value;
  }

  #later(ns: number, task: Task, delayNs = 0): void {
    this.#agenda.put(ns + this.#latencyNs + 1 + delayNs, task);
  }

  /** The state of a key; in a cache that is warm, what is asked for first is there. */
  #entry({ space }: Stream, sort: Sort, id: number, isRead: boolean): number {
    const { table } = space;
    const at = table.at((id < 0 ? -2 - id + VERSION_STEP * 64 : id) * SORTS + sort);
    if (!table.isNew) return at;
    if (this.#sizes === undefined || id < 0) table.base[at] = this.#sizeOf(space, id);
    else {
      table.keyBytes[at] = Math.min(250, this.#sizes[0]);
      table.base[at] = Math.min(space.maxValue, this.#sizes[1]);
    }
    table.bytes[at] = table.base[at];
    if (space.isWarm && isRead && id >= 0 && sort !== Sort.counter) {
      table.expiresNs[at] = Infinity;
      table.cas[at] = ++this.#cas;
    }
    return at;
  }

  #sizeOf(space: Space, id: number): number {
    const { values, keys } = space.tenant;
    let u = unit(space.seed, Math.abs(id), Field.size);
    const correlation = values?.correlation ?? 0;
    if (correlation !== 0 && id >= 0) {
      // A Gaussian copula: what is popular has a high rank in size, as far as they are correlated.
      const rank = (id % VERSION_STEP) % keys.space;
      const share = this.#popularity ?? 1 - (rank + 0.5) / keys.space;
      const popular = normalQuantile(Math.min(1 - 1e-6, Math.max(1e-6, share)));
      u = normalShare(correlation * popular + Math.sqrt(1 - correlation * correlation) * normalQuantile(u));
    }
    return Math.min(space.maxValue, Math.max(0, Math.round(space.valueSize(u))));
  }

  /** Returns the CAS id that was read; 0: a miss. */
  #read(
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
    const at = this.#entry(stream, sort, id, true);
    this.#request(ns, connection, opcode, joins);
    if (opcode === Opcode.gat) {
      const ttl = space.ttlOf(stream.choose);
      putUint32(this.#extras(4), this.#extrasAt, this.#expiryOf(ttl, ns));
      if (table.expiresNs[at]! > ns) table.expiresNs[at] = expires(ns, ttl);
    }
    this.#key(space, sort, id, at);
    const isHit = table.expiresNs[at]! > ns;
    if (isHit) this.#hit(space, ns, at, sort, id);
    else this.#answer(ns, Status.notFound, notFound);
    this.#fill(stream, ns, connection, sort, id, !isHit);
    return isHit ? table.cas[at]! : 0;
  }

  #readMany(stream: Stream, ns: number, connection: number, first: number, count: number): void {
    const { space } = stream;
    const { table } = space;
    for (let n = 0; n < count; n++) {
      const id = this.#versioned(n === 0 ? first : this.#idOf(stream, ns, 'get'));
      const sort = this.#sortOf(stream, 'get', id);
      const at = this.#entry(stream, sort, id, true);
      const isHit = table.expiresNs[at]! > ns;
      this.#request(ns, connection, Opcode.getkq, n > 0);
      this.#key(space, sort, id, at);
      if (isHit) this.#hit(space, ns, at, sort, id);
      else {
        this.#batch.outcome[this.#row] = Outcome.silent;
        this.#batch.answerNs[this.#row] = ns + this.#latencyNs;
        this.#next();
      }
      this.#fill(stream, ns, connection, sort, id, !isHit);
    }
    this.#request(ns, connection, Opcode.noop, true);
    this.#answer(ns, Status.ok);
  }

  /** After a read: what a client does that missed. */
  #fill(stream: Stream, ns: number, connection: number, sort: Sort, id: number, missed: boolean): void {
    const { onMiss = 'set', refillDelay = 0 } = stream.model;
    if (onMiss === 'none' || sort === Sort.counter) return;
    this.#batch.flags[this.#row - 1]! |= RowFlag.refilled;
    const delayNs = refillDelay === 0 ? 0 : exponential(stream.choose) * refillDelay * 1e6;
    this.#later(
      ns,
      { kind: 'refill', stream, connection, sort, id, missed, token: 0, operation: onMiss },
      Math.round(delayNs),
    );
  }

  #hit(space: Space, ns: number, at: number, sort: Sort, id: number): void {
    const batch = this.#batch;
    const row = this.#row;
    const { table } = space;
    this.#answerFlags(sort === Sort.counter ? 0 : (space.tenant.flags ?? 0));
    if (batch.opcode[row] === Opcode.getkq) {
      batch.answerKeyAt[row] = batch.keyAt[row]!;
      batch.answerKeyLength[row] = batch.keyLength[row]!;
    }
    const length = this.#value(space, at, sort, id);
    batch.answerValueAt[row] = this.#valueAt;
    batch.answerValueLength[row] = length;
    this.#answer(ns, Status.ok, undefined, table.cas[at]);
  }

  #valueAt = 0;

  /** The value that the key has, into the heap; of lists with all their pieces. */
  #value(space: Space, at: number, sort: Sort, id: number): number {
    const { table, content } = space;
    const batch = this.#batch;
    if (sort === Sort.counter) {
      const text = String(table.count[at]!);
      this.#valueAt = batch.allocate(text.length);
      return batch.heap.write(text, this.#valueAt, 'latin1');
    }
    const bytes = table.bytes[at]!;
    const after = sort === Sort.list ? table.count[at]! % PREPENDED : 0;
    const before = sort === Sort.list ? Math.floor(table.count[at]! / PREPENDED) : 0;
    const length = bytes + (after + before) * PIECE_BYTES;
    let to = batch.allocate(length);
    this.#valueAt = to;
    const key = Math.abs(id) * SORTS + sort;
    const version = table.version[at]!;
    const piece = (n: number): void => {
      content.write(batch.heap, to, PIECE_BYTES, key, version * 64 + n);
      to += PIECE_BYTES;
    };
    for (let n = before; n > 0; n--) piece(MAX_PIECES + n);
    content.write(batch.heap, to, bytes, key, version);
    to += bytes;
    for (let n = 1; n <= after; n++) piece(n);
    return length;
  }

  #store(
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
    const at = this.#entry(stream, sort, id, false);
    const isThere = table.expiresNs[at]! > ns;
    const status =
      token !== 0
        ? isThere
          ? table.cas[at] === token
            ? Status.ok
            : Status.exists
          : Status.notFound
        : opcode === Opcode.add && isThere
          ? Status.exists
          : opcode === Opcode.replace && !isThere
            ? Status.notFound
            : Status.ok;
    const ttl = this.#ttl(stream, ns);
    this.#request(ns, connection, opcode, joins);
    if (token !== 0) {
      this.#batch.casLow[this.#row] = token;
      this.casRequests++;
    }
    this.#storeExtras(space, ttl, ns);
    this.#key(space, sort, id, at);
    // What a failing store carried is a version of its own.
    const kept = { version: table.version[at]!, bytes: table.bytes[at]!, count: table.count[at]! };
    this.#renew(space, at, ns);
    this.#batch.valueLength[this.#row] = this.#value(space, at, sort, id);
    this.#batch.valueAt[this.#row] = this.#valueAt;
    if (status === Status.ok) {
      table.expiresNs[at] = expires(ns, ttl);
      table.cas[at] = ++this.#cas;
      this.#answer(ns, status, undefined, table.cas[at]);
      return;
    }
    table.version[at] = kept.version;
    table.bytes[at] = kept.bytes;
    table.count[at] = kept.count;
    this.#answer(ns, status, status === Status.exists ? exists : notFound);
  }

  /** The value is another one from now on. */
  #renew({ table, maxValue, events }: Space, at: number, ns: number): void {
    table.version[at]!++;
    table.bytes[at] = Math.min(maxValue, Math.round(table.base[at]! * factorAt(events, ns)));
    table.count[at] = 0;
  }

  /** The value is stored again as it is; a cache that still has it makes that unnecessary. */
  #refill(stream: Stream, ns: number, connection: number, sort: Sort, id: number, missed: boolean): void {
    const { space } = stream;
    const { table } = space;
    const at = this.#entry(stream, sort, id, false);
    const isThere = table.expiresNs[at]! > ns;
    const opcode = refillOpcode(stream);
    const ttl = this.#ttl(stream, ns);
    const batch = this.#batch;
    this.#request(ns, connection, opcode, false);
    const row = this.#row;
    batch.flags[row]! |= RowFlag.refill;
    this.#storeExtras(space, ttl, ns);
    this.#key(space, sort, id, at);
    if (missed && !isThere) this.#renew(space, at, ns);
    batch.valueLength[row] = this.#value(space, at, sort, id);
    batch.valueAt[row] = this.#valueAt;
    const stores = missed && !(opcode === Opcode.add && isThere);
    if (stores) {
      table.expiresNs[at] = expires(ns, ttl);
      table.cas[at] = ++this.#cas;
    }
    if (missed && !stores) this.#answer(ns, Status.exists, exists);
    else this.#answer(ns, Status.ok, undefined, table.cas[at]);
    if (missed) return;
    batch.outcome[row] = Outcome.conditional;
    // No server made it: it says nothing of the order.
    batch.answerCasLow[row] = 0;
    this.requests--;
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
    const at = this.#entry(stream, sort, id, false);
    const isThere = table.expiresNs[at]! > ns;
    this.#request(ns, connection, Opcode[operation], joins);
    if (operation === 'touch') {
      const ttl = this.#ttl(stream, ns);
      putUint32(this.#extras(4), this.#extrasAt, this.#expiryOf(ttl, ns));
      if (isThere) table.expiresNs[at] = expires(ns, ttl);
    } else table.expiresNs[at] = 0;
    this.#key(space, sort, id, at);
    if (isThere && operation === 'touch') this.#answerFlags(space.tenant.flags ?? 0);
    if (isThere) this.#answer(ns, Status.ok, undefined, operation === 'touch' ? table.cas[at] : 0);
    else this.#answer(ns, Status.notFound, notFound);
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
    const at = this.#entry(stream, Sort.list, id, false);
    const isThere = table.expiresNs[at]! > ns;
    const [after, before] = [table.count[at]! % PREPENDED, Math.floor(table.count[at]! / PREPENDED)];
    // One that is long is begun anew; so is one that is not there, unless others of a recording do that.
    const isLong = (operation === 'append' ? after : before) >= MAX_PIECES;
    if (isLong || (!isThere && stream.mixes === undefined)) {
      this.#store(stream, ns, connection, Opcode.set, Sort.list, id, joins, 0);
      return;
    }
    this.#request(ns, connection, Opcode[operation], joins);
    this.#key(space, Sort.list, id, at);
    const to = this.#batch.allocate(PIECE_BYTES);
    const piece = table.version[at]! * 64 + (operation === 'append' ? after + 1 : MAX_PIECES + before + 1);
    space.content.write(this.#batch.heap, to, PIECE_BYTES, Math.abs(id) * SORTS + Sort.list, piece);
    this.#batch.valueAt[this.#row] = to;
    this.#batch.valueLength[this.#row] = PIECE_BYTES;
    if (!isThere) {
      this.#answer(ns, Status.notStored, Buffer.from('Not stored.'));
      return;
    }
    table.count[at] = table.count[at]! + (operation === 'append' ? 1 : PREPENDED);
    table.cas[at] = ++this.#cas;
    this.#answer(ns, Status.ok, undefined, table.cas[at]);
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
    const at = this.#entry(stream, Sort.counter, id, false);
    const ttl = this.#ttl(stream, ns);
    this.#request(ns, connection, Opcode[operation], joins);
    const extras = this.#extras(20);
    extras.fill(0, this.#extrasAt, this.#extrasAt + 20);
    extras[this.#extrasAt + 7] = 1;
    putUint32(extras, this.#extrasAt + 16, this.#expiryOf(ttl, ns));
    this.#key(space, Sort.counter, id, at);
    if (table.expiresNs[at]! > ns)
      table.count[at] = operation === 'incr' ? table.count[at]! + 1 : Math.max(0, table.count[at]! - 1);
    else {
      table.count[at] = 0;
      table.expiresNs[at] = expires(ns, ttl);
    }
    table.cas[at] = ++this.#cas;
    const value = Buffer.alloc(8);
    value.writeBigUInt64BE(BigInt(table.count[at]));
    this.#answer(ns, Status.ok, value, table.cas[at]);
  }

  // ---- Rows.

  #request(ns: number, connection: number, opcode: number, joins: boolean): void {
    const batch = this.#batch;
    if (this.#row >= batch.capacity) batch.reserve(this.#row + 1);
    const row = this.#row;
    batch.connection[row] = connection;
    batch.opcode[row] = opcode;
    batch.outcome[row] = Outcome.answered;
    batch.flags[row] = joins ? RowFlag.sharesSegment : 0;
    batch.requestNs[row] = ns;
    batch.requestEndNs[row] = ns;
    batch.opaque[row] = this.#opaque = (this.#opaque + 1) >>> 0;
  }

  #extrasAt = 0;

  /** Room for the request's extras; returns the heap that they are in, at `#extrasAt`. */
  #extras(bytes: number): Buffer {
    const batch = this.#batch;
    this.#extrasAt = batch.allocate(bytes);
    batch.extrasAt[this.#row] = this.#extrasAt;
    batch.extrasLength[this.#row] = bytes;
    return batch.heap;
  }

  #storeExtras(space: Space, ttlMs: number, ns: number): void {
    const heap = this.#extras(8);
    putUint32(heap, this.#extrasAt, space.tenant.flags ?? 0);
    putUint32(heap, this.#extrasAt + 4, this.#expiryOf(ttlMs, ns));
  }

  /** As it stands in a request: seconds from now, or since 1970. */
  #expiryOf(ttlMs: number, ns: number): number {
    if (ttlMs === 0) return 0;
    const seconds = Math.max(1, Math.round(ttlMs / 1000));
    return seconds <= MAX_RELATIVE_SECONDS
      ? seconds
      : Number(START_NS / 1_000_000_000n) + Math.floor(ns / 1e9) + seconds;
  }

  #ttl({ space, choose }: Stream, ns: number): number {
    for (const event of space.events)
      if (event.kind === 'ttl' && ns >= event.at * 1e6 && ns < (event.at + event.for) * 1e6)
        return event.ttl ?? Math.max(1000, event.at + event.for - ns / 1e6);
    return space.ttlOf(choose);
  }

  #key(space: Space, sort: Sort, id: number, at: number): void {
    const batch = this.#batch;
    const version = id < 0 ? 0 : Math.floor(id / VERSION_STEP);
    const rank = id < 0 ? -1 - id : id % VERSION_STEP;
    const isKnown = id >= 0 && rank < space.tenant.keys.space;
    // Those asked for once are numbered as they come; so are those beyond the space, of a locality that was learnt.
    const number = isKnown ? space.permutation.at(rank) : rank;
    const { keyLengths } = space;
    const wanted =
      space.table.keyBytes[at]! > 0
        ? space.table.keyBytes[at]!
        : keyLengths === undefined
          ? 0
          : keyLengths[hash(space.seed, Math.abs(id), Field.length) >>> LENGTH_SHIFT]!;
    batch.keyAt[this.#row] = batch.heapLength;
    batch.keyLength[this.#row] = writeKey(
      batch,
      space.prefix,
      sortLetters[sort]! + version,
      number,
      isKnown ? space.width : Math.max(space.width, widthOf(number + 1)),
      wanted,
    );
  }

  #answerFlags(flags: number): void {
    const batch = this.#batch;
    const at = batch.allocate(4);
    putUint32(batch.heap, at, flags);
    batch.answerExtrasAt[this.#row] = at;
    batch.answerExtrasLength[this.#row] = 4;
  }

  #answer(ns: number, status: number, value?: Buffer, cas = 0): void {
    const batch = this.#batch;
    const row = this.#row;
    batch.frames[row] = 1;
    batch.status[row] = status;
    batch.answerCasLow[row] = cas;
    batch.answerNs[row] = ns + this.#latencyNs;
    if (value !== undefined) {
      const at = batch.allocate(value.length);
      value.copy(batch.heap, at);
      batch.answerValueAt[row] = at;
      batch.answerValueLength[row] = value.length;
    }
    if (this.#isQuietly) this.#hush(row);
    this.#next();
  }

  /** Of a quiet change, only a failure is answered. */
  #hush(row: number): void {
    const batch = this.#batch;
    batch.opcode[row] = quietOpcodes.get(batch.opcode[row]!)!;
    if (batch.status[row] !== Status.ok) return;
    batch.outcome[row] = Outcome.silent;
    batch.frames[row] = 0;
    batch.answerCasLow[row] = 0;
    batch.answerValueLength[row] = 0;
  }

  #next(): void {
    this.#row++;
    this.requests++;
  }
}

function refillOpcode({ model }: Stream): number {
  return model.onMiss === 'add' ? Opcode.add : Opcode.set;
}

function lengthsOf(quantile: Quantile): Uint8Array {
  const count = 2 ** (32 - LENGTH_SHIFT);
  return Uint8Array.from({ length: count }, (_, n) =>
    Math.min(250, Math.max(1, Math.round(quantile((n + 0.5) / count)))),
  );
}

function expires(ns: number, ttlMs: number): number {
  return ttlMs === 0 ? Infinity : ns + Math.max(1, Math.round(ttlMs / 1000)) * 1e9;
}

function versionOf({ seed, events }: Space, ns: number, connection: number): number {
  for (const event of events)
    if (event.kind === 'version' && ns >= event.at * 1e6 && unit(seed, connection, ORDER) < event.share)
      return 1;
  return 0;
}

function factorAt(events: readonly ModelEvent[], ns: number): number {
  let factor = 1;
  for (const event of events) if (event.kind === 'sizes' && ns >= event.at * 1e6) factor *= event.factor;
  return factor;
}

function pickerOf(shares: readonly (readonly [MixOperation, number])[]): (u: number) => MixOperation {
  const pick = alias(shares.map(([, part]) => part));
  return (u) => shares[pick(u)]![0];
}

/** Where some reads stand for several keys, fewer arrivals are reads. */
function perArrival(
  shares: readonly (readonly [MixOperation, number])[],
  multiget: StreamModel['multiget'],
): readonly (readonly [MixOperation, number])[] {
  if (multiget === undefined) return shares;
  const mean = meanCount(multiget.keys);
  const each = 1 + multiget.share * (mean - 1);
  return shares.map(([name, part]) => [name, name === 'get' || name === 'gets' ? part / each : part]);
}

/** Requests of an arrival, on average. */
function togetherOf(
  arrivals: readonly (readonly [MixOperation, number])[],
  multiget: StreamModel['multiget'],
  pipeline: StreamModel['pipeline'],
): number {
  const all = arrivals.reduce((sum, [, part]) => sum + part, 0);
  const reads =
    arrivals.reduce((sum, [name, part]) => sum + (name === 'get' || name === 'gets' ? part : 0), 0) / all;
  const many = multiget === undefined ? 0 : reads * multiget.share;
  return (
    many * (multiget === undefined ? 0 : meanCount(multiget.keys)) +
    (1 - many) * (pipeline === undefined ? 1 : meanCount(pipeline))
  );
}

function meanCount(numbers: Numbers): number {
  const quantile = quantileOf(numbers);
  let mean = 0;
  for (let n = 0; n < 1000; n++) mean += Math.max(1, Math.round(quantile((n + 0.5) / 1000))) / 1000;
  return mean;
}

function clampCount(count: number, most: number): number {
  return Math.max(1, Math.min(most, Math.round(count)));
}

/** Reads are of values, counters and lists as those are written. */
function sortsOf(shares: readonly (readonly [MixOperation, number])[]): (u: number) => Sort {
  const of = (...names: MixOperation[]): number =>
    shares.reduce((sum, [name, part]) => sum + (names.includes(name) ? part : 0), 0);
  const counters = of('incr', 'decr');
  const lists = of('append', 'prepend');
  if (counters + lists === 0) return () => Sort.value;
  const values = Math.max(of('set', 'add', 'replace', 'cas'), 1e-9);
  const all = counters + lists + values;
  return (u) => (u < counters / all ? Sort.counter : u < (counters + lists) / all ? Sort.list : Sort.value);
}

function ttlOf(ttl: Tenant['ttl']): (random: Random) => number {
  if (ttl === undefined) return () => 0;
  if (typeof ttl === 'number') return () => ttl;
  const pick = alias(ttl.map((one) => one.share));
  return (random) => ttl[pick(random.float())]!.ttl;
}

/** What a tenant's further streams have of it, where they do not say otherwise. */
function inherited({
  mix,
  popularity,
  locality,
  oneHit,
  onMiss,
  refillDelay,
  multiget,
  pipeline,
  quiet,
}: Tenant): StreamModel {
  return {
    ...(mix === undefined ? {} : { mix }),
    ...(popularity === undefined ? {} : { popularity }),
    ...(locality === undefined ? {} : { locality }),
    ...(oneHit === undefined ? {} : { oneHit }),
    ...(onMiss === undefined ? {} : { onMiss }),
    ...(refillDelay === undefined ? {} : { refillDelay }),
    ...(multiget === undefined ? {} : { multiget }),
    ...(pipeline === undefined ? {} : { pipeline }),
    ...(quiet === undefined ? {} : { quiet }),
  };
}

/** A number for a name: streams of randomness are told apart by what they are for. */
function named(name: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193);
  return h >>> 0;
}
