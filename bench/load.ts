// The replayer at full speed beside the load generators that users would pick instead, and beside bare sockets:
//
//     node dist/bench/load.js [REQUESTS] [DEPTHS]         MEMTIER=/path/to/memtier_benchmark MEMCASLAP=/path/to/memcaslap
//
// One memcached thread on one core, the load on the other, the traffic of traffic.ts. memtape and the bare sockets compare
// every answer, the others none. All in turn in one run, three rounds; medians. CPU is that of the whole process, user and
// system: with memtape also the reading, the judging and the report.

import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startMemcached, type Memcached } from '../embedded/memcached.ts';
import { writeModel, type ModelRow } from '../fixtures/model.ts';
import { Random } from '../synth/laws/random.ts';
import { NEVER } from '../trace/batch.ts';
import { command, find, inFolder, isMain, median, say, table, timed } from './measure.ts';
import { CONNECTIONS, KEYS, SETS, VALUE_BYTES, keyOf, valueOf } from './traffic.ts';

const floor = new URL('floor.js', import.meta.url).pathname;
const memtier = find('MEMTIER', 'memtier_benchmark');
const memcaslap = find('MEMCASLAP', 'memcaslap');

/** What such clients would have left in a trace: each sends `depth` requests in one segment and waits for the answers. */
async function writeTape(path: string, depth: number, requests: number): Promise<void> {
  const random = new Random(7);
  const connections = Array.from({ length: CONNECTIONS }, () => ({ openNs: 0, closeNs: NEVER }));
  const rows = function* (): Generator<ModelRow> {
    for (let sent = 0, burst = 0; sent < requests; burst++) {
      const at = burst * depth * 5_000;
      for (let n = 0; n < depth && sent < requests; n++, sent++) {
        // Each key is read once first: that shows that it was there.
        const key = sent < KEYS ? sent : random.int(KEYS);
        yield {
          connection: burst % CONNECTIONS,
          at,
          answeredAt: at + depth * 5_000,
          isSet: sent >= KEYS && random.chance(SETS),
          key: keyOf(key),
          value: valueOf(key),
          joins: n > 0,
        };
      }
    }
  };
  await writeModel(path, connections, rows());
}

export interface Run {
  /** Requests a second on the wire. */
  rate: number;
  cpuPerMillion: number;
}

/** What is run: so many requests, so many of them in a segment. */
interface Load {
  folder: string;
  tape: string;
  requests: number;
  depth: number;
}

/** On core 1. */
function cost(
  { folder, requests }: Load,
  args: readonly string[],
): { cpuPerMillion: number; stdout: string } {
  const { cpu, stdout } = timed(folder, args, { core: 1 });
  return { cpuPerMillion: (cpu / requests) * 1e6, stdout };
}

function runMemtape(load: Load, server: Memcached, order: string): Run {
  const report = join(load.folder, 'report.json');
  const asked = `--target ${server.address} --speed max --order ${order} --pipeline ${load.depth} --quiet`;
  const { cpuPerMillion } = cost(load, [
    process.execPath,
    command,
    'replay',
    load.tape,
    ...asked.split(' '),
    '--json',
    report,
  ]);
  const { schedule, exchanges } = JSON.parse(readFileSync(report, 'utf8')) as {
    schedule: { achievedRate: number };
    exchanges: { matched: number };
  };
  if (exchanges.matched !== load.requests)
    throw new Error(`${exchanges.matched} of ${load.requests} answers matched`);
  return { rate: schedule.achievedRate, cpuPerMillion };
}

function runFloor(load: Load, server: Memcached): Run {
  const asked = [String(server.port), String(load.requests), String(load.depth)];
  const { cpuPerMillion, stdout } = cost(load, [process.execPath, floor, ...asked]);
  return { rate: Number(stdout), cpuPerMillion };
}

function runMemtier(load: Load, server: Memcached): Run {
  filled(server);
  const output = join(load.folder, 'memtier.json');
  const { cpuPerMillion } = cost(load, [
    memtier!,
    ...`-s ${server.host} -p ${server.port} -P memcache_binary -t 1 -c ${CONNECTIONS} --ratio 1:10`.split(
      ' ',
    ),
    ...`-d ${VALUE_BYTES} --key-maximum ${KEYS} --distinct-client-seed --pipeline ${load.depth}`.split(' '),
    ...`-n ${Math.ceil(load.requests / CONNECTIONS)} --hide-histogram --json-out-file ${output}`.split(' '),
  ]);
  const seen = JSON.parse(readFileSync(output, 'utf8')) as {
    'ALL STATS': { Totals: { 'Ops/sec': number } };
  };
  return { rate: seen['ALL STATS'].Totals['Ops/sec'], cpuPerMillion };
}

function runMemcaslap(load: Load, server: Memcached): Run {
  const config = join(load.folder, 'workload.cnf');
  writeFileSync(
    config,
    `key\n16 16 1\nvalue\n${VALUE_BYTES} ${VALUE_BYTES} 1\ncmd\n0 ${SETS}\n1 ${1 - SETS}\n`,
  );
  const asked = `-s ${server.address} -T 1 -c ${CONNECTIONS} -B -x ${load.requests} -F ${config} -w 1k`;
  const { cpuPerMillion, stdout } = cost(load, [memcaslap!, ...asked.split(' ')]);
  return { rate: Number(/TPS: (\d+)/.exec(stdout)?.[1]), cpuPerMillion };
}

function filled(server: Memcached): void {
  const asked = `-s ${server.host} -p ${server.port} -P memcache_binary -t 1 -c 1 --ratio 1:0 -d ${VALUE_BYTES} --key-maximum ${KEYS} --key-pattern P:P -n allkeys --hide-histogram`;
  spawnSync(memtier!, asked.split(' '));
}

/** A server on core 0, which nobody has used. */
async function withServer(run: (server: Memcached) => Run): Promise<Run> {
  const server = await startMemcached(['-t', '1', '-m', '1024']);
  try {
    execFileSync('taskset', ['-a', '-p', '-c', '0', String(server.process.pid)], { stdio: 'ignore' });
    return run(server);
  } finally {
    await server.stop();
  }
}

/** Every tool in turn, medians by its name; peers that are missing are left out. */
export async function measureLoad(
  requests: number,
  depth: number,
  rounds: number,
): Promise<Map<string, Run>> {
  return inFolder(async (folder) => {
    const load: Load = { folder, tape: join(folder, 'x.tape'), requests, depth };
    await writeTape(load.tape, depth, requests);
    const tools: [string, (server: Memcached) => Run][] = [
      ['memtape, order key', (server) => runMemtape(load, server, 'key')],
      ['memtape, order none', (server) => runMemtape(load, server, 'none')],
      ['bare sockets', (server) => runFloor(load, server)],
    ];
    if (memtier !== undefined) tools.push(['memtier_benchmark', (server) => runMemtier(load, server)]);
    if (memcaslap !== undefined && depth === 1)
      tools.push(['memcaslap -B', (server) => runMemcaslap(load, server)]);
    const runs = tools.map((): Run[] => []);
    for (let round = 0; round < rounds; round++)
      for (const [n, [, run]] of tools.entries()) runs[n]!.push(await withServer(run));
    return new Map(
      tools.map(([name], n) => [
        name,
        {
          rate: median(runs[n]!.map(({ rate }) => rate)),
          cpuPerMillion: median(runs[n]!.map(({ cpuPerMillion }) => cpuPerMillion)),
        },
      ]),
    );
  });
}

/** Peers that cannot be measured here. */
export function missingPeers(): string[] {
  return [
    ...(memtier === undefined ? ['memtier_benchmark (MEMTIER names its path)'] : []),
    ...(memcaslap === undefined ? ['memcaslap (MEMCASLAP names its path)'] : []),
  ];
}

if (isMain(import.meta)) {
  const requests = Number(process.argv[2] ?? 1_000_000);
  const depths = (process.argv[3] ?? '1,16,64').split(',').map(Number);
  for (const peer of missingPeers()) say(`missing: ${peer}`);
  const rows: string[][] = [];
  for (const depth of depths) {
    const runs = await measureLoad(requests, depth, 3);
    const beside = (name: string, of: keyof Run, run: Run): string => {
      const other = runs.get(name);
      return other === undefined ? '' : `${(run[of] / other[of]).toFixed(2)}×`;
    };
    for (const [name, run] of runs)
      rows.push([
        String(depth),
        name,
        run.rate.toFixed(0),
        run.cpuPerMillion.toFixed(2),
        beside('memtier_benchmark', 'rate', run),
        beside('memtier_benchmark', 'cpuPerMillion', run),
        beside('bare sockets', 'cpuPerMillion', run),
      ]);
  }
  const head = [
    'Depth',
    'Tool',
    'Requests/s',
    'CPU s a million',
    'Rate beside memtier',
    'CPU beside memtier',
    'CPU beside bare sockets',
  ];
  say(table(head, rows));
}
