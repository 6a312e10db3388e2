// The command line: output, exit codes, and one line where something is wrong.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseFault } from '../../embedded/fault.ts';
import { startServer } from '../../embedded/server.ts';
import { memtape } from '../support/cli.ts';
import { madeOnce, temporary } from '../support/tape.ts';

const root = new URL('../..', import.meta.url).pathname;
const capture = `${root}fixtures/captures/memjs.pcap`;
const { port } = JSON.parse(readFileSync(`${root}fixtures/captures/memjs.json`, 'utf8')) as { port: number };

/** A file with this content. */
function text(content: string | Buffer): string {
  const path = temporary('input');
  writeFileSync(path, content);
  return path;
}

/** The capture's first bytes. */
function pcap(bytes: number): string {
  return text(readFileSync(capture).subarray(0, bytes));
}

async function recordedTape(): Promise<string> {
  return madeOnce('memjs.tape', async (tape) => {
    const { code, stdout } = await memtape('record', capture, '--port', String(port), '-o', tape, '--force');
    expect([code, stdout]).toEqual([0, expect.stringContaining('exchanges on 6 connections')]);
  });
}

test('record, info, cat, replay and diff, one after the other', async () => {
  const tape = await recordedTape();
  const info = await memtape('info', tape, '--json');
  const summary = JSON.parse(info.stdout) as { exchanges: number; format: string };
  expect(summary).toMatchObject({ format: 'memtape/1', connections: 6, truncated: false });
  expect((await memtape('info', tape)).stdout).toMatch(/get .*%/);

  const lines = (await memtape('cat', tape, '--format', 'jsonl', '--opcode', 'incr')).stdout
    .trim()
    .split('\n');
  expect(lines.map((line) => (JSON.parse(line) as { opcode: string }).opcode)).toEqual(
    lines.map(() => 'incr'),
  );
  const csv = (await memtape('cat', tape, '--format', 'csv')).stdout.trim().split('\n');
  expect(csv.length).toBe(summary.exchanges + 1);
  expect(
    (await memtape('cat', tape, '--limit', '3', '--key', 'object:*')).stdout.trim().split('\n').length,
  ).toBe(4);

  const results = temporary('run.results');
  const report = temporary('report.json');
  const server = await startServer();
  const replay = await memtape(
    'replay',
    tape,
    '--target',
    server.address,
    '--speed',
    'max',
    '--results',
    results,
    '--json',
    report,
    '--threshold',
    'violations == 0',
    '--threshold',
    'matched > 99%',
  );
  await server.stop();
  expect([replay.code, replay.stdout]).toEqual([0, expect.stringMatching(/^PASS/)]);
  const again = await memtape(
    'diff',
    tape,
    results,
    '--threshold',
    'violations == 0',
    '--threshold',
    'matched > 99%',
    '--json',
    '-',
  );
  expect(again.code).toBe(0);
  expect(JSON.parse(again.stdout)).toEqual(JSON.parse(readFileSync(report, 'utf8')));
  const strict = await memtape(
    'diff',
    tape,
    results,
    '--threshold',
    'matched == 100%',
    '--threshold',
    'drift == 0',
  );
  expect(strict.code).toBe(1);
  const nothing = await memtape(
    'diff',
    tape,
    results,
    '--threshold',
    'latency.fromIntended.p99{operation=gat} < 1s',
  );
  expect([nothing.code, nothing.stdout]).toEqual([3, expect.stringMatching(/^NOT ENOUGH EVIDENCE/)]);
});

test('a sick target: exit code 1, and what is wrong', async () => {
  const server = await startServer({ fault: { name: 'corrupt', share: 0.01, seed: 1 } });
  const { code, stdout } = await memtape(
    'replay',
    await recordedTape(),
    '--target',
    server.address,
    '--speed',
    'max',
  );
  await server.stop();
  expect([code, stdout]).toEqual([1, expect.stringMatching(/^FAIL[\s\S]*violation: wrong-value/)]);
});

test('without a target the embedded server answers', async () => {
  const { code, stdout, stderr } = await memtape('replay', await recordedTape(), '--speed', 'max');
  expect([code, stdout]).toEqual([0, expect.stringMatching(/^PASS/)]);
  expect(stderr).toMatch(/an embedded server answers/);
});

describe('what is wrong is said in one line', () => {
  const cases: [string, () => Promise<string[]> | string[], number, RegExp][] = [
    ['no capture', () => ['record', text('hello'), '-o', temporary('x')], 2, /expected a pcap file/],
    ['no file', () => ['record', '/nonexistent', '-o', temporary('x')], 2, /cannot read \/nonexistent/],
    ['a cut header', () => ['record', pcap(10), '-o', temporary('x')], 2, /10|header/],
    [
      'a cut packet',
      () => ['record', pcap(100_000), '--port', String(port), '-o', temporary('x')],
      2,
      /middle of the packet at byte \d+; the trace holds what came before/,
    ],
    [
      'another port',
      () => ['record', capture, '-o', temporary('x')],
      2,
      new RegExp(`port 11211, got traffic on port ${port}.*try --port ${port}`),
    ],
    ['the capture as output', () => ['record', capture, '-o', capture], 2, /would overwrite the capture/],
    ['no trace', () => ['info', text('hello')], 2, /expected a memtape trace, got a file of 5 bytes/],
    ['a trace that is no trace to replay', () => ['replay', text('hello')], 2, /expected a memtape trace/],
    [
      'nobody at the target',
      async () => ['replay', await recordedTape(), '--target', '127.0.0.1:1'],
      5,
      /cannot reach 127.0.0.1:1: connection refused/,
    ],
    [
      'a target that is no address',
      async () => ['replay', await recordedTape(), '--target', 'a b'],
      2,
      /expected HOST:PORT/,
    ],
    [
      'the recorded server',
      async () => ['replay', await recordedTape(), '--target', `127.0.0.1:${port}`],
      2,
      /recorded from .*--allow recorded-target/,
    ],
    [
      'an unknown metric',
      () => ['replay', 'x', '--threshold', 'drift.lst < 1'],
      2,
      /did you mean drift.lost\?/,
    ],
    ['an unknown option', () => ['info', '--jsn', 'x'], 2, /did you mean --json\?/i],
    ['an unknown command', () => ['rcord'], 2, /did you mean record\?/i],
    ['no command', () => [], 2, /Usage: memtape/],
  ];
  test.each(cases)('%s', async (_name, args, exitCode, message) => {
    const { code, stderr } = await memtape(...(await args()));
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/^ {4}at /m);
    expect(code).toBe(exitCode);
  });

  test('ASCII traffic is named, and leaves no file', async () => {
    const { Conversation, pcapBytes } = await import('../support/packets.ts');
    const ascii = new Conversation().open().send(true, 'get a\r\n').send(false, 'END\r\n');
    const out = temporary('none.tape');
    const { code, stderr } = await memtape('record', text(pcapBytes(ascii.packets)), '-o', out);
    expect([code, existsSync(out)]).toEqual([2, false]);
    expect(stderr).toMatch(/speaks the ASCII protocol \(get …\)/);
    expect(stderr).toMatch(/got 1 connection of the ASCII protocol/);
  });
});

test('every command has help with examples that begin with its name', async () => {
  const names = ['record', 'info', 'cat', 'filter', 'convert', 'replay', 'diff', 'serve', 'demo'];
  const helps = await Promise.all(names.map(async (name) => memtape(name, '--help')));
  for (const [n, { code, stdout }] of helps.entries()) {
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`Examples:\n(.*\\| )?  ?(.*)memtape ${names[n]}`));
  }
  expect((await memtape('--version')).stdout.trim()).toMatch(/^\d+\.\d+\.\d+$/);
});

test('replay beside a baseline, with metrics, late by our own fault, and with options that contradict', async () => {
  const tape = await recordedTape();
  const [target, baseline] = [await startServer(), await startServer()];
  try {
    const to = ['replay', tape, '--target', target.address, '--timeout', '5s'];
    const { code, stdout, stderr } = await memtape(
      ...to,
      '--speed',
      '5',
      '--baseline',
      baseline.address,
      '--metrics',
      ':0',
    );
    expect([code, stderr]).toEqual([
      0,
      expect.stringMatching(/metrics on http:\/\/127\.0\.0\.1:\d+\/metrics/),
    ]);
    expect(stdout).toMatch(/target +baseline\n +matched/);
    const report = temporary('late.json');
    const late = await memtape(...to, '--speed', '50', '--max-lag', '0.000001ms', '--json', report);
    expect([late.code, late.stdout]).toEqual([4, expect.stringContaining('INVALID')]);
    expect(late.stdout).toContain('we were late ourselves');
    expect(JSON.parse(readFileSync(report, 'utf8'))).toMatchObject({ verdict: 'invalid' });
    for (const [args, message] of [
      [['--rate', '50k', '--speed', '2'], /expected --speed or --rate/],
      [['--rate', '10k..'], /expected a rate/],
      [['--route', 'carp'], /expected one of single, index, ketama/],
      [['--route', 'map=/nowhere'], /cannot read the route map/],
      [['--tls-cert', 'x'], /--tls-cert and --tls-key together/],
      [['--auth-file', '/nowhere'], /cannot read the auth file/],
      [['--workers', '1000'], /expected at most 64 workers/],
      [['--tenants', 'some'], /expected auto, isolated or shared/],
    ] as const) {
      const wrong = await memtape(...to, ...args);
      expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringMatching(message)]);
    }
  } finally {
    await target.stop();
    await baseline.stop();
  }
});

test('two replays side by side: what differs by more than chance, and than two runs of the same', async () => {
  const tape = await recordedTape();
  const results = await Promise.all(
    [undefined, undefined, 'corrupt=1/20'].map(async (fault) => {
      const server = await startServer(fault === undefined ? {} : { fault: parseFault(fault) });
      const path = temporary('side.results');
      await memtape(
        'replay',
        tape,
        '--target',
        server.address,
        '--speed',
        '10',
        '--results',
        path,
        '--quiet',
      );
      await server.stop();
      return path;
    }),
  );
  const [first, again, sick] = results as [string, string, string];
  const same = await memtape('diff', tape, first, again);
  expect([same.code, same.stdout]).toEqual([0, expect.stringMatching(/target +baseline/)]);
  expect(same.stdout).not.toMatch(/violations\./);
  const report = temporary('side.json');
  const alone = await memtape('diff', tape, first, '--threshold', 'baseline.regressions == 0');
  expect([alone.code, alone.stderr]).toEqual([2, expect.stringMatching(/expected a baseline \(two results/)]);
  const borne = ['--threshold', 'violations < 50%', '--threshold', 'baseline.violations == 0'];
  const told = await memtape('diff', tape, first, sick, ...borne, '--markdown', temporary('side.md'));
  expect([told.code, told.stdout]).toEqual([
    0,
    expect.stringMatching(/violations\.wrong-value .* regression/),
  ]);
  const hlog = temporary('side.hlog');
  expect((await memtape('diff', tape, first, '--hlog', hlog)).code).toBe(0);
  expect(readFileSync(hlog, 'utf8')).toMatch(/^Tag=operation=get,0\.000,/m);
  expect((await memtape('diff', tape, first, '--hlog', first)).code).toBe(2);
  const worse = await memtape('diff', tape, first, sick, '--threshold', 'baseline.regressions == 0');
  expect([worse.code, worse.stdout]).toEqual([
    1,
    expect.stringContaining('crossed  baseline.regressions == 0'),
  ]);
  const other = await memtape('diff', tape, first, sick, '--noise', again, '--json', report);
  expect([other.code, other.stdout]).toEqual([1, expect.stringContaining('violations.wrong-value')]);
  const { baseline } = JSON.parse(readFileSync(report, 'utf8')) as {
    baseline: { verdict: string; changes: { metric: string; baseline: number; candidate: number }[] };
  };
  expect(baseline.verdict).toBe('pass');
  const change = baseline.changes.find(({ metric }) => metric === 'violations.wrong-value');
  expect([change!.baseline, change!.candidate > 0.01]).toEqual([0, true]);
});

test('coverage: which backends a trace reaches, and keys made for each', async () => {
  const tape = await recordedTape();
  const cluster = ['--target', 'a:1,b:2,c:3', '--route', 'ketama'];
  const { code, stdout } = await memtape('coverage', tape, ...cluster, '--json');
  const { backends } = JSON.parse(stdout) as {
    backends: { exchanges: number; keys: number; covered: boolean }[];
  };
  expect([
    code,
    backends.every(({ exchanges, keys, covered }) => covered && exchanges > 100 && keys > 5),
  ]).toEqual([0, true]);
  const few = await memtape('coverage', tape, ...cluster, '--min', '100000');
  expect([few.code, few.stdout]).toEqual([3, expect.stringContaining('not evaluated')]);
  const made = await memtape('coverage', ...cluster, '--make', '2', '--prefix', 'monitor:');
  expect([made.code, made.stdout.match(/ {2}monitor:\d+\n/g)?.length]).toEqual([0, 6]);
  expect((await memtape('coverage', ...cluster)).code).toBe(2);
  expect((await memtape('coverage', tape, '--target', 'a:1', '--route', 'single')).code).toBe(2);
});
