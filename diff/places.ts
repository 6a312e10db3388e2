// Where requests end up: at the targets, or at the backends behind them where those are known; how many exchanges each
// of them had, and what drills did to each.

import { createDistribution, type DistributionName, type NamedServer } from '../protocol/distribution.ts';
import { formatHostPort } from '../trace/address.ts';
import type { DrillRun, Outage } from '../trace/meta.ts';
import type { Bin, Timeline } from './timeline.ts';

/** Exchanges of keys of one backend through one target; without backends, of one target. */
export interface Cell {
  target: string;
  backend: string;
  exchanges: number;
}

/** What a drill did to one place. */
export interface DrillImpact {
  server: string;
  /** Exchanges sent after the drill began, violations and refusals among them, and hits that became misses. */
  exchanges: number;
  errors: number;
  lost: number;
  /** Since the drill began; null: none. */
  firstErrorSeconds: number | null;
  /** From the drill's beginning to its last error, or to the probe that was answered after it; null: neither, or never. */
  recoverySeconds: number | null;
  /** No error in the last tenth of the time after the drill, and it is up; null: nothing was sent then. */
  recovered: boolean | null;
  /** Hit rates before the drill and in that last tenth. */
  hitRateBefore: number | null;
  hitRateAfter: number | null;
}

/** The last part of the time after a drill, in which a place that recovered has no errors. */
const TAIL = 0.1;

export class Places {
  readonly names: readonly string[];
  readonly #targets: readonly string[];
  readonly #backends: readonly string[];
  readonly #ofKey: ((buffer: Buffer, at: number, length: number) => number) | undefined;
  readonly #cells: Uint32Array;
  readonly #drills: readonly DrillRun[];
  /** By drill and place. */
  readonly #impacts: { errors: number; lost: number; firstNs: number; lastNs: number }[][];

  constructor(
    targets: readonly string[],
    backends: readonly NamedServer[],
    distribution: DistributionName,
    drills: readonly DrillRun[] = [],
  ) {
    this.#targets = targets;
    this.#backends = backends.map(({ host, port }) => formatHostPort(host, port));
    this.#ofKey = backends.length > 0 ? createDistribution(distribution, backends) : undefined;
    this.names = this.#ofKey === undefined ? targets : this.#backends;
    this.#cells = new Uint32Array(targets.length * Math.max(1, backends.length));
    this.#drills = drills;
    this.#impacts = drills.map(() =>
      this.names.map(() => ({ errors: 0, lost: 0, firstNs: Infinity, lastNs: -Infinity })),
    );
  }

  /** Number of a request's place; -1: of none, for want of a key. */
  of(target: number, buffer: Buffer, at: number, length: number): number {
    if (this.#ofKey === undefined) return target < this.names.length ? target : -1;
    return length === 0 ? -1 : this.#ofKey(buffer, at, length);
  }

  /** An exchange was answered. */
  reach(target: number, place: number): void {
    if (place < 0 || target >= this.#targets.length) return;
    const cell = this.#ofKey === undefined ? place : target * this.#backends.length + place;
    this.#cells[cell]!++;
  }

  fail(place: number, how: 'error' | 'lost', atNs: number): void {
    if (place < 0) return;
    for (const [n, { atSeconds }] of this.#drills.entries()) {
      if (atNs < atSeconds * 1e9) continue;
      const impact = this.#impacts[n]![place]!;
      if (how === 'lost') impact.lost++;
      else {
        impact.errors++;
        impact.firstNs = Math.min(impact.firstNs, atNs);
        impact.lastNs = Math.max(impact.lastNs, atNs);
      }
    }
  }

  get cells(): Cell[] {
    const all = Math.max(1, this.#backends.length);
    return Array.from(this.#cells, (exchanges, n) => {
      const target = this.#targets[Math.floor(n / all)]!;
      return { target, backend: this.#backends[n % all] ?? target, exchanges };
    });
  }

  /** Of one drill: the place that it is about, or all of them. @param outages of the targets */
  impacts(drill: number, timeline: Timeline, outages: readonly Outage[] = []): DrillImpact[] {
    const { server, atSeconds } = this.#drills[drill]!;
    const about = server === null ? -1 : this.names.indexOf(server);
    return this.names.flatMap((name, place) => {
      if (about >= 0 && place !== about) return [];
      const { errors, lost, firstNs, lastNs } = this.#impacts[drill]![place]!;
      const bins = timeline.targets[place] ?? [];
      const began = (atSeconds * 1e9) / timeline.binNs;
      const tail = Math.min(bins.length - 1, Math.floor(began + (bins.length - began) * (1 - TAIL)));
      const after = bins.slice(Math.floor(began));
      const [before, last] = [bins.slice(0, Math.floor(began)), bins.slice(Math.max(0, tail))];
      // What could not be sent was no request, but it failed.
      const seen = sum(last, 'requests') + sum(last, 'violations');
      // Backends behind a target are not asked: what they miss shows in answers alone.
      const down = outages.filter(
        ({ target, toNs }) =>
          this.#ofKey === undefined && target === place && (toNs ?? Infinity) > atSeconds * 1e9,
      );
      const isDown = down.some(({ toNs }) => toNs === null);
      const recovered = isDown ? false : seen === 0 ? null : lastNs < tail * timeline.binNs;
      const backNs = Math.max(lastNs, ...down.map(({ toNs }) => toNs ?? Infinity));
      return {
        server: name,
        exchanges: sum(after, 'requests'),
        errors,
        lost,
        firstErrorSeconds: errors === 0 ? null : seconds(firstNs / 1e9 - atSeconds),
        recoverySeconds:
          (errors === 0 && down.length === 0) || recovered !== true
            ? null
            : seconds(backNs / 1e9 - atSeconds),
        recovered,
        hitRateBefore: share(sum(before, 'hits'), sum(before, 'reads')),
        hitRateAfter: share(sum(last, 'hits'), sum(last, 'reads')),
      };
    });
  }
}

function sum(bins: readonly Bin[], of: keyof Bin): number {
  return bins.reduce((total, bin) => total + bin[of], 0);
}

function share(part: number, whole: number): number | null {
  return whole === 0 ? null : Number((part / whole).toFixed(6));
}

function seconds(value: number): number {
  return Number(value.toFixed(6));
}
