// A trace and the results of its replay side by side: the same rows, whatever the blocks of the two files are.

import type { Batch, Connection } from '../trace/batch.ts';
import type { ResultBatch } from '../trace/results.ts';

/** Rows [row, row + rows) of the batch and [resultRow, …) of the results are the same exchanges. */
export interface Stretch {
  batch: Batch;
  row: number;
  /** Undefined where the replay ended before these rows. */
  results: ResultBatch | undefined;
  resultRow: number;
  rows: number;
}

/** Walks both in step; a stretch is good until the next is asked for. `connections` is kept up to date with what the trace tells. */
export async function* join(
  trace: AsyncIterable<Batch>,
  replay: AsyncIterable<ResultBatch>,
  connections: Connection[],
): AsyncGenerator<Stretch> {
  const answers = replay[Symbol.asyncIterator]();
  let results: ResultBatch | undefined;
  let ended = false;
  try {
    for await (const batch of trace) {
      for (const connection of batch.connections) connections[connection.id] = connection;
      for (let row = 0; row < batch.count;) {
        const index = batch.firstIndex + row;
        while (!ended && (results === undefined || results.firstIndex + results.count <= index)) {
          results?.release();
          const next = await answers.next();
          if (next.done === true) ended = true;
          else results = next.value;
        }
        if (ended || results === undefined) {
          yield { batch, row, results: undefined, resultRow: 0, rows: batch.count - row };
          break;
        }
        if (results.firstIndex > index) {
          // A damaged block of results: what it held is not known.
          const rows = Math.min(batch.count - row, results.firstIndex - index);
          yield { batch, row, results: undefined, resultRow: 0, rows };
          row += rows;
          continue;
        }
        const resultRow = index - results.firstIndex;
        const rows = Math.min(batch.count - row, results.count - resultRow);
        yield { batch, row, results, resultRow, rows };
        row += rows;
      }
      batch.release();
    }
  } finally {
    await answers.return?.(undefined);
  }
}
