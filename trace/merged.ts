// The results of the shards of a replay become one results file, as one replay of all would have written it: whose a row is
// follows from the trace, and each shard's file has the rows of its own in the same order. What is missing is said, and
// is no result; what does not belong together is refused.

import { togetherEnds } from './ends.ts';
import { TraceError } from './error.ts';
import { ResultsReader, ResultsWriter } from './file.ts';
import { emptyEnd, type MergedShard, type ResultsEnd, type ResultsMeta } from './meta.ts';
import { ResultBatch, SkipReason } from './results.ts';
import { Sharding, formatShard } from './shard.ts';
import { shown } from './sound.ts';
import type { Trace } from './source.ts';
import { TraceView } from './view.ts';

export interface MergeOptions {
  /** By number of a shard that has no file, or one without an end: what became of it, and when. */
  lost?: ReadonlyMap<number, string>;
  onProgress?: (exchanges: number) => void;
}

interface Part {
  path: string;
  reader: ResultsReader;
  shard: NonNullable<ResultsMeta['shard']>;
}

const MERGED_ROWS = 65_536;
const MERGED_BYTES = 8 * 1024 * 1024;

/**
 * @param sum SHA-256 of the trace, as results have it
 * @param paths results of the shards, in any order; at least one
 * @param to the file to write
 * @throws TraceError SHARDS where they are not shards of one replay of this trace · READ, BROKEN, CHECKSUM, WRITE of the files
 */
export async function mergeShards(
  trace: Trace,
  sum: string,
  paths: readonly string[],
  to: string,
  { lost = new Map(), onProgress }: MergeOptions = {},
): Promise<void> {
  const open: ResultsReader[] = [];
  try {
    for (const path of paths) open.push(await ResultsReader.open(path));
    const parts = partsOf(paths, open, sum);
    const { of } = parts[0]!.shard;
    const byNumber = new Map(parts.map((part) => [part.shard.index, part]));
    const columns = Array.from({ length: of }, (_, n) => new Column(byNumber.get(n + 1)));
    const writer = await ResultsWriter.create(to, metaOf(parts));
    try {
      await mergeInto(writer, trace, parts[0]!.reader.meta, columns, onProgress);
      await writer.finish(endOf(columns, parts[0]!.shard.run, lost));
    } catch (error) {
      await writer.abort();
      throw error;
    }
  } finally {
    for (const reader of open) await reader.close();
  }
}

/** The files as parts of one replay. @throws TraceError SHARDS */
function partsOf(paths: readonly string[], readers: readonly ResultsReader[], sum: string): Part[] {
  const parts = readers.map((reader, n): Part => {
    const path = paths[n]!;
    const { shard, trace } = reader.meta;
    if (shard === undefined)
      throw refused(
        `${path}: expected the results of a shard (memtape replay --shard), got those of a whole replay: memtape diff TRACE ${path} reports them`,
      );
    if (trace !== sum) throw refused(`${path} was made from another trace`);
    return { path, reader, shard };
  });
  const [first, ...others] = parts;
  const seen = new Map([[first!.shard.index, first!]]);
  for (const part of others) {
    const { path, shard } = part;
    if (shard.of !== first!.shard.of)
      throw refused(
        `${path} is shard ${formatShard(shard)}, and ${first!.path} is shard ${formatShard(first!.shard)}: expected shards of one division`,
      );
    if (shard.run !== first!.shard.run)
      throw refused(
        `${path} is of run ${shown(shard.run)}, and ${first!.path} of run ${shown(first!.shard.run)}: expected the shards of one run`,
      );
    const twin = seen.get(shard.index);
    if (twin !== undefined)
      throw refused(`${path} and ${twin.path} are both shard ${formatShard(shard)}: expected each once`);
    seen.set(shard.index, part);
    const other = difference(first!.reader.meta, part.reader.meta);
    if (other !== undefined)
      throw refused(
        `${path} and ${first!.path} are of replays that were asked for otherwise: ${other.name} is ${other.there} and ${other.here}`,
      );
  }
  refuseStrangers(parts);
  return parts;
}

/** Without a name, what says that they are one run is that they ran at the same time. @throws TraceError SHARDS */
function refuseStrangers(parts: readonly Part[]): void {
  if (parts[0]!.shard.run !== '') return;
  const first = parts.toSorted((a, b) => beginOf(a) - beginOf(b));
  const known = first.find(({ reader }) => reader.end !== null);
  const last = first.at(-1)!;
  if (known === undefined) return;
  const end = beginOf(known) + known.reader.end!.durationNs / 1e6;
  if (known !== last && beginOf(last) > end)
    throw refused(
      `${last.path} began after ${known.path} had ended: expected shards that ran at the same time, or --run NAME, the same for all, where they did not`,
    );
}

function beginOf({ reader }: Part): number {
  return Date.parse(reader.meta.startTime);
}

/** What of a replay must be alike in all its shards; undefined: all is. */
function difference(
  one: ResultsMeta,
  other: ResultsMeta,
): { name: string; here: string; there: string } | undefined {
  const own = new Set(['startTime', 'shard']);
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  for (const name of names) {
    if (own.has(name) || text(one, name) === text(other, name)) continue;
    return { name, here: text(one, name), there: text(other, name) };
  }
  return undefined;
}

function text(meta: ResultsMeta, name: string): string {
  return JSON.stringify((meta as unknown as Record<string, unknown>)[name]) ?? 'nothing';
}

function metaOf(parts: readonly Part[]): ResultsMeta {
  const { shard: _, ...meta } = parts.toSorted((a, b) => beginOf(a) - beginOf(b))[0]!.reader.meta;
  return meta;
}

/** Walks the trace, and takes each row from the shard that it belongs to. @throws TraceError of the files */
async function mergeInto(
  writer: ResultsWriter,
  trace: Trace,
  { fromNs, toNs, loops = 1 }: ResultsMeta,
  columns: readonly Column[],
  onProgress: MergeOptions['onProgress'],
): Promise<void> {
  const merged = new ResultBatch(MERGED_ROWS);
  const stretch = {
    ...(fromNs === undefined ? {} : { fromNs }),
    ...(toNs === undefined ? {} : { toNs }),
  };
  let index = 0;
  for (let loop = 0; loop < loops; loop++) {
    const sharding = new Sharding(columns.length);
    for await (const batch of new TraceView(trace, stretch).batches()) {
      const shards = sharding.shardsOf(batch);
      for (let row = 0; row < batch.count; row++, index++) {
        const column = columns[shards[row]!]!;
        if (column.isEmpty) await column.fill();
        column.take(merged, index);
        if (merged.count < MERGED_ROWS && merged.heapLength < MERGED_BYTES) continue;
        writer.append(merged);
        await writer.drained();
        merged.clear();
      }
      onProgress?.(index);
    }
  }
  if (merged.count > 0) writer.append(merged);
  for (const column of columns) await column.close();
}

/** The rows of one shard, one block after the other. */
class Column {
  readonly part: Part | undefined;
  /** Rows of the shard so far, and those of which there are results. */
  rows = 0;
  exchanges = 0;
  /** The last moment of which they tell, ns since the start. */
  lastNs = 0;
  /** Of the whole, by the index in the shard of what an orphan answers. */
  readonly indexes = new Map<number, number>();
  readonly #batches: AsyncIterator<ResultBatch> | undefined;
  #batch: ResultBatch | undefined;
  #isDone = false;

  constructor(part: Part | undefined) {
    this.part = part;
    this.#batches = part?.reader.batches()[Symbol.asyncIterator]();
    this.#isDone = part === undefined;
    for (const { index } of part?.reader.end?.orphans ?? [])
      if (index !== undefined) this.indexes.set(index, index);
  }

  /** It is not known what the next row is. */
  get isEmpty(): boolean {
    return (
      !this.#isDone && (this.#batch === undefined || this.rows >= this.#batch.firstIndex + this.#batch.count)
    );
  }

  async fill(): Promise<void> {
    while (this.isEmpty) {
      const next = await this.#batches!.next();
      if (next.done === true) this.#isDone = true;
      else this.#batch = next.value;
    }
  }

  /** The next row, of which there may be no result: the file is missing, was cut, or is damaged there. */
  take(to: ResultBatch, index: number): void {
    const row = this.rows++;
    if (this.indexes.has(row)) this.indexes.set(row, index);
    const batch = this.#batch;
    if (batch === undefined || this.#isDone || row < batch.firstIndex) {
      to.skip(SkipReason.aborted);
      return;
    }
    const at = row - batch.firstIndex;
    to.take(batch, at);
    this.exchanges++;
    this.lastNs = Math.max(this.lastNs, batch.sentNs[at]!, batch.answeredNs[at]!);
  }

  /** @throws TraceError SHARDS where there is more */
  async close(): Promise<void> {
    await this.fill();
    if (!this.#isDone)
      throw refused(`${this.part!.path} has results of more exchanges than its shard of the trace has`);
    await this.#batches?.return?.();
  }
}

function endOf(columns: readonly Column[], run: string, lost: ReadonlyMap<number, string>): ResultsEnd {
  const ends = columns.flatMap(({ part, indexes }) => {
    const end = part?.reader.end ?? null;
    if (end === null) return [];
    const orphans = end.orphans.map((orphan) =>
      orphan.index === undefined ? orphan : { ...orphan, index: indexes.get(orphan.index)! },
    );
    return [{ ...end, orphans }];
  });
  const starts = ends.flatMap(({ started }) => (started === undefined ? [] : [started.unixMs]));
  const firstMs = Math.min(...starts);
  const all = columns.map((column, n): MergedShard => {
    const end = column.part?.reader.end ?? null;
    const { started } = end ?? {};
    return {
      index: n + 1,
      exchanges: column.exchanges,
      startSeconds: started === undefined ? null : (started.unixMs - firstMs) / 1000,
      ...(started?.uncertaintyMs === undefined ? {} : { uncertaintySeconds: started.uncertaintyMs / 1000 }),
      durationSeconds: column.part === undefined ? null : (end?.durationNs ?? column.lastNs) / 1e9,
      lost: lossOf(column, lost.get(n + 1)),
    };
  });
  const [broken, ...more] = all.filter((shard) => shard.lost !== null);
  return {
    ...(ends.length === 0 ? emptyEnd() : togetherEnds(ends)),
    aborted:
      broken === undefined
        ? null
        : `shard ${formatShard({ index: broken.index, of: all.length })} ${broken.lost}${more.length === 0 ? '' : `, and ${more.length} more`}`,
    shards: { run, all },
  };
}

/** Why there are not all results of a shard; null: there are. */
function lossOf({ part, lastNs, exchanges, rows }: Column, known: string | undefined): string | null {
  if (part === undefined) return known ?? 'is missing';
  const { end } = part.reader;
  if (end === null)
    return (
      known ?? `ended before its time: the last that ${part.path} tells is of ${(lastNs / 1e9).toFixed(3)} s`
    );
  if (exchanges < rows)
    return `has no result of ${rows - exchanges} of its exchanges: ${part.path} is damaged`;
  return end.aborted === null ? null : `was ended at ${(end.durationNs / 1e9).toFixed(3)} s: ${end.aborted}`;
}

function refused(message: string): TraceError {
  return new TraceError('SHARDS', message);
}
