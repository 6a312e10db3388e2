// The block layer under traces and results: a file header, blocks that each carry their own checksums, and at the end an
// index with a trailer that points to it. What is written is never changed; a file that lacks its end is read by walking
// its blocks.

import { closeSync, openSync, readSync } from 'node:fs';
import { promisify } from 'node:util';
import { isMainThread } from 'node:worker_threads';
import { crc32, deflateRaw, deflateRawSync, inflateRaw, inflateRawSync } from 'node:zlib';
import { open, type FileHandle } from 'node:fs/promises';
import { MAX_BATCH_ROWS } from './batch.ts';
import { TraceError } from './error.ts';
import { MAX_JSON_BYTES } from './json.ts';
import { MAX_TRACE_NS } from './meta.ts';

type Transform = (data: Buffer, options: object) => Promise<Buffer>;
// On a thread of its own the work stays there, with that thread's priority.
const deflate: Transform = isMainThread
  ? (promisify(deflateRaw) as Transform)
  : async (data, options) => deflateRawSync(data, options);
const inflate: Transform = isMainThread
  ? (promisify(inflateRaw) as Transform)
  : async (data, options) => inflateRawSync(data, options);

export const FileKind = { trace: 1, results: 2 } as const;
export type FileKind = (typeof FileKind)[keyof typeof FileKind];
const kindNames = { [FileKind.trace]: 'trace', [FileKind.results]: 'results file' };

export const BlockType = { meta: 1, rows: 2, end: 3, index: 4 } as const;
export type BlockType = (typeof BlockType)[keyof typeof BlockType];

const Codec = { stored: 0, deflate: 1 } as const;

// The first byte is no text and no UTF-8; the last is a line end, which a transfer in text mode would change.
const FILE_MAGIC = Buffer.from('\x93MTAPE\r\n', 'latin1');
const TRAILER_MAGIC = Buffer.from('TAPEEND\n', 'latin1');
const VERSION = 1;
const FILE_HEADER_BYTES = 16;
const BLOCK_MAGIC = 0x4b4c4254; // TBLK
const BLOCK_HEADER_BYTES = 52;
const INDEX_ENTRY_BYTES = 40;
const TRAILER_BYTES = 16;
/**
 * Bytes of a block of rows, unpacked, and with the values that its tokens become. Writers begin another block beyond some
 * megabytes; a recorder may have 128 MiB of values under way, and a body has 64 MiB at most.
 */
export const MAX_BLOCK_BYTES = 256 * 1024 * 1024;
const MAX_INDEX_BYTES = 64 * 1024 * 1024;
/** Deflate cannot expand further than this. */
const MAX_EXPANSION = 1040;
/** Columns of a row take a byte each at least: those of results are fewer. */
const MIN_ROW_BYTES = 15;
/** What zlib takes for a piece at least. */
const MIN_CHUNK_BYTES = 64;
/** Blocks encoded and not yet in the file, beyond which a writer asks its caller to wait. */
const MAX_PENDING = 8;

export interface Block {
  type: BlockType;
  rows: number;
  firstIndex: number;
  fromNs: number;
  toNs: number;
  /** Where its header begins in the file, and how many bytes it takes with it. */
  offset: number;
  bytes: number;
  /** Its bytes once unpacked. */
  rawLength: number;
}

interface Header extends Block {
  codec: number;
  storedLength: number;
  checksum: number;
}

export class BlockWriter {
  readonly path: string;
  bytesWritten = 0;
  readonly #file: FileHandle;
  readonly #index: Block[] = [];
  #chain: Promise<void> = Promise.resolve();
  #pending = 0;
  #error: TraceError | undefined;

  private constructor(path: string, file: FileHandle) {
    this.path = path;
    this.#file = file;
  }

  /** The file is its owner's alone: it holds what production holds. @throws TraceError WRITE */
  static async create(path: string, kind: FileKind): Promise<BlockWriter> {
    let file: FileHandle;
    try {
      file = await open(path, 'w', 0o600);
    } catch (cause) {
      throw new TraceError('WRITE', `cannot write ${path}: ${(cause as Error).message}`, { cause });
    }
    const writer = new BlockWriter(path, file);
    const header = Buffer.alloc(FILE_HEADER_BYTES);
    FILE_MAGIC.copy(header);
    header[8] = kind;
    header[9] = VERSION;
    writer.#then(() => writer.#write(header));
    return writer;
  }

  /** Takes a block; compression and writing follow in order, in the background. @throws TraceError WRITE of an earlier one */
  append(type: BlockType, rows: number, firstIndex: number, fromNs: number, toNs: number, raw: Buffer): void {
    if (this.#error !== undefined) throw this.#error;
    const wrong = impossible({ type, rows, rawLength: raw.length });
    if (wrong !== undefined) throw new TraceError('WRITE', `cannot write a block with ${wrong}`);
    this.#pending++;
    const packed = deflate(raw, { level: 1 });
    this.#then(async () => {
      const deflated = await packed;
      const smaller = deflated.length < raw.length;
      const stored = smaller ? deflated : raw;
      const header = Buffer.alloc(BLOCK_HEADER_BYTES);
      header.writeUInt32LE(BLOCK_MAGIC, 0);
      header[4] = type;
      header[5] = smaller ? Codec.deflate : Codec.stored;
      header.writeUInt32LE(rows, 8);
      header.writeUInt32LE(raw.length, 12);
      header.writeUInt32LE(stored.length, 16);
      header.writeUInt32LE(crc32(stored) >>> 0, 20);
      header.writeDoubleLE(firstIndex, 24);
      header.writeDoubleLE(fromNs, 32);
      header.writeDoubleLE(toNs, 40);
      header.writeUInt32LE(crc32(header.subarray(0, 48)) >>> 0, 48);
      const offset = this.bytesWritten;
      await this.#write(Buffer.concat([header, stored]));
      const bytes = this.bytesWritten - offset;
      this.#index.push({ type, rows, firstIndex, fromNs, toNs, offset, bytes, rawLength: raw.length });
      this.#pending--;
    });
  }

  /** Resolves when few enough blocks wait. @throws TraceError WRITE */
  async drained(): Promise<void> {
    while (this.#pending > MAX_PENDING && this.#error === undefined) await this.#chain;
    if (this.#error !== undefined) throw this.#error;
  }

  /** Everything taken so far is in the file. @throws TraceError WRITE */
  async flush(): Promise<void> {
    await this.#chain;
    if (this.#error !== undefined) throw this.#error;
  }

  /** Writes the index and closes the file. @throws TraceError WRITE */
  async finish(): Promise<void> {
    try {
      await this.flush();
      const entries = Buffer.alloc(this.#index.length * INDEX_ENTRY_BYTES);
      for (const [n, block] of this.#index.entries()) {
        const at = n * INDEX_ENTRY_BYTES;
        entries.writeDoubleLE(block.offset, at);
        entries.writeUInt32LE(block.bytes, at + 8);
        entries.writeUInt32LE(block.rows, at + 12);
        entries.writeDoubleLE(block.firstIndex, at + 16);
        entries.writeDoubleLE(block.fromNs, at + 24);
        entries.writeDoubleLE(block.toNs, at + 32);
      }
      const offset = this.bytesWritten;
      this.append(BlockType.index, this.#index.length, 0, 0, 0, entries);
      await this.flush();
      const trailer = Buffer.alloc(TRAILER_BYTES);
      trailer.writeDoubleLE(offset, 0);
      TRAILER_MAGIC.copy(trailer, 8);
      this.#then(() => this.#write(trailer));
      await this.flush();
      await this.#file.sync().catch(ignoreUnsyncable);
    } finally {
      await this.#file.close();
    }
  }

  /** Closes the file as it is: it is readable up to its last block. */
  async abort(): Promise<void> {
    await this.#chain;
    await this.#file.close();
  }

  #then(step: () => Promise<void>): void {
    this.#chain = this.#chain.then(async () => {
      if (this.#error !== undefined) return;
      try {
        await step();
      } catch (cause) {
        this.#error = new TraceError('WRITE', `cannot write ${this.path}: ${(cause as Error).message}`, {
          cause,
        });
      }
    });
  }

  async #write(data: Buffer): Promise<void> {
    let at = 0;
    while (at < data.length) {
      const { bytesWritten } = await this.#file.write(data, at, data.length - at);
      at += bytesWritten;
    }
    this.bytesWritten += data.length;
  }
}

// Pipes and some devices cannot be synced.
function ignoreUnsyncable(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EINVAL' && error.code !== 'ENOTSUP') throw error;
}

export class BlockReader {
  readonly path: string;
  readonly blocks: Block[] = [];
  readonly fileBytes: number;
  /** The end of the file is missing. */
  truncated = false;
  #rows = 0;
  /** Where blocks stand whose checksum was right: a trace is read several times, and they are many bytes. */
  readonly #whole = new Set<number>();
  readonly #file: FileHandle;

  private constructor(path: string, file: FileHandle, fileBytes: number) {
    this.path = path;
    this.#file = file;
    this.fileBytes = fileBytes;
  }

  /** @throws TraceError READ, NOT_A_TRACE, VERSION */
  static async open(path: string, kind: FileKind): Promise<BlockReader> {
    let file: FileHandle;
    try {
      file = await open(path, 'r');
    } catch (cause) {
      throw new TraceError('READ', `cannot read ${path}: ${(cause as Error).message}`, { cause });
    }
    try {
      const stat = await file.stat();
      if (!stat.isFile()) throw new TraceError('READ', `cannot read ${path}: expected a regular file`);
      const reader = new BlockReader(path, file, stat.size);
      await reader.#checkHeader(kind);
      if (!(await reader.#readIndex())) await reader.#walk();
      return reader;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The block's bytes, checked and unpacked. @throws TraceError CHECKSUM, BROKEN */
  async read(block: Block): Promise<Buffer> {
    const where = this.#at(block.offset);
    const header = await this.#header(block.offset);
    if (header === undefined || header.bytes !== block.bytes || header.rows !== block.rows)
      throw new TraceError('CHECKSUM', `${where} is damaged: its header does not add up`);
    const stored = await this.#stored(header);
    if (stored === undefined) throw new TraceError('CHECKSUM', `${where} is damaged: its checksum differs`);
    if (header.codec === Codec.stored) return stored;
    try {
      // In one piece, with a byte to spare, so that there is no second: pieces are copied together.
      const raw = await inflate(stored, {
        chunkSize: Math.max(header.rawLength + 1, MIN_CHUNK_BYTES),
        maxOutputLength: Math.max(header.rawLength, 1),
      });
      if (raw.length === header.rawLength) return raw;
    } catch (cause) {
      throw new TraceError('BROKEN', `${where} cannot be unpacked`, { cause });
    }
    throw new TraceError('BROKEN', `${where}: expected ${header.rawLength} bytes once unpacked`);
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  #at(offset: number): string {
    return `${this.path}: the block at byte ${offset}`;
  }

  async #checkHeader(kind: FileKind): Promise<void> {
    const header = await this.#bytes(0, FILE_HEADER_BYTES);
    const got = header && kindOfHead(header);
    if (header === undefined || got === undefined) {
      const first = (await this.#bytes(0, Math.min(8, this.fileBytes)))?.toString('hex') ?? '';
      throw new TraceError(
        'NOT_A_TRACE',
        `${this.path}: expected a memtape ${kindNames[kind]}, got a file of ${this.fileBytes} bytes that begins with ${first || 'nothing'}`,
      );
    }
    if (header[9] !== VERSION)
      throw new TraceError(
        'VERSION',
        `${this.path}: expected format ${VERSION}, got ${header[9]}; a newer memtape wrote it`,
      );
    if (got !== kind)
      throw new TraceError(
        'NOT_A_TRACE',
        `${this.path}: expected a ${kindNames[kind]}, got a ${kindNames[got] ?? 'file of another kind'}`,
      );
  }

  /** False where there is none that adds up: the end of the file was cut, or damaged. @throws TraceError BROKEN */
  async #readIndex(): Promise<boolean> {
    const trailer = await this.#bytes(this.fileBytes - TRAILER_BYTES, TRAILER_BYTES);
    if (trailer === undefined || !trailer.subarray(8).equals(TRAILER_MAGIC)) return false;
    const index = await this.#header(trailer.readDoubleLE(0));
    if (index === undefined || index.type !== BlockType.index) return false;
    const entries = await this.read(index).catch(() => undefined);
    if (entries === undefined) return false;
    let offset = FILE_HEADER_BYTES;
    for (let at = 0; at < entries.length; at += INDEX_ENTRY_BYTES) {
      const entry = entryAt(entries, at);
      if (entry.rows > MAX_BATCH_ROWS) return false;
      // Blocks stand one behind the other: an index that says otherwise would have us read some of them many times.
      const header = await this.#header(offset);
      const { bytes } = header ?? entry;
      if (entry.offset !== offset || entry.bytes !== bytes || bytes < BLOCK_HEADER_BYTES) return false;
      // A damaged block keeps its place, and reading it says so.
      this.#take(header ?? entry);
      offset += bytes;
    }
    return offset === index.offset;
  }

  /** @throws TraceError BROKEN */
  async #walk(): Promise<void> {
    this.truncated = true;
    this.blocks.length = 0;
    this.#rows = 0;
    let offset = FILE_HEADER_BYTES;
    for (;;) {
      const header = await this.#header(offset);
      if (header === undefined || (await this.#stored(header)) === undefined) return;
      this.#take(header);
      offset += header.bytes;
    }
  }

  /** The next block of the file, which has to follow those before it. @throws TraceError BROKEN */
  #take(block: Block): void {
    const { type, rows, firstIndex, fromNs, toNs, offset } = block;
    // Whatever it lists was found where it stands.
    if (type === BlockType.index) return;
    const broken = (expected: string, got: string): TraceError =>
      new TraceError('BROKEN', `${this.#at(offset)} is broken: expected ${expected}, got ${got}`);
    if (this.blocks.length === 0 && type !== BlockType.meta)
      throw broken(
        'the opening block',
        type === BlockType.rows ? 'rows, or a damaged one' : `one of type ${type}`,
      );
    if (this.blocks.length > 0 && type !== BlockType.rows && type !== BlockType.end)
      throw broken('a block of rows', `one of type ${type}`);
    if (this.blocks.at(-1)?.type === BlockType.end) throw broken('none behind the closing block', `one more`);
    if (firstIndex !== this.#rows)
      throw broken(`its first row to be number ${this.#rows}`, String(firstIndex));
    if (!(fromNs >= 0 && fromNs <= toNs && toNs <= MAX_TRACE_NS))
      throw broken('a stretch of time', `from ${fromNs} to ${toNs} ns`);
    this.blocks.push(block);
    this.#rows += rows;
  }

  /** Undefined where there is no whole one. @throws TraceError BROKEN */
  async #header(offset: number): Promise<Header | undefined> {
    const data = await this.#bytes(offset, BLOCK_HEADER_BYTES);
    if (data === undefined || data.readUInt32LE(0) !== BLOCK_MAGIC) return undefined;
    if (crc32(data.subarray(0, 48)) >>> 0 !== data.readUInt32LE(48)) return undefined;
    const storedLength = data.readUInt32LE(16);
    const header: Header = {
      type: data[4] as BlockType,
      codec: data[5]!,
      rows: data.readUInt32LE(8),
      rawLength: data.readUInt32LE(12),
      storedLength,
      checksum: data.readUInt32LE(20),
      firstIndex: data.readDoubleLE(24),
      fromNs: data.readDoubleLE(32),
      toNs: data.readDoubleLE(40),
      offset,
      bytes: BLOCK_HEADER_BYTES + storedLength,
    };
    const wrong = impossible(header) ?? unpackable(header);
    if (wrong !== undefined)
      throw new TraceError('BROKEN', `${this.#at(offset)} is broken: it cannot have ${wrong}`);
    return header;
  }

  /** Its bytes as they stand in the file; undefined where they are not whole. */
  async #stored({ offset, storedLength, checksum }: Header): Promise<Buffer | undefined> {
    const stored = await this.#bytes(offset + BLOCK_HEADER_BYTES, storedLength);
    if (stored === undefined || this.#whole.has(offset)) return stored;
    if (crc32(stored) >>> 0 !== checksum) return undefined;
    this.#whole.add(offset);
    return stored;
  }

  async #bytes(offset: number, length: number): Promise<Buffer | undefined> {
    if (!(offset >= 0) || !Number.isInteger(offset) || offset + length > this.fileBytes) return undefined;
    const data = Buffer.allocUnsafe(length);
    const { bytesRead } = await this.#file.read(data, 0, length, offset);
    return bytesRead === length ? data : undefined;
  }
}

/** By the first bytes of a file; undefined where it is none of ours. */
export function kindOfHead(head: Buffer): FileKind | undefined {
  const at = FILE_MAGIC.length;
  return head.length > at && head.subarray(0, at).equals(FILE_MAGIC) ? (head[at] as FileKind) : undefined;
}

/** Undefined also where the file cannot be read. */
export function kindOfFile(path: string): FileKind | undefined {
  try {
    const file = openSync(path, 'r');
    try {
      const head = Buffer.alloc(FILE_HEADER_BYTES);
      return kindOfHead(head.subarray(0, readSync(file, head, 0, head.length, 0)));
    } finally {
      closeSync(file);
    }
  } catch {
    return undefined;
  }
}

/** What an index says of a block. */
function entryAt(entries: Buffer, at: number): Block {
  return {
    type: BlockType.rows,
    offset: entries.readDoubleLE(at),
    bytes: entries.readUInt32LE(at + 8),
    rows: entries.readUInt32LE(at + 12),
    firstIndex: entries.readDoubleLE(at + 16),
    fromNs: entries.readDoubleLE(at + 24),
    toNs: entries.readDoubleLE(at + 32),
    rawLength: 0,
  };
}

const maxBytes: Readonly<Record<BlockType, number>> = {
  [BlockType.meta]: MAX_JSON_BYTES,
  [BlockType.rows]: MAX_BLOCK_BYTES,
  [BlockType.end]: MAX_JSON_BYTES,
  [BlockType.index]: MAX_INDEX_BYTES,
};

/** What of a block no reader takes, in words: what it would cost, or what its bytes cannot hold. */
function impossible({
  type,
  rows,
  rawLength,
}: Pick<Header, 'type' | 'rows' | 'rawLength'>): string | undefined {
  const most = maxBytes[type];
  if (most === undefined) return `the type ${type}`;
  if (rawLength > most) return `${rawLength} bytes unpacked; at most ${most} are read`;
  if (type === BlockType.index)
    return rawLength === rows * INDEX_ENTRY_BYTES ? undefined : `${rows} entries in ${rawLength} bytes`;
  if (type !== BlockType.rows) return rows === 0 ? undefined : `${rows} rows and the type ${type}`;
  if (rows > MAX_BATCH_ROWS) return `${rows} rows; at most ${MAX_BATCH_ROWS} are read`;
  return rows * MIN_ROW_BYTES > rawLength ? `${rows} rows in ${rawLength} bytes unpacked` : undefined;
}

function unpackable({ codec, rawLength, storedLength }: Header): string | undefined {
  if (codec !== Codec.stored && codec !== Codec.deflate) return `the codec ${codec}`;
  const most = codec === Codec.stored ? storedLength : storedLength * MAX_EXPANSION + 64;
  return rawLength > most || (codec === Codec.stored && rawLength !== most)
    ? `${rawLength} bytes unpacked of ${storedLength}`
    : undefined;
}
