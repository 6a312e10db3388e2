// Reference streams by hazard: how likely an object is to be referenced next depends on how often it is referenced in all
// and on how deep it lies in the order of recency. In each step a depth is drawn, so that LRU's miss-ratio curve is that of
// the stream which was learned from, and then an object at that depth by its hazard; each object is referenced as often as
// was settled at its birth. So the stream has both the recency and the popularity of the original, in order of O(bins) a
// reference. What a HazardModel holds is learned by synth/references/hazardfit.ts.

import { grown } from '../../trace/batch.ts';
import { MarkedList } from './marked.ts';
import { Random } from '../laws/random.ts';
import { checkHazard, naturalHazards, type HazardModel } from './hazardmodel.ts';
import { Sets } from './sets.ts';
import { ReferenceStream } from './stream.ts';
import { Unborn } from './unborn.ts';

export interface HazardOptions {
  seed: number;
  /** References to make; the model's own number where it is not given, Infinity for an endless stream. */
  length?: number;
}

/** Times in a phase at which levels that lag behind are hurried, and how many references lie between them at least. */
const CORRECTIONS = 50;
const LEAST_BETWEEN = 64;
/** References of a level that are neither missed nor too many between two corrections: chance is not corrected. */
const NOISE = 5;
const MOST_HASTE = 1000;
/** Part of the mean weight of a bin that stays when a new one comes. */
const INERTIA = 0.9;
/** In bins with fewer objects it depends on who lies there whether something at this depth is referenced. */
const FEW = 8;
/** Objects that are tried for a count to exchange, and objects to exchange it with. */
const CANDIDATES = 32;
const TRIES = 16;
/** An object is never quite without a chance: it has references left. */
const LEAST_HAZARD = 1e-12;

/**
 * A stream of object ids, numbered in the order of their births. The same model, seed and length give the same stream;
 * shorter ones are its beginnings. Each `references` of a longer one are a lap of the same births with other references
 * and new objects; no object lives on from one lap to the next. Memory is some 50 bytes for each object of a lap.
 */
export class HazardStream extends ReferenceStream {
  /** The reference that `next` gave is its object's first one. */
  isNew = false;
  /** The index of the level of that reference's object. */
  level = 0;
  readonly #model: HazardModel;
  readonly #random: Random;
  readonly #bins: number;
  readonly #phases: number;
  /** By level and bin: as the model has them, and with the haste of their level. */
  readonly #natural: Float64Array;
  readonly #hazards: Float64Array;
  readonly #haste: Float64Array;
  /** By level: its least count. */
  readonly #least: number[];

  // Objects that are still to be referenced, by level and bin, and by level; and those that are not, by bin.
  readonly #cells: Sets;
  readonly #byLevel: Sets;
  readonly #spent: Sets;
  readonly #list: MarkedList;
  #levels = new Uint8Array(1024);
  #done = new Uint32Array(1024);
  #left = new Uint32Array(1024);
  #alive = 0;
  readonly #aliveIn: Uint32Array;
  /** By bin: the sum of its objects' hazards, and what that is on average. */
  readonly #weights: Float64Array;
  readonly #summed: Float64Array;
  readonly #meanWeights: Float64Array;
  #steps = 0;

  // Of the lap:
  #lap = 0;
  /** Objects of the laps before, and of this one. */
  #bornBefore = 0;
  #born = 0;
  #unborn: Unborn;
  #part = -1;
  #partEnd = 0;
  #births = 0;
  #phase = -1;
  #phaseEnd = 0;
  #correctAt = 0;
  /** Still to come in this phase: by bin, and by level; and of a level since the last correction. */
  readonly #owed: Float64Array;
  readonly #owedTo: Float64Array;
  readonly #gone: Float64Array;
  /** Reused: how likely each bin is. */
  readonly #chances: Float64Array;

  /** @throws RangeError for a model whose numbers do not agree, or a length that is not from 0. */
  constructor(model: HazardModel, options: HazardOptions) {
    super(options.length ?? model.references);
    checkHazard(model);
    this.#model = model;
    this.#random = new Random(options.seed);
    const bins = (this.#bins = model.edges.length);
    const levels = model.levels.length;
    this.#phases = model.depths.length;
    this.#natural = naturalHazards(model);
    this.#hazards = this.#natural.slice();
    this.#haste = new Float64Array(levels);
    this.#least = model.levels.map(({ counts }) => Math.floor(counts[0]![1] / counts[0]![0]));
    this.#cells = new Sets(levels * bins);
    this.#byLevel = new Sets(levels);
    this.#spent = new Sets(bins);
    this.#aliveIn = new Uint32Array(bins);
    this.#weights = new Float64Array(bins);
    this.#summed = new Float64Array(bins);
    this.#meanWeights = new Float64Array(bins);
    this.#chances = new Float64Array(bins);
    this.#owed = new Float64Array(bins);
    this.#owedTo = new Float64Array(levels);
    this.#gone = new Float64Array(levels);
    this.#list = new MarkedList(model.edges, (object, from, to) => this.#cross(object, from, to));
    this.#unborn = this.#startLap(0);
  }

  protected override draw(position: number): number {
    if (position - this.#lap === this.#model.references) this.#unborn = this.#startLap(position);
    const now = position - this.#lap;
    if (now === this.#partEnd) this.#startPart(now);
    if (now === this.#correctAt) this.#correct(now);
    const isBirth = this.#alive === 0 || this.#random.float() * (this.#partEnd - now) < this.#births;
    this.isNew = isBirth;
    const object = isBirth ? this.#bear() : this.#refer();
    return this.#bornBefore + object;
  }

  #startLap(position: number): Unborn {
    this.#lap = position;
    this.#bornBefore += this.#born;
    this.#born = 0;
    this.#part = -1;
    this.#partEnd = 0;
    this.#births = 0;
    this.#phase = -1;
    this.#alive = 0;
    this.#steps = 0;
    for (const sets of [this.#cells, this.#byLevel, this.#spent]) sets.clear();
    this.#list.clear();
    this.#aliveIn.fill(0);
    this.#weights.fill(0);
    this.#summed.fill(0);
    this.#meanWeights.fill(0);
    this.#owed.fill(0);
    this.#owedTo.fill(0);
    this.#gone.fill(0);
    this.#haste.fill(1);
    return new Unborn(this.#model, this.#random);
  }

  #startPart(now: number): void {
    const { births, references } = this.#model;
    do {
      this.#part++;
      this.#partEnd = Math.ceil(((this.#part + 1) * references) / births.length);
      this.#births += births[this.#part]!;
    } while (now >= this.#partEnd);
    const phase = Math.floor((this.#part * this.#phases) / births.length);
    while (this.#phase < phase) this.#startPhase(now);
  }

  /** What the phase before did not come to is owed still. */
  #startPhase(now: number): void {
    const { references, depths, levels } = this.#model;
    const phase = ++this.#phase;
    this.#phaseEnd = Math.ceil(((phase + 1) * references) / this.#phases);
    for (const [bin, count] of depths[phase]!.entries()) this.#owed[bin]! += count;
    for (const [level, { again }] of levels.entries()) this.#owedTo[level]! += again[phase]!;
    this.#correctAt = now;
  }

  /** Levels that are behind what is owed to them are hurried, and those ahead of it are slowed down. */
  #correct(now: number): void {
    const length = Math.max(LEAST_BETWEEN, Math.ceil(this.#model.references / this.#phases / CORRECTIONS));
    this.#correctAt = Math.min(now + length, this.#phaseEnd);
    if (now > 0) this.#hurry(length, Math.max(1, this.#phaseEnd - now));
    this.#gone.fill(0);
    for (let bin = 0; bin < this.#bins && this.#steps > 0; bin++) {
      const mean = this.#summed[bin]! / this.#steps;
      const before = this.#meanWeights[bin]!;
      this.#meanWeights[bin] = before > 0 ? before * INERTIA + mean * (1 - INERTIA) : mean;
    }
    this.#steps = 0;
    this.#summed.fill(0);
    this.#weights.fill(0);
    for (let cell = 0; cell < this.#hazards.length; cell++) {
      const haste = this.#haste[Math.floor(cell / this.#bins)]!;
      const hazard = Math.max(LEAST_HAZARD, this.#natural[cell]! * haste);
      this.#hazards[cell] = hazard;
      this.#weights[cell % this.#bins]! += hazard * this.#cells.of(cell).length;
    }
  }

  /** @param left references to the end of the phase */
  #hurry(length: number, left: number): void {
    for (const [level, haste] of this.#haste.entries()) {
      const wanted = (Math.max(0, this.#owedTo[level]!) * length) / left;
      const factor = Math.sqrt((wanted + NOISE) / (this.#gone[level]! + NOISE));
      this.#haste[level] = Math.min(MOST_HASTE, Math.max(1 / MOST_HASTE, haste * factor));
    }
  }

  #bear(): number {
    this.#births--;
    const { level, count } = this.#unborn.take(this.#phase);
    const object = this.#born++;
    if (object >= this.#left.length) this.#grow();
    this.#levels[object] = level;
    this.#done[object] = 0;
    this.#left[object] = count;
    this.#list.push(object);
    this.#alive++;
    this.#byLevel.add(level, object);
    this.#settle(object);
    return object;
  }

  #refer(): number {
    const bin = this.#drawBin();
    const isDeserted = this.#aliveIn[bin] === 0;
    const revived = isDeserted ? this.#revive(bin) : undefined;
    const from = revived === undefined && isDeserted ? this.#nearest(bin) : bin;
    const object = revived ?? this.#drawObject(from);
    const level = this.#levels[object]!;
    this.#owed[from]!--;
    this.#owedTo[level]!--;
    this.#gone[level]!++;
    this.#leave(object, from);
    this.#list.touch(object);
    this.#settle(object);
    return object;
  }

  /** The object was just referenced, and lies on top. */
  #settle(object: number): void {
    this.level = this.#levels[object]!;
    this.#done[object]!++;
    if (--this.#left[object]! > 0) {
      this.#enter(object, 0);
      return;
    }
    this.#alive--;
    this.#byLevel.remove(this.level, object);
    this.#spent.add(0, object);
  }

  /** Where in the order of recency the next reference goes. */
  #drawBin(): number {
    const { alive, edges } = this.#model;
    const { size } = this.#list;
    let total = 0;
    this.#steps++;
    for (let bin = 0; bin < this.#bins; bin++) {
      const weight = this.#weights[bin]!;
      this.#summed[bin]! += weight;
      const owed = this.#owed[bin]!;
      const isPossible = owed > 0 && edges[bin]! <= size;
      total += this.#chances[bin] = isPossible
        ? owed * (alive[bin]! < FEW ? this.#readiness(bin, weight) : 1)
        : 0;
    }
    if (total <= 0) return this.#heaviest();
    let rest = this.#random.float() * total;
    let bin = 0;
    while (bin < this.#bins - 1 && rest >= this.#chances[bin]!) rest -= this.#chances[bin++]!;
    return bin;
  }

  /** In a bin of few: who lies there now is more likely, or less, to be referenced than who does on average. */
  #readiness(bin: number, weight: number): number {
    const count = this.#aliveIn[bin]!;
    if (count === 0) return 0;
    const mean = this.#meanWeights[bin]!;
    if (mean > 0) return Math.max(0, weight) / mean;
    return count / Math.max(LEAST_HAZARD, this.#model.alive[bin]!);
  }

  #heaviest(): number {
    let heaviest = 0;
    for (let bin = 1; bin < this.#bins; bin++)
      if (this.#weights[bin]! > this.#weights[heaviest]!) heaviest = bin;
    return heaviest;
  }

  #nearest(bin: number): number {
    for (let apart = 1; ; apart++) {
      if (bin - apart >= 0 && this.#aliveIn[bin - apart]! > 0) return bin - apart;
      if (bin + apart < this.#bins && this.#aliveIn[bin + apart]! > 0) return bin + apart;
    }
  }

  /** One of a bin, by hazard. */
  #drawObject(bin: number): number {
    const levels = this.#haste.length;
    let total = 0;
    for (let level = 0; level < levels; level++) {
      const cell = level * this.#bins + bin;
      total += this.#hazards[cell]! * this.#cells.of(cell).length;
    }
    let rest = this.#random.float() * total;
    let chosen = 0;
    for (let level = 0; level < levels; level++) {
      const cell = level * this.#bins + bin;
      const { length } = this.#cells.of(cell);
      if (length === 0) continue;
      chosen = cell;
      const weight = this.#hazards[cell]! * length;
      if (rest < weight) break;
      rest -= weight;
    }
    return this.#random.pick(this.#cells.of(chosen));
  }

  /**
   * Nobody in this bin has references left. An object there gets those of another one, which is left with the count
   * that this one had: how many objects have which count stays. Undefined where no such pair was found.
   */
  #revive(bin: number): number | undefined {
    const spent = this.#spent.of(bin);
    for (let candidate = 0; candidate < CANDIDATES && spent.length > 0; candidate++) {
      // The first ones are any; where that is of no use, it is looked for more thoroughly.
      const isAny = candidate < CANDIDATES / 8;
      const object = this.#random.pick(spent);
      const other = this.#exchangeable(this.#done[object]!, isAny ? TRIES : 8 * TRIES);
      if (other === undefined) continue;
      this.#exchange(object, other, bin);
      return object;
    }
    return undefined;
  }

  /** An object that has not had more references than this, and is to have more. @param tries in each level */
  #exchangeable(count: number, tries: number): number | undefined {
    let level = 0;
    while (level < this.#least.length - 1 && this.#least[level + 1]! <= count) level++;
    for (; level < this.#least.length; level++) {
      const members = this.#byLevel.of(level);
      if (members.length === 0) continue;
      const from = this.#random.int(members.length);
      for (let n = 0; n < tries && n < members.length; n++) {
        const other = members[(from + n) % members.length]!;
        const done = this.#done[other]!;
        if (done <= count && done + this.#left[other]! > count) return other;
      }
    }
    return undefined;
  }

  /** @param object without references left, in this bin @param other gives it its own */
  #exchange(object: number, other: number, bin: number): void {
    const [level, otherLevel] = [this.#levels[object]!, this.#levels[other]!];
    const otherBin = this.#list.bins[other]!;
    const count = this.#done[object]!;
    this.#leave(other, otherBin);
    this.#byLevel.remove(otherLevel, other);
    this.#left[object] = this.#done[other]! + this.#left[other]! - count;
    this.#left[other] = count - this.#done[other]!;
    this.#levels[object] = otherLevel;
    this.#levels[other] = level;
    if (this.#left[other] > 0) {
      this.#byLevel.add(level, other);
      this.#enter(other, otherBin);
    } else {
      this.#alive--;
      this.#spent.add(otherBin, other);
    }
    this.#spent.remove(bin, object);
    this.#alive++;
    this.#byLevel.add(otherLevel, object);
    this.#enter(object, bin);
  }

  #enter(object: number, bin: number): void {
    const cell = this.#levels[object]! * this.#bins + bin;
    this.#cells.add(cell, object);
    this.#aliveIn[bin]!++;
    this.#weights[bin]! += this.#hazards[cell]!;
  }

  #leave(object: number, bin: number): void {
    const cell = this.#levels[object]! * this.#bins + bin;
    this.#cells.remove(cell, object);
    this.#aliveIn[bin]!--;
    this.#weights[bin]! -= this.#hazards[cell]!;
  }

  /** Others came above it. */
  #cross(object: number, from: number, to: number): void {
    if (this.#left[object]! > 0) {
      this.#leave(object, from);
      this.#enter(object, to);
      return;
    }
    this.#spent.remove(from, object);
    this.#spent.add(to, object);
  }

  #grow(): void {
    const length = this.#left.length * 2;
    this.#levels = grown(this.#levels, new Uint8Array(length));
    this.#done = grown(this.#done, new Uint32Array(length));
    this.#left = grown(this.#left, new Uint32Array(length));
  }
}
