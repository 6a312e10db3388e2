// Where exchanges are from: a trace file, or something that makes the same ones each time that it is read. Replays and
// verdicts read a trace several times and on several threads; a source is plain data that each of them can open.

import { createHash } from 'node:crypto';
import type { Batch } from './batch.ts';
import { TraceReader, hashFile } from './file.ts';
import type { TraceMeta } from './meta.ts';
import { version } from './version.ts';

/** A trace, as readers see it. */
export interface Trace {
  readonly meta: TraceMeta;
  /** Of one that is made: about as many. */
  readonly exchangeCount: number;
  /** In order, from the beginning; each batch is the caller's. @throws TraceError CHECKSUM, BROKEN */
  batches(range?: { toNs?: number }): AsyncIterable<Batch>;
  close(): Promise<void>;
}

/** What is made, and by whom: the module exports `open(recipe): Trace`. */
export interface Recipe {
  /** URL of the module. */
  module: string;
  /** For people. */
  name: string;
  /** Plain data. */
  recipe: unknown;
  /** How somebody can ask for the same again; results of a replay keep it. */
  asked: Readonly<Record<string, unknown>>;
}

/** The path of a trace file, or a recipe. */
export type Source = string | Recipe;

export function nameOf(source: Source): string {
  return typeof source === 'string' ? source : source.name;
}

/** @throws TraceError READ, NOT_A_TRACE, VERSION, BROKEN · what the recipe's module throws */
export async function openSource(source: Source): Promise<Trace> {
  if (typeof source === 'string') return TraceReader.open(source);
  const { open } = (await import(source.module)) as { open: (recipe: unknown) => Trace };
  return open(source.recipe);
}

/** SHA-256, in hexadecimal: of the file; of a recipe and the version of memtape that follows it. */
export async function hashSource(source: Source): Promise<string> {
  if (typeof source === 'string') return hashFile(source);
  return createHash('sha256')
    .update(`${version}\n${JSON.stringify(source.recipe)}`)
    .digest('hex');
}
