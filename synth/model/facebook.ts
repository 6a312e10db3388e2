// Facebook's pools of 2012: what their study says of each, and models that have it.

import { arriving, builtIn, type BuiltIn, type TenantInput } from './published.ts';

const atikoglu =
  'Facebook, Atikoglu et al., Workload Analysis of a Large-Scale Key-Value Store, SIGMETRICS 2012';
/** What the study says only of hit rates. */
const negative = 'The misses are reads of keys that nobody stores';

/** The hour of the day begins at 0 s: one hour of theirs is an hour here. Requests a second, from the fits of each hour. */
const etcGaps: readonly [scale: number, shape: number][] = [
  [16.2868, 0.15528],
  [15.8937, 0.141368],
  [15.6345, 0.137579],
  [15.7003, 0.142382],
  [16.3231, 0.160706],
  [17.5157, 0.181278],
  [18.6748, 0.196885],
  [19.5114, 0.202396],
  [20.205, 0.201637],
  [20.2915, 0.193764],
  [19.5577, 0.178386],
  [18.2294, 0.161636],
  [17.1879, 0.140461],
  [16.2159, 0.119242],
  [15.6716, 0.104535],
  [15.2904, 0.094286],
  [15.2033, 0.096963],
  [14.9533, 0.09851],
  [15.1381, 0.096155],
  [15.321, 0.094156],
  [15.3848, 0.100365],
  [15.7502, 0.111921],
  [16.0205, 0.131946],
  [16.3238, 0.147258],
];

const etcTenant: TenantInput = {
  keys: {
    space: 1_000_000,
    length: { kind: 'gev', location: 30.7984, scale: 8.20449, shape: 0.078688, min: 1, max: 250 },
  },
  values: {
    size: {
      kind: 'gpd',
      location: 0,
      scale: 214.476,
      shape: 0.348238,
      from: 15,
      atoms: [
        [0, 0.00536],
        [1, 0.00047],
        [2, 0.1782],
        [3, 0.09239],
        [4, 0.00018],
        [5, 0.0274],
        [6, 0.00065],
        [7, 0.00606],
        [8, 0.00023],
        [9, 0.00837],
        [10, 0.00837],
        [11, 0.08989],
        [12, 0.00092],
        [13, 0.00326],
        [14, 0.0198],
      ],
    },
  },
  mix: { get: 0.967, set: 0.033 },
  absent: 0.186,
  onMiss: 'none',
  // 1% of the keys have 55% of the requests, the coldest half 1%.
  popularity: {
    kind: 'buckets',
    buckets: [
      [100, 0.25],
      [1_900, 0.17],
      [8_000, 0.13],
      [90_000, 0.27],
      [400_000, 0.17],
      [500_000, 0.01],
    ],
  },
  arrivals: { rate: 52_700, gaps: { kind: 'gpd', shape: 0.154971 } },
  connections: { count: 50 },
};
const etcPublished = {
  mix: { get: 0.967, set: 0.033 },
  misses: 0.186,
  keyBytes: { mean: 36.2, p50: 33.8, p99: 76.3 },
  valueBytes: { mean: 198.9 },
  top: [
    [0.01, 0.55],
    [0.5, 0.99],
  ],
  rate: 52_700,
} as const;
const etcCurve = etcGaps.map(([scale, shape], hour) => ({
  at: `${hour}h`,
  rate: Math.round((1e6 * (1 - shape)) / scale),
}));

export const facebookModels: readonly BuiltIn[] = [
  builtIn(
    'etc',
    `${atikoglu}: pool ETC. Sizes and gaps as in mutilate; 3.3% updates by convention; 1% of the keys have 55% of the requests, the coldest half 1%. ${negative} and are not refilled; a million keys are assumed.`,
    etcTenant,
    etcPublished,
  ),
  withDay(
    builtIn(
      'etc-day',
      `${atikoglu}: pool ETC over a day of 24 hours, the rate of each hour from its own fit; the rest as in etc.`,
      {
        ...etcTenant,
        arrivals: { curve: etcCurve, repeats: '24h', gaps: { kind: 'gpd', shape: 0.154971 } },
      },
      // A million requests are the first seconds of the day.
      { ...etcPublished, rate: etcCurve[0]!.rate },
    ),
  ),
  builtIn(
    'usr',
    `${atikoglu}: pool USR. Keys of 16 or 21 bytes, values of 2, more than 99.8% reads, a hit rate of 98.2%. ${negative}; half of each key length, popularity (zipf .99), key space and rate are assumed.`,
    {
      keys: {
        space: 1_000_000,
        length: {
          kind: 'weights',
          values: [
            [16, 0.5],
            [21, 0.5],
          ],
        },
      },
      values: { size: 2 },
      mix: { get: 0.998, set: 0.002 },
      absent: 0.018,
      popularity: { kind: 'zipf', alpha: 0.99 },
      arrivals: { rate: 100_000 },
      connections: { count: 50 },
    },
    { mix: { get: 0.998, set: 0.002 }, misses: 0.018, valueBytes: { mean: 2 } },
  ),
  builtIn(
    'app',
    `${atikoglu}: pool APP, with many DELETEs and a hit rate of 92.9%. Misses are reads of keys that were deleted or that nobody stores; the mix (.87 GET, .04 SET, .09 DELETE), sizes, popularity and rate are assumed.`,
    {
      keys: { space: 5_000_000, length: { kind: 'normal', mean: 40, deviation: 8, min: 16, max: 250 } },
      values: { size: { kind: 'lognormal', mean: 300, sigma: 0.8, min: 1 } },
      ...arriving(20_000, { get: 0.87, set: 0.02 }),
      absent: 0.068,
      popularity: { kind: 'zipf', alpha: 0.9 },
      connections: { count: 50 },
      streams: [
        {
          name: 'invalidations',
          mix: { delete: 1 },
          popularity: { kind: 'uniform' },
          arrivals: { rate: 1800 },
        },
      ],
    },
    { mix: {}, misses: 0.071 },
  ),
  builtIn(
    'var',
    `${atikoglu}: pool VAR. 90% of the keys have 31 bytes, 18% reads and 82% updates, a hit rate of 93.7%. ${negative}; sizes of values, popularity, key space and rate are assumed.`,
    {
      keys: {
        space: 100_000,
        length: {
          kind: 'weights',
          values: [
            [31, 0.9],
            [24, 0.05],
            [40, 0.05],
          ],
        },
      },
      values: { size: { kind: 'lognormal', mean: 100, sigma: 0.5, min: 1 } },
      mix: { get: 0.18, set: 0.82 },
      absent: 0.063,
      popularity: { kind: 'zipf', alpha: 0.9 },
      arrivals: { rate: 20_000 },
      connections: { count: 50 },
    },
    { mix: { get: 0.18, set: 0.82 }, misses: 0.063, keyBytes: { p50: 31 } },
  ),
  builtIn(
    'sys',
    `${atikoglu}: pool SYS: small, with a hit rate of 98.7%. ${negative}; all other figures are assumed.`,
    {
      keys: { space: 20_000, length: { kind: 'normal', mean: 30, deviation: 6, min: 16, max: 250 } },
      values: { size: { kind: 'lognormal', mean: 200, sigma: 1, min: 1 } },
      mix: { get: 0.7, set: 0.3 },
      absent: 0.013,
      popularity: { kind: 'zipf', alpha: 0.8 },
      arrivals: { rate: 5000 },
      connections: { count: 20 },
    },
    { mix: {}, misses: 0.013 },
  ),
];

function withDay({ model, published }: BuiltIn): BuiltIn {
  return { model: { ...model, duration: '24h' }, published };
}
