// Traces and results as files: what the stages write and read, on the block layer.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { Batch, type Lease } from './batch.ts';
import { BlockReader, BlockType, BlockWriter, FileKind, type Block } from './block.ts';
import { ColumnEncoder } from './column.ts';
import { TraceError } from './error.ts';
import { parseJson } from './json.ts';
import { checkTokens, clearUnknown, deriveValues, hasUnknown, settleUnknown } from './masked.ts';
import type { ResultsEnd, ResultsMeta, TraceEnd, TraceMeta } from './meta.ts';
import { ResultBatch } from './results.ts';
import { decodeBatch, decodeResults, encodeBatch, encodeResults, firstUnreadable } from './rows.ts';
import { wrongEnd, wrongMeta } from './sound.ts';

/** Two blocks that are larger are not in memory at once. */
const MAX_AHEAD_BYTES = 64 * 1024 * 1024;

const NO_BYTES = Buffer.alloc(0);

class TapeWriter<Rows, Meta, End> {
  readonly #blocks: BlockWriter;
  readonly #columns = new ColumnEncoder();
  readonly #encode: (to: ColumnEncoder, rows: Rows) => Buffer;
  /** Rows taken so far. */
  exchanges = 0;

  constructor(blocks: BlockWriter, meta: Meta, encode: (to: ColumnEncoder, rows: Rows) => Buffer) {
    this.#blocks = blocks;
    this.#encode = encode;
    this.#blocks.append(BlockType.meta, 0, 0, 0, 0, Buffer.from(JSON.stringify(meta)));
  }

  get bytesWritten(): number {
    return this.#blocks.bytesWritten;
  }

  protected put(rows: Rows, count: number, fromNs: number, toNs: number): void {
    const raw = this.#encode(this.#columns, rows);
    this.#blocks.append(BlockType.rows, count, this.exchanges, fromNs, toNs, raw);
    this.exchanges += count;
  }

  /** Resolves when few enough blocks wait for the disk. @throws TraceError WRITE */
  drained(): Promise<void> {
    return this.#blocks.drained();
  }

  /** Everything taken so far is in the file. @throws TraceError WRITE */
  flush(): Promise<void> {
    return this.#blocks.flush();
  }

  /** Writes the closing block and the index. @throws TraceError WRITE */
  async finish(end: End): Promise<void> {
    this.#blocks.append(BlockType.end, 0, this.exchanges, 0, 0, Buffer.from(JSON.stringify(end)));
    await this.#blocks.finish();
  }

  /** Closes the file without its end; it is readable up to here. */
  abort(): Promise<void> {
    return this.#blocks.abort();
  }
}

/** The file is closed where its opening block cannot be written. @throws TraceError WRITE */
async function begun<Writer>(blocks: BlockWriter, make: () => Writer): Promise<Writer> {
  try {
    return make();
  } catch (error) {
    await blocks.abort();
    throw error;
  }
}

export class TraceWriter extends TapeWriter<Batch, TraceMeta, TraceEnd> {
  /** @throws TraceError WRITE */
  static async create(path: string, meta: TraceMeta): Promise<TraceWriter> {
    const wrong = wrongMeta(FileKind.trace, meta);
    if (wrong !== undefined)
      throw new TraceError('WRITE', `cannot write the opening block of ${path}: ${wrong}`);
    const blocks = await BlockWriter.create(path, FileKind.trace);
    return begun(blocks, () => new TraceWriter(blocks, meta, encodeBatch));
  }

  /** Takes the batch's rows; the batch is the caller's again at once. @throws TraceError WRITE */
  append(batch: Batch): void {
    const wrong = firstUnreadable(batch);
    if (wrong !== undefined) throw new TraceError('WRITE', `cannot write ${wrong}: no reader would take it`);
    const from = batch.count > 0 ? batch.requestNs[0]! : 0;
    let to = from;
    for (let row = 0; row < batch.count; row++)
      to = Math.max(to, batch.requestEndNs[row]!, batch.answerNs[row]!);
    this.put(batch, batch.count, from, to);
  }
}

/** Results are put into blocks of so many rows, or bytes of answers that differ. */
const RESULT_ROWS = 16_384;
const RESULT_BYTES = 8 * 1024 * 1024;

export class ResultsWriter extends TapeWriter<ResultBatch, ResultsMeta, ResultsEnd> {
  /** Rows that wait for others to be put into one block with. */
  readonly #waiting = new ResultBatch(0, 0);

  /** @throws TraceError WRITE */
  static async create(path: string, meta: ResultsMeta): Promise<ResultsWriter> {
    const blocks = await BlockWriter.create(path, FileKind.results);
    return begun(blocks, () => new ResultsWriter(blocks, meta, encodeResults));
  }

  /** Takes the batch's rows; the batch is the caller's again at once. @throws TraceError WRITE */
  append(batch: ResultBatch): void {
    const waiting = this.#waiting;
    if (waiting.count + batch.count > RESULT_ROWS || waiting.heapLength >= RESULT_BYTES) this.#put();
    if (batch.count >= RESULT_ROWS) this.put(batch, batch.count, 0, 0);
    else waiting.append(batch);
  }

  #put(): void {
    const waiting = this.#waiting;
    if (waiting.count === 0) return;
    this.put(waiting, waiting.count, 0, 0);
    waiting.clear();
  }

  override async flush(): Promise<void> {
    this.#put();
    await super.flush();
  }

  override async finish(end: ResultsEnd): Promise<void> {
    this.#put();
    await super.finish(end);
  }

  override async abort(): Promise<void> {
    try {
      this.#put();
    } finally {
      await super.abort();
    }
  }
}

interface TapeParts {
  blocks: BlockReader;
  meta: unknown;
  end: unknown;
}

class TapeReader<Rows extends { heapLength: number }, Meta, End> {
  readonly meta: Meta;
  /** Undefined where the file was cut before it. */
  readonly end: End | null;
  /** The blocks that hold rows. */
  readonly blocks: readonly Block[];
  readonly exchangeCount: number;
  readonly #blocks: BlockReader;
  readonly #decode: (raw: Buffer, rows: number, firstIndex: number, where: string) => Rows;

  protected constructor(
    parts: TapeParts,
    decode: (raw: Buffer, rows: number, firstIndex: number, where: string) => Rows,
  ) {
    this.#blocks = parts.blocks;
    this.#decode = decode;
    this.meta = parts.meta as Meta;
    this.end = parts.end as End | null;
    this.blocks = parts.blocks.blocks.filter((block) => block.type === BlockType.rows);
    this.exchangeCount = this.blocks.reduce((sum, block) => sum + block.rows, 0);
  }

  /** The file lacks its end; what is before the cut is readable. */
  get truncated(): boolean {
    return this.#blocks.truncated;
  }

  get fileBytes(): number {
    return this.#blocks.fileBytes;
  }

  /** The rows in order, a block at a time, the next one read ahead. @throws TraceError CHECKSUM, BROKEN */
  async *batches(range: { fromNs?: number; toNs?: number } = {}): AsyncGenerator<Rows> {
    const { fromNs = -Infinity, toNs = Infinity } = range;
    const wanted = this.blocks.filter((block) => block.toNs >= fromNs && block.fromNs <= toNs);
    let ahead: Promise<Rows> | undefined;
    for (const [n, block] of wanted.entries()) {
      const rows = await (ahead ?? this.#load(block));
      const next = wanted[n + 1];
      const isSmall = Math.max(rows.heapLength, next?.rawLength ?? 0) <= MAX_AHEAD_BYTES;
      ahead = next !== undefined && isSmall ? this.#load(next) : undefined;
      // A failure ahead is reported when its turn comes, and not before.
      ahead?.catch(() => undefined);
      yield rows;
    }
  }

  close(): Promise<void> {
    return this.#blocks.close();
  }

  async #load(block: Block): Promise<Rows> {
    const raw = await this.#blocks.read(block);
    const where = `${this.#blocks.path}: the block at byte ${block.offset}`;
    return this.#decode(raw, block.rows, block.firstIndex, where);
  }
}

type DecodeRows = (raw: Buffer, rows: number, firstIndex: number, where: string, into: Batch) => Batch;

/** Rows as the file has them, and what is then made of their values. @throws TraceError BROKEN */
function decoding(then: (batch: Batch, where: string) => void): DecodeRows {
  return (raw, rows, firstIndex, where, into) => {
    const batch = decodeBatch(raw, rows, firstIndex, where, into);
    then(batch, where);
    return batch;
  };
}

/** Where a trace has its values, there is something to do only for those that the capture lacked. */
const derive = (batch: Batch, where: string): void => {
  if (hasUnknown(batch)) deriveValues(batch, where, false);
};

const decodeMasked = decoding((batch, where) => deriveValues(batch, where, true));
const decodeFull = decoding(derive);
/** Tokens as they stand. */
const decodeMaskedForCopies = decoding((batch, where) => checkTokens(batch, where, true));
const decodeFullForCopies = decoding((batch, where) => {
  if (hasUnknown(batch)) checkTokens(batch, where, false);
});
/** Tokens as they stand; values that are not known are tokens like others. */
const decodeTokens = decoding(settleUnknown);
/** Values have lengths, and no bytes. */
const decodeLengths = decoding((batch, where) => deriveValues(batch, where, true, false));
/** What is not known is as if its derived bytes had been recorded. */
const decodeSettled = decoding((batch, where) => {
  derive(batch, where);
  clearUnknown(batch);
});

/** Batches that nobody uses any more: as many as are read ahead, and a few. */
const MAX_SPARE = 8;

class Spares<Rows extends { heap: Buffer; lease: Lease | undefined }> {
  readonly #batches: Rows[] = [];
  readonly #make: () => Rows;

  constructor(make: () => Rows) {
    this.#make = make;
  }

  /** A batch without rows. Whoever releases it gives it back; all others keep it. */
  take(): Rows {
    const batch = this.#batches.pop() ?? this.#make();
    batch.lease = {
      users: 1,
      giveBack: () => {
        // What the batch pointed to is not kept for its sake.
        batch.heap = NO_BYTES;
        if (this.#batches.length < MAX_SPARE) this.#batches.push(batch);
      },
    };
    return batch;
  }
}

export class TraceReader extends TapeReader<Batch, TraceMeta, TraceEnd> {
  private constructor(parts: TapeParts, decode: DecodeRows) {
    const spares = new Spares(() => new Batch(0, 0));
    super(parts, (raw, rows, firstIndex, where) => decode(raw, rows, firstIndex, where, spares.take()));
  }

  /**
   * @param values where tokens stand for values: bytes derived from them, or lengths alone, or, for copies, the tokens, or,
   *   for those who change values, the tokens without marks of what is not known
   * @throws TraceError READ, NOT_A_TRACE, VERSION, BROKEN
   */
  static async open(
    path: string,
    { values = 'derived' }: { values?: 'derived' | 'lengths' | 'as they stand' | 'to change' } = {},
  ): Promise<TraceReader> {
    const parts = await openTape(path, FileKind.trace);
    const isFull = (parts.meta as TraceMeta).privacy.values === 'full';
    if (values === 'as they stand')
      return new TraceReader(parts, isFull ? decodeFullForCopies : decodeMaskedForCopies);
    if (values === 'to change') return new TraceReader(parts, isFull ? decodeSettled : decodeTokens);
    if (values === 'lengths' && !isFull) return new TraceReader(parts, decodeLengths);
    return new TraceReader(parts, isFull ? decodeFull : decodeMasked);
  }
}

export class ResultsReader extends TapeReader<ResultBatch, ResultsMeta, ResultsEnd> {
  private constructor(parts: TapeParts) {
    const spares = new Spares(() => new ResultBatch(0, 0));
    super(parts, (raw, rows, firstIndex, where) =>
      decodeResults(raw, rows, firstIndex, where, spares.take()),
    );
  }

  /** @throws TraceError READ, NOT_A_TRACE, VERSION, BROKEN */
  static async open(path: string): Promise<ResultsReader> {
    return new ResultsReader(await openTape(path, FileKind.results));
  }
}

async function openTape(path: string, kind: FileKind): Promise<TapeParts> {
  const blocks = await BlockReader.open(path, kind);
  try {
    const first = blocks.blocks[0];
    if (first?.type !== BlockType.meta)
      throw new TraceError(
        'BROKEN',
        `${path}: expected an opening block at byte 16; the file was cut or damaged there`,
      );
    const last = blocks.blocks.find((block) => block.type === BlockType.end);
    const meta = await readJson(blocks, first, (value) => wrongMeta(kind, value));
    const end = last === undefined ? null : await readJson(blocks, last, (value) => wrongEnd(kind, value));
    return { blocks, meta, end };
  } catch (error) {
    await blocks.close();
    throw error;
  }
}

/** @throws TraceError CHECKSUM, BROKEN */
async function readJson(
  blocks: BlockReader,
  block: Block,
  wrong: (value: unknown) => string | undefined,
): Promise<unknown> {
  const name = block.type === BlockType.meta ? 'opening' : 'closing';
  const where = `${blocks.path}: its ${name} block at byte ${block.offset}`;
  const raw = await blocks.read(block);
  let value: unknown;
  try {
    value = parseJson(raw);
  } catch (cause) {
    throw new TraceError('BROKEN', `${where} is broken: ${(cause as Error).message}`, { cause });
  }
  const what = wrong(value);
  if (what !== undefined) throw new TraceError('BROKEN', `${where} is broken: ${what}`);
  return value;
}

/** SHA-256 of a file, in hexadecimal. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
