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

const clocks = ['fromIntended', 'fromSent', 'recorded', 'lag'] as const;
export type Clock = (typeof clocks)[number];

export class Timeline {
  #binNs = FIRST_BIN_NS;
  #length = 0;
  readonly #targets: Bin[][];
  /** By bin and class of microseconds. */
  readonly #latencies: Record<Clock, Uint32Array> = {
    fromIntended: new Uint32Array(MAX_BINS * CLASSES),
    fromSent: new Uint32Array(MAX_BINS * CLASSES),
    recorded: new Uint32Array(MAX_BINS * CLASSES),
    lag: new Uint32Array(MAX_BINS * CLASSES),
  };

  constructor(targets: number) {
    this.#targets = Array.from({ length: Math.max(1, targets) }, () => []);
  }

  get binNs(): number {
    return this.#binNs;
  }

  /** Bins of each target, as many as there are in all. */
  get targets(): readonly (readonly Bin[])[] {
    for (const bins of this.#targets) while (bins.length < this.#length) bins.push(emptyBin());
    return this.#targets;
  }

  get length(): number {
    return this.#length;
  }

  /** Number of the bin of a time; it stands until the next time is asked for. @param atNs since the replay's start */
  index(atNs: number): number {
    const time = Math.max(0, atNs);
    while (time / this.#binNs >= MAX_BINS) this.#double();
    const index = Math.floor(time / this.#binNs);
    if (index >= this.#length) this.#length = index + 1;
    return index;
  }

  /** A bin of a target, to count in. */
  bin(target: number, index: number): Bin {
    const bins = this.#targets[target] ?? this.#targets[0]!;
    while (bins.length <= index) bins.push(emptyBin());
    return bins[index]!;
  }

  latency(clock: Clock, index: number, micros: number): void {
    this.#latencies[clock][index * CLASSES + (micros < SHORT ? shortSteps[micros]! : stepOf(micros))]!++;
  }

  /** Microseconds by bin; null where there is no sample. @param share 0.99: 99% of the samples are not above it */
  percentile(clock: Clock, share: number): (number | null)[] {
    const counts = this.#latencies[clock];
    return Array.from({ length: this.#length }, (_, n) =>
      percentileOf(counts.subarray(n * CLASSES, (n + 1) * CLASSES), share),
    );
  }

  /** Percentiles of equal parts of the whole; null where a part has no sample. @param parts how many */
  parts(clock: Clock, share: number, parts: number): (number | null)[] {
    const counts = this.#latencies[clock];
    return Array.from({ length: parts }, (_, n) => {
      const together = new Uint32Array(CLASSES);
      const [from, to] = [n, n + 1].map((part) => Math.round((part * this.#length) / parts) * CLASSES);
      for (let at = from!; at < to!; at++) together[at % CLASSES]! += counts[at]!;
      return percentileOf(together, share);
    });
  }

  #double(): void {
    this.#binNs *= 2;
    this.#length = Math.ceil(this.#length / 2);
    for (const bins of this.#targets) {
      for (let n = 0; 2 * n < bins.length; n++) bins[n] = added(bins[2 * n]!, bins[2 * n + 1]);
      bins.length = Math.ceil(bins.length / 2);
    }
    for (const counts of Object.values(this.#latencies)) {
      for (let at = 0; at < counts.length / 2; at++) {
        const from = 2 * at - (at % CLASSES);
        counts[at] = counts[from]! + counts[from + CLASSES]!;
      }
      counts.fill(0, counts.length / 2);
    }
  }
}

function emptyBin(): Bin {
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

function percentileOf(counts: Uint32Array, share: number): number | null {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let left = Math.ceil(total * share);
  for (const [step, count] of counts.entries()) {
    left -= count;
    if (left <= 0) return step === 0 ? 1 : Math.round(2 ** ((step - 0.5) / STEPS));
  }
  return null;
}
