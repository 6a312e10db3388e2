// `memtape synth` and what follows from it, as a user types it.

import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { memtape } from '../support/cli.ts';
import { temporary } from '../support/tape.ts';

test('a model is made into a trace, fitted, checked, scaled and replayed', async () => {
  const [tape, model, tripled, svg] = ['a.tape', 'm.yaml', 'three.tape', 'c.svg'].map(temporary) as [
    string,
    string,
    string,
    string,
  ];
  const made = await memtape('synth', 'sys', '--requests', '3000', '-o', tape);
  expect([made.code, made.stderr]).toEqual([0, expect.stringMatching(/3,000 requests .* in /)]);
  expect((await memtape('synth', 'fit', tape, '-o', model)).code).toBe(0);
  const checked = await memtape('synth', 'check', tape, model, '--svg', svg, '--json');
  expect(checked.code).toBe(0);
  const { metrics } = JSON.parse(checked.stdout) as { metrics: { metric: string; difference: number }[] };
  expect(metrics.find(({ metric }) => metric.startsWith('footprint'))!.difference).toBeLessThan(0.02);
  expect(readFileSync(svg, 'utf8')).toContain('<svg');
  expect((await memtape('synth', 'scale', tape, '-o', tripled, '--copies', '3')).code).toBe(0);
  const replayed = await memtape('replay', tripled, '--speed', 'max', '--timeout', '10s', '--quiet');
  expect([replayed.code, replayed.stdout]).toEqual([0, expect.stringContaining('PASS')]);
}, 60_000);

test('a fit says how near its model comes, and the model goes on for as long as one wants', async () => {
  const [tape, model, forced, long] = ['a.tape', 'm.yaml', 'f.yaml', 'long.tape'].map(temporary) as [
    string,
    string,
    string,
    string,
  ];
  await memtape('synth', 'ycsb-b', '--requests', '4000', '-o', tape, '--quiet');
  const fitted = await memtape('synth', 'fit', tape, '-o', model);
  expect(fitted.stderr).toMatch(/\(this model\) +0\.\d{4} +0\.\d{4} +0\.\d{4}\n/);
  expect(fitted.stderr).toMatch(/Doubt: The trace lasts 0\.\d s/);
  expect((await memtape('synth', 'check', tape, model)).stdout).toContain('(this model)');
  await memtape('synth', 'fit', tape, '-o', forced, '--method', 'renewal', '--quiet');
  expect(readFileSync(forced, 'utf8')).toContain('kind: renewal');
  const wrong = await memtape('synth', 'fit', tape, '-o', forced, '--force', '--method', 'lru');
  expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('hazard, renewal, stack')]);
  const made = await memtape('synth', model, '-o', long, '--duration', '2s');
  const requests = Number(/^([\d,]+) requests/m.exec(made.stderr)![1]!.replaceAll(',', ''));
  expect(requests).toBeGreaterThan(35_000);
  const more = await memtape('synth', model, '-o', long, '--force', '--requests', '9000');
  expect(more.stderr).toMatch(/^9,000 requests/m);
}, 60_000);

test('a model is replayed without a file in between, with what happens to it, and judged again', async () => {
  const results = temporary('sys.results');
  const { code, stdout } = await memtape(
    'replay',
    'sys',
    '--results',
    results,
    '--duration',
    '1s',
    '--rate',
    '4k',
    '--scenario',
    'hotKey:share=0.5',
    '--timeout',
    '10s',
    '--json',
    '-',
    '--quiet',
  );
  const report = JSON.parse(stdout) as { verdict: string; exchanges: { sent: number } };
  expect([code, report.verdict]).toEqual([0, 'pass']);
  expect(report.exchanges.sent).toBeGreaterThan(4300);
  const again = await memtape('diff', 'sys', results, '--json', '-', '--quiet');
  expect([again.code, (JSON.parse(again.stdout) as typeof report).exchanges]).toEqual([0, report.exchanges]);
  const other = await memtape('diff', 'usr', results);
  expect([other.code, other.stderr]).toEqual([2, expect.stringMatching(/other traffic than the model usr/)]);
}, 60_000);

test('results of a trace are not those of a model', async () => {
  const [tape, results] = ['a.tape', 'a.results'].map(temporary) as [string, string];
  expect((await memtape('synth', 'sys', '--requests', '100', '-o', tape, '--quiet')).code).toBe(0);
  const { code } = await memtape('replay', tape, '--speed', 'max', '--results', results, '--quiet');
  expect(code).toBe(0);
  const judged = await memtape('diff', 'sys', results);
  expect([judged.code, judged.stderr]).toEqual([2, expect.stringMatching(/made from a trace file/)]);
}, 60_000);

test('the incident: the sick release fails, and the backend is named', async () => {
  const { code, stdout } = await memtape('synth', 'incident', '--duration', '3s', '--json', '-', '--quiet');
  const { verdict, attribution, servers } = JSON.parse(stdout) as {
    verdict: string;
    attribution: { factor: string; value: string }[];
    servers: unknown[];
  };
  expect([code, verdict, servers.length]).toEqual([1, 'fail', 1]);
  expect(attribution[0]).toMatchObject({
    factor: 'partition',
    value: expect.stringMatching(/2 of 4 \(ketama\)$/) as string,
  });
}, 30_000);

test('what is refused, and how', async () => {
  const wrong = temporary('wrong.yaml');
  writeFileSync(
    wrong,
    'format: memtape-model/1\ntenants:\n  - keys: {space: 10}\n    arrivals: {rate: -1}\n',
  );
  for (const [args, message] of [
    [['synth', 'etcc', '-o', 'x'], /did you mean etc\?/],
    [['synth', 'etc'], /expected -o FILE/],
    [['synth', wrong, '-o', 'x'], /wrong\.yaml:4:16: .*rate/],
    [['synth', 'etc', '-o', temporary('x'), '--scenario', 'hotkey'], /did you mean hotKey/],
    [['synth', 'fit', wrong, '-o', temporary('x')], /expected a trace, got a model: memtape synth/],
    [['synth', 'check', wrong, 'etc'], /wrong\.yaml:4:16/],
  ] as const) {
    const { code, stderr } = await memtape(...args);
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
  }
  expect((await memtape('synth', 'list')).stdout).toMatch(/^etc +Facebook/);
  expect((await memtape('synth', 'show', 'ycsb-c')).stdout).toContain('format: memtape-model/1');
}, 30_000);

test('a scenario happens to a trace: as a file, in a replay, and what is done to servers', async () => {
  const [tape, made] = ['a.tape', 'with.tape'].map(temporary) as [string, string];
  await memtape('synth', 'sys', '--requests', '2500', '-o', tape, '--quiet');
  const options = ['--scenario', 'backendRestart:down=20ms,jitter=20ms,run=echo restarted', '--seed', '5'];
  const one = await memtape('synth', tape, '-o', made, ...options, '--scenario', 'sizeShift');
  expect([one.code, one.stderr]).toEqual([
    0,
    expect.stringMatching(/recorded answers? (was|were) worked out anew/),
  ]);
  const drills = made.replace(/\.tape$/, '.drills.yaml');
  expect(one.stderr).toContain(`memtape replay ${made} --drill ${drills}`);
  interface Report {
    verdict: string;
    exchanges: { sent: number };
    drills: { name: string; output: string }[];
  }
  const paced = ['--timeout', '10s', '--json', '-', '--quiet'];
  const replays = [
    await memtape('replay', made, '--drill', drills, ...paced),
    await memtape('replay', tape, ...options, '--scenario', 'sizeShift', ...paced),
  ];
  for (const { code, stdout } of replays) {
    const { verdict, drills: run } = JSON.parse(stdout) as Report;
    expect([code, verdict, run.map(({ name, output }) => [name, output.trim()])]).toEqual([
      0,
      'pass',
      [['restart the backend', 'restarted']],
    ]);
  }
  const [first, second] = replays.map(({ stdout }) => (JSON.parse(stdout) as Report).exchanges.sent);
  expect(first).toBe(second);
  for (const [args, message] of [
    [['-o', made], /expected a --scenario that happens to it/],
    [['-o', made, '--force', '--scenario', 'retryStorm:share=2'], /retryStorm: share: /],
    [['-o', made, '--scenario', 'hotKey'], /with\.tape is there already.*--force/],
    [
      ['-o', made, '--force', '--scenario', 'hotKey', '--duration', '1s'],
      /is a trace, and --duration is of a model/,
    ],
    [['-o', tape, '--scenario', 'hotKey'], /would overwrite it/],
  ] as const)
    expect(await memtape('synth', tape, ...args)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(message) as string,
    });
}, 180_000);
