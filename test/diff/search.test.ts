// What the search says of itself: whether the cheapest order that it found is the cheapest that there is.

import { expect, test } from 'vitest';
import { Operations } from '../../diff/gather.ts';
import { neverThere } from '../../diff/item.ts';
import { circumstancesOf } from '../../diff/keys.ts';
import { explain, type Explanation } from '../../diff/search.ts';
import { Result, ResultBatch } from '../../trace/results.ts';
import { batchOf, type ExchangeInit } from '../support/tape.ts';

/** The exchanges as answered in a replay, sent and answered when they were recorded. */
function explained(exchanges: readonly ExchangeInit[]): Explanation {
  const batch = batchOf(exchanges);
  const results = new ResultBatch();
  const operations = new Operations({ speed: 1, recordedAtSeconds: 1_700_000_000 });
  for (let row = 0; row < batch.count; row++) {
    results.skip(0);
    results.result[row] = Result.answered;
    results.frames[row] = 1;
    results.agrees[row] = 1;
    results.status[row] = batch.status[row]!;
    results.sentNs[row] = batch.requestNs[row]!;
    results.answeredNs[row] = batch.answerNs[row]!;
    operations.add(0, batch, row, results, row, true, false, false);
  }
  const { operations: all } = operations.of(0, 0, true);
  const about = circumstancesOf({ hidesValues: false, hidesNumbers: false }, operations, all, false);
  return explain(all, neverThere, about);
}

test('one after the other: the loss is certain', () => {
  const said = explained([
    { op: 'set', key: 'k', value: 'a' },
    { op: 'get', key: 'k', status: 1 },
  ]);
  expect(said).toMatchObject({ wrong: [], undecided: [], cost: 1000, isWhole: true });
});

test('a hundred at once: not all orders are tried, and it says so', () => {
  const said = explained([
    { op: 'set', key: 'k', value: '0' },
    ...Array.from({ length: 100 }, (_, n): ExchangeInit => ({
      op: 'append',
      key: 'k',
      value: `${n},`,
      connection: n,
      at: 200,
      answeredAt: 400 + n,
    })),
  ]);
  expect(said).toMatchObject({ wrong: [], isWhole: false });
});
