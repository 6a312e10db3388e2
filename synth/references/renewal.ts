// Reference streams by renewal: each object is referenced as often as objects of its popularity are, at distances drawn
// from those of its popularity, from its birth to its end. What a RenewalModel holds is learned by synth/references/renewalfit.ts; here
// a stream is made of it: the births, each object's chain of gaps, and who is next.

import { grown } from '../../trace/batch.ts';
import { Bins } from '../laws/bins.ts';
import { Random, takeOne } from '../laws/random.ts';
import { ReferenceStream } from './stream.ts';
import { Urgency, Wheel } from './wheel.ts';

/** How many objects have how many references together; those of one entry differ by one at most. */
export type Counts = [objects: number, references: number][];

/** Objects referenced about equally often: from 2^(i/2) to 2^((i+1)/2) times, for some i. */
interface RenewalLevel {
  counts: Counts;
  /** How many objects are first referenced in one phase of the stream, and last in another (phases from 0). */
  lives: [first: number, last: number, objects: number][];
  /** Weights of the distances between an object's references, for each bin of `edges`; empty for single references. */
  gaps: number[];
}

/** Plain JSON. */
export interface RenewalModel {
  kind: 'renewal';
  references: number;
  objects: number;
  /** Equal parts of the stream that births and ends are counted by. */
  phases: number;
  /** First references in each of some finer parts, a whole number of them in each phase. */
  births: number[];
  /** Bins of distances in references: 1 for an object referenced twice in a row. */
  edges: number[];
  levels: RenewalLevel[];
}

export interface RenewalOptions {
  seed: number;
  /** References to make; the model's own number where it is not given, Infinity for an endless stream. */
  length?: number;
}

/** Chains of gaps drawn for an object until one ends in its last phase; the closest one is stretched otherwise. */
const TRIES = 8;
/** Part of a gap by which a reference may come early or late, to make room for those with shorter gaps. */
const SLACK = 0.1;
/** Part of the stream by which a birth gives way to what is due, or comes early where nothing is. */
const BIRTH_SLACK = 1 / 40;

/** The objects of a lap that are still to be born, counted by all that is settled at birth. */
class Unborn {
  readonly #random: Random;
  /** By phase of birth, then level, then phase of the end. */
  readonly #lives: Uint32Array[][];
  readonly #byLevel: Uint32Array[];
  readonly #byPhase: Uint32Array;
  readonly #counts: Uint32Array[];
  readonly #left: Uint32Array;
  readonly #model: RenewalModel;
  /** The next birth: its part of the stream, its number there, and its phase. */
  #part = 0;
  #born = 0;
  #phase = 0;
  /** What `take` drew. */
  level = 0;
  count = 0;
  last = 0;

  constructor(model: RenewalModel, random: Random) {
    this.#model = model;
    this.#random = random;
    const { levels, phases } = model;
    this.#lives = Array.from({ length: phases }, () => levels.map(() => new Uint32Array(phases)));
    this.#byLevel = Array.from({ length: phases }, () => new Uint32Array(levels.length));
    this.#byPhase = new Uint32Array(phases);
    this.#counts = levels.map((level) => Uint32Array.from(level.counts, ([objects]) => objects));
    this.#left = Uint32Array.from(this.#counts, (counts) =>
      counts.reduce((sum, objects) => sum + objects, 0),
    );
    for (const [at, level] of levels.entries())
      for (const [first, last, objects] of level.lives) {
        this.#lives[first]![at]![last]! += objects;
        this.#byLevel[first]![at]! += objects;
        this.#byPhase[first]! += objects;
      }
  }

  /** When the next birth is due, from 0 to 1 through the stream; Infinity where there is none left. */
  due(): number {
    const { births, phases } = this.#model;
    while (this.#born === births[this.#part]) {
      this.#part++;
      this.#born = 0;
    }
    if (this.#part >= births.length) return Infinity;
    this.#phase = Math.floor((this.#part * phases) / births.length);
    return (this.#part + (this.#born++ + this.#random.float()) / births[this.#part]!) / births.length;
  }

  /** Draws the object whose birth is due, without putting it back, so that all come to be in the end. */
  take(): void {
    this.level = takeOne(this.#random, this.#byLevel[this.#phase]!, this.#byPhase[this.#phase]!--);
    const lives = this.#lives[this.#phase]![this.level]!;
    this.last = takeOne(this.#random, lives, this.#byLevel[this.#phase]![this.level]! + 1);
    const counts = this.#counts[this.level]!;
    const entry = takeOne(this.#random, counts, this.#left[this.level]!--);
    const [objects, references] = this.#model.levels[this.level]!.counts[entry]!;
    this.count = Math.floor(references / objects) + (counts[entry]! < references % objects ? 1 : 0);
  }
}

/**
 * A stream of object ids, numbered in the order of their births. The same model, seed and length give the same stream;
 * shorter ones are its beginnings. Each `references` of a longer one are a lap of the same births with other gaps and
 * new objects: objects per reference, popularity and distances stay as they are in the model; no object lives on from
 * one lap to the next. The n-th birth of each lap has the same popularity, so ids modulo `objects` keep the footprint.
 * Memory follows the objects alive, beside 16 MiB at most.
 */
export class RenewalStream extends ReferenceStream {
  /** The distance from the reference that `next` gave to the object's last one; 0 for its first. */
  gap = 0;
  /** It is its object's first one. */
  get isNew(): boolean {
    return this.gap === 0;
  }
  /** The index of the level of that reference's object. */
  level = 0;
  readonly #model: RenewalModel;
  readonly #gaps: (Bins | undefined)[];
  readonly #salt: number;
  readonly #birthSeed: number;
  #unborn: Unborn;
  #lap = 0;
  #born = 0;
  /** Position at which the next birth is due. */
  #birth = 0;
  readonly #wheel: Wheel;
  readonly #urgency = new Urgency();
  readonly #whenDue = (slot: number): void => this.#urgency.add(slot);

  // Of each slot, that is, of each object alive:
  #ids = new Uint32Array(1 << 10);
  #levels = new Uint8Array(1 << 10);
  #left = new Uint32Array(1 << 10);
  /** State of the object's own random sequence. */
  #states = new Int32Array(1 << 10);
  #stretch = new Float64Array(1 << 10);
  /** Where its next reference would be, had none been early or late. */
  #planned = new Float64Array(1 << 10);
  #lastAt = new Float64Array(1 << 10);
  #slots = 0;
  readonly #vacant: number[] = [];

  /** @throws RangeError for a model whose numbers do not agree, or a length that is not from 0. */
  constructor(model: RenewalModel, options: RenewalOptions) {
    super(options.length ?? model.references);
    check(model);
    this.#model = model;
    this.#wheel = new Wheel(model.references);
    this.#gaps = model.levels.map(({ gaps }) =>
      gaps.length === 0 ? undefined : new Bins(model.edges, gaps),
    );
    const random = new Random(options.seed);
    this.#salt = random.uint32();
    this.#birthSeed = random.uint32();
    this.#unborn = this.#startLap(0);
  }

  protected override draw(now: number): number {
    if (now - this.#lap === this.#model.references) this.#unborn = this.#startLap(now);
    this.#wheel.turn(now, this.#whenDue);
    const patience = BIRTH_SLACK * this.#model.references;
    const deadline = this.#urgency.deadline;
    if (this.#birth <= now && this.#birth + patience < deadline) return this.#bear(now);
    if (deadline < Infinity) return this.#refer(this.#urgency.take(), now);
    // Nothing is due: a birth comes early, or else whoever would be next.
    if (this.#wheel.length === 0 || this.#birth < now + patience) return this.#bear(now);
    return this.#refer(this.#wheel.takeFirst(), now);
  }

  #startLap(position: number): Unborn {
    this.#lap = position;
    const unborn = new Unborn(this.#model, new Random(this.#birthSeed));
    this.#birth = this.#lap + Math.floor(unborn.due() * this.#model.references);
    return unborn;
  }

  #bear(now: number): number {
    const unborn = this.#unborn;
    unborn.take();
    const id = this.#born++;
    this.gap = 0;
    this.level = unborn.level;
    if (unborn.count > 1) this.#plan(id, now);
    this.#birth = this.#lap + Math.floor(unborn.due() * this.#model.references);
    return id;
  }

  /** Settles the chain of gaps of the object just born: the random state it begins with, and its stretch. */
  #plan(id: number, now: number): void {
    const { level, count, last } = this.#unborn;
    const { references, phases } = this.#model;
    const soonest = now + count - 1;
    const high = Math.max(soonest, this.#lap + Math.floor(((last + 1) * references) / phases) - 1);
    const low = Math.min(high, Math.max(soonest, this.#lap + Math.floor((last * references) / phases)));
    const gaps = this.#gaps[level]!;
    let closest = Infinity;
    let begin = 0;
    let span = 0;
    for (let attempt = 0; attempt < TRIES && closest > 1; attempt++) {
      const first = mix(Math.imul(id, 0x85ebca6b) ^ this.#salt, attempt);
      let sum = 0;
      for (let i = 1, state = first; i < count; i++) {
        state = (state + STEP) | 0;
        sum += gaps.at(unit(state));
      }
      const end = now + sum;
      const off = end > high ? sum / (high - now) : end < low ? (low - now) / sum : 1;
      if (off >= closest) continue;
      closest = off;
      begin = first;
      span = sum;
    }
    const slot = this.#vacant.pop() ?? this.#slots++;
    if (slot === this.#ids.length) this.#grow();
    this.#ids[slot] = id;
    this.#levels[slot] = level;
    this.#left[slot] = count - 1;
    this.#states[slot] = begin;
    this.#stretch[slot] = closest > 1 ? (low + unit(~begin) * (high - low) - now) / span : 1;
    this.#planned[slot] = now;
    this.#schedule(slot, now);
  }

  #refer(slot: number, now: number): number {
    this.gap = now - this.#lastAt[slot]!;
    this.level = this.#levels[slot]!;
    if (--this.#left[slot]! > 0) this.#schedule(slot, now);
    else this.#vacant.push(slot);
    return this.#ids[slot]!;
  }

  #schedule(slot: number, now: number): void {
    const state = (this.#states[slot]! + STEP) | 0;
    this.#states[slot] = state;
    const drawn = this.#gaps[this.#levels[slot]!]!.at(unit(state));
    const gap = Math.max(1, Math.round(drawn * this.#stretch[slot]!));
    const planned = this.#planned[slot]! + gap;
    this.#planned[slot] = planned;
    // An object that is late or early returns to its plan a bit by each gap, so that the short ones stay short.
    const slack = Math.floor(gap * SLACK);
    const due = Math.min(Math.max(planned, now + gap - slack), now + gap + slack);
    this.#lastAt[slot] = now;
    this.#urgency.setDeadline(slot, due + gap * SLACK);
    this.#wheel.add(slot, due);
  }

  #grow(): void {
    const slots = this.#ids.length * 2;
    this.#ids = grown(this.#ids, new Uint32Array(slots));
    this.#levels = grown(this.#levels, new Uint8Array(slots));
    this.#left = grown(this.#left, new Uint32Array(slots));
    this.#states = grown(this.#states, new Int32Array(slots));
    this.#stretch = grown(this.#stretch, new Float64Array(slots));
    this.#planned = grown(this.#planned, new Float64Array(slots));
    this.#lastAt = grown(this.#lastAt, new Float64Array(slots));
  }
}

function check({ references, objects, phases, births, levels }: RenewalModel): void {
  let counted = 0;
  let sum = 0;
  const born = new Uint32Array(phases);
  for (const { counts, lives } of levels) {
    for (const [some, theirs] of counts) {
      counted += some;
      sum += theirs;
    }
    for (const [first, last, some] of lives) {
      if (!(first >= 0 && first <= last && last < phases))
        throw new RangeError(`expected lives within ${phases} phases, got ${first} to ${last}`);
      born[first]! += some;
    }
  }
  const alive = born.reduce((total, some) => total + some, 0);
  if (!(objects > 0) || counted !== objects || alive !== objects || sum !== references)
    throw new RangeError(
      `expected ${objects} objects and ${references} references, got ${counted} counted, ${alive} born, ${sum} references`,
    );
  for (const [part, some] of births.entries()) born[Math.floor((part * phases) / births.length)]! -= some;
  if (born.some((left) => left !== 0)) throw new RangeError('expected births that agree with the lives');
}

/** Weyl's step of an object's own random sequence (Mulberry32 by Tommy Ettinger, public domain): 4 bytes of state. */
const STEP = 0x6d2b79f5;

/** The state's number in [0, 1), of 32 bits. */
function unit(state: number): number {
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t ^= t + Math.imul(t ^ (t >>> 7), 61 | t);
  return ((t ^ (t >>> 14)) >>> 0) / 0x100000000;
}

function mix(word: number, attempt: number): number {
  let h = (word + Math.imul(attempt + 1, 0x27d4eb2f)) | 0;
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return h ^ (h >>> 15);
}
