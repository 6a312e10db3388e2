// Trace files: what goes in comes out; a file that was cut, damaged or made up is read as far as it is sound, or refused
// with a sentence.

import { readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  RowFlag,
  Batch,
  byteColumns,
  outcomeNames,
  shortColumns,
  wordColumns,
  type Connection,
} from '../../trace/batch.ts';
import { TraceError } from '../../trace/error.ts';
import { ResultsReader, ResultsWriter, TraceReader, TraceWriter } from '../../trace/file.ts';
import { emptyCapture } from '../../trace/meta.ts';
import {
  ResultBatch,
  resultByteColumns,
  resultShortColumns,
  resultTimeColumns,
} from '../../trace/results.ts';
import { plainRows, type PlainRow } from '../../fixtures/golden.ts';
import { Random } from '../../synth/laws/random.ts';
import { runs } from '../support/scale.ts';
import { batchOf, connectionOf, temporary, testMeta, writeTape, type ExchangeInit } from '../support/tape.ts';

const plainWords = wordColumns.filter((name) => !/At$|Length$|^keyId$/.test(name));
const plainBytes = byteColumns.filter((name) => !name.endsWith('Length'));
const plainShorts = shortColumns.filter((name) => !name.endsWith('Length'));

async function readAll(
  path: string,
): Promise<{ rows: PlainRow[]; connections: Connection[]; truncated: boolean }> {
  const trace = await TraceReader.open(path);
  const rows: PlainRow[] = [];
  const connections: Connection[] = [];
  try {
    for await (const batch of trace.batches()) {
      expect(batch.firstIndex).toBe(rows.length);
      rows.push(...plainRows(batch));
      connections.push(...batch.connections);
    }
  } finally {
    await trace.close();
  }
  return { rows, connections, truncated: trace.truncated };
}

const word = fc.integer({ min: 0, max: 0xffffffff });
const part = fc.oneof(
  fc.constant(''),
  fc.constantFrom('a', 'key:1', 'x'.repeat(300)),
  fc.string({ maxLength: 40 }),
);
const anyRow = fc.record({
  numbers: fc.array(word, { minLength: 40, maxLength: 40 }),
  times: fc.tuple(
    fc.integer({ min: 0, max: 1e15 }),
    fc.integer({ min: 0, max: 1e12 }),
    fc.integer({ min: -1, max: 1e12 }),
  ),
  parts: fc.tuple(fc.string({ maxLength: 20 }), part, part, fc.string({ maxLength: 20 }), part, part),
});

/** A batch with any content at all, sensible or not. */
function fill(
  rows: readonly { numbers: number[]; times: [number, number, number]; parts: string[] }[],
): Batch {
  const batch = new Batch();
  batch.reserve(rows.length);
  batch.count = rows.length;
  let last = 0;
  for (const [row, { numbers, times, parts }] of rows.entries()) {
    let n = 0;
    for (const name of plainBytes) batch[name][row] = numbers[n++]!;
    batch.outcome[row]! %= outcomeNames.length;
    // Values that are marked as unknown are tokens.
    batch.flags[row]! &= ~(RowFlag.valueUnknown | RowFlag.answerUnknown);
    for (const name of plainShorts) batch[name][row] = numbers[n++]!;
    for (const name of plainWords) batch[name][row] = numbers[n++]!;
    last = Math.max(last, times[0]);
    batch.requestNs[row] = last;
    batch.requestEndNs[row] = last + times[1];
    batch.answerNs[row] = times[2] < 0 ? -1 : last + times[2];
    const fields = ['extras', 'key', 'value', 'answerExtras', 'answerKey', 'answerValue'] as const;
    for (const [m, field] of fields.entries()) {
      const data = Buffer.from(parts[m]!).subarray(0, 255);
      const at = batch.allocate(data.length);
      data.copy(batch.heap, at);
      batch[`${field}At`][row] = at;
      batch[`${field}Length`][row] = data.length;
    }
  }
  return batch;
}

describe('round trips', () => {
  test('any rows, in any number of blocks', async () => {
    const path = temporary('any.tape');
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(anyRow, { maxLength: 20 }), { maxLength: 4 }), async (blocks) => {
        const batches = blocks.map(fill);
        const expected = batches.flatMap(plainRows);
        await writeTape(path, batches);
        const { rows, truncated } = await readAll(path);
        expect(truncated).toBe(false);
        expect(rows).toEqual(expected);
      }),
      { numRuns: runs(20) },
    );
  });

  test('connections, metadata and the closing block', async () => {
    const path = temporary('meta.tape');
    const connections = [{ ...connectionOf(0), tenant: 'häns', closeNs: 5e9, end: 2 as const }];
    const writer = await TraceWriter.create(path, testMeta);
    writer.append(batchOf([{ op: 'noop' }], connections));
    await writer.finish({ capture: { ...emptyCapture(), packets: 7 }, casRequests: 3 });
    const trace = await TraceReader.open(path);
    expect(trace.meta).toEqual(testMeta);
    expect(trace.end).toEqual({ capture: { ...emptyCapture(), packets: 7 }, casRequests: 3 });
    expect(trace.exchangeCount).toBe(1);
    await trace.close();
    expect((await readAll(path)).connections).toEqual(connections);
  });

  test('a stretch of time reads those blocks only', async () => {
    const path = temporary('range.tape');
    await writeTape(
      path,
      [0, 1000, 2000].map((at) => batchOf([{ op: 'get', key: `k${at}`, at, answer: 'v' }])),
    );
    const trace = await TraceReader.open(path);
    const keys: string[] = [];
    for await (const batch of trace.batches({ fromNs: 1_000_000, toNs: 1_500_000 }))
      keys.push(batch.key(0).toString());
    await trace.close();
    expect(keys).toEqual(['k1000']);
  });

  test('results', async () => {
    const path = temporary('run.results');
    const meta = {
      format: 'memtape-results/1',
      writer: 'test',
      trace: 'ff',
      startTime: '2026-01-01T00:00:00Z',
      speed: 'max',
      order: 'key',
      route: 'single',
      prefill: 'auto',
      targets: ['127.0.0.1:1'],
      timeoutMs: 1000,
    } as const;
    const random = new Random(5);
    const batch = new ResultBatch();
    batch.reserve(50);
    batch.count = 50;
    for (let row = 0; row < 50; row++) {
      for (const name of resultByteColumns)
        batch[name][row] = name === 'extrasLength' ? 0 : random.int(name === 'agrees' ? 2 : 7);
      for (const name of resultShortColumns) batch[name][row] = name === 'keyLength' ? 0 : random.int(60_000);
      for (const name of resultTimeColumns) batch[name][row] = row * 1000 + random.int(1000);
      if (row % 5 === 0) batch.answeredNs[row] = -1;
      batch.frames[row] = 1;
      batch.casHigh[row] = random.int(100);
      batch.casLow[row] = random.int(1 << 30);
      const value = Buffer.from(`value ${random.int(9)}`);
      batch.valueAt[row] = batch.allocate(value.length);
      batch.valueLength[row] = value.length;
      value.copy(batch.heap, batch.valueAt[row]);
    }
    const writer = await ResultsWriter.create(path, { ...meta, targets: [...meta.targets] });
    writer.append(batch);
    await writer.abort();
    const reader = await ResultsReader.open(path);
    expect(reader.meta).toEqual(meta);
    expect([reader.truncated, reader.end]).toEqual([true, null]);
    for await (const read of reader.batches()) {
      expect(read.count).toBe(50);
      for (const name of [
        ...resultByteColumns,
        ...resultShortColumns,
        ...resultTimeColumns,
        'casLow',
      ] as const)
        expect(Array.from(read[name].subarray(0, 50)), name).toEqual(Array.from(batch[name].subarray(0, 50)));
      for (let row = 0; row < 50; row++) expect(read.value(row).equals(batch.value(row))).toBe(true);
    }
    await reader.close();
  });
});

/** A trace of some blocks with content like real traffic. */
async function sampleTape(path: string, blocks: number): Promise<Batch[]> {
  const random = new Random(11);
  const batches = Array.from({ length: blocks }, (_, block) =>
    batchOf(
      Array.from({ length: 40 }, (_row, n): ExchangeInit => {
        const key = `key:${random.int(30)}`;
        const at = (block * 40 + n) * 100;
        return random.chance(0.5)
          ? { op: 'set', key, value: `value ${random.int(1e6)}`, at, answerCas: BigInt(block * 40 + n) }
          : { op: 'get', key, at, answer: `value ${random.int(1e6)}` };
      }),
    ),
  );
  await writeTape(path, batches);
  return batches;
}

describe('files that are not whole', () => {
  test('cut at random places: every whole block before the cut is there', async () => {
    const path = temporary('whole.tape');
    const batches = await sampleTape(path, 10);
    const whole = await TraceReader.open(path);
    const ends = whole.blocks.map(({ offset, bytes }) => offset + bytes);
    await whole.close();
    const file = readFileSync(path);
    const cut = temporary('cut.tape');
    const random = new Random(1);
    const expected = batches.map((batch) => JSON.stringify(plainRows(batch)).slice(1, -1));
    for (let run = 0; run < 400; run++) {
      const at = random.int(file.length);
      writeFileSync(cut, file.subarray(0, at));
      const blocks = ends.filter((end) => end <= at).length;
      try {
        const { rows, truncated } = await readAll(cut);
        expect(truncated).toBe(true);
        expect(JSON.stringify(rows)).toBe(`[${expected.slice(0, blocks).join(',')}]`);
      } catch (error) {
        // Not even the opening block is there.
        expect(error).toBeInstanceOf(TraceError);
        expect(blocks).toBe(0);
      }
    }
  });

  test('a flipped bit anywhere: the rows before it, and an error that says where; never other rows', async () => {
    const path = temporary('whole.tape');
    const batches = await sampleTape(path, 6);
    const file = readFileSync(path);
    const expected = batches.flatMap(plainRows);
    const broken = temporary('broken.tape');
    const random = new Random(2);
    for (let run = 0; run < 400; run++) {
      const copy = Buffer.from(file);
      const at = random.int(file.length);
      copy[at]! ^= 1 << random.int(8);
      writeFileSync(broken, copy);
      const rows: PlainRow[] = [];
      try {
        const trace = await TraceReader.open(broken);
        try {
          for await (const batch of trace.batches()) rows.push(...plainRows(batch));
        } finally {
          await trace.close();
        }
      } catch (error) {
        expect(error, `byte ${at}`).toBeInstanceOf(TraceError);
      }
      expect(rows).toEqual(expected.slice(0, rows.length));
    }
  });

  test('any bytes behind a good header', async () => {
    const path = temporary('made-up.tape');
    const head = Buffer.from('\x93MTAPE\r\n\x01\x01\0\0\0\0\0\0', 'latin1');
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (data) => {
        writeFileSync(path, Buffer.concat([head, data]));
        await expect(TraceReader.open(path)).rejects.toBeInstanceOf(TraceError);
      }),
      { numRuns: runs(35) },
    );
  });

  test.each([
    ['nothing at all', '', /expected a memtape trace/],
    ['text', 'hello, world, this is text', /expected a memtape trace/],
    ['a newer format', '\x93MTAPE\r\n\x01\x07\0\0\0\0\0\0', /expected format 1, got 7/],
    ['a results file', '\x93MTAPE\r\n\x02\x01\0\0\0\0\0\0', /expected a trace, got a results file/],
  ])('%s', async (_name, content, message) => {
    const path = temporary('bad.tape');
    writeFileSync(path, Buffer.from(content, 'latin1'));
    await expect(TraceReader.open(path)).rejects.toThrow(message);
  });

  test('a missing file, and a folder', async () => {
    await expect(TraceReader.open('/nonexistent.tape')).rejects.toThrow(/cannot read/);
    await expect(TraceReader.open('/')).rejects.toThrow(/cannot read/);
  });

  test('a full disk is told when the rows are flushed', async () => {
    const writer = await TraceWriter.create('/dev/full', testMeta);
    writer.append(batchOf([{ op: 'noop' }]));
    await expect(writer.finish({ capture: emptyCapture(), casRequests: 0 })).rejects.toMatchObject({
      name: 'TraceError',
      code: 'WRITE',
    });
  });
});

test('golden: format 1 as it was first written is read the same for ever', async () => {
  const folder = new URL('../../fixtures/golden/', import.meta.url);
  const expected = JSON.parse(readFileSync(new URL('format-1.json', folder), 'utf8')) as PlainRow[];
  const { rows, truncated } = await readAll(new URL('format-1.tape', folder).pathname);
  expect(truncated).toBe(false);
  expect(rows).toEqual(expected);
});
