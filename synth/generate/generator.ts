// Requests out of a model, in the order of their times, as batches of exchanges: each with the answer that a cache
// without limits would give. What only some caches make necessary (to store again what was evicted) is generated too, as
// conditional: a replay sends it where its own target missed.

import { Opcode } from '../../protocol/opcode.ts';
import { ConnectionEnd, NEVER, type Batch } from '../../trace/batch.ts';
import { Exchanges } from './exchanges.ts';
import { mixOperations, type MixOperation } from '../laws/mix.ts';
import type { Model, StreamModel, Tenant } from '../model/model.ts';
import { ConnectionPool, type Opened } from './pool.ts';
import { Random, exponential, named } from '../laws/random.ts';
import type { Rows } from './rows.ts';
import { Sort, Space } from './space.ts';
import { Stream, inherited } from './stream.ts';
import { TaskKind } from './tasks.ts';
import { meanRate } from '../model/transform.ts';

export interface GeneratorOptions {
  seed?: number;
  durationMs?: number;
  /** Ends after so many requests. */
  requests?: number;
}

const SERVER = 'memcached.invalid:11211';
/** Length of a run where neither model nor options say. */
export const DEFAULT_MS = 10_000;

/**
 * When a model's traffic ends: after so many requests, or so long. What is asked for replaces what the model says, so that a
 * fitted model goes on for as long as one wants. Without any number of requests and any time, it lasts for DEFAULT_MS.
 */
export function extentOf(
  model: Pick<Model, 'requests' | 'duration'>,
  asked: Pick<GeneratorOptions, 'requests' | 'durationMs'>,
): { requests: number; durationMs: number } {
  const isAsked = asked.requests !== undefined || asked.durationMs !== undefined;
  const requests = isAsked ? asked.requests : model.requests;
  const durationMs = isAsked ? asked.durationMs : model.duration;
  return {
    requests: requests ?? Infinity,
    durationMs: durationMs ?? (requests === undefined ? DEFAULT_MS : Infinity),
  };
}

export class ModelGenerator {
  readonly model: Model;
  readonly seed: number;
  readonly durationNs: number;
  readonly #maxRequests: number;
  readonly #spaces: Space[] = [];
  readonly #streams: Stream[] = [];
  readonly #exchanges: Exchanges;
  readonly #rows: Rows;
  readonly #latencyNs: number;
  #opened = 0;

  /** @throws ConfigError, RangeError where the model cannot be */
  constructor(model: Model, options: GeneratorOptions = {}) {
    this.model = model;
    this.seed = options.seed ?? model.seed ?? 1;
    const { requests, durationMs } = extentOf(model, options);
    this.#maxRequests = requests;
    this.durationNs = durationMs * 1e6;
    this.#latencyNs = Math.max(1, Math.round((model.latency ?? 0.2) * 1e6));
    this.#exchanges = new Exchanges(this.#latencyNs);
    this.#rows = this.#exchanges.rows;
    for (const tenant of model.tenants) this.#add(tenant);
  }

  /** Requests so far, without conditional ones and the NOOPs of multi-gets; and those that name a CAS id. */
  get requests(): number {
    return this.#exchanges.requests;
  }

  get casRequests(): number {
    return this.#exchanges.casRequests;
  }

  /** Rows of the batches so far. */
  get rows(): number {
    return this.#rows.made;
  }

  /** About how many requests there will be. */
  get expected(): number {
    return Math.min(this.#maxRequests, Math.round((meanRate(this.model) * this.durationNs) / 1e9));
  }

  /** About how many rows: with the refills after reads, which most of the time are conditional. */
  get expectedRows(): number {
    const refilled =
      this.#streams.reduce((sum, stream) => sum + stream.refilledShare, 0) / this.#streams.length;
    return Math.round(this.expected * (1 + refilled));
  }

  /**
   * All that the model makes; to be asked for once.
   * @param keeps asked when the next one is: whether the batch is the caller's for good. Default: it is not
   */
  *batches({ keeps = () => false }: { keeps?: () => boolean } = {}): Generator<Batch, void, void> {
    const rows = this.#rows;
    for (const space of this.#spaces) this.#plan(space);
    while (this.#step()) {
      if (!rows.isFull) continue;
      yield rows.take();
      rows.begin(!keeps());
    }
    if (rows.row > 0 || rows.made === 0) yield rows.take();
  }

  /** What comes next; false: nothing does. */
  #step(): boolean {
    let first = this.#streams[0];
    let arrivalNs = first?.nextNs ?? Infinity;
    for (let n = 1; n < this.#streams.length; n++) {
      const stream = this.#streams[n]!;
      if (stream.nextNs >= arrivalNs) continue;
      first = stream;
      arrivalNs = stream.nextNs;
    }
    const taskNs = this.#exchanges.tasks.nextNs;
    const ns = Math.min(arrivalNs, taskNs);
    if (ns > this.durationNs || ns === Infinity || this.requests >= this.#maxRequests) return false;
    if (taskNs <= arrivalNs) this.#do(taskNs);
    else this.#arrive(first!, arrivalNs);
    return true;
  }

  // ---- Setting up.

  #add(tenant: Tenant): void {
    const { name = '', connections, events = [], streams = [] } = tenant;
    const pool = new ConnectionPool(
      {
        tenant: name,
        count: connections?.count ?? 10,
        lifetimeNs: (connections?.lifetime ?? Infinity) * 1e6,
        assignment: connections?.assignment ?? 'random',
        events,
      },
      new Random(this.seed, named(`${name}/connections`)),
      (opened) => this.#open(opened),
    );
    const space = new Space(this.#spaces.length, tenant, this.seed, pool);
    this.#spaces.push(space);
    const run = { seed: this.seed, isWarm: this.model.start === 'warm' };
    const add = (own: string, model: StreamModel): void =>
      void this.#streams.push(new Stream(this.#streams.length, space, own, model, run));
    if (tenant.arrivals !== undefined) add('', tenant);
    for (const { arrivals = tenant.arrivals, ...own } of streams)
      if (arrivals !== undefined) add(own.name, { ...inherited(tenant), ...own, arrivals });
  }

  /** What has its time in the model. */
  #plan(space: Space): void {
    const stream = this.#streams.find((one) => one.space === space);
    if (stream === undefined) return;
    for (const event of space.events) {
      const ns = event.at * 1e6;
      if (event.kind === 'flush') this.#put(ns, TaskKind.flush, stream, Sort.value, 0, 'noop');
      if (event.kind !== 'herd') continue;
      const id = event.key ?? 0;
      if (event.delete !== false) this.#put(ns, TaskKind.again, stream, Sort.value, id, 'delete');
      for (let client = 0; client < event.clients; client++) {
        const task = this.#put(ns + this.#latencyNs + client, TaskKind.read, stream, Sort.value, id, 'get');
        const { refillDelay } = event;
        if (refillDelay === undefined) continue;
        const micros = Math.round(exponential(stream.choose) * refillDelay * 1000);
        this.#exchanges.tasks.token[task] = Math.min(0xffffffff, micros + 1);
      }
    }
  }

  #put(ns: number, kind: TaskKind, stream: Stream, sort: Sort, id: number, operation: MixOperation): number {
    const { tasks } = this.#exchanges;
    const task = tasks.put(ns);
    tasks.kind[task] = kind;
    tasks.stream[task] = stream.number;
    tasks.connection[task] = -1;
    tasks.sort[task] = sort;
    tasks.id[task] = id;
    tasks.token[task] = 0;
    tasks.operation[task] = mixOperations.indexOf(operation);
    return task;
  }

  #open({ tenant, openNs, closeNs }: Opened): number {
    const id = this.#opened++;
    const isOpen = closeNs === NEVER || closeNs > this.durationNs;
    this.#rows.connection({
      id,
      tenant,
      openNs,
      closeNs: isOpen ? NEVER : closeNs,
      client: `10.${(id >> 16) & 255}.${(id >> 8) & 255}.${id & 255}:${40_000 + (id % 20_000)}`,
      server: SERVER,
      end: isOpen ? ConnectionEnd.open : ConnectionEnd.client,
    });
    return id;
  }

  // ---- Requests.

  #arrive(stream: Stream, ns: number): void {
    const { space, choose } = stream;
    const exchanges = this.#exchanges;
    stream.drawArrival(ns);
    const { operation, id, count, isMany } = stream;
    const connection = space.pool.at(ns, choose, id);
    if (connection >= 0) {
      const version = space.versionAt(ns, connection);
      exchanges.at(stream, ns, connection);
      let sort: Sort = Sort.value;
      if (isMany) {
        sort = stream.sortOf('get', id);
        exchanges.readMany(count, version, sort);
      } else
        for (let n = 0; n < count; n++) {
          if (n > 0) {
            stream.draw(ns);
            exchanges.at(stream, ns, connection, true);
          }
          const of = stream.sortOf(stream.operation, stream.id);
          if (n === 0) sort = of;
          exchanges.operate(stream.operation, of, space.versioned(stream.id, version));
        }
      this.#retry(stream, ns, operation, sort, id);
    }
    stream.advance(count);
  }

  #retry(stream: Stream, ns: number, operation: MixOperation, sort: Sort, id: number): void {
    for (const event of stream.space.events) {
      if (event.kind !== 'retries' || ns < event.at * 1e6 || ns >= (event.at + event.for) * 1e6) continue;
      if (stream.choose.float() >= event.share) continue;
      for (let turn = 1; turn <= event.times; turn++)
        this.#put(ns + turn * event.after * 1e6, TaskKind.again, stream, sort, id, operation);
    }
  }

  #do(ns: number): void {
    const exchanges = this.#exchanges;
    const { tasks } = exchanges;
    const task = tasks.take();
    const kind = tasks.kind[task]! as TaskKind;
    const stream = this.#streams[tasks.stream[task]!]!;
    const sort = tasks.sort[task]! as Sort;
    const id = tasks.id[task]!;
    const { space } = stream;
    const own = tasks.connection[task]!;
    // A connection that ended meanwhile has a successor.
    const connection = own >= 0 && space.pool.isOpen(own, ns) ? own : space.pool.at(ns, stream.choose, id);
    if (connection < 0) return;
    exchanges.at(stream, ns, connection);
    switch (kind) {
      case TaskKind.again:
        exchanges.operate(mixOperations[tasks.operation[task]!]!, sort, id);
        return;
      case TaskKind.read:
        exchanges.read(Opcode.get, sort, id, refillNsOf(tasks.token[task]!));
        return;
      case TaskKind.refill:
      case TaskKind.refillAgain:
        // Whether a read missed, a replay knows on that read's connection only.
        if (connection === own) exchanges.refill(sort, id, tasks.entry[task]!, kind === TaskKind.refill);
        else if (kind === TaskKind.refill)
          exchanges.store(stream.refillOpcode, sort, id, tasks.entry[task]!, 0);
        return;
      case TaskKind.cas:
        exchanges.store(Opcode.set, sort, id, tasks.entry[task]!, tasks.token[task]!);
        return;
      case TaskKind.flush:
        exchanges.flush();
    }
  }
}

/** @param token of a planned read */
function refillNsOf(token: number): number | undefined {
  return token === 0 ? undefined : (token - 1) * 1000;
}
