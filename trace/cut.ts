// A shard of a trace as a trace of its own, so that a machine that replays it reads what it sends and no more.

import type { Connection } from './batch.ts';
import { TraceReader, TraceWriter } from './file.ts';
import { emptyCapture } from './meta.ts';
import { openSource, type Source } from './source.ts';
import { TraceView, type ViewOptions } from './view.ts';

/** Writes one turn of the view; times begin where it does. @throws TraceError of either file */
export async function cutTrace(source: Source, view: ViewOptions, path: string): Promise<void> {
  // Tokens that stand for values stay tokens: whoever reads the copy derives the same bytes.
  const trace =
    typeof source === 'string'
      ? await TraceReader.open(source, { values: 'as they stand' })
      : await openSource(source);
  try {
    const writer = await TraceWriter.create(path, trace.meta);
    try {
      let connections: Connection[] = [];
      for await (const batch of new TraceView(trace, { ...view, loops: 1 }).batches()) {
        connections = connections.concat(batch.connections);
        if (batch.count === 0) continue;
        batch.connections = connections;
        connections = [];
        writer.append(batch);
        await writer.drained();
      }
      await writer.finish({ capture: emptyCapture(), casRequests: 0 });
    } catch (error) {
      await writer.abort();
      throw error;
    }
  } finally {
    await trace.close();
  }
}
