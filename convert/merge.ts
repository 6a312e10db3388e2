// `memtape filter`: one or several traces, merged by time, and what of them passes a filter, as one trace. Of each input
// one block is in memory, and of the output one; of connections, all.

import { rm } from 'node:fs/promises';
import { Batch, NEVER, RowFlag, type Connection } from '../trace/batch.ts';
import { TraceReader, TraceWriter } from '../trace/file.ts';
import { BLOCK_VALUE_BYTES, derivedBytes } from '../trace/masked.ts';
import { emptyCapture, type Capture, type TraceMeta } from '../trace/meta.ts';
import { version } from '../trace/version.ts';
import { RowCopier } from './copy.ts';
import { isOpen, passes, type Filter } from './filter.ts';
import { ConvertError } from './error.ts';
import { commonPrivacy } from './privacy.ts';
import { namesVersion } from '../trace/token.ts';

export interface MergeOptions {
  /** Times are those of the merged trace, whose start is that of the earliest. */
  filter?: Filter;
  /** Rows at most. Default: all. */
  limit?: number;
  /** Told now and then how many rows were read, and how many kept. */
  onProgress?: (read: number, kept: number) => void;
}

export interface Merged {
  exchanges: number;
  connections: number;
  fileBytes: number;
  /** Inputs whose end was missing; what they hold is in the output. */
  truncated: string[];
}

/** As many rows and bytes as the recorder puts into one block. */
const BLOCK_ROWS = 65_536;
const BLOCK_BYTES = 8 * 1024 * 1024;

/**
 * The rows keep their order; those of the same time come in the order of the inputs.
 * @throws TraceError · ConvertError DISAGREE, MALFORMED
 */
export async function mergeTraces(
  inputs: readonly string[],
  output: string,
  { filter = {}, limit = Infinity, onProgress }: MergeOptions = {},
): Promise<Merged> {
  const traces: TraceReader[] = [];
  try {
    for (const path of inputs) traces.push(await TraceReader.open(path, { values: 'as they stand' }));
    const privacy = commonPrivacy(traces.map(({ meta }, n) => ({ path: inputs[n]!, privacy: meta.privacy })));
    const startNs = traces
      .map(({ meta }) => BigInt(meta.startNs))
      .reduce((first, next) => (next < first ? next : first));
    const { fromNs = 0, ...rest } = filter;
    // A stretch begins at its own zero, so that its replay does not begin with a pause.
    const zeroNs = startNs + BigInt(Math.round(fromNs));
    const sources = traces.map(
      (trace, n) => new Source(inputs[n]!, trace, n, Number(BigInt(trace.meta.startNs) - zeroNs)),
    );
    const writer = await TraceWriter.create(output, {
      ...metaOf(traces.map(({ meta }) => meta)),
      startNs: zeroNs.toString(),
      privacy,
    });
    const toNs = rest.toNs === undefined ? Infinity : rest.toNs - fromNs;
    const merge = new Merge(writer, privacy.values !== 'full', {
      ...rest,
      fromNs: filter.fromNs === undefined ? -Infinity : 0,
      toNs,
    });
    try {
      await merge.run(sources, limit, onProgress);
      await writer.finish({ capture: captureOf(traces), casRequests: merge.casRequests });
    } catch (error) {
      await writer.abort();
      await rm(output, { force: true });
      throw error;
    }
    return {
      exchanges: merge.kept,
      connections: merge.connections,
      fileBytes: writer.bytesWritten,
      truncated: inputs.filter((_, n) => traces[n]!.truncated),
    };
  } finally {
    await Promise.all(traces.map(async (trace) => trace.close()));
  }
}

/** A connection of an input. */
interface Known {
  /** The latest that the input told of it, in the output's time. */
  told: Connection;
  /** Its number in the output; -1 until it has one. */
  id: number;
  /** A request of the segment that it is at was kept. */
  isInSegment: boolean;
}

/** One input, at its next row. Its times count from the output's zero. */
class Source {
  readonly path: string;
  readonly number: number;
  readonly offsetNs: number;
  readonly #batches: AsyncIterator<Batch>;
  readonly connections = new Map<number, Known>();
  batch: Batch | undefined;
  row = 0;

  constructor(path: string, trace: TraceReader, number: number, offsetNs: number) {
    this.path = path;
    this.number = number;
    this.offsetNs = offsetNs;
    this.#batches = trace.batches()[Symbol.asyncIterator]();
  }

  /** Reads the next block; false where there is none. */
  async next(): Promise<boolean> {
    const { value, done } = await this.#batches.next();
    this.batch = done === true ? undefined : value;
    this.row = 0;
    if (this.batch !== undefined && this.offsetNs !== 0) shift(this.batch, this.offsetNs);
    return this.batch !== undefined;
  }

  async stop(): Promise<void> {
    await this.#batches.return?.();
  }
}

class Merge {
  kept = 0;
  connections = 0;
  casRequests = 0;
  readonly #writer: TraceWriter;
  readonly #filter: Filter;
  /** Nothing is left out: connections without a row neither. */
  readonly #keepsAll: boolean;
  readonly #out = new RowCopier();
  /** To be told of in the next block, by their number in the output. */
  readonly #told = new Map<number, Connection>();
  readonly #areMasked: boolean;
  /** What the tokens of the next block become. */
  #valueBytes = 0;
  #lastNs = -Infinity;
  #read = 0;

  /** @param areMasked whether tokens stand for all values */
  constructor(writer: TraceWriter, areMasked: boolean, filter: Filter & { fromNs: number; toNs: number }) {
    this.#writer = writer;
    this.#areMasked = areMasked;
    this.#filter = filter;
    const { fromNs, toNs, ...rest } = filter;
    this.#keepsAll = fromNs === -Infinity && toNs === Infinity && isOpen(rest);
  }

  async run(
    sources: readonly Source[],
    limit: number,
    onProgress?: (read: number, kept: number) => void,
  ): Promise<void> {
    let live: Source[] = [];
    for (const source of sources) if (await this.#load(source)) live.push(source);
    while (live.length > 0 && this.kept < limit) {
      const source = earliest(live);
      const until = live.length === 1 ? Infinity : nextNs(live, source);
      const isOver = this.#take(source, until, limit);
      if (isOver) {
        onProgress?.(this.#read, this.kept);
        // A copy keeps the blocks, and what each of them tells of connections.
        if (sources.length === 1 && this.#keepsAll) this.#flush();
        // What nobody asked for any more may be damaged.
        if (this.kept < limit && !(await this.#load(source))) live = live.filter((other) => other !== source);
      }
      if (this.#isFull()) this.#flush();
      await this.#writer.drained();
    }
    this.#flush();
    await Promise.all(live.map(async (source) => source.stop()));
  }

  /** The source's next block with rows. */
  async #load(source: Source): Promise<boolean> {
    while (await source.next()) {
      for (const connection of source.batch!.connections.toSorted((a, b) => a.id - b.id))
        this.#meet(source, connection);
      if (source.batch!.count > 0) return true;
    }
    return false;
  }

  #meet(source: Source, connection: Connection): void {
    const told = {
      ...connection,
      openNs: connection.openNs === NEVER ? NEVER : shifted(connection.openNs, source.offsetNs),
      closeNs: connection.closeNs === NEVER ? NEVER : Math.max(0, connection.closeNs + source.offsetNs),
    };
    const known = source.connections.get(connection.id);
    if (known === undefined) source.connections.set(connection.id, { told, id: -1, isInSegment: false });
    else known.told = told;
    if (this.#keepsAll || (known !== undefined && known.id >= 0)) this.#tell(source, connection.id);
  }

  #tell(source: Source, id: number): number {
    const connection = source.connections.get(id)!;
    if (connection.id < 0) connection.id = this.connections++;
    this.#told.set(connection.id, { ...connection.told, id: connection.id });
    return connection.id;
  }

  /** Takes rows while they are not after `untilNs`. True where the block is used up. */
  #take(source: Source, untilNs: number, limit: number): boolean {
    const batch = source.batch!;
    const { requestNs, connection } = batch;
    for (; source.row < batch.count; source.row++) {
      const { row } = source;
      if (requestNs[row]! > untilNs || this.kept === limit || this.#isFull()) return false;
      this.#read++;
      const from = source.connections.get(connection[row]!);
      if (from === undefined)
        throw new ConvertError(
          'MALFORMED',
          `${source.path}: its row ${batch.firstIndex + row} names connection ${connection[row]}, which it does not tell of`,
        );
      if ((batch.flags[row]! & RowFlag.sharesSegment) === 0) from.isInSegment = false;
      if (!passes(this.#filter, batch, row, from.told)) continue;
      // The order of times holds within a block.
      if (requestNs[row]! < this.#lastNs) this.#flush();
      this.#lastNs = requestNs[row]!;
      const at = this.#out.copy(batch, row);
      this.#valueBytes += derivedBytes(batch, row, this.#areMasked);
      this.#out.batch.connection[at] = from.id < 0 ? this.#tell(source, connection[row]!) : from.id;
      // It shares its segment only with what was kept of it; a copy is as it was.
      if (!from.isInSegment && !this.#keepsAll) this.#out.batch.flags[at]! &= ~RowFlag.sharesSegment;
      from.isInSegment = true;
      if (namesVersion(batch, row)) this.casRequests++;
      this.kept++;
    }
    return true;
  }

  #isFull(): boolean {
    const { count, heapLength } = this.#out.batch;
    return count >= BLOCK_ROWS || heapLength >= BLOCK_BYTES || this.#valueBytes >= BLOCK_VALUE_BYTES;
  }

  #flush(): void {
    const { batch } = this.#out;
    if (batch.count === 0 && this.#told.size === 0) return;
    batch.connections = [...this.#told.values()].toSorted((a, b) => a.id - b.id);
    this.#told.clear();
    this.#writer.append(batch);
    this.#out.clear();
    this.#valueBytes = 0;
    this.#lastNs = -Infinity;
  }
}

function earliest(live: readonly Source[]): Source {
  let best = live[0]!;
  for (const source of live) if (timeOf(source) < timeOf(best)) best = source;
  return best;
}

/** How far `source` may be taken before another's turn. */
function nextNs(live: readonly Source[], source: Source): number {
  let ns = Infinity;
  for (const other of live) {
    if (other === source) continue;
    // Of equal times, the earlier input's comes first.
    const until = other.number < source.number ? timeOf(other) - 1 : timeOf(other);
    ns = Math.min(ns, until);
  }
  return ns;
}

function timeOf({ batch, row }: Source): number {
  return batch!.requestNs[row]!;
}

function shift(batch: Batch, byNs: number): void {
  const { count, requestNs, requestEndNs, answerNs } = batch;
  for (let row = 0; row < count; row++) {
    requestNs[row]! += byNs;
    requestEndNs[row]! += byNs;
    if (answerNs[row] !== NEVER) answerNs[row]! += byNs;
  }
}

/** What opened before the output's zero was open when it began. */
function shifted(ns: number, byNs: number): number {
  return ns + byNs < 0 ? NEVER : ns + byNs;
}

/** The meta of one trace is its own; that of several is what they have in common, with their sources one after the other. */
function metaOf(metas: readonly TraceMeta[]): TraceMeta {
  const [first] = metas as readonly [TraceMeta];
  if (metas.length === 1) return first;
  return {
    ...first,
    writer: `memtape ${version}`,
    source: metas.map(({ source }) => source).join(' + '),
    ports: [...new Set(metas.flatMap(({ ports }) => ports))],
  };
}

/** What the recorders counted, together; null where none of them knew. */
function captureOf(traces: readonly TraceReader[]): Capture {
  const sum = emptyCapture();
  for (const { end } of traces) {
    for (const name of Object.keys(sum) as (keyof Capture)[]) {
      const count = end?.capture[name] ?? null;
      if (count === null) continue;
      sum[name] = name === 'snapLength' ? Math.max(sum[name] ?? 0, count) : (sum[name] ?? 0) + count;
    }
  }
  return sum;
}
