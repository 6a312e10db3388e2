// The results of shards, merged, are those of one replay: the same report, whatever happened; and what is no such set of
// results is refused, or has no verdict.

import { dirname } from 'node:path';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { diff } from '../../diff/diff.ts';
import { startCluster } from '../../embedded/cluster.ts';
import { parseFault } from '../../embedded/fault.ts';
import { modelTrace } from '../../library/synth.ts';
import { replay, type ReplayOptions } from '../../replayer/replay.ts';
import { makeReport } from '../../report/report.ts';
import type { Report } from '../../report/shape.ts';
import { parseThreshold } from '../../report/threshold.ts';
import { Random } from '../../synth/laws/random.ts';
import { ResultsReader } from '../../trace/file.ts';
import { mergeShards } from '../../trace/merged.ts';
import { hashSource, openSource, type Source } from '../../trace/source.ts';
import { divide, randomBatches } from '../support/divided.ts';
import { startMemcached } from '../support/memcached.ts';
import { seedsOf } from '../support/traffic.ts';
import { temporary, writeTape } from '../support/tape.ts';

const thresholds = ['violations == 0', 'drift.lost < 5%', 'judged > 90%'].map(parseThreshold);

async function reportOf(source: Source, path: string): Promise<Report> {
  const trace = await openSource(source);
  const results = await ResultsReader.open(path);
  try {
    const judged = await diff(trace, results, { examples: 50 });
    return makeReport({ diff: judged, meta: results.meta, end: results.end, thresholds });
  } finally {
    await trace.close();
    await results.close();
  }
}

async function merged(source: Source, paths: readonly string[]): Promise<string> {
  const trace = await openSource(source);
  const to = temporary('merged.results');
  try {
    await mergeShards(trace, await hashSource(source), paths, to);
  } finally {
    await trace.close();
  }
  return to;
}

/** The report as text, without what it says of shards. */
function textOf(report: Report): string {
  return JSON.stringify({ ...report, shards: undefined }, null, 1);
}

/** One replay to a cluster of embedded servers with a fault, whatever the seed says. */
async function randomReplay(seed: number): Promise<{ trace: Source; results: string }> {
  const random = new Random(seed);
  const results = temporary('one.results');
  let trace: Source = temporary('random.tape');
  if (random.chance(0.7)) await writeTape(trace, randomBatches(random, 50 + random.int(600)));
  else trace = modelTrace('etc', { seed, requests: 300 + random.int(900), rate: 20_000 });
  const fault = ['corrupt=1/7', 'corrupt=1/50', 'forget-after=get', 'forget-after=append+touch'][
    random.int(5)
  ];
  const backends = 3;
  const memoryBytes = random.chance(0.3) ? 200_000 : 1e8;
  const cluster = await startCluster({
    backends,
    memoryBytes,
    ...(fault === undefined ? {} : { fault: parseFault(fault) }),
  });
  const options: Partial<ReplayOptions> = {
    route: random.chance(0.6) ? 'ketama' : 'index',
    order: (['key', 'connection', 'none'] as const)[random.int(3)]!,
    prefill: random.chance(0.8) ? 'auto' : 'none',
    ...(random.chance(0.3) ? { allow: new Set(['flush' as const]) } : {}),
    ...(random.chance(0.3) ? { loops: 1 + random.int(3) } : {}),
    ...(random.chance(0.3) ? { fromNs: random.int(1e6), toNs: 2e6 + random.int(1e7) } : {}),
  };
  try {
    const stop = new AbortController();
    if (random.chance(0.1)) setTimeout(() => stop.abort(), random.int(30));
    await replay({
      trace,
      results,
      targets: cluster.addresses,
      speed: 'max',
      timeoutMs: 500,
      signal: stop.signal,
      ...options,
    });
  } finally {
    await cluster.stop();
  }
  return { trace, results };
}

const seeds = seedsOf('SHARD_SEEDS', 4);

test.each(seeds)(
  'merged, the report of shards is that of one replay, byte for byte (seed %i)',
  async (seed) => {
    const { trace, results } = await randomReplay(seed);
    const of = 2 + (seed % 8);
    const paths = await divide(trace, results, dirname(results), of);
    const [one, all] = [
      await reportOf(trace, results),
      await reportOf(trace, await merged(trace, paths.toReversed())),
    ];
    if (one.verdict === 'aborted') {
      // A stopped replay has shards that were stopped.
      expect(all.verdict).toBe('aborted');
      expect(all.shards!.all.every(({ lost }) => lost !== null)).toBe(true);
    }
    expect(textOf(all)).toBe(textOf(one));
  },
);

async function divided(of = 3): Promise<{ trace: string; paths: string[] }> {
  const trace = temporary('some.tape');
  await writeTape(trace, randomBatches(new Random(5), 300));
  const results = temporary('one.results');
  const server = await startCluster({});
  await replay({ trace, results, targets: server.addresses, speed: 'max' });
  await server.stop();
  return { trace, paths: await divide(trace, results, dirname(results), of) };
}

describe('what is no whole set of shards of one replay', () => {
  test('one is missing: aborted, and it is named', async () => {
    const { trace, paths } = await divided();
    for (const missing of [0, 1, 2]) {
      const report = await reportOf(trace, await merged(trace, paths.toSpliced(missing, 1)));
      expect([report.verdict, report.shards?.all.map(({ lost }) => lost)]).toEqual([
        'aborted',
        [0, 1, 2].map((n) => (n === missing ? 'is missing' : null)),
      ]);
    }
  });

  test('one was cut anywhere: aborted, or refused', async () => {
    const { trace, paths } = await divided();
    const { size } = statSync(paths[1]!);
    const whole = textOf(await reportOf(trace, await merged(trace, paths)));
    for (let cut = 1; cut < size; cut += Math.ceil(size / 23)) {
      truncateSync(paths[1]!, size - cut);
      const verdict = await merged(trace, paths).then(
        async (path) => reportOf(trace, path),
        (error: { code: string }) => error.code,
      );
      // The index at the end of the file is made again from its blocks.
      if (typeof verdict === 'string') expect(['BROKEN', 'NOT_A_TRACE']).toContain(verdict);
      else if (verdict.verdict !== 'aborted') expect(textOf(verdict)).toBe(whole);
    }
  });

  test('one is damaged anywhere: aborted, or refused', async () => {
    const { trace, paths } = await divided();
    const whole = textOf(await reportOf(trace, await merged(trace, paths)));
    const bytes = readFileSync(paths[1]!);
    for (let at = 0; at < bytes.length; at += Math.ceil(bytes.length / 29)) {
      const damaged = Buffer.from(bytes);
      damaged[at]! ^= 0x55;
      writeFileSync(paths[1]!, damaged);
      const verdict = await merged(trace, paths).then(
        async (path) => reportOf(trace, path),
        (error: { code: string }) => error.code,
      );
      if (typeof verdict === 'string')
        expect(['BROKEN', 'NOT_A_TRACE', 'CHECKSUM', 'VERSION']).toContain(verdict);
      else if (verdict.verdict !== 'aborted') expect(textOf(verdict)).toBe(whole);
    }
  });

  test('refused: twice the same, another division, another run, another trace, a whole replay, other options', async () => {
    const { trace, paths } = await divided();
    const other = await divided();
    const four = await divide(trace, await merged(trace, paths), dirname(trace), 4);
    const twoRuns = await divide(trace, await merged(trace, paths), dirname(trace), 3, 'two');
    const cases: [readonly string[], RegExp][] = [
      [[paths[0]!, paths[0]!, paths[2]!], /are both shard 1\/3: expected each once/],
      [[paths[0]!, four[1]!], /is shard 2\/4, and .* is shard 1\/3/],
      [[paths[0]!, twoRuns[1]!], /is of run "two", and .* of run "one"/],
      [[await merged(trace, paths)], /expected the results of a shard .* got those of a whole replay/],
      [[paths[0]!, other.paths[1]!], /were asked for otherwise: targets is .* and /],
    ];
    for (const [given, said] of cases)
      await expect(merged(trace, given)).rejects.toMatchObject({ code: 'SHARDS', message: said });
    const stranger = temporary('stranger.tape');
    await writeTape(stranger, randomBatches(new Random(6), 300));
    await expect(merged(stranger, paths)).rejects.toMatchObject({ message: /another trace/ });
  });
});

test('replayed by shards, one after the other, against memcached: all of it, once, and as recorded', async () => {
  const server = await startMemcached();
  const trace = modelTrace('etc', { seed: 4, requests: 600, rate: 30_000 });
  const of = 3;
  const paths: string[] = [];
  for (let index = 1; index <= of; index++) {
    const results = temporary(`${index}.results`);
    const shard = { index, of, run: 'r' };
    await replay({ trace, results, targets: [server.address], speed: 'max', shard });
    paths.push(results);
    const alone = await reportOf(trace, results);
    expect([alone.verdict, alone.shards?.only]).toEqual(['pass', index]);
  }
  await server.stop();
  const report = await reportOf(trace, await merged(trace, paths));
  expect([report.verdict, report.exchanges.matched, report.exchanges.violations]).toEqual([
    'pass',
    report.exchanges.total,
    0,
  ]);
  expect(report.exchanges.total).toBeGreaterThanOrEqual(600);
});
