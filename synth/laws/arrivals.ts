// When requests come: a rate that may change with time, and gaps of a mean of one that it stretches.

import { z } from 'zod';
import { duration, rate } from '../../config/yaml.ts';
import { Halving, halvingSchema, type Arrival } from './halving.ts';
import { quantileOf } from './numbers.ts';
import { Random } from './random.ts';

const gapsSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('exponential') }),
  z.strictObject({ kind: z.literal('constant') }),
  z.strictObject({ kind: z.literal('uniform') }),
  z.strictObject({
    kind: z.literal('gpd'),
    shape: z.number().lt(1).describe('its scale follows from the rate'),
  }),
  z.strictObject({ kind: z.literal('lognormal'), sigma: z.number().positive() }),
  z.strictObject({
    kind: z.literal('h2'),
    cv2: z.number().gt(1).describe('squared coefficient of variation: two exponentials with balanced means'),
  }),
  z.strictObject({
    kind: z.literal('quantiles'),
    values: z.array(z.number().min(0)).min(2).describe('a fitted table, scaled to a mean of one'),
  }),
  z.strictObject({
    kind: z.literal('mmpp'),
    factor: z.number().gt(1).describe('times the rate of the calm, in a burst'),
    burst: duration.describe('how long a burst lasts, on average'),
    calm: duration.describe('how long the calm lasts, on average'),
  }),
]);
export type Gaps = z.output<typeof gapsSchema>;

export const arrivalsSchema = z.strictObject({
  rate: rate.optional().describe('requests a second'),
  curve: z
    .array(z.strictObject({ at: duration, rate: z.number().min(0).or(rate) }))
    .min(1)
    .optional()
    .describe(
      'instead of a rate: straight from point to point; before the first and after the last it stays',
    ),
  counts: z
    .array(z.number().int().min(0))
    .min(1)
    .max(100_000)
    .optional()
    .describe('instead of either: how many requests each stretch of time has; over and over'),
  every: duration.optional().describe('the length of such a stretch'),
  within: halvingSchema.optional(),
  repeats: duration.optional().describe('the curve begins anew after this'),
  gaps: gapsSchema.optional().describe('default: exponential'),
});
export type Arrivals = z.output<typeof arrivalsSchema>;
export type ArrivalsInput = z.input<typeof arrivalsSchema>;

/** How often a rate that changes is looked at. */
const STEP_NS = 10e6;
/** A year: nothing comes any more. */
const LAST_NS = 3.2e16;

/** The times of a stream's requests, in order. */
export class ArrivalStream {
  readonly #rate: (ns: number) => number;
  readonly #gap: () => number;
  readonly #isSteady: boolean;
  #ns = 0;
  #burst:
    | { rates: readonly [number, number]; means: readonly [number, number]; state: 0 | 1; untilNs: number }
    | undefined;
  readonly #random: Random;

  readonly #counts: readonly number[] | undefined;
  readonly #everyNs: number = 1;
  /** Of the stretch that is under way: the times in it, the last one first. */
  #times: number[] = [];
  #stretch = 0;
  /** Requests that were counted, and did not come yet. */
  #owed = 0;
  readonly #within: Halving | undefined;
  #some: Arrival[] = [];
  /** Of the last arrival, where that was learnt: how many requests it is. */
  group: Arrival | undefined;

  constructor(arrivals: Arrivals, random: Random, fromNs = 0) {
    this.#random = random;
    this.#counts = arrivals.counts;
    this.#everyNs = (arrivals.every ?? 1000) * 1e6;
    this.#within = arrivals.within === undefined ? undefined : new Halving(arrivals.within, random);
    this.#rate = rateOf(arrivals);
    this.#ns = fromNs;
    const { gaps = { kind: 'exponential' } } = arrivals;
    this.#gap = this.#gapOf(gaps);
    this.#isSteady = arrivals.curve === undefined && gaps.kind !== 'mmpp';
  }

  /** Time of the next request, ns; Infinity: there is none.
   * @param together how many requests leave at once, on average @param count how many did last */
  next(together = 1, count = together): number {
    if (this.#within !== undefined) return this.#learnt(this.#within, this.#counts!, count);
    if (this.#counts !== undefined) return this.#counted(this.#counts, together, count);
    // A gap of the clock that runs at the rate; where the rate changes, it is walked in steps.
    let left = this.#gap() * together;
    for (;;) {
      const perSecond = this.#rate(this.#ns) * this.#factor();
      const ns = (left * 1e9) / perSecond;
      if (this.#isSteady || ns <= STEP_NS) {
        this.#ns += Math.max(1, Math.round(ns));
        return this.#ns;
      }
      left -= (perSecond * STEP_NS) / 1e9;
      this.#ns += STEP_NS;
      if (this.#ns > LAST_NS) return Infinity;
    }
  }

  /** As many as were counted, at distances in the proportion of gaps; what is too many or too few is made up for. */
  #counted(counts: readonly number[], together: number, count: number): number {
    if (this.#stretch > 0) this.#owed -= count;
    for (let empty = 0; this.#times.length === 0; empty++) {
      if (empty > counts.length) return Infinity;
      const fromNs = this.#stretch * this.#everyNs;
      this.#owed += counts[this.#stretch++ % counts.length]!;
      const wanted = Math.round(this.#owed / together);
      if (wanted <= 0) continue;
      // The gap that leads to the next stretch is half before it, half in it.
      let at = this.#gap() / 2;
      const times = [at];
      for (let n = 1; n < wanted; n++) times.push((at += this.#gap()));
      const total = at + this.#gap() / 2;
      this.#times = times.map((time) => fromNs + (time / total) * this.#everyNs).toReversed();
    }
    this.#ns = Math.max(this.#ns + 1, Math.round(this.#times.pop()!));
    return this.#ns;
  }

  /** As many requests as were counted, in arrivals as they were. */
  #learnt(within: Halving, counts: readonly number[], count: number): number {
    if (this.#stretch > 0) this.#owed -= count;
    for (let empty = 0; this.#some.length === 0; empty++) {
      if (empty > counts.length) return Infinity;
      const some = within.next();
      if (some !== undefined) {
        this.#some = some;
        break;
      }
      const fromNs = this.#stretch * this.#everyNs;
      this.#owed += counts[this.#stretch++ % counts.length]!;
      within.begin(this.#owed, fromNs, this.#everyNs);
      if (within.isEmpty) continue;
      empty = -1;
    }
    this.group = this.#some.pop()!;
    this.#ns = Math.max(this.#ns + 1, Math.round(this.group.ns));
    return this.#ns;
  }

  #factor(): number {
    const burst = this.#burst;
    if (burst === undefined) return 1;
    while (this.#ns >= burst.untilNs) {
      burst.state = burst.state === 0 ? 1 : 0;
      burst.untilNs += -Math.log(1 - this.#random.float()) * burst.means[burst.state];
    }
    return burst.rates[burst.state];
  }

  #gapOf(gaps: Gaps): () => number {
    const random = this.#random;
    const exponential = (): number => -Math.log(1 - random.float());
    switch (gaps.kind) {
      case 'exponential':
        return exponential;
      case 'constant':
        return () => 1;
      case 'uniform':
        return () => 2 * random.float();
      case 'gpd': {
        // The mean is scale / (1 - shape).
        const quantile = quantileOf({ kind: 'gpd', scale: 1 - gaps.shape, shape: gaps.shape });
        return () => quantile(random.float());
      }
      case 'lognormal': {
        const quantile = quantileOf({ kind: 'lognormal', mean: 1, sigma: gaps.sigma });
        return () => quantile(Math.max(1e-12, random.float()));
      }
      case 'h2': {
        const p = (1 + Math.sqrt((gaps.cv2 - 1) / (gaps.cv2 + 1))) / 2;
        return () => exponential() / (2 * (random.float() < p ? p : 1 - p));
      }
      case 'quantiles': {
        const { values } = gaps;
        const mean =
          values.slice(1).reduce((sum, value, n) => sum + (value + values[n]!) / 2, 0) / (values.length - 1);
        const quantile = quantileOf({
          kind: 'quantiles',
          values: values.map((value) => value / (mean || 1)),
        });
        return () => quantile(random.float());
      }
      default: {
        const [calm, burst] = [gaps.calm * 1e6, gaps.burst * 1e6];
        // The mean over both states is one.
        const low = (calm + burst) / (calm + gaps.factor * burst);
        this.#burst = {
          rates: [low, low * gaps.factor],
          means: [calm, burst],
          state: 0,
          untilNs: this.#ns + calm,
        };
        return exponential;
      }
    }
  }
}

/** Requests a second at a time in ns. */
function rateOf({ rate: constant, curve, repeats }: Arrivals): (ns: number) => number {
  if (curve === undefined) return () => constant ?? 0;
  const points = curve.map(({ at, rate: perSecond }) => ({ ns: at * 1e6, perSecond }));
  const periodNs = (repeats ?? Infinity) * 1e6;
  return (time) => {
    const ns = periodNs === Infinity ? time : time % periodNs;
    const next = points.findIndex((point) => point.ns > ns);
    if (next === 0) return points[0]!.perSecond;
    if (next === -1) return points.at(-1)!.perSecond;
    const [a, b] = [points[next - 1]!, points[next]!];
    return a.perSecond + ((ns - a.ns) / (b.ns - a.ns)) * (b.perSecond - a.perSecond);
  };
}
