// What is kept of exchanges that differ, while it is not known yet what to say of them.

import { expect, test } from 'vitest';
import { Values } from '../../diff/operation.ts';
import { Suspects } from '../../diff/suspect.ts';
import { Status } from '../../protocol/status.ts';
import { Result, ResultBatch } from '../../trace/results.ts';
import { batchOf } from '../support/tape.ts';

const COUNT = 3000;

test('each one is told as it was, however many there are, and none of the others is one', () => {
  const batch = batchOf(
    Array.from({ length: COUNT }, (_, n) =>
      n % 3 === 0
        ? { op: 'get', key: `k${n}`, status: Status.notFound, answer: '' }
        : { op: 'get', key: `k${n}`, answer: `recorded ${n}` },
    ),
  );
  const results = new ResultBatch(COUNT, COUNT * 16);
  results.count = COUNT;
  results.result.fill(Result.answered, 0, COUNT);
  results.frames.fill(1, 0, COUNT);
  for (let row = 0; row < COUNT; row++) {
    const bytes = Buffer.from(`here ${row}`);
    results.valueAt[row] = results.allocate(bytes.length);
    results.valueLength[row] = bytes.length;
    bytes.copy(results.heap, results.valueAt[row]);
  }
  const suspects = new Suspects(new Values());
  // Every other operation is one.
  for (let row = 0; row < COUNT; row++) suspects.add(2 * row, batch, row, results, row);
  for (let row = 0; row < COUNT; row++) {
    expect([suspects.has(2 * row), suspects.has(2 * row + 1)]).toEqual([true, false]);
    const isMiss = row % 3 === 0;
    expect(suspects.recorded(2 * row)).toMatchObject(
      isMiss
        ? { status: Status.notFound }
        : { status: Status.ok, value: Buffer.from(`recorded ${row}`), silent: false },
    );
    expect(suspects.replayed(2 * row)).toMatchObject({
      status: Status.ok,
      value: Buffer.from(`here ${row}`),
      valueLength: `here ${row}`.length,
    });
  }
});
