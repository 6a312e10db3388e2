// Whether a release is worse than the last one, as `memtape replay --baseline` says it: `node dist/scripts/beside.js [RUNS]`.
// Two healthy memcached side by side must be no regression of each other, with memory enough and without, paced and at full
// speed; a target with 25 times the drift of its baseline, one that is slower, and one that is wrong must be found. Prints a
// line for each run that is not as it should be, a table, and ends with 1 where there was one.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startCluster } from '../embedded/cluster.ts';
import { startMemcached } from '../embedded/memcached.ts';
import { parseProxyFault } from '../embedded/proxy/fault.ts';
import { startFaultProxy } from '../embedded/proxy.ts';
import type { Report } from '../report/shape.ts';
import { modelled } from './modelled.ts';

const RUNS = Number(process.argv[2] ?? 40);
const MODELS = ['etc', 'ycsb-a', 'twitter-29', 'examples/operations.yaml'];
/** Their values fill what a server has. */
const LARGE = ['ycsb-a'];
const RATE = 4000;
const DURATION_MS = 3000;
const SLOWER_MS = 3;
const folder = mkdtempSync(join(tmpdir(), 'memtape-beside-'));
const main = new URL('../cli/main.js', import.meta.url).pathname;

interface Place {
  address: string;
  stop(): Promise<void>;
}

const memcached = async (megabytes: number): Promise<Place> =>
  startMemcached(['-m', String(megabytes), '-c', '4000']);

/** A healthy server behind the fault proxy. */
async function faulty(...faults: string[]): Promise<Place> {
  const cluster = await startCluster({ backends: 1, memoryBytes: 1e9 });
  const proxy = await startFaultProxy({
    backends: cluster.addresses,
    faults: faults.map((spec) => parseProxyFault(spec)),
  });
  return {
    address: proxy.address,
    stop: async () => {
      await proxy.stop();
      await cluster.stop();
    },
  };
}

/** A memcached whose answers come later. */
async function later(ms: number): Promise<Place> {
  const behind = await startMemcached(['-m', '1024']);
  const server = createServer((client) => {
    const upstream = connect(behind.port, behind.host);
    client.pipe(upstream);
    upstream.on('data', (bytes) => setTimeout(() => client.writable && client.write(bytes), ms));
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: async () => {
      server.close();
      await behind.stop();
    },
  };
}

interface Case {
  name: string;
  baseline: () => Promise<Place>;
  candidate: () => Promise<Place>;
  speeds: readonly string[];
  models: readonly string[];
  /** What must be found; undefined: nothing may be. */
  finds?: RegExp;
}

const cases: readonly Case[] = [
  {
    name: 'healthy',
    baseline: () => memcached(1024),
    candidate: () => memcached(1024),
    models: MODELS,
    speeds: ['1', '4', 'max'],
  },
  {
    name: 'healthy, evicting',
    baseline: () => memcached(2),
    candidate: () => memcached(2),
    models: LARGE,
    speeds: ['1', 'max'],
  },
  {
    name: '25 times the drift',
    baseline: () => faulty('eviction-storm=0.001'),
    candidate: () => faulty('eviction-storm=0.025'),
    models: MODELS.slice(0, 2),
    speeds: ['1', 'max'],
    finds: /^(drift\.lost|hitRate|servers\.hitRate)/,
  },
  {
    name: 'less memory',
    baseline: () => memcached(1024),
    candidate: () => memcached(2),
    models: LARGE,
    speeds: ['1', 'max'],
    finds: /^(drift\.lost|servers\.hitRate)/,
  },
  {
    name: `${SLOWER_MS} ms slower`,
    baseline: () => memcached(1024),
    candidate: () => later(SLOWER_MS),
    models: MODELS.slice(0, 2),
    speeds: ['1', 'max'],
    finds: /^latency/,
  },
  {
    name: 'wrong',
    baseline: () => faulty(),
    candidate: () => faulty('corrupt=0.01'),
    models: MODELS.slice(0, 2),
    speeds: ['1', 'max'],
    finds: /^violations/,
  },
];

async function replayed(trace: string, target: string, baseline: string, speed: string): Promise<Report> {
  const args = [
    'replay',
    trace,
    '--target',
    target,
    '--baseline',
    baseline,
    '--speed',
    speed,
    '--json',
    '-',
    '--quiet',
    '--timeout',
    '10s',
    '--allow',
    'flush',
  ];
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  await new Promise((resolve) => child.once('close', resolve));
  return JSON.parse(Buffer.concat(chunks).toString()) as Report;
}

let wrong = 0;
const rows: string[] = [];
try {
  for (const { name, baseline, candidate, speeds, models, finds } of cases) {
    let runs = 0;
    let sent = 0;
    let found = 0;
    const many =
      finds === undefined ? RUNS : Math.min(RUNS, Math.max(speeds.length * 2, Math.ceil(RUNS / 4)));
    for (let run = 0; run < many; run++) {
      const model = models[run % models.length]!;
      const trace = join(folder, 'model.tape');
      await modelled(model, trace, { rate: RATE, durationMs: DURATION_MS, seed: run + 1 });
      const places = [await candidate(), await baseline()] as const;
      const speed = speeds[Math.floor(run / models.length) % speeds.length]!;
      const report = await replayed(trace, places[0].address, places[1].address, speed);
      await Promise.all(places.map((place) => place.stop()));
      const told = (report.baseline?.changes ?? []).filter(({ isRegression }) => isRegression);
      const isFound = told.some(({ metric }) => finds?.test(metric) ?? true);
      runs++;
      sent += report.exchanges.sent;
      if (isFound) found++;
      if (isFound === (finds === undefined)) {
        wrong++;
        process.stdout.write(
          `${name}, ${model} at ${speed}: ${report.verdict}, ${JSON.stringify(report.exchanges)} ${JSON.stringify(report.drift)} ${JSON.stringify(report.baseline?.changes)}\n`,
        );
      }
    }
    rows.push(`| ${name} | ${runs} | ${sent} | ${found} | ${finds === undefined ? 0 : runs} |`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.stdout.write(
  `\n| | runs | sent | with a regression | wanted |\n|---|---|---|---|---|\n${rows.join('\n')}\n`,
);
process.exitCode = wrong === 0 ? 0 : 1;
