// No false alarm: `node dist/scripts/clean.js [REPLAYS] [SEED] [KEPT] [CLIENT,…] [--audit]`. Real clients race on few keys of real
// memcached servers, behind the recording proxy: php-memcached, pylibmc and Dalli, each as it buffers, pipelines and asks for
// no answer, memjs, and a client of ours that does whatever the protocol allows. Each recording is replayed against fresh
// healthy servers, with little memory or much, in every order, at every speed, by one worker or several, once or looped, and
// twice in a row. A healthy server is never called wrong, and nobody is named: ends with 1 where that happened, and keeps
// the trace and the results in the folder KEPT. With --audit nothing is replayed: each recording, by the proxy or by tcpdump, is
// judged by itself, and REPLAYS says how many. Prints a table in Markdown, a row for each client.

import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { audit } from '../audit/audit.ts';
import type { Diff } from '../diff/diff.ts';
import { runClients, settled } from '../fixtures/clients.ts';
import { runDalli } from '../fixtures/dalli.ts';
import { runEdges } from '../fixtures/edges.ts';
import { startMemcached, type Memcached } from '../embedded/memcached.ts';
import { runPhp, type PhpMode } from '../fixtures/php.ts';
import { runPylibmc, type PylibmcOptions } from '../fixtures/pylibmc.ts';
import { runQuiet } from '../fixtures/quiet.ts';
import { startProxy } from '../recorder/proxy.ts';
import { recordCapture } from '../recorder/record.ts';
import { captureLive } from '../recorder/tcpdump.ts';
import type { Order } from '../replayer/engine.ts';
import { Random } from '../synth/laws/random.ts';
import { TraceReader } from '../trace/file.ts';
import { judged } from './judged.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { audit: { type: 'boolean', default: false } },
});
const REPLAYS = Number(positionals[0] ?? 400);
const SEED = Number(positionals[1] ?? 1);
const KEPT = positionals[2] ?? join(tmpdir(), 'clean-failures');
const ONLY = positionals[3]?.split(',');
/** Where nothing is replayed, there is time for longer recordings. */
const MORE = values.audit && REPLAYS >= 50 ? 8 : 1;
/** A judgement that takes longer is told of. */
const LONG_MS = 10_000;
const folder = mkdtempSync(join(tmpdir(), 'memtape-clean-'));

interface Traffic {
  addresses: readonly string[];
  seed: number;
  ttl: number;
}
type Client = (traffic: Traffic) => Promise<unknown>;

/** Several of them at once, so that they race. */
const several = (count: number, run: (seed: number) => Promise<void>): Promise<unknown> =>
  Promise.all(Array.from({ length: count }, async (_, n) => run(n)));
const php =
  (mode: PhpMode): Client =>
  ({ seed, ...traffic }) =>
    several(3, (n) => runPhp(mode, { ...traffic, seed: seed * 8 + n, count: 140 * MORE }));
const pylibmc =
  (behavior?: PylibmcOptions['behavior']): Client =>
  ({ seed, ...traffic }) =>
    several(3, (n) =>
      runPylibmc({
        ...traffic,
        seed: seed * 8 + n,
        count: 150 * MORE,
        pauseMs: 1,
        ...(behavior === undefined ? {} : { behavior }),
      }).catch((error: unknown) => {
        // It frees memory twice, now and then, and dies: what it sent until then is recorded.
        if (behavior !== '_noreply') throw error;
      }),
    );
const memjs =
  (exchanges: number): Client =>
  ({ addresses, seed }) =>
    runClients({
      address: addresses.join(','),
      seed,
      clients: 5,
      keys: 16,
      exchanges: exchanges * MORE,
      seconds: 1.2 * MORE,
      calls: {},
    });
const edges =
  (flushes: boolean): Client =>
  ({ addresses, seed }) =>
    Promise.all(
      addresses.map(async (address, n) =>
        runEdges({ address, seed: seed * 8 + n, connections: 3, count: 40 * MORE, flushes }),
      ),
    );

const clients: Readonly<Record<string, Client>> = {
  'php-memcached': php('plain'),
  'php-memcached, OPT_BUFFER_WRITES': php('buffered'),
  'php-memcached, OPT_NOREPLY': php('noreply'),
  'php-memcached, OPT_NO_BLOCK': php('nonblocking'),
  pylibmc: pylibmc(),
  'pylibmc, _noreply': pylibmc('_noreply'),
  'pylibmc, buffer_requests': pylibmc('buffer_requests'),
  Dalli: ({ seed, ...traffic }) =>
    several(3, (n) => runDalli({ ...traffic, seed: seed * 8 + n, count: 140 * MORE })),
  memjs: memjs(1000),
  'every operation': edges(false),
  'every operation, FLUSH': edges(true),
  'several of them': (traffic) =>
    Promise.all([
      memjs(600)(traffic),
      ...traffic.addresses.map(async (address) => runQuiet(address, 60 * MORE)),
      pylibmc()(traffic),
    ]),
};

const targetOptions = [[], ['-m', '2'], ['-t', '4'], ['-I', '2m']] as const;
const productionOptions = [
  ...targetOptions,
  ['-m', '2', '-R', '1'],
  ['-o', 'no_lru_crawler,no_lru_maintainer'],
] as const;
const orders: readonly Order[] = ['key', 'connection', 'none'];
const speeds = [1, 5, 'max'] as const;

async function start(options: readonly string[], count: number): Promise<Memcached[]> {
  return Promise.all(Array.from({ length: count }, async () => startMemcached(options)));
}

/** Captures real clients by tcpdump, and records from the capture. @returns how many servers there were */
async function capture(client: Client, path: string, random: Random, seed: number): Promise<number> {
  const production = await start(random.pick(productionOptions), 1 + random.int(3));
  const ports = production.map(({ port }) => port);
  const live = await captureLive({ interface: 'lo', ports });
  const recording = recordCapture(live.packets, { output: path, ports, source: 'interface lo' });
  await client({ addresses: production.map(({ address }) => address), seed, ttl: 1 + random.int(2) });
  // The last packets are on their way.
  await sleep(1000);
  live.stop();
  await recording;
  for (const server of production) await server.stop();
  return production.length;
}

/** @returns how many servers there were */
async function record(client: Client, path: string, random: Random, seed: number): Promise<number> {
  const production = await start(random.pick(productionOptions), 1 + random.int(3));
  const proxy = await startProxy({
    listen: production.map(() => '127.0.0.1:0'),
    upstream: production.map(({ address }) => address),
    output: path,
  });
  await client({ addresses: proxy.addresses, seed, ttl: 1 + random.int(2) });
  await settled(() => proxy.open === 0);
  await proxy.stop();
  for (const server of production) await server.stop();
  return production.length;
}

interface Replay {
  client: string;
  order: Order;
  speed: (typeof speeds)[number];
}

interface Row {
  replays: number;
  exchanges: number;
  matched: number;
  drift: Record<string, number>;
  untestable: Record<string, number>;
  alarms: number;
  seconds: number;
  longestMs: number;
}
const rows = new Map<string, Row>();
let alarms = 0;
/** An interrupt ends it early, with the table of what was done. */
let isStopped = false;
process.once('SIGINT', () => (isStopped = true));

function rowOf(client: string): Row {
  const row = rows.get(client) ?? {
    replays: 0,
    exchanges: 0,
    matched: 0,
    drift: {},
    untestable: {},
    alarms: 0,
    seconds: 0,
    longestMs: 0,
  };
  rows.set(client, row);
  return row;
}

/** Counts a judgement. @returns whether it is a false alarm @param how it came about */
function count(row: Row, diff: Diff, judgedMs: number, name: string, how: string): boolean {
  row.replays++;
  row.exchanges += diff.total;
  row.matched += diff.matched;
  row.longestMs = Math.max(row.longestMs, judgedMs);
  add(row.drift, diff.counts.drift);
  add(row.untestable, diff.counts.untestable);
  const wrong = diff.findings.filter((finding) => finding.class === 'violation');
  // How slow a server is depends on what else this machine does.
  const named = diff.culprits.filter((culprit) => culprit.of !== 'slow');
  const isAlarm = wrong.length > 0 || named.length > 0;
  if (isAlarm || judgedMs > LONG_MS) {
    const what = [
      ...wrong.map(({ kind, count: times, examples }) => `${kind} ${times} ${JSON.stringify(examples[0])}`),
      ...named.map((culprit) => `named: ${JSON.stringify(culprit)}`),
    ];
    process.stdout.write(
      `${name}: ${how}: ${diff.total} exchanges judged in ${(judgedMs / 1000).toFixed(1)} s: ${what.join('; ')}\n`,
    );
  }
  if (isAlarm) {
    alarms++;
    row.alarms++;
  }
  return isAlarm || judgedMs > LONG_MS;
}

function keep(path: string, name: string): void {
  mkdirSync(KEPT, { recursive: true });
  copyFileSync(path, join(KEPT, name));
}

/** Judges a recording by itself. */
async function checkAlone(tape: string, client: string, how: string, name: string): Promise<void> {
  const row = rowOf(client);
  const began = performance.now();
  const trace = await TraceReader.open(tape);
  try {
    const { diff } = await audit(trace, '', { capture: trace.end?.capture, examples: 5 });
    const tookMs = performance.now() - began;
    row.seconds += tookMs / 1000;
    if (count(row, diff, tookMs, name, `${client}: ${how}`)) keep(tape, `${name}.tape`);
  } finally {
    await trace.close();
  }
}

async function check(
  tape: string,
  servers: number,
  replay: Replay,
  random: Random,
  name: string,
): Promise<void> {
  const options = random.pick(targetOptions);
  const workers = random.pick([1, 3] as const);
  const loops = random.pick([1, 1, 1, 2]);
  const isTwice = random.chance(0.25);
  const mayFlush = random.chance(0.7);
  const targets = await start(options, servers);
  const results = join(folder, 'clean.results');
  const row = rowOf(replay.client);
  try {
    for (let time = 0; time < (isTwice ? 2 : 1); time++) {
      const began = performance.now();
      const { diff, judgedMs } = await judged(
        {
          trace: tape,
          results,
          targets: targets.map(({ address }) => address),
          speed: replay.speed,
          workers,
          order: replay.order,
          loops,
          timeoutMs: 10_000,
          allow: new Set(mayFlush ? ['flush'] : []),
        },
        { examples: 5 },
      );
      row.seconds += (performance.now() - began) / 1000;
      const how = `${replay.client}: ${options.join(' ') || 'default'}, speed ${replay.speed}, order ${replay.order}, ${workers} workers, ${loops} loops, time ${time + 1}${mayFlush ? ', FLUSH' : ''}`;
      if (!count(row, diff, judgedMs, name, how)) continue;
      keep(tape, `${name}-${time}.tape`);
      keep(results, `${name}-${time}.results`);
    }
  } finally {
    for (const target of targets) await target.stop();
  }
}

function add(to: Record<string, number>, counts: Readonly<Record<string, number>>): void {
  for (const [kind, count] of Object.entries(counts)) to[kind] = (to[kind] ?? 0) + count;
}

/** Every client with every order and speed, in rounds of another sequence each. */
function* replaysOf(random: Random): Generator<{ replay: Replay; round: number }> {
  const all = Object.keys(clients)
    .filter((client) => ONLY === undefined || ONLY.some((name) => client.includes(name)))
    .flatMap((client) =>
      orders.flatMap((order) => speeds.map((speed): Replay => ({ client, order, speed }))),
    );
  for (let round = 0; ; round++) {
    const left = [...all];
    while (left.length > 0) yield { replay: left.splice(random.int(left.length), 1)[0]!, round };
  }
}

const list = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([kind, count]) => `${kind} ${count}`)
    .join(', ') || '–';

const random = new Random(SEED);
const recordings = new Map<string, number>();
try {
  let n = 0;
  for (const { replay, round } of replaysOf(random)) {
    if (isStopped || [...rows.values()].reduce((sum, row) => sum + row.replays, 0) >= REPLAYS) break;
    const clientNumber = Object.keys(clients).indexOf(replay.client);
    if (values.audit) {
      const alone = join(folder, `${n}.tape`);
      const isCaptured = random.chance(0.5);
      await (isCaptured ? capture : record)(clients[replay.client]!, alone, random, SEED * 1000 + n);
      await checkAlone(alone, replay.client, isCaptured ? 'tcpdump' : 'proxy', `${SEED}-${n++}`);
      rmSync(alone);
      continue;
    }
    const tape = join(folder, `${clientNumber}-${round}.tape`);
    let servers = recordings.get(tape);
    if (servers === undefined) {
      servers = await record(clients[replay.client]!, tape, random, SEED * 1000 + round * 20 + clientNumber);
      recordings.set(tape, servers);
    }
    await check(tape, servers, replay, random, `${SEED}-${n++}`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.stdout.write(
  '| recorded from | replays | exchanges | as recorded | drift | untestable | alarms | judged at most, s | seconds |\n|---|---|---|---|---|---|---|---|---|\n',
);
for (const [client, row] of rows)
  process.stdout.write(
    `| ${client} | ${row.replays} | ${row.exchanges} | ${((100 * row.matched) / row.exchanges).toFixed(1)}% | ${list(row.drift)} | ${list(row.untestable)} | ${row.alarms} | ${(row.longestMs / 1000).toFixed(1)} | ${row.seconds.toFixed(0)} |\n`,
  );
const total = [...rows.values()].reduce(
  (sum, row) => ({ replays: sum.replays + row.replays, exchanges: sum.exchanges + row.exchanges }),
  { replays: 0, exchanges: 0 },
);
process.stdout.write(`${total.replays} replays, ${total.exchanges} exchanges: ${alarms} false alarms\n`);
// Node now and then spins for ever while it takes down the pipe of a child that has long ended: this does not wait for it.
process.exit(alarms === 0 ? 0 : 1);
