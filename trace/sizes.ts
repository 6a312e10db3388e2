// How sizes are distributed, in bounded memory: percentiles to three digits.

import { build, type Histogram } from 'hdr-histogram-js';

/** Bytes; all 0 where there was nothing to measure. */
export interface Percentiles {
  count: number;
  mean: number;
  p50: number;
  p90: number;
  p99: number;
  max: number;
}

const MAX_BYTES = 2 ** 32;

export class Sizes {
  readonly #histogram: Histogram = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: MAX_BYTES,
    numberOfSignificantValueDigits: 3,
  });
  #sum = 0;
  #max = 0;

  add(bytes: number): void {
    this.#histogram.recordValue(bytes);
    this.#sum += bytes;
    if (bytes > this.#max) this.#max = bytes;
  }

  get percentiles(): Percentiles {
    const histogram = this.#histogram;
    const count = histogram.totalCount;
    const at = (percentile: number): number =>
      count === 0 ? 0 : Math.min(this.#max, histogram.getValueAtPercentile(percentile));
    return {
      count,
      mean: count === 0 ? 0 : Math.round((this.#sum / count) * 10) / 10,
      p50: at(50),
      p90: at(90),
      p99: at(99),
      max: this.#max,
    };
  }
}
