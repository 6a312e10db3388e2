// No false alarm: `node dist/scripts/clean.js [RECORDINGS] [SEED]`. Each recording is of memjs, pylibmc and quiet clients
// that race on few keys of three real memcached servers, with little memory, so that they evict, and expiries of one to
// three seconds; each is replayed five times against fresh servers with other options, at other speeds. A healthy server
// is never called wrong. Ends with 1 where one was.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runClients, settled } from '../fixtures/clients.ts';
import { startMemcached, type Memcached } from '../fixtures/memcached.ts';
import { runPylibmc } from '../fixtures/pylibmc.ts';
import { runQuiet } from '../fixtures/quiet.ts';
import { startProxy } from '../recorder/proxy.ts';
import { Random } from '../synth/random.ts';
import { judged } from './judged.ts';

const RECORDINGS = Number(process.argv[2] ?? 40);
const SEED = Number(process.argv[3] ?? 1);
const REPLAYS = 5;
const SERVERS = 3;
const folder = mkdtempSync(join(tmpdir(), 'memtape-clean-'));

async function servers(random: Random): Promise<Memcached[]> {
  const options = [
    '-m',
    String(random.pick([2, 2, 64] as const)),
    '-t',
    String(1 + random.int(4)),
    ...(random.chance(0.3) ? ['-R', '1'] : []),
    ...(random.chance(0.2) ? ['-o', 'no_lru_crawler,no_lru_maintainer'] : []),
  ];
  const all: Memcached[] = [];
  for (let n = 0; n < SERVERS; n++) all.push(await startMemcached(options));
  return all;
}

async function record(path: string, random: Random, seed: number): Promise<void> {
  const production = await servers(random);
  const proxy = await startProxy({
    listen: production.map(() => '127.0.0.1:0'),
    upstream: production.map(({ address }) => address),
    output: path,
  });
  const { addresses } = proxy;
  await Promise.all([
    runClients({
      address: addresses.join(','),
      seed,
      clients: 2 + random.int(5),
      keys: 4 + random.int(60),
      exchanges: 2500,
      seconds: 3.5,
      calls: {},
    }),
    ...[0, 1].map(async (n) =>
      runPylibmc({ addresses, seed: seed * 2 + n, count: 600, ttl: 1 + random.int(3) }),
    ),
    ...addresses.map(async (address) => runQuiet(address, 150)),
  ]);
  await settled(() => proxy.open === 0);
  await proxy.stop();
  for (const server of production) await server.stop();
}

let runs = 0;
let alarms = 0;
let exchanges = 0;
const drift: Record<string, number> = {};
let named = 0;

async function check(tape: string, random: Random, name: string): Promise<void> {
  const targets = await servers(random);
  const speed = random.pick([1, 2, 5, 20, 'max', 'max'] as const);
  const workers = random.pick([1, 1, 2] as const);
  const order = random.pick(['key', 'key', 'key', 'connection'] as const);
  const results = join(folder, 'clean.results');
  try {
    const addresses = targets.map(({ address }) => address);
    const { diff } = await judged(
      { trace: tape, results, targets: addresses, speed, workers, order, timeoutMs: 5000 },
      { examples: 5 },
    );
    runs++;
    exchanges += diff.total;
    for (const [kind, count] of Object.entries(diff.counts.drift)) drift[kind] = (drift[kind] ?? 0) + count;
    named += diff.culprits.filter(({ of }) => of === 'violations').length;
    const wrong = diff.findings.filter((finding) => finding.class === 'violation');
    if (wrong.length === 0) return;
    alarms++;
    process.stdout.write(
      `${name}, speed ${speed}, ${workers} workers, order ${order}: ${wrong.map(({ kind, count, examples }) => `${kind} ${count} ${JSON.stringify(examples[0])}`).join('; ')}\n`,
    );
  } finally {
    for (const target of targets) await target.stop();
  }
}

try {
  for (let recording = 0; recording < RECORDINGS; recording++) {
    const random = new Random(SEED, recording);
    const tape = join(folder, 'clean.tape');
    await record(tape, random, SEED * 1000 + recording);
    for (let n = 0; n < REPLAYS; n++) await check(tape, random, `recording ${recording}, replay ${n}`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.stdout.write(
  `${runs} replays, ${exchanges} exchanges: ${alarms} false alarms, ${named} culprits named; drift ${JSON.stringify(drift)}\n`,
);
process.exitCode = alarms === 0 ? 0 : 1;
