// A stage of a rewrite: rows come in the order of their times and leave so, changed, moved, dropped, or with others among
// them. Stages are put one behind the other, and each draws from random numbers of its own.

import { ConfigError } from '../../config/error.ts';
import { storeExtras } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { RowFlag } from '../../trace/batch.ts';
import { Agenda } from '../generate/agenda.ts';
import { ArrivalStream, type Arrivals } from '../laws/arrivals.ts';
import { hash } from '../laws/hash.ts';
import { alias } from '../laws/numbers.ts';
import { Random } from '../laws/random.ts';
import { Sort, type Facts, type KeyFact } from './facts.ts';
import { Roster, type Line, type Lines } from './line.ts';
import type { Payloads } from './payload.ts';
import { Row, type Follow } from './row.ts';

/** A command that goes with the scenario, as a drill of the replay; `at` in ms. */
export interface TraceDrill {
  at: number;
  run: string;
  name: string;
  server?: string;
}

/** What scenarios on a trace are made from. */
export class Context {
  readonly facts: Facts;
  readonly lines: Lines;
  readonly payloads: Payloads;
  readonly seed: number;
  readonly drills: TraceDrill[] = [];
  /** What stages count, in words: `12 requests fell into …`. */
  readonly notes: (() => string | undefined)[] = [];
  #concerns = 0;
  #tenants = 0;
  #stages = 0;
  #opaque = 0;
  #fresh = 0;
  readonly #draws = new Map<number | undefined, { of: (random: Random) => KeyFact; keys: KeyFact[] }>();

  constructor(facts: Facts, lines: Lines, payloads: Payloads, seed: number) {
    this.facts = facts;
    this.lines = lines;
    this.payloads = payloads;
    this.seed = seed;
  }

  get totalMs(): number {
    return this.facts.totalMs;
  }

  /** Random numbers that nobody else draws from. */
  random(): Random {
    return new Random(this.seed, 0x7a9e + this.#concerns++);
  }

  /** A seed for what follows from names and numbers. */
  ownSeed(): number {
    return hash(this.seed, this.#concerns++, 0x7a9f);
  }

  /** Keys of values, those of a place apart where one is given. */
  values(place?: number): KeyFact[] {
    return this.facts.ranked.filter(
      (key) => key.sort === Sort.value && (place === undefined || key.place === place),
    );
  }

  /** A key as popular ones are asked for, of one place where it is given. @throws ConfigError where the trace has none */
  draw(random: Random, place?: number): KeyFact {
    let draw = this.#draws.get(place);
    if (draw === undefined) {
      const keys = this.values(place);
      if (keys.length === 0) throw new ConfigError('expected a trace with requests for keys, got none');
      const pick = alias(keys.map(({ requests }) => requests));
      draw = { of: (from) => keys[pick(from.float())]!, keys };
      this.#draws.set(place, draw);
    }
    return draw.of(random);
  }

  /** So many different keys of a place, as popular ones are asked for; all, where there are fewer. */
  several(place: number, count: number, random: Random): Set<string> {
    const names = new Set([this.draw(random, place).name]);
    const { keys } = this.#draws.get(place)!;
    for (let tries = 0; names.size < Math.min(count, keys.length) && tries < count * 4; tries++)
      names.add(this.draw(random, place).name);
    // What is popular was drawn many times: the rest in order.
    for (let n = 0; names.size < Math.min(count, keys.length); n++) names.add(keys[n]!.name);
    return names;
  }

  newStage(): number {
    return this.#stages++;
  }

  /** The name of a tenant that no other scenario adds. */
  newTenant(): string {
    return `surge-${++this.#tenants}`;
  }

  /** A value that no other exchange stores. */
  fresh(bytes: number): Buffer {
    return this.payloads.fresh(bytes, this.#fresh++);
  }

  /** A request that nobody recorded; it is answered when it is executed. */
  request(line: Line, ns: number, opcode: Opcode, key?: string): Row {
    const row = new Row(line);
    row.ns = row.endNs = ns;
    row.answerNs = ns + this.facts.latencyNs;
    row.opcode = opcode;
    row.opaque = this.#opaque = (this.#opaque + 1) >>> 0;
    row.isAdded = true;
    if (key !== undefined) row.key = Buffer.from(key, 'latin1');
    return row;
  }

  /** A read, whose client does on a miss what it did in the recording. */
  read(line: Line, ns: number, opcode: Opcode, key: string): Row {
    const row = this.request(line, ns, opcode, key);
    row.follow = this.onMiss(line);
    return row;
  }

  /** What a client does that missed. */
  onMiss({ refills }: Line): Follow | undefined {
    return refills ? { kind: 'refill', delayNs: this.facts.refill.delayNs } : undefined;
  }

  /** A store of another value, of the size, flags and expiry that the key's had. */
  store(line: Line, ns: number, { name, bytes, flags, expiry }: KeyFact): Row {
    const row = this.request(line, ns, Opcode.set, name);
    row.extras = storeExtras(flags, expiry);
    row.value = this.fresh(bytes);
    return row;
  }
}

/** It leaves together with the one before it on its connection. */
export function joined(row: Row): Row {
  row.flags |= RowFlag.sharesSegment;
  return row;
}

export class Stage {
  readonly context: Context;
  readonly random: Random;
  readonly roster = new Roster();
  /** Its requests name versions that were read. */
  usesCas = false;
  /** What an earlier stage dropped is its matter too. */
  protected readonly takesDropped: boolean = false;
  /** Takes what leaves. */
  next: (row: Row) => void = () => undefined;
  /** Its place among the stages. */
  readonly number: number;
  readonly #later = new Agenda<Row>();
  /** Who asks in the place of a client that has gone, in the segment of this time. */
  readonly #instead = new Map<Line, { ns: number; line: Line }>();

  constructor(context: Context) {
    this.context = context;
    this.random = context.random();
    this.number = context.newStage();
  }

  push(row: Row): void {
    // Nothing comes between those of one segment.
    if (!row.joins) this.#advance(row.ns);
    if (row.isDropped && !this.takesDropped) this.next(row);
    else {
      if (row.family === 'quit') row.line.hasQuit = true;
      this.roster.see(row.line);
      this.take(row);
    }
  }

  end(): void {
    this.#advance(Infinity);
    this.finish();
  }

  /** One of the rows that come in. */
  protected take(row: Row): void {
    this.next(row);
  }

  /** When `arrive` has something, ns. */
  protected nextNs(): number {
    return Infinity;
  }

  protected arrive(_ns: number): void {
    // Nothing does, in most stages.
  }

  protected finish(): void {
    // Nothing is left, in most stages.
  }

  /** A row for its time, which is not over. */
  later(row: Row): void {
    this.#later.put(row.ns, row);
  }

  /** A connection for a request on a place's keys. */
  lineOf(place: number, ns: number): Line | undefined {
    const line = this.roster.pick(place, ns, this.number, this.random);
    if (line !== undefined) return line;
    const like = this.context.lines.recorded.find((one) => one.place === place);
    if (like === undefined) return undefined;
    const opened = this.context.lines.open(like, ns);
    this.roster.see(opened);
    return opened;
  }

  /** A request for one of a place's keys, on any connection; none where there is none. */
  ask(place: number, ns: number, make: (line: Line) => Row): void {
    const line = this.lineOf(place, ns);
    if (line !== undefined) this.later(make(line));
  }

  #advance(ns: number): void {
    for (;;) {
      const arrivalNs = this.nextNs();
      const laterNs = this.#later.nextNs;
      const first = Math.min(arrivalNs, laterNs);
      if (first > ns || first === Infinity) return;
      if (laterNs <= arrivalNs) this.#release(this.#later.take()!);
      else this.arrive(arrivalNs);
    }
  }

  #release(row: Row): void {
    // Its client may have gone meanwhile: another asks.
    if (!row.line.takes(row.ns, this.number)) {
      const known = this.#instead.get(row.line);
      const line = known?.ns === row.ns ? known.line : this.lineOf(row.line.place, row.ns);
      if (line === undefined) return;
      this.#instead.set(row.line, { ns: row.ns, line });
      row.line = line;
    }
    this.roster.see(row.line);
    this.next(row);
  }
}

export interface Addition {
  arrivals: Arrivals;
  /** ms */
  from: number;
  to: number;
  /** Requests that leave at once, on average: so much rarer are arrivals. */
  together?: number;
}

/** Adds requests, at a rate. */
export class AddingStage extends Stage {
  readonly #arrivals: ArrivalStream;
  readonly #toNs: number;
  readonly #together: number;
  readonly #make: (ns: number, stage: AddingStage) => void;
  #nextNs: number;

  /** @param make puts what is asked for at the time, by `later` */
  constructor(
    context: Context,
    { arrivals, from, to, together = 1 }: Addition,
    make: (ns: number, stage: AddingStage) => void,
  ) {
    super(context);
    this.#arrivals = new ArrivalStream(arrivals, context.random(), from * 1e6);
    this.#toNs = Math.min(to, context.totalMs) * 1e6;
    this.#together = together;
    this.#make = make;
    this.#nextNs = this.#next();
  }

  protected override nextNs(): number {
    return this.#nextNs;
  }

  protected override arrive(ns: number): void {
    this.#make(ns, this);
    this.#nextNs = this.#next();
  }

  #next(): number {
    // Without a rate none comes.
    const ns = this.context.facts.rate > 0 ? Math.round(this.#arrivals.next(this.#together)) : Infinity;
    return ns < this.#toNs ? ns : Infinity;
  }
}

/** Does something at certain times. */
export class EventStage extends Stage {
  /** The last one first. */
  readonly #times: number[];
  readonly #make: (ns: number, stage: EventStage) => void;

  /** @param times ms @param make puts what is asked for at the time, by `later` */
  constructor(context: Context, times: readonly number[], make: (ns: number, stage: EventStage) => void) {
    super(context);
    this.#times = times.map((ms) => Math.round(ms * 1e6)).toSorted((a, b) => b - a);
    this.#make = make;
  }

  protected override nextNs(): number {
    return this.#times.at(-1) ?? Infinity;
  }

  protected override arrive(ns: number): void {
    this.#times.pop();
    this.#make(ns, this);
  }
}
