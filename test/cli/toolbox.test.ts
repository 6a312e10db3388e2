// filter, convert and info, as a user types them.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { memjsPort } from '../convert/support.ts';
import { memtape } from '../support/cli.ts';
import { batchOf, temporary, writeTape } from '../support/tape.ts';

const root = new URL('../..', import.meta.url).pathname;

async function recordedTape(): Promise<string> {
  const tape = temporary('memjs.tape');
  const { code } = await memtape(
    'record',
    `${root}fixtures/captures/memjs.pcap`,
    '--port',
    String(memjsPort),
    '-o',
    tape,
  );
  expect(code).toBe(0);
  return tape;
}

const cat = async (tape: string, ...args: string[]): Promise<string> =>
  (await memtape('cat', tape, '--format', 'jsonl', ...args)).stdout;

/** What a choice does not number anew. */
function told(lines: string): unknown[] {
  return lines
    .trim()
    .split('\n')
    .map((line) => {
      const { seconds, opcode, key, opaque } = JSON.parse(line) as Record<string, unknown>;
      return [seconds, opcode, key, opaque];
    });
}

test('filter: a copy, a choice, a merge', async () => {
  const tape = await recordedTape();
  const copy = temporary('copy.tape');
  expect((await memtape('filter', tape, '-o', copy)).stdout).toMatch(/5,004 exchanges on 6 connections/);
  expect(await cat(copy)).toBe(await cat(tape));
  const some = temporary('some.tape');
  const choice = [
    '--key',
    'object:*',
    '--opcode',
    'get,set',
    '--connection',
    '3',
    '--to',
    '2s',
    '--limit',
    '50',
  ];
  await memtape('filter', tape, '-o', some, ...choice);
  expect(told(await cat(some))).toEqual(told(await cat(tape, ...choice)));
  expect(told(await cat(some)).length).toBe(50);
  const both = temporary('both.tape');
  const { stdout } = await memtape('filter', some, copy, '-o', both);
  expect(stdout).toMatch(/5,054 exchanges on 7 connections/);
});

test('convert: to every format and back', async () => {
  const tape = await recordedTape();
  for (const [name, line] of [
    ['out.csv', /4,820 rows, .* kB; 184 exchanges were left out, because the format has no row for them/],
    ['out.oracleGeneral', /4,820 rows, 116 kB/],
    ['out.pcap', /packets/],
    ['out.parquet', /5,004 rows/],
  ] as const) {
    const output = temporary(name);
    const { code, stdout } = await memtape('convert', tape, output);
    expect([code, stdout]).toEqual([0, expect.stringMatching(line)]);
    if (name === 'out.csv') {
      const packed = temporary('packed.csv.gz');
      writeFileSync(packed, gzipSync(readFileSync(output)));
      const back = temporary('back.tape');
      await memtape('convert', packed, back);
      const again = temporary('again');
      await memtape('convert', back, again, '--to-format', 'csv');
      expect(readFileSync(again).equals(readFileSync(output))).toBe(true);
      expect((await memtape('replay', back, '--speed', 'max')).stdout).toMatch(/^PASS/);
    }
  }
});

test('info: as text and as JSON', async () => {
  const tape = await recordedTape();
  const { stdout } = await memtape('info', tape);
  expect(stdout).toMatch(/rate {8}[▁▂▃▄▅▆▇█ ]{60} up to [\d,]+\/s/);
  expect(stdout).toMatch(/top keys\n {4}object:0000 +419 +8\.4%/);
  expect(stdout).toMatch(/value bytes p50 41, /);
  const json = JSON.parse((await memtape('info', tape, '--json')).stdout) as {
    rate: { exchanges: number[] };
    exchanges: number;
  };
  expect(json.rate.exchanges.reduce((sum, count) => sum + count, 0)).toBe(json.exchanges);
});

async function small(): Promise<string> {
  const path = temporary('a.tape');
  await writeTape(path, [batchOf([{ op: 'get', key: 'a' }])]);
  return path;
}

function text(content: string, name = 'in.csv'): string {
  const path = temporary(name);
  writeFileSync(path, content);
  return path;
}

describe('what is wrong is said in one line', () => {
  const cases: [string, () => Promise<string[]> | string[], RegExp][] = [
    ['no output', async () => ['filter', await small()], /required option '-o, --output <file>'/],
    [
      'the input as output',
      async () => ((path) => ['filter', path, '-o', path])(await small()),
      /would overwrite it/,
    ],
    [
      'a connection of several traces',
      async () => ['filter', await small(), await small(), '-o', 'x', '--connection', '1'],
      /--connection expects one trace, got 2/,
    ],
    [
      'a sample',
      async () => ['filter', await small(), '-o', 'x', '--sample', '2'],
      /expected a sample such as 1\/16/,
    ],
    ['no format', () => ['convert', 'in.txt', 'out.tape'], /in\.txt: expected a name that ends in \.tape/],
    ['pcap as input', () => ['convert', 'in.pcap', 'out.tape'], /try: memtape record in\.pcap -o OUT/],
    ['parquet as input', () => ['convert', 'in.parquet', 'out.tape'], /parquet is written, not read/],
    ['two traces', () => ['convert', 'in.tape', 'out.tape'], /memtape filter makes a trace of a trace/],
    ['no trace at all', () => ['convert', 'in.csv', 'out.parquet'], /expected a trace on one side, got csv/],
    ['a packed output', async () => ['convert', await small(), 'out.csv.gz'], /an output that is not packed/],
    ['no file', () => ['convert', '/nonexistent.csv', 'out.tape'], /cannot read \/nonexistent\.csv/],
    [
      'no folder',
      async () => ['convert', await small(), '/nonexistent/out.csv'],
      /cannot write \/nonexistent\/out\.csv/,
    ],
    [
      'a cut archive',
      () => {
        const path = temporary('in.csv.gz');
        writeFileSync(path, gzipSync('1,a,1,2,3,get,0\n'.repeat(100)).subarray(0, 40));
        return ['convert', path, 'out.tape'];
      },
      /in\.csv\.gz: the gzip file ends in the middle/,
    ],
    [
      'a broken line',
      () => ['convert', text('1,a,1,2,3,get,0\nbroken'), 'out.tape'],
      /in\.csv, line 2: expected/,
    ],
    [
      'a cut record',
      () => ['convert', text('x'.repeat(30), 'in.oracleGeneral'), 'out.tape'],
      /in\.oracleGeneral, at byte \d+: expected/,
    ],
  ];
  test.each(cases)('%s', async (_name, args, message) => {
    const { code, stderr } = await memtape(...(await args()));
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/^ {4}at /m);
    expect(code).toBe(2);
    expect(existsSync('out.tape')).toBe(false);
  });
});

test('one name for a column in JSON lines and CSV; times of the day; values on request; info tells latencies and no packets of what is no capture', async () => {
  const tape = await recordedTape();
  const [head, first] = (await memtape('cat', tape, '--format', 'csv', '--limit', '1')).stdout.split('\n');
  const line = JSON.parse(await cat(tape, '--limit', '1')) as Record<string, unknown>;
  const names = head!.split(',');
  const cells = first!.split(',');
  expect(names).toHaveLength(cells.length);
  for (const [n, name] of names.entries())
    if (name !== 'tenant') expect(String(line[name]), name).toBe(cells[n]);
  expect(cells[1]).toMatch(/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  const shown = await memtape('cat', tape, '--clock', '--values', '--opcode', 'set', '--limit', '2');
  expect(shown.stdout.split('\n')[1]).toMatch(/^20\d\d-.*Z .* value "/);
  const made = temporary('made.tape');
  await memtape('synth', 'etc', '-o', made, '--requests', '500', '--quiet');
  const info = (await memtape('info', made, '--top', '3')).stdout;
  expect(info).toMatch(/latency +p50 .* p99 .* max/);
  expect(info).not.toMatch(/packet/);
  expect(info.split('top keys')[1]!.trim().split('\n')).toHaveLength(3);
  expect((await memtape('info', tape)).stdout).toMatch(/missing +nothing/);
  expect((await memtape('info', made, '--top', '5000')).code).toBe(2);
});

test('cat chooses by server, status and latency, under a head; filter says when nothing matched', async () => {
  const tape = await recordedTape();
  const head = (await memtape('cat', tape, '--limit', '1')).stdout.split('\n')[0];
  expect(head).toMatch(/^ +seconds +connection +server +opcode +key +value → answer +latency$/);
  const misses = told(await cat(tape, '--status', 'not found'));
  expect(misses).toEqual(told(await cat(tape, '--status', '0x01')));
  expect(misses.length).toBeGreaterThan(100);
  expect(told(await cat(tape, '--server', '127.0.0.1'))).toHaveLength(5004);
  expect(told(await cat(tape, '--server', `127.0.0.1:${memjsPort}`))).toHaveLength(5004);
  expect(await cat(tape, '--server', '127.0.0.2')).toBe('');
  for (const line of (await cat(tape, '--slower', '1ms')).trim().split('\n')) {
    const { answerSeconds, seconds } = JSON.parse(line) as { answerSeconds: number; seconds: number };
    expect(answerSeconds - seconds).toBeGreaterThanOrEqual(0.001);
  }
  expect(await memtape('cat', tape, '--status', 'gone')).toMatchObject({ code: 2 });
  const none = await memtape('filter', tape, '-o', temporary('none.tape'), '--key', 'nothing:*');
  expect(none.stderr).toMatch(/no exchange matched, so the trace is empty/);
});
