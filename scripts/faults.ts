// The fault matrix: `node dist/scripts/faults.js [SEEDS] [SPEEDS] [FAULTS] [--traffic recorded|MODEL,…]`. Traffic is replayed
// against a proxy with four backends behind it, with one fault on one of them. Each fault must be found, by a kind of
// finding that fits, and the backend named first; the healthy release must pass. Recorded traffic is that of memjs, pylibmc
// and quiet clients of two tenants, through the healthy release; that of a model is made as `memtape replay MODEL` makes
// it, anew for each seed. A model need not have what every fault is about, but some of the traffic must. Prints a table in
// Markdown for each, and ends with 1 where something was missed or invented.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Diff } from '../diff/diff.ts';
import { runClients, settled } from '../fixtures/clients.ts';
import { startCluster, type Cluster } from '../fixtures/cluster.ts';
import { proxyFaults, type ProxyFault } from '../fixtures/proxy/fault.ts';
import { startFaultProxy, type FaultProxy } from '../fixtures/proxy.ts';
import { runPylibmc } from '../fixtures/pylibmc.ts';
import { runQuiet } from '../fixtures/quiet.ts';
import { startProxy } from '../recorder/proxy.ts';
import { judged } from './judged.ts';
import { credentials, modelled, usersOf, type Users } from './modelled.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { traffic: { type: 'string', default: 'recorded' } },
});
const SEEDS = Number(positionals[0] ?? 3);
const SPEEDS = (positionals[1] ?? '1,max').split(',').map((text) => (text === 'max' ? 'max' : Number(text)));
const wanted = positionals[2]?.split(',') ?? proxyFaults;
/** Of models: requests a second, and milliseconds. About as much as is recorded. */
const RATE = 3000;
const DURATION_MS = 6000;
const TIMEOUT_MS = 1500;
/** Where nothing is answered, so long is waited each time. */
const SHORT_MS = 1000;
const mute: ReadonlySet<string> = new Set(['stall', 'blackhole']);
/** Faults that have a moment have it after this share of the requests, however slow the machine is. */
const MOMENT = 0.25;
const momentary: ReadonlySet<string> = new Set(['stale-sockets', 'restart-empty', 'delayed-flush']);
const BACKENDS = 4;
/** What the ring calls them: the same keys are on the same backend in every run. */
const names = Array.from({ length: BACKENDS }, (_, n) => ({ host: `backend-${n}`, port: 11_300 }));
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

/** What is replayed, and who its tenants are; none: it has no users. */
interface Traffic {
  tape: string;
  users: Users;
}

async function cluster(): Promise<Cluster> {
  return startCluster({ backends: BACKENDS, memoryBytes: 64e6 });
}

async function record(): Promise<Traffic> {
  const tape = join(folder, 'recorded.tape');
  const users = usersOf('alice', 'bob');
  const backends = await cluster();
  const release = await startFaultProxy({ backends: backends.addresses, names, users });
  const proxy = await startProxy({ listen: ['127.0.0.1:0'], upstream: [release.address], output: tape });
  const address = proxy.addresses[0]!;
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
  await settled(() => proxy.open === 0);
  await proxy.stop();
  await release.stop();
  await backends.stop();
  return { tape, users };
}

async function synthesize(name: string, seed: number): Promise<Traffic> {
  const tape = join(folder, `synthesized-${seed}.tape`);
  return { tape, users: await modelled(name, tape, { seed, rate: RATE, durationMs: DURATION_MS }) };
}

async function replayed(
  { tape, users }: Traffic,
  speed: number | 'max',
  faults: readonly ProxyFault[],
  seed: number,
): Promise<{ diff: Diff; release: FaultProxy }> {
  const backends = await cluster();
  const release = await startFaultProxy({
    backends: backends.addresses,
    names,
    faults,
    seed,
    ...credentials(users).proxy,
    // Those that fill the backends before.
    spared: Math.max(1, users.size),
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
        timeoutMs: faults.some(({ name }) => mute.has(name)) ? SHORT_MS : TIMEOUT_MS,
        ...credentials(users).replay,
        onProgress: ({ phase, done, total }) => {
          const from = faults.some(({ name }) => momentary.has(name)) ? MOMENT * total : 0;
          if (phase !== 'replaying' || isBegun || done < from) return;
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

let failed = 0;
/** Faults that no traffic gave an occasion. */
const unstruck = new Set<string>(wanted);

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

async function matrix(name: string): Promise<void> {
  const bySeed = new Map<number, Traffic>();
  const recorded = name === 'recorded' ? await record() : undefined;
  const trafficOf = async (seed: number): Promise<Traffic> => {
    const known = recorded ?? bySeed.get(seed) ?? (await synthesize(name, seed));
    bySeed.set(seed, known);
    return known;
  };
  say(`\n${name}\n\n| fault | speed | struck | found as | named first |\n|---|---|---|---|---|`);
  for (const speed of SPEEDS) {
    await healthy(await trafficOf(1), speed);
    for (const fault of proxyFaults) {
      if (!wanted.includes(fault)) continue;
      for (let seed = 1; seed <= SEEDS; seed++) await sick(await trafficOf(seed), speed, fault, seed);
    }
  }
}

async function healthy(traffic: Traffic, speed: number | 'max'): Promise<void> {
  const { diff } = await replayed(traffic, speed, [], 1);
  const { violation, drift } = diff.counts;
  const isClean = Object.keys(violation).length === 0 && diff.culprits.length === 0;
  if (!isClean) failed++;
  say(
    `| none | ${speed} | – | ${Object.keys(violation).length === 0 ? 'nothing' : JSON.stringify(violation)}, ${diff.matched} of ${diff.total} matched, drift ${JSON.stringify(drift)} | ${diff.culprits.length === 0 ? 'nobody' : JSON.stringify(diff.culprits)} |`,
  );
}

async function sick(
  traffic: Traffic,
  speed: number | 'max',
  name: ProxyFault['name'],
  seed: number,
): Promise<void> {
  const backend = seed % BACKENDS;
  const fault: ProxyFault = {
    name,
    backend,
    share: share(name),
    ...(name === 'stall' ? { untilMs: 6000 } : {}),
    ...(momentary.has(name) ? { afterMs: 1 } : {}),
  };
  const { diff, release } = await replayed(traffic, speed, [fault], seed);
  const struck = release.log.length;
  if (struck > 0) unstruck.delete(name);
  const kinds = { ...diff.counts.violation, ...diff.counts.drift };
  const isSlow = diff.latency.fromSent.getValueAtPercentile(95) > 30_000;
  const hit = expected[name]!.filter((kind) => (kind === 'latency' ? isSlow : (kinds[kind] ?? 0) > 0));
  const [first] = diff.culprits;
  const isNamed = first?.factor === 'partition' && first.value.startsWith(`backend-${backend}:11300,`);
  // Expiries and delays take seconds; what was answered last before a hang-up shows unless hundreds of requests
  // are under way behind each other.
  const needsTime = speed === 'max' && (name.startsWith('ttl-') || name === 'delayed-flush');
  const isAnonymous = speed === 'max' && name === 'churn' && first === undefined;
  const isFound = struck === 0 || needsTime || (hit.length > 0 && (isNamed || isAnonymous));
  if (!isFound) failed++;
  const found =
    struck === 0
      ? 'no occasion'
      : hit.length === 0
        ? `**missed** ${JSON.stringify(kinds)}`
        : hit.map((kind) => `${kind} ${kinds[kind] ?? ''}`).join(', ');
  say(
    `| ${name} | ${speed} | ${struck} | ${found} | ${isNamed ? 'the backend' : first === undefined ? 'nobody' : `${first.factor} ${first.value}`}${isFound ? '' : ' **FAILED**'} |`,
  );
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

try {
  for (const name of values.traffic.split(',')) await matrix(name);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
if (unstruck.size > 0) say(`no traffic gave an occasion for ${[...unstruck].join(', ')}`);
failed += unstruck.size;
say(`${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
