// What one tenant does, request by request, and the tenant of a model that does the like.

import { isQuiet, isRead, opcodeInfo } from '../../protocol/opcode.ts';
import { deltaAt, flagsAt, initialAt } from '../../protocol/semantics.ts';
import { Status } from '../../protocol/status.ts';
import { Outcome, RowFlag, type Batch } from '../../trace/batch.ts';
import { Reservoir } from './gather.ts';
import { Keys, NONE } from './keys.ts';
import { levelOf, type Sample } from '../references/census.ts';
import { chooseLocality } from './evidence.ts';
import type { Method } from '../references/expected.ts';
import { EPOCHS, SORTS, mixesByEpoch, objectsOf, total } from './levels.ts';
import type { LocalObject } from '../model/locality.ts';
import { mixOperations, type Mix, type MixOperation } from '../laws/mix.ts';
import type { ModelInput } from '../model/model.ts';
import { Pace, type Group } from './pace.ts';
import { Refills } from './refills.ts';
import type { StoreLaws } from '../model/resize.ts';
import { Stores } from './stores.ts';
import { rankCorrelation, round, tableOf, wholeNumbers } from '../laws/table.ts';
import { Lifetimes, expiryIn, secondsOf } from './ttl.ts';

const SAMPLES = 50_000;
/** What was done, beside the operation: how soon after a miss it stored. */
const DELAYS = 5;

/** By opcode; operations are called as the families of opcodes are. */
const operationOf = Array.from({ length: 256 }, (_, opcode) =>
  mixOperations.find((name) => name === opcodeInfo(opcode)?.family),
);
const codes = new Map(mixOperations.map((name, code) => [name, code]));

/** Requests that leave together: all, and those that no miss seems to have caused. */
interface Together {
  all: Group;
  own: Group | undefined;
}

export type TenantInput = ModelInput['tenants'][number];

export class TenantFit {
  readonly name: string;
  readonly keys = new Keys();
  readonly #refills = new Refills();
  readonly #operations = new Float64Array(mixOperations.length);
  readonly #stores = new Stores();
  readonly #lifetimes = new Lifetimes();
  readonly #flags = new Map<number, number>();
  readonly #groups = new Reservoir<number>(SAMPLES);
  readonly #multigets = new Reservoir<number>(SAMPLES);
  readonly #pieces = new Reservoir<number>(SAMPLES);
  readonly #initials = new Reservoir<number>(SAMPLES);
  readonly #deltas = new Reservoir<number>(SAMPLES);
  #multigetKeys = 0;
  /** Of all requests, and of those that no miss seems to have caused. */
  readonly #pace = new Pace();
  readonly #own = new Pace();
  #ownSeen = 0;
  /** By connection: what left together, so far. */
  readonly #open = new Map<number, Together>();
  #firstReads = 0;
  #firstHits = 0;
  /** With keys. */
  requestsSeen = 0;
  /** Of them, those laid to a miss, once the model was made. */
  refills = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** @param ns since the first request of all @param unixNs of the same moment, where that is known */
  add(batch: Batch, row: number, ns: number, unixNs: number | undefined): void {
    const opcode = batch.opcode[row]!;
    const operation = operationOf[opcode];
    if (operation === undefined) return;
    const open = this.#together(batch, row, ns);
    if (operation === 'noop') return;
    this.requestsSeen++;
    const id = this.keys.idOf(batch.key(row).toString('latin1'));
    const delay = id < 0 ? 0 : this.#serve(batch, row, operation, id, ns, unixNs);
    this.#operations[codes.get(operation)!]!++;
    this.keys.refer(id, codes.get(operation)! * DELAYS + delay);
    this.#pace.count(ns);
    if (open.all.keys++ === 0) this.#pace.arrive(open.all);
    if (delay > 0) return;
    this.#own.count(ns);
    this.#ownSeen++;
    open.own ??= { ...open.all, ns, keys: 0 };
    if (open.own.keys++ === 0) this.#own.arrive(open.own);
  }

  /** Half of the keys are forgotten, from some size on. */
  halve(): void {
    this.#stores.renumber(this.keys.halve());
  }

  /** What a request does to its key. Returns how soon after a miss it stores: 0, it does not. */
  #serve(
    batch: Batch,
    row: number,
    operation: MixOperation,
    id: number,
    ns: number,
    unixNs: number | undefined,
  ): number {
    const { data } = this.keys;
    const isDone = hasSucceeded(batch, row);
    let delay = 0;
    if (isRead[batch.opcode[row]!] === 1) {
      if (data.count[id] === 0) {
        this.#firstReads += this.keys.weight(id);
        if (isDone) this.#firstHits += this.keys.weight(id);
      }
      this.#refills.read(data, id, ns, isDone);
      if (isDone) {
        if (data.untilNs[id]! <= ns) data.untilNs[id] = Infinity;
        if (data.bytes[id] === NONE) this.#first(id, batch.answerValueLength[row]!);
      }
    }
    const bytes = batch.valueLength[row]!;
    switch (operation) {
      case 'set':
      case 'add':
      case 'replace':
      case 'cas':
        delay = this.#refills.store(data, id, ns, operation);
        if (data.bytes[id] === NONE) this.#first(id, bytes);
        else this.#stores.add(id, operation, bytes, data.bytes[id]!, data.firstBytes[id]!);
        if (isDone) data.bytes[id] = bytes;
        if (batch.extrasLength[row] !== 8) break;
        this.#flag(flagsAt(batch.heap, batch.extrasAt[row]!));
        this.#store(id, secondsOf(expiryIn(batch, row), unixNs), ns, isDone);
        break;
      case 'delete':
        data.untilNs[id] = 0;
        break;
      case 'touch':
      case 'gat':
        if (batch.extrasLength[row] === 4)
          this.#expire(id, secondsOf(expiryIn(batch, row), unixNs), ns, isDone);
        break;
      case 'append':
      case 'prepend':
        data.sort[id] = 2;
        this.#pieces.add(bytes);
        break;
      case 'incr':
      case 'decr':
        data.sort[id] = 1;
        if (batch.extrasLength[row] === 20) {
          const at = batch.extrasAt[row]!;
          this.#deltas.add(Number(deltaAt(batch.heap, at)));
          this.#initials.add(Number(initialAt(batch.heap, at)));
        }
        if (isDone && data.untilNs[id] === 0) data.untilNs[id] = Infinity;
        break;
      default:
    }
    return delay;
  }

  #first(id: number, bytes: number): void {
    this.keys.data.bytes[id] = bytes;
    this.keys.data.firstBytes[id] = bytes;
  }

  #store(id: number, seconds: number, ns: number, isDone: boolean): void {
    const { data } = this.keys;
    this.#lifetimes.add(seconds, data.ttl[id] === NONE ? undefined : data.ttl[id]!);
    data.ttl[id] = seconds;
    this.#expire(id, seconds, ns, isDone);
  }

  #expire(id: number, seconds: number, ns: number, isDone: boolean): void {
    if (isDone) this.keys.data.untilNs[id] = seconds === 0 ? Infinity : ns + seconds * 1e9;
  }

  #flag(flags: number): void {
    if (this.#flags.size < 1000 || this.#flags.has(flags))
      this.#flags.set(flags, (this.#flags.get(flags) ?? 0) + 1);
  }

  /** Those that it leaves with. */
  #together(batch: Batch, row: number, ns: number): Together {
    const opcode = batch.opcode[row]!;
    const connection = batch.connection[row]!;
    const joins = (batch.flags[row]! & RowFlag.sharesSegment) !== 0;
    const isQuietRead = isQuiet[opcode] === 1 && isRead[opcode] === 1;
    const isKeyless = batch.keyLength[row] === 0;
    const open = this.#open.get(connection);
    if (open !== undefined) {
      // Quiet reads end with a NOOP, which may leave after them.
      const ends = open.all.isQuiet && isKeyless;
      if (joins || ends || (open.all.isQuiet && isQuietRead && ns === open.all.ns)) {
        open.all.isQuiet ||= isQuietRead;
        if (ends) this.#endGroup(connection);
        return open;
      }
      this.#endGroup(connection);
    }
    const begun = { all: { ns, keys: 0, isQuiet: isQuietRead }, own: undefined };
    if (!isKeyless) this.#open.set(connection, begun);
    return begun;
  }

  #endGroup(connection: number): void {
    const { keys, isQuiet: isMany } = this.#open.get(connection)!.all;
    this.#open.delete(connection);
    this.#groups.add(isMany ? 1 : keys);
    if (!isMany) return;
    this.#multigets.add(keys);
    this.#multigetKeys += keys;
  }

  /** @param connections of the tenant, at once @param lifetimeMs on average; undefined: as long as the trace */
  model(
    connections: number,
    lifetimeMs: number | undefined,
    latencyNs: number,
    choice: { method?: Method; compared?: number; doubts?: readonly string[] } = {},
  ): TenantInput {
    for (const connection of this.#open.keys()) this.#endGroup(connection);
    const law = this.#refills.law(latencyNs);
    const sieve = (): ((delay: number) => boolean) =>
      law === undefined ? () => false : this.#refills.sieve(law);
    const done = this.#done(sieve());
    this.refills = total(done.caused);
    const operations = mixOperations.map((name, code): [MixOperation, number] => [
      name,
      Math.max(0, this.#operations[code]! - done.caused[code]!),
    ]);
    const all = operations.reduce((sum, [, n]) => sum + n, 0);
    const { locality, expected } = chooseLocality(
      this.#sample(sieve, done.counts),
      choice.method,
      choice.compared,
    );
    expected.doubts.push(...(choice.doubts ?? []));
    const multigets = this.#multigets.items;
    const groups = this.#groups.items;
    const reads = this.#operations[codes.get('get')!]!;
    const isPipelined = groups.length > 0 && mean(groups) > 1.05;
    const pace = law === undefined ? this.#pace : this.#own;
    return {
      ...(this.name === '' ? {} : { name: this.name }),
      keys: { space: locality.model.objects, length: wholeNumbers(this.#known('keyBytes').items) },
      values: this.#values(),
      ...this.#lifetimes.model(),
      ...this.#flagOf(),
      ...(this.#firstReads === 0 ? {} : { present: round(this.#firstHits / this.#firstReads, 4) }),
      ...this.#sorts(),
      mix: Object.fromEntries(
        operations.filter(([, n]) => n > 0).map(([name, n]) => [name, round(n / Math.max(1, all), 6)]),
      ),
      ...(law === undefined ? { onMiss: 'none' as const } : law.model),
      locality:
        locality.kind === 'stack'
          ? { ...locality, expected }
          : { ...locality, expected, ...this.#levels(sieve(), done.counts) },
      ...(multigets.length > 0 && reads > 0
        ? {
            multiget: {
              // A share of the arrivals of reads: those that stand for several keys.
              share: round(multigetShare(this.#multigetKeys, mean(multigets), reads), 4),
              keys: wholeNumbers(multigets),
            },
          }
        : {}),
      ...(isPipelined ? { pipeline: wholeNumbers(groups) } : {}),
      arrivals: pace.arrivals(law === undefined ? 1 : all / Math.max(1, this.#ownSeen)),
      connections: {
        count: Math.max(1, connections),
        ...(lifetimeMs === undefined ? {} : { lifetime: `${Math.max(1, Math.round(lifetimeMs))}ms` }),
      },
    };
  }

  /** References without those that a miss caused: a model makes them anew. */
  #sample(sieve: () => (delay: number) => boolean, counts: Uint32Array): Sample {
    const { pins } = this.keys;
    // Of a sample, places are among all; what a miss caused cannot be taken out of those that were forgotten.
    const isWhole = this.keys.share === 1;
    return {
      each: (visit) => {
        const isCaused = sieve();
        let at = 0;
        this.keys.each((id, code, place) => {
          if (!isCaused(code % DELAYS)) visit(id, isWhole ? at++ : place);
        });
      },
      ...(isWhole ? {} : { total: this.keys.seen }),
      weight: (id) => this.keys.weight(id),
      ...(pins === undefined
        ? {}
        : {
            known: {
              size: pins.size,
              counts,
              firstAt: pins.firstAt,
              lastAt: pins.lastAt,
              eachGap: (id, visit) => pins.eachGap(id, visit),
            },
          }),
    };
  }

  /** By key: its own references. By operation: those that a miss caused. */
  #done(isCaused: (delay: number) => boolean): { counts: Uint32Array; caused: Float64Array } {
    const counts = new Uint32Array(this.keys.size);
    const caused = new Float64Array(mixOperations.length);
    this.keys.each((id, code) => {
      if (isCaused(code % DELAYS)) caused[Math.floor(code / DELAYS)]! += this.keys.weight(id);
      else counts[id]!++;
    });
    this.#pinned((id, code, times) => {
      for (let n = 0; n < times; n++)
        if (isCaused(code % DELAYS)) caused[Math.floor(code / DELAYS)]!++;
        else counts[id]!++;
    });
    return { counts, caused };
  }

  /** What was done to keys whose references are not kept one by one. */
  #pinned(visit: (id: number, code: number, times: number) => void): void {
    const { pins } = this.keys;
    for (let id = 0; id < (pins?.size ?? 0); id++)
      pins!.eachDone(id, (code, times) => visit(id, code, times));
  }

  /** Most of what is read first was there. */
  get isWarm(): boolean {
    return this.#firstHits > this.#firstReads / 2;
  }

  /** An even sample of a column, of keys of which it is known. */
  #known(name: 'keyBytes' | 'bytes'): { items: number[]; ids: number[] } {
    const ids: number[] = [];
    const { data, size } = this.keys;
    const step = Math.max(1, Math.floor(size / SAMPLES));
    for (let id = 0; id < size; id += step) if (data[name][id] !== NONE) ids.push(id);
    return { items: ids.map((id) => data[name][id]!), ids };
  }

  #values(): NonNullable<TenantInput['values']> {
    const { items, ids } = this.#known('bytes');
    if (items.length === 0) return { size: 0 };
    const correlation = round(
      rankCorrelation(
        ids.map((id) => this.keys.data.count[id]!),
        items,
      ),
      3,
    );
    return { size: tableOf(items), ...(Math.abs(correlation) < 0.02 ? {} : { correlation }) };
  }

  /** By level, as the locality has them: which sizes its objects have, and what they are, how they are stored, and what is done to them. */
  #levels(
    isCaused: (delay: number) => boolean,
    counts: Uint32Array,
  ): { objects: LocalObject[][]; mixes: Mix[][][]; stores?: StoreLaws[][] } {
    const { data, size } = this.keys;
    const steps = [...new Set(counts)].filter((count) => count > 0).map(levelOf);
    const used = [...new Set(steps)].toSorted((a, b) => a - b);
    const place = new Map(used.map((step, at) => [step, at]));
    const levelBy = Int16Array.from(counts, (count) => (count === 0 ? -1 : place.get(levelOf(count))!));
    const ids = used.map((): number[] => []);
    for (let id = 0; id < size; id++) ids[levelBy[id]!]?.push(id);
    const stores = this.#stores.laws(
      used.length,
      (id) => levelBy[id]!,
      (id) => data.sort[id]!,
    );
    const done = Array.from({ length: EPOCHS }, () =>
      used.map(() => Array.from({ length: SORTS }, () => new Float64Array(mixOperations.length))),
    );
    this.keys.each((id, code, place) => {
      if (isCaused(code % DELAYS)) return;
      const epoch = Math.floor((place * EPOCHS) / this.keys.seen);
      done[epoch]![levelBy[id]!]![data.sort[id]!]![Math.floor(code / DELAYS)]! += this.keys.weight(id);
    });
    this.#pinned((id, code, times) => {
      for (let n = 0; n < times; n++)
        if (!isCaused(code % DELAYS))
          for (const of of done) of[levelBy[id]!]![data.sort[id]!]![Math.floor(code / DELAYS)]! += 1 / EPOCHS;
    });
    return {
      objects: ids.map((own) => objectsOf(own, data, this.#lifetimes.isOwn)),
      mixes: mixesByEpoch(done),
      ...(stores.flat().every((laws) => laws === null) ? {} : { stores }),
    };
  }

  /** What is known of counters and lists. */
  #sorts(): Pick<TenantInput, 'counters' | 'pieces'> {
    const initials = this.#initials.items.toSorted((a, b) => a - b);
    const pieces = this.#pieces.items;
    return {
      ...(initials.length === 0
        ? {}
        : {
            counters: {
              initial: initials[initials.length >> 1]!,
              delta: wholeNumbers(this.#deltas.items, 50),
            },
          }),
      ...(pieces.length === 0 ? {} : { pieces: wholeNumbers(pieces, 50) }),
    };
  }

  #flagOf(): Pick<TenantInput, 'flags'> {
    const [most] = [...this.#flags].toSorted((a, b) => b[1] - a[1]);
    return most === undefined || most[0] === 0 ? {} : { flags: most[0] };
  }
}

/** Of the arrivals that begin with a read, those that are a group. */
function multigetShare(keys: number, meanKeys: number, reads: number): number {
  const groups = keys / meanKeys;
  const singles = Math.max(0, reads - keys);
  return groups / Math.max(1e-9, groups + singles);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Answered as asked for; a quiet store that was silent did, too. */
function hasSucceeded(batch: Batch, row: number): boolean {
  if (batch.outcome[row] === Outcome.silent)
    return isQuiet[batch.opcode[row]!] === 1 && isRead[batch.opcode[row]!] === 0;
  return batch.outcome[row] === Outcome.answered && batch.status[row] === Status.ok;
}
