// Which key a request is for: a rank, 0 the most popular, among the keys of a space.

import { z } from 'zod';
import { mixSchema } from './mix.ts';
import { alias, normalQuantile, normalShare } from './numbers.ts';
import { Zipf, type Random } from './random.ts';

const share = z.number().gt(0).lt(1);
const alpha = z.number().min(0).max(5).describe("Zipf's exponent");

export const popularitySchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('uniform') }),
  z.strictObject({ kind: z.literal('zipf'), alpha }),
  z.strictObject({
    kind: z.literal('zipf-mandelbrot'),
    alpha,
    q: z.number().min(0).describe('flattens the head: weights of 1 / (rank + q)^alpha'),
  }),
  z
    .strictObject({
      kind: z.literal('latest'),
      alpha,
      new: mixSchema
        .optional()
        .describe('by operation, the share of it that is for a new key; default: all ADDs, and nothing else'),
    })
    .describe('the newest are the most popular'),
  z
    .strictObject({
      kind: z.literal('normal'),
      center: share.optional().describe('of the space; default: its middle'),
      deviation: share.optional().describe('of the space; default: a sixth'),
    })
    .describe('those around one of them are the most popular'),
  z.strictObject({
    kind: z.literal('hotspot'),
    keys: share.describe('this share of the keys'),
    requests: share.describe('has this share of the requests'),
  }),
  z.strictObject({
    kind: z.literal('buckets'),
    buckets: z
      .array(z.tuple([z.number().int().positive(), z.number().positive()]))
      .min(1)
      .describe('how many keys, and their weight together; from the most popular on'),
  }),
  z.strictObject({
    kind: z.literal('few'),
    keys: z.number().int().positive().describe('so many keys, each as often'),
    from: z.number().int().min(0).optional().describe('rank of the first; default 0'),
  }),
  z.strictObject({ kind: z.literal('scan'), from: z.number().int().min(0).optional() }),
]);
export type Popularity = z.output<typeof popularitySchema>;

/** A rank in [0, n); past it for what was inserted. @param inserts a new key, where the newest are the most popular */
export type Ranks = (random: Random, inserts?: boolean) => number;

/** @throws RangeError where the key space is too small for it */
export function ranksOf(popularity: Popularity, n: number): Ranks {
  switch (popularity.kind) {
    case 'uniform':
      return (random) => Math.floor(random.float() * n);
    case 'zipf':
      return zipf(n, popularity.alpha);
    case 'zipf-mandelbrot':
      return mandelbrot(n, popularity.alpha, popularity.q);
    case 'latest': {
      const ages = zipf(n, popularity.alpha);
      let newest = n - 1;
      return (random, inserts = false) => (inserts ? ++newest : newest - ages(random));
    }
    case 'normal': {
      const { center = 0.5, deviation = 1 / 6 } = popularity;
      // What would fall outside is drawn from the part that is inside.
      const [low, high] = [normalShare(-center / deviation), normalShare((1 - center) / deviation)];
      return (random) => {
        const z = normalQuantile(low + random.float() * (high - low));
        return Math.min(n - 1, Math.max(0, Math.floor((center + deviation * z) * n)));
      };
    }
    case 'hotspot': {
      const hot = Math.max(1, Math.round(popularity.keys * n));
      if (hot >= n) throw new RangeError(`a hot spot of ${hot} keys leaves none of ${n} cold`);
      return (random) =>
        random.float() < popularity.requests
          ? Math.floor(random.float() * hot)
          : hot + Math.floor(random.float() * (n - hot));
    }
    case 'buckets': {
      const { buckets } = popularity;
      const total = buckets.reduce((sum, [keys]) => sum + keys, 0);
      if (total > n) throw new RangeError(`buckets of ${total} keys do not fit in a space of ${n}`);
      const pick = alias(buckets.map(([, weight]) => weight));
      const starts = buckets.map(() => 0);
      for (let i = 1; i < buckets.length; i++) starts[i] = starts[i - 1]! + buckets[i - 1]![0];
      return (random) => {
        const bucket = pick(random.float());
        return starts[bucket]! + Math.floor(random.float() * buckets[bucket]![0]);
      };
    }
    case 'few': {
      const { keys, from = 0 } = popularity;
      if (from + keys > n)
        throw new RangeError(`${keys} keys from rank ${from} do not fit in a space of ${n}`);
      return (random) => from + Math.floor(random.float() * keys);
    }
    default: {
      const { from = 0 } = popularity;
      if (from >= n) throw new RangeError(`rank ${from} is not in a space of ${n}`);
      let next = from;
      return () => {
        const rank = next;
        next = (next + 1) % n;
        return rank;
      };
    }
  }
}

function zipf(n: number, exponent: number): Ranks {
  if (exponent === 0) return (random) => Math.floor(random.float() * n);
  const law = new Zipf(n, exponent);
  return (random) => law.sample(random);
}

// 1 / (rank + q)^alpha is Zipf's law from 1 + q on: ranks of a longer law, of which the first q are drawn again. A
// large q would be drawn again for ever, so the continuous law is inverted instead, and rounded down.
function mandelbrot(n: number, exponent: number, q: number): Ranks {
  if (q === 0) return zipf(n, exponent);
  const isLog = Math.abs(1 - exponent) < 1e-9;
  const power = 1 - exponent;
  const [first, last] = [q + 0.5, n + q + 0.5];
  const [low, high] = isLog ? [Math.log(first), Math.log(last)] : [first ** power, last ** power];
  return (random) => {
    const y = low + random.float() * (high - low);
    const x = isLog ? Math.exp(y) : y ** (1 / power);
    return Math.min(n - 1, Math.max(0, Math.round(x - q) - 1));
  };
}
