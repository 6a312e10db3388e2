// The fault matrix: `node dist/scripts/faults.js [SEEDS] [SPEEDS] [FAULTS] [--traffic recorded|MODEL,…] [--audit]`. Traffic is
// replayed // against a proxy with four backends behind it, with one fault on one of them. Each fault must be found, by a kind of
// finding that fits, and the backend named first; the healthy release must pass. Recorded traffic is that of memjs, pylibmc,
// quiet clients and clients in the corners of the protocol, of three tenants, through the healthy release; that of a model is
// made as `memtape replay MODEL` makes it, anew for each seed. A model need not have what every fault is about, but some of
// the traffic must. With --audit nothing is replayed: the fault is there while the traffic is recorded, and the recording is
// judged by itself; what no recording can show is in a table of its own. Prints a table in Markdown for each, and ends with 1 where something was missed or invented.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { audit } from '../audit/audit.ts';
import type { Diff } from '../diff/diff.ts';
import { runClients, settled } from '../fixtures/clients.ts';
import { startCluster, type Cluster } from '../embedded/cluster.ts';
import { runCorners } from '../fixtures/corner.ts';
import { proxyFaults, type ProxyFault, type ProxyFaultName } from '../embedded/proxy/fault.ts';
import { startFaultProxy, type FaultProxy } from '../embedded/proxy.ts';
import { runPylibmc } from '../fixtures/pylibmc.ts';
import { runQuiet } from '../fixtures/quiet.ts';
import { startProxy } from '../recorder/proxy.ts';
import { TraceReader } from '../trace/file.ts';
import { judged } from './judged.ts';
import { credentials, modelled, usersOf, type Users } from './modelled.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { traffic: { type: 'string', default: 'recorded' }, audit: { type: 'boolean', default: false } },
});
const SEEDS = Number(positionals[0] ?? 3);
const SPEEDS = (positionals[1] ?? '1,max').split(',').map((text) => (text === 'max' ? 'max' : Number(text)));
const wanted = positionals[2]?.split(',') ?? proxyFaults;
/** What is made of a model: requests a second, and milliseconds. It is about as much as is recorded. */
const RATE = 3000;
const DURATION_MS = 6000;
const TIMEOUT_MS = 1500;
/** Where nothing is answered, so long is waited each time. */
const SHORT_MS = 1000;
/** Faults that have a moment have it after this share of the requests, however slow the machine is. */
const MOMENT = 0.25;
/** The moment of a fault that is in what is recorded, which takes some five seconds. */
const RECORDED_MOMENT_MS = 1500;
const RECORDED_AT_MOST_MS = 12_000;
const AUDITED_MORE = 3;
/** With fewer failures nobody is to blame yet. */
const FEW = 20;
/** The share of requests that a fault strikes, where it does not strike all. */
const SOME = 0.1;
const BACKENDS = 4;
/** What the ring calls them: the same keys are on the same backend in every run. */
const names = Array.from({ length: BACKENDS }, (_, n) => ({ host: `backend-${n}`, port: 11_300 }));
const folder = mkdtempSync(join(tmpdir(), 'memtape-faults-'));

interface Expectation {
  /** What may be said of it, violations and drift. */
  kinds: readonly string[];
  /** The share of the requests that it is about. Default: all. */
  share?: number;
  /**
   * A correct cache may do the same, for want of memory or because a client is told so: what is found is drift, or a
   * violation only where servers tell that they lost nothing.
   */
  isLegal?: true;
  /** It takes seconds to show: expiries, and a flush that is delayed. At `max` they do not pass. */
  takesTime?: true;
  /** It begins at a moment. */
  isMomentary?: true;
  /** Nothing is answered. */
  isMute?: true;
  /** It hangs up a moment after its answer, when others have answered too, or too seldom: who it was cannot be told. */
  isAnonymous?: true;
  /** No model asks for what it is about. */
  isRecordedOnly?: true;
}

const stale = ['stale-value', 'resurrected', 'found'];
const lost = ['vanished', 'lost'];
const expected: Readonly<Record<ProxyFaultName, Expectation>> = {
  'stale-sockets': { kinds: [...lost, 'wrong-status'], isLegal: true, isMomentary: true },
  'restart-empty': { kinds: lost, share: SOME, isLegal: true, isMomentary: true },
  'delayed-flush': { kinds: lost, share: SOME, isLegal: true, isMomentary: true, takesTime: true },
  slow: { kinds: ['latency'], isLegal: true },
  // Each strike holds a connection up until the time-out: with fewer, a handful fails at 1×, which names nobody.
  stall: { kinds: ['unanswered', 'closed'], share: 0.5, isMute: true },
  // Each costs a time-out: all of them, minutes.
  blackhole: { kinds: ['unanswered', 'closed'], share: SOME, isMute: true },
  reset: { kinds: ['closed'], share: SOME },
  'half-open': { kinds: ['closed'], share: SOME },
  'refused-store': { kinds: ['capacity'], isLegal: true },
  'eviction-storm': { kinds: lost, share: SOME, isLegal: true },
  corrupt: { kinds: ['wrong-value'], share: SOME },
  truncate: { kinds: ['wrong-value'], share: SOME },
  swap: { kinds: ['foreign-value', 'wrong-value', 'stale-value'], share: SOME },
  'wrong-key': { kinds: ['wrong-key'] },
  'tenant-leak': { kinds: ['foreign-value', 'wrong-value'] },
  'stale-read': { kinds: ['stale-value', 'resurrected'] },
  'lost-write': { kinds: [...stale, ...lost], share: SOME },
  'cas-ignored': { kinds: ['cas'] },
  'counter-off': { kinds: ['counter'] },
  'flags-lost': { kinds: ['wrong-flags'] },
  'ttl-ignored': { kinds: [...stale, 'temporal'], takesTime: true },
  'ttl-short': { kinds: lost, isLegal: true, takesTime: true },
  'quiet-errors-dropped': { kinds: ['wrong-status', 'found', 'raced', 'resurrected'] },
  duplicate: { kinds: ['orphan'], share: SOME },
  reorder: { kinds: ['unanswered', 'orphan', 'malformed'], share: SOME },
  'wrong-opaque': { kinds: ['orphan', 'unanswered'], share: SOME },
  'wrong-status': { kinds: ['wrong-status'], share: SOME },
  churn: { kinds: ['closed'], share: SOME, isAnonymous: true },
  // A hit of GETK and its like without its key is no answer of theirs.
  'keyless-gatkq': { kinds: ['wrong-key', 'malformed'] },
  'cas-zero': { kinds: ['cas'] },
  'cas-drifts': { kinds: ['cas'] },
  'cas-kept-by-incr': { kinds: ['cas'], isRecordedOnly: true },
  'number-parsing': { kinds: ['wrong-status', 'counter'] },
  'decr-wraps': { kinds: ['counter'] },
  'flags-lost-by-incr': { kinds: ['wrong-flags'], isRecordedOnly: true },
  'flush-ignored': { kinds: stale, isRecordedOnly: true },
  'delete-ignored': { kinds: [...stale, 'wrong-status'] },
  // It succeeds where the key is known to be absent; what is read then was stored by nobody.
  'replace-creates': { kinds: ['wrong-status', ...stale, 'raced'] },
  // A cache without room may have dropped the item before.
  'add-overwrites': { kinds: [...lost, 'wrong-status', 'raced'], isLegal: true },
  'quiet-hit-dropped': { kinds: lost, isLegal: true },
  'quiet-miss-answered': { kinds: ['wrong-status', 'orphan', 'malformed'] },
  'quiet-success-answered': { kinds: ['wrong-status', 'orphan', 'malformed'] },
  'previous-version': { kinds: ['stale-value', 'resurrected', 'cas'] },
  'one-behind': {
    kinds: ['foreign-value', 'wrong-value', 'stale-value', 'wrong-status', 'wrong-key', 'counter', 'cas'],
    isMomentary: true,
  },
  'hangs-up-every-500th': { kinds: ['closed'], isAnonymous: true },
  'ttl-times-1000': { kinds: [...stale, 'temporal'], takesTime: true },
  'ttl-divided-by-10': { kinds: [...lost, 'temporal'], isLegal: true, takesTime: true },
  // A replay sends requests whole: those that are larger than what a socket takes at once come in parts.
  'partial-body-mixup': { kinds: ['wrong-value', 'foreign-value'], isRecordedOnly: true },
};

/** What is replayed, and who its tenants are; none: it has no users. */
interface Traffic {
  tape: string;
  users: Users;
}

/**
 * What a recording shows where the fault was in production, if that is not what a replay shows; undefined: nothing, for the
 * reasons in docs/auditing.md.
 */
const inRecording: ReadonlyMap<ProxyFaultName, Pick<Expectation, 'kinds' | 'isAnonymous'> | undefined> =
  new Map([
    ['stall', { kinds: ['unanswered', 'closed'], isAnonymous: true }],
    // Soon every client waits, each for one answer: that is too few to tell who it was.
    ['blackhole', { kinds: ['unanswered', 'closed'], isAnonymous: true }],
    ['half-open', { kinds: ['closed'], isAnonymous: true }],
    // The recorder takes an answer that names another key, or another opaque, for nobody's.
    ['wrong-key', { kinds: ['wrong-key', 'orphan', 'lost', 'resurrected'] }],
    ['wrong-opaque', { kinds: ['orphan', 'lost', 'resurrected', 'wrong-status'] }],
    ['duplicate', { kinds: ['orphan'], isAnonymous: true }],
    // Who reset a connection is not recorded.
    ['reset', undefined],
    // Opaques tell whose each answer is, to the client and to the recorder.
    ['reorder', undefined],
    // Ids that no order explains are no evidence.
    ['cas-kept-by-incr', undefined],
    // There are such dialects.
    ['quiet-miss-answered', undefined],
    ['quiet-success-answered', undefined],
  ]);

async function cluster(): Promise<Cluster> {
  return startCluster({ backends: BACKENDS, memoryBytes: 64e6 });
}

/** Traffic of the clients through a release, which is healthy without faults. */
async function record(
  faults: readonly ProxyFault[] = [],
  seed = 1,
): Promise<Traffic & { release: FaultProxy }> {
  const tape = join(folder, faults.length === 0 ? 'recorded.tape' : 'sick.tape');
  rmSync(tape, { force: true });
  // Only carol asks for FLUSH: on the one connection that she has, so that it has its place among her requests.
  const users = usersOf('alice', 'bob', 'carol');
  const backends = await cluster();
  const release = await startFaultProxy({
    backends: backends.addresses,
    names,
    users,
    faults,
    seed,
    waits: true,
    restart: async (backend) => backends.restart(backend),
  });
  const isMomentary = faults.some(({ name }) => expected[name].isMomentary === true);
  const beginning = setTimeout(() => release.begin(), isMomentary ? RECORDED_MOMENT_MS : 0);
  const proxy = await startProxy({ listen: ['127.0.0.1:0'], upstream: [release.address], output: tape });
  const address = proxy.addresses[0]!;
  // Clients of a sick release may fail, or wait for ever.
  const clients = Promise.allSettled(
    [...users].map(async ([user, password], tenant) => {
      const isAlone = user === 'carol';
      const [connections, flushes] = [isAlone ? 1 : 4, isAlone];
      await Promise.allSettled([
        runCorners({ address, user, password, seed: tenant, connections, seconds: 5, flushes }),
        isAlone ? undefined : runApplications(address, user, password, tenant),
      ]);
    }),
  );
  const isOver = await Promise.race([clients.then(() => true), sleep(RECORDED_AT_MOST_MS, false)]);
  clearTimeout(beginning);
  if (isOver) await settled(() => proxy.open === 0);
  await proxy.stop();
  await release.stop();
  await backends.stop();
  return { tape, users, release };
}

async function audited(
  faults: readonly ProxyFault[],
  seed: number,
): Promise<{ diff: Diff; release: FaultProxy }> {
  const { tape, release } = await record(faults, seed);
  const trace = await TraceReader.open(tape);
  try {
    const options = { backends: names, examples: 3, timeoutMs: SHORT_MS, capture: trace.end?.capture };
    const { diff } = await audit(trace, '', options);
    return { diff, release };
  } finally {
    await trace.close();
  }
}

async function runApplications(
  address: string,
  user: string,
  password: string,
  tenant: number,
): Promise<void> {
  await Promise.all([
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
  ]);
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
        timeoutMs: faults.some(({ name }) => expected[name].isMute === true) ? SHORT_MS : TIMEOUT_MS,
        allow: new Set(['flush']),
        ...credentials(users).replay,
        onProgress: ({ phase, done, total }) => {
          const from = faults.some(({ name }) => expected[name].isMomentary === true) ? MOMENT * total : 0;
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
const traffics = values.traffic.split(',');
/** Faults that no traffic gave an occasion, and some was to. */
const unstruck = new Set(
  proxyFaults.filter(
    (name) =>
      wanted.includes(name) && (traffics.includes('recorded') || expected[name].isRecordedOnly !== true),
  ),
);

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
  const { diff } = values.audit ? await audited([], 1) : await replayed(traffic, speed, [], 1);
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
  if (values.audit && inRecording.has(name) && inRecording.get(name) === undefined) {
    say(`| ${name} | – | – | no recording shows it | – |`);
    unstruck.delete(name);
    return;
  }
  const expectation = { ...expected[name], ...(values.audit ? inRecording.get(name) : undefined) };
  const {
    kinds: fitting,
    share: replayedShare = 1,
    isLegal,
    isMomentary,
    takesTime,
    isAnonymous,
  } = expectation;
  // Live clients ask for less in the same time than a replay at full speed does.
  const share = values.audit ? Math.min(1, AUDITED_MORE * replayedShare) : replayedShare;
  const fault: ProxyFault = {
    name,
    backend,
    share,
    ...(name === 'stall' ? { untilMs: 6000 } : {}),
    ...(isMomentary === true ? { afterMs: 1 } : {}),
  };
  const { diff, release } = values.audit
    ? await audited([fault], seed)
    : await replayed(traffic, speed, [fault], seed);
  const struck = release.log.length;
  if (struck > 0) unstruck.delete(name);
  const kinds = { ...diff.counts.violation, ...diff.counts.drift };
  const isSlow = diff.latency.fromSent.getValueAtPercentile(95) > 30_000;
  const hit = fitting.filter((kind) => (kind === 'latency' ? isSlow : (kinds[kind] ?? 0) > 0));
  // A release that refuses stores, and keeps what they were to replace, is wrong in two ways: one of them names it.
  const first = diff.culprits.find(
    ({ of }) => !values.audit || name !== 'refused-store' || of === 'capacity',
  );
  const isNamed = first?.factor === 'partition' && first.value.startsWith(`backend-${backend}:11300,`);
  const needsTime = speed === 'max' && takesTime === true;
  const failures = hit.reduce((sum, kind) => sum + (kinds[kind] ?? 0), 0);
  const isUnnamed =
    (isAnonymous === true && first === undefined) ||
    (values.audit && Math.min(failures, first?.allFailures ?? 0) < FEW);
  const isFound = struck === 0 || needsTime || (hit.length > 0 && (isNamed || isUnnamed));
  if (!isFound) failed++;
  const found =
    struck === 0
      ? 'no occasion'
      : hit.length === 0
        ? `**missed** ${JSON.stringify(kinds)}`
        : hit.map((kind) => `${kind} ${kinds[kind] ?? ''}`).join(', ');
  say(
    `| ${name}${isLegal === true ? ' (legal)' : ''} | ${speed} | ${struck} | ${found} | ${isNamed ? 'the backend' : first === undefined ? 'nobody' : `${first.factor} ${first.value}`}${isFound ? '' : ' **FAILED**'} |`,
  );
  if (isFound) return;
  for (const { of, factor, value, failures, allFailures, explained, lift } of diff.culprits.slice(0, 5))
    say(
      `  ${of}: ${factor} ${value}, ${failures} of ${allFailures}, explains ${explained.toFixed(2)}, ${lift.toFixed(1)} times as often`,
    );
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

try {
  for (const name of traffics) await matrix(name);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
if (unstruck.size > 0) say(`no traffic gave an occasion for ${[...unstruck].join(', ')}`);
failed += unstruck.size;
say(`${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
