// Learns a RenewalModel from a reference stream: counts and lives of the objects, distances between their references by
// popularity; then streams are made of the model, and the weights of distances corrected until what comes out, after
// objects made room for each other, has the distances that were observed.

import { binOf, logEdges, rounded } from '../laws/bins.ts';
import { censusOf, countsOf, levelOf, sampleOf, type Sample } from './census.ts';
import { RenewalStream, type RenewalModel } from './renewal.ts';

export interface LearnOptions {
  /** Parts of the stream that births and ends are counted by. */
  phases?: number;
  /** Logarithmic bins of distances. */
  bins?: number;
  /** Streams made to correct the weights by, each as long as the original. */
  rounds?: number;
}

/** Parts of a phase that births are counted in. */
const PARTS = 10;
/** Streams that the weights are corrected by have so many references together, or a little more. */
const CORRECTED = 30_000_000;
/** Observations that are neither missed nor too many, in a bin: noise is not corrected. */
const NOISE = 3;
/** Part of the correction that a round makes, as an exponent. */
const STRENGTH = 0.5;

/**
 * Fits a model to references, which are dense ids from 0, in chunks. They are gone through twice, so a generator does not
 * do: an array of chunks, or an object whose iterator begins anew. Memory follows the distinct objects.
 * @throws RangeError where there are no references, an id is left out, or the second time brings other references.
 */
export function fitRenewal(references: Iterable<Uint32Array>, options: LearnOptions = {}): RenewalModel {
  return fitSample(sampleOf(references), options);
}

/** Fits a sample: each key counts as those that it stands for. @throws RangeError as fitRenewal does */
export function fitSample(sample: Sample, options: LearnOptions = {}): RenewalModel {
  const { phases = 20, bins = 48, rounds = 12 } = options;
  const census = censusOf(sample);
  const { total = census.references } = sample;
  const { counts, firstAt, lastAt } = census;
  const edges = logEdges(total, bins);
  const steps = Array.from(counts, levelOf);
  const used = [...new Set(steps)].toSorted((a, b) => a - b);
  const levels = Uint8Array.from(steps, (step) => used.indexOf(step));

  const observed = used.map(() => new Float64Array(bins));
  const previous = new Float64Array(counts.length).fill(-1);
  let seen = 0;
  sample.each((id, place) => {
    const before = previous[id] ?? -1;
    if (before !== -1) observed[levels[id]!]![binOf(edges, place - before)]! += sample.weight(id);
    previous[id] = place;
    seen++;
  });
  const { known } = sample;
  for (let id = 0; id < (known?.size ?? 0); id++) {
    known!.eachGap(id, (gap, times) => (observed[levels[id]!]![binOf(edges, gap)]! += times));
    seen += counts[id]!;
  }
  if (seen !== census.references)
    throw new RangeError(`expected the same ${census.references} references again, got ${seen}`);

  const partOf = (place: number): number => Math.floor((place * phases * PARTS) / total);
  // By way of the part, so that rounding cannot tell them apart.
  const phaseOf = (place: number): number => Math.floor(partOf(place) / PARTS);
  const births = Array<number>(phases * PARTS).fill(0);
  const lives = used.map(() => new Uint32Array(phases * phases));
  const tallies = used.map(() => new Map<number, number>());
  let [objects, references] = [0, 0];
  for (let id = 0; id < counts.length; id++) {
    const level = levels[id]!;
    const own = sample.weight(id);
    births[partOf(firstAt[id]!)]! += own;
    lives[level]![phaseOf(firstAt[id]!) * phases + phaseOf(lastAt[id]!)]! += own;
    tallies[level]!.set(counts[id]!, (tallies[level]!.get(counts[id]!) ?? 0) + own);
    objects += own;
    references += own * counts[id]!;
  }
  const model: RenewalModel = {
    kind: 'renewal',
    references,
    objects,
    phases,
    births,
    edges,
    levels: used.map((step, level) => ({
      counts: countsOf(tallies[level]!),
      lives: cells(lives[level]!, phases),
      gaps: step === 0 ? [] : rounded(observed[level]!),
    })),
  };
  return calibrated(model, observed, Math.min(rounds, Math.floor(CORRECTED / references)));
}

function cells(table: Uint32Array, phases: number): RenewalModel['levels'][number]['lives'] {
  return Array.from(table, (objects, at): [number, number, number] => [
    Math.floor(at / phases),
    at % phases,
    objects,
  ]).filter(([, , objects]) => objects > 0);
}

/**
 * The model with other weights of distances. Each round makes a stream of another seed and multiplies each weight by a
 * part of observed/made; streams of few objects differ, so the weights are the mean of the later rounds.
 */
function calibrated(model: RenewalModel, observed: readonly Float64Array[], rounds: number): RenewalModel {
  const logs = model.levels.map(({ gaps }) => Float64Array.from(gaps, Math.log));
  const means = logs.map((level) => new Float64Array(level.length));
  const averaged = Math.ceil(rounds / 2);
  let current = model;
  for (let round = 0; round < rounds; round++) {
    const made = distances(current, round);
    for (const [at, level] of logs.entries())
      for (let bin = 0; bin < level.length; bin++) {
        level[bin]! += STRENGTH * Math.log((observed[at]![bin]! + NOISE) / (made[at]![bin]! + NOISE));
        if (round >= rounds - averaged) means[at]![bin]! += level[bin]! / averaged;
      }
    current = weighted(model, logs);
  }
  return rounds === 0 ? model : weighted(model, means);
}

function weighted(model: RenewalModel, logs: readonly Float64Array[]): RenewalModel {
  const levels = model.levels.map((level, at) => ({ ...level, gaps: rounded(logs[at]!.map(Math.exp)) }));
  return { ...model, levels };
}

/** How often each distance occurs in a stream of the model, by level and bin. */
function distances(model: RenewalModel, seed: number): Float64Array[] {
  const made = model.levels.map(() => new Float64Array(model.edges.length - 1));
  const stream = new RenewalStream(model, { seed });
  for (let i = 0; i < model.references; i++) {
    stream.next();
    if (stream.gap > 0) made[stream.level]![binOf(model.edges, stream.gap)]!++;
  }
  return made;
}
