// Durations counted as they come, in the classes of the histogram that they become: a shift and an addition each, where
// the histogram takes logarithms.

import { build as buildHistogram, type Histogram } from 'hdr-histogram-js';

/** Histograms span a microsecond to two minutes, in microseconds, to two digits. */
const MAX_MICROS = 120_000_000;
/** To two digits: classes are single microseconds up to here, and so many to each power of two, twice as wide each. */
const EXACT = 256;
const PER_POWER = EXACT / 2;
const POWER_BITS = 7;
const CLASSES = classOf(MAX_MICROS) + 1;

export class Samples {
  readonly #counts = new Uint32Array(CLASSES);
  /** Besides 0. */
  #least = MAX_MICROS;
  #most = 0;

  /** @param micros a whole number */
  record(micros: number): void {
    const value = micros > MAX_MICROS ? MAX_MICROS : micros;
    this.#counts[classOf(value)]!++;
    if (value < this.#least && value > 0) this.#least = value;
    if (value > this.#most) this.#most = value;
  }

  /** The duration that `percent` of all do not exceed, to the width of its class; 0 where there are none. */
  percentile(percent: number): number {
    let all = 0;
    for (const count of this.#counts) all += count;
    let left = Math.max(1, Math.ceil((all * percent) / 100));
    if (all === 0) return 0;
    for (let at = 0; at < CLASSES; at++) {
      left -= this.#counts[at]!;
      if (left <= 0) return Math.min(this.#most, lowestOf(at + 1) - 1);
    }
    return this.#most;
  }

  histogram(): Histogram {
    const histogram = buildHistogram({
      lowestDiscernibleValue: 1,
      highestTrackableValue: MAX_MICROS,
      numberOfSignificantValueDigits: 2,
      bitBucketSize: 32,
    });
    const last = classOf(this.#most);
    for (const [at, count] of this.#counts.entries()) {
      // The first and the last are known to the microsecond.
      const others = at === last ? count - 1 : count;
      const value = at === 0 ? 0 : Math.max(this.#least, lowestOf(at));
      if (others > 0) histogram.recordValueWithCount(value, others);
      if (at === last && count > 0) histogram.recordValue(this.#most);
    }
    return histogram;
  }
}

function classOf(micros: number): number {
  if (micros < EXACT) return micros;
  const shift = 31 - POWER_BITS - Math.clz32(micros);
  return shift * PER_POWER + (micros >> shift);
}

/** The least duration of a class. */
function lowestOf(at: number): number {
  if (at < EXACT) return at;
  const shift = Math.floor(at / PER_POWER) - 1;
  return (at - shift * PER_POWER) * 2 ** shift;
}
