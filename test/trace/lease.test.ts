// Memory of batches that is used again: who releases a batch gets no more of them than are read ahead, with the same rows;
// who does not keeps each as it was.

import { expect, test } from 'vitest';
import { open } from '../../synth/generate/source.ts';
import { builtinModels } from '../../synth/model/builtin.ts';
import { checkModel } from '../../synth/model/model.ts';
import type { Batch } from '../../trace/batch.ts';
import { ResultsReader, ResultsWriter, TraceReader } from '../../trace/file.ts';
import { emptyEnd } from '../../trace/meta.ts';
import { ResultBatch } from '../../trace/results.ts';
import { batchOf, temporary, testResultsMeta, writeTape } from '../support/tape.ts';

const BLOCKS = 24;
const ROWS = 50;

/** Of other sizes, and with other keys and values in each. */
function blocks(): Batch[] {
  return Array.from({ length: BLOCKS }, (_, block) =>
    batchOf(
      Array.from({ length: ROWS + (block % 3) * 20 }, (_row, n) => ({
        op: n % 3 === 0 ? 'set' : 'get',
        key: `key${block} ${n % 7}`,
        at: (block * 200 + n) * 10,
        ...(n % 3 === 0 ? { value: `value ${block} ${n}` } : { answer: `value ${block} ${n}` }),
      })),
    ),
  );
}

function rowsOf(batch: Batch): string[] {
  return Array.from({ length: batch.count }, (_, row) =>
    [
      batch.firstIndex + row,
      batch.requestNs[row],
      batch.opcode[row],
      batch.keyId[row],
      batch.key(row),
      batch.value(row),
      batch.answerValue(row),
    ].join(' '),
  );
}

/** What was told, and by how many pieces of memory. */
async function walked(
  batches: AsyncIterable<Batch>,
  releases: boolean,
): Promise<{ rows: string[]; memories: number; heaps: number }> {
  const rows: string[] = [];
  const memories = new Set<unknown>();
  const heaps = new Set<unknown>();
  for await (const batch of batches) {
    rows.push(...rowsOf(batch));
    memories.add(batch.requestNs.buffer);
    heaps.add(batch.heap);
    if (releases) batch.release();
  }
  return { rows, memories: memories.size, heaps: heaps.size };
}

async function tape(): Promise<string> {
  const path = temporary('x.tape');
  await writeTape(path, blocks());
  return path;
}

test('a file is decoded into the memory of batches that were released', async () => {
  const path = await tape();
  const kept = await TraceReader.open(path);
  const released = await TraceReader.open(path);
  try {
    const all = await walked(kept.batches(), false);
    const again = await walked(released.batches(), true);
    expect(all.memories).toBe(BLOCKS);
    // One is used while the next is decoded; those of larger blocks take the place of small ones.
    expect(again.memories).toBeLessThanOrEqual(6);
    expect(again.rows).toEqual(all.rows);
    // Whoever remembers places in a heap knows it by its Buffer.
    expect(again.heaps).toBe(BLOCKS);
  } finally {
    await kept.close();
    await released.close();
  }
});

test('what all slices of a batch released is used again, and not before', async () => {
  const reader = await TraceReader.open(await tape());
  try {
    const held: { part: Batch; rows: string[] }[] = [];
    const memories = new Set<unknown>();
    for await (const batch of reader.batches()) {
      const middle = batch.count >> 1;
      const [one, other] = [batch.slice(0, middle), batch.slice(middle, batch.count)];
      batch.share(1);
      memories.add(batch.requestNs.buffer);
      one.release();
      // The other half is looked at for some batches more.
      held.push({ part: other, rows: rowsOf(other) });
      if (held.length > 4) {
        const { part, rows } = held.shift()!;
        expect(rowsOf(part)).toEqual(rows);
        part.release();
      }
    }
    expect(memories.size).toBeLessThan(BLOCKS);
    for (const { part, rows } of held) expect(rowsOf(part)).toEqual(rows);
  } finally {
    await reader.close();
  }
});

test('a model makes the same rows in memory that is used again', async () => {
  const recipe = {
    name: 'etc',
    model: checkModel(builtinModels.get('etc')!),
    options: { requests: 40_000, seed: 4 },
  };
  const all = await walked(open(recipe).batches(), false);
  const again = await walked(open(recipe).batches(), true);
  expect(all.memories).toBeGreaterThan(5);
  expect(again.memories).toBe(1);
  expect(again.heaps).toBe(all.heaps);
  expect(again.rows).toEqual(all.rows);
});

test('results that come in small batches stand in large blocks, and are the same', async () => {
  const path = temporary('x.results');
  const writer = await ResultsWriter.create(path, testResultsMeta);
  const batch = new ResultBatch(64);
  const expected: string[] = [];
  for (let n = 0; n < 1000; n++) {
    batch.clear();
    batch.reserve(40);
    batch.count = 40;
    for (let row = 0; row < 40; row++) {
      const differs = (n + row) % 5 === 0;
      batch.agrees[row] = differs ? 0 : 1;
      batch.sentNs[row] = batch.intendedNs[row] = n * 40 + row;
      batch.answeredNs[row] = n * 40 + row + 1;
      batch.valueLength[row] = 0;
      if (differs) {
        const value = Buffer.from(`differs ${n} ${row}`);
        batch.valueAt[row] = batch.allocate(value.length);
        batch.valueLength[row] = value.length;
        value.copy(batch.heap, batch.valueAt[row]);
      }
      expected.push(`${n * 40 + row} ${differs ? `differs ${n} ${row}` : ''}`);
    }
    writer.append(batch);
  }
  await writer.finish(emptyEnd());
  const reader = await ResultsReader.open(path);
  const got: string[] = [];
  for await (const rows of reader.batches())
    for (let row = 0; row < rows.count; row++) got.push(`${rows.sentNs[row]} ${rows.value(row).toString()}`);
  await reader.close();
  expect(got).toEqual(expected);
  expect(reader.blocks.length).toBeLessThanOrEqual(4);
});
