// Models fitted to traces: what they keep of them, and that they can be written, read and made into traffic.

import { afterEach, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { scaleTrace } from '../../convert/scale.ts';
import { startServer } from '../../fixtures/server.ts';
import { compare } from '../../synth/fidelity.ts';
import { fitTrace } from '../../synth/fit.ts';
import { ModelGenerator } from '../../synth/generator.ts';
import { checkModel, parseModel, type ModelInput } from '../../synth/model.ts';
import { summarizeBatches } from '../../synth/summarize.ts';
import { writeTrace } from '../../synth/write.ts';
import { TraceReader } from '../../trace/file.ts';
import { replayedTape } from '../support/replay.ts';
import { temporary } from '../support/tape.ts';

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

async function fitted(tape: string): Promise<string> {
  const trace = await TraceReader.open(tape);
  const model = await fitTrace(trace.batches(), 'source.tape');
  await trace.close();
  return stringify(model);
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
  for (const metric of [
    'LRU',
    'mean of the five',
    'references',
    'one-hit',
    'footprint',
    'requests',
    'operations',
    'key bytes',
  ])
    expect(of(metric), metric).toMatchObject({ ok: true });
  expect(of('value bytes').difference).toBeLessThan(0.06);
  expect(of('gaps').difference).toBeLessThan(0.15);
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
