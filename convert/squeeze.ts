// Pauses of a trace shortened: stretches of its time in which nothing was under way. What was before, after, or at the
// same time as what stays so.

import { rm } from 'node:fs/promises';
import { NEVER, type Batch, type Connection } from '../trace/batch.ts';
import { TraceReader, TraceWriter } from '../trace/file.ts';
import { emptyCapture } from '../trace/meta.ts';

/** The pauses of a trace: where each begins to be left out and where it ends, and what is left out up to its end, ns. */
interface Cuts {
  from: number[];
  to: number[];
  sum: number[];
}

/**
 * Writes the trace with each pause at most so long, and none before its first request. Two passes over it.
 * @throws TraceError of either file; the output is then removed
 */
export async function squeezeTrace(input: string, output: string, maxPauseNs: number): Promise<void> {
  const trace = await TraceReader.open(input, { values: 'as they stand' });
  try {
    const cuts = await findCuts(trace, maxPauseNs);
    const writer = await TraceWriter.create(output, trace.meta);
    try {
      for await (const batch of trace.batches()) {
        squeeze(batch, cuts);
        writer.append(batch);
        await writer.drained();
      }
      await writer.finish(trace.end ?? { capture: emptyCapture(), casRequests: 0 });
    } catch (error) {
      await writer.abort();
      await rm(output, { force: true });
      throw error;
    }
  } finally {
    await trace.close();
  }
}

async function findCuts(trace: TraceReader, maxPauseNs: number): Promise<Cuts> {
  const cuts: Cuts = { from: [], to: [], sum: [] };
  let quietNs = -maxPauseNs;
  let sum = 0;
  for await (const { count, requestNs, requestEndNs, answerNs } of trace.batches())
    for (let row = 0; row < count; row++) {
      const from = quietNs + maxPauseNs;
      if (requestNs[row]! > from) {
        sum += requestNs[row]! - from;
        cuts.from.push(from);
        cuts.to.push(requestNs[row]!);
        cuts.sum.push(sum);
      }
      quietNs = Math.max(quietNs, requestEndNs[row]!, answerNs[row]!);
    }
  return cuts;
}

function squeeze({ count, requestNs, requestEndNs, answerNs, connections }: Batch, cuts: Cuts): void {
  for (let row = 0; row < count; row++) {
    requestNs[row] = squeezed(requestNs[row]!, cuts);
    requestEndNs[row] = squeezed(requestEndNs[row]!, cuts);
    if (answerNs[row] !== NEVER) answerNs[row] = squeezed(answerNs[row]!, cuts);
  }
  for (const connection of connections) squeezeConnection(connection, cuts);
}

function squeezeConnection(connection: Connection, cuts: Cuts): void {
  if (connection.openNs !== NEVER) connection.openNs = squeezed(connection.openNs, cuts);
  if (connection.closeNs !== NEVER) connection.closeNs = squeezed(connection.closeNs, cuts);
}

/** What lies in a pause comes to where it begins to be left out. */
function squeezed(ns: number, { from, to, sum }: Cuts): number {
  // The cuts that begin before it.
  let low = 0;
  let high = from.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (from[middle]! < ns) low = middle + 1;
    else high = middle;
  }
  if (low === 0) return ns;
  const last = low - 1;
  return ns >= to[last]! ? ns - sum[last]! : from[last]! - (sum[last - 1] ?? 0);
}
