// The proof of the verdicts: `node dist/scripts/verdicts.js ROUNDS [SEED]`. Each round records memjs clients that race
// on few keys, and replays the trace against a fresh memcached, where nothing may be called wrong, and against a server
// that corrupts answers, where each corrupted answer must be found and no other. A counter that raced may be corrupted
// into the result of another order; such a one has to be among the raced, and is counted.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Diff } from '../diff/diff.ts';
import { runClients, settled } from '../fixtures/clients.ts';
import { startMemcached } from '../embedded/memcached.ts';
import { startServer } from '../embedded/server.ts';
import { startProxy } from '../recorder/proxy.ts';
import { Random } from '../synth/laws/random.ts';
import { judged } from './judged.ts';

const rounds = Number(process.argv[2] ?? 4);
const seed = Number(process.argv[3] ?? 1);
const folder = mkdtempSync(join(tmpdir(), 'memtape-verdicts-'));
let failed = 0;
let exchanges = 0;
let corrupted = 0;
let explained = 0;
let leastMatched = 1;

async function replayed(trace: string, target: string, speed: number | 'max'): Promise<Diff> {
  const results = join(folder, 'results');
  const run = { trace, results, targets: [target], speed, timeoutMs: 5000 };
  return (await judged(run, { examples: 1e6 })).diff;
}

/** `incr counter:0000` of each exchange in findings of this class and, where given, kind. */
function found({ findings }: Diff, wanted: string, kind?: string): string[] {
  return findings
    .filter((finding) => finding.class === wanted && (kind === undefined || finding.kind === kind))
    .flatMap(({ examples }) => examples.map(({ opcode, key }) => `${opcode} ${key}`))
    .toSorted();
}

/** Those of the first list that the second lacks. */
function without(all: readonly string[], taken: readonly string[]): string[] {
  const rest = [...taken];
  return all.filter((text) => {
    const at = rest.indexOf(text);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
}

function check(round: string, holds: boolean, what: string): void {
  if (holds) return;
  failed++;
  console.log(`${round}: ${what}`);
}

async function run(round: number): Promise<void> {
  const random = new Random(seed, round);
  const clients = 2 + random.int(10);
  const keys = 2 + random.int(40);
  const threads = 1 + random.int(4);
  const speed = random.pick([0.7, 1, 3, 10, 'max'] as const);
  const name = `round ${round} (${clients} clients, ${keys} objects, ${threads} threads, speed ${speed})`;
  const trace = join(folder, 'trace.tape');
  const production = await startMemcached(['-t', String(1 + random.int(4))]);
  const proxy = await startProxy({ listen: ['127.0.0.1:0'], upstream: [production.address], output: trace });
  const address = proxy.addresses[0]!;
  await runClients({
    address,
    seed: seed * 1000 + round,
    clients,
    keys,
    exchanges: 3000,
    seconds: 0.4,
    calls: {},
  });
  await settled(() => proxy.open === 0);
  exchanges += (await proxy.stop()).exchanges;
  await production.stop();

  const memcached = await startMemcached(['-t', String(threads)]);
  const healthy = await replayed(trace, memcached.address, speed);
  await memcached.stop();
  const wrong = found(healthy, 'violation');
  check(name, wrong.length === 0, `a healthy server was called wrong: ${wrong.slice(0, 5).join(', ')}`);
  const matched = healthy.matched / healthy.total;
  leastMatched = Math.min(leastMatched, matched);

  const sick = await startServer({ fault: { name: 'corrupt', share: 1 / 50, seed: round } });
  const verdicts = await replayed(trace, sick.address, speed);
  const made = sick.faultLog.map(({ opcode, key }) => `${opcode} ${key}`);
  await sick.stop();
  corrupted += made.length;
  const said = found(verdicts, 'violation');
  const missed = without(made, said);
  const raced = found(verdicts, 'drift', 'raced').filter((text) => /^(incr|decr) /.test(text));
  explained += missed.length;
  check(name, without(missed, raced).length === 0, `missed ${without(missed, raced).join(', ')}`);
  check(name, without(said, made).length === 0, `invented ${without(said, made).join(', ')}`);
}

try {
  for (let round = 0; round < rounds; round++) await run(round);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(
  `${rounds} rounds, ${exchanges} exchanges, ${failed} failed; ${corrupted} corrupted answers, of which ${explained} are those of another order; at least ${(leastMatched * 100).toFixed(2)}% as recorded on a healthy server`,
);
process.exitCode = failed === 0 ? 0 : 1;
