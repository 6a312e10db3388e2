// How many keys a model asks for in a run of any length, and how many of them once: computed, since the traces that were
// published have some 10^9 requests. The same computation is compared with runs that can be made.

import { normalized, type Mix } from '../synth/laws/mix.ts';
import type { Model, StreamModel } from '../synth/model/model.ts';
import type { Popularity } from '../synth/laws/popularity.ts';

export interface Horizon {
  keys: number;
  once: number;
}

interface Law {
  /** How much of the popularity the first n ranks have. */
  below: (n: number) => number;
}

/**
 * @param requests of the run @param arrivals those that do not follow from others, of all
 * @param born of keys that are new: the share that is asked for once, as measured
 */
export function horizonOf(model: Model, requests: number, arrivals: number, born: number): Horizon {
  const [tenant] = model.tenants;
  const { space, resident = Infinity } = tenant!.keys;
  const streams: StreamModel[] = [tenant!];
  for (const stream of tenant!.streams ?? []) streams.push({ ...tenant!, ...stream });
  const rates = streams.map(({ arrivals: own }) => own?.rate ?? 0);
  const rate = rates.reduce((sum, one) => sum + one, 0);
  const edges = edgesOf(space, resident);
  const bins = edges.length - 1;
  // Expected requests by bin: of values and counters, those that are never stored, and, of the values, those that stay
  // alone: a read that misses is followed by a store, a read with CAS by another.
  const values = { all: new Float64Array(bins), alone: new Float64Array(bins) };
  const counters = new Float64Array(bins);
  const absent = new Float64Array(bins);
  const horizon: Horizon = { keys: 0, once: 0 };
  for (const [n, stream] of streams.entries()) {
    const {
      mix = { get: 1 },
      popularity = { kind: 'zipf', alpha: 0.99 },
      oneHit = 0,
      onMiss = 'set',
    } = stream;
    const count = requests * arrivals * (rate === 0 ? 1 / streams.length : rates[n]! / rate);
    const share = sharesOf(mix);
    const never = stream.absent ?? 0;
    horizon.keys += count * oneHit;
    horizon.once += count * oneHit * (onMiss === 'none' ? 1 : 1 - share.reads * (1 - never));
    const rest = count * (1 - oneHit);
    if (popularity.kind === 'latest') {
      const fresh = newShare(mix, popularity.new);
      horizon.keys += rest * fresh + Math.min(space, rest);
      horizon.once += rest * fresh * born;
      continue;
    }
    const { below } = lawOf(popularity, space);
    for (let bin = 0; bin < bins; bin++) {
      const mass = rest * (below(edges[bin + 1]!) - below(edges[bin]!));
      const reads = mass * share.reads * (1 - never);
      absent[bin]! += mass * share.reads * never;
      counters[bin]! += mass * share.counts + reads * share.ofCounters;
      const others = mass * (1 - share.reads - share.counts);
      const isFilled = onMiss !== 'none' && edges[bin]! >= resident;
      const readValues = reads * (1 - share.ofCounters);
      values.all[bin]! += readValues + others;
      values.alone[bin]! += (isFilled ? 0 : readValues) + others - mass * share.cas;
    }
  }
  for (let bin = 0; bin < bins; bin++) {
    const keys = edges[bin + 1]! - edges[bin]!;
    for (const [all, alone] of [
      [values.all[bin]!, values.alone[bin]!],
      [counters[bin]!, counters[bin]!],
      [absent[bin]!, absent[bin]!],
    ] as const) {
      horizon.keys += keys * (1 - Math.exp(-all / keys));
      horizon.once += alone * Math.exp(-all / keys);
    }
  }
  return horizon;
}

interface Shares {
  reads: number;
  counts: number;
  cas: number;
  /** How many of the reads are of counters. */
  ofCounters: number;
}

function sharesOf(mix: Mix): Shares {
  const part = new Map(normalized(mix));
  const of = (...names: (keyof Mix)[]): number => names.reduce((sum, name) => sum + (part.get(name) ?? 0), 0);
  const counts = of('incr', 'decr');
  const stores = of('set', 'add', 'replace', 'cas');
  const ofCounters = counts === 0 ? 0 : counts / (counts + stores);
  return { reads: of('get', 'gets', 'gat'), counts, cas: of('cas'), ofCounters };
}

function newShare(mix: Mix, fresh: Mix | undefined): number {
  return normalized(mix).reduce((sum, [name, part]) => sum + part * ((fresh ?? { add: 1 })[name] ?? 0), 0);
}

/** Ranks in bins: single ones at first, then wider and wider; what is resident ends with one. */
function edgesOf(space: number, resident: number): number[] {
  const edges = new Set<number>([0, space]);
  for (let rank = 1; rank < space; rank = Math.max(rank + 1, Math.floor(rank * 1.01))) edges.add(rank);
  if (resident < space) edges.add(resident);
  return [...edges].toSorted((a, b) => a - b);
}

export function lawOf(popularity: Popularity, space: number, exponent?: number): Law {
  switch (popularity.kind) {
    case 'zipf':
    case 'zipf-mandelbrot': {
      const alpha = exponent ?? popularity.alpha;
      const q = popularity.kind === 'zipf' ? 0 : popularity.q;
      const sum = q === 0 ? harmonic(alpha) : (n: number): number => integral(alpha, q + 0.5, n + q + 0.5);
      const all = sum(space);
      return { below: (n) => sum(n) / all };
    }
    case 'buckets': {
      const total = popularity.buckets.reduce((sum, [, weight]) => sum + weight, 0);
      return {
        below: (n) => {
          let [left, sum] = [n, 0];
          for (const [keys, weight] of popularity.buckets) {
            sum += weight * Math.min(1, left / keys);
            left -= keys;
            if (left <= 0) break;
          }
          return sum / total;
        },
      };
    }
    default:
      return { below: (n) => n / space };
  }
}

/** Sum of the first n powers: term by term, then as an integral. */
function harmonic(alpha: number): (n: number) => number {
  const sums = [0];
  for (let i = 1; i <= 1000; i++) sums.push(sums.at(-1)! + i ** -alpha);
  return (n) => (n <= 1000 ? sums[Math.floor(n)]! : sums[1000]! + integral(alpha, 1000.5, n + 0.5));
}

function integral(alpha: number, from: number, to: number): number {
  return Math.abs(1 - alpha) < 1e-9
    ? Math.log(to / from)
    : (to ** (1 - alpha) - from ** (1 - alpha)) / (1 - alpha);
}

/** The exponent under which ranks have this mean of ln(rank + 1 + q): the most likely one. */
export function exponentOf(popularity: Popularity, space: number, meanLog: number): number {
  const q = popularity.kind === 'zipf-mandelbrot' ? popularity.q : 0;
  const edges = edgesOf(space, Infinity);
  const expected = (alpha: number): number => {
    const { below } = lawOf(popularity, space, alpha);
    let mean = 0;
    for (let bin = 0; bin + 1 < edges.length; bin++) {
      const [from, to] = [edges[bin]! + 1 + q, edges[bin + 1]! + q];
      mean += (below(edges[bin + 1]!) - below(edges[bin]!)) * Math.log(Math.sqrt(from * to));
    }
    return mean;
  };
  let [low, high] = [0, 5];
  for (let step = 0; step < 50; step++) {
    const middle = (low + high) / 2;
    if (expected(middle) > meanLog) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
