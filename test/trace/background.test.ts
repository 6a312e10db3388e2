// Reading and writing on threads of their own: the same as here.

import { expect, test } from 'vitest';
import { BackgroundResults, readBatches } from '../../trace/background.ts';
import { Batch } from '../../trace/batch.ts';
import { ResultsReader, ResultsWriter, TraceReader } from '../../trace/file.ts';
import { emptyEnd } from '../../trace/meta.ts';
import { ResultBatch } from '../../trace/results.ts';
import { TraceView } from '../../trace/view.ts';
import { batchOf, temporary, testResultsMeta, writeTape } from '../support/tape.ts';

const end = emptyEnd();

function tape(blocks: number, rows: number): Batch[] {
  return Array.from({ length: blocks }, (_, block) =>
    batchOf(
      Array.from({ length: rows }, (_row, n) => ({
        op: n % 3 === 0 ? 'set' : 'get',
        key: `key${n % 17}`,
        at: (block * rows + n) * 10,
        ...(n % 3 === 0 ? { value: `value ${n}` } : { answer: `value ${n}` }),
      })),
    ),
  );
}

/** Everything that the rows say. */
async function told(batches: AsyncIterable<Batch>): Promise<string[]> {
  const lines: string[] = [];
  for await (const batch of batches)
    for (let row = 0; row < batch.count; row++)
      lines.push(
        [
          batch.firstIndex + row,
          batch.requestNs[row],
          batch.answerNs[row],
          batch.opcode[row],
          batch.keyId[row],
          batch.key(row),
          batch.value(row),
          batch.answerValue(row),
        ].join(' '),
      );
  return lines;
}

test.each([
  ['all of it', {}],
  ['a stretch, three times', { fromNs: 5e6, toNs: 40e6, loops: 3 }],
])('batches: %s', async (_name, options) => {
  const path = temporary('t.tape');
  await writeTape(path, tape(5, 3000));
  const trace = await TraceReader.open(path);
  const view = new TraceView(trace, options);
  const survey = await view.survey('auto');
  const here = await told(view.batches());
  const there = await told(readBatches(path, options, survey));
  await trace.close();
  expect(here.length).toBe(survey.exchanges);
  expect(there).toEqual(here);
});

test('a reader that stops early, and a file that is broken', async () => {
  const path = temporary('t.tape');
  await writeTape(path, tape(5, 300));
  const trace = await TraceReader.open(path);
  const survey = await new TraceView(trace).survey('auto');
  await trace.close();
  for await (const batch of readBatches(path, {}, survey)) {
    expect(batch.count).toBe(300);
    break;
  }
  await expect(told(readBatches(temporary('none.tape'), {}, survey))).rejects.toMatchObject({ code: 'READ' });
});

function results(rows: number, seed: number): ResultBatch {
  const batch = new ResultBatch(Math.max(1, rows));
  batch.count = rows;
  for (let row = 0; row < rows; row++) {
    batch.intendedNs[row] = seed * 1e9 + row;
    batch.sentNs[row] = seed * 1e9 + row + 5;
    batch.answeredNs[row] = seed * 1e9 + row + 9;
    batch.status[row] = row % 3;
    if (row % 7 !== 0) {
      batch.agrees[row] = 1;
      continue;
    }
    const value = Buffer.from(`answer ${seed} ${row}`);
    const at = batch.allocate(value.length);
    value.copy(batch.heap, at);
    batch.keyAt[row] = at;
    batch.keyLength[row] = 6;
    batch.valueAt[row] = at + 7;
    batch.valueLength[row] = value.length - 7;
  }
  return batch;
}

async function seen(path: string): Promise<string[]> {
  const reader = await ResultsReader.open(path);
  const lines: string[] = [];
  for await (const batch of reader.batches())
    for (let row = 0; row < batch.count; row++)
      lines.push(
        [
          batch.firstIndex + row,
          batch.intendedNs[row],
          batch.sentNs[row],
          batch.status[row],
          batch.agrees[row],
          batch.heap.toString('latin1', batch.keyAt[row], batch.keyAt[row]! + batch.keyLength[row]!),
          batch.value(row),
        ].join(' '),
      );
  await reader.close();
  return lines;
}

test('results of any size, in blocks of the thread', async () => {
  const [here, there] = [temporary('here.results'), temporary('there.results')];
  const writer = await ResultsWriter.create(here, testResultsMeta);
  const background = new BackgroundResults(there, testResultsMeta);
  for (const [n, rows] of [1, 1000, 0, 40_000, 30_000, 70_000, 3].entries()) {
    const batch = results(rows, n);
    writer.append(batch);
    background.append(batch);
    await background.drained();
  }
  await writer.finish(end);
  await background.finish(end);
  expect(await seen(there)).toEqual(await seen(here));
});

test('results that are given up are readable up to there; a place that cannot be written is told', async () => {
  const path = temporary('given-up.results');
  const writer = new BackgroundResults(path, testResultsMeta);
  writer.append(results(100, 1));
  await writer.abort();
  expect((await seen(path)).length).toBe(100);
  const nowhere = new BackgroundResults('/nowhere/at/all', testResultsMeta);
  await expect(nowhere.finish(end)).rejects.toMatchObject({ code: 'WRITE' });
});
