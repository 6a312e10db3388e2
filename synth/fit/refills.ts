// Which stores a miss seems to have caused: what a client does that stores again what it did not find. A store soon after a
// miss may be chance, too; so may one soon after a hit, and by as much as it follows misses more often, it is caused.
// Only misses count that a cache without limits would have, for those only come again when a model is generated: keys
// that were never stored, deleted, or past their expiry. What stores again what was evicted is a store of its own.

import { Reservoir } from './gather.ts';
import type { Keys } from './keys.ts';
import type { ModelInput } from '../model/model.ts';
import { round, tableOf } from '../laws/table.ts';

/** Stores this soon after a miss may be caused by it. */
const WITHIN_NS = [1e6, 10e6, 100e6, 1e9] as const;
/** Below, it may be chance. */
const LEAST = { share: 0.05, excess: 0.1, deviations: 4, misses: 20 };
const SAMPLES = 10_000;
const PARTS = 50;

export interface RefillLaw {
  /** Of the misses, those that a store followed. */
  share: number;
  /** As an index of WITHIN_NS: how late it may be. */
  within: number;
  model: Pick<ModelInput['tenants'][number], 'onMiss' | 'refills' | 'refillDelays'>;
}

/** Groups of reads: how many independent ones they are worth. */
class Clumps {
  #reads = 0;
  #squares = 0;

  add(reads: number): void {
    this.#reads += reads;
    this.#squares += reads * reads;
  }

  /** @param reads all of them, those that belong to no group included; at least 1 */
  independent(reads: number): number {
    return Math.max(1, this.#squares === 0 ? reads : (reads * this.#reads) / this.#squares);
  }
}

export class Refills {
  #misses = 0;
  #hits = 0;
  /** Reads that the same store followed stand or fall together: of misses, and of hits. */
  readonly #missClumps = new Clumps();
  readonly #hitClumps = new Clumps();
  readonly #afterMiss = WITHIN_NS.map(() => 0);
  readonly #afterHit = WITHIN_NS.map(() => 0);
  readonly #soon = WITHIN_NS.map(() => 0);
  readonly #adds = WITHIN_NS.map(() => 0);
  readonly #delays = WITHIN_NS.map(() => new Reservoir<number>(SAMPLES));

  read(data: Keys['data'], id: number, ns: number, isHit: boolean): void {
    if (data.sort[id] === 1) return;
    if (isHit) {
      this.#hits++;
      data.hits[id]!++;
      data.hitNs[id] = ns;
    } else if (data.untilNs[id]! <= ns) {
      this.#misses++;
      // Whether a store would have followed those, had the item stayed, nobody knows.
      this.#hits -= data.hits[id]!;
      data.hits[id] = 0;
      data.misses[id]!++;
      data.owed[id]!++;
      data.missedNs[id] = ns;
    }
  }

  /** Returns how soon after a miss it is, from 1, as an index of WITHIN_NS; 0: it follows none. */
  store(data: Keys['data'], id: number, ns: number, operation: string): number {
    if (operation !== 'set' && operation !== 'add') return 0;
    const sinceMiss = ns - data.missedNs[id]!;
    const sinceHit = ns - data.hitNs[id]!;
    for (const [n, limit] of WITHIN_NS.entries()) {
      if (sinceMiss < limit) this.#afterMiss[n]! += data.misses[id]!;
      if (sinceHit < limit) this.#afterHit[n]! += data.hits[id]!;
    }
    this.#missClumps.add(data.misses[id]!);
    this.#hitClumps.add(data.hits[id]!);
    data.misses[id] = 0;
    data.hits[id] = 0;
    if (data.owed[id] === 0) return 0;
    const within = WITHIN_NS.findIndex((limit) => sinceMiss < limit);
    if (within === -1) {
      data.owed[id] = 0;
      return 0;
    }
    data.owed[id]!--;
    this.#soon[within]!++;
    if (operation === 'add') this.#adds[within]!++;
    this.#delays[within]!.add(sinceMiss);
    return within + 1;
  }

  /** @param latencyNs that the client waited for the answer; undefined: no store follows from a miss */
  law(latencyNs: number): RefillLaw | undefined {
    if (this.#misses < LEAST.misses) return undefined;
    let best: { share: number; within: number } | undefined;
    for (const within of WITHIN_NS.keys()) {
      const after = Math.min(1, this.#afterMiss[within]! / this.#misses);
      const chance = this.#hits === 0 ? 0 : Math.min(1, this.#afterHit[within]! / this.#hits);
      const share = (after - chance) / Math.max(1e-9, 1 - chance);
      // On keys that are stored all the time, a store soon after says little.
      const reads =
        1 / this.#missClumps.independent(this.#misses) + 1 / this.#hitClumps.independent(this.#hits);
      const noise = LEAST.deviations * Math.sqrt(chance * (1 - chance) * reads);
      if (after - chance < Math.max(LEAST.excess, noise)) continue;
      if (share > LEAST.share && share > (best?.share ?? 0) + 0.02) best = { share, within };
    }
    if (best === undefined) return undefined;
    const soon = this.#soon.slice(0, best.within + 1).reduce((sum, n) => sum + n, 0);
    const adds = this.#adds.slice(0, best.within + 1).reduce((sum, n) => sum + n, 0);
    const share = Math.min(best.share, soon / this.#misses);
    const delays = this.#delays.slice(0, best.within + 1).flatMap(({ items }) => items);
    const waited = delays.map((ns) => Math.max(0, ns - latencyNs) / 1e6);
    return {
      share,
      within: best.within,
      model: {
        onMiss: adds > soon / 2 ? 'add' : 'set',
        ...(share > 0.99 ? {} : { refills: round(share, 4) }),
        refillDelays: tableOf(waited, 4, PARTS),
      },
    };
  }

  /** For one pass over the stores: whether one, by how soon it was, is laid to a miss; evenly as many as the law says. */
  sieve({ share, within }: RefillLaw): (delay: number) => boolean {
    const soon = this.#soon.slice(0, within + 1).reduce((sum, n) => sum + n, 0);
    const part = Math.min(1, (share * this.#misses) / Math.max(1, soon));
    let owed = 0.5;
    return (delay) => {
      if (delay === 0 || delay > within + 1) return false;
      owed += part;
      if (owed < 1) return false;
      owed--;
      return true;
    };
  }
}
