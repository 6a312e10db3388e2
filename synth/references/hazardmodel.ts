// What is known of a reference stream by hazard (synth/references/hazard.ts), and whether it can be.

import type { Counts } from './renewal.ts';

/** Objects referenced about equally often: from 2^(i/2) to 2^((i+1)/2) times, for some i. */
export interface HazardLevel {
  counts: Counts;
  /** Births in each phase. */
  births: number[];
  /** References in each phase that are no births. */
  again: number[];
  /** By bin of depth: how likely an object that is still to be referenced is the next one. */
  hazards: number[];
}

/** Plain JSON. */
export interface HazardModel {
  kind: 'hazard';
  references: number;
  objects: number;
  /** Births in each of some parts of the stream, as many parts in each phase. */
  births: number[];
  /** Bins of depths in the order of recency, 1 for the object that was referenced last; the last bin has no end. */
  edges: number[];
  /** In each bin: how many objects lie there, on average, that are still to be referenced. */
  alive: number[];
  levels: HazardLevel[];
  /** Of each phase, by bin of depth: references that are no births. */
  depths: number[][];
}

/** What is deeper than any object of its level was when it was referenced is hurried so many times. */
const OVERDUE = 4;

export function sum(numbers: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < numbers.length; i++) total += numbers[i]!;
  return total;
}

/** By level and bin. What lies deeper than its level ever did when it was referenced is overdue. */
export function naturalHazards({ levels, edges }: HazardModel): Float64Array {
  const natural = new Float64Array(levels.length * edges.length);
  for (const [level, { hazards }] of levels.entries()) {
    const last = hazards.findLastIndex((hazard) => hazard > 0);
    for (let bin = 0; bin < edges.length; bin++)
      natural[level * edges.length + bin] = bin <= last ? hazards[bin]! : OVERDUE * (hazards[last] ?? 0);
  }
  return natural;
}

/** @throws RangeError */
export function checkHazard({
  references,
  objects,
  births,
  edges,
  alive,
  levels,
  depths,
}: HazardModel): void {
  const bins = edges.length;
  if (bins === 0 || bins > 256 || edges[0] !== 1 || edges.some((edge, n) => n > 0 && !(edge > edges[n - 1]!)))
    throw new RangeError(
      `expected 1 to 256 bins of depths that ascend from 1, got ${edges.slice(0, 3).join(', ')}…`,
    );
  const phases = depths.length;
  if (phases === 0 || births.length % phases !== 0)
    throw new RangeError(
      `expected as many parts of births in each of ${phases} phases, got ${births.length}`,
    );
  const isWhole =
    alive.length === bins &&
    depths.every((row) => row.length === bins) &&
    levels.every(
      (level) =>
        level.hazards.length === bins && level.births.length === phases && level.again.length === phases,
    );
  if (!isWhole)
    throw new RangeError(`expected numbers for each of ${bins} bins and ${phases} phases, got fewer or more`);
  const counted = sum(levels.flatMap(({ counts }) => counts.map(([some]) => some)));
  const theirs = sum(levels.flatMap(({ counts }) => counts.map(([, some]) => some)));
  if (!(objects > 0) || counted !== objects || theirs !== references || sum(births) !== objects)
    throw new RangeError(
      `expected ${objects} objects and ${references} references, got ${counted} counted, ${sum(births)} born, ${theirs} references`,
    );
  for (const { counts, births: own } of levels)
    if (sum(own) !== sum(counts.map(([some]) => some)))
      throw new RangeError('expected births of each level that agree with its counts');
}
