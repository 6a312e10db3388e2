// Targets that mean harm: `node dist/scripts/hostile.js [TIMEOUT_MS] [PART] [--only PATTERN] [--ways WAY,…] [--jobs N]` replays
// against each kind, from the first byte and once it has served some requests, and holds the command to an end within
// three time-outs and two seconds, 256 MB, and an exit code that is true. PART: of the kinds, one in so many; PATTERN: those whose names match. Ways: `max`,
// a workload as fast as it goes; `recorded`, clients at their own speed; `gate`, by a gate file; `among`, one sick target
// of three. Ends with 1 where one of them is not kept.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runClients, settled } from '../fixtures/clients.ts';
import { harmless, harms } from '../fixtures/harms.ts';
import { startHostile } from '../fixtures/hostile.ts';
import { startServer } from '../embedded/server.ts';
import { synth } from '../library/synth.ts';
import { startProxy } from '../recorder/proxy.ts';
import { megabytesOf, start, type Ended } from './attack.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string' },
    ways: { type: 'string', default: 'max' },
    jobs: { type: 'string', default: '1' },
  },
});
const TIMEOUT_MS = Number(positionals[0] ?? 1000);
const PART = Number(positionals[1] ?? 1);
const MAX_MEGABYTES = 256;
/** Whatever runs longer is stopped. */
const KILL_MS = 60_000;
/** Beside the time-outs; on a busy machine, in proportion to what a target that means well takes. */
const OWN_MS = 2000;
const BUSY = 1.5;
const LOOK_EVERY = 8;
const folder = mkdtempSync(join(tmpdir(), 'memtape-hostile-'));
const workload = join(folder, 'workload.tape');
const recording = join(folder, 'recording.tape');

interface Way {
  /** Requests that a target serves before it begins to do harm, where it does not at once. */
  after: number;
  /** The bound, by what a target that means well took. */
  maxMs: (soundMs: number) => number;
  args: (address: string, after: number) => string[];
}

/** As fast as it goes, or in a time of its own, which comes on top. */
const unpaced = (soundMs: number): number => 3 * TIMEOUT_MS + Math.max(OWN_MS, BUSY * soundMs);
const paced = (soundMs: number): number => 3 * TIMEOUT_MS + OWN_MS + soundMs;

/** Requests of the replay itself are what is counted, and no keys that are set before it. */
function replaying(
  trace: string,
  targets: string,
  speed: string,
  after: number,
  ...more: string[]
): string[] {
  const prefill = after === 0 ? 'auto' : 'none';
  const args = ['--target', targets, '--speed', speed, '--timeout', `${TIMEOUT_MS}ms`, '--prefill', prefill];
  return ['replay', trace, ...args, '--quiet', ...more];
}

let files = 0;

function gateFile(address: string, after: number): string {
  const path = join(folder, `${++files}.yaml`);
  const prefill = after === 0 ? 'auto' : 'none';
  writeFileSync(
    path,
    `format: memtape-gate/1
runs:
  - {name: run, trace: ${workload}, target: '${address}', speed: max, timeout: ${TIMEOUT_MS}ms, prefill: ${prefill}}
`,
  );
  return path;
}

const server = await startServer();
const sound = await Promise.all([startServer(), startServer()]);

const ways: Readonly<Record<string, Way>> = {
  max: { after: 1500, maxMs: unpaced, args: (address, after) => replaying(workload, address, 'max', after) },
  recorded: {
    after: 1500,
    maxMs: paced,
    args: (address, after) => replaying(recording, address, '1', after),
  },
  gate: { after: 1500, maxMs: unpaced, args: (address, after) => ['gate', gateFile(address, after)] },
  among: {
    after: 400,
    maxMs: unpaced,
    args: (address, after) =>
      replaying(
        workload,
        [address, ...sound.map((one) => one.address)].join(','),
        'max',
        after,
        '--route',
        'ketama',
      ),
  },
};

interface Run extends Ended {
  megabytes: number;
}

async function run(words: readonly string[]): Promise<Run> {
  const { child, ended } = start(words);
  let megabytes = 0;
  const look = setInterval(() => (megabytes = Math.max(megabytes, megabytesOf(child.pid!, 'VmHWM'))), 20);
  const stop = setTimeout(() => child.kill('SIGKILL'), KILL_MS);
  const how = await ended;
  clearInterval(look);
  clearTimeout(stop);
  return { ...how, megabytes };
}

/** Two seconds of memjs, through the recording proxy. */
async function record(): Promise<void> {
  const proxy = await startProxy({ listen: ['127.0.0.1:0'], upstream: [server.address], output: recording });
  const address = proxy.addresses[0]!;
  await runClients({ address, seed: 1, clients: 8, exchanges: 3000, seconds: 2, calls: {} });
  await settled(() => proxy.open === 0);
  await proxy.stop();
}

const only = values.only === undefined ? undefined : new RegExp(values.only);
const names = Object.keys(harms).filter((name, n) => (only === undefined ? n % PART === 0 : only.test(name)));
let [wrong, slowest, largest] = [0, 0, 0];

async function hold(name: string, way: Way, after: number, maxMs: number): Promise<void> {
  const target = await startHostile(server.address, harms[name]!, after);
  const { code, ms, megabytes, said, printed } = await run(way.args(target.address, after));
  await target.stop();
  const codes = [1, ...(harmless.has(name) ? [0] : []), ...(after === 0 ? [5] : [])];
  const isRight = code !== null && codes.includes(code) && !said.includes('defect in memtape');
  const isKept = isRight && ms <= maxMs && megabytes <= MAX_MEGABYTES;
  if (!isKept) wrong++;
  [slowest, largest] = [Math.max(slowest, ms), Math.max(largest, megabytes)];
  const replayed = /requests? at .* in ([\d.]+ m?s)/.exec(printed)?.[1] ?? '–';
  const when = after === 0 ? 'from the first byte' : `after ${after} requests`;
  process.stdout.write(
    `${isKept ? 'kept ' : 'WRONG'}  ${name}, ${when}: exit ${code}, ${(ms / 1000).toFixed(1)} s (the replay ${replayed}), ${megabytes.toFixed(0)} MB${isKept ? '' : `\n${(said + printed).split('\n').slice(0, 6).join('\n')}`}\n`,
  );
}

async function travel(named: string): Promise<void> {
  const way = ways[named];
  if (way === undefined) throw new Error(`expected ways of ${Object.keys(ways).join(', ')}, got ${named}`);
  // Now and then anew: other work on the machine comes and goes.
  let [maxMs, runs] = [0, 0];
  const look = async (): Promise<void> => {
    const { ms } = await run(way.args(server.address, 0));
    maxMs = way.maxMs(ms);
    process.stdout.write(
      `${named}: a target that means well takes ${(ms / 1000).toFixed(1)} s, the bound is ${(maxMs / 1000).toFixed(1)} s\n`,
    );
  };
  const left = names.flatMap((name) => [0, way.after].map((after) => ({ name, after })));
  const work = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      if (++runs % LOOK_EVERY === 0) await look();
      await hold(next.name, way, next.after, maxMs);
    }
  };
  [slowest, largest] = [0, 0];
  await look();
  await Promise.all(Array.from({ length: Number(values.jobs) }, work));
  process.stdout.write(
    `${named}: ${names.length} kinds, each from the first byte and after ${way.after} requests: ${wrong} not kept; the slowest ${(slowest / 1000).toFixed(1)} s, the largest ${largest.toFixed(0)} MB of ${MAX_MEGABYTES}\n`,
  );
}

try {
  if (names.length === 0)
    throw new Error(`expected --only to match one of ${Object.keys(harms).join(', ')}, got ${values.only}`);
  await synth('etc', workload, { requests: 3000, seed: 1 });
  await record();
  for (const way of values.ways.split(',')) await travel(way);
} finally {
  await server.stop();
  for (const one of sound) await one.stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = wrong === 0 ? 0 : 1;
