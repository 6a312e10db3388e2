// Routing as clients do it: `node dist/scripts/routing.js [KEYS]` fills five real memcached servers through pylibmc and
// through memjs, and replays reads of all keys with the route of that client: each must find its value. With `--golden`
// it writes what libmemcached chooses into fixtures/golden/routes.json, for the tests.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'memjs';
import { PYTHON } from '../fixtures/pylibmc.ts';
import { startMemcached, type Memcached } from '../embedded/memcached.ts';
import type { DistributionName } from '../protocol/distribution.ts';
import { startProxy } from '../recorder/proxy.ts';
import { judged } from './judged.ts';

const isGolden = process.argv[2] === '--golden';
const KEYS = isGolden ? 250 : Number(process.argv[2] ?? 10_000);
const SERVERS = 5;
const folder = mkdtempSync(join(tmpdir(), 'memtape-routing-'));

const keys = Array.from({ length: KEYS }, (_, n) =>
  n % 50 === 7 ? `clé:${n}:é` : `user:${(n * 7919) % 100_003}:${n}`,
);

const behaviors = {
  ketama: '{"ketama": True}',
  'ketama-weighted': '{"ketama_weighted": True}',
  modula: '{}',
};

function python(program: string, input: object): string {
  return execFileSync(PYTHON, ['-c', `import sys, json, pylibmc\na = json.load(sys.stdin)\n${program}`], {
    input: JSON.stringify(input),
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
}

function golden(): void {
  const routes = [2, 3, 5, 7, 11].flatMap((count) =>
    Object.entries(behaviors).map(([name, behavior]) => {
      const servers = Array.from({ length: count }, (_, n) =>
        n === 1 ? '10.1.2.3:11211' : `cache-${n}.example:${21_000 + n}`,
      );
      const chosen = JSON.parse(
        python(
          `c = pylibmc.Client(a["servers"], binary=True, behaviors=${behavior})\nprint(json.dumps([c.hash(k) for k in a["keys"]]))`,
          { servers, keys },
        ),
      ) as number[];
      return { name, servers, chosen };
    }),
  );
  writeFileSync('fixtures/golden/routes.json', `${JSON.stringify({ keys, routes })}\n`);
}

async function fillThroughMemjs(addresses: readonly string[]): Promise<void> {
  const client = Client.create(addresses.join(','), { timeout: 10 });
  for (let from = 0; from < keys.length; from += 500)
    await Promise.all(
      keys.slice(from, from + 500).map(async (key) => client.set(key, `value of ${key}`, {})),
    );
  client.close();
}

function fillThroughPylibmc(addresses: readonly string[], behavior: string): void {
  python(
    `c = pylibmc.Client(a["servers"], binary=True, behaviors=${behavior})\nfor k in a["keys"]: c.set(k, b"value of " + k.encode())`,
    { servers: addresses, keys },
  );
}

/** A trace of reads of all keys, each a hit, from one server that has them all. */
async function record(path: string): Promise<void> {
  const server = await startMemcached();
  const proxy = await startProxy({
    listen: ['127.0.0.1:0'],
    upstream: [server.address],
    output: path,
  });
  const client = Client.create(proxy.addresses[0]!, { timeout: 10 });
  await fillThroughMemjs([server.address]);
  for (let from = 0; from < keys.length; from += 500)
    await Promise.all(keys.slice(from, from + 500).map(async (key) => client.get(key)));
  client.close();
  await proxy.stop();
  await server.stop();
}

async function check(
  name: DistributionName,
  tape: string,
  fill: (addresses: string[]) => unknown,
): Promise<boolean> {
  const servers: Memcached[] = [];
  for (let n = 0; n < SERVERS; n++) servers.push(await startMemcached());
  const targets = servers.map(({ address }) => address);
  try {
    await fill(targets);
    const results = join(folder, 'results');
    const run = { trace: tape, results, targets, route: name, prefill: 'none', speed: 'max' } as const;
    const { diff } = await judged(run);
    const spread = diff.targets.map(({ exchanges }) => exchanges).join(' + ');
    process.stdout.write(`${name}: ${diff.matched} of ${diff.total} reads found their value (${spread})\n`);
    return diff.matched === diff.total && diff.total >= KEYS;
  } finally {
    for (const server of servers) await server.stop();
  }
}

try {
  if (isGolden) golden();
  else {
    const tape = join(folder, 'reads.tape');
    await record(tape);
    const outcomes = [await check('memjs', tape, fillThroughMemjs)];
    for (const [name, behavior] of Object.entries(behaviors))
      outcomes.push(
        await check(name as DistributionName, tape, (addresses) => fillThroughPylibmc(addresses, behavior)),
      );
    if (!outcomes.every(Boolean)) process.exitCode = 1;
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
