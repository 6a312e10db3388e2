// What CAS ids are worth as evidence: the recording says, as far as it shows versions.

import { expect, test } from 'vitest';
import { diff } from '../../diff/diff.ts';
import { counterExtras } from '../../protocol/frame.ts';
import { Status } from '../../protocol/status.ts';
import type { ResultsReader } from '../../trace/file.ts';
import { emptyEnd } from '../../trace/meta.ts';
import { Result, ResultBatch, SkipReason } from '../../trace/results.ts';
import type { Trace } from '../../trace/source.ts';
import { batchOf, testMeta, type ExchangeInit } from '../support/tape.ts';

/** An exchange on the key, and the target's id and status where they are others than the recorded ones. */
interface Told extends Omit<ExchangeInit, 'answerCas' | 'cas' | 'key'> {
  id?: number;
  hereId?: number;
  hereStatus?: number;
  /** Recorded id that the request names. */
  names?: number;
}

async function* rows<Rows>(all: Rows): AsyncGenerator<Rows> {
  yield all;
}

/** The violations of exchanges that came one after the other, on a target that was empty. */
async function violations(all: readonly Told[]): Promise<Record<string, number>> {
  const batch = batchOf(
    all.map(({ id = 0, names = 0, ...exchange }) => ({
      key: 'k',
      answerCas: BigInt(id),
      cas: BigInt(names),
      ...exchange,
    })),
  );
  const results = new ResultBatch();
  for (const [row, { id = 0, hereId = id, status = Status.ok, hereStatus = status }] of all.entries()) {
    results.skip(SkipReason.none);
    results.result[row] = Result.answered;
    results.frames[row] = 1;
    results.agrees[row] = status === hereStatus ? 1 : 0;
    results.status[row] = hereStatus;
    results.casLow[row] = hereStatus === Status.ok ? hereId : 0;
    results.sentNs[row] = batch.requestNs[row]!;
    results.answeredNs[row] = batch.answerNs[row]!;
  }
  const trace = { meta: testMeta, exchangeCount: batch.count, batches: () => rows(batch) };
  const meta = { targets: ['127.0.0.1:1'], speed: 1, route: 'single', prefill: 'none' };
  const replay = { meta, end: { ...emptyEnd(), leftover: 0 }, batches: () => rows(results) };
  const said = await diff(trace as unknown as Trace, replay as unknown as ResultsReader);
  return said.counts.violation;
}

function word(number: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(number);
  return bytes;
}

const stored = { op: 'set', value: 'a' };
const read = { op: 'get', answer: 'a' };
const touched = { op: 'touch', extras: Buffer.alloc(4), answerExtras: Buffer.alloc(4) };

test('a recording of one version: the id that a request names there is one', async () => {
  const all = [stored, { ...read, id: 9 }, { op: 'delete', names: 9, hereStatus: Status.exists }];
  expect(await violations(all)).toEqual({ cas: 1 });
  // The target's ids alone tell nothing here: no change told one before.
  expect(await violations([...all, { ...stored, hereId: 10 }, { ...stored, hereId: 9 }])).toHaveProperty(
    'cas',
  );
});

test('a recording of one version, and a target of several ids: a version keeps its own', async () => {
  const kept = { ...read, id: 5, hereId: 15 };
  expect(await violations([{ ...stored, id: 5, hereId: 15 }, kept, kept])).toEqual({});
  const drifted = { ...read, id: 5, hereId: 16 };
  expect(await violations([{ ...stored, id: 5, hereId: 15 }, kept, drifted])).toEqual({ cas: 1 });
});

test('one id for all versions, there and here, is none', async () => {
  const again = { op: 'set', value: 'b', id: 1 };
  expect(await violations([{ ...stored, id: 1 }, again, { ...read, answer: 'b', id: 1 }])).toEqual({});
});

test('ids that a version does not keep in the recording are not held against the target', async () => {
  // Nothing told the id of the store: the reads alone show it.
  expect(await violations([stored, { ...read, id: 7 }, { ...read, id: 1 }])).toEqual({});
  expect(await violations([stored, { ...read, id: 7 }, { ...touched, id: 1 }])).toEqual({});
});

test('of two ids of one version the one that a client named is right', async () => {
  const cas = { op: 'set', value: 'b', names: 7, id: 8 };
  const refused = {
    op: 'set',
    value: 'c',
    names: 7,
    status: Status.exists,
    hereStatus: Status.ok,
    hereId: 9,
  };
  const history = [stored, { ...read, id: 7 }, { ...read, id: 1 }, cas, refused];
  expect(await violations(history)).toEqual({ cas: 1 });
});

test('an id that a read told before a store told it is of two versions', async () => {
  const replaced = { op: 'set', value: 'b', id: 1 };
  const another = { op: 'set', value: 'c', id: 3 };
  const appended = { op: 'append', value: 'd', id: 1 };
  expect(await violations([stored, { ...read, id: 1 }, replaced, another, appended])).toEqual({});
  expect(await violations([stored, { ...touched, id: 1 }, replaced, another])).toEqual({});
});

test('a read beside an INCR may have the old value with the new id, as memcached answers; a read after it may not', async () => {
  const five = { op: 'set', value: '5', id: 1, at: 0, answeredAt: 50 };
  const counted = { op: 'incr', extras: counterExtras(1n, 0n, 0), id: 2, answer: word(6n), connection: 1 };
  const again = { op: 'incr', extras: counterExtras(1n, 0n, 0), id: 3, answer: word(7n), connection: 1 };
  const old = { op: 'get', answer: '5', id: 1, hereId: 2 };
  const beside = [
    { ...counted, at: 100, answeredAt: 300 },
    { ...old, at: 150, answeredAt: 250 },
  ];
  expect(await violations([five, ...beside, { ...again, at: 400, answeredAt: 450 }])).toEqual({});
  const after = [
    { ...counted, at: 100, answeredAt: 200 },
    { ...old, at: 250, answeredAt: 350 },
  ];
  const found = await violations([five, ...after, { ...again, at: 400, answeredAt: 450 }]);
  expect(found).toEqual({ 'stale-value': 1 });
});

const counted = (result: bigint, at: number, answeredAt: number, id: number): Told => ({
  op: 'incr',
  extras: counterExtras(1n, 0n, 0),
  answer: word(result),
  at,
  answeredAt,
  id,
});
const seen = (at: number, text: string, id: number): Told => ({
  ...read,
  answer: text,
  answerExtras: Buffer.alloc(4),
  at,
  answeredAt: at + 10,
  id,
});

test('an INCR that creates may be answered with the id of the INCR beside it, and only of one beside it', async () => {
  const removed: Told = { op: 'set', value: 'a', at: 0, answeredAt: 10, id: 5 };
  const gone: Told = { op: 'delete', at: 20, answeredAt: 30, id: 0 };
  // The recording has ids of their own: those of the target are what is asked about.
  const beside = [
    removed,
    gone,
    { ...counted(0n, 100, 300, 6), hereId: 7 },
    counted(1n, 110, 310, 7),
    seen(400, '1', 7),
  ];
  expect(await violations(beside)).toEqual({});
  const after = [
    removed,
    gone,
    { ...counted(0n, 100, 200, 6), hereId: 7 },
    counted(1n, 250, 310, 7),
    seen(400, '1', 7),
  ];
  expect(await violations(after)).not.toEqual({});
});
