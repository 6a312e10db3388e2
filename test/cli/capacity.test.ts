// `memtape capacity` against servers whose ceiling is known: a rate that one of them hands on, one above which it answers
// wrongly, our own; and what is wrong with what was typed.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { capacitySchema, type CapacityReport } from '../../capacity/report.ts';
import { startLimited, type LimitedOptions } from '../../fixtures/limited.ts';
import { startServer } from '../../embedded/server.ts';
import { memtape, runMemtape, type Ran } from '../support/cli.ts';
import { temporary } from '../support/tape.ts';

// The machine that tests run on is busy: what is slow there is no news.
const asked = ['--step', '1s', '--warmup', '100ms', '--repeats', '1', '--precision', '20%', '--quiet'];
/** Rates near the ceiling, so that the search is short. */
const near = ['--start', '100', '--max', '200'];
const patient = ['--threshold', 'latency.fromIntended.p99 < 250ms', '--max-lag', '10s', '--timeout', '5s'];

async function searched(
  limits: Partial<LimitedOptions>,
  ...args: string[]
): Promise<Ran & { report: CapacityReport; page: string }> {
  const server = await startServer();
  const limited = await startLimited({ host: server.host, port: server.port, rate: Infinity, ...limits });
  const [json, html] = [temporary('capacity.json'), temporary('capacity.html')];
  try {
    const to = ['--target', limited.address, '--json', json, '--html', html];
    const ran = await memtape('capacity', 'ycsb-b', '--requests', '100', ...to, ...asked, ...args);
    return {
      ...ran,
      report: capacitySchema.parse(JSON.parse(readFileSync(json, 'utf8'))),
      page: readFileSync(html, 'utf8'),
    };
  } finally {
    await limited.stop();
    await server.stop();
  }
}

// They mostly wait, and do so together.
test.concurrent('a server that takes 150 requests a second: told, with the reason, as text, JSON and page', async () => {
  const { code, stdout, report, page } = await searched({ rate: 150 }, ...patient, ...near);
  expect(code, stdout).toBe(0);
  expect(report.ceiling).toBeGreaterThanOrEqual(100);
  expect(report.ceiling).toBeLessThanOrEqual(170);
  expect(['thresholds', 'keeping-up']).toContain(report.limitedBy);
  expect(stdout).toMatch(/^Capacity: 1\d\d requests a second\n {2}At .* requests a second/);
  expect(page).toContain('<svg class="curve"');
  expect(page).not.toContain('<script');
  expect(report.steps.every(({ violations }) => Object.keys(violations).length === 0)).toBe(true);
});

test.concurrent('a server that answers wrongly above 150 a second: its ceiling is there, and that is the reason', async () => {
  const { code, stdout, report } = await searched({ wrongAbove: 150 }, ...patient, ...near);
  expect(code, stdout).toBe(0);
  expect(report.ceiling).toBeGreaterThanOrEqual(100);
  expect(report.ceiling).toBeLessThanOrEqual(170);
  expect(report).toMatchObject({ limitedBy: 'wrong-answers', verdict: 'pass' });
  expect(stdout).toMatch(/answers? (is|are) wrong \(wrong-value/);
});

const most = ['--start', '100', '--max', '100'];
test.concurrent('memtape itself is the limit: 4, with what is known', async () => {
  const late = await searched(
    {},
    ...most,
    '--threshold',
    'latency.fromIntended.p99 < 1us',
    '--max-lag',
    '1us',
  );
  expect([late.code, late.report.verdict, late.report.limitedBy]).toEqual([4, 'invalid', 'memtape']);
  expect(late.stdout).toContain('memtape itself was late');
});

test.concurrent('less than has to be: 1', async () => {
  const short = await searched({}, ...most, ...patient, '--at-least', '5k');
  expect([short.code, short.report.verdict, short.report.ceiling]).toEqual([1, 'fail', 100]);
  expect(short.stdout).toContain('short  it has to be at least 5,000 requests a second');
});

test.concurrent('beside a baseline, at equal rates', async () => {
  const old = await startServer();
  try {
    const baseline = ['--baseline', `${old.host}:${old.port}`];
    const only = ['--start', '200', '--max', '200', '--precision', '50%', '--step', '600ms'];
    const { report, stdout } = await searched({ rate: 150 }, ...patient, ...baseline, ...only);
    const slow = report.steps.find(({ outcome }) => outcome === 'fails');
    expect(slow?.baseline, stdout).toMatchObject({ outcome: 'holds' });
    expect(slow!.baseline!.regressions).toBeGreaterThan(0);
    expect(report.environment.baseline).toHaveLength(1);
  } finally {
    await old.stop();
  }
});

test('what cannot be done is told before anything is sent', async () => {
  const to = ['capacity', 'ycsb-b', '--target', '127.0.0.1:1'];
  for (const [args, message] of [
    [['capacity', 'ycsb-b'], /expected --target/],
    [['capacity', 'nothing.tape', '--target', 'a:1'], /nothing\.tape/],
    [[...to, '--start', '2k', '--max', '1k'], /expected --start to be at most --max/],
    [[...to, '--threshold', 'baseline.regressions == 0'], /expected a baseline \(--baseline\), got none/],
    [[...to, '--precision', '80%'], /expected a percentage/],
    [[...to, '--threshold', 'latency < 3ms'], /unknown metric/],
    [[...to, '--html', '/nowhere/a.html'], /--html/],
  ] as const) {
    const { code, stderr } = await memtape(...args);
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
  }
  const gone = await memtape(...to, '--requests', '100', '--quiet');
  expect([gone.code, gone.stderr]).toEqual([5, expect.stringContaining('connection refused')]);
});

test.concurrent('interrupted: what was done is told', async () => {
  const server = await startServer();
  const { EventEmitter } = await import('node:events');
  const signals = new EventEmitter();
  try {
    const to = ['--target', server.address, '--requests', '500', ...asked.slice(0, -1), ...patient];
    const { code, stdout } = await runMemtape(['capacity', 'ycsb-b', ...to], {
      signals,
      onPrint: (text) => void (/holds/.test(text) && signals.emit('SIGINT')),
    });
    expect(code).toBe(130);
    expect(stdout).toContain('The search was interrupted.');
  } finally {
    await server.stop();
  }
});
