// What a recording alone shows: violations, losses, what nobody in it stored, what the capture lacks, and who did not answer.

import { expect, test } from 'vitest';
import { audit, type Audit, type AuditOptions } from '../../audit/audit.ts';
import { storeExtras } from '../../protocol/frame.ts';
import { ConnectionEnd, Outcome, RowFlag, type Connection } from '../../trace/batch.ts';
import { emptyCapture, type Capture } from '../../trace/meta.ts';
import type { Trace } from '../../trace/source.ts';
import { batchOf, connectionOf, testMeta, type ExchangeInit } from '../support/tape.ts';

/** Milliseconds, as batchOf has times in microseconds. */
const ms = 1000;

async function judged(
  exchanges: readonly ExchangeInit[],
  options: AuditOptions & { connections?: Connection[]; lacks?: Partial<Capture> } = {},
): Promise<Audit> {
  const { connections, lacks = {}, ...rest } = options;
  const trace: Trace = {
    meta: testMeta,
    exchangeCount: exchanges.length,
    async *batches() {
      yield batchOf(exchanges, connections);
    },
    close: async () => undefined,
  };
  return audit(trace, '', { capture: { ...emptyCapture(), ...lacks }, ...rest });
}

async function kindsOf(...asked: Parameters<typeof judged>): Promise<Record<string, number>> {
  const { counts } = (await judged(...asked)).diff;
  return { ...counts.violation, ...counts.drift, ...counts.untestable };
}

const set = (value: string, answerCas: bigint): ExchangeInit => ({ op: 'set', key: 'k', value, answerCas });
const hit = (answer: string, answerCas: bigint): ExchangeInit => ({ op: 'get', key: 'k', answer, answerCas });
const miss: ExchangeInit = { op: 'get', key: 'k', status: 1, answer: 'Not found' };

const ended = (end: ConnectionEnd, afterMs: number): { connections: Connection[] } => ({
  connections: [{ ...connectionOf(0), end, closeNs: afterMs * 1e6 }],
});

const reads = (from: number, to: number, hits: number): ExchangeInit[] =>
  Array.from({ length: to - from }, (_, n) => ({
    op: 'get',
    key: `k${from + n}`,
    at: (from + n) * ms,
    ...(n % 10 < hits ? { answer: 'v' } : { status: 1, answer: 'Not found' }),
  }));

test('what a correct server answers passes, whatever the key held before', async () => {
  expect(await kindsOf([hit('before', 7n), set('a', 8n), hit('a', 8n), set('b', 9n), hit('b', 9n)])).toEqual(
    {},
  );
});

test('a value that was replaced, one that is nobody’s, one with other flags', async () => {
  expect(await kindsOf([set('aaaaaaaa', 1n), set('bbbbbbbb', 2n), hit('aaaaaaaa', 1n)])).toEqual({
    'stale-value': 1,
  });
  expect(await kindsOf([set('aaaaaaaa', 1n), hit('xxxxxxxx', 1n)])).toEqual({ 'wrong-value': 1 });
  expect(
    await kindsOf([
      { ...set('aaaaaaaa', 1n), extras: storeExtras(3, 0) },
      { ...hit('aaaaaaaa', 1n), answerExtras: Buffer.from([0, 0, 0, 4]) },
    ]),
  ).toEqual({ 'wrong-flags': 1 });
});

test('the value of another key is called so', async () => {
  const other: ExchangeInit = { op: 'set', key: 'other', value: 'of the other', answerCas: 2n };
  expect(await kindsOf([set('aaaaaaaa', 1n), other, hit('of the other', 2n)])).toEqual({
    'foreign-value': 1,
  });
});

test('what is gone may have been evicted, and does not come back', async () => {
  expect(await kindsOf([set('aaaaaaaa', 1n), miss])).toEqual({ lost: 1 });
  expect(await kindsOf([set('aaaaaaaa', 1n), miss, hit('aaaaaaaa', 1n)])).toEqual({
    lost: 1,
    resurrected: 1,
  });
});

test('a version with a new id that nobody stored was stored by somebody who is not in the recording', async () => {
  expect(await kindsOf([set('aaaaaaaa', 1n), hit('xxxxxxxx', 5n), hit('xxxxxxxx', 5n)])).toEqual({
    unseen: 2,
  });
  // An old id is no new version.
  expect(await kindsOf([set('aaaaaaaa', 3n), set('bbbbbbbb', 4n), hit('xxxxxxxx', 2n)])).toEqual({
    'wrong-value': 1,
  });
});

test('where the capture lacks requests, only a version that is known to be replaced is wrong', async () => {
  const lacks = { gaps: 1 };
  expect(await kindsOf([set('aaaaaaaa', 0n), hit('xxxxxxxx', 0n)], { lacks })).toEqual({ gap: 1 });
  expect(await kindsOf([set('aaaaaaaa', 1n), set('bbbbbbbb', 2n), hit('aaaaaaaa', 1n)], { lacks })).toEqual({
    'stale-value': 1,
  });
});

test('a value that the capture cut makes its key untestable', async () => {
  expect(
    await kindsOf([
      { ...set('derived!', 1n), flags: RowFlag.valueUnknown },
      hit('the real', 1n),
      hit('the real', 1n),
    ]),
  ).toEqual({ gap: 2 });
  expect(
    await kindsOf([set('aaaaaaaa', 1n), { ...hit('derived!', 1n), flags: RowFlag.answerUnknown }]),
  ).toEqual({
    gap: 1,
  });
});

test('who did not answer: the server that hung up, or that let somebody wait; nobody where the client left soon', async () => {
  const asked: ExchangeInit = { op: 'get', key: 'k', outcome: Outcome.unanswered };
  expect(await kindsOf([asked], ended(ConnectionEnd.server, 5))).toEqual({ closed: 1 });
  // Either may have reset it.
  expect(await kindsOf([asked], ended(ConnectionEnd.reset, 5))).toEqual({ unrecorded: 1 });
  expect(await kindsOf([asked], ended(ConnectionEnd.reset, 1500))).toEqual({ unanswered: 1 });
  expect(await kindsOf([asked], ended(ConnectionEnd.client, 5))).toEqual({ unrecorded: 1 });
  expect(await kindsOf([asked], ended(ConnectionEnd.client, 1500))).toEqual({ unanswered: 1 });
  expect(await kindsOf([asked], { ...ended(ConnectionEnd.client, 1500), timeoutMs: 2000 })).toEqual({
    unrecorded: 1,
  });
  // What follows a QUIT, or a request that servers hang up on, is owed no answer; a quiet request neither.
  const quit: ExchangeInit = { op: 'quit' };
  expect(await kindsOf([quit, asked], ended(ConnectionEnd.server, 5))).toEqual({ unrecorded: 1 });
  const tooLong: ExchangeInit = { op: 'get', key: 'k'.repeat(251), status: 4, answer: 'Invalid arguments' };
  expect(await kindsOf([tooLong, asked], ended(ConnectionEnd.server, 5))).toEqual({ unrecorded: 1 });
  expect(await kindsOf([{ ...asked, op: 'getq' }], ended(ConnectionEnd.server, 5))).toEqual({ unproven: 1 });
});

test('an answer that is none to its operation, or that lacks its key or its id', async () => {
  expect(
    await kindsOf([{ op: 'set', key: 'k', value: 'v', status: 0x86, answer: 'Temporary failure' }]),
  ).toEqual({
    'wrong-status': 1,
  });
  expect(await kindsOf([{ op: 'getk', key: 'k', answer: 'v', answerCas: 1n }])).toEqual({ 'wrong-key': 1 });
  expect(await kindsOf([set('a', 1n), { ...set('b', 0n) }])).toEqual({ cas: 1 });
  // A server without ids has none.
  expect(await kindsOf([set('a', 0n), hit('a', 0n)])).toEqual({});
});

test('a store without memory is counted, and what it does to the key is known', async () => {
  const refused: ExchangeInit = { op: 'set', key: 'k', value: 'b', status: 0x82, answer: 'Out of memory' };
  expect(await kindsOf([set('aaaaaaaa', 1n), refused, miss])).toEqual({ capacity: 1 });
});

test('a server that restarted counts its ids from 1 again', async () => {
  const apart = [
    set('a', 900n),
    set('b', 901n),
    miss,
    set('c', 1n),
    hit('c', 1n),
    set('d', 2n),
    hit('d', 2n),
  ];
  expect(await kindsOf(Array.from(apart, (one, n) => ({ ...one, at: n * 50 * ms })))).toEqual({ lost: 1 });
});

test('of connections that were open before, what may still be under way is waited for', async () => {
  const connections = [
    { ...connectionOf(0), openNs: -1 },
    { ...connectionOf(1), openNs: -1 },
  ];
  // The other connection's first answer comes late: a store of its own may have been under way until then.
  const exchanges: ExchangeInit[] = [
    { ...set('aaaaaaaa', 0n), at: 0 },
    { ...hit('xxxxxxxx', 0n), at: 1 * ms },
    { op: 'get', key: 'other', connection: 1, at: 2 * ms, status: 1, answer: 'Not found' },
    { ...hit('xxxxxxxx', 0n), at: 3 * ms },
    { ...set('bbbbbbbb', 0n), at: 4 * ms },
    { ...hit('yyyyyyyy', 0n), at: 5 * ms },
  ];
  const { diff, beginsSeconds } = await judged(exchanges, { connections });
  expect(beginsSeconds).toBeCloseTo(0.00205, 5);
  expect(diff.skips).toEqual({ early: 2 });
  expect(diff.counts.violation).toEqual({ 'wrong-value': 1 });
});

test('answers that are nobody’s are wrong, unless they may answer what came before the recording', async () => {
  expect(await kindsOf([set('a', 1n)], { lacks: { orphans: 3 } })).toEqual({ orphan: 3 });
  expect(await kindsOf([set('a', 1n)], { lacks: { orphans: 3, midstream: 1 } })).toEqual({});
});

test('reads that can be judged are those of keys whose state was shown; a wrong one counts', async () => {
  const { consistency } = await judged([
    hit('aaaaaaaa', 1n),
    hit('aaaaaaaa', 1n),
    set('bbbbbbbb', 2n),
    hit('bbbbbbbb', 2n),
    hit('aaaaaaaa', 1n),
    miss,
  ]);
  expect(consistency.all).toEqual({ reads: 5, judged: 3, wrong: 1 });
  expect([...consistency.servers]).toEqual([['10.0.0.1:11211', { reads: 5, judged: 3, wrong: 1 }]]);
});

test('a backend that came back empty breaks its hit rate, and a cache that fills does not', async () => {
  const { breaks } = await judged([...reads(0, 400, 9), ...reads(400, 800, 3)]);
  expect(breaks).toHaveLength(1);
  expect(breaks[0]!.place).toBe('10.0.0.1:11211');
  expect(Math.abs(breaks[0]!.atSeconds - 0.4)).toBeLessThan(0.02);
  expect((await judged([...reads(0, 400, 3), ...reads(400, 800, 9)])).breaks).toEqual([]);
  expect((await judged(reads(0, 800, 6))).breaks).toEqual([]);
});
