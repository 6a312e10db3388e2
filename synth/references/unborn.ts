// The objects of a stream by hazard that are still to be born, counted by all that is settled at birth.

import { sum, type HazardModel } from './hazardmodel.ts';
import { takeOne, type Random } from '../laws/random.ts';

export class Unborn {
  readonly #model: HazardModel;
  readonly #random: Random;
  /** By phase, and in it by level. */
  readonly #levels: Float64Array[];
  readonly #byPhase: Float64Array;
  /** By level, and in it by entry of its counts. */
  readonly #counts: Float64Array[];
  readonly #byLevel: Float64Array;

  constructor(model: HazardModel, random: Random) {
    this.#model = model;
    this.#random = random;
    const { levels, depths } = model;
    this.#levels = depths.map((_, phase) => Float64Array.from(levels, ({ births }) => births[phase]!));
    this.#byPhase = Float64Array.from(this.#levels, sum);
    this.#counts = levels.map(({ counts }) => Float64Array.from(counts, ([objects]) => objects));
    this.#byLevel = Float64Array.from(this.#counts, sum);
  }

  /** Draws one that is born in this phase, without putting it back, so that all come to be in the end. */
  take(phase: number): { level: number; count: number } {
    const from = this.#phaseFrom(phase);
    const level = takeOne(this.#random, this.#levels[from]!, this.#byPhase[from]!--);
    const entry = takeOne(this.#random, this.#counts[level]!, this.#byLevel[level]!--);
    const [objects, references] = this.#model.levels[level]!.counts[entry]!;
    const isMore = this.#counts[level]![entry]! < references % objects;
    return { level, count: Math.floor(references / objects) + (isMore ? 1 : 0) };
  }

  /** Where nothing else can be referenced, one is born early, or late. */
  #phaseFrom(phase: number): number {
    for (let from = phase; from < this.#byPhase.length; from++) if (this.#byPhase[from]! > 0) return from;
    return this.#byPhase.findIndex((unborn) => unborn > 0);
  }
}
