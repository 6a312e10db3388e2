// Twitter's clusters of 2020: their published statistics, and models that have them.

import { given } from '../../config/given.ts';
import { arriving, builtIn, type BuiltIn, type Published, type TenantInput } from './published.ts';

/** A row of the statistics. */
interface Cluster {
  key: number;
  value: number;
  kqps: number;
  mix: Published['mix'];
  /** Of production; left out where so little is read that it says nothing of the requests. */
  misses?: number;
  frequency: number;
  /** Keys asked for once. */
  once: number;
  alpha: number;
  /** As they are written there. */
  ttls: readonly (readonly [ttl: string, seconds: number, share: number])[];
  /** Working set without regard to expiry; 0: not published. */
  megabytes: number;
}

type Rest = Partial<TenantInput> & { keys: { space: number; resident?: number } };

function twitter(
  number: number,
  what: string,
  row: Cluster,
  { keys, values, ...rest }: Rest,
  assumed: string,
  /** What of the row a model of requests drawn one by one cannot show. */
  without: readonly (keyof Published)[] = [],
): BuiltIn {
  const { key, value, kqps, mix, misses, frequency, once, alpha, ttls, megabytes } = row;
  // The statistics do not say how long the trace is; the keys that its working set stands for do.
  const objects = (megabytes * 1e6) / (key + value);
  const requests = megabytes > 0 ? objects * frequency : kqps * 1000 * 40 * 3600;
  const published: Published = {
    mix,
    ...given({ misses }),
    keyBytes: { mean: key },
    valueBytes: { mean: value },
    ttls: ttls.map(([, seconds, share]) => [seconds, share]),
    ...(alpha === 0 ? {} : { alpha }),
    trace: { requests, frequency, once },
    rate: kqps * 1000,
  };
  for (const name of without) delete published[name];
  return builtIn(
    `twitter-${number}`,
    `Twitter cluster ${number}, ${what}: Yang et al., A Large Scale Analysis of Hundreds of In-memory Cache Clusters at Twitter, OSDI 2020, and its statistics of March 2020 (CC BY 4.0). Only means of sizes are published: lognormal with sigma 0.5 is assumed. ${assumed}`,
    {
      keys: {
        ...keys,
        // Lengths vary less than values do.
        length: { kind: 'normal', mean: key, deviation: key / 10, min: Math.min(key, 16), max: 250 },
      },
      values: values ?? { size: { kind: 'lognormal', mean: value, sigma: 0.5, min: 1 } },
      ...(ttls.length === 1 ? { ttl: ttls[0]![0] } : { ttl: ttls.map(([ttl, , share]) => ({ ttl, share })) }),
      connections: { count: 50 },
      ...rest,
    },
    published,
  );
}

const head =
  "Keys, and how far the head of Zipf's law is flattened, are such that the trace's length would show the published mean frequency and one-hit ratio.";

/** Reads that miss and are not followed by a store: of keys that nobody asks for again. */
function once(rate: number): NonNullable<TenantInput['streams']>[number] {
  return { name: 'once', mix: { get: 1 }, oneHit: 1, absent: 0, onMiss: 'none', arrivals: { rate } };
}

export const twitterModels: readonly BuiltIn[] = [
  twitter(
    52,
    'storage',
    {
      key: 20,
      value: 273,
      kqps: 24.25,
      mix: { get: 0.93, add: 0.04, cas: 0.02 },
      misses: 0.0189,
      frequency: 32.6,
      once: 0.1936,
      alpha: 1.2117,
      ttls: [
        ['1d', 86_400, 0.65],
        ['14d', 1_209_600, 0.27],
        ['12h', 43_200, 0.07],
      ],
      megabytes: 14_057,
    },
    {
      keys: { space: 797_000_000, resident: 33_500_000 },
      ...arriving(24_250, { get: 0.9192, add: 0.0226, cas: 0.0202 }),
      popularity: { kind: 'zipf-mandelbrot', alpha: 1.2117, q: 6 },
      onMiss: 'add',
    },
    `${head} Every miss is of a key that is not among the most popular, and is followed by an ADD; the other ADDs are by popularity.`,
  ),
  twitter(
    18,
    'tiny values, CAS, skewed',
    {
      key: 18,
      value: 37,
      kqps: 26.4,
      mix: { get: 0.97, add: 0.01, cas: 0.01 },
      misses: 0.002,
      frequency: 660.5,
      once: 0.0071,
      alpha: 2.0994,
      ttls: [['12h', 43_200, 1]],
      megabytes: 311,
    },
    {
      keys: { space: 8_650_000, resident: 2_070_000 },
      ...arriving(26_400, { get: 0.9697, add: 0.0081, cas: 0.0101 }),
      popularity: { kind: 'zipf-mandelbrot', alpha: 2.0994, q: 9000 },
      onMiss: 'add',
    },
    `${head} Its exponent, unflattened, would give the first key 64%. Misses are of keys that are not among the most popular, and are followed by an ADD.`,
  ),
  twitter(
    29,
    'sensitive to memory',
    {
      key: 36,
      value: 799,
      kqps: 10.73,
      mix: { get: 0.86, set: 0.13 },
      misses: 0.2242,
      frequency: 22.5,
      once: 0.2304,
      alpha: 1.2323,
      ttls: [
        ['1h', 3600, 0.67],
        ['2h', 7200, 0.33],
      ],
      megabytes: 40_520,
    },
    {
      keys: { space: 53_700_000, resident: 910_000 },
      ...arriving(10_730, { get: 0.8633 }),
      popularity: { kind: 'zipf-mandelbrot', alpha: 1.2323, q: 2000 },
      absent: 0.0675,
      streams: [once(57)],
    },
    `${head} All SETs follow misses, of keys that are not among the most popular: 910,000 are there, of the 1,070,000 that the working set with expiry holds. The misses that no SET follows are of keys that nobody stores.`,
  ),
  twitter(
    14,
    'invalidations',
    {
      key: 96,
      value: 414,
      kqps: 5.81,
      mix: { get: 0.65, delete: 0.22, set: 0.13 },
      misses: 0.1218,
      frequency: 35.4,
      once: 0.1094,
      alpha: 1.2959,
      ttls: [['1d', 86_400, 1]],
      megabytes: 18_333,
    },
    {
      keys: { space: 38_600_000, resident: 790_000 },
      ...arriving(5810, { get: 0.65, set: 0.0508 }),
      popularity: { kind: 'zipf-mandelbrot', alpha: 1.2959, q: 1500 },
      streams: [
        {
          name: 'invalidations',
          mix: { delete: 1 },
          popularity: { kind: 'zipf-mandelbrot', alpha: 1.2959, q: 1_000_000 },
          arrivals: { rate: 1278 },
        },
      ],
    },
    `${head} What is deleted is rarely read: the head of the DELETEs is flattened to a million keys. Misses are followed by a SET; the other SETs are by popularity.`,
  ),
  twitter(
    12,
    'write-heavy',
    {
      key: 44,
      value: 1030,
      kqps: 4.36,
      mix: { set: 0.8, get: 0.2 },
      misses: 0.0058,
      frequency: 1.3,
      once: 0.8143,
      alpha: 0.3048,
      ttls: [['300s', 300, 1]],
      megabytes: 612_397,
    },
    {
      keys: { space: 5000 },
      ...arriving(4360, { get: 0.2, set: 0.298 }),
      popularity: { kind: 'latest', alpha: 0, new: { set: 0.98 } },
      absent: 0.0058,
      onMiss: 'none',
      streams: [{ name: 'unread', mix: { set: 1 }, oneHit: 1, arrivals: { rate: 2189 } }],
    },
    'Almost every SET is of a new key; most are never read, the others within the next 5000 of them, seconds later. Misses are of keys that nobody stored.',
    ['alpha'],
  ),
  twitter(
    15,
    'write-only, transient',
    {
      key: 18,
      value: 102,
      kqps: 9.02,
      mix: { set: 1 },
      frequency: 1,
      once: 0.9957,
      alpha: 0.0242,
      ttls: [['30s', 30, 1]],
      megabytes: 75_299,
    },
    {
      keys: { space: 10_000 },
      ...arriving(9020, { set: 1 }),
      popularity: { kind: 'latest', alpha: 0, new: { set: 0.994 } },
      onMiss: 'none',
    },
    'It has so few reads that the statistics round them to none; their miss ratio is not modelled.',
    ['alpha'],
  ),
  twitter(
    22,
    'counters',
    {
      key: 54,
      value: 4,
      kqps: 3.24,
      mix: { get: 0.72, incr: 0.18, set: 0.1 },
      misses: 0.875,
      frequency: 4.3,
      once: 0.4148,
      alpha: 0.7624,
      ttls: [
        ['1d', 86_400, 0.85],
        ['1h', 3600, 0.11],
        ['30m', 1800, 0.03],
      ],
      megabytes: 3627,
    },
    {
      keys: { space: 32_800_000 },
      values: { size: 4 },
      counters: { initial: 1000 },
      ...arriving(3240, { get: 0.72, incr: 0.18, set: 0.1 }),
      popularity: { kind: 'zipf', alpha: 0.7624 },
      absent: 0.875,
      onMiss: 'none',
    },
    "Keys are such that the trace's length would show the published mean frequency and one-hit ratio. Misses are of counters that do not exist; those that do are of four digits.",
  ),
  twitter(
    37,
    'large values',
    {
      key: 72,
      value: 20_134,
      kqps: 4.15,
      mix: { get: 0.63, set: 0.37 },
      misses: 0.5938,
      frequency: 3.8,
      once: 0.1488,
      alpha: 0.4251,
      ttls: [
        ['20s', 20, 0.91],
        ['5m', 300, 0.06],
        ['2h', 7200, 0.02],
        ['10m', 600, 0.01],
      ],
      megabytes: 3_121_435,
    },
    {
      keys: { space: 2_000_000, resident: 19_000 },
      ...arriving(4150, { get: 0.6104 }),
      popularity: { kind: 'latest', alpha: 0.97, new: { get: 0.3675 } },
      streams: [
        { name: 'once', mix: { get: 0.5, set: 0.5 }, oneHit: 1, onMiss: 'none', arrivals: { rate: 163 } },
      ],
    },
    'A key comes, is asked for again soon, and goes: the newest are the most popular. Almost all SETs follow misses, of new keys, and of those whose 20 seconds are over: 19,000 are there, those of the last 20 seconds.',
    ['alpha'],
  ),
  twitter(
    10,
    'miss, then add',
    {
      key: 22,
      value: 2333,
      kqps: 0.22,
      mix: { add: 0.5, get: 0.5 },
      misses: 0.9925,
      frequency: 2,
      once: 0.0008,
      alpha: 0,
      ttls: [['2h', 7200, 1]],
      megabytes: 46_168,
    },
    {
      keys: { space: 1000 },
      ...arriving(220, { get: 0.502 }),
      popularity: { kind: 'latest', alpha: 0, new: { get: 0.9925 } },
      onMiss: 'add',
    },
    'Every ADD follows a miss; the few hits are of the last 1000 keys.',
  ),
  twitter(
    4,
    'expiries of many lengths',
    {
      key: 67,
      value: 2439,
      kqps: 5.26,
      mix: { get: 0.93, set: 0.07 },
      misses: 0.3941,
      frequency: 26.5,
      once: 0.2933,
      alpha: 1.1004,
      ttls: [
        ['60s', 60, 0.39],
        ['5m', 300, 0.24],
        ['1h', 3600, 0.13],
        ['10m', 600, 0.12],
        ['4h', 14_400, 0.09],
        ['1d', 86_400, 0.03],
      ],
      megabytes: 0,
    },
    {
      keys: { space: 13_800_000, resident: 1_550_000 },
      ...arriving(5260, { get: 0.9235 }),
      popularity: { kind: 'zipf-mandelbrot', alpha: 1.1004, q: 100 },
      absent: 0.314,
      streams: [once(34)],
    },
    `${head} The length is not published, nor the working set: 40 hours are assumed, as of other clusters. All SETs follow misses, of keys that are not among the most popular; the other misses are of keys that nobody stores.`,
  ),
];
