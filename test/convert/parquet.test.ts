// The Parquet table, read back by DuckDB: every cell, and the sums that people ask for.

import { DuckDBInstance, type DuckDBValue } from '@duckdb/node-api';
import { expect, test } from 'vitest';
import { writeParquet } from '../../convert/parquet.ts';
import { storeExtras } from '../../protocol/frame.ts';
import { opcodeName } from '../../protocol/opcode.ts';
import { ConnectionEnd, NEVER, Outcome } from '../../trace/batch.ts';
import { TraceReader } from '../../trace/file.ts';
import { connectionOf, temporary } from '../support/tape.ts';
import { batchOf, memjsTape, tapeOf } from './support.ts';

async function parquetOf(tape: string): Promise<string> {
  const path = temporary('out.parquet');
  const trace = await TraceReader.open(tape);
  await writeParquet(trace, path);
  await trace.close();
  return path;
}

async function query(sql: string): Promise<DuckDBValue[][]> {
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  try {
    return (await connection.runAndReadAll(sql)).getRows();
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

test('counts and sums are those of the trace', async () => {
  const tape = await memjsTape();
  const wanted = new Map<string, { count: bigint; bytes: bigint; answers: bigint; hits: bigint }>();
  const trace = await TraceReader.open(tape);
  for await (const batch of trace.batches()) {
    for (let row = 0; row < batch.count; row++) {
      const name = opcodeName(batch.opcode[row]!);
      let sums = wanted.get(name);
      if (sums === undefined) wanted.set(name, (sums = { count: 0n, bytes: 0n, answers: 0n, hits: 0n }));
      const answered = batch.outcome[row] === Outcome.answered;
      sums.count++;
      sums.bytes += BigInt(batch.valueLength[row]!);
      sums.answers += answered ? BigInt(batch.answerValueLength[row]!) : 0n;
      if (name === 'get' && answered && batch.status[row] === 0) sums.hits++;
    }
  }
  await trace.close();
  const rows = await query(
    `select opcode, count(*), sum(valueBytes)::bigint, sum(answerBytes)::bigint, count(*) filter (hit)
     from '${await parquetOf(tape)}' group by opcode order by opcode`,
  );
  expect(rows).toEqual(
    [...wanted]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, { count, bytes, answers, hits }]) => [name, count, bytes, answers, hits]),
  );
});

test('every cell', async () => {
  const ann = { id: 1, client: '[::1]:5', server: 'b:1', tenant: 'ann', openNs: 0, closeNs: NEVER };
  const tape = await tapeOf([
    batchOf(
      [
        { op: 'set', key: 'ü', value: 'abc', extras: storeExtras(0xfffffffe, 60), at: 0, answeredAt: 50 },
        { op: 'get', key: 'a,"b"', answer: 'hello', at: 1_000_000, answeredAt: 1_000_250, connection: 1 },
        { op: 'getq', key: 'q', outcome: Outcome.silent, at: 1_500_000 },
        { op: 'get', key: 'lost', outcome: Outcome.gap, at: 2_000_000 },
      ],
      [connectionOf(0), { ...ann, end: ConnectionEnd.open }],
    ),
  ]);
  const path = await parquetOf(tape);
  const zero = '10.0.0.9:40000';
  expect(await query(`select * from '${path}' order by index`)).toEqual([
    [0n, 0, 0n, zero, '10.0.0.1:11211', '', 'set', 'ü', 2, 3n, 4294967294n, 60n, 'answered', 0, 0n, 50, null],
    [1n, 1, 1n, '[::1]:5', 'b:1', 'ann', 'get', 'a,"b"', 5, 0n, 0n, null, 'answered', 0, 5n, 250, true],
    [
      2n,
      1.5,
      0n,
      zero,
      '10.0.0.1:11211',
      '',
      'getq',
      'q',
      1,
      0n,
      null,
      null,
      'silent',
      null,
      null,
      null,
      false,
    ],
    [3n, 2, 0n, zero, '10.0.0.1:11211', '', 'get', 'lost', 4, 0n, null, null, 'gap', null, null, null, null],
  ]);
});

test('keys that are no UTF-8 are escaped', async () => {
  const batch = batchOf([{ op: 'get', key: 'abcd' }]);
  batch.heap.set([0xff, 0x5c, 0x00, 0x7a], batch.keyAt[0]);
  expect(await query(`select key from '${await parquetOf(await tapeOf([batch]))}'`)).toEqual([
    ['\\xff\\\\\\x00z'],
  ]);
});

test('several blocks are several row groups, and a trace without rows is a table without rows', async () => {
  const batches = [0, 1, 2].map((n) => batchOf([{ op: 'get', key: `k${n}`, at: n }]));
  const path = await parquetOf(await tapeOf(batches));
  expect(await query(`select num_rows, num_row_groups from parquet_file_metadata('${path}')`)).toEqual([
    [3n, 3n],
  ]);
  expect(await query(`select list(index order by index) from '${path}'`)).toMatchObject([
    [{ items: [0n, 1n, 2n] }],
  ]);
  expect(await query(`select count(*) from '${await parquetOf(await tapeOf([]))}'`)).toEqual([[0n]]);
});
