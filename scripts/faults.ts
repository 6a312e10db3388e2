// The fault matrix: `node dist/scripts/faults.js [SEEDS] [SPEEDS] [FAULTS]`. Traffic of memjs and pylibmc clients of two
// tenants is recorded through a healthy proxy with four backends behind it; then it is replayed against the same release
// with one fault on one backend. Each must be found, by a kind of finding that fits, and the backend named first; the
// healthy release must pass. Prints a table in Markdown, and ends with 1 where something was missed or invented.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Diff } from '../diff/diff.ts';
import { runClients, settled } from '../fixtures/clients.ts';
import { startCluster, type Cluster } from '../fixtures/cluster.ts';
import { proxyFaults, startFaultProxy, type FaultProxy, type ProxyFault } from '../fixtures/proxy.ts';
import { runPylibmc } from '../fixtures/pylibmc.ts';
import { runQuiet } from '../fixtures/quiet.ts';
import { startProxy } from '../recorder/proxy.ts';
import { judged } from './judged.ts';

const SEEDS = Number(process.argv[2] ?? 3);
const SPEEDS = (process.argv[3] ?? '1,max').split(',').map((text) => (text === 'max' ? 'max' : Number(text)));
const wanted = process.argv[4]?.split(',');
const BACKENDS = 4;
/** What the ring calls them: the same keys are on the same backend in every run. */
const names = Array.from({ length: BACKENDS }, (_, n) => ({ host: `backend-${n}`, port: 11_300 }));
const users = new Map([
  ['alice', 'secret-of-alice'],
  ['bob', 'secret-of-bob'],
]);
const folder = mkdtempSync(join(tmpdir(), 'memtape-faults-'));

/** What may be said of each fault; `lost` and the like are drift. */
const expected: Readonly<Record<string, readonly string[]>> = {
  'stale-sockets': ['lost', 'wrong-status'],
  'restart-empty': ['lost'],
  'delayed-flush': ['lost'],
  slow: ['latency'],
  stall: ['unanswered', 'closed'],
  blackhole: ['unanswered', 'closed'],
  reset: ['closed'],
  'half-open': ['closed'],
  'refused-store': ['capacity'],
  'eviction-storm': ['lost'],
  corrupt: ['wrong-value'],
  truncate: ['wrong-value'],
  swap: ['foreign-value', 'wrong-value', 'stale-value'],
  'wrong-key': ['wrong-key'],
  'tenant-leak': ['foreign-value', 'wrong-value'],
  'stale-read': ['stale-value'],
  'lost-write': ['stale-value', 'lost'],
  'cas-ignored': ['cas'],
  'counter-off': ['counter'],
  'flags-lost': ['wrong-flags'],
  'ttl-ignored': ['stale-value', 'temporal'],
  'ttl-short': ['lost'],
  'quiet-errors-dropped': ['wrong-status', 'found', 'raced'],
  duplicate: ['orphan'],
  reorder: ['unanswered', 'orphan', 'malformed'],
  'wrong-opaque': ['orphan', 'unanswered'],
  'wrong-status': ['wrong-status'],
  churn: ['closed'],
};

async function traffic(address: string): Promise<void> {
  await Promise.all(
    [...users].flatMap(([user, password], tenant) => [
      runQuiet(address, 300, user, password),
      runClients({
        address: `${user}:${password}@${address}`,
        seed: 10 + tenant,
        clients: 3,
        exchanges: 2500,
        seconds: 4,
        keys: 300,
        calls: {},
      }),
      runPylibmc({ addresses: [address], user, password, seed: tenant, count: 1500 }),
    ]),
  );
}

async function cluster(): Promise<Cluster> {
  return startCluster({ backends: BACKENDS, memoryBytes: 64e6 });
}

async function record(path: string): Promise<void> {
  const backends = await cluster();
  const release = await startFaultProxy({ backends: backends.addresses, names, users });
  const proxy = await startProxy({ listen: ['127.0.0.1:0'], upstream: [release.address], output: path });
  await traffic(proxy.addresses[0]!);
  await settled(() => proxy.open === 0);
  await proxy.stop();
  await release.stop();
  await backends.stop();
}

async function replayed(
  tape: string,
  speed: number | 'max',
  faults: readonly ProxyFault[],
  seed: number,
): Promise<{ diff: Diff; release: FaultProxy }> {
  const backends = await cluster();
  const release = await startFaultProxy({
    backends: backends.addresses,
    names,
    users,
    faults,
    seed,
    spared: users.size,
    waits: true,
    restart: async (backend) => backends.restart(backend),
  });
  const results = join(folder, 'results');
  try {
    let isBegun = false;
    const { diff } = await judged(
      {
        trace: tape,
        results,
        targets: [release.address],
        speed,
        timeoutMs: 400,
        credentialsOf: (tenant) => ({ user: tenant, password: users.get(tenant) ?? '' }),
        onProgress: ({ phase }) => {
          if (phase !== 'replaying' || isBegun) return;
          isBegun = true;
          release.begin();
        },
      },
      { backends: names, examples: 3 },
    );
    return { diff, release };
  } finally {
    await release.stop();
    await backends.stop();
  }
}

const table: string[] = [];
let failed = 0;

function share(name: ProxyFault['name']): number {
  return [
    'stale-sockets',
    'blackhole',
    'refused-store',
    'ttl-ignored',
    'ttl-short',
    'cas-ignored',
    'wrong-key',
    'flags-lost',
    'counter-off',
    'quiet-errors-dropped',
    'stale-read',
    'tenant-leak',
    'slow',
  ].includes(name)
    ? 1
    : 0.1;
}

try {
  const tape = join(folder, 'recorded.tape');
  await record(tape);
  table.push('| fault | speed | struck | found as | named first |', '|---|---|---|---|---|');
  for (const speed of SPEEDS) {
    const { diff: healthy } = await replayed(tape, speed, [], 1);
    const wrong = Object.values(healthy.counts.violation).reduce((sum, n) => sum + n, 0);
    const culprits = healthy.culprits.length;
    if (wrong > 0) failed++;
    table.push(
      `| none | ${speed} | – | ${wrong === 0 ? 'nothing' : JSON.stringify(healthy.counts.violation)}, ${healthy.matched} of ${healthy.total} matched, drift ${JSON.stringify(healthy.counts.drift)} | ${culprits === 0 ? 'nobody' : JSON.stringify(healthy.culprits)} |`,
    );
    for (const name of proxyFaults) {
      if (wanted !== undefined && !wanted.includes(name)) continue;
      for (let seed = 1; seed <= SEEDS; seed++) {
        const backend = seed % BACKENDS;
        const fault: ProxyFault = {
          name,
          backend,
          share: share(name),
          ...(name === 'stall' ? { untilMs: 3000 } : {}),
          ...(name === 'stale-sockets' || name === 'restart-empty' || name === 'delayed-flush'
            ? { afterMs: speed === 'max' ? 60 : 1500 }
            : {}),
        };
        const { diff: sick, release } = await replayed(tape, speed, [fault], seed);
        const kinds = { ...sick.counts.violation, ...sick.counts.drift };
        const slow = sick.latency.fromSent.getValueAtPercentile(95) > 30_000;
        const hit = expected[name]!.filter((kind) => (kind === 'latency' ? slow : (kinds[kind] ?? 0) > 0));
        const first = sick.culprits[0];
        const named = first?.factor === 'partition' && first.value.startsWith(`backend-${backend}:11300,`);
        // Expiries and delays take seconds; what was answered last before a hang-up shows unless hundreds of requests
        // are under way behind each other.
        const needsTime = speed === 'max' && (name.startsWith('ttl-') || name === 'delayed-flush');
        const isAnonymous = speed === 'max' && name === 'churn' && first === undefined;
        if (!needsTime && (hit.length === 0 || (!named && !isAnonymous))) failed++;
        table.push(
          `| ${name} | ${speed} | ${release.log.length} | ${hit.length === 0 ? `**missed** ${JSON.stringify(kinds)}` : hit.map((kind) => `${kind} ${kinds[kind] ?? ''}`).join(', ')} | ${named ? 'the backend' : first === undefined ? 'nobody' : `${first.factor} ${first.value}`} |`,
        );
        process.stdout.write(`${table.at(-1)}\n`);
      }
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.stdout.write(`\n${table.join('\n')}\n\n${failed} failed\n`);
process.exitCode = failed === 0 ? 0 : 1;
