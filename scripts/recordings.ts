// How well models fitted to recordings stand in for them: `node dist/scripts/recordings.js [TAPE…]`. Without traces it makes
// its own, with real clients and a real memcached behind the recording proxy: (a) memjs clients that wait for their
// answers, with all operations, expiries, and another size with each store; (b) memjs requests that come by a schedule of
// bursts and of a rate that changes, whose misses are stored again now and then; (c) pylibmc clients that race, with quiet
// multi-gets. Each is fitted as `memtape synth fit` does, made with each seed, and compared; then the first half is fitted
// and compared with the second, beside how much the halves differ. Ends with 1 where a goal is missed.
//
//     --seconds N    of each recording (120)      --exchanges N   of the first (120000)
//     --seeds N      streams made of each (4)     --keep FOLDER   where the traces stay
//     --only NAMES   closed,open,pylibmc          --brief         without the halves
//     --times N      goals so many times as wide, for recordings that are short

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { writeYaml } from '../config/yaml.ts';
import { mergeTraces } from '../convert/merge.ts';
import { runClients, settled } from '../fixtures/clients.ts';
import { startMemcached } from '../embedded/memcached.ts';
import { runOpen } from '../fixtures/open.ts';
import { runPylibmc } from '../fixtures/pylibmc.ts';
import { startProxy } from '../recorder/proxy.ts';
import { renderFidelity } from '../synth/fidelity/drawing.ts';
import { compare, type FidelityRow } from '../synth/fidelity/fidelity.ts';
import { baseline, type Summary } from '../synth/fidelity/summary.ts';
import { fitTrace } from '../synth/fit/fit.ts';
import { ModelGenerator } from '../synth/generate/generator.ts';
import { START_NS } from '../synth/generate/space.ts';
import { parseModel, type Model } from '../synth/model/model.ts';
import { summarizeBatches } from '../synth/fit/summarize.ts';
import { TraceReader } from '../trace/file.ts';
import { meanRows } from './rows.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '120' },
    exchanges: { type: 'string', default: '120000' },
    seeds: { type: 'string', default: '4' },
    keep: { type: 'string' },
    only: { type: 'string' },
    brief: { type: 'boolean', default: false },
    times: { type: 'string', default: '1' },
  },
});
const seconds = Number(values.seconds);
const seeds = Array.from({ length: Number(values.seeds) }, (_, n) => n + 1);
const scratch = mkdtempSync(join(tmpdir(), 'memtape-recordings-'));
const folder = values.keep ?? scratch;

/** What docs/fidelity.md says is missed. */
const unclaimed: Record<string, readonly string[]> = { open: ['gaps'], pylibmc: ['value bytes'] };

/** Clients by the name of the recording that they make. */
const traffic: Record<string, (addresses: readonly string[]) => Promise<unknown>> = {
  closed: async ([address]) =>
    runClients({
      address: address!,
      seed: 5,
      clients: 20,
      exchanges: Number(values.exchanges),
      seconds,
      keys: 2000,
      calls: {},
    }),
  open: async ([address]) => runOpen({ address: address!, seed: 6, clients: 12, rate: 900, seconds }),
  pylibmc: async (addresses) =>
    Promise.all(
      [1, 2, 3, 4].map(async (seed) => runPylibmc({ addresses, seed, count: Math.round(seconds * 150) })),
    ),
};

async function record(name: string): Promise<string> {
  const path = join(folder, `${name}.tape`);
  const server = await startMemcached();
  try {
    const proxy = await startProxy({ listen: ['127.0.0.1:0'], upstream: [server.address], output: path });
    await traffic[name]!(proxy.addresses);
    await settled(() => proxy.open === 0);
    await proxy.stop();
  } finally {
    await server.stop();
  }
  return path;
}

async function withTrace<T>(path: string, use: (trace: TraceReader) => Promise<T>): Promise<T> {
  const trace = await TraceReader.open(path);
  try {
    return await use(trace);
  } finally {
    await trace.close();
  }
}

async function summaryOf(path: string): Promise<Summary> {
  return withTrace(path, async (trace) => summarizeBatches(trace.batches(), Number(trace.meta.startNs)));
}

/** By way of its text, as users have it. */
async function modelOf(path: string): Promise<{ model: Model; bytes: number; ms: number }> {
  const began = performance.now();
  const text = await withTrace(path, async (trace) =>
    writeYaml(await fitTrace(trace.batches(), basename(path), { startNs: Number(trace.meta.startNs) })),
  );
  const ms = performance.now() - began;
  return { model: parseModel(text, path), bytes: text.length, ms };
}

async function compared(original: Summary, model: Model): Promise<FidelityRow[]> {
  const runs: FidelityRow[][] = [];
  for (const seed of seeds)
    runs.push(
      compare(
        original,
        await summarizeBatches(new ModelGenerator(model, { seed }).batches(), Number(START_NS)),
      ),
    );
  return meanRows(runs);
}

async function half(path: string, name: string, filter: { fromNs?: number; toNs?: number }): Promise<string> {
  const part = join(scratch, `${name}.tape`);
  await mergeTraces([path], part, { filter });
  return part;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function report(path: string): Promise<boolean> {
  const name = basename(path).split('.')[0]!;
  const original = await summaryOf(path);
  const { model, bytes, ms } = await modelOf(path);
  const rows = await compared(original, model);
  const independent = meanRows(seeds.map((seed) => compare(original, baseline(original, seed))));
  say(
    `\n## ${name}: ${original.references.length} requests, ${original.footprint} keys, ${seeds.length} seeds\n`,
  );
  say(renderFidelity(rows, independent).trimEnd());
  say(`\na model of ${Math.round(bytes / 1000)} kB, fitted in ${(ms / 1000).toFixed(1)} s`);
  if (!values.brief) {
    const middle = await withTrace(path, async ({ blocks }) => Math.floor(blocks.at(-1)!.toNs / 2));
    const first = await half(path, 'first', { toNs: middle });
    const second = await half(path, 'second', { fromNs: middle + 1 });
    const other = await summaryOf(second);
    const held = await compared(other, (await modelOf(first)).model);
    const halves = compare(other, await summaryOf(first));
    say('\nheld out: the second half, the model of the first; in the last column, the first half itself\n');
    say(renderFidelity(held, halves, '1st half').trimEnd());
  }
  return rows.every(
    ({ metric, difference, goal }) =>
      difference <= Number(values.times) * goal ||
      (unclaimed[name] ?? []).some((known) => metric.startsWith(known)),
  );
}

try {
  if (values.keep !== undefined) mkdirSync(values.keep, { recursive: true });
  const paths = [...positionals];
  if (paths.length === 0)
    for (const name of values.only?.split(',') ?? Object.keys(traffic)) paths.push(await record(name));
  for (const path of paths) if (!(await report(path))) process.exitCode = 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
