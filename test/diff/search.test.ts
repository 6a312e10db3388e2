// What the search says of itself: whether the cheapest order that it found is the cheapest that there is.

import { expect, test } from 'vitest';
import { diff } from '../../diff/diff.ts';
import { nameDrift } from '../../diff/drift.ts';
import { Operations } from '../../diff/gather.ts';
import { neverThere, unknownItem, type Item } from '../../diff/item.ts';
import { circumstancesOf } from '../../diff/keys.ts';
import type { Explanation } from '../../diff/explanation.ts';
import { explain } from '../../diff/search.ts';
import { counterExtras, storeExtras } from '../../protocol/frame.ts';
import { isQuiet } from '../../protocol/opcode.ts';
import type { Batch } from '../../trace/batch.ts';
import type { ResultsReader } from '../../trace/file.ts';
import { Result, ResultBatch, SkipReason } from '../../trace/results.ts';
import { openSource } from '../../trace/source.ts';
import { batchOf, temporary, writeTape, type ExchangeInit } from '../support/tape.ts';

/** The exchanges as answered in a replay, sent and answered when they were recorded. */
function resultsOf(batch: Batch): ResultBatch {
  const results = new ResultBatch();
  for (let row = 0; row < batch.count; row++) {
    results.skip(SkipReason.none);
    results.result[row] = isQuiet[batch.opcode[row]!] === 1 ? Result.silent : Result.answered;
    results.frames[row] = 1;
    results.agrees[row] = 1;
    results.status[row] = batch.status[row]!;
    results.sentNs[row] = batch.requestNs[row]!;
    results.answeredNs[row] = batch.answerNs[row]!;
  }
  return results;
}

function explained(exchanges: readonly ExchangeInit[], initial: Item = neverThere): Explanation {
  const batch = batchOf(exchanges);
  const results = resultsOf(batch);
  const operations = new Operations({ speed: 1, recordedAtSeconds: 1_700_000_000 });
  for (let row = 0; row < batch.count; row++) operations.add(0, batch, row, results, row, true, false, false);
  const { operations: all } = operations.of(0, '0 0', 'recording');
  const about = circumstancesOf({ hidesValues: false, hidesNumbers: false }, operations, all, {
    isShort: false,
    mayRestart: false,
  });
  return explain(all, initial, about);
}

test('one after the other: the loss is certain', () => {
  const said = explained([
    { op: 'set', key: 'k', value: 'a' },
    { op: 'get', key: 'k', status: 1 },
  ]);
  expect(said).toMatchObject({ wrong: [], undecided: [], cost: 1000, isWhole: true });
});

/** A hundred changes under way at once, of which any may have been executed first. */
const atOnce: readonly ExchangeInit[] = [
  { op: 'set', key: 'k', value: '0' },
  ...Array.from({ length: 100 }, (_, n): ExchangeInit => {
    const value = `${n},`;
    return { op: 'append', key: 'k', value, connection: n, at: 200, answeredAt: 400 + n };
  }),
];

test('what was there before the replay may expire at any time', () => {
  const exchanges: ExchangeInit[] = [
    { op: 'get', key: 'k', answer: 'of before' },
    { op: 'append', key: 'k', value: '+' },
    { op: 'get', key: 'k', status: 1 },
  ];
  expect(explained(exchanges, unknownItem)).toMatchObject({ wrong: [], undecided: [], cost: 1 });
});

test('white space alone: a quiet counter may have counted from whatever stood behind it in memory', () => {
  const ninth = Buffer.from('00000009', 'hex');
  const exchanges: ExchangeInit[] = [
    { op: 'set', key: 'k', value: ' ', extras: storeExtras(9, 0) },
    { op: 'incrq', key: 'k', extras: counterExtras(1n, 5n, 0) },
    { op: 'get', key: 'k', answer: '41', answerExtras: ninth },
  ];
  expect(explained(exchanges)).toMatchObject({ wrong: [], undecided: [], cost: 0 });
});

test('a hundred at once: not all orders are tried, and it says so', () => {
  expect(explained(atOnce)).toMatchObject({ wrong: [], isWhole: false });
});

test('what is missing then is neither lost nor vanished: another order may need no loss', async () => {
  const path = temporary('busy.tape');
  const late = { key: 'k', at: 1000, answeredAt: 1010 };
  await writeTape(path, [batchOf([...atOnce, { op: 'get', answer: 'what it held', ...late }])]);
  const results = resultsOf(batchOf([...atOnce, { op: 'get', status: 1, ...late }]));
  results.agrees[atOnce.length] = 0;
  const stats = { pid: '1', uptime: '1', evictions: '0' };
  const replay = {
    meta: { targets: ['127.0.0.1:1'], speed: 1, route: 'single', prefill: 'none', tenants: 'shared' },
    end: {
      accounts: [{ target: 0, before: stats, after: stats, asked: { sets: 0, gets: 0 } }],
      leftover: 0,
      orphanCount: 0,
      orphans: [],
    },
    batches: async function* () {
      yield results;
    },
  } as unknown as ResultsReader;
  const trace = await openSource(path);
  const { counts } = await diff(trace, replay);
  await trace.close();
  expect([counts.violation, counts.drift, counts.untestable]).toEqual([{}, {}, { undecided: 1 }]);
});

test('one state is left, and not all orders were tried: what it cannot explain is undecided', () => {
  // The last of the appends is the one that all others were tried after; then the value is looked at, alone.
  const joined = Array.from({ length: 100 }, (_, n) => `${(n * 37) % 100},`).join('');
  const said = explained([
    ...atOnce,
    { op: 'replace', key: 'k', value: 'b', at: 1000, answeredAt: 1010 },
    { op: 'prepend', key: 'k', value: 'a', at: 1020, answeredAt: 1030 },
    { op: 'get', key: 'k', answer: `0${joined}`, at: 1040, answeredAt: 1050 },
    { op: 'set', key: 'k', value: 'c', at: 1060, answeredAt: 1070 },
    { op: 'get', key: 'k', answer: 'd', at: 1080, answeredAt: 1090 },
  ]);
  expect([said.undecided, said.wrong.map(({ ordinal }) => ordinal)]).toEqual([[103], [105]]);
});

test("on a target that others had filled, a read before another connection's store has raced", () => {
  const batch = batchOf([
    { op: 'set', key: 'k', value: 'a', connection: 0, at: 0, answeredAt: 10 },
    { op: 'get', key: 'k', answer: 'a', connection: 1, at: 100, answeredAt: 110 },
  ]);
  const results = resultsOf(batch);
  results.agrees[1] = 0;
  results.status[1] = 1;
  results.sentNs[1] = -100_000;
  results.answeredNs[1] = -90_000;
  const operations = new Operations({ speed: 1, recordedAtSeconds: 1_700_000_000 });
  for (const row of [0, 1]) operations.add(0, batch, row, results, row, true, row === 1, false);
  const { operations: all } = operations.of(0, '0 0', 'recording');
  const about = circumstancesOf({ hidesValues: false, hidesNumbers: false }, operations, all, {
    isShort: false,
    mayRestart: false,
  });
  const { order } = explain(all, unknownItem, about);
  const { named } = nameDrift(all, order, false, () => false);
  expect(named).toMatchObject([{ verdict: { class: 'drift', kind: 'raced' } }]);
});
