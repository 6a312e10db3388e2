// A model's traffic in no file: the same each time, as in a file, on one thread and on several.

import { afterEach, expect, test } from 'vitest';
import { startMemcached } from '../../embedded/memcached.ts';
import { builtinModels } from '../../synth/model/builtin.ts';
import { ModelGenerator } from '../../synth/generate/generator.ts';
import { checkModel } from '../../synth/model/model.ts';
import { modelSource, open } from '../../synth/generate/source.ts';
import { applyScenario } from '../../synth/scenarios/scenario.ts';
import { writeTrace } from '../../synth/generate/write.ts';
import type { Batch } from '../../trace/batch.ts';
import { TraceReader } from '../../trace/file.ts';
import { hashSource } from '../../trace/source.ts';
import { replayedTape } from '../support/replay.ts';
import { temporary } from '../support/tape.ts';

const running: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of running.splice(0).toReversed()) await one.stop();
});

const app = applyScenario(checkModel(builtinModels.get('app')!), 'retryStorm', 2000);
const options = { requests: 3000, durationMs: 2000 };
const recipe = { name: 'app', model: app, options };

/** What each row says, whatever the batch it is in. */
async function rowsOf(batches: AsyncIterable<Batch>): Promise<string[]> {
  const rows: string[] = [];
  for await (const batch of batches)
    for (let row = 0; row < batch.count; row++)
      rows.push(
        [
          batch.firstIndex + row,
          batch.requestNs[row],
          batch.answerNs[row],
          batch.connection[row],
          batch.opcode[row],
          batch.outcome[row],
          batch.flags[row],
          batch.status[row],
          batch.casLow[row],
          batch.answerCasLow[row],
          batch.extras(row).toString('hex'),
          batch.key(row).toString('latin1'),
          batch.value(row).toString('latin1'),
          batch.answerExtras(row).toString('hex'),
          batch.answerValue(row).toString('latin1'),
        ].join(' '),
      );
  return rows;
}

test('the same rows each time, and those of a file; numbers of keys tell keys apart', async () => {
  const trace = open(recipe);
  const first = await rowsOf(trace.batches());
  expect(first.length).toBeGreaterThan(3000);
  expect(Math.abs(trace.exchangeCount - first.length)).toBeLessThan(first.length);
  expect(await rowsOf(trace.batches())).toEqual(first);
  const path = temporary('app.tape');
  await writeTrace(new ModelGenerator(app, options), path, 'app');
  const file = await TraceReader.open(path);
  expect(await rowsOf(file.batches())).toEqual(first);
  expect(file.meta).toEqual(trace.meta);
  await file.close();
  for await (const batch of trace.batches()) {
    const names = new Map<number, string>();
    for (let row = 0; row < batch.count; row++) {
      if (batch.keyLength[row] === 0) continue;
      const id = batch.keyId[row]!;
      const key = batch.key(row).toString('latin1');
      expect(names.get(id) ?? key).toBe(key);
      names.set(id, key);
    }
    expect(new Set(names.values()).size).toBe(names.size);
    expect(batch.keyCount).toBe(names.size);
  }
});

test('batches that were kept stay as they were', async () => {
  const kept: Batch[] = [];
  for await (const batch of open(recipe).batches()) kept.push(batch);
  const later = await rowsOf(
    (async function* () {
      yield* kept;
    })(),
  );
  expect(later).toEqual(await rowsOf(open(recipe).batches()));
});

test('a stretch of time ends where it is asked to', async () => {
  let lastNs = 0;
  for await (const batch of open(recipe).batches({ toNs: 100e6 })) lastNs = batch.requestNs[0]!;
  expect(lastNs).toBeGreaterThan(0);
  expect(lastNs).toBeLessThanOrEqual(100e6);
});

test('another seed, another hash', async () => {
  const one = await hashSource(modelSource(recipe));
  expect(await hashSource(modelSource({ ...recipe }))).toBe(one);
  expect(await hashSource(modelSource({ ...recipe, options: { ...options, seed: 2 } }))).not.toBe(one);
});

test.each([
  ['short, on the main thread', 2500, 1],
  ['long, on threads of its own', 21_000, 1],
  ['by two workers', 2500, 2],
])(
  'replayed without a file: %s',
  async (_name, requests, workers) => {
    const memcached = await startMemcached(['-m', '256']);
    running.push(memcached);
    const trace = modelSource({ ...recipe, options: { requests } });
    const report = await replayedTape(trace, {
      targets: [memcached.address],
      speed: 'max',
      workers,
      timeoutMs: 10_000,
    });
    expect(report.violations).toEqual({});
    expect(report.exchanges.matched).toBe(report.exchanges.total);
    expect(report.exchanges.sent).toBeGreaterThanOrEqual(requests);
    expect(report.environment.trace).toBe(`sha256:${await hashSource(trace)}`);
  },
  60_000,
);
