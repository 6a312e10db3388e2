// No false alarm under synthesized load: `node dist/scripts/healthy.js [SECONDS] [SPEEDS] [EVERY]`. Every model that comes
// with memtape, and every scenario on a model that has all operations, is replayed against a real memcached and against the
// embedded cluster behind its proxy, both healthy. Nothing may be called wrong, and nobody named. EVERY: of each list, only
// every so many. Prints a table in Markdown, and ends with 1 where something was.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startCluster } from '../embedded/cluster.ts';
import { startMemcached } from '../embedded/memcached.ts';
import { startFaultProxy } from '../embedded/proxy.ts';
import type { NamedServer } from '../protocol/distribution.ts';
import type { ReplayOptions } from '../replayer/replay.ts';
import { builtinModels } from '../synth/model/builtin.ts';
import { listScenarios } from '../synth/scenarios/scenario.ts';
import { judged } from './judged.ts';
import { credentials, modelled, type Users } from './modelled.ts';

const SECONDS = Number(process.argv[2] ?? 4);
const SPEEDS = (process.argv[3] ?? '1,max').split(',').map((text) => (text === 'max' ? 'max' : Number(text)));
const EVERY = Number(process.argv[4] ?? 1);
/** Requests a second, before what scenarios add. */
const RATE = 1500;
const BACKENDS = 4;
const OPERATIONS = 'examples/operations.yaml';
const folder = mkdtempSync(join(tmpdir(), 'memtape-healthy-'));

interface Healthy {
  options: Pick<ReplayOptions, 'targets' | 'allow' | 'credentialsOf'>;
  backends: readonly NamedServer[];
  stop(): Promise<void>;
}

const kinds: Readonly<Record<string, (users: Users) => Promise<Healthy>>> = {
  memcached: async () => {
    const server = await startMemcached(['-m', '1024', '-c', '20000']);
    return {
      options: { targets: [server.address], allow: new Set(['flush']) },
      backends: [],
      stop: () => server.stop(),
    };
  },
  proxy: async (users) => {
    const cluster = await startCluster({ backends: BACKENDS, memoryBytes: 1e9 });
    const names = cluster.addresses.map((_, n) => ({ host: `backend-${n}`, port: 11_300 }));
    const proxy = await startFaultProxy({ backends: cluster.addresses, names, ...credentials(users).proxy });
    return {
      options: { targets: [proxy.address], ...credentials(users).replay },
      backends: names,
      stop: async () => {
        await proxy.stop();
        await cluster.stop();
      },
    };
  },
};

let failed = 0;
let runs = 0;
let exchanges = 0;

async function run(name: string, scenarios: readonly string[]): Promise<void> {
  const trace = join(folder, 'model.tape');
  const users = await modelled(name, trace, { rate: RATE, durationMs: SECONDS * 1000, scenarios });
  for (const [target, start] of Object.entries(kinds))
    for (const speed of SPEEDS) {
      const healthy = await start(users);
      try {
        const { diff } = await judged(
          { trace, results: join(folder, 'results'), speed, timeoutMs: 10_000, ...healthy.options },
          { backends: healthy.backends, examples: 3 },
        );
        const { violation, drift } = diff.counts;
        const isClean = Object.keys(violation).length === 0 && diff.culprits.length === 0;
        runs++;
        exchanges += diff.sent;
        if (!isClean) failed++;
        process.stdout.write(
          `| ${scenarios[0] ?? name} | ${target} | ${speed} | ${diff.sent} | ${diff.matched} | ${JSON.stringify(drift)} | ${isClean ? '–' : `**${JSON.stringify([violation, diff.culprits, diff.findings[0]?.examples])}**`} |\n`,
        );
      } finally {
        await healthy.stop();
      }
    }
}

try {
  process.stdout.write(
    '| model, scenario | target | speed | sent | matched | drift | wrong |\n|---|---|---|---|---|---|---|\n',
  );
  const some = <Item>(items: readonly Item[]): Item[] => items.filter((_, n) => n % EVERY === 0);
  for (const name of some([...builtinModels.keys()])) await run(name, []);
  for (const { name } of some(listScenarios())) await run(OPERATIONS, [name]);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.stdout.write(`\n${runs} runs, ${exchanges} exchanges, ${failed} with a false alarm\n`);
process.exitCode = failed === 0 ? 0 : 1;
