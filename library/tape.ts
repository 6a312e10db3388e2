// A trace that is open for reading: what it says of itself, its exchanges one at a time, and its batches.

import { passes, type Filter } from '../convert/filter.ts';
import type { Batch } from '../trace/batch.ts';
import { TraceReader } from '../trace/file.ts';
import type { TraceMeta } from '../trace/meta.ts';
import { summarise, type Summary } from '../trace/summary.ts';
import { Connections, exchangeAt, type Exchange } from './exchange.ts';

export class Tape implements AsyncIterable<Exchange> {
  readonly #reader: TraceReader;

  constructor(reader: TraceReader) {
    this.#reader = reader;
  }

  get meta(): Readonly<TraceMeta> {
    return this.#reader.meta;
  }

  get exchangeCount(): number {
    return this.#reader.exchangeCount;
  }

  /** The file lacks its end; what is before the cut is read. */
  get isTruncated(): boolean {
    return this.#reader.truncated;
  }

  /**
   * The exchanges that pass the filter, in order. One block of the file is in memory, and the next is read ahead.
   * @throws TraceError CHECKSUM, BROKEN, READ while it is walked
   */
  async *exchanges(filter: Filter = {}): AsyncGenerator<Exchange, void, void> {
    const connections = new Connections();
    for await (const batch of this.batches()) {
      connections.meet(batch);
      for (let row = 0; row < batch.count; row++) {
        const connection = connections.of(batch, row);
        if (passes(filter, batch, row, connection)) yield exchangeAt(batch, row, connection);
      }
    }
  }

  /** As exchanges(), without a filter. @throws as exchanges() */
  [Symbol.asyncIterator](): AsyncGenerator<Exchange, void, void> {
    return this.exchanges();
  }

  /**
   * The same in columns, some thousand exchanges at a time: nothing is made for each exchange.
   * @throws TraceError CHECKSUM, BROKEN, READ while it is walked
   */
  batches(): AsyncGenerator<Batch, void, void> {
    return this.#reader.batches();
  }

  /** The figures of `memtape info`; reads the whole trace. @throws TraceError CHECKSUM, BROKEN, READ */
  async summary(): Promise<Summary> {
    return summarise(this.#reader);
  }

  /** Closes the file. */
  async close(): Promise<void> {
    await this.#reader.close();
  }
}

/**
 * Opens a trace; whoever opens it closes it.
 * @throws TraceError READ where there is no such file, NOT_A_TRACE, VERSION, BROKEN
 */
export async function openTrace(path: string): Promise<Tape> {
  return new Tape(await TraceReader.open(path));
}
