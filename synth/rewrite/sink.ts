// Where rewritten rows become a trace: blocks of them, and the connections that they name.

import { Batch } from '../../trace/batch.ts';
import type { TraceWriter } from '../../trace/file.ts';
import { BLOCK_VALUE_BYTES, derivedBytes } from '../../trace/masked.ts';
import type { Line } from './line.ts';
import { putRow, type Row } from './row.ts';

/** As many rows and bytes as the recorder puts into one block. */
const BLOCK_ROWS = 65_536;
const BLOCK_BYTES = 8 * 1024 * 1024;

export class Sink {
  readonly #writer: TraceWriter;
  readonly #batch = new Batch(4096, 1 << 20);
  readonly #areMasked: boolean;
  /** What the tokens of the next block become. */
  #valueBytes = 0;
  readonly #new: Line[] = [];
  readonly #lines: Line[] = [];
  exchanges = 0;
  casRequests = 0;

  /** @param areMasked whether tokens stand for all values */
  constructor(writer: TraceWriter, areMasked: boolean) {
    this.#writer = writer;
    this.#areMasked = areMasked;
  }

  get connections(): number {
    return this.#lines.length;
  }

  take(row: Row): void {
    this.meet(row.line);
    if ((row.casHigh | row.casLow) !== 0) this.casRequests++;
    putRow(row, this.#batch, row.line.id);
    this.exchanges++;
    const { count, heapLength } = this.#batch;
    this.#valueBytes += derivedBytes(this.#batch, count - 1, this.#areMasked);
    if (count >= BLOCK_ROWS || heapLength >= BLOCK_BYTES || this.#valueBytes >= BLOCK_VALUE_BYTES)
      this.#flush([]);
  }

  /** Connections without a request are told of too. */
  meet(line: Line): void {
    if (line.id >= 0) return;
    line.id = this.#lines.length;
    this.#lines.push(line);
    this.#new.push(line);
  }

  /** The rest, and when each connection ended, which is known now. */
  end(): void {
    this.#flush(this.#lines);
  }

  #flush(ended: readonly Line[]): void {
    const batch = this.#batch;
    const told = new Map([...this.#new.splice(0), ...ended].map((line) => [line.id, line.told()]));
    if (batch.count === 0 && told.size === 0) return;
    batch.connections = [...told.values()].toSorted((a, b) => a.id - b.id);
    this.#writer.append(batch);
    batch.clear();
    this.#valueBytes = 0;
  }
}
