// The replayer at full speed beside the load generators that users would pick instead:
//
//     node dist/bench/load.js [REQUESTS] [DEPTHS]         MEMTIER=/path/to/memtier_benchmark MEMCASLAP=/path/to/memcaslap
//
// One memcached thread on one core, the load on the other; 50 connections, 100-byte values, one set to ten gets, keys
// that are there. memtape compares every answer, the others none. All in turn in one run, three rounds; medians. CPU is
// that of the whole process, user and system: with memtape also the reading, the judging and the report.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { startMemcached, type Memcached } from '../fixtures/memcached.ts';
import { writeModel, type ModelRow } from '../fixtures/model.ts';
import { Random } from '../synth/random.ts';
import { NEVER } from '../trace/batch.ts';

const REQUESTS = Number(process.argv[2] ?? 2_000_000);
const DEPTHS = (process.argv[3] ?? '1,16,64').split(',').map(Number);
const ROUNDS = 3;
const CONNECTIONS = 50;
const KEYS = 10_000;
const VALUE_BYTES = 100;
const command = new URL('../cli/main.js', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'memtape-bench-'));
const say = (line: string): void => void process.stdout.write(`${line}\n`);

function find(name: string, program: string): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const path = process.env[name] ?? folders.map((at) => join(at, program)).find((at) => existsSync(at));
  if (path === undefined) say(`${program} is missing: set ${name} to its path`);
  return path;
}

const memtier = find('MEMTIER', 'memtier_benchmark');
const memcaslap = find('MEMCASLAP', 'memcaslap');

/** What such clients would have left in a trace: each sends `depth` requests in one segment and waits for the answers. */
async function writeTape(path: string, depth: number): Promise<void> {
  const random = new Random(7);
  const values = Array.from({ length: KEYS }, (_, n) =>
    Buffer.from(`${n}-`.repeat(VALUE_BYTES).slice(0, VALUE_BYTES)),
  );
  const connections = Array.from({ length: CONNECTIONS }, () => ({ openNs: 0, closeNs: NEVER }));
  const rows = function* (): Generator<ModelRow> {
    for (let sent = 0, burst = 0; sent < REQUESTS; burst++) {
      const at = burst * depth * 5_000;
      for (let n = 0; n < depth && sent < REQUESTS; n++, sent++) {
        // Each key is read once first: that shows that it was there.
        const key = sent < KEYS ? sent : random.int(KEYS);
        yield {
          connection: burst % CONNECTIONS,
          at,
          answeredAt: at + depth * 5_000,
          isSet: sent >= KEYS && random.chance(1 / 11),
          key: Buffer.from(`memtier-${key}`),
          value: values[key]!,
          joins: n > 0,
        };
      }
    }
  };
  await writeModel(path, connections, rows());
}

interface Run {
  rate: number;
  cpuPerMillion: number;
}

/** Runs on core 1, and measures the process's CPU seconds. */
function timed(args: readonly string[], requests: number): { cpuPerMillion: number; stdout: string } {
  const times = join(folder, 'times');
  const { status, stdout, stderr } = spawnSync(
    'taskset',
    ['-c', '1', '/usr/bin/time', '-o', times, '-f', '%U %S', ...args],
    { encoding: 'utf8', maxBuffer: 1 << 28 },
  );
  if (status !== 0) throw new Error(`${args[0]} ended with ${status}: ${stderr}${stdout}`);
  const [user, system] = readFileSync(times, 'utf8').trim().split(' ').map(Number);
  return { cpuPerMillion: ((user! + system!) / requests) * 1e6, stdout };
}

function runMemtape(server: Memcached, tape: string, order: string, depth: number): Run {
  const report = join(folder, 'report.json');
  const { cpuPerMillion } = timed(
    [
      process.execPath,
      command,
      'replay',
      tape,
      '--target',
      server.address,
      '--speed',
      'max',
      '--order',
      order,
      '--pipeline',
      String(depth),
      '--quiet',
      '--json',
      report,
    ],
    REQUESTS,
  );
  const { schedule, exchanges } = JSON.parse(readFileSync(report, 'utf8')) as {
    schedule: { achievedRate: number };
    exchanges: { matched: number };
  };
  if (exchanges.matched !== REQUESTS) throw new Error(`${exchanges.matched} of ${REQUESTS} answers matched`);
  return { rate: schedule.achievedRate, cpuPerMillion };
}

function runMemtier(server: Memcached, depth: number): Run {
  const output = join(folder, 'memtier.json');
  const args = [
    memtier!,
    ...`-s ${server.host} -p ${server.port} -P memcache_binary -t 1 -c ${CONNECTIONS} --ratio 1:10`.split(
      ' ',
    ),
    ...`-d ${VALUE_BYTES} --key-maximum ${KEYS} --distinct-client-seed --pipeline ${depth}`.split(' '),
    ...`-n ${Math.ceil(REQUESTS / CONNECTIONS)} --hide-histogram --json-out-file ${output}`.split(' '),
  ];
  const { cpuPerMillion } = timed(args, REQUESTS);
  const seen = JSON.parse(readFileSync(output, 'utf8')) as {
    'ALL STATS': { Totals: { 'Ops/sec': number } };
  };
  return { rate: seen['ALL STATS'].Totals['Ops/sec'], cpuPerMillion };
}

function runMemcaslap(server: Memcached): Run {
  const config = join(folder, 'workload.cnf');
  writeFileSync(
    config,
    `key\n16 16 1\nvalue\n${VALUE_BYTES} ${VALUE_BYTES} 1\ncmd\n0 ${1 / 11}\n1 ${10 / 11}\n`,
  );
  const { cpuPerMillion, stdout } = timed(
    [
      memcaslap!,
      ...`-s ${server.address} -T 1 -c ${CONNECTIONS} -B -x ${REQUESTS} -F ${config} -w 1k`.split(' '),
    ],
    REQUESTS,
  );
  return { rate: Number(/TPS: (\d+)/.exec(stdout)?.[1]), cpuPerMillion };
}

const median = (numbers: number[]): number =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]!;

async function withServer(run: (server: Memcached) => Run): Promise<Run> {
  const server = await startMemcached(['-t', '1', '-m', '1024']);
  try {
    execFileSync('taskset', ['-a', '-p', '-c', '0', String(server.process.pid)], { stdio: 'ignore' });
    return run(server);
  } finally {
    await server.stop();
  }
}

function filled(server: Memcached): void {
  spawnSync(
    memtier!,
    `-s ${server.host} -p ${server.port} -P memcache_binary -t 1 -c 1 --ratio 1:0 -d ${VALUE_BYTES} --key-maximum ${KEYS} --key-pattern P:P -n allkeys --hide-histogram`.split(
      ' ',
    ),
  );
}

try {
  say('| depth | tool | requests/s | CPU s per million | beside memtier |\n|---|---|---|---|---|');
  for (const depth of DEPTHS) {
    const tape = join(folder, `depth${depth}.tape`);
    await writeTape(tape, depth);
    const tools: [string, (server: Memcached) => Run][] = [
      ['memtape, order key', (server) => runMemtape(server, tape, 'key', depth)],
      ['memtape, order none', (server) => runMemtape(server, tape, 'none', depth)],
    ];
    if (memtier !== undefined)
      tools.push([
        'memtier_benchmark',
        (server) => {
          filled(server);
          return runMemtier(server, depth);
        },
      ]);
    if (memcaslap !== undefined && depth === 1) tools.push(['memcaslap -B', runMemcaslap]);
    const runs = tools.map((): Run[] => []);
    for (let round = 0; round < ROUNDS; round++)
      for (const [n, [, run]] of tools.entries()) runs[n]!.push(await withServer(run));
    const rates = runs.map((of) => median(of.map(({ rate }) => rate)));
    const base = rates[tools.findIndex(([name]) => name === 'memtier_benchmark')];
    for (const [n, [name]] of tools.entries()) {
      const cpu = median(runs[n]!.map(({ cpuPerMillion }) => cpuPerMillion));
      const beside = base === undefined ? '' : `${(rates[n]! / base).toFixed(2)}×`;
      say(`| ${depth} | ${name} | ${rates[n]!.toFixed(0)} | ${cpu.toFixed(2)} | ${beside} |`);
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
