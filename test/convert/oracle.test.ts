// libCacheSim's oracleGeneral, both ways; the next requests, against the plain way to find them; and records that are none.

import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { makeTape } from '../../convert/input.ts';
import { NextAccess } from '../../convert/next.ts';
import { OracleParser, RECORD_BYTES, writeOracle } from '../../convert/oracle.ts';
import { startServer } from '../../embedded/server.ts';
import { TraceReader } from '../../trace/file.ts';
import { replayedTape } from '../support/replay.ts';
import { runs } from '../support/scale.ts';
import { temporary } from '../support/tape.ts';
import { PATIENT_MS, batchOf, exchanges, memjsTape, numbered, tapeOf } from './support.ts';

async function oracleOf(tape: string): Promise<Buffer> {
  const path = temporary('out.oracleGeneral');
  const trace = await TraceReader.open(tape);
  await writeOracle(trace, path);
  await trace.close();
  return readFileSync(path);
}

async function tapeOfOracle(data: Buffer, chunkBytes = 1000): Promise<string> {
  const output = temporary('made.tape');
  await makeTape(
    {
      source: 'oracleGeneral test',
      parser: (take) => new OracleParser('in.bin', take),
      async *open() {
        for (let at = 0; at < data.length; at += chunkBytes) yield data.subarray(at, at + chunkBytes);
      },
    },
    output,
  );
  return output;
}

type Record = [time: number, object: bigint, size: number, next: bigint];

function bytesOf(records: readonly Record[]): Buffer {
  const data = Buffer.alloc(records.length * RECORD_BYTES);
  for (const [n, [time, object, size, next]] of records.entries()) {
    data.writeUInt32LE(time, n * RECORD_BYTES);
    data.writeBigUInt64LE(object, n * RECORD_BYTES + 4);
    data.writeUInt32LE(size, n * RECORD_BYTES + 12);
    data.writeBigInt64LE(next, n * RECORD_BYTES + 16);
  }
  return data;
}

/** With the next requests as the plain way finds them. */
function linked(records: readonly [time: number, object: bigint, size: number][]): Record[] {
  return records.map(([time, object, size], n) => {
    const next = records.findIndex(([, other], m) => m > n && other === object);
    return [time, object, size, next < 0 ? -1n : BigInt(next + 1)];
  });
}

const requests = fc
  .array(
    fc.tuple(fc.nat(3), fc.constantFrom(0n, 1n, 2n, 7n, 0xffff_ffff_ffff_ffffn), fc.constantFrom(0, 1, 500)),
    { maxLength: 80 },
  )
  .map((list) => {
    let time = 100;
    return list.map(([step, object, size]) => [(time += step), object, size] as [number, bigint, number]);
  });

test('a file with the right next requests comes back as it was', async () => {
  await fc.assert(
    fc.asyncProperty(requests, fc.integer({ min: 1, max: 100 }), async (list, chunkBytes) => {
      const data = bytesOf(linked(list));
      expect((await oracleOf(await tapeOfOracle(data, chunkBytes))).equals(data)).toBe(true);
    }),
    { numRuns: runs(20) },
  );
});

test('a trace gives a file, whose trace gives the same file', async () => {
  const data = await oracleOf(await memjsTape());
  expect(data.length).toBe(4820 * RECORD_BYTES);
  expect((await oracleOf(await tapeOfOracle(data))).equals(data)).toBe(true);
  await fc.assert(
    fc.asyncProperty(exchanges, async (list) => {
      const bytes = await oracleOf(await tapeOf([batchOf(numbered(list))]));
      expect((await oracleOf(await tapeOfOracle(bytes))).equals(bytes)).toBe(true);
    }),
    { numRuns: runs(8) },
  );
});

test('next requests are the same however many files the objects are dealt to', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.bigInt({ min: 0n, max: 40n }), { maxLength: 300 }),
      fc.constantFrom(1, 10, 50),
      async (objects, fileRequests) => {
        const next = await NextAccess.create(dirname(temporary('x')), objects.length, fileRequests);
        for (const [n, object] of objects.entries()) next.add(object, n + 1);
        await next.resolve();
        const found: number[] = [];
        for (const object of objects) found.push(next.take(object) ?? (await next.load(object)));
        await next.close();
        const wanted = objects.map((object, n) => objects.indexOf(object, n + 1) + 1 || -1);
        expect(found).toEqual(wanted);
      },
    ),
    { numRuns: runs(15) },
  );
});

test('a replay against a healthy server finds no violation', async () => {
  const list = Array.from({ length: 3000 }, (_, n): [number, bigint, number] => {
    const object = BigInt((n * n) % 97);
    return [Math.floor(n / 500), object, Number(object) * 3 + 1];
  });
  const server = await startServer();
  try {
    const report = await replayedTape(await tapeOfOracle(bytesOf(linked(list))), {
      targets: [server.address],
      speed: 'max',
      timeoutMs: PATIENT_MS,
    });
    expect(report.exchanges).toMatchObject({ total: 3000, matched: 3000, violations: 0 });
  } finally {
    await server.stop();
  }
});

describe('what is wrong is said with its place', () => {
  const good: Record = [5, 1n, 10, -1n];
  test.each([
    [
      'a cut record',
      Buffer.concat([bytesOf([good]), Buffer.alloc(7)]),
      /^in\.bin, at byte 24: expected records of 24 bytes; got 7/,
    ],
    [
      'time backwards',
      bytesOf([good, [4, 1n, 10, -1n]]),
      /at byte 24: expected a time that is not before 5.*; got 4/,
    ],
    [
      'a huge object',
      bytesOf([good, [5, 1n, 0x7fff_ffff, -1n]]),
      /expected a size that memcached can hold.*; got 2147483647/,
    ],
    [
      'a next request before all',
      bytesOf([good, [5, 1n, 1, -2n]]),
      /expected the number of the next request, or -1; got -2/,
    ],
  ])('%s', async (_name, data, message) => {
    await expect(tapeOfOracle(data)).rejects.toThrow(message);
  });
});
