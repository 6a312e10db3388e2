// A replay that is judged while it runs is judged as its files are afterwards: the same report, whatever happened.

import { describe, expect, test, vi } from 'vitest';
import { diff } from '../../diff/diff.ts';
import { startCluster, type ClusterOptions } from '../../embedded/cluster.ts';
import { parseFault } from '../../embedded/fault.ts';
import { replayToJudge } from '../../library/replayed.ts';
import { modelTrace, synth } from '../../library/synth.ts';
import type { ReplayOptions } from '../../replayer/replay.ts';
import { makeReport } from '../../report/report.ts';
import type { Report } from '../../report/shape.ts';
import { parseThreshold } from '../../report/threshold.ts';
import { ResultsReader, TraceReader } from '../../trace/file.ts';
import { openSource, type Source } from '../../trace/source.ts';
import { memjsTape } from '../convert/support.ts';
import { temporary } from '../support/tape.ts';

const thresholds = ['violations == 0', 'drift.lost < 5%'].map(parseThreshold);
const judging = { examples: 20 };

/** The report of the replay while it ran, and that of its files. */
async function bothWays(run: Omit<ReplayOptions, 'results'>): Promise<{ live: Report; after: Report }> {
  const results = temporary('live.results');
  const replayed = await replayToJudge({ timeoutMs: 5000, ...run, results }, judging);
  const live = makeReport({ ...(await replayed.judge(results)), thresholds });
  const trace = await openSource(run.trace);
  const seen = await ResultsReader.open(results);
  try {
    const { survey } = replayed;
    const judged = await diff(trace, seen, { ...judging, survey });
    return { live, after: makeReport({ diff: judged, meta: seen.meta, end: seen.end, thresholds }) };
  } finally {
    await trace.close();
    await seen.close();
  }
}

const traffic = (seed: number, requests = 2000, rate = 8000): Source =>
  modelTrace('etc', { seed, requests, rate });
const corrupt = parseFault('corrupt=1/50');

const runs: readonly [name: string, run: Partial<ReplayOptions>, cluster: ClusterOptions][] = [
  ['a healthy target, at full speed', { speed: 'max', order: 'none' }, {}],
  ['and in the order of keys', { speed: 'max', order: 'key' }, {}],
  ['with a schedule', { speed: 2 }, {}],
  ['one of three corrupts values', { speed: 'max', route: 'ketama' }, { backends: 3, fault: corrupt }],
  ['with a schedule, and more than fits', { speed: 4, order: 'none' }, { memoryBytes: 300_000 }],
  ['three workers', { speed: 'max', workers: 3 }, { fault: corrupt }],
  [
    'a drill',
    { speed: 1, drills: [{ at: 100, run: 'true', name: 'nothing at all' }] },
    { backends: 2, fault: corrupt },
  ],
];

describe('the same report', () => {
  test.each(runs)('%s', async (_, run, cluster) => {
    const servers = await startCluster(cluster);
    try {
      const { live, after } = await bothWays({ trace: traffic(3), targets: servers.addresses, ...run });
      expect(live).toEqual(after);
      expect(live.exchanges.total).toBeGreaterThanOrEqual(2000);
      if (cluster.fault !== undefined) expect(live.verdict).toBe('fail');
    } finally {
      await servers.stop();
    }
  });

  test('a schedule that leaves no time for judging', async () => {
    const servers = await startCluster({ fault: corrupt });
    try {
      const run = { trace: traffic(6, 16_000, 1_000_000), targets: servers.addresses, speed: 1 };
      const { live, after } = await bothWays({ ...run, order: 'none' });
      expect(live).toEqual(after);
      expect(live.verdict).toBe('fail');
    } finally {
      await servers.stop();
    }
  });

  test('a part of a recording, over and over', async () => {
    const servers = await startCluster();
    try {
      const trace = await memjsTape();
      const run = { trace, targets: servers.addresses, fromNs: 20e6, toNs: 400e6, loops: 3 };
      const { live, after } = await bothWays({ ...run, speed: 'max' });
      expect(live).toEqual(after);
      expect(live.exchanges.total).toBeGreaterThan(0);
    } finally {
      await servers.stop();
    }
  });

  test('a healthy target: the trace is read twice, for its survey and to be sent, and the results never', async () => {
    const servers = await startCluster();
    const ofTrace = vi.spyOn(TraceReader.prototype, 'batches');
    const ofResults = vi.spyOn(ResultsReader.prototype, 'batches');
    try {
      const results = temporary('once.results');
      const trace = temporary('etc.tape');
      await synth('etc', trace, { seed: 5, requests: 2000, rate: 8000 });
      const run = { trace, targets: servers.addresses, results, speed: 'max' as const };
      const { diff: judged } = await (await replayToJudge(run)).judge(results);
      expect(judged.matched).toBe(judged.total);
      expect([ofTrace.mock.calls.length, ofResults.mock.calls.length]).toEqual([2, 0]);
    } finally {
      ofTrace.mockRestore();
      ofResults.mockRestore();
      await servers.stop();
    }
  });

  test('a replay that is stopped', async () => {
    const servers = await startCluster();
    const stopping = new AbortController();
    try {
      const run = { trace: traffic(4), targets: servers.addresses, speed: 1, signal: stopping.signal };
      const onProgress: ReplayOptions['onProgress'] = ({ sent }) => {
        if (sent > 500) stopping.abort();
      };
      const { live, after } = await bothWays({ ...run, onProgress });
      expect(live).toEqual(after);
      expect(live.exchanges.skipped).toBeGreaterThan(0);
    } finally {
      await servers.stop();
    }
  });
});
