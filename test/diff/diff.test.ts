// Verdicts: what was recorded, what the target answers, and what memtape has to say of it.

import { describe, expect, test } from 'vitest';
import { startServer } from '../../embedded/server.ts';
import { counterExtras, storeExtras, type FrameInit } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { Status } from '../../protocol/status.ts';
import { recordCapture } from '../../recorder/record.ts';
import { Outcome, RowFlag } from '../../trace/batch.ts';
import { putUnknown } from '../../trace/masked.ts';
import { readFileSync } from 'node:fs';
import { parseFault } from '../../embedded/fault.ts';
import { startMemcached } from '../support/memcached.ts';
import { kindsOf, replayed, replayedTape } from '../support/replay.ts';
import { batchOf, temporary, type ExchangeInit } from '../support/tape.ts';
import { startScripted } from '../support/target.ts';

const flags = (value: number): Buffer => {
  const extras = Buffer.alloc(4);
  extras.writeUInt32BE(value);
  return extras;
};
const number = (value: bigint): Buffer => {
  const data = Buffer.alloc(8);
  data.writeBigUInt64BE(value);
  return data;
};
const set = (value: string, more: Partial<ExchangeInit> = {}): ExchangeInit => ({
  op: 'set',
  key: 'k',
  value,
  ...more,
});
const hit = (answer: string, more: Partial<ExchangeInit> = {}): ExchangeInit => ({
  op: 'get',
  key: 'k',
  answer,
  ...more,
});
const miss = (more: Partial<ExchangeInit> = {}): ExchangeInit => ({
  op: 'get',
  key: 'k',
  status: 1,
  ...more,
});
const incr = (result: bigint, more: Partial<ExchangeInit> = {}): ExchangeInit => ({
  op: 'incr',
  key: 'k',
  extras: counterExtras(1n, 0n, 0),
  answer: number(result),
  ...more,
});
const answers = {
  ok: {},
  notFound: { status: Status.notFound, value: 'Not found' },
  hit: (value: string, more: Partial<FrameInit> = {}): Partial<FrameInit> => ({
    value,
    extras: flags(0),
    ...more,
  }),
  number: (value: bigint): Partial<FrameInit> => ({ value: number(value) }),
};
const { ok, notFound } = answers;

/** One exchange after the other on one connection; the target gives these answers, in this order. */
const cases: [string, ExchangeInit[], Partial<FrameInit>[], string[]][] = [
  ['as recorded', [set('1'), hit('1')], [ok, answers.hit('1')], []],
  [
    'CAS ids and error texts do not matter',
    [set('1', { answerCas: 5n }), miss()],
    [{ cas: 77n }, { ...notFound, value: 'nothing here' }],
    [],
  ],
  ['a value that nobody wrote', [set('1'), hit('1')], [ok, answers.hit('2')], ['violation wrong-value 1']],
  [
    'a value of another length',
    [set('abc'), hit('abc')],
    [ok, answers.hit('ab')],
    ['violation wrong-value 1'],
  ],
  [
    'the value before the last',
    [set('1'), set('2'), hit('2')],
    [ok, ok, answers.hit('1')],
    ['violation stale-value 1'],
  ],
  [
    'a value that was made by APPEND, and replaced',
    [set('1'), { op: 'append', key: 'k', value: '2' }, set('3'), hit('3')],
    [ok, ok, ok, answers.hit('12')],
    ['violation stale-value 1'],
  ],
  [
    'a value that was deleted',
    [set('1'), { op: 'delete', key: 'k' }, miss()],
    [ok, ok, answers.hit('1')],
    ['violation stale-value 1'],
  ],
  [
    'a value that is yet to be written',
    [set('1'), hit('1'), set('2')],
    [ok, answers.hit('2'), ok],
    ['violation wrong-value 1'],
  ],
  [
    'other flags',
    [set('1'), hit('1')],
    [ok, answers.hit('1', { extras: flags(9) })],
    ['violation wrong-flags 1'],
  ],
  [
    'no flags at all',
    [set('1'), hit('1')],
    [ok, answers.hit('1', { extras: Buffer.alloc(0) })],
    ['violation malformed 1'],
  ],
  [
    'another key in the answer',
    [set('1'), hit('1', { op: 'getk', answerKey: 'k' })],
    [ok, answers.hit('1', { key: 'j' })],
    ['violation wrong-key 1'],
  ],
  ['lost', [set('1'), hit('1')], [ok, notFound], ['drift lost 1']],
  [
    'a status that the operation does not have',
    [set('1')],
    [{ status: Status.notFound }],
    ['violation wrong-status 1'],
  ],
  [
    'refused by the target',
    [set('1'), hit('1')],
    [{ status: Status.unknownCommand }, { status: Status.authFailed }],
    ['violation wrong-status 2'],
  ],
  ['no memory', [set('1')], [{ status: Status.outOfMemory }], ['drift capacity 1']],
  [
    'an item that is too large for the target',
    [set('1'), miss()],
    [{ status: Status.tooLarge }, notFound],
    ['drift capacity 1'],
  ],
  ['a counter as recorded', [set('7'), incr(8n), hit('8')], [ok, answers.number(8n), answers.hit('8')], []],
  [
    'padding of a counter',
    [set('10'), { ...incr(9n), op: 'decr' }, hit('9 ')],
    [ok, answers.number(9n), answers.hit('9')],
    [],
  ],
  [
    'a counter that is wrong',
    [set('7'), incr(8n), hit('8')],
    [ok, answers.number(99n), answers.hit('8')],
    ['violation counter 1'],
  ],
  [
    'a counter that is wrong does not make others wrong',
    [set('7'), incr(8n), incr(9n), hit('9')],
    [ok, answers.number(99n), answers.number(9n), answers.hit('9')],
    ['violation counter 1'],
  ],
  ['a counter made anew', [set('7'), incr(8n)], [ok, answers.number(0n)], ['drift lost 1']],
  [
    'a counter that says it is none',
    [set('7'), incr(8n)],
    [ok, { status: Status.nonNumeric }],
    ['violation wrong-status 1'],
  ],
  [
    'what was appended',
    [set('a'), { op: 'append', key: 'k', value: 'b' }, hit('ab')],
    [ok, ok, answers.hit('a')],
    ['violation stale-value 1'],
  ],
  [
    'an append that found nothing',
    [set('a'), { op: 'append', key: 'k', value: 'b' }],
    [ok, { status: Status.notStored }],
    ['drift lost 1'],
  ],
  [
    'ADD finds what was never there',
    [miss(), { op: 'delete', key: 'k', status: 1 }, { op: 'add', key: 'k', value: 'x' }],
    [notFound, notFound, { status: Status.exists }],
    ['violation wrong-status 1'],
  ],
  [
    'ADD over what is gone',
    [set('1'), { op: 'add', key: 'k', value: 'x', status: 2 }],
    [ok, ok],
    ['drift lost 1'],
  ],
  ['DELETE of what is gone', [set('1'), { op: 'delete', key: 'k' }], [ok, notFound], ['drift lost 1']],
  [
    'present before anybody stored it, on a target that was empty',
    [miss()],
    [answers.hit('old')],
    ['violation wrong-value 1'],
  ],
  [
    'NOOP is no place for a status',
    [{ op: 'version', answer: '1.6.18' }],
    [{ status: Status.unknownCommand }],
    ['violation wrong-status 1'],
  ],
  ['VERSION of another release', [{ op: 'version', answer: '1.6.18' }], [{ value: '1.6.40' }], []],
  [
    'a TTL that may have run out',
    [set('1', { extras: storeExtras(0, 1) }), hit('1')],
    [ok, notFound],
    ['drift temporal 1'],
  ],
  [
    'gone, and there again though nothing stored it',
    [set('1'), hit('1'), hit('1'), hit('1')],
    [ok, notFound, answers.hit('1'), answers.hit('1')],
    ['drift lost 1', 'violation resurrected 1'],
  ],
  [
    'a quiet miss that is answered',
    [{ op: 'getkq', key: 'k', outcome: Outcome.silent }],
    [{ status: Status.notFound, key: 'k' }],
    ['violation wrong-status 1'],
  ],
  [
    'a quiet miss that is answered, where the recording has a hit',
    [set('1'), hit('1', { op: 'getkq', answerKey: 'k' })],
    [ok, { status: Status.notFound, key: 'k' }],
    ['violation wrong-status 1'],
  ],
  [
    'an answer without its key',
    [set('1'), hit('1', { op: 'getk', answerKey: 'k' })],
    [ok, answers.hit('1')],
    ['violation wrong-key 1'],
  ],
  [
    'no CAS id where the recording has one',
    [set('1', { answerCas: 5n }), hit('1', { answerCas: 5n })],
    [{ cas: 7n }, answers.hit('1')],
    ['violation cas 1'],
  ],
  [
    'a CAS id that changes by itself',
    [set('1', { answerCas: 5n }), hit('1', { answerCas: 5n }), set('2', { answerCas: 6n })],
    [{ cas: 7n }, answers.hit('1', { cas: 8n }), { cas: 9n }],
    ['violation cas 1'],
  ],
  [
    'two versions with one CAS id',
    [set('1', { answerCas: 5n }), set('2', { answerCas: 6n })],
    [{ cas: 7n }, { cas: 7n }],
    ['violation cas 1'],
  ],
  [
    'as recorded, and wrong all the same',
    [set('1'), { op: 'delete', key: 'k' }, hit('1')],
    [ok, ok, answers.hit('1')],
    ['violation stale-value 1'],
  ],
  [
    'a wrong answer of which the recording has none',
    [set('1'), { ...hit('1'), outcome: Outcome.unanswered }],
    [ok, answers.hit('2')],
    ['violation wrong-value 1'],
  ],
  ['a counter as memcached reads it', [set('007'), incr(8n)], [ok, answers.number(8n)], []],
  [
    'DECR that wraps',
    [set('5'), { ...incr(0n), op: 'decr', extras: counterExtras(9n, 0n, 0) }],
    [ok, answers.number(2n ** 64n - 4n)],
    ['violation counter 1'],
  ],
  [
    'recorded behind a hole: the key was never stored',
    [{ ...hit('1'), outcome: Outcome.gap }],
    [notFound],
    [],
  ],
  ['recorded without an answer', [{ ...hit('1'), outcome: Outcome.unanswered }], [notFound], []],
  ['one of several alike', [{ ...hit('1'), flags: RowFlag.ambiguous }], [notFound], []],
];

test.each(cases)('%s', async (_name, exchanges, script, expected) => {
  const target = await startScripted((_request, _socket, number) => script[number]);
  try {
    const report = await replayed(exchanges, { targets: [target.address] });
    expect(kindsOf(report)).toEqual(expected);
    expect(report.verdict).toBe(expected.some((kind) => kind.startsWith('violation')) ? 'fail' : 'pass');
  } finally {
    await target.stop();
  }
});

test('what the target held before the replay is told, and not judged', async () => {
  const server = await startServer();
  await replayed([{ op: 'set', key: 'k', value: 'old' }], { targets: [server.address] });
  const report = await replayed([miss(), set('new'), hit('new')], { targets: [server.address] });
  expect(report.prefill.leftover).toBe(1);
  expect(kindsOf(report)).toEqual(['drift unexplained 1']);
  await server.stop();
});

test('a value that the capture cut: reads that have it whole are as they must be, and what else is wrong is', async () => {
  const batch = batchOf([
    set('cut'),
    hit('real value'),
    { op: 'append', key: 'k', value: '+' },
    hit('real value+'),
    set('7'),
    incr(8n),
    set('cut'),
    incr(6n),
    set('known'),
    hit('known'),
  ]);
  for (const row of [0, 6]) {
    batch.flags[row]! |= RowFlag.valueUnknown;
    batch.valueAt[row] = putUnknown(batch, 10);
    batch.valueLength[row] = batch.heapLength - batch.valueAt[row];
  }
  const server = await startServer();
  try {
    const run = { targets: [server.address], speed: 'max' } as const;
    const { exchanges: counts, ...report } = await replayed([batch], run);
    expect([kindsOf({ ...report, exchanges: counts }), counts.matched]).toEqual([['untestable masked 1'], 9]);
  } finally {
    await server.stop();
  }
  // A sick server gives back something else.
  const sick = await startServer({ fault: parseFault('corrupt=1/1') });
  try {
    const report = await replayed([batch], { targets: [sick.address], speed: 'max' });
    expect(report.violations['wrong-value']).toBe(3);
  } finally {
    await sick.stop();
  }
});

test('a finding says what, where and why', async () => {
  const target = await startScripted(({ opcode }) => (opcode === Opcode.get ? answers.hit('wrong') : ok));
  const report = await replayed([set('right'), hit('right')], { targets: [target.address] });
  await target.stop();
  expect(report.findings).toMatchObject([
    {
      class: 'violation',
      kind: 'wrong-value',
      count: 1,
      examples: [
        {
          index: 1,
          connection: 0,
          server: target.address,
          opcode: 'get',
          key: 'k',
          expected: { status: '0x00 ok', flags: 0, bytes: 5, value: 'right' },
          actual: { status: '0x00 ok', flags: 0, bytes: 5, value: 'wrong' },
          why: 'nothing that this replay did gives the key this value',
        },
      ],
    },
  ]);
  expect(report.servers).toMatchObject([
    { address: target.address, exchanges: 2, violations: 1, hitRate: 1, recordedHitRate: 1 },
  ]);
});

test('a few counters that were made anew are no pattern of counters', async () => {
  const anew = new Set([3, 11, 24, 37]);
  const exchanges = Array.from({ length: 80 }, (_, n) =>
    n % 2 === 0 ? incr(5n, { key: `c${n / 2}` }) : hit('v', { key: `k${n}` }),
  );
  const target = await startScripted((_request, _socket, n) =>
    n % 2 === 1 ? answers.hit('v') : answers.number(anew.has(n / 2) ? 0n : 5n),
  );
  const report = await replayed(exchanges, { targets: [target.address], prefill: 'none' });
  await target.stop();
  expect(kindsOf(report)).toEqual(['drift lost 4']);
  expect(report.attribution).toEqual([]);
});

describe('races: two connections at once', () => {
  // In the recording the second store was the last; on the target it is the first.
  const race: ExchangeInit[] = [
    set('1', { connection: 0, at: 0, answeredAt: 400 }),
    set('2', { connection: 1, at: 100, answeredAt: 500 }),
    hit('2', { connection: 0, at: 2000 }),
  ];

  test('either value is legal afterwards', async () => {
    const target = await startScripted(({ opcode, opaque, value }, socket) => {
      if (opcode === Opcode.get) return answers.hit('1');
      // Both under way: neither is answered before the other came.
      setTimeout(() => {
        const answer = Buffer.alloc(24);
        answer[0] = 0x81;
        answer[1] = opcode;
        answer.writeUInt32BE(opaque, 12);
        void value;
        socket.write(answer);
      }, 50);
      return undefined;
    });
    // In the order of keys they would be sent one after the other.
    const run = { targets: [target.address], order: 'connection' } as const;
    expect(kindsOf(await replayed(race, run))).toEqual(['drift raced 1']);
    await target.stop();
  });

  test('a third one is not', async () => {
    const target = await startScripted(({ opcode }) => (opcode === Opcode.get ? answers.hit('3') : ok));
    expect(kindsOf(await replayed(race, { targets: [target.address] }))).toEqual(['violation wrong-value 1']);
    await target.stop();
  });
});

describe('the capture of memjs', () => {
  const capture = new URL('../../fixtures/captures/memjs.pcap', import.meta.url).pathname;
  const { port } = JSON.parse(readFileSync(capture.replace('.pcap', '.json'), 'utf8')) as { port: number };
  const recorded = async (): Promise<string> => {
    const output = temporary('memjs.tape');
    await recordCapture(capture, { output, ports: [port], source: 'memjs' });
    return output;
  };

  test.each([[10], ['max'] as const] as const)(
    'against a fresh memcached at %s: nothing wrong, and nearly all as recorded',
    async (speed) => {
      const memcached = await startMemcached();
      try {
        const report = await replayedTape(await recorded(), {
          targets: [memcached.address],
          speed,
          timeoutMs: 2000,
        });
        expect(report.violations).toEqual({});
        expect(report.exchanges.untestable + report.exchanges.skipped).toBe(0);
        expect(report.exchanges.matched / report.exchanges.sent).toBeGreaterThan(0.99);
        expect(report.verdict).toBe('pass');
      } finally {
        await memcached.stop();
      }
    },
  );

  test.each([1, 2, 3])('corrupted answers, seed %i: each one is found, and no other', async (seed) => {
    const server = await startServer({ fault: parseFault(`corrupt=1/100,seed=${seed}`) });
    try {
      const report = await replayedTape(await recorded(), {
        targets: [server.address],
        speed: 'max',
        timeoutMs: 2000,
      });
      const found = report.findings
        .filter((finding) => finding.class === 'violation')
        .flatMap(({ examples }) => examples.map(({ opcode, key }) => `${opcode} ${key}`));
      const made = server.faultLog.map(({ opcode, key }) => `${opcode} ${key}`);
      expect(made.length).toBeGreaterThan(15);
      expect(found.toSorted()).toEqual(made.toSorted());
      expect(report.verdict).toBe('fail');
    } finally {
      await server.stop();
    }
  });
});
