// Models fitted to traces: what they keep of them, and that they can be written, read and made into traffic.

import { afterEach, expect, test } from 'vitest';
import { runClients, settled } from '../../fixtures/clients.ts';
import { startMemcached } from '../../embedded/memcached.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { Status } from '../../protocol/status.ts';
import { startProxy } from '../../recorder/proxy.ts';
import type { RecordingOptions } from '../../recorder/recording.ts';
import { atRate } from '../../synth/model/transform.ts';
import { Outcome } from '../../trace/batch.ts';
import { writeYaml } from '../../config/yaml.ts';
import { scaleTrace } from '../../convert/scale.ts';
import { startServer } from '../../embedded/server.ts';
import { compare } from '../../synth/fidelity/fidelity.ts';
import { fitTrace, type FitOptions } from '../../synth/fit/fit.ts';
import { ModelGenerator } from '../../synth/generate/generator.ts';
import { checkModel, parseModel, type ModelInput } from '../../synth/model/model.ts';
import { summarizeBatches } from '../../synth/fit/summarize.ts';
import type { Summary } from '../../synth/fidelity/summary.ts';
import { writeTrace } from '../../synth/generate/write.ts';
import { TraceReader } from '../../trace/file.ts';
import { replayedTape } from '../support/replay.ts';
import { madeOnce, temporary } from '../support/tape.ts';

const running: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of running.splice(0)) await one.stop();
});

const source: ModelInput = {
  format: 'memtape-model/1',
  duration: '10s',
  start: 'cold',
  tenants: [
    {
      name: 'shop',
      keys: { space: 3000, length: { kind: 'uniform', min: 20, max: 60 } },
      values: { size: { kind: 'lognormal', mean: 300, sigma: 1, min: 1, max: 20_000 } },
      ttl: [
        { ttl: '1h', share: 0.7 },
        { ttl: '1d', share: 0.3 },
      ],
      mix: { get: 0.8, set: 0.15, delete: 0.02, incr: 0.03 },
      popularity: { kind: 'zipf', alpha: 0.9 },
      onMiss: 'none',
      arrivals: { rate: 3000, gaps: { kind: 'h2', cv2: 3 } },
      connections: { count: 12 },
    },
  ],
};

async function tapeOf(model: ModelInput): Promise<string> {
  const tape = temporary('source.tape');
  await writeTrace(new ModelGenerator(checkModel(model)), tape, 'test');
  return tape;
}

async function fitted(tape: string, bounds: FitOptions = {}): Promise<string> {
  const trace = await TraceReader.open(tape);
  const model = await fitTrace(trace.batches(), 'source.tape', bounds);
  await trace.close();
  return writeYaml(model);
}

async function summaryOf(tape: string): Promise<Summary> {
  const trace = await TraceReader.open(tape);
  try {
    return await summarizeBatches(trace.batches());
  } finally {
    await trace.close();
  }
}

/** What of a model, made with a seed, misses a goal, or so many times as much, beside the trace. */
async function missed(tape: string, text: string, times = 1): Promise<string[]> {
  const made = await summarizeBatches(
    new ModelGenerator(parseModel(text, 'fitted.yaml'), { seed: 5 }).batches(),
  );
  return compare(await summaryOf(tape), made)
    .filter((row) => row.difference > times * row.goal)
    .map(({ metric, difference }) => `${metric} ${difference}`);
}

test('a fitted model is near the trace it was fitted to, and comes back from YAML', async () => {
  const tape = await tapeOf(source);
  const text = await fitted(tape);
  const model = parseModel(text, 'fitted.yaml');
  const trace = await TraceReader.open(tape);
  const a = await summarizeBatches(trace.batches());
  await trace.close();
  const b = await summarizeBatches(new ModelGenerator(model, { seed: 5 }).batches());
  const rows = compare(a, b);
  const of = (metric: string) => rows.find((row) => row.metric.startsWith(metric))!;
  expect(rows.filter((row) => !row.ok)).toEqual([]);
  expect(of('requests').difference).toBe(0);
  const [tenant] = model.tenants;
  expect(tenant).toMatchObject({ name: 'shop', connections: { count: 12 } });
  expect(
    Object.fromEntries(
      (tenant!.ttl as { ttl: number; share: number }[]).map(({ ttl, share }) => [
        ttl,
        Math.round(share * 10),
      ]),
    ),
  ).toEqual({
    [3_600_000]: 7,
    [86_400_000]: 3,
  });
  // No key of the trace is in the model.
  expect(text).not.toContain('shop:k');
});

test('what follows a miss is a refill in the model, not a request of its own', async () => {
  const reading: ModelInput = {
    ...source,
    tenants: [{ ...source.tenants[0]!, mix: { get: 1 }, onMiss: 'set' }],
  };
  const model = parseModel(await fitted(await tapeOf(reading)), 'fitted.yaml');
  expect(model.tenants[0]!.onMiss).toBe('set');
  // Of two that miss at once, one SET seems to be its own.
  expect(model.tenants[0]!.mix!.get).toBeGreaterThan(0.999);
});

test('a trace thrice, in half the time, is still answered as expected', async () => {
  const tape = await tapeOf({ ...source, duration: '2s' });
  const scaled = temporary('scaled.tape');
  const { exchanges, connections } = await scaleTrace(tape, scaled, { copies: 3, stretch: 0.5 });
  const before = await TraceReader.open(tape);
  expect([exchanges, connections]).toEqual([3 * before.exchangeCount, 36]);
  await before.close();
  const target = await startServer();
  running.push(target);
  const report = await replayedTape(scaled, { targets: [target.address], speed: 'max', timeoutMs: 10_000 });
  expect(report.violations).toEqual({});
  expect(report.exchanges.matched).toBeGreaterThan(0.98 * exchanges);
});

/** Three seconds of a recording say little of how its requests cluster. */
function known(rows: string[]): string[] {
  return rows.filter((row) => !/^(dispersion|gaps)/.test(row));
}

/** Real clients, recorded through the proxy. */
async function recorded(name: string, recording: RecordingOptions = {}): Promise<string> {
  return madeOnce(name, async (output) => recordTo(output, recording));
}

async function recordTo(output: string, recording: RecordingOptions): Promise<void> {
  const server = await startMemcached();
  running.push(server);
  const proxy = await startProxy({
    listen: ['127.0.0.1:0'],
    upstream: [server.address],
    output,
    recording,
  });
  await runClients({
    address: proxy.addresses[0]!,
    seed: 3,
    clients: 6,
    exchanges: 9000,
    seconds: 3,
    keys: 200,
    calls: {},
  });
  await settled(() => proxy.open === 0);
  await proxy.stop();
}

test('sizes that change with each store, counters and lists: a recording of real clients, clear and masked', async () => {
  // Of two thousand stores twice, KS is above 0.04 in one of twenty by chance, and above 0.06 in one of two thousand.
  const clear = await recorded('clear');
  expect(known(await missed(clear, await fitted(clear), 3))).toEqual([]);
  const masked = await recorded('masked', { privacy: { values: 'hash', maskKey: Buffer.alloc(32, 7) } });
  expect(known(await missed(masked, await fitted(masked), 3))).toEqual([]);
}, 60_000);

test('a read gives the size that was stored last, also where sizes change', async () => {
  const tape = await recorded('clear');
  const sizes = new Map<string, number>();
  let reads = 0;
  for (const batch of new ModelGenerator(parseModel(await fitted(tape), 'fitted.yaml')).batches())
    for (let row = 0; row < batch.count; row++) {
      const key = batch.key(row).toString();
      const isOk = batch.status[row] === Status.ok && batch.outcome[row] === Outcome.answered;
      if (!isOk || !key.startsWith('k')) continue;
      if (batch.opcode[row] === Opcode.get && sizes.has(key)) {
        reads++;
        expect(batch.answerValueLength[row], key).toBe(sizes.get(key));
      } else if (batch.valueLength[row]! > 0) sizes.set(key, batch.valueLength[row]!);
    }
  expect(reads).toBeGreaterThan(1000);
}, 60_000);

test('of more keys than fit, a sample stands for all', async () => {
  const many: ModelInput = {
    ...source,
    duration: '10s',
    tenants: [{ ...source.tenants[0]!, keys: { space: 50_000 }, popularity: { kind: 'zipf', alpha: 0.8 } }],
  };
  const tape = await tapeOf(many);
  const text = await fitted(tape, { mostKeys: 3000 });
  // What is done to two thousand keys is about what is done to all.
  expect((await missed(tape, text, 1.5)).filter((row) => !row.startsWith('operations'))).toEqual([]);
  const all = parseModel(await fitted(tape), 'fitted.yaml');
  const few = parseModel(text, 'fitted.yaml');
  expect(few.tenants[0]!.keys.space / all.tenants[0]!.keys.space).toBeCloseTo(1, 1);
}, 60_000);

test('what follows only some misses is caused by them, after deletes and expiries too; what is stored anyway is not', async () => {
  const aside: ModelInput = {
    ...source,
    duration: '20s',
    tenants: [
      {
        ...source.tenants[0]!,
        mix: { get: 0.9, delete: 0.07, set: 0.03 },
        ttl: '2s',
        onMiss: 'set',
        refills: 0.6,
        refillDelay: '2ms',
      },
    ],
  };
  const tape = await tapeOf(aside);
  const text = await fitted(tape);
  const [tenant] = parseModel(text, 'fitted.yaml').tenants;
  expect(tenant).toMatchObject({ onMiss: 'set' });
  expect(tenant!.refills).toBeGreaterThan(0.54);
  expect(tenant!.refills).toBeLessThan(0.66);
  expect((await missed(tape, text)).filter((row) => row.startsWith('operations'))).toEqual([]);
  // Of keys that are stored all the time, chance stores one soon after a miss.
  const busy: ModelInput = {
    ...source,
    tenants: [{ ...source.tenants[0]!, mix: { get: 0.4, set: 0.4, delete: 0.2 }, onMiss: 'none' }],
  };
  expect(parseModel(await fitted(await tapeOf(busy)), 'fitted.yaml').tenants[0]!.onMiss).toBe('none');
}, 60_000);

test('a fitted model at another rate has the same counts in less time, and at another length goes on', async () => {
  const model = parseModel(await fitted(await tapeOf(source)), 'fitted.yaml');
  const { requests, ...endless } = model;
  const fast = atRate(model, 30_000);
  const long = await summarizeBatches(new ModelGenerator(endless, { durationMs: 20_000 }).batches());
  expect(long.references.length / requests!).toBeCloseTo(2, 1);
  let lastNs = 0;
  for (const batch of new ModelGenerator(fast).batches()) lastNs = batch.requestNs[batch.count - 1]!;
  expect(lastNs / 1e9).toBeCloseTo(1, 1);
});
