// Each scenario on recorded traffic: `node dist/scripts/recorded.js [SECONDS] [SCENARIO…]`. Real clients (memjs that work on
// everything, memjs that cache aside, quiet stores) against a real memcached, recorded on the way; the trace with each
// scenario is replayed against fresh real servers at the recorded speed, and nothing may be wrong. Prints a table.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runAside } from '../fixtures/aside.ts';
import { runClients, settled } from '../fixtures/clients.ts';
import { startMemcached } from '../embedded/memcached.ts';
import { runQuiet } from '../fixtures/quiet.ts';
import { startProxy } from '../recorder/proxy.ts';
import { applyToTrace, listScenarios } from '../synth/scenarios/scenario.ts';
import { TraceReader } from '../trace/file.ts';
import { judged } from './judged.ts';

const SECONDS = Number(process.argv[2] ?? 12);
const CHOSEN = process.argv.slice(3);
const SEED = 11;
/** The mixed ones go one after the other: what adds and what changes, both ways round. */
const COMPOSED = [
  ['tenantSurge', 'hotKey', 'backendRestart'],
  ['sizeShift', 'retryStorm', 'diurnal'],
  ['deployColdCache', 'invalidationStorm', 'connectionChurn', 'ttlAvalanche'],
];
const folder = mkdtempSync(join(tmpdir(), 'memtape-recorded-'));

async function record(path: string): Promise<void> {
  const production = [await startMemcached(['-m', '256']), await startMemcached(['-m', '256'])];
  const proxy = await startProxy({
    listen: production.map(() => '127.0.0.1:0'),
    upstream: production.map(({ address }) => address),
    output: path,
  });
  const address = proxy.addresses.join(',');
  await Promise.all([
    runClients({
      address,
      seed: SEED,
      clients: 4,
      keys: 200,
      exchanges: SECONDS * 400,
      seconds: SECONDS,
      calls: {},
    }),
    runAside({
      address,
      seed: SEED,
      clients: 6,
      reads: SECONDS * 600,
      seconds: SECONDS,
      pages: 800,
      ttl: 600,
    }),
    runQuiet(proxy.addresses[0]!, SECONDS * 50),
  ]);
  await settled(() => proxy.open === 0);
  await proxy.stop();
  for (const server of production) await server.stop();
}

interface Line {
  name: string;
  recorded: number;
  after: number;
  reanswered: number;
  sent: number;
  matched: number;
  drift: Record<string, number>;
  violations: number;
  untestable: number;
}

async function run(tape: string, scenarios: readonly string[]): Promise<Line> {
  const made = join(folder, 'made.tape');
  const { exchanges, recorded, reanswered } = await applyToTrace(tape, made, scenarios, { seed: SEED });
  const targets = [
    await startMemcached(['-m', '1024', '-c', '20000']),
    await startMemcached(['-m', '1024', '-c', '20000']),
  ];
  try {
    const { diff } = await judged({
      trace: made,
      results: join(folder, 'results'),
      targets: targets.map(({ address }) => address),
      timeoutMs: 5000,
      allow: new Set(['flush']),
    });
    const { counts } = diff;
    return {
      name: scenarios.length === 0 ? '(as recorded)' : scenarios.join(' + '),
      recorded,
      after: exchanges,
      reanswered,
      sent: diff.sent,
      matched: diff.matched,
      drift: counts.drift,
      violations: sum(counts.violation),
      untestable: sum(counts.untestable),
    };
  } finally {
    for (const target of targets) await target.stop();
  }
}

function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

function row({
  name,
  recorded,
  after,
  reanswered,
  sent,
  matched,
  drift,
  violations,
  untestable,
}: Line): string {
  const told = Object.entries(drift)
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => `${kind} ${count}`);
  return `| ${name} | ${recorded} | ${after} | ${reanswered} | ${sent} | ${((matched / sent) * 100).toFixed(2)}% | ${told.join(', ') || '–'} | ${untestable || '–'} | ${violations} |\n`;
}

let wrong = 0;
try {
  const tape = join(folder, 'recorded.tape');
  await record(tape);
  const reader = await TraceReader.open(tape);
  process.stderr.write(`${reader.exchangeCount} exchanges recorded\n`);
  await reader.close();
  process.stdout.write(
    '| Scenario | recorded | with it | expected otherwise | sent | as expected | drift | untestable | violations |\n|---|---|---|---|---|---|---|---|---|\n',
  );
  const all = [[], ...listScenarios().map(({ name }) => [name]), ...COMPOSED];
  const asked = CHOSEN.length === 0 ? all : CHOSEN.map((name) => name.split('+'));
  for (const scenarios of asked) {
    const line = await run(tape, scenarios);
    wrong += line.violations;
    process.stdout.write(row(line));
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = wrong === 0 ? 0 : 1;
