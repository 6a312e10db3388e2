// Parts of traces: rows by their index, coarse cuts, and pauses left out, on small traces that are looked through whole.

import { readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { coarseCuts } from '../../convert/cuts.ts';
import { mergeTraces } from '../../convert/merge.ts';
import { squeezeTrace } from '../../convert/squeeze.ts';
import { TraceReader } from '../../trace/file.ts';
import { runs } from '../support/scale.ts';
import { batchOf, temporary, writeTape, type ExchangeInit } from '../support/tape.ts';

interface Row {
  opaque: number;
  request: number;
  answer: number;
}

async function rowsOf(path: string): Promise<Row[]> {
  const trace = await TraceReader.open(path);
  const rows: Row[] = [];
  for await (const batch of trace.batches())
    for (let row = 0; row < batch.count; row++)
      rows.push({
        opaque: batch.opaque[row]!,
        request: batch.requestNs[row]!,
        answer: batch.answerNs[row]!,
      });
  await trace.close();
  return rows;
}

const block = (from: number): ExchangeInit[] =>
  [0, 1, 2].map((n) => ({ op: 'get', key: `k${from + n}`, opaque: from + n, at: (from + n) * 100 }));

test('rows are chosen by their index, over all blocks', async () => {
  const path = temporary('a.tape');
  await writeTape(path, [batchOf(block(0)), batchOf(block(3))]);
  const output = temporary('b.tape');
  await mergeTraces([path], output, { filter: { rows: Uint8Array.of(0, 1, 0, 1, 0, 1) } });
  expect((await rowsOf(output)).map(({ opaque }) => opaque)).toEqual([1, 3, 5]);
});

test('with a limit, what comes after it may be damaged', async () => {
  const path = temporary('a.tape');
  await writeTape(path, [batchOf(block(0)), batchOf(block(3))]);
  const trace = await TraceReader.open(path);
  const damaged = trace.blocks[1]!.offset + 40;
  await trace.close();
  const bytes = readFileSync(path);
  bytes[damaged]! ^= 0xff;
  writeFileSync(path, bytes);
  const output = temporary('b.tape');
  await expect(mergeTraces([path], output)).rejects.toThrow(/damaged/);
  expect(await mergeTraces([path], output, { limit: 3 })).toMatchObject({ exchanges: 3 });
});

const request = (connection: number, key?: string): ExchangeInit =>
  key === undefined ? { op: 'noop', connection } : { op: 'get', key, connection };

test('coarse cuts are what they are called', async () => {
  const path = temporary('a.tape');
  await writeTape(path, [
    batchOf([request(0, 'a'), request(1, 'b'), request(2, 'a'), request(1), request(0, 'c')]),
    batchOf([request(2, 'c'), request(1, 'a')]),
  ]);
  const of = async (...sightings: Parameters<typeof coarseCuts>[1]): Promise<Record<string, string>> =>
    Object.fromEntries((await coarseCuts(path, sightings)).map(({ name, rows }) => [name, rows.join('')]));
  expect(await of({ index: 2, connection: 2, key: 'a' }, { index: 4, connection: 0, key: 'c' })).toEqual({
    'up to the finding': '1110000',
    'its key': '1010001',
    'the keys of its examples': '1010111',
    'its connection': '0010010',
    'the connections that use its key': '1111111',
  });
  expect(await of({ index: -1, connection: 1, key: '' })).toEqual({ 'its connection': '0101001' });
});

test('a squeezed trace keeps what was before what, and has no longer pause', async () => {
  const rows = fc.array(fc.record({ gap: fc.nat(5000), took: fc.nat(3000) }), {
    minLength: 1,
    maxLength: 20,
  });
  await fc.assert(
    fc.asyncProperty(rows, fc.integer({ min: 0, max: 2000 }), async (times, pauseMicros) => {
      let at = 0;
      const exchanges = times.map(({ gap, took }, row): ExchangeInit => {
        at += gap;
        return { op: 'get', key: 'k', at, answeredAt: at + took, connection: row % 3 };
      });
      const path = temporary('a.tape');
      const output = temporary('b.tape');
      await writeTape(path, [batchOf(exchanges)]);
      await squeezeTrace(path, output, pauseMicros * 1000);
      const before = await rowsOf(path);
      const after = await rowsOf(output);
      expect(after[0]!.request).toBe(0);
      let quiet = 0;
      for (const [n, row] of after.entries()) {
        expect(row.request - quiet).toBeLessThanOrEqual(pauseMicros * 1000);
        expect(row.answer - row.request).toBe(before[n]!.answer - before[n]!.request);
        quiet = Math.max(quiet, row.answer);
        for (const [m, other] of after.entries())
          if (pauseMicros > 0)
            expect(Math.sign(row.answer - other.request)).toBe(
              Math.sign(before[n]!.answer - before[m]!.request),
            );
      }
    }),
    { numRuns: runs(20) },
  );
});
