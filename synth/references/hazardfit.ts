// Learns a HazardModel from references: how deep in the order of recency each lay, and how long objects that are referenced
// about equally often stay at each depth before.

import { binOf, logEdges } from '../laws/bins.ts';
import { censusOf, countsOf, levelOf, sampleOf, type Sample } from './census.ts';
import type { HazardLevel, HazardModel } from './hazardmodel.ts';
import { Recency } from './recency.ts';
import type { Counts } from './renewal.ts';
import { WorkingSet } from './workingset.ts';

export interface HazardFitOptions {
  /** Parts of the stream that what is done is counted by. */
  phases?: number;
}

/** Parts of a phase that births are counted in. */
const PARTS = 10;
/** Depths of a bin: up to so many times as deep. */
const STEP = 1.25;
/** Of a sample: so many of its keys lay above, or depths are told by distances. */
const ENOUGH = 32;
const DIGITS = 4;

/**
 * Fits a model to references, which are dense ids from 0, in chunks. They are gone through several times, so a generator
 * does not do: an array of chunks, or an object whose iterator begins anew. Memory follows the distinct objects.
 * @throws RangeError where there are no references, or an id is left out
 */
export function fitHazard(references: Iterable<Uint32Array>, options: HazardFitOptions = {}): HazardModel {
  return fitHazardSample(sampleOf(references), options);
}

/** Fits a sample: each key counts as those that it stands for. @throws RangeError as fitHazard does */
export function fitHazardSample(sample: Sample, options: HazardFitOptions = {}): HazardModel {
  const { phases = 20 } = options;
  const census = censusOf(sample);
  const { counts, firstAt, lastAt } = census;
  const { total = census.references, known } = sample;
  const steps = Array.from(counts, levelOf);
  const used = [...new Set(steps)].toSorted((a, b) => a - b);
  const levels = Uint8Array.from(steps, (step) => used.indexOf(step));
  let objects = 0;
  for (let id = 0; id < counts.length; id++) objects += sample.weight(id);
  const edges = logEdges(objects, Math.max(1, Math.ceil(Math.log(objects + 1) / Math.log(STEP)))).slice(
    0,
    -1,
  );

  const partOf = (place: number): number => Math.floor((place * phases * PARTS) / total);
  // By way of the part, so that rounding cannot tell them apart.
  const phaseOf = (place: number): number => Math.floor(partOf(place) / PARTS);
  const births = Array<number>(phases * PARTS).fill(0);
  const tallies = used.map(() => new Map<number, number>());
  const depths = new Depths(sample, total, objects);
  const learned = new Learned(edges, used.length, phases, (depth) => depths.usualGap(depth));
  for (let id = 0; id < counts.length; id++) {
    const [level, own] = [levels[id]!, sample.weight(id)];
    births[partOf(firstAt[id]!)]! += own;
    learned.births[level]![phaseOf(firstAt[id]!)]! += own;
    tallies[level]!.set(counts[id]!, (tallies[level]!.get(counts[id]!) ?? 0) + own);
  }

  sample.each((id, place) => {
    const depth = depths.touch(id, place);
    if (depth > 0) learned.add(levels[id]!, phaseOf(place), depth, depths.gap, sample.weight(id));
  });
  for (let id = 0; id < (known?.size ?? 0); id++) {
    const [from, to] = [phaseOf(firstAt[id]!), phaseOf(lastAt[id]!)];
    known!.eachGap(id, (gap, times) => {
      for (let phase = from; phase <= to; phase++)
        learned.add(levels[id]!, phase, depths.usual(gap), gap, times / (to - from + 1));
    });
  }
  const all = tallies.map(countsOf);
  return {
    kind: 'hazard',
    references: all.flat().reduce((sum, [, references]) => sum + references, 0),
    objects,
    births,
    edges,
    alive: learned.alive(total),
    levels: all.map((own, level) => learned.level(level, own)),
    depths: learned.depths.map((row) => Array.from(row, tidy)),
  };
}

/** What is counted of references that are no births. */
class Learned {
  readonly births: number[][];
  /** By phase and bin. */
  readonly depths: Float64Array[];
  /** With an end. */
  readonly #edges: readonly number[];
  readonly #usualGap: (depth: number) => number;
  /** How long it usually takes to get to each bin. */
  readonly #arrivals: Float64Array;
  readonly #again: Float64Array[];
  /** By level and bin: references, and how long objects lay there before they were referenced again. */
  readonly #references: Float64Array[];
  readonly #stays: Float64Array[];

  constructor(edges: readonly number[], levels: number, phases: number, usualGap: (depth: number) => number) {
    this.#edges = [...edges, Infinity];
    this.#usualGap = usualGap;
    this.#arrivals = Float64Array.from(edges, usualGap);
    this.births = Array.from({ length: levels }, () => Array<number>(phases).fill(0));
    this.depths = rows(phases, edges.length);
    this.#again = rows(levels, phases);
    this.#references = rows(levels, edges.length);
    this.#stays = rows(levels, edges.length);
  }

  /** So many references of objects that were referenced last so long before, and lie so deep. */
  add(level: number, phase: number, depth: number, gap: number, times: number): void {
    const bin = binOf(this.#edges, depth);
    this.depths[phase]![bin]! += times;
    this.#again[level]![phase]! += times;
    this.#references[level]![bin]! += times;
    // It sank as objects usually do, but at a pace of its own; and it lay at its depth when it was asked for.
    const stays = this.#stays[level]!;
    const pace = gap / Math.max(1, this.#usualGap(depth));
    let from = 0;
    for (let above = 0; above < bin; above++) {
      const to = Math.min(gap, this.#arrivals[above + 1]! * pace) - 1;
      if (to <= from) continue;
      stays[above]! += (to - from) * times;
      from = to;
    }
    stays[bin]! += (gap - from) * times;
  }

  alive(total: number): number[] {
    return Array.from(this.#arrivals, (_, bin) =>
      tidy(this.#stays.reduce((sum, stays) => sum + stays[bin]!, 0) / total),
    );
  }

  level(level: number, counts: Counts): HazardLevel {
    return {
      counts,
      births: this.births[level]!,
      again: Array.from(this.#again[level]!, tidy),
      hazards: Array.from(this.#references[level]!, (references, bin) => {
        const stay = this.#stays[level]![bin]!;
        return stay > 0 ? tidy(references / stay) : 0;
      }),
    };
  }
}

/** How deep references lay in the order of recency. */
class Depths {
  /** To the object's reference before, of the last that was touched. */
  gap = 0;
  readonly #sample: Sample;
  readonly #recency = new Recency();
  readonly #lastAt: Float64Array;
  readonly #usual: WorkingSet;
  /** Of the keys whose references are not gone through. */
  readonly #others: WorkingSet;
  readonly #isWhole: boolean;
  readonly #objects: number;

  constructor(sample: Sample, total: number, objects: number) {
    this.#sample = sample;
    this.#objects = objects;
    this.#isWhole = sample.known === undefined;
    this.#usual = new WorkingSet(total);
    this.#others = new WorkingSet(total);
    const lastAt: number[] = [];
    sample.each((id, place) => {
      const before = lastAt[id] ?? -1;
      if (before >= 0) this.#usual.add(place - before, sample.weight(id));
      lastAt[id] = place;
    });
    let known = 0;
    for (let id = 0; id < (sample.known?.size ?? 0); id++) {
      known += sample.known!.counts[id]!;
      sample.known!.eachGap(id, (gap, times) => {
        this.#usual.add(gap, times);
        this.#others.add(gap, times);
      });
    }
    this.#usual.close(total);
    this.#others.close(total, known);
    this.#lastAt = new Float64Array(lastAt.length).fill(-1);
  }

  /** 0: it is its object's first. */
  touch(id: number, place: number): number {
    const before = this.#lastAt[id]!;
    this.#lastAt[id] = place;
    const above = this.#recency.touch(id);
    if (before < 0) return 0;
    this.gap = place - before;
    if (this.#isWhole) return above;
    return above > ENOUGH
      ? Math.min(this.#objects, (above - 1) * this.#sample.weight(id) + this.#others.size(this.gap))
      : this.usual(this.gap);
  }

  /** After so many references. */
  usual(gap: number): number {
    return Math.min(this.#objects, Math.max(1, Math.round(this.#usual.size(gap))));
  }

  /** References after which an object usually lies so deep. */
  usualGap(depth: number): number {
    return this.#usual.length(depth);
  }
}

function rows(count: number, length: number): Float64Array[] {
  return Array.from({ length: count }, () => new Float64Array(length));
}

/** As many digits as a model's file needs. */
function tidy(value: number): number {
  return Number(value.toPrecision(DIGITS));
}
