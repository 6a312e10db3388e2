// Traces made from the traces of cache research, which know requests and no answers, and times in whole seconds.
//
// What a file implies is written as answered: a `set` was stored; a read that has a size brought a value of that size, so
// its key was there. What it does not tell (did the read without a size miss? did the delete find anything?) is
// indeterminate, and a replay judges those answers by their form alone. Values are not in the file: a token of the key's
// hash and the size stands for each (`trace/masked.ts`), so one key and size is always one value, and the trace is small.
// The requests of a second are spread over it evenly, in their order.

import { Opcode } from '../protocol/opcode.ts';
import { putUint32 } from '../protocol/header.ts';
import { Status } from '../protocol/status.ts';
import { Batch, ConnectionEnd, NEVER, Outcome, grown, type Connection } from '../trace/batch.ts';
import { TraceWriter } from '../trace/file.ts';
import { BLOCK_VALUE_BYTES, TOKEN_BYTES, TokenKind } from '../trace/masked.ts';
import { emptyCapture } from '../trace/meta.ts';
import { version } from '../trace/version.ts';
import { expiryOf, type Operation } from './access.ts';
import { ConvertError } from './error.ts';
import { hash64 } from './hash.ts';

/** The addresses are made up: 192.0.2.0/24 is for documentation, and nobody answers there. */
const SERVER = '192.0.2.1:11211';
const CLIENT_PORT = 40_000;
const MAX_CLIENTS = 1 << 24;

const BLOCK_ROWS = 65_536;

/** How many requests each second has: the first pass over an input. */
export class Seconds {
  /** Unix time of the first; -1 before there is one. */
  first = -1;
  requests = 0;
  /** Requests of the seconds that have any, in their order. */
  #counts = new Uint32Array(1024);
  #distinct = 0;
  #last = -1;

  /** @param second not before those that were added */
  add(second: number): void {
    if (this.first < 0) this.first = second;
    if (second !== this.#last) {
      this.#last = second;
      if (this.#distinct++ === this.#counts.length)
        this.#counts = grown(this.#counts, new Uint32Array(this.#counts.length * 2));
    }
    this.#counts[this.#distinct - 1]!++;
    this.requests++;
  }

  /** Requests of the n-th second that has any. */
  count(n: number): number {
    return this.#counts[n]!;
  }
}

export interface Request {
  /** Unix time. */
  second: number;
  /** Whatever the input calls the client. */
  client: string;
  operation: Operation;
  key: Buffer;
  /** The size of its value. */
  bytes: number;
  /** Seconds; 0: none; -1: it expires at once. */
  ttl: number;
}

export class TapeMaker {
  readonly #writer: TraceWriter;
  readonly #seconds: Seconds;
  readonly #batch = new Batch(4096, 1 << 20);
  readonly #clients = new Map<string, number>();
  #connections: Connection[] = [];
  #valueBytes = 0;
  #casRequests = 0;
  /** Where we are: the second, the how many-th it is that has requests, and how many of them are made. */
  #second = -1;
  #secondNumber = -1;
  #n = 0;

  private constructor(writer: TraceWriter, seconds: Seconds) {
    this.#writer = writer;
    this.#seconds = seconds;
  }

  /** @param source what the trace says that it was made from @throws TraceError WRITE */
  static async create(path: string, source: string, seconds: Seconds): Promise<TapeMaker> {
    const writer = await TraceWriter.create(path, {
      format: 'memtape/1',
      writer: `memtape ${version}`,
      startNs: (BigInt(Math.max(0, seconds.first)) * 1_000_000_000n).toString(),
      source,
      ports: [11_211],
      privacy: { values: 'hash', keys: 'clear', numbers: 'masked' },
    });
    return new TapeMaker(writer, seconds);
  }

  get exchanges(): number {
    return this.#writer.exchanges + this.#batch.count;
  }

  get clients(): number {
    return this.#clients.size;
  }

  get bytesWritten(): number {
    return this.#writer.bytesWritten;
  }

  /** The next request; the key is copied. @throws ConvertError UNSUPPORTED */
  add(request: Request): void {
    const ns = this.#timeOf(request.second);
    const batch = this.#batch;
    const row = batch.count++;
    batch.reserve(batch.count);
    const { operation, key, bytes } = request;
    const isRead = operation === 'get' || operation === 'gets';
    const isHit = isRead && bytes > 0;
    const isStored = operation === 'set';
    batch.connection[row] = this.#connectionOf(request.client, ns);
    batch.opcode[row] = opcodes[operation];
    batch.outcome[row] = isHit || isStored ? Outcome.answered : Outcome.indeterminate;
    batch.flags[row] = 0;
    batch.requestNs[row] = ns;
    batch.requestEndNs[row] = ns;
    batch.answerNs[row] = isHit || isStored ? ns : NEVER;
    batch.datatype[row] = 0;
    batch.vbucket[row] = 0;
    batch.opaque[row] = 0;
    const hash = hash64(key);
    // A cas names the version that the reads of its key were told: the target's own is put in its place.
    const token = (hash.low | 1) >>> 0;
    batch.casHigh[row] = 0;
    batch.casLow[row] = operation === 'cas' ? token : 0;
    if (operation === 'cas') this.#casRequests++;
    this.#extras(row, request);
    batch.keyAt[row] = batch.allocate(key.length);
    batch.keyLength[row] = key.length;
    key.copy(batch.heap, batch.keyAt[row]);
    const hasValue = !isRead && bytes > 0 && takesValue.has(operation);
    batch.valueAt[row] = hasValue ? this.#token(bytes, hash) : 0;
    batch.valueLength[row] = hasValue ? TOKEN_BYTES : 0;
    batch.frames[row] = isHit || isStored ? 1 : 0;
    batch.status[row] = Status.ok;
    batch.answerCasHigh[row] = 0;
    batch.answerCasLow[row] = isHit ? token : 0;
    batch.answerExtrasAt[row] = 0;
    batch.answerExtrasLength[row] = 0;
    if (isHit) this.#flagsOfAnswer(row);
    batch.answerKeyAt[row] = 0;
    batch.answerKeyLength[row] = 0;
    batch.answerValueAt[row] = isHit ? this.#token(bytes, hash) : 0;
    batch.answerValueLength[row] = isHit ? TOKEN_BYTES : 0;
    if (batch.count >= BLOCK_ROWS || this.#valueBytes >= BLOCK_VALUE_BYTES) this.#flush();
  }

  /** Resolves when few enough blocks wait for the disk. @throws TraceError WRITE */
  drained(): Promise<void> {
    return this.#writer.drained();
  }

  async finish(): Promise<void> {
    this.#flush();
    await this.#writer.finish({ capture: emptyCapture(), casRequests: this.#casRequests });
  }

  abort(): Promise<void> {
    return this.#writer.abort();
  }

  #timeOf(second: number): number {
    if (second !== this.#second) {
      this.#second = second;
      this.#secondNumber++;
      this.#n = 0;
    }
    const micros = Math.floor((this.#n++ / this.#seconds.count(this.#secondNumber)) * 1e6);
    return (second - this.#seconds.first) * 1e9 + micros * 1000;
  }

  #connectionOf(client: string, ns: number): number {
    let id = this.#clients.get(client);
    if (id === undefined) {
      id = this.#clients.size;
      if (id === MAX_CLIENTS)
        throw new ConvertError('UNSUPPORTED', `expected at most ${MAX_CLIENTS} clients, got more`);
      this.#clients.set(client, id);
      const host = `10.${id >>> 16}.${(id >>> 8) & 0xff}.${id & 0xff}`;
      this.#connections.push({
        id,
        client: `${host}:${CLIENT_PORT}`,
        server: SERVER,
        tenant: '',
        openNs: ns,
        closeNs: NEVER,
        end: ConnectionEnd.open,
      });
    }
    return id;
  }

  #extras(row: number, { operation, ttl, second }: Request): void {
    const batch = this.#batch;
    const length = extrasBytes[operation] ?? 0;
    const at = batch.allocate(length);
    batch.extrasAt[row] = at;
    batch.extrasLength[row] = length;
    if (length === 0) return;
    batch.heap.fill(0, at, at + length);
    putUint32(batch.heap, at + length - 4, expiryOf(ttl, operation, second));
    // A counter goes by one.
    if (length === COUNTER_EXTRAS) batch.heap[at + 7] = 1;
  }

  /** The flags of a hit: 0. */
  #flagsOfAnswer(row: number): void {
    const batch = this.#batch;
    const at = batch.allocate(4);
    batch.heap.fill(0, at, at + 4);
    batch.answerExtrasAt[row] = at;
    batch.answerExtrasLength[row] = 4;
  }

  #token(bytes: number, { low, high }: { low: number; high: number }): number {
    const at = this.#batch.allocate(TOKEN_BYTES);
    const { heap } = this.#batch;
    heap[at] = TokenKind.bytes;
    heap.writeUInt32LE(bytes, at + 1);
    heap.writeUInt32LE(low, at + 5);
    heap.writeUInt32LE(high, at + 9);
    this.#valueBytes += bytes;
    return at;
  }

  #flush(): void {
    if (this.#batch.count === 0) return;
    this.#batch.connections = this.#connections;
    this.#connections = [];
    this.#writer.append(this.#batch);
    this.#batch.clear();
    this.#valueBytes = 0;
  }
}

const opcodes: Record<Operation, number> = {
  get: Opcode.get,
  gets: Opcode.get,
  set: Opcode.set,
  add: Opcode.add,
  replace: Opcode.replace,
  cas: Opcode.set,
  append: Opcode.append,
  prepend: Opcode.prepend,
  delete: Opcode.delete,
  incr: Opcode.incr,
  decr: Opcode.decr,
};

const takesValue: ReadonlySet<Operation> = new Set(['set', 'add', 'replace', 'cas', 'append', 'prepend']);

const COUNTER_EXTRAS = 20;
/** The expiry is the last of them. */
const extrasBytes: Partial<Record<Operation, number>> = {
  set: 8,
  add: 8,
  replace: 8,
  cas: 8,
  incr: COUNTER_EXTRAS,
  decr: COUNTER_EXTRAS,
};
