// How sizes are distributed, in bounded memory: percentiles to three digits, as an HDR histogram gives them. Its package takes
// longer to load than `memtape info` of a small trace takes.

/** Bytes; all 0 where there was nothing to measure. */
export interface Percentiles {
  count: number;
  mean: number;
  p50: number;
  p90: number;
  p99: number;
  max: number;
}

const MAX_BYTES = 2 ** 32 - 1;
/** Sizes below this have a class each; each doubling after it has half as many classes. */
const EXACT = 2048;
const HALF = EXACT / 2;
const EXACT_BITS = 10;
const DOUBLINGS = 21;

/** The class of a size. */
function classOf(bytes: number): number {
  if (bytes < EXACT) return bytes;
  const shift = 31 - Math.clz32(bytes) - EXACT_BITS;
  return shift * HALF + (bytes >>> shift);
}

/** The largest size of a class. */
function largestOf(index: number): number {
  if (index < EXACT) return index;
  const shift = Math.floor(index / HALF) - 1;
  return (index - shift * HALF + 1) * 2 ** shift - 1;
}

export class Sizes {
  readonly #counts = new Float64Array(EXACT + DOUBLINGS * HALF);
  #count = 0;
  #sum = 0;
  #max = 0;

  add(bytes: number): void {
    this.#counts[classOf(Math.min(bytes, MAX_BYTES))]!++;
    this.#count++;
    this.#sum += bytes;
    if (bytes > this.#max) this.#max = bytes;
  }

  get percentiles(): Percentiles {
    const count = this.#count;
    return {
      count,
      mean: count === 0 ? 0 : Math.round((this.#sum / count) * 10) / 10,
      p50: this.#at(50),
      p90: this.#at(90),
      p99: this.#at(99),
      max: this.#max,
    };
  }

  #at(percentile: number): number {
    let left = Math.max(1, Math.ceil((percentile * this.#count) / 100));
    for (let index = 0; index < this.#counts.length; index++) {
      left -= this.#counts[index]!;
      if (left <= 0) return Math.min(this.#max, largestOf(index));
    }
    return 0;
  }
}
