// A trace as a Parquet table, for DuckDB, pandas and the like: an exchange a row, in row groups of one block at most.

import { ByteWriter, ParquetWriter, type SchemaElement } from 'hyparquet-writer';
import { expiryOffset } from '../protocol/expiry.ts';
import { isRead, opcodeInfo, opcodeName } from '../protocol/opcode.ts';
import { uint32 } from '../protocol/header.ts';
import { flagsAt, isStore } from '../protocol/semantics.ts';
import { Status } from '../protocol/status.ts';
import { NEVER, Outcome, outcomeNames, type Batch, type Connection } from '../trace/batch.ts';
import type { TraceReader } from '../trace/file.ts';
import { Output } from './output.ts';
import { textOf } from './text.ts';

export interface ParquetWritten {
  rows: number;
  fileBytes: number;
}

/** Rows of a row group, which is in memory as a whole. */
const GROUP_ROWS = 65_536;

/** @throws TraceError · ConvertError WRITE */
export async function writeParquet(
  trace: TraceReader,
  path: string,
  onProgress?: (exchanges: number) => void,
): Promise<ParquetWritten> {
  const output = await Output.create(path);
  try {
    const bytes = new OutputWriter(output);
    const file = new ParquetWriter({
      writer: bytes,
      schema,
      createdBy: trace.meta.writer,
      kvMetadata: [
        { key: 'memtape.startNs', value: trace.meta.startNs },
        { key: 'memtape.source', value: trace.meta.source },
      ],
    });
    const connections = new Map<number, Connection>();
    for await (const batch of trace.batches()) {
      for (const connection of batch.connections) connections.set(connection.id, connection);
      for (let from = 0; from < batch.count; from += GROUP_ROWS) {
        const part = batch.slice(from, Math.min(batch.count, from + GROUP_ROWS));
        await file.write({ columnData: columnsOf(part, connections), rowGroupSize: GROUP_ROWS });
      }
      onProgress?.(batch.firstIndex + batch.count);
    }
    await file.finish();
    await bytes.flush();
    await output.finish();
    return { rows: trace.exchangeCount, fileBytes: output.bytes };
  } catch (error) {
    await output.abort();
    throw error;
  }
}

/** Hands each row group on to the file. */
class OutputWriter extends ByteWriter {
  readonly #output: Output;

  constructor(output: Output) {
    super();
    this.#output = output;
  }

  async flush(): Promise<void> {
    this.#output.put(this.getBytes());
    this.index = 0;
    await this.#output.drained();
  }
}

type Cell = number | bigint | string | boolean | null;

interface Column {
  element: SchemaElement;
  cell: (batch: Batch, row: number, connection: Connection | undefined) => Cell;
}

const text = { type: 'BYTE_ARRAY', converted_type: 'UTF8' } as const;
const int32 = { type: 'INT32' } as const;
const int64 = { type: 'INT64' } as const;
const double = { type: 'DOUBLE' } as const;
const boolean = { type: 'BOOLEAN' } as const;

type Type = Pick<SchemaElement, 'type' | 'converted_type'>;

/** A column; `optional`: some of its cells are empty. */
function column(name: string, type: Type, cell: Column['cell'], optional = false): Column {
  return { element: { name, ...type, repetition_type: optional ? 'OPTIONAL' : 'REQUIRED' }, cell };
}

const columns: readonly Column[] = [
  column('index', int64, (batch, row) => BigInt(batch.firstIndex + row)),
  column('seconds', double, (batch, row) => batch.requestNs[row]! / 1e9),
  column('connection', int64, (batch, row) => BigInt(batch.connection[row]!)),
  column('client', text, (_batch, _row, connection) => connection?.client ?? ''),
  column('server', text, (_batch, _row, connection) => connection?.server ?? ''),
  column('tenant', text, (_batch, _row, connection) => connection?.tenant ?? ''),
  column('opcode', text, (batch, row) => opcodeName(batch.opcode[row]!)),
  column('key', text, (batch, row) => textOf(batch.key(row))),
  column('keyBytes', int32, (batch, row) => batch.keyLength[row]!),
  column('valueBytes', int64, (batch, row) => BigInt(batch.valueLength[row]!)),
  column('flags', int64, flagsOf, true),
  column('ttl', int64, expiryOf, true),
  column('outcome', text, (batch, row) => outcomeNames[batch.outcome[row] as Outcome]),
  column('status', int32, (batch, row) => (isAnswered(batch, row) ? batch.status[row]! : null), true),
  column(
    'answerBytes',
    int64,
    (batch, row) => (isAnswered(batch, row) ? BigInt(batch.answerValueLength[row]!) : null),
    true,
  ),
  column('latencyMicros', double, latencyOf, true),
  column('hit', boolean, hitOf, true),
];

const schema: SchemaElement[] = [
  { name: 'exchanges', num_children: columns.length },
  ...columns.map(({ element }) => element),
];

function columnsOf(
  batch: Batch,
  connections: ReadonlyMap<number, Connection>,
): { name: string; data: Cell[] }[] {
  const rows = Array.from({ length: batch.count }, (_, row) => connections.get(batch.connection[row]!));
  return columns.map(({ element, cell }) => ({
    name: element.name,
    data: rows.map((connection, row) => cell(batch, row, connection)),
  }));
}

function isAnswered(batch: Batch, row: number): boolean {
  return batch.outcome[row] === Outcome.answered;
}

/** The client's flags of the item: those that are stored, or those of a hit. */
function flagsOf(batch: Batch, row: number): Cell {
  const family = opcodeInfo(batch.opcode[row]!)?.family;
  if (isStore(family) && batch.extrasLength[row] === 8)
    return BigInt(flagsAt(batch.heap, batch.extrasAt[row]!));
  if (hitOf(batch, row) === true && batch.answerExtrasLength[row]! >= 4)
    return BigInt(uint32(batch.heap, batch.answerExtrasAt[row]!));
  return null;
}

/** The expiry as it was sent. */
function expiryOf(batch: Batch, row: number): Cell {
  const at = expiryOffset[batch.opcode[row]!]!;
  if (at < 0 || batch.extrasLength[row]! < at + 4) return null;
  return BigInt(uint32(batch.heap, batch.extrasAt[row]! + at));
}

function latencyOf(batch: Batch, row: number): Cell {
  if (!isAnswered(batch, row) || batch.answerNs[row] === NEVER) return null;
  return (batch.answerNs[row]! - batch.requestEndNs[row]!) / 1000;
}

/** Whether a read hit; null where its answer, or silence, is not known. */
function hitOf(batch: Batch, row: number): Cell {
  if (isRead[batch.opcode[row]!] === 0) return null;
  if (batch.outcome[row] === Outcome.silent) return false;
  if (!isAnswered(batch, row)) return null;
  if (batch.status[row] === Status.ok) return true;
  return batch.status[row] === Status.notFound ? false : null;
}
