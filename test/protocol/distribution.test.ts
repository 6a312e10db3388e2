// How clients choose a server: against what the clients themselves chose (fixtures/golden/routes.json, which
// scripts/routing.ts has from libmemcached), and against memjs here and now.

import { readFileSync } from 'node:fs';
import { Client } from 'memjs';
import { describe, expect, test } from 'vitest';
import {
  createDistribution,
  distributionNames,
  fnv1a64,
  jump,
  keyHashes,
  type DistributionName,
} from '../../protocol/distribution.ts';
import { parseHostPort } from '../../trace/address.ts';

interface Golden {
  keys: string[];
  routes: { name: DistributionName; servers: string[]; chosen: number[] }[];
}

const golden = JSON.parse(readFileSync('fixtures/golden/routes.json', 'utf8')) as Golden;

function choose(name: DistributionName, servers: readonly string[], keys: readonly string[]): number[] {
  const distribution = createDistribution(
    name,
    servers.map((server) => parseHostPort(server, 11_211)),
  );
  return keys.map((key) => {
    const bytes = Buffer.from(`before${key}after`);
    return distribution(bytes, 6, bytes.length - 11);
  });
}

test.each(golden.routes.map((route) => [route.name, route.servers.length, route] as const))(
  '%s over %i servers, as libmemcached',
  (name, _count, { servers, chosen }) => {
    expect(golden.keys.length).toBeGreaterThan(200);
    expect(choose(name, servers, golden.keys)).toEqual(chosen);
    expect(new Set(chosen).size).toBe(servers.length);
  },
);

test('memjs, as memjs', () => {
  const servers = ['a:1', 'b:2', 'c:3', 'd:4', 'e:5'];
  const client = Client.create(servers.join(',')) as unknown as {
    getServer(key: string): number;
    close(): void;
  };
  const keys = [...golden.keys, 'ключ', '鍵', '🔑', 'a'.repeat(250)];
  expect(choose('memjs', servers, keys)).toEqual(keys.map((key) => client.getServer(key)));
  client.close();
});

test('jump: what its authors say, and no key moves but to the new server', () => {
  // Of the table in the paper's own code: jump(0, n) is 0 for any n.
  expect([1, 10, 1000].map((buckets) => jump(0n, buckets))).toEqual([0, 0, 0]);
  // FNV-1a's published test vectors.
  expect(fnv1a64(Buffer.from('foobar'), 0, 6)).toBe(0x85944171f73967e8n);
  expect(fnv1a64(Buffer.from('a'), 0, 1)).toBe(0xaf63dc4c8601ec8cn);
  for (let n = 0; n < 1000; n++) {
    const hash = fnv1a64(Buffer.from(`k${n}`), 0, `k${n}`.length);
    const [before, after] = [jump(hash, 7), jump(hash, 8)];
    expect(after === before || after === 7).toBe(true);
  }
});

test.each([
  ['fnv1a', 'foobar', 0xbf9cf968],
  ['crc32', '123456789', 0xcbf43926],
  ['murmur3', '', 0],
  ['murmur3', 'hello', 0x248bfa47],
  ['murmur3', 'hello, world', 0x149bbb7f],
  ['murmur3', 'The quick brown fox jumps over the lazy dog', 0x2e4ff723],
])('%s of "%s", as published', (name, text, hash) => {
  expect(keyHashes[name]!(Buffer.from(text), 0, text.length)).toBe(hash);
});

describe.each(distributionNames)('%s', (name) => {
  test('one server has everything', () => {
    expect(choose(name, ['a:1'], ['x', 'y'])).toEqual([0, 0]);
  });
  test('spreads keys, any bytes', () => {
    const servers = ['a:1', 'b:2', 'c:3'];
    const counts = [0, 0, 0];
    for (const server of choose(
      name,
      servers,
      Array.from({ length: 3000 }, (_, n) => `key:${n}`),
    ))
      counts[server]!++;
    for (const count of counts) expect(count).toBeGreaterThan(400);
    const odd = createDistribution(
      name,
      servers.map((server) => parseHostPort(server, 11_211)),
    );
    expect(odd(Buffer.from([0xff, 0x80, 0x00]), 0, 3)).toBeLessThan(3);
  });
});
