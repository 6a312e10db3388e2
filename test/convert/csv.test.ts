// Twitter's cache-trace, both ways; and lines that are none.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CsvParser, writeCsv } from '../../convert/csv.ts';
import { makeTape } from '../../convert/input.ts';
import { startServer } from '../../embedded/server.ts';
import { TraceReader } from '../../trace/file.ts';
import { replayedTape } from '../support/replay.ts';
import { runs } from '../support/scale.ts';
import { temporary } from '../support/tape.ts';
import { PATIENT_MS, batchOf, exchanges, exchangesOf, memjsTape, numbered, tapeOf } from './support.ts';

async function csvOf(tape: string): Promise<Buffer> {
  const path = temporary('out.csv');
  const trace = await TraceReader.open(tape);
  await writeCsv(trace, path);
  await trace.close();
  return readFileSync(path);
}

/** The trace of a CSV that comes in chunks of so many bytes. */
async function tapeOfCsv(csv: Buffer | string, chunkBytes = 65_536): Promise<string> {
  const data = Buffer.from(csv);
  const output = temporary('made.tape');
  const chunks = Array.from({ length: Math.ceil(data.length / chunkBytes) }, (_, n) =>
    data.subarray(n * chunkBytes, (n + 1) * chunkBytes),
  );
  await makeTape(
    {
      source: 'csv test',
      parser: (take) => new CsvParser('in.csv', take),
      async *open() {
        yield* chunks;
      },
    },
    output,
  );
  return output;
}

test('the trace of a CSV gives the same CSV, in whatever chunks it comes', async () => {
  const csv = await csvOf(await memjsTape());
  for (const bytes of [1000, 7919, 1 << 20])
    expect((await csvOf(await tapeOfCsv(csv, bytes))).equals(csv)).toBe(true);
});

test('any trace, any keys, any expiry: CSV, trace, CSV is the same', async () => {
  await fc.assert(
    fc.asyncProperty(exchanges, fc.integer({ min: 1, max: 50 }), async (list, bytes) => {
      const csv = await csvOf(await tapeOf([batchOf(numbered(list))]));
      expect((await csvOf(await tapeOfCsv(csv, bytes))).toString()).toBe(csv.toString());
    }),
    { numRuns: runs(15) },
  );
});

test('requests of a second are spread over it, clients are connections, sizes are values', async () => {
  const csv = ['5,a,1,3,c9,set,60', '5,x,y,3,3,c9,get,0', '5,a,1,0,c7,gets,0', '7,a,1,2,c7,cas,0'].join(
    '\r\n',
  );
  const path = await tapeOfCsv(csv);
  const trace = await TraceReader.open(path);
  expect(trace.meta).toMatchObject({ startNs: '5000000000', privacy: { values: 'hash', keys: 'clear' } });
  for await (const batch of trace.batches()) {
    expect([...batch.requestNs.subarray(0, 4)]).toEqual([0, 333_333_000, 666_666_000, 2e9]);
    expect([...batch.connection.subarray(0, 4)]).toEqual([0, 0, 1, 1]);
    expect([0, 1, 2, 3].map((row) => batch.key(row).toString())).toEqual(['a', 'x,y', 'a', 'a']);
    expect([...batch.outcome.subarray(0, 4)]).toEqual([0, 0, 3, 3]);
    expect([batch.value(0).length, batch.answerValue(1).length, batch.value(3).length]).toEqual([3, 3, 2]);
    expect(batch.cas(3)).not.toBe(0n);
  }
  await trace.close();
});

test('one key and size is one value, wherever it is', async () => {
  const told = await exchangesOf(await tapeOfCsv('1,k,1,40,a,set,0\n1,k,1,40,b,get,0\n2,k,1,41,b,get,0\n'));
  const values = told.map(({ text }) => text.match(/[0-9a-f]{80,82}/)?.[0]);
  expect(values[0]).toBe(values[1]);
  expect(values[2]).toHaveLength(82);
});

describe('a replay against a healthy server finds no violation', () => {
  test.each([
    ['what memjs did', async () => tapeOfCsv(await csvOf(await memjsTape()))],
    [
      'all operations on few keys',
      async () => {
        const operations = 'get gets set add replace cas append prepend delete incr decr'.split(' ');
        const lines = Array.from({ length: 2000 }, (_, n) => {
          const operation = operations[(n * 7 + (n >> 4)) % operations.length]!;
          const size = operation.startsWith('get') && n % 3 === 0 ? 0 : (n % 5) * 10;
          return `${Math.floor(n / 100)},key-${n % 13},6,${size},${n % 4},${operation},0`;
        });
        return tapeOfCsv(lines.join('\n'));
      },
    ],
  ])('%s', async (_name, make) => {
    const server = await startServer();
    try {
      const report = await replayedTape(await make(), {
        targets: [server.address],
        speed: 'max',
        timeoutMs: PATIENT_MS,
      });
      expect([report.violations, report.verdict]).toEqual([{}, 'pass']);
      expect(report.exchanges.matched).toBeGreaterThan(100);
    } finally {
      await server.stop();
    }
  });
});

describe('what is wrong is said with its line', () => {
  const good = '5,a,1,3,c9,set,60\n';
  test.each([
    ['too few fields', 'a,b,c', /line 2: expected timestamp,key,.*; got "a,b,c"/],
    ['no key', '5,,0,3,c,get,0', /line 2: expected a key of 1 to 250 bytes; got one of 0/],
    ['a long key', `5,${'k'.repeat(251)},251,3,c,get,0`, /a key of 1 to 250 bytes; got one of 251/],
    ['no number', 'x,a,1,3,c,get,0', /line 2: expected a timestamp in whole seconds; got "x"/],
    ['a fraction', '5.5,a,1,3,c,get,0', /a timestamp in whole seconds; got "5.5"/],
    ['time backwards', '4,a,1,3,c,get,0', /a timestamp that is not before 5, .*; got "4"/],
    ['a late time', '4294967296,a,1,3,c,get,0', /of at most 4294967295; got 4294967296/],
    ['a key size', '5,a,-1,3,c,get,0', /expected a key size; got "-1"/],
    ['a value size', '5,a,1,,c,get,0', /expected a value size; got ""/],
    ['a huge value', '5,a,1,99999999999,c,get,0', /a value size of at most 67108864; got 99999999999/],
    ['an operation', '5,a,1,3,c,GET,0', /expected an operation \(get, gets, .*\); got "GET"/],
    ['a TTL', '5,a,1,3,c,get,1e3', /expected a TTL in whole seconds; got "1e3"/],
    ['no client', '5,a,1,3,,get,0', /expected a client id; got none/],
    ['binary', '\0\xff\xfe', /line 2: expected timestamp,key/],
    ['an endless line', 'x'.repeat(100_000), /line 2: expected a line of at most 65536 bytes/],
  ])('%s', async (_name, line, message) => {
    await expect(tapeOfCsv(good + line)).rejects.toThrow(message);
    await expect(tapeOfCsv(good + line)).rejects.toThrow(/^in\.csv, line 2: /);
  });

  test('any bytes are requests or an error of ours', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.string({ unit: 'binary' }), fc.constant('5,a,1,3,c,get,0\n'))),
        (parts) => {
          const parser = new CsvParser('in.csv', () => undefined);
          try {
            for (const part of parts) parser.push(Buffer.from(part));
            parser.end();
          } catch (error) {
            expect(error).toMatchObject({ name: 'ConvertError', code: 'MALFORMED' });
          }
        },
      ),
    );
  });
});
