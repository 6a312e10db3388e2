// When a hit rate broke: a backend that came back empty, a partition that lost half of its hits. The rate of each place is cut
// where a higher and a lower one explain its reads best (a cache that fills is no news); that is a break where one rate explains them much worse than chance, as restless as
// the place is at other times, and where the two are so far apart that somebody should look.

import { chiSquaredTail } from '../diff/statistics.ts';
import type { Bin } from '../diff/timeline.ts';

export interface Break {
  place: string;
  atSeconds: number;
  before: number;
  after: number;
}

/** Hit rates that are so far apart. */
const MIN_APART = 0.1;
/** The chance that a place without a break shows one. */
const MAX_P = 1e-6;
/** Reads on either side. */
const MIN_READS = 50;

type Reads = Pick<Bin, 'reads' | 'hits'>;

/** In the order of their time. @param bins of each place, of equal width · @param binNs their width */
export function breaksOf(
  places: readonly string[],
  bins: readonly (readonly Reads[])[],
  binNs: number,
): Break[] {
  const found = places.flatMap((place, n) => {
    const broken = breakOf(bins[n]!);
    if (broken === undefined) return [];
    const { at, before, after } = broken;
    return [{ place, atSeconds: (at * binNs) / 1e9, before, after }];
  });
  return found.toSorted((a, b) => a.atSeconds - b.atSeconds);
}

function breakOf(bins: readonly Reads[]): { at: number; before: number; after: number } | undefined {
  const total = sumOf(bins);
  let best: { at: number; likelier: number } | undefined;
  const left = { reads: 0, hits: 0 };
  for (const [n, bin] of bins.entries()) {
    if (n > 0 && left.reads >= MIN_READS && total.reads - left.reads >= MIN_READS) {
      const right = { reads: total.reads - left.reads, hits: total.hits - left.hits };
      const likelier = likelihood(left) + likelihood(right) - likelihood(total);
      const falls = left.hits * right.reads > right.hits * left.reads;
      if (falls && (best === undefined || likelier > best.likelier)) best = { at: n, likelier };
    }
    left.reads += bin.reads;
    left.hits += bin.hits;
  }
  if (best === undefined) return undefined;
  const { at } = best;
  const sides = [bins.slice(0, at), bins.slice(at)].map((part) => ({ part, sum: sumOf(part) }));
  const [before, after] = sides.map(({ sum }) => sum.hits / sum.reads) as [number, number];
  if (before - after < MIN_APART) return undefined;
  const restless = Math.max(1, ...sides.map(({ part, sum }) => dispersion(part, sum)));
  // Every bin was a chance to find one.
  const p = chiSquaredTail((2 * best.likelier) / restless) * bins.length;
  return p < MAX_P ? { at, before, after } : undefined;
}

function sumOf(bins: readonly Reads[]): Reads {
  const sum = { reads: 0, hits: 0 };
  for (const { reads, hits } of bins) {
    sum.reads += reads;
    sum.hits += hits;
  }
  return sum;
}

/** Logarithm of the likelihood of so many hits at their own rate, nats. */
function likelihood({ reads, hits }: Reads): number {
  const part = (n: number): number => (n === 0 ? 0 : n * Math.log(n / reads));
  return part(hits) + part(reads - hits);
}

/** How many times as much the bins differ from their common rate as chance makes them. */
function dispersion(bins: readonly Reads[], { reads, hits }: Reads): number {
  const rate = hits / reads;
  const told = bins.filter((bin) => bin.reads >= 10);
  if (told.length < 3 || rate === 0 || rate === 1) return 1;
  const chiSquared = told.reduce(
    (sum, bin) => sum + (bin.hits - bin.reads * rate) ** 2 / (bin.reads * rate * (1 - rate)),
    0,
  );
  return chiSquared / (told.length - 1);
}
