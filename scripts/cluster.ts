// Clusters that lose what they stand on: `node dist/scripts/cluster.js [kills N] [restarts N] [skew N]`. `kills`: a worker is
// killed at a random moment of each run (fetching, looking over, at the barrier, replaying, handing in). `restarts`: Redis is.
// `skew`: how far apart shards begin. `alike`: four workers find what one finds, without a fault and with six. Every exchange counts a key of its own up by one, so that the target itself tells whether
// one was sent twice (incr_hits). Ends with 1 where a run had no end, or passed without a shard, or one was sent twice.

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startCluster, startMemcachedCluster } from '../embedded/cluster.ts';
import { startMemcached, type Memcached } from '../embedded/memcached.ts';
import { parseProxyFault } from '../embedded/proxy/fault.ts';
import { startFaultProxy } from '../embedded/proxy.ts';
import { startRedis, type RedisServer } from '../fixtures/redis.ts';
import { Opcode } from '../protocol/opcode.ts';
import { Random } from '../synth/laws/random.ts';
import { Batch, NEVER, Outcome } from '../trace/batch.ts';
import { TraceWriter } from '../trace/file.ts';
import { emptyCapture } from '../trace/meta.ts';
import { modelled } from './modelled.ts';

const program = new URL('../cli/main.js', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'memtape-cluster-'));
const random = new Random(Number(process.env['CLUSTER_SEED'] ?? 20_261_130));
const WORKERS = 3;
const CONNECTIONS = 12;
const EXCHANGES = 1_500;
/** So long is a run, once it has started, ms. */
const RUN_MS = 3_000;
/** No run may take longer, ms: what it waits for is bounded. */
const LONGEST_MS = 120_000;

/** Exchanges that each count a key of their own up by one, which begins at 1. */
async function counting(path: string, mark: string, everyNs: number): Promise<void> {
  const batch = new Batch(EXCHANGES);
  batch.count = EXCHANGES;
  const put = (bytes: Buffer): [at: number, length: number] => {
    const at = batch.allocate(bytes.length);
    bytes.copy(batch.heap, at);
    return [at, bytes.length];
  };
  const extras = Buffer.alloc(20);
  extras.writeBigUInt64BE(1n, 0);
  extras.writeBigUInt64BE(1n, 8);
  const answer = Buffer.alloc(8);
  answer.writeBigUInt64BE(1n);
  for (let row = 0; row < EXCHANGES; row++) {
    batch.connection[row] = row % CONNECTIONS;
    batch.opcode[row] = Opcode.incr;
    batch.outcome[row] = Outcome.answered;
    batch.opaque[row] = row;
    batch.requestNs[row] = row * everyNs;
    batch.requestEndNs[row] = row * everyNs;
    batch.answerNs[row] = row * everyNs + 50_000;
    [batch.extrasAt[row], batch.extrasLength[row]] = put(extras);
    [batch.keyAt[row], batch.keyLength[row]] = put(Buffer.from(`${mark}-${row}`));
    batch.frames[row] = 1;
    [batch.answerValueAt[row], batch.answerValueLength[row]] = put(answer);
    batch.answerCasLow[row] = row + 1;
  }
  batch.connections = Array.from({ length: CONNECTIONS }, (_, id) => ({
    id,
    client: `10.0.0.9:${40_000 + id}`,
    server: '10.0.0.1:11211',
    tenant: '',
    openNs: 0,
    closeNs: NEVER,
    end: 0,
  }));
  const writer = await TraceWriter.create(path, {
    format: 'memtape/1',
    writer: 'memtape',
    startNs: '1700000000000000000',
    source: 'cluster',
    ports: [11_211],
    privacy: { values: 'full', keys: 'clear' },
  });
  writer.append(batch);
  await writer.finish({ capture: emptyCapture(), casRequests: 0 });
}

/** A figure of STAT. */
async function stat({ port }: Memcached, name: string): Promise<number> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => socket.write('stats\r\n'));
    socket.on('error', reject);
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (!text.endsWith('END\r\n')) return;
      socket.destroy();
      resolve(Number(new RegExp(`STAT ${name} (\\d+)`).exec(text)?.[1]));
    });
  });
}

interface Begun {
  child: ChildProcess;
  said: () => string;
  ended: Promise<number | null>;
}

const begun: Begun[] = [];

function start(...args: string[]): Begun {
  const child = spawn(process.execPath, [program, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, NO_COLOR: '1', TMPDIR: folder },
  });
  let text = '';
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  const one = { child, said: () => text, ended };
  begun.push(one);
  return one;
}

function startWorker(redis: RedisServer): Begun {
  return start('cluster', 'worker', '--redis', redis.url);
}

interface Ended {
  code: number | null;
  said: string;
  report:
    | {
        verdict: string;
        shards?: { all: { lost: string | null; startSeconds: number | null; uncertaintySeconds?: number }[] };
      }
    | undefined;
}

async function runOnce(
  redis: RedisServer,
  target: Memcached,
  mark: string,
  meanwhile: (run: Begun) => Promise<void>,
): Promise<Ended> {
  const [tape, json] = [join(folder, `${mark}.tape`), join(folder, `${mark}.json`)];
  await counting(tape, mark, (RUN_MS * 1e6) / EXCHANGES);
  const where = ['--target', target.address, '--redis', redis.url, '--workers', String(WORKERS)];
  const how = ['--prefill', 'none', '--json', json, '--run', mark, '--silence', '6s', '--wait', '40s'];
  const run = start('cluster', 'run', tape, ...where, ...how);
  const late = setTimeout(() => run.child.kill('SIGKILL'), LONGEST_MS);
  const [code] = await Promise.all([run.ended, meanwhile(run)]);
  clearTimeout(late);
  let report: Ended['report'];
  try {
    report = JSON.parse(readFileSync(json, 'utf8')) as Ended['report'];
  } catch {
    // It did not come so far.
  }
  rmSync(tape, { force: true });
  return { code, said: run.said(), report };
}

/** What of a run must not be; undefined: all is well. */
function wrong({ code, report }: Ended): string | undefined {
  if (code === null) return 'it had no end';
  const lost = report?.shards?.all.filter((shard) => shard.lost !== null).length ?? 0;
  if (code === 0 && (lost > 0 || report?.verdict !== 'pass')) return 'it passed, and not all of it was there';
  if (lost > 0 && code !== 5) return `it lost ${lost} shards, and ended with ${code}`;
  return code === 0 || code === 5 ? undefined : `it ended with ${code}`;
}

let failures = 0;

function tell(what: string, ended: Ended): void {
  const trouble = wrong(ended);
  if (trouble !== undefined) failures++;
  const lost =
    ended.report?.shards?.all.flatMap((shard, n) =>
      shard.lost === null ? [] : [`shard ${n + 1} ${shard.lost}`],
    ) ?? [];
  const last = ended.said.trim().split('\n').at(-1) ?? '';
  process.stdout.write(
    `${what}: exit ${ended.code}${lost.length > 0 ? `, ${lost.join('; ')}` : ended.code === 0 ? '' : `, ${last}`}${trouble === undefined ? '' : `  WRONG: ${trouble}\n${ended.said}`}\n`,
  );
}

/** The run has chosen the attempts, or has come to its end without. */
async function chosen(run: Begun): Promise<void> {
  const until = Date.now() + 40_000;
  while (!run.said().includes('workers are ready') && run.child.exitCode === null && Date.now() < until)
    await sleep(20);
}

async function kills(count: number): Promise<void> {
  const [redis, target] = [await startRedis(), await startMemcached()];
  let workers = Array.from({ length: WORKERS + 1 }, () => startWorker(redis));
  const ends = new Map<string, number>();
  for (let n = 0; n < count; n++) {
    const mark = `kill${n}`;
    let when = '';
    const ended = await runOnce(redis, target, mark, async (run) => {
      // Some before the attempts are chosen, and some after.
      if (random.chance(0.6)) {
        await chosen(run);
        const after = random.float() * (RUN_MS + 3_000);
        when = `${(after / 1000).toFixed(1)} s after the choice`;
        await sleep(after);
      } else {
        const after = random.float() * 5_000;
        when = `${(after / 1000).toFixed(1)} s after its begin`;
        await sleep(after);
      }
      const busy = workers.filter((one) => one.said().includes(`run ${mark}`));
      const victim = random.pick(busy.length > 0 ? busy : workers);
      victim.child.kill('SIGKILL');
      workers = workers.filter((one) => one !== victim);
      workers.push(startWorker(redis));
    });
    tell(`kill ${n}, ${when}`, ended);
    const end = ended.code === 0 ? 'passed' : 'aborted';
    ends.set(end, (ends.get(end) ?? 0) + 1);
  }
  const twice = await stat(target, 'incr_hits');
  if (twice > 0) failures++;
  process.stdout.write(
    `${count} kills: ${[...ends].map(([end, n]) => `${n} ${end}`).join(', ')}; counted at the target: ${await stat(target, 'total_items')} exchanges sent once, ${twice} twice\n`,
  );
  for (const { child } of workers) child.kill('SIGKILL');
  await target.stop();
  await redis.stop();
}

async function restarts(count: number): Promise<void> {
  const target = await startMemcached();
  let redis = await startRedis();
  const workers = Array.from({ length: WORKERS }, () => startWorker(redis));
  const ends = new Map<string, number>();
  for (let n = 0; n < count; n++) {
    const downMs = random.pick([50, 1_000, 4_000]);
    let when = '';
    const ended = await runOnce(redis, target, `restart${n}`, async (run) => {
      const isLate = random.chance(0.5);
      if (isLate) await chosen(run);
      const after = random.float() * (isLate ? RUN_MS : 4_000);
      when = `${(after / 1000).toFixed(1)} s after ${isLate ? 'the choice' : 'its begin'}, for ${downMs} ms`;
      await sleep(after);
      const { port } = redis;
      await redis.stop();
      await sleep(downMs);
      redis = await startRedis([], port);
    });
    tell(`Redis restarted ${n}, ${when}`, ended);
    const end = ended.code === 0 ? 'survived' : 'failed clearly';
    ends.set(end, (ends.get(end) ?? 0) + 1);
  }
  const twice = await stat(target, 'incr_hits');
  if (twice > 0) failures++;
  process.stdout.write(
    `${count} restarts: ${[...ends].map(([end, n]) => `${n} ${end}`).join(', ')}; ${twice} exchanges sent twice\n`,
  );
  for (const { child } of workers) child.kill('SIGKILL');
  await target.stop();
  await redis.stop();
}

/** The figure below which this share of the sorted ones lies, ms. */
function at(sorted: readonly number[], share: number): string {
  return (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN).toFixed(3);
}

async function skew(count: number): Promise<void> {
  const [redis, target] = [await startRedis(), await startMemcached()];
  const workers = Array.from({ length: WORKERS }, () => startWorker(redis));
  const spreads: number[] = [];
  const sure: number[] = [];
  for (let n = 0; n < count; n++) {
    const ended = await runOnce(redis, target, `skew${n}`, async () => undefined);
    const all = ended.report?.shards?.all ?? [];
    const starts = all.flatMap(({ startSeconds }) => (startSeconds === null ? [] : [startSeconds * 1000]));
    if (starts.length === WORKERS) spreads.push(Math.max(...starts) - Math.min(...starts));
    for (const { uncertaintySeconds } of all) sure.push((uncertaintySeconds ?? 0) * 1000);
    if (wrong(ended) !== undefined) tell(`skew ${n}`, ended);
  }
  const [a, b] = [spreads, sure].map((all) => all.toSorted((x, y) => x - y));
  process.stdout.write(
    `${spreads.length} starts of ${WORKERS} shards: the last after the first by p50 ${at(a!, 0.5)} ms, p99 ${at(a!, 0.99)} ms; clocks sure to p50 ${at(b!, 0.5)} ms, p99 ${at(b!, 0.99)} ms\n`,
  );
  for (const { child } of workers) child.kill('SIGKILL');
  await target.stop();
  await redis.stop();
}

/** Faults of which each names the backend that has it. */
const faults = [
  'corrupt=1/20',
  'lost-write=1/10',
  'stale-read=1/10',
  'cas-ignored',
  'wrong-key=1/20',
  'counter-off=1/4',
];
const SICK = 2;
const BACKENDS = 4;
const names = Array.from({ length: BACKENDS }, (_, n) => ({ host: `backend-${n}`, port: 11_300 }));

interface Findings {
  verdict: string;
  exchanges: Record<string, number>;
  violations: Record<string, number>;
  attribution: { factor: string; value: string }[];
}

/** Kinds, and who it was. */
function gist({ verdict, violations, attribution }: Findings): string {
  const first = attribution.find(({ factor }) => /partition|server/.test(factor));
  return `${verdict}: ${Object.keys(violations).toSorted().join(', ') || 'nothing'}${first === undefined ? '' : `; ${first.factor} ${first.value}`}`;
}

async function reported(args: readonly string[]): Promise<Findings> {
  const json = join(folder, 'alike.json');
  rmSync(json, { force: true });
  const one = start(...args, '--json', json, '--quiet');
  await one.ended;
  try {
    return JSON.parse(readFileSync(json, 'utf8')) as Findings;
  } catch (cause) {
    throw new Error(`expected a report of ${args.join(' ')}, got: ${one.said()}`, { cause });
  }
}

/** Four workers beside one, on the same recording: what each finds, without a fault and with each of some. */
async function alike(rounds: number): Promise<void> {
  const redis = await startRedis();
  const count = 4;
  const auth = join(folder, 'users');
  const tape = join(folder, 'operations.tape');
  const users = await modelled('examples/operations.yaml', tape, { rate: 3000, durationMs: 6000 });
  writeFileSync(auth, Array.from(users, ([user, password]) => `${user}:${password}\n`).join(''));
  const withUsers = users.size > 0 ? ['--auth-file', auth] : [];
  const startAll = (...more: string[]): Begun[] =>
    Array.from({ length: count }, () => start('cluster', 'worker', '--redis', redis.url, ...more));
  let workers = startAll();
  const byAll = ['--workers', String(count), '--redis', redis.url];
  const plain = join(folder, 'plain.tape');
  await modelled('etc', plain, { rate: 5000, durationMs: 4000 });
  const healthy: Findings[] = [];
  for (const divided of [false, true]) {
    const cluster = await startMemcachedCluster({ backends: 5 });
    const sent = [
      plain,
      '--target',
      cluster.addresses.join(','),
      '--route',
      'ketama',
      '--speed',
      'max',
      '--timeout',
      '8s',
    ];
    healthy.push(await reported(divided ? ['cluster', 'run', ...sent, ...byAll] : ['replay', ...sent]));
    await cluster.stop();
  }
  const counts = healthy.map(({ exchanges }) => JSON.stringify(exchanges));
  if (counts[0] !== counts[1]) failures++;
  process.stdout.write(
    `five memcached under ketama, one worker and four: ${healthy.map(gist).join(' | ')}; ${counts[0] === counts[1] ? `the same counts, ${counts[0]}` : counts.join(' | ')}\n`,
  );
  for (const { child } of workers) child.kill('SIGKILL');
  workers = startAll(...withUsers);
  for (let round = 0; round < rounds; round++)
    for (const text of faults) {
      const seen: Findings[] = [];
      for (const divided of [false, true]) {
        const backends = await startCluster({ backends: BACKENDS });
        const proxy = await startFaultProxy({
          backends: backends.addresses,
          names,
          users,
          seed: round + 1,
          spared: Math.max(1, users.size),
          faults: [parseProxyFault(`${text},backend=${SICK}`)],
          restart: async (backend) => backends.restart(backend),
        });
        const ring = names.map(({ host, port }) => `${host}:${port}`).join(',');
        const sent = [
          tape,
          '--target',
          proxy.address,
          '--backends',
          ring,
          '--speed',
          'max',
          '--timeout',
          '8s',
        ];
        seen.push(
          await reported(divided ? ['cluster', 'run', ...sent, ...byAll] : ['replay', ...sent, ...withUsers]),
        );
        await proxy.stop();
        await backends.stop();
      }
      const [one, all] = seen.map(gist);
      const places = seen.map(
        ({ attribution }) => attribution.find(({ factor }) => factor === 'partition')?.value,
      );
      const isAlike = seen.every(({ verdict }) => verdict === 'fail') && places[0] === places[1];
      if (!isAlike) failures++;
      process.stdout.write(
        `${text} on ${names[SICK]!.host}, one worker and four: ${one} | ${all}${isAlike ? '' : '  NOT ALIKE'}\n`,
      );
    }
  for (const { child } of workers) child.kill('SIGKILL');
  await redis.stop();
}

const parts = { kills, restarts, skew, alike };
try {
  const words = process.argv.slice(2);
  for (let n = 0; n < words.length; n += 2) {
    const part = parts[words[n] as keyof typeof parts];
    if (part === undefined)
      throw new Error(`expected kills N, restarts N, skew N or alike N, got ${words[n]}`);
    await part(Number(words[n + 1]));
  }
} finally {
  for (const { child } of begun) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failures > 0 ? 1 : 0;
