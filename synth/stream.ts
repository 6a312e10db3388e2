// A stream of requests of a tenant: when they come, and what is drawn for each.

import { ArrivalStream } from './arrivals.ts';
import { hash } from './hash.ts';
import { localityOf } from './locality.ts';
import { normalized, type Mix, type MixOperation } from './mix.ts';
import type { StreamModel, Tenant } from './model.ts';
import { alias, quantileOf, type Numbers, type Quantile } from './numbers.ts';
import { ranksOf, type Popularity } from './popularity.ts';
import { Random, Stratified, named } from './random.ts';
import { Sort, type KeyTraits, type Space } from './space.ts';

const isRead: ReadonlySet<MixOperation> = new Set(['get', 'gets', 'gat', 'cas']);

type Shares = readonly (readonly [MixOperation, number])[];

export class Stream implements KeyTraits {
  /** Among the streams of the model. */
  readonly number: number;
  readonly space: Space;
  readonly model: StreamModel;
  /** For what else is drawn by the way. */
  readonly choose: Random;
  /** Time of the next request, ns; Infinity: there is none. */
  nextNs: number;

  /** What was drawn last: an operation, and the key that it is for. */
  operation: MixOperation = 'get';
  id = 0;
  popularity: number | undefined;
  sizes: readonly [number, number] | undefined;

  readonly #toNs: number;
  readonly #arrivals: ArrivalStream;
  /** @param inserts a key that is new, where popularity knows of such */
  readonly #rank: (inserts: boolean) => number;
  readonly #local: ReturnType<typeof localityOf>;
  readonly #operation: () => MixOperation;
  /** Of a locality that was learnt: what is done to each sort of key. */
  readonly #mixes: readonly (() => MixOperation)[] | undefined;
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
    this.#mixes = local?.mixes?.map((of, sort) =>
      drawnFrom(perArrival(normalized(of), multiget), random(`operations of sort ${sort}`)),
    );
    this.#sortOfRead = sortsOf(shares);
    this.#multiget =
      multiget === undefined ? undefined : { share: multiget.share, keys: quantileOf(multiget.keys) };
    this.#pipeline = pipeline === undefined ? undefined : quantileOf(pipeline);
    this.#together = togetherOf(arrivals, multiget, pipeline);
    this.#oneHit = model.oneHit ?? 0;
    this.#absent = model.absent ?? 0;
    this.#inserts = popularity.kind === 'latest' ? (popularity.new ?? { add: 1 }) : {};
    this.#there = isWarm ? residents(popularity, space.tenant.keys) : [0, 0];
    this.#shifts = space.events.some(({ kind }) => kind === 'shift');
  }

  /** After requests that left together. @param count how many */
  advance(count: number): void {
    this.nextNs = this.#until(this.#arrivals.next(this.#together, count));
  }

  #until(ns: number): number {
    return ns > this.#toNs ? Infinity : ns;
  }

  /** An operation and its key. */
  draw(ns: number): void {
    if (this.#mixes === undefined) {
      this.operation = this.#operation();
      this.drawKey(ns, this.operation);
    } else {
      // Of a locality that was learnt, the object comes first: what is done to it depends on what it is.
      this.drawKey(ns, 'get');
      this.operation = this.#mixes[this.#local!.sortOfLast()]!();
    }
  }

  /** A key alone. */
  drawKey(ns: number, operation: MixOperation): void {
    if (this.#oneHit > 0 && this.choose.float() < this.#oneHit) {
      this.id = this.space.onceOnly();
      return;
    }
    const share = this.#inserts[operation] ?? 0;
    const rank = this.#rank(share >= 1 || (share > 0 && this.choose.float() < share));
    if (this.#local !== undefined) {
      this.popularity = this.#local.popularity();
      this.sizes = this.#local.sizes();
    }
    this.id = this.#shifts ? this.space.shifted(rank, ns) : rank;
  }

  /** Keys of a multi-get that begins with the read that was drawn; 0: it is a single one. */
  drawMultiget(): number {
    const { operation } = this;
    const multiget = this.#multiget;
    if (multiget === undefined || (operation !== 'get' && operation !== 'gets')) return 0;
    if (this.choose.float() >= multiget.share) return 0;
    return clampCount(multiget.keys(this.choose.float()), this.space.size);
  }

  /** Requests that leave together. */
  drawPipeline(): number {
    return this.#pipeline === undefined ? 1 : clampCount(this.#pipeline(this.choose.float()), 10_000);
  }

  /** What an operation finds under a key. */
  sortOf(operation: MixOperation, id: number): Sort {
    const isRead = operation === 'get' || operation === 'gets' || operation === 'gat';
    if (isRead && this.#absent > 0 && this.choose.float() < this.#absent) return Sort.absent;
    if (id < 0) return Sort.once;
    if (operation === 'incr' || operation === 'decr') return Sort.counter;
    if (operation === 'append' || operation === 'prepend') return Sort.list;
    if (this.#mixes !== undefined) return this.#local!.sortOfLast() as Sort;
    if (this.#sortOfRead === undefined || (operation !== 'get' && operation !== 'gets')) return Sort.value;
    return this.#sortOfRead(this.choose.float());
  }

  /** Whether a key that is read first was there before anybody asked. */
  isThere(sort: Sort, id: number): boolean {
    const [from, to] = this.#there;
    if (sort === Sort.absent || id < from || id >= to) return false;
    return sort !== Sort.counter || this.space.counter !== undefined;
  }

  /** Of its requests, those that are reads which a refill may follow. */
  get refilledShare(): number {
    const { mix = { get: 1 }, onMiss = 'set' } = this.model;
    if (onMiss === 'none') return 0;
    return normalized(mix).reduce((sum, [name, part]) => sum + (isRead.has(name) ? part : 0), 0);
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
  refillDelay,
  multiget,
  pipeline,
}: Tenant): StreamModel {
  return {
    ...(mix === undefined ? {} : { mix }),
    ...(popularity === undefined ? {} : { popularity }),
    ...(locality === undefined ? {} : { locality }),
    ...(oneHit === undefined ? {} : { oneHit }),
    ...(absent === undefined ? {} : { absent }),
    ...(onMiss === undefined ? {} : { onMiss }),
    ...(refillDelay === undefined ? {} : { refillDelay }),
    ...(multiget === undefined ? {} : { multiget }),
    ...(pipeline === undefined ? {} : { pipeline }),
  };
}

/** Of the most popular keys, or the newest, as many as are there from the beginning. What is inserted is not. */
function residents(popularity: Popularity, { space, resident }: Tenant['keys']): [number, number] {
  if (popularity.kind === 'latest') return [space - (resident ?? space), space];
  return [0, resident ?? Infinity];
}

function drawnFrom(shares: Shares, random: Random): () => MixOperation {
  const pick = alias(shares.map(([, part]) => part));
  const draws = new Stratified(random);
  return () => shares[pick(draws.float())]![0];
}

/** Where some reads stand for several keys, fewer arrivals are reads. */
function perArrival(shares: Shares, multiget: StreamModel['multiget']): Shares {
  if (multiget === undefined) return shares;
  const mean = meanCount(multiget.keys);
  const each = 1 + multiget.share * (mean - 1);
  return shares.map(([name, part]) => [name, name === 'get' || name === 'gets' ? part / each : part]);
}

/** Requests of an arrival, on average. */
function togetherOf(
  arrivals: Shares,
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
