// Windows of a recording that is judged while it goes on, and what they say together.

import { rmSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { auditTrace } from '../../library/audit.ts';
import { Windows } from '../../library/windows.ts';
import type { Report } from '../../report/shape.ts';
import { reportSchema } from '../../report/schema.ts';
import { Rolling } from '../../report/rolling.ts';
import { auditExpressions, parseThreshold } from '../../report/threshold.ts';
import { Random } from '../../synth/laws/random.ts';
import { batchOf, temporary, writeTape, type ExchangeInit } from '../support/tape.ts';

const WINDOW_SECONDS = 1;

/** Stores, each read once after it; one read in ten shows something else where the server is sick. */
function window(random: Random, isSick: boolean): ExchangeInit[] {
  return Array.from({ length: 20 + random.int(30) }, (_, n): ExchangeInit[] => {
    const key = `k${n}`;
    const answer = isSick && random.chance(0.1) ? 'another' : 'v';
    return [
      { op: 'set', key, value: 'v', answerCas: BigInt(2 * n + 1) },
      { op: 'get', key, answer, answerCas: BigInt(2 * n + 1) },
    ];
  }).flat();
}

async function tapeOf(exchanges: readonly ExchangeInit[]): Promise<string> {
  const path = temporary(`window-${Math.random()}.tape`);
  await writeTape(path, [batchOf(exchanges)]);
  return path;
}

const rolling = (): Rolling =>
  new Rolling({
    thresholds: auditExpressions.map(parseThreshold),
    examples: 3,
    windowSeconds: WINDOW_SECONDS,
  });

test('counts of windows add up, of whatever windows', async () => {
  const random = new Random(20_261_130);
  const all = rolling();
  const sums = { sent: 0, violations: 0, reads: 0, wrong: 0 };
  for (let n = 0; n < 30; n++) {
    const report = await auditTrace(await tapeOf(window(random, n % 3 === 0)));
    all.add(report, n * WINDOW_SECONDS);
    sums.sent += report.exchanges.sent;
    sums.violations += report.exchanges.violations;
    sums.reads += report.audit!.all.reads;
    sums.wrong += report.audit!.all.wrong;
  }
  const report = all.report!;
  expect(reportSchema.parse(report)).toEqual(report);
  expect(sums.violations).toBeGreaterThan(10);
  expect({ ...report.exchanges, ...report.audit!.all }).toMatchObject(sums);
  expect(report.findings.reduce((sum, { count }) => sum + count, 0)).toBe(sums.violations);
  expect(report.findings.every(({ examples }) => examples.length <= 3)).toBe(true);
  const series = report.timeline.servers[0]!;
  expect(series.requests).toHaveLength(30);
  expect(series.requests.reduce((sum, count) => sum + count, 0)).toBe(sums.sent);
  expect(report.verdict).toBe('fail');
});

test('a timeline of any number of windows is bounded, and keeps its sums', async () => {
  const report = await auditTrace(await tapeOf(window(new Random(1), false)));
  const all = rolling();
  for (let n = 0; n < 1000; n++) all.add(report, n * WINDOW_SECONDS);
  const { binSeconds, servers } = all.report!.timeline;
  expect(servers[0]!.requests.length).toBeLessThanOrEqual(250);
  expect(binSeconds * servers[0]!.requests.length).toBeGreaterThanOrEqual(1000);
  expect(servers[0]!.requests.reduce((sum, count) => sum + count, 0)).toBe(1000 * report.exchanges.sent);
});

test.each([
  [1, 'pass'],
  [10, 'insufficient'],
] as const)('of twenty windows %i could not be judged: %s', async (lost, verdict) => {
  const report = await auditTrace(await tapeOf(window(new Random(2), false)));
  const all = rolling();
  for (let n = 0; n < 20 - lost; n++) all.add(report, n * WINDOW_SECONDS);
  for (let n = 0; n < lost; n++) all.lose(n % 2 === 0 ? report.exchanges.sent : undefined);
  const { sent } = report.exchanges;
  expect(all.report).toMatchObject({
    verdict,
    exchanges: { sent: 20 * sent, untestable: lost * sent },
    untestable: { unjudged: lost * sent },
  });
});

test('a window that is no trace, or is gone, is told and weighs against the verdict; those after it are judged', async () => {
  const told: string[] = [];
  let last: Report | undefined;
  const windows = new Windows({
    thresholds: auditExpressions,
    windowSeconds: WINDOW_SECONDS,
    judging: {},
    onWindow: (_, all) => (last = all),
    onLost: (count, why) => told.push(`${count}: ${why}`),
  });
  const random = new Random(3);
  const [broken, gone] = [await tapeOf(window(random, false)), await tapeOf(window(random, false))];
  writeFileSync(broken, 'no trace');
  rmSync(gone);
  windows.add(broken);
  windows.add(gone);
  windows.add(await tapeOf(window(random, false)));
  const report = (await windows.close())!;
  expect(told).toHaveLength(2);
  expect(windows.lost).toBe(2);
  expect(last?.exchanges.sent).toBe(report.exchanges.sent);
  expect(report.verdict).toBe('insufficient');
  expect(report.untestable.unjudged).toBeGreaterThan(0);
});
