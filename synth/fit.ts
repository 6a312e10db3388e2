// A model out of a trace: what of its requests, keys and times a generator needs to make traffic like it. One pass over the
// trace; memory follows the distinct keys.

import { MAX_RELATIVE_SECONDS } from '../protocol/expiry.ts';
import { isQuiet, isRead, opcodeInfo } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import { NEVER, Outcome, RowFlag, type Batch, type Connection } from '../trace/batch.ts';
import { fitRenewal, levelOf } from './learn.ts';
import { MAX_SIZES } from './locality.ts';
import { mixOperations, type Mix, type MixOperation } from './mix.ts';
import type { ModelInput } from './model.ts';
import type { Numbers } from './numbers.ts';
import { Random } from './random.ts';

/** A SET of a key that was missed so short a time ago stores it again because of that. */
const REFILL_NS = 1e9;
/** Of so many keys the memory would pass a few gigabytes. */
const MAX_KEYS = 20_000_000;
const MAX_TENANTS = 200;
const SAMPLES = 50_000;
const BINS = 4000;
const FIRST_BIN_NS = 10e6;
const QUANTILES = 200;
const CHUNK = 1 << 16;
const MAX_TTLS = 20;
/** Coprime to MAX_SIZES. */
const SCATTER = 37;

/** By opcode; operations are called as the families of opcodes are. */
const operationOf = Array.from({ length: 256 }, (_, opcode) =>
  mixOperations.find((name) => name === opcodeInfo(opcode)?.family),
);

type TenantInput = ModelInput['tenants'][number];

/** A column that grows. */
class Column {
  data: Float64Array;
  readonly #empty: number;

  constructor(empty: number) {
    this.#empty = empty;
    this.data = new Float64Array(1024).fill(empty);
  }

  reserve(length: number): void {
    if (length <= this.data.length) return;
    const grown = new Float64Array(Math.max(length, this.data.length * 2)).fill(this.#empty);
    grown.set(this.data);
    this.data = grown;
  }
}

/** Numbers in the order of their arrival, in chunks. */
class Stream {
  readonly chunks: Uint32Array[] = [];
  #chunk = new Uint32Array(CHUNK);
  #filled = 0;
  length = 0;

  push(value: number): void {
    if (this.#filled === CHUNK) {
      this.chunks.push(this.#chunk);
      this.#chunk = new Uint32Array(CHUNK);
      this.#filled = 0;
    }
    this.#chunk[this.#filled++] = value;
    this.length++;
  }

  all(): Uint32Array[] {
    return this.#filled === 0 ? this.chunks : [...this.chunks, this.#chunk.subarray(0, this.#filled)];
  }
}

/** An even sample of what passes, of bounded size. */
class Reservoir<Item> {
  readonly items: Item[] = [];
  readonly #random = new Random(11);
  #seen = 0;

  add(item: Item): void {
    this.#seen++;
    if (this.items.length < SAMPLES) this.items.push(item);
    else {
      const at = Math.floor(this.#random.float() * this.#seen);
      if (at < SAMPLES) this.items[at] = item;
    }
  }
}

/** What one tenant does. */
class TenantFit {
  readonly name: string;
  readonly #ids = new Map<string, number>();
  readonly #references = new Stream();
  /** Places in the references that only a miss made necessary. */
  readonly #refills = new Stream();
  readonly #operations = new Map<MixOperation, number>();
  readonly #refillOperations = new Map<'set' | 'add', number>();
  readonly #count = new Column(0);
  readonly #bytes = new Column(-1);
  readonly #missedNs = new Column(NEVER);
  readonly #keyLengths = new Reservoir<number>();
  readonly #keyBytes = new Column(0);
  /** 0 a value, 1 a counter, 2 a list; and what was done to each, by place in the references. */
  readonly #sorts = new Column(0);
  readonly #done = new Stream();
  readonly #ttls = new Map<number, number>();
  readonly #flags = new Map<number, number>();
  readonly #gaps = new Reservoir<{ atNs: number; ns: number }>();
  readonly #groups = new Reservoir<number>();
  readonly #multigets = new Reservoir<number>();
  #multigetKeys = 0;
  #binNs = FIRST_BIN_NS;
  /** Groups of requests that left together, and requests, by stretch of time. */
  #bins: number[] = [];
  #requests: number[] = [];
  #lastNs = -1;
  #group = 0;
  #groupConnection = -1;
  #isQuietGroup = false;
  #firstReads = 0;
  #firstHits = 0;
  requestsSeen = 0;

  constructor(name: string) {
    this.name = name;
  }

  add(batch: Batch, row: number): void {
    const opcode = batch.opcode[row]!;
    const operation = operationOf[opcode];
    if (operation === undefined) return;
    const ns = batch.requestNs[row]!;
    this.requestsSeen++;
    this.#arrival(ns, batch.connection[row]!, (batch.flags[row]! & RowFlag.sharesSegment) !== 0, opcode);
    if (operation === 'noop') return;
    const id = this.#idOf(batch, row);
    const isHit = isReadHit(batch, row);
    if (isRead[opcode] === 1 && this.#count.data[id] === 0) {
      this.#firstReads++;
      if (isHit) this.#firstHits++;
    }
    this.#count.data[id]!++;
    const isStore = operation === 'set' || operation === 'add';
    const missedNs = this.#missedNs.data[id]!;
    const isRefill = isStore && missedNs !== NEVER && ns - missedNs < REFILL_NS;
    if (isStore) this.#missedNs.data[id] = NEVER;
    if (isRefill) {
      this.#refills.push(this.#references.length);
      this.#refillOperations.set(operation, (this.#refillOperations.get(operation) ?? 0) + 1);
    } else this.#operations.set(operation, (this.#operations.get(operation) ?? 0) + 1);
    if (operation === 'get' && !isHit) this.#missedNs.data[id] = ns;
    if (operation === 'incr' || operation === 'decr') this.#sorts.data[id] = 1;
    else if (operation === 'append' || operation === 'prepend') this.#sorts.data[id] = 2;
    this.#done.push(mixOperations.indexOf(operation) * 2 + (isRefill ? 1 : 0));
    this.#references.push(id);
    if (batch.valueLength[row]! > 0) {
      this.#bytes.data[id] = batch.valueLength[row]!;
      this.#storeOf(batch, row);
    } else if (isHit && this.#bytes.data[id] === -1) this.#bytes.data[id] = batch.answerValueLength[row]!;
  }

  #idOf(batch: Batch, row: number): number {
    const key = batch.key(row).toString('latin1');
    let id = this.#ids.get(key);
    if (id === undefined) {
      id = this.#ids.size;
      if (id === MAX_KEYS)
        throw new RangeError(
          `expected at most ${MAX_KEYS} distinct keys; fit a sample of them: memtape filter IN -o OUT --sample 1/16`,
        );
      this.#ids.set(key, id);
      this.#count.reserve(id + 1);
      this.#bytes.reserve(id + 1);
      this.#missedNs.reserve(id + 1);
      this.#keyBytes.reserve(id + 1);
      this.#sorts.reserve(id + 1);
      this.#keyBytes.data[id] = key.length;
      this.#keyLengths.add(key.length);
    }
    return id;
  }

  #storeOf(batch: Batch, row: number): void {
    if (batch.extrasLength[row] !== 8) return;
    const extras = batch.extras(row);
    const flags = extras.readUInt32BE(0);
    const ttl = extras.readUInt32BE(4);
    this.#flags.set(flags, (this.#flags.get(flags) ?? 0) + 1);
    // An absolute time is as long from now as the trace cannot say; the longest relative one stands for it.
    const seconds = Math.min(ttl, MAX_RELATIVE_SECONDS);
    if (this.#ttls.size < 10_000 || this.#ttls.has(seconds))
      this.#ttls.set(seconds, (this.#ttls.get(seconds) ?? 0) + 1);
  }

  #arrival(ns: number, connection: number, joins: boolean, opcode: number): void {
    if (ns / this.#binNs >= BINS) this.#widen(ns);
    const at = Math.floor(ns / this.#binNs);
    while (this.#requests.length <= at) {
      this.#bins.push(0);
      this.#requests.push(0);
    }
    this.#requests[at]!++;
    const quiet = isQuiet[opcode] === 1 && isRead[opcode] === 1;
    const continues =
      connection === this.#groupConnection && (joins || (this.#isQuietGroup && ns === this.#lastNs));
    if (continues) {
      this.#group++;
      this.#isQuietGroup ||= quiet;
      return;
    }
    this.#endGroup();
    this.#bins[at]!++;
    if (this.#lastNs >= 0) this.#gaps.add({ atNs: ns, ns: ns - this.#lastNs });
    this.#lastNs = ns;
    this.#group = 1;
    this.#isQuietGroup = quiet;
    this.#groupConnection = connection;
  }

  #endGroup(): void {
    if (this.#group === 0) return;
    if (this.#isQuietGroup && this.#group > 1) {
      // The NOOP at its end is no key.
      this.#multigets.add(this.#group - 1);
      this.#multigetKeys += this.#group - 1;
      this.#groups.add(1);
    } else this.#groups.add(this.#group);
  }

  #widen(ns: number): void {
    while (Math.floor(ns / this.#binNs) >= BINS) {
      this.#binNs *= 2;
      this.#bins = halved(this.#bins);
      this.#requests = halved(this.#requests);
    }
  }

  /** @param connections of the tenant, at once @param lifetimeMs on average; undefined: as long as the trace */
  model(connections: number, lifetimeMs: number | undefined): TenantInput {
    this.#endGroup();
    const refills = [...this.#refillOperations.values()].reduce((sum, n) => sum + n, 0);
    // A client that stores what it missed, of a cache that missed what was new to it only.
    const refillsNew =
      refills > 0 && Math.abs(refills - (this.#firstReads - this.#firstHits)) < 0.25 * refills;
    const references = refillsNew ? this.#withoutRefills() : this.#references.all();
    const operations = new Map(this.#operations);
    if (!refillsNew)
      for (const [operation, n] of this.#refillOperations)
        operations.set(operation, (operations.get(operation) ?? 0) + n);
    const total = [...operations.values()].reduce((sum, n) => sum + n, 0);
    const mix = Object.fromEntries(
      Array.from(operations, ([name, n]) => [name, round(n / Math.max(1, total), 6)]),
    );
    const adds = this.#refillOperations.get('add') ?? 0;
    const primary = refillsNew ? total / Math.max(1, total + refills) : 1;
    const { length } = this.#groups.items;
    const groups = this.#groups.items.toSorted((a, b) => a - b);
    const multigets = this.#multigets.items.toSorted((a, b) => a - b);
    const reads = operations.get('get') ?? 0;
    const isPipelined = length > 0 && groups.reduce((sum, n) => sum + n, 0) / length > 1.05;
    return {
      ...(this.name === '' ? {} : { name: this.name }),
      keys: { space: Math.max(1, this.#ids.size), length: tableOf(this.#keyLengths.items) },
      values: this.#values(),
      ...this.#ttl(),
      ...this.#flag(),
      mix,
      onMiss: refillsNew ? (adds > refills / 2 ? 'add' : 'set') : 'none',
      locality: {
        kind: 'renewal',
        model: fitRenewal(references),
        objects: this.#objects(references),
        mixes: this.#mixes(refillsNew),
      },
      ...(multigets.length > 0 && reads > 0
        ? {
            multiget: {
              // A share of the arrivals of reads: those that stand for several keys.
              share: round(multigetShare(this.#multigetKeys, multigets, reads), 4),
              keys: tableOf(multigets),
            },
          }
        : {}),
      ...(isPipelined ? { pipeline: tableOf(groups) } : {}),
      arrivals: this.#arrivals(primary),
      connections: {
        count: Math.max(1, connections),
        ...(lifetimeMs === undefined ? {} : { lifetime: `${Math.max(1, Math.round(lifetimeMs))}ms` }),
      },
    };
  }

  /** Most of what is read first was there. */
  get isWarm(): boolean {
    return this.#firstHits > this.#firstReads / 2;
  }

  #withoutRefills(): Uint32Array[] {
    const skipped = new Set<number>();
    for (const chunk of this.#refills.all()) for (const place of chunk) skipped.add(place);
    const kept = new Stream();
    let at = 0;
    for (const chunk of this.#references.all()) for (const id of chunk) if (!skipped.has(at++)) kept.push(id);
    return kept.all();
  }

  #values(): NonNullable<TenantInput['values']> {
    const sizes: number[] = [];
    const counts: number[] = [];
    const { size } = this.#ids;
    const step = Math.max(1, Math.floor(size / SAMPLES));
    for (let id = 0; id < size; id += step)
      if (this.#bytes.data[id]! >= 0) {
        sizes.push(this.#bytes.data[id]!);
        counts.push(this.#count.data[id]!);
      }
    if (sizes.length === 0) return { size: 0 };
    const correlation = round(rankCorrelation(counts, sizes), 3);
    return { size: tableOf(sizes), ...(Math.abs(correlation) < 0.02 ? {} : { correlation }) };
  }

  /** By level, as fitRenewal has them: which sizes its objects have, and what they are, so that the few that are popular keep theirs. */
  #objects(references: readonly Uint32Array[]): [number, number, number][][] {
    const counts = new Uint32Array(this.#ids.size);
    for (const chunk of references) for (const id of chunk) counts[id]!++;
    const levels = new Map<number, number[]>();
    for (const [id, count] of counts.entries()) {
      if (count === 0) continue;
      const level = levelOf(count);
      let of = levels.get(level);
      if (of === undefined) levels.set(level, (of = []));
      of.push(id);
    }
    return [...levels]
      .toSorted(([a], [b]) => a - b)
      .map(([, ids]) => {
        const values = ids.toSorted((a, b) => this.#bytes.data[a]! - this.#bytes.data[b]!);
        if (ids.length < MAX_SIZES)
          return values.map((id): [number, number, number] => [
            this.#keyBytes.data[id]!,
            Math.max(0, this.#bytes.data[id]!),
            this.#sorts.data[id]!,
          ]);
        // Of many, each size at evenly spaced places of its order, and keys beside values at random.
        const keys = ids.toSorted((a, b) => this.#keyBytes.data[a]! - this.#keyBytes.data[b]!);
        const at = (n: number): number => Math.floor(((n + 0.5) / MAX_SIZES) * ids.length);
        return Array.from({ length: MAX_SIZES }, (_, n): [number, number, number] => {
          const id = values[at(n)]!;
          const key = keys[at((n * SCATTER) % MAX_SIZES)]!;
          return [this.#keyBytes.data[key]!, Math.max(0, this.#bytes.data[id]!), this.#sorts.data[id]!];
        });
      });
  }

  /** What is done to objects of each sort. */
  #mixes(skipsRefills: boolean): Mix[] {
    const counts = [0, 1, 2].map(() => new Float64Array(mixOperations.length));
    const done = this.#done.all();
    for (const [n, chunk] of this.#references.all().entries())
      for (const [at, id] of chunk.entries()) {
        const code = done[n]![at]!;
        if (!skipsRefills || code % 2 === 0) counts[this.#sorts.data[id]!]![code >> 1]!++;
      }
    return counts.map((own) => {
      const total = own.reduce((sum, count) => sum + count, 0);
      if (total === 0) return { get: 1 };
      return Object.fromEntries(
        mixOperations
          .map((name, n) => [name, round(own[n]! / total, 6)] as const)
          .filter(([, part]) => part > 0),
      );
    });
  }

  #ttl(): Pick<TenantInput, 'ttl'> {
    const all = [...this.#ttls].toSorted((a, b) => b[1] - a[1]).slice(0, MAX_TTLS);
    const total = all.reduce((sum, [, n]) => sum + n, 0);
    if (total === 0 || (all.length === 1 && all[0]![0] === 0)) return {};
    return { ttl: all.map(([seconds, n]) => ({ ttl: `${seconds}s`, share: round(n / total, 6) })) };
  }

  #flag(): Pick<TenantInput, 'flags'> {
    const [most] = [...this.#flags].toSorted((a, b) => b[1] - a[1]);
    return most === undefined || most[0] === 0 ? {} : { flags: most[0] };
  }

  #arrivals(primary: number): NonNullable<TenantInput['arrivals']> {
    // What follows a miss is no arrival of its own.
    let owed = 0;
    const counts = this.#requests.map((count) => {
      const wanted = count * primary + owed;
      owed = wanted - Math.round(wanted);
      return Math.round(wanted);
    });
    const last = counts.length - 1;
    const scaled = this.#gaps.items
      .map(({ atNs, ns }) => (ns * this.#bins[Math.min(last, Math.floor(atNs / this.#binNs))]!) / this.#binNs)
      .toSorted((a, b) => a - b);
    return {
      counts,
      every: `${this.#binNs / 1e6}ms`,
      ...(scaled.length < 10 ? {} : { gaps: { kind: 'quantiles', values: tableOf(scaled, 5).values } }),
    };
  }
}

/** Every two together. */
function halved(counts: readonly number[]): number[] {
  return Array.from(
    { length: Math.ceil(counts.length / 2) },
    (_, n) => counts[2 * n]! + (counts[2 * n + 1] ?? 0),
  );
}

/** Of the arrivals that begin with a read, those that are a group. */
function multigetShare(keys: number, sorted: readonly number[], reads: number): number {
  const mean = sorted.reduce((sum, n) => sum + n, 0) / sorted.length;
  const groups = keys / mean;
  const singles = Math.max(0, reads - keys);
  return groups / Math.max(1e-9, groups + singles);
}

function isReadHit(batch: Batch, row: number): boolean {
  return (
    isRead[batch.opcode[row]!] === 1 &&
    batch.outcome[row] === Outcome.answered &&
    batch.status[row] === Status.ok
  );
}

/** A table of quantiles. */
function tableOf(values: readonly number[], digits = 2): Extract<Numbers, { kind: 'quantiles' }> {
  const sorted = values.toSorted((a, b) => a - b);
  const last = sorted.length - 1;
  return {
    kind: 'quantiles',
    values: Array.from({ length: QUANTILES + 1 }, (_, n) => {
      const at = (n / QUANTILES) * last;
      const low = Math.floor(at);
      return round(sorted[low]! + (at - low) * ((sorted[low + 1] ?? sorted[low]!) - sorted[low]!), digits);
    }),
  };
}

/** Spearman's, turned into that of the Gaussian copula. */
function rankCorrelation(a: readonly number[], b: readonly number[]): number {
  const [ra, rb] = [ranksOf(a), ranksOf(b)];
  const mean = (a.length - 1) / 2;
  let [product, left, right] = [0, 0, 0];
  for (let n = 0; n < a.length; n++) {
    product += (ra[n]! - mean) * (rb[n]! - mean);
    left += (ra[n]! - mean) ** 2;
    right += (rb[n]! - mean) ** 2;
  }
  if (left === 0 || right === 0) return 0;
  return 2 * Math.sin((Math.PI / 6) * (product / Math.sqrt(left * right)));
}

/** Equal ones share the mean of their ranks. */
function ranksOf(values: readonly number[]): Float64Array {
  const order = Array.from(values.keys()).toSorted((a, b) => values[a]! - values[b]!);
  const ranks = new Float64Array(values.length);
  for (let n = 0; n < order.length;) {
    let end = n;
    while (end < order.length && values[order[end]!] === values[order[n]!]) end++;
    for (let i = n; i < end; i++) ranks[order[i]!] = (n + end - 1) / 2;
    n = end;
  }
  return ranks;
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/**
 * Fits a model to the exchanges of a trace.
 * @param name what the model is called
 * @throws RangeError for more than 20 million distinct keys · TraceError of the trace
 */
export async function fitTrace(
  batches: AsyncIterable<Batch>,
  name: string,
  onProgress?: (exchanges: number) => void,
): Promise<ModelInput> {
  const tenants = new Map<string, TenantFit>();
  const connections: Connection[] = [];
  let [rows, endNs] = [0, 0];
  for await (const batch of batches) {
    for (const connection of batch.connections) connections[connection.id] = connection;
    for (let row = 0; row < batch.count; row++) {
      if (batch.outcome[row] === Outcome.conditional) continue;
      const wanted = connections[batch.connection[row]!]?.tenant ?? '';
      // A service of thousands of tenants: those that come late are one.
      const tenant = tenants.has(wanted) || tenants.size < MAX_TENANTS ? wanted : 'others';
      let fit = tenants.get(tenant);
      if (fit === undefined) tenants.set(tenant, (fit = new TenantFit(tenant)));
      fit.add(batch, row);
      endNs = Math.max(endNs, batch.requestNs[row]!);
    }
    rows += batch.count;
    onProgress?.(rows);
  }
  const fits = [...tenants.values()].filter((fit) => fit.requestsSeen > 0);
  if (fits.length === 0) throw new RangeError('expected requests to fit a model to, got none');
  const requests = fits.reduce((sum, fit) => sum + fit.requestsSeen, 0);
  return {
    format: 'memtape-model/1',
    name,
    about: `fitted to ${requests} requests of ${name}`,
    start: fits.some((fit) => fit.isWarm) ? 'warm' : 'cold',
    // The number of requests ends it.
    duration: `${Math.ceil(endNs / 1e6) * 1.1 + 100}ms`,
    requests,
    tenants: fits.map((fit) => {
      const own = connections.filter(({ tenant }) => tenant === fit.name);
      return fit.model(...connectionsOf(own, endNs));
    }),
  };
}

/** How many there are at once, on average, and how long they live. */
function connectionsOf(
  connections: readonly Connection[],
  endNs: number,
): [count: number, lifetimeMs: number | undefined] {
  const lives = connections.map(({ openNs, closeNs }) => {
    const from = openNs === NEVER ? 0 : openNs;
    return (closeNs === NEVER ? endNs : Math.min(endNs, closeNs)) - from;
  });
  const total = lives.reduce((sum, life) => sum + Math.max(0, life), 0);
  const count = Math.max(1, Math.round(total / Math.max(1, endNs)));
  return [count, connections.length > 2 * count ? total / connections.length / 1e6 : undefined];
}
