// Traces merged and chosen from: a copy is exact, times decide, and what a filter keeps is what it says.

import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { mergeTraces, type MergeOptions } from '../../convert/merge.ts';
import { opcodeNamed } from '../../protocol/opcode.ts';
import { recordCapture } from '../../recorder/record.ts';
import { RowFlag, type Batch } from '../../trace/batch.ts';
import { TraceReader } from '../../trace/file.ts';
import { globPattern } from '../../trace/glob.ts';
import { runs } from '../support/scale.ts';
import { connectionOf, temporary, testMeta } from '../support/tape.ts';
import {
  batchOf,
  closed,
  exchanges,
  exchangesOf,
  memjsPort,
  memjsTape,
  numbered,
  tapeOf,
} from './support.ts';

const capture = new URL('../../fixtures/captures/memjs.pcap', import.meta.url).pathname;

async function merged(inputs: readonly string[], options: MergeOptions = {}): Promise<string> {
  const output = temporary('merged.tape');
  await mergeTraces(inputs, output, options);
  return output;
}

async function connectionsOf(path: string): Promise<unknown[]> {
  const trace = await TraceReader.open(path);
  const all: unknown[] = [];
  for await (const batch of trace.batches()) all.push(batch.connections);
  await trace.close();
  return all;
}

/** Reads at these microseconds, of keys that are called after them. */
function reads(name: string, ...times: number[]): Batch {
  return batchOf(
    times.map((at) => ({ op: 'get', key: `${name}${at}`, at })),
    [connectionOf(0)],
  );
}

describe('one trace without a filter', () => {
  test('is copied byte for byte', async () => {
    const tape = await memjsTape();
    const copy = await merged([tape]);
    expect(readFileSync(copy).equals(readFileSync(tape))).toBe(true);
  });

  test('keeps its tokens, its label and its connections', async () => {
    const tape = temporary('hash.tape');
    const privacy = { values: 'hash', maskKey: Buffer.alloc(32, 7), keepPrefix: 3 } as const;
    await recordCapture(capture, { output: tape, ports: [memjsPort], source: 'x', privacy });
    const copy = await merged([tape]);
    expect(await exchangesOf(copy)).toEqual(await exchangesOf(tape));
    expect(await connectionsOf(copy)).toEqual(await connectionsOf(tape));
    const [was, is] = [await TraceReader.open(tape), await TraceReader.open(copy)];
    expect([is.meta, is.end]).toEqual([was.meta, was.end]);
    await Promise.all([was.close(), is.close()]);
  });

  test('that was cut gives what is before the cut', async () => {
    const batches = [batchOf([{ op: 'get', key: 'a' }]), batchOf([{ op: 'get', key: 'b', at: 500 }])];
    const tape = await tapeOf(batches);
    truncateSync(tape, readFileSync(tape).length - 20);
    const output = temporary('whole.tape');
    const { truncated } = await mergeTraces([tape], output);
    expect(truncated).toEqual([tape]);
    expect((await exchangesOf(output)).length).toBe(2);
  });
});

describe('several traces', () => {
  test('are in the order of time, whatever starts when', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ list: exchanges, startMicros: fc.nat(5_000_000) }), {
          minLength: 2,
          maxLength: 4,
        }),
        async (parts) => {
          const tapes = await Promise.all(
            parts.map(async ({ list, startMicros }, n) => {
              const rows = numbered(list);
              const ids = [...new Set(rows.map(({ connection }) => connection!))];
              // A server of its own tells whose connection a row has.
              const connections = ids.map((id) => connectionOf(id, `10.0.1.${n}:11211`));
              const startNs = (1_700_000_000_000_000_000n + BigInt(startMicros) * 1000n).toString();
              return tapeOf([batchOf(rows, connections)], { startNs }, `${n}.tape`);
            }),
          );
          const all = (await Promise.all(tapes.map(async (tape) => exchangesOf(tape)))).flat();
          const wanted = all.toSorted((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
          expect(await exchangesOf(await merged(tapes))).toEqual(wanted);
        },
      ),
      { numRuns: runs(8) },
    );
  });

  test('have connections of their own', async () => {
    const one = await tapeOf([batchOf([{ op: 'get', key: 'a', connection: 0 }])], {}, 'one.tape');
    const two = await tapeOf(
      [batchOf([{ op: 'get', key: 'b', connection: 0, at: 50 }], [closed(0, 1e9)])],
      {},
      'two.tape',
    );
    const both = await TraceReader.open(await merged([one, two]));
    for await (const batch of both.batches()) {
      expect([...batch.connection.subarray(0, batch.count)]).toEqual([0, 1]);
      expect(batch.connections.map(({ id, closeNs }) => [id, closeNs])).toEqual([
        [0, -1],
        [1, 1e9],
      ]);
    }
    expect(both.meta.source).toBe('test + test');
    await both.close();
  });

  test('of the same time come in the order in which they were named', async () => {
    const first = await tapeOf([reads('a', 7, 9)], {}, 'first.tape');
    const second = await tapeOf([reads('b', 5, 7, 9)], {}, 'second.tape');
    const trace = await TraceReader.open(await merged([first, second]));
    for await (const batch of trace.batches())
      expect(Array.from({ length: batch.count }, (_, row) => batch.key(row).toString())).toEqual([
        'b5',
        'a7',
        'b7',
        'a9',
        'b9',
      ]);
    await trace.close();
  });

  test('of another privacy are refused, and nothing is written', async () => {
    const plain = await tapeOf([batchOf([{ op: 'get', key: 'a' }])]);
    for (const privacy of [
      { values: 'hash', keys: 'clear', numbers: 'masked' },
      { values: 'full', keys: 'masked' },
    ] as const) {
      const masked = await tapeOf([batchOf([{ op: 'get', key: 'a' }])], { privacy });
      const output = temporary('none.tape');
      writeFileSync(output, 'before');
      await expect(mergeTraces([plain, masked], output)).rejects.toThrow(
        /expected traces of one privacy; .* has values full, keys clear, .* has values/,
      );
      expect(readFileSync(output, 'utf8')).toBe('before');
    }
  });
});

describe('filters', () => {
  const rows = [
    { op: 'get', key: 'user:1', connection: 0, at: 0 },
    { op: 'set', key: 'user:2', connection: 1, at: 1000 },
    { op: 'noop', connection: 1, at: 2000 },
    { op: 'get', key: 'other', connection: 2, at: 3000, cas: 3n },
  ] as const;
  const connections = [connectionOf(0), { ...connectionOf(1), tenant: 'ann' }, connectionOf(2)];
  const cases: [string, MergeOptions, number[]][] = [
    ['key', { filter: { key: globPattern('user:*') } }, [0, 1]],
    ['opcode', { filter: { opcode: new Set([opcodeNamed('get')!]) } }, [0, 3]],
    ['connection', { filter: { connection: 2 } }, [3]],
    ['tenant', { filter: { tenant: 'ann' } }, [1, 2]],
    ['nobody', { filter: { tenant: '' } }, [0, 3]],
    ['until', { filter: { toNs: 1_000_000 } }, [0, 1]],
    ['limit', { limit: 3 }, [0, 1, 2]],
    ['none', { filter: { key: globPattern('nobody') } }, []],
  ];
  test.each(cases)('%s', async (_name, options, kept) => {
    const tape = await tapeOf([batchOf(rows, connections)]);
    const all = await exchangesOf(tape);
    const output = await merged([tape], options);
    expect(await exchangesOf(output)).toEqual(kept.map((n) => all[n]));
    // Connections are numbered from 0 again, in the order of their first row.
    const trace = await TraceReader.open(output);
    for await (const batch of trace.batches()) {
      const ids = new Set(batch.connection.subarray(0, batch.count));
      if (options.limit === undefined) expect([...ids]).toEqual([...ids.keys()].map((_, n) => n));
    }
    expect(trace.end?.casRequests).toBe(kept.includes(3) ? 1 : 0);
    await trace.close();
  });

  test('from a time on, the trace begins there', async () => {
    const tape = await tapeOf([batchOf(rows, connections)]);
    const output = await merged([tape], { filter: { fromNs: 2_000_000 } });
    const all = await exchangesOf(tape);
    expect(await exchangesOf(output)).toEqual(all.slice(2));
    const trace = await TraceReader.open(output);
    expect(BigInt(trace.meta.startNs)).toBe(BigInt(testMeta.startNs) + 2_000_000n);
    for await (const batch of trace.batches()) {
      expect(batch.requestNs[0]).toBe(0);
      expect(batch.connections.map(({ openNs }) => openNs)).toEqual([-1, -1]);
    }
    await trace.close();
  });

  test('a sample has the keys that a recording with this sample has', async () => {
    const recorded = temporary('sampled.tape');
    await recordCapture(capture, { output: recorded, ports: [memjsPort], source: 'memjs', sample: 8 });
    const chosen = await merged([await memjsTape()], { filter: { sample: 8 } });
    const anySegment = ~RowFlag.sharesSegment & 0xff;
    expect(await exchangesOf(chosen, anySegment)).toEqual(await exchangesOf(recorded, anySegment));
  });

  test('a request shares its segment only with what was kept of it', async () => {
    const shares = RowFlag.sharesSegment;
    const tape = await tapeOf([
      batchOf([
        { op: 'get', key: 'kept', at: 0 },
        { op: 'get', key: 'gone', at: 100 },
        { op: 'get', key: 'kept', at: 100, flags: shares },
        { op: 'get', key: 'gone', at: 100, flags: shares },
        { op: 'get', key: 'kept', at: 100, flags: shares },
      ]),
    ]);
    const trace = await TraceReader.open(await merged([tape], { filter: { key: globPattern('kept') } }));
    for await (const batch of trace.batches())
      expect([...batch.flags.subarray(0, batch.count)]).toEqual([0, 0, shares]);
    await trace.close();
  });

  test('blocks that go back in time, and values that fill a block', async () => {
    const tape = await tapeOf([
      batchOf(
        'ABCA'
          .split('')
          .map((letter) => ({ op: 'set', key: 'k', value: Buffer.alloc(5 << 20, letter), at: 100 })),
      ),
      batchOf([{ op: 'set', key: 'k', value: 'late', at: 50 }]),
      batchOf([{ op: 'set', key: 'k', value: 'last', at: 20 }]),
    ]);
    const output = await merged([tape], { filter: { key: globPattern('k') } });
    const trace = await TraceReader.open(output);
    const letters: string[] = [];
    for await (const batch of trace.batches())
      for (let row = 0; row < batch.count; row++) letters.push(batch.value(row).toString('latin1', 0, 4));
    expect(letters).toEqual(['AAAA', 'BBBB', 'CCCC', 'AAAA', 'late', 'last']);
    await trace.close();
  });

  test('a row of a connection that nobody told of is named, and no output stays', async () => {
    const tape = await tapeOf([batchOf([{ op: 'get', key: 'a', connection: 4 }], [])]);
    const output = temporary('none.tape');
    await expect(mergeTraces([tape], output)).rejects.toThrow(/its row 0 names connection 4, which/);
    expect(existsSync(output)).toBe(false);
  });
});
