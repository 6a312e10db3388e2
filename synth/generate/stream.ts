// A stream of requests of a tenant: when they come, and what is drawn for each.

import { given } from '../../config/given.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { ArrivalStream } from '../laws/arrivals.ts';
import { hash } from '../laws/hash.ts';
import { Draws, drawnFrom, isRead, type Shares } from '../laws/draws.ts';
import { localityOf, type LocalObject } from '../model/locality.ts';
import { normalized, type Mix, type MixOperation } from '../laws/mix.ts';
import type { StreamModel, Tenant } from '../model/model.ts';
import { quantileOf, type Numbers, type Quantile } from '../laws/numbers.ts';
import { ranksOf, type Popularity } from '../laws/popularity.ts';
import { Random, exponential, named } from '../laws/random.ts';
import { Sort, type KeyTraits, type Space } from './space.ts';
import { storing, type Resize } from '../model/resize.ts';

/** Opcodes, as localities number those that store. */
const storingCodes: readonly number[] = storing.map((name) => Opcode[name]);
/** Keys drawn for a place in a multi-get, until one is to be read. */
const MAX_TRIES = 100;
/** Drawn for multi-gets, and not to be read, at most. */
const MAX_WAITING = 10_000;

/** What was drawn. */
interface Drawn {
  operation: MixOperation;
  id: number;
  object: LocalObject | undefined;
  level: number;
  sort: Sort;
}

export class Stream implements KeyTraits {
  /** Among the streams of the model. */
  readonly number: number;
  readonly space: Space;
  readonly model: StreamModel;
  /** For what else is drawn by the way. */
  readonly choose: Random;
  /** Time of the next request, ns; Infinity: there is none. */
  nextNs: number;

  // What was drawn last.
  operation: MixOperation = 'get';
  id = 0;
  popularity: number | undefined;
  object: LocalObject | undefined;
  level = 0;
  /** Of a locality that was learnt: what the key is. */
  #sort: Sort = Sort.value;
  /** Requests that leave together; where it is one multi-get, its keys. */
  count = 1;
  isMany = false;

  readonly #toNs: number;
  readonly #arrivals: ArrivalStream;
  /** @param inserts a key that is new, where popularity knows of such */
  readonly #rank: (inserts: boolean) => number;
  readonly #local: ReturnType<typeof localityOf>;
  readonly #operation: () => MixOperation;
  /** Of a locality that was learnt: what is done, by part of the stream, level, and sort of key. */
  readonly #mixes: readonly (readonly (readonly Draws[])[])[] | undefined;
  /** Drawn for a multi-get, and not to be read. */
  readonly #waiting: Drawn[] = [];
  /** Undefined: of values. */
  readonly #sortOfRead: ((u: number) => Sort) | undefined;
  readonly #multiget: { share: number; keys: Quantile } | undefined;
  readonly #pipeline: Quantile | undefined;
  /** Requests that leave together, on average: so much rarer are arrivals than requests. */
  readonly #together: number;
  readonly #oneHit: number;
  /** This share of the reads is for keys that nobody stores. */
  readonly #absent: number;
  /** By operation, the share of it that is for a key that is new. */
  readonly #inserts: Mix;
  /** Numbers of the keys that are there from the beginning: from, to. */
  readonly #there: readonly [number, number];
  /** And of them, this share. */
  readonly #present: number;
  readonly #refillDelay: ((random: Random) => number) | undefined;
  readonly #shifts: boolean;

  /** @throws RangeError where the model cannot be */
  constructor(
    number: number,
    space: Space,
    name: string,
    model: StreamModel,
    { seed, isWarm }: { seed: number; isWarm: boolean },
  ) {
    const own = `${space.name}/${name}`;
    const random = (concern: string): Random => new Random(seed, named(`${own}/${concern}`));
    const {
      popularity = { kind: 'zipf', alpha: 0.99 },
      mix = { get: 1 },
      locality,
      multiget,
      pipeline,
    } = model;
    this.number = number;
    this.space = space;
    this.model = model;
    this.choose = random('choices');
    this.#arrivals = new ArrivalStream(model.arrivals!, random('arrivals'), (model.from ?? 0) * 1e6);
    this.#toNs = (model.to ?? Infinity) * 1e6;
    this.nextNs = this.#until(this.#arrivals.next());
    const shares = normalized(mix);
    const arrivals = perArrival(shares, multiget);
    this.#operation = drawnFrom(arrivals, random('operations'));
    const ranks = ranksOf(popularity, space.size);
    const rankRandom = random('popularity');
    const local = localityOf(locality, hash(seed, named(own), 1));
    this.#local = local;
    this.#rank = local === undefined ? (inserts) => ranks(rankRandom, inserts) : () => local.next();
    this.#mixes = local?.mixes?.map((levels, epoch) =>
      levels.map((sorts, level) =>
        sorts.map(
          (own, sort) => new Draws(own, random(`operations ${epoch} of level ${level}, sort ${sort}`)),
        ),
      ),
    );
    this.#sortOfRead = sortsOf(shares);
    this.#multiget =
      multiget === undefined ? undefined : { share: multiget.share, keys: quantileOf(multiget.keys) };
    this.#pipeline = pipeline === undefined ? undefined : quantileOf(pipeline);
    this.#together = togetherOf(arrivals, multiget, pipeline);
    this.#oneHit = model.oneHit ?? 0;
    this.#absent = model.absent ?? 0;
    this.#inserts = popularity.kind === 'latest' ? (popularity.new ?? { add: 1 }) : {};
    const { present, keys } = space.tenant;
    this.#there = isWarm || present !== undefined ? residents(popularity, keys) : [0, 0];
    this.#present = present ?? 1;
    this.#refillDelay = delayOf(model);
    this.#shifts = space.events.some(({ kind }) => kind === 'shift');
  }

  /** After requests that left together. @param count how many */
  advance(count: number): void {
    this.nextNs = this.#until(this.#arrivals.next(this.#together, count));
  }

  #until(ns: number): number {
    return ns > this.#toNs ? Infinity : ns;
  }

  /** What comes at a time: an operation with its key, and how many requests leave together with it. */
  drawArrival(ns: number): void {
    const { group } = this.#arrivals;
    if (group?.isMany === true) this.drawRead(ns);
    else this.draw(ns);
    const multiget = this.#multiget;
    this.isMany =
      group?.isMany ??
      (multiget !== undefined && isRead(this.operation) && this.choose.float() < multiget.share);
    if (group !== undefined) this.count = group.keys;
    else if (this.isMany && multiget !== undefined)
      this.count = clampCount(multiget.keys(this.choose.float()), this.space.size);
    else
      this.count = this.#pipeline === undefined ? 1 : clampCount(this.#pipeline(this.choose.float()), 10_000);
  }

  /** An operation and its key. */
  draw(ns: number): void {
    if (this.#mixes === undefined) {
      this.operation = this.#operation();
      this.#drawKey(ns, this.operation);
      return;
    }
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) {
      this.#take(waiting);
      return;
    }
    // Of a locality that was learnt, the object comes first: what is done to it depends on what it is.
    this.operation = this.#drawObject(ns).draw();
  }

  /** A key to read, in a multi-get; what is not read has its turn after. */
  drawRead(ns: number): void {
    this.operation = 'get';
    if (this.#mixes === undefined) {
      this.#drawKey(ns, 'get');
      return;
    }
    for (let tries = 0; ; tries++) {
      const draws = this.#drawObject(ns);
      if (draws.read() || tries === MAX_TRIES || this.#waiting.length === MAX_WAITING) return;
      const { id, object, level } = this;
      this.#waiting.push({ operation: draws.draw(), id, object, level, sort: this.#sort });
    }
  }

  /** Returns what is done to it. */
  #drawObject(ns: number): Draws {
    const local = this.#local!;
    this.#drawKey(ns, 'get');
    this.#sort = local.sortOfLast() as Sort;
    return this.#mixes![local.epoch()]![this.level]![this.#sort]!;
  }

  #take({ operation, id, object, level, sort }: Drawn): void {
    this.operation = operation;
    this.id = id;
    this.object = object;
    this.level = level;
    this.#sort = sort;
  }

  #drawKey(ns: number, operation: MixOperation): void {
    if (this.#oneHit > 0 && this.choose.float() < this.#oneHit) {
      this.id = this.space.onceOnly();
      return;
    }
    const share = this.#inserts[operation] ?? 0;
    const rank = this.#rank(share >= 1 || (share > 0 && this.choose.float() < share));
    const local = this.#local;
    if (local !== undefined) {
      this.popularity = local.popularity();
      this.object = local.sizes();
      this.level = local.level();
    }
    this.id = this.#shifts ? this.space.shifted(rank, ns) : rank;
  }

  /** What an operation finds under a key. */
  sortOf(operation: MixOperation, id: number): Sort {
    if (this.#absent > 0 && (isRead(operation) || operation === 'gat') && this.choose.float() < this.#absent)
      return Sort.absent;
    if (id < 0) return Sort.once;
    if (operation === 'incr' || operation === 'decr') return Sort.counter;
    if (operation === 'append' || operation === 'prepend') return Sort.list;
    if (this.#mixes !== undefined) return this.#sort;
    if (this.#sortOfRead === undefined || !isRead(operation)) return Sort.value;
    return this.#sortOfRead(this.choose.float());
  }

  /** Whether a key that is read first was there before anybody asked. */
  isThere(sort: Sort, id: number): boolean {
    const [from, to] = this.#there;
    if (sort === Sort.absent || id < from || id >= to) return false;
    if (sort === Sort.counter && this.space.counter === undefined) return false;
    return this.space.isAmong(this.#present, id);
  }

  /** Of its requests, those that are reads which a refill may follow. */
  get refilledShare(): number {
    const { mix = { get: 1 }, onMiss = 'set' } = this.model;
    if (onMiss === 'none') return 0;
    return normalized(mix).reduce(
      (sum, [name, part]) => sum + (isRead(name) || name === 'gat' || name === 'cas' ? part : 0),
      0,
    );
  }

  /** Whether a change is a quiet one. */
  isQuiet(): boolean {
    const { quiet = 0 } = this.model;
    return quiet > 0 && this.choose.float() < quiet;
  }

  get refillOpcode(): number {
    return this.model.onMiss === 'add' ? Opcode.add : Opcode.set;
  }

  /** Whether a miss is followed by a refill. */
  refills(): boolean {
    const { onMiss = 'set', refills = 1 } = this.model;
    return onMiss !== 'none' && (refills >= 1 || this.choose.float() < refills);
  }

  /** How long until then, ns. */
  refillDelayNs(): number {
    return this.#refillDelay === undefined ? 0 : Math.round(this.#refillDelay(this.choose) * 1e6);
  }

  /** How the size of a key changes when it is stored. */
  resizeOf(level: number, sort: Sort, opcode: number): Resize | undefined {
    return this.#local?.resizes?.[level]?.[sort]?.[storingCodes.indexOf(opcode)];
  }

  /** Lists are begun by others, as in the recording that its locality was learnt from. */
  get isLearnt(): boolean {
    return this.#mixes !== undefined;
  }
}

/** What a tenant's further streams have of it, where they do not say otherwise. */
export function inherited({
  mix,
  popularity,
  locality,
  oneHit,
  absent,
  onMiss,
  refills,
  refillDelay,
  refillDelays,
  multiget,
  pipeline,
  quiet,
}: Tenant): StreamModel {
  return {
    ...given({
      mix,
      popularity,
      locality,
      oneHit,
      absent,
      onMiss,
      refills,
      refillDelay,
      refillDelays,
      multiget,
      pipeline,
      quiet,
    }),
  };
}

/** Of the most popular keys, or the newest, as many as are there from the beginning. What is inserted is not. */
function residents(popularity: Popularity, { space, resident }: Tenant['keys']): [number, number] {
  if (popularity.kind === 'latest') return [space - (resident ?? space), space];
  return [0, resident ?? Infinity];
}

/** How long a refill waits, ms; undefined: not at all. */
function delayOf({ refillDelay = 0, refillDelays }: StreamModel): ((random: Random) => number) | undefined {
  if (refillDelays !== undefined) {
    const quantile = quantileOf(refillDelays);
    return (random) => quantile(random.float());
  }
  return refillDelay === 0 ? undefined : (random) => exponential(random) * refillDelay;
}

/** Where some reads stand for several keys, fewer arrivals are reads. */
function perArrival(shares: Shares, multiget: StreamModel['multiget']): Shares {
  if (multiget === undefined) return shares;
  const mean = meanCount(multiget.keys);
  const each = 1 + multiget.share * (mean - 1);
  return shares.map(([name, part]) => [name, isRead(name) ? part / each : part]);
}

/** Requests of an arrival, on average. */
function togetherOf(
  arrivals: Shares,
  multiget: StreamModel['multiget'],
  pipeline: StreamModel['pipeline'],
): number {
  const all = arrivals.reduce((sum, [, part]) => sum + part, 0);
  const reads = arrivals.reduce((sum, [name, part]) => sum + (isRead(name) ? part : 0), 0) / all;
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
function sortsOf(shares: Shares): ((u: number) => Sort) | undefined {
  const of = (...names: MixOperation[]): number =>
    shares.reduce((sum, [name, part]) => sum + (names.includes(name) ? part : 0), 0);
  const counters = of('incr', 'decr');
  const lists = of('append', 'prepend');
  if (counters + lists === 0) return undefined;
  const values = Math.max(of('set', 'add', 'replace', 'cas'), 1e-9);
  const all = counters + lists + values;
  return (u) => (u < counters / all ? Sort.counter : u < (counters + lists) / all ? Sort.list : Sort.value);
}
