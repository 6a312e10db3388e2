// What failures share: what was planted is named, and where nothing was, nobody is.

import { describe, expect, test } from 'vitest';
import { Attribution, type Observed } from '../../diff/attribution.ts';
import { createDistribution, keyHashes } from '../../protocol/distribution.ts';
import { Random } from '../../synth/laws/random.ts';
import { parseHostPort } from '../../trace/address.ts';

interface Draw extends Observed {
  bytes: Buffer;
}

/** Exchanges of many kinds; the rule says which fail. */
function observed(seed: number, count: number, fails: (seen: Draw, random: Random) => boolean): Attribution {
  const random = new Random(seed);
  const attribution = new Attribution();
  for (let n = 0; n < count; n++) {
    const key = `${random.pick(['user', 'item', 'page'] as const)}:${random.int(400)}`;
    const seen: Draw = {
      failed: false,
      server: `10.0.0.${random.int(4)}:11211`,
      tenant: random.pick(['alice', 'bob'] as const),
      opcode: random.pick(['get', 'set', 'incr', 'touch'] as const),
      connection: random.int(30),
      key,
      valueBytes: random.int(2000),
      moment: n / count,
      atSeconds: n / 1000,
      bytes: Buffer.from(key),
    };
    attribution.add({ ...seen, failed: fails(seen, random) });
  }
  return attribution;
}

const backends = ['a:1', 'b:2', 'c:3', 'd:4', 'e:5', 'f:6', 'g:7', 'h:8'].map((server) =>
  parseHostPort(server, 11_211),
);
const ketama = createDistribution('ketama', backends);

const planted: [string, (seen: Draw, random: Random) => boolean, string, RegExp][] = [
  ['a server', ({ server }) => server === '10.0.0.2:11211', 'server', /^10\.0\.0\.2:11211$/],
  [
    'a tenant, now and then',
    ({ tenant }, random) => tenant === 'bob' && random.chance(0.1),
    'tenant',
    /^bob$/,
  ],
  ['an operation', ({ opcode }) => opcode === 'incr', 'opcode', /^incr$/],
  ['a connection', ({ connection }) => connection === 17, 'connection', /^17$/],
  [
    'a backend of a ketama ring',
    ({ bytes }) => ketama(bytes, 0, bytes.length) === 3,
    'partition',
    /^d:4, 3 of 8 \(ketama\)$/,
  ],
  [
    'a backend behind a proxy that nobody knows',
    ({ bytes }) => keyHashes['crc32']!(bytes, 0, bytes.length) % 7 === 4,
    'partition',
    /^4 of 7 \(crc32 modulo\)$/,
  ],
  [
    'one request in twenty to such a backend',
    ({ bytes }, random) => keyHashes['murmur3']!(bytes, 0, bytes.length) % 5 === 1 && random.chance(0.05),
    'partition',
    /^1 of 5 \(murmur3 modulo\)$/,
  ],
  ['keys of a kind', ({ key }) => key.startsWith('page:'), 'prefix', /^page$/],
  ['large values', ({ valueBytes }) => valueBytes >= 1024, 'size', /^1024 to 2047 bytes$/],
];

test.each(planted)('%s', (_name, fails, factor, value) => {
  for (const seed of [1, 2, 3]) {
    const [first] = observed(seed, 8_000, fails).culprits('violations', backends);
    expect([first?.factor, first?.value]).toEqual([factor, expect.stringMatching(value)]);
    expect(first!.p).toBeLessThan(1e-3);
  }
});

test('a backend that is known is named by few keys, where guessing at every way to spread them would not', () => {
  const few = backends.slice(0, 4);
  const ring = createDistribution('ketama', few);
  const names = { known: [] as string[], guessed: [] as string[] };
  for (let seed = 1; seed <= 20; seed++) {
    const random = new Random(seed);
    const attribution = new Attribution();
    for (let n = 0; n < 40; n++) {
      const key = Buffer.from(`counter:${seed}:${n}`);
      const failed = ring(key, 0, key.length) === 1 && random.chance(0.6);
      attribution.addKey({
        server: 'proxy:1',
        tenant: '',
        key: key.toString(),
        total: 1,
        failures: Number(failed),
        sinceSeconds: n,
      });
    }
    for (const [way, known] of [
      ['known', few],
      ['guessed', []],
    ] as const)
      names[way].push(...attribution.culprits('violations', known).map(({ value }) => value));
  }
  expect(names.known.length).toBeGreaterThan(8);
  expect(new Set(names.known)).toEqual(new Set(['b:2, 1 of 4 (ketama)']));
  expect(names.guessed.length).toBeLessThan(names.known.length / 2);
});

describe('nobody is named', () => {
  test('where failures fall anywhere: in 40 runs', () => {
    let named = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const share = 0.001 + (seed % 10) / 100;
      named += observed(seed, 3_000, (_seen, random) => random.chance(share)).culprits(
        'violations',
        backends,
      ).length;
    }
    expect(named).toBe(0);
  });

  test('where one hot key fails, or nothing, or everything', () => {
    const hot = observed(4, 5_000, ({ key }) => key === 'user:7').culprits('violations', backends);
    expect(hot.filter(({ factor }) => factor === 'partition' || factor === 'server')).toEqual([]);
    expect(observed(5, 2_000, () => false).culprits('violations')).toEqual([]);
    expect(observed(6, 2_000, () => true).culprits('violations')).toEqual([]);
    expect(new Attribution().culprits('lost')).toEqual([]);
  });
});

test('the counts are those of the value, and of all', () => {
  const [first] = observed(1, 8_000, ({ server }) => server === '10.0.0.2:11211').culprits('violations');
  expect(first).toMatchObject({
    unit: 'keys',
    failures: first!.total,
    allFailures: first!.failures,
    sinceSeconds: expect.closeTo(0, 1) as number,
  });
  expect(first!.lift).toBeCloseTo(first!.all / first!.total, 6);
});
