// A trace made larger: copies of it with keys of their own, as of further tenants, and its time stretched.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NEVER, type Batch } from '../trace/batch.ts';
import { TraceReader, TraceWriter } from '../trace/file.ts';
import { emptyCapture } from '../trace/meta.ts';
import { renamedKey } from '../trace/rename.ts';
import { mergeTraces, type Merged } from './merge.ts';

export interface ScaleOptions {
  /** How often the traffic is there. Default 1. */
  copies?: number;
  /** Times as long. Default 1. */
  stretch?: number;
  onProgress?: (read: number) => void;
}

/** Copies begin so much after one another, so that their requests are not at the same moments. */
const APART_NS = 1_370_000;

/**
 * The first copy keeps its keys; the keys of the others begin with `2:`, `3:` and so on, and so do their tenants' names
 * end. What was masked stays masked.
 * @throws TraceError · ConvertError
 */
export async function scaleTrace(input: string, output: string, options: ScaleOptions): Promise<Merged> {
  const { copies = 1, stretch = 1, onProgress } = options;
  const folder = await mkdtemp(join(tmpdir(), 'memtape-scale-'));
  try {
    const parts: string[] = [];
    let read = 0;
    for (let copy = 0; copy < copies; copy++) {
      const part = join(folder, `${copy}.tape`);
      await copyTrace(input, part, copy, stretch, (rows) => onProgress?.((read += rows)));
      parts.push(part);
    }
    return await mergeTraces(parts, output, { onProgress: () => onProgress?.(read) });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function copyTrace(
  input: string,
  output: string,
  copy: number,
  stretch: number,
  onRows: (rows: number) => void,
): Promise<void> {
  const trace = await TraceReader.open(input, { values: 'as they stand' });
  try {
    const writer = await TraceWriter.create(output, trace.meta);
    try {
      for await (const batch of trace.batches()) {
        shift(batch, stretch, copy * APART_NS);
        if (copy > 0) rename(batch, String(copy + 1));
        writer.append(batch);
        await writer.drained();
        onRows(batch.count);
      }
      await writer.finish(trace.end ?? { capture: emptyCapture(), casRequests: 0 });
    } catch (error) {
      await writer.abort();
      throw error;
    }
  } finally {
    await trace.close();
  }
}

function shift(batch: Batch, stretch: number, byNs: number): void {
  const moved = (ns: number): number => (ns === NEVER ? NEVER : Math.round(ns * stretch) + byNs);
  for (let row = 0; row < batch.count; row++) {
    // What an answer took stays as it was.
    const took = batch.answerNs[row] === NEVER ? NEVER : batch.answerNs[row]! - batch.requestNs[row]!;
    const sending = batch.requestEndNs[row]! - batch.requestNs[row]!;
    const ns = moved(batch.requestNs[row]!);
    batch.requestNs[row] = ns;
    batch.requestEndNs[row] = ns + sending;
    if (took !== NEVER) batch.answerNs[row] = ns + took;
  }
  for (const connection of batch.connections) {
    connection.openNs = moved(connection.openNs);
    connection.closeNs = moved(connection.closeNs);
  }
}

function rename(batch: Batch, name: string): void {
  for (const connection of batch.connections)
    if (connection.tenant !== '') connection.tenant = `${connection.tenant}-${name}`;
  /** By where it stood: where its new name stands. A string stands in the heap once. */
  const places = new Map<number, { at: number; length: number }>();
  const renamed = (at: number, length: number): { at: number; length: number } => {
    let place = places.get(at);
    if (place === undefined) {
      const key = renamedKey(batch.heap.subarray(at, at + length), name);
      place = { at: batch.allocate(key.length), length: key.length };
      key.copy(batch.heap, place.at);
      places.set(at, place);
    }
    return place;
  };
  for (let row = 0; row < batch.count; row++) {
    if (batch.keyLength[row]! > 0) {
      const { at, length } = renamed(batch.keyAt[row]!, batch.keyLength[row]!);
      batch.keyAt[row] = at;
      batch.keyLength[row] = length;
    }
    if (batch.answerKeyLength[row]! > 0 && batch.frames[row] === 1) {
      const { at, length } = renamed(batch.answerKeyAt[row]!, batch.answerKeyLength[row]!);
      batch.answerKeyAt[row] = at;
      batch.answerKeyLength[row] = length;
    }
  }
}
