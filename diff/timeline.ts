// What happened when: a replay cut into bins of equal width, for the whole and for each target. The width doubles as the
// replay turns out to be longer, so that memory is bounded and nothing need be known beforehand.

/** Bins at most; halved when they are passed. */
const MAX_BINS = 240;
const FIRST_BIN_NS = 1_000_000;
/** Latencies are counted by powers of 2^(1/4) microseconds: percentiles to 10%. */
const STEPS = 4;
const CLASSES = 28 * STEPS;

/** Classes of most latencies, by microseconds. */
const SHORT = 16_384;
const shortSteps = Uint8Array.from({ length: SHORT }, (_, micros) => stepOf(micros));

function stepOf(micros: number): number {
  return micros < 1 ? 0 : Math.min(CLASSES - 1, 1 + Math.floor(Math.log2(micros) * STEPS));
}

/** One bin's counts. */
export interface Bin {
  requests: number;
  reads: number;
  hits: number;
  drift: number;
  violations: number;
}

/** Of one bin: how many were in each class of microseconds. */
type Latencies = Uint32Array;
export const clocks = ['fromIntended', 'fromSent', 'recorded', 'lag'] as const;
export type Clock = (typeof clocks)[number];

export class Timeline {
  #binNs = FIRST_BIN_NS;
  readonly #targets: Bin[][];
  readonly #latencies: Record<Clock, Latencies[]> = { fromIntended: [], fromSent: [], recorded: [], lag: [] };

  constructor(targets: number) {
    this.#targets = Array.from({ length: Math.max(1, targets) }, () => []);
  }

  get binNs(): number {
    return this.#binNs;
  }

  /** Bins of each target, as many as there are in all. */
  get targets(): readonly (readonly Bin[])[] {
    const length = this.length;
    for (const bins of this.#targets) while (bins.length < length) bins.push(emptyBin());
    return this.#targets;
  }

  get length(): number {
    return Math.max(...this.#targets.map((bins) => bins.length), this.#latencies.lag.length);
  }

  /** The bin of a target at a time, to count in. @param atNs since the replay's start */
  at(target: number, atNs: number): Bin {
    const bins = this.#targets[target] ?? this.#targets[0]!;
    const index = this.#index(atNs);
    while (bins.length <= index) bins.push(emptyBin());
    return bins[index]!;
  }

  latency(clock: Clock, atNs: number, micros: number): void {
    const all = this.#latencies[clock];
    const index = this.#index(atNs);
    while (all.length <= index) all.push(new Uint32Array(CLASSES));
    all[index]![micros < SHORT ? shortSteps[micros]! : stepOf(micros)]!++;
  }

  /** Microseconds by bin; null where there is no sample. @param share 0.99: 99% of the samples are not above it */
  percentile(clock: Clock, share: number): (number | null)[] {
    return Array.from({ length: this.length }, (_, n) => percentileOf(this.#latencies[clock][n], share));
  }

  #index(atNs: number): number {
    const time = Math.max(0, atNs);
    while (time / this.#binNs >= MAX_BINS) this.#double();
    return Math.floor(time / this.#binNs);
  }

  #double(): void {
    this.#binNs *= 2;
    for (const bins of this.#targets) {
      for (let n = 0; 2 * n < bins.length; n++) bins[n] = added(bins[2 * n]!, bins[2 * n + 1]);
      bins.length = Math.ceil(bins.length / 2);
    }
    for (const all of Object.values(this.#latencies)) {
      for (let n = 0; 2 * n < all.length; n++) {
        const sum = all[2 * n]!;
        for (const [step, count] of (all[2 * n + 1] ?? []).entries()) sum[step]! += count;
        all[n] = sum;
      }
      all.length = Math.ceil(all.length / 2);
    }
  }
}

export function emptyBin(): Bin {
  return { requests: 0, reads: 0, hits: 0, drift: 0, violations: 0 };
}

function added(a: Bin, b: Bin = emptyBin()): Bin {
  return {
    requests: a.requests + b.requests,
    reads: a.reads + b.reads,
    hits: a.hits + b.hits,
    drift: a.drift + b.drift,
    violations: a.violations + b.violations,
  };
}

function percentileOf(counts: Latencies | undefined, share: number): number | null {
  if (counts === undefined) return null;
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let left = Math.ceil(total * share);
  for (const [step, count] of counts.entries()) {
    left -= count;
    if (left <= 0) return step === 0 ? 1 : Math.round(2 ** ((step - 0.5) / STEPS));
  }
  return null;
}
