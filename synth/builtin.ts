// The models that come with memtape: workloads that were published. Each says where its figures are from, and what had to
// be assumed because nobody published it.

import type { ModelInput } from './model.ts';

type TenantInput = ModelInput['tenants'][number];

function model(name: string, about: string, tenant: TenantInput): ModelInput {
  return { format: 'memtape-model/1', name, about, start: 'warm', tenants: [tenant] };
}

const atikoglu =
  'Facebook, Atikoglu et al., Workload Analysis of a Large-Scale Key-Value Store, SIGMETRICS 2012';

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

function twitter(
  cluster: number,
  what: string,
  /** Bytes of keys and values, thousands of requests a second, exponent, mean frequency of a key in the trace. */
  [key, value, kqps, alpha, frequency]: readonly [number, number, number, number, number],
  rest: Pick<TenantInput, 'mix' | 'ttl' | 'oneHit' | 'onMiss'>,
  more = '',
): ModelInput {
  // What a run of ten minutes would touch.
  const space = Math.max(1000, Math.round((kqps * 1000 * 600) / frequency));
  return model(
    `twitter-${cluster}`,
    `Twitter cluster ${cluster}, ${what}: Yang et al., A Large Scale Analysis of Hundreds of In-memory Cache Clusters at Twitter, OSDI 2020, and its statistics of March 2020 (CC BY 4.0). Only means of sizes are published: lognormal with sigma 0.5 is assumed. The key space is assumed: what ten minutes touch at the mean frequency, ${space} keys.${more}`,
    {
      // Lengths vary less than values do.
      keys: {
        space,
        length: { kind: 'normal', mean: key, deviation: key / 10, min: Math.min(key, 16), max: 250 },
      },
      values: { size: { kind: 'lognormal', mean: value, sigma: 0.5, min: 1 } },
      popularity: alpha === 0 ? { kind: 'uniform' } : { kind: 'zipf', alpha },
      arrivals: { rate: kqps * 1000 },
      connections: { count: 50 },
      ...rest,
    },
  );
}

const kvcachePopularity: [number, number][] = [
  [1, 27638685],
  [1, 17015731],
  [1, 11027400],
  [1, 5522005],
  [3, 11169886],
  [2, 6292706],
  [3, 6371378],
  [4, 5559535],
  [8, 8293967],
  [8, 6563770],
  [17, 7023784],
  [16, 3930724],
  [31, 5543623],
  [33, 4456390],
  [130, 12476870],
  [254, 14915973],
  [512, 17386945],
  [1036, 18674639],
  [2047, 19555970],
  [4113, 20343322],
  [8202, 20582343],
  [16438, 20254463],
  [33174, 19301559],
  [66233, 18125447],
  [131861, 17425795],
  [272051, 17948225],
  [537411, 18587786],
  [1078410, 19019379],
  [2220303, 18282404],
  [6111338, 17939116],
];
const kvcacheSizes: [number, number, number][] = [
  [1, 63, 12861],
  [64, 95, 2243135],
  [96, 127, 4088142],
  [128, 159, 8366545],
  [160, 191, 724067],
  [192, 223, 272432],
  [224, 255, 142789],
  [256, 319, 258695],
  [320, 383, 163002],
  [384, 447, 79273],
  [448, 511, 168613],
  [512, 639, 127197],
  [640, 767, 158567],
  [768, 895, 37460],
  [896, 1023, 38241],
  [1024, 1279, 35162],
  [1280, 1535, 16389],
  [1536, 2047, 20347],
  [2048, 3071, 19299],
  [3072, 4095, 12856],
  [4096, 8191, 17106],
  [8192, 16383, 7461],
  [16384, 32767, 4413],
  [32768, 65535, 1595],
  [65536, 131103, 1171],
  [131104, 262175, 3740],
  [262176, 523487, 3981],
];

function ycsb(letter: string, what: string, tenant: Pick<TenantInput, 'mix' | 'popularity'>): ModelInput {
  return model(
    `ycsb-${letter}`,
    `YCSB workload ${letter.toUpperCase()}, ${what}: Cooper et al., Benchmarking Cloud Serving Systems with YCSB, SoCC 2010. Ten fields of 100 bytes are one value. The rate is assumed.`,
    {
      keys: { space: 1_000_000, prefix: 'user', length: 23 },
      values: { size: 1000, bytes: 'random' },
      popularity: { kind: 'zipf', alpha: 0.99 },
      onMiss: 'none',
      arrivals: { rate: 20_000 },
      connections: { count: 50 },
      ...tenant,
    },
  );
}

const all: readonly ModelInput[] = [
  model(
    'etc',
    `${atikoglu}: pool ETC. Sizes and gaps as in mutilate; 3.3% updates by convention; 1% of the keys have 55% of the requests, the coldest half 1%. A million keys are assumed.`,
    etcTenant,
  ),
  {
    ...model(
      'etc-day',
      `${atikoglu}: pool ETC over a day of 24 hours, the rate of each hour from its own fit; the rest as in etc.`,
      {
        ...etcTenant,
        arrivals: {
          curve: etcGaps.map(([scale, shape], hour) => ({
            at: `${hour}h`,
            rate: Math.round((1e6 * (1 - shape)) / scale),
          })),
          repeats: '24h',
          gaps: { kind: 'gpd', shape: 0.154971 },
        },
      },
    ),
    duration: '24h',
  },
  model(
    'usr',
    `${atikoglu}: pool USR. Keys of 16 or 21 bytes, values of 2, more than 99.8% reads; half of each key length, popularity (zipf .99), key space and rate are assumed.`,
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
      popularity: { kind: 'zipf', alpha: 0.99 },
      arrivals: { rate: 100_000 },
      connections: { count: 50 },
    },
  ),
  model(
    'app',
    `${atikoglu}: pool APP, with many DELETEs and a hit rate of 92.9%. Mix, sizes, popularity and rate are assumed.`,
    {
      keys: { space: 500_000, length: { kind: 'normal', mean: 40, deviation: 8, min: 16, max: 250 } },
      values: { size: { kind: 'lognormal', mean: 300, sigma: 0.8, min: 1 } },
      mix: { get: 0.87, set: 0.04, delete: 0.09 },
      popularity: { kind: 'zipf', alpha: 0.9 },
      oneHit: 0.03,
      arrivals: { rate: 20_000 },
      connections: { count: 50 },
    },
  ),
  model(
    'var',
    `${atikoglu}: pool VAR. 90% of the keys have 31 bytes, 18% reads and 82% updates; sizes of values, popularity, key space and rate are assumed.`,
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
      popularity: { kind: 'zipf', alpha: 0.9 },
      arrivals: { rate: 20_000 },
      connections: { count: 50 },
    },
  ),
  model('sys', `${atikoglu}: pool SYS: small, with a hit rate of 98.7%. All figures are assumed.`, {
    keys: { space: 20_000, length: { kind: 'normal', mean: 30, deviation: 6, min: 16, max: 250 } },
    values: { size: { kind: 'lognormal', mean: 200, sigma: 1, min: 1 } },
    mix: { get: 0.7, set: 0.3 },
    popularity: { kind: 'zipf', alpha: 0.8 },
    oneHit: 0.01,
    arrivals: { rate: 5000 },
    connections: { count: 20 },
  }),
  twitter(52, 'storage', [20, 273, 24.25, 1.2117, 32.6], {
    oneHit: 0.0059,
    // The CAS of a pair comes with its own read.
    mix: { get: 0.92, add: 0.04, gets: 0.02, cas: 0.02 },
    ttl: ttls(['1d', 0.65], ['14d', 0.27], ['12h', 0.07]),
  }),
  twitter(
    18,
    'tiny values, CAS, skewed',
    [18, 37, 26.4, 1.4, 660.5],
    {
      oneHit: 0.0001,
      mix: { get: 0.97, add: 0.01, gets: 0.01, cas: 0.01 },
      ttl: '12h',
    },
    ' Its exponent of 2.10 would give the first key 64%: 1.4 is assumed.',
  ),
  twitter(29, 'sensitive to memory', [36, 799, 10.73, 1.2323, 22.5], {
    oneHit: 0.0102,
    mix: { get: 0.87, set: 0.13 },
    ttl: ttls(['1h', 0.67], ['2h', 0.33]),
  }),
  twitter(14, 'invalidations', [96, 414, 5.81, 1.2959, 35.4], {
    oneHit: 0.0031,
    onMiss: 'none',
    mix: { get: 0.65, delete: 0.22, set: 0.13 },
    ttl: '1d',
  }),
  twitter(12, 'write-heavy', [44, 1030, 4.36, 0.3048, 1.3], {
    oneHit: 0.626,
    onMiss: 'none',
    mix: { set: 0.8, get: 0.2 },
    ttl: '300s',
  }),
  twitter(15, 'write-only, transient', [18, 102, 9.02, 0.0242, 1], {
    oneHit: 0.9957,
    onMiss: 'none',
    mix: { set: 1 },
    ttl: '30s',
  }),
  twitter(22, 'counters', [54, 4, 3.24, 0.7624, 4.3], {
    oneHit: 0.0965,
    onMiss: 'none',
    mix: { get: 0.72, incr: 0.18, set: 0.1 },
    ttl: ttls(['1d', 0.85], ['1h', 0.11], ['30m', 0.03]),
  }),
  twitter(37, 'large values', [72, 20_134, 4.15, 0.4251, 3.8], {
    oneHit: 0.0392,
    onMiss: 'none',
    mix: { get: 0.63, set: 0.37 },
    ttl: ttls(['20s', 0.91], ['5m', 0.06], ['2h', 0.02], ['10m', 0.01]),
  }),
  twitter(
    10,
    'miss, then add',
    [22, 2333, 0.11, 0, 2],
    {
      oneHit: 0.985,
      onMiss: 'add',
      mix: { get: 1 },
      ttl: '2h',
    },
    ' The ADDs are what follows a miss, and half of its 220 requests a second.',
  ),
  twitter(4, 'expiries of many lengths', [67, 2439, 5.26, 1.1004, 26.5], {
    oneHit: 0.0111,
    mix: { get: 0.93, set: 0.07 },
    ttl: ttls(['60s', 0.39], ['5m', 0.24], ['1h', 0.13], ['10m', 0.12], ['4h', 0.09], ['1d', 0.03]),
  }),
  model(
    'kvcache',
    'Meta, kvcache_reg of CacheLib (Apache-2.0): popularity of 10.48 million objects and sizes of values, condensed to 30 buckets and 27 ranges; keys of 16 to 255 bytes, of which memcached takes 250. The rate is assumed.',
    {
      keys: { space: 10_483_642, length: { kind: 'uniform', min: 16, max: 250 } },
      values: { size: { kind: 'ranges', ranges: kvcacheSizes } },
      mix: { get: 1 },
      oneHit: 0.0155,
      popularity: { kind: 'buckets', buckets: kvcachePopularity },
      arrivals: { rate: 25_000 },
      connections: { count: 50 },
    },
  ),
  ycsb('a', 'half reads, half updates', { mix: { get: 0.5, set: 0.5 } }),
  ycsb('b', 'mostly reads', { mix: { get: 0.95, set: 0.05 } }),
  ycsb('c', 'reads only', { mix: { get: 1 } }),
  ycsb('d', 'reads of the latest', {
    mix: { get: 0.95, add: 0.05 },
    popularity: { kind: 'latest', alpha: 0.99 },
  }),
  ycsb('f', 'half reads, half read-modify-write', { mix: { get: 0.5, cas: 0.5 } }),
];

function ttls(...shares: [string, number][]): NonNullable<TenantInput['ttl']> {
  return shares.map(([ttl, share]) => ({ ttl, share }));
}

/** By name. */
export const builtinModels: ReadonlyMap<string, ModelInput> = new Map(all.map((one) => [one.name!, one]));
