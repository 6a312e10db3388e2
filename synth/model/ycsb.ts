// The core workloads of YCSB that memcached has a form for.

import { builtIn, type BuiltIn, type Published, type TenantInput } from './published.ts';

function ycsb(
  letter: string,
  what: string,
  tenant: Pick<TenantInput, 'mix' | 'popularity'>,
  mix: Published['mix'],
): BuiltIn {
  return builtIn(
    `ycsb-${letter}`,
    `YCSB workload ${letter.toUpperCase()}, ${what}: Cooper et al., Benchmarking Cloud Serving Systems with YCSB, SoCC 2010. Ten fields of 100 bytes are one value. The length of keys and the rate are assumed.`,
    {
      keys: { space: 1_000_000, prefix: 'user', length: 23 },
      values: { size: 1000, bytes: 'random' },
      popularity: { kind: 'zipf', alpha: 0.99 },
      onMiss: 'none',
      arrivals: { rate: 20_000 },
      connections: { count: 50 },
      ...tenant,
    },
    {
      mix,
      misses: 0,
      valueBytes: { mean: 1000 },
      ...(tenant.popularity === undefined ? { alpha: 0.99 } : {}),
    },
  );
}

export const ycsbModels: readonly BuiltIn[] = [
  ycsb('a', 'half reads, half updates', { mix: { get: 0.5, set: 0.5 } }, { get: 0.5, set: 0.5 }),
  ycsb('b', 'mostly reads', { mix: { get: 0.95, set: 0.05 } }, { get: 0.95, set: 0.05 }),
  ycsb('c', 'reads only', { mix: { get: 1 } }, { get: 1 }),
  ycsb(
    'd',
    'reads of the latest',
    { mix: { get: 0.95, add: 0.05 }, popularity: { kind: 'latest', alpha: 0.99 } },
    { get: 0.95, add: 0.05 },
  ),
  // A read-modify-write is a GET and a SET with its CAS id: of four operations, six requests.
  ycsb(
    'f',
    'half reads, half read-modify-write',
    { mix: { get: 0.5, cas: 0.5 } },
    { get: 0.6667, cas: 0.3333 },
  ),
];
