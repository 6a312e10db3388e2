// The block layer under traces and results: a file header, blocks that each carry their own checksums, and at the end an
// index with a trailer that points to it. What is written is never changed; a file that lacks its end is read by walking
// its blocks.

import { promisify } from 'node:util';
import { isMainThread } from 'node:worker_threads';
import { crc32, deflateRaw, deflateRawSync, inflateRaw, inflateRawSync } from 'node:zlib';
import { open, type FileHandle } from 'node:fs/promises';
import { MAX_BATCH_ROWS } from './batch.ts';
import { TraceError } from './error.ts';

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
export const kindNames = { [FileKind.trace]: 'trace', [FileKind.results]: 'results file' };

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
const MAX_RAW_BYTES = 1024 * 1024 * 1024;
/** Deflate cannot expand further than this: a bound on what a small hostile block makes us allocate. */
const MAX_EXPANSION = 1040;
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
}

interface Header extends Block {
  codec: number;
  rawLength: number;
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
      this.#index.push({ type, rows, firstIndex, fromNs, toNs, offset, bytes: this.bytesWritten - offset });
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
    const where = `${this.path}: the block at byte ${block.offset}`;
    const header = await this.#header(block.offset);
    if (header === undefined || header.bytes !== block.bytes || header.rows !== block.rows)
      throw new TraceError('CHECKSUM', `${where} is damaged: its header does not add up`);
    const stored = await this.#bytes(block.offset + BLOCK_HEADER_BYTES, header.storedLength);
    if (stored === undefined || crc32(stored) >>> 0 !== header.checksum)
      throw new TraceError('CHECKSUM', `${where} is damaged: its checksum differs`);
    if (header.codec === Codec.stored) return stored;
    try {
      const raw = await inflate(stored, { maxOutputLength: Math.max(header.rawLength, 1) });
      if (raw.length === header.rawLength) return raw;
    } catch (cause) {
      throw new TraceError('BROKEN', `${where} cannot be unpacked`, { cause });
    }
    throw new TraceError('BROKEN', `${where}: expected ${header.rawLength} bytes once unpacked`);
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  async #checkHeader(kind: FileKind): Promise<void> {
    const header = await this.#bytes(0, FILE_HEADER_BYTES);
    if (header === undefined || !header.subarray(0, 8).equals(FILE_MAGIC)) {
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
    if (header[8] !== kind)
      throw new TraceError(
        'NOT_A_TRACE',
        `${this.path}: expected a ${kindNames[kind]}, got a ${kindNames[header[8] as FileKind] ?? 'file of another kind'}`,
      );
  }

  async #readIndex(): Promise<boolean> {
    const trailer = await this.#bytes(this.fileBytes - TRAILER_BYTES, TRAILER_BYTES);
    if (trailer === undefined || !trailer.subarray(8).equals(TRAILER_MAGIC)) return false;
    const index = await this.#header(trailer.readDoubleLE(0));
    if (index === undefined || index.type !== BlockType.index) return false;
    const entries = await this.read(index).catch(() => undefined);
    if (entries === undefined || entries.length !== index.rows * INDEX_ENTRY_BYTES) return false;
    for (let at = 0; at < entries.length; at += INDEX_ENTRY_BYTES) {
      const header = await this.#header(entries.readDoubleLE(at));
      if (header === undefined) {
        // A damaged block: it keeps its place, and reading it says so.
        const rows = entries.readUInt32LE(at + 12);
        if (rows > MAX_BATCH_ROWS) return false;
        this.blocks.push({
          type: BlockType.rows,
          rows,
          firstIndex: entries.readDoubleLE(at + 16),
          fromNs: entries.readDoubleLE(at + 24),
          toNs: entries.readDoubleLE(at + 32),
          offset: entries.readDoubleLE(at),
          bytes: entries.readUInt32LE(at + 8),
        });
      } else this.blocks.push(header);
    }
    return true;
  }

  async #walk(): Promise<void> {
    this.truncated = true;
    this.blocks.length = 0;
    let offset = FILE_HEADER_BYTES;
    for (;;) {
      const header = await this.#header(offset);
      if (header === undefined || offset + header.bytes > this.fileBytes) return;
      if ((await this.read(header).catch(() => undefined)) === undefined) return;
      if (header.type !== BlockType.index) this.blocks.push(header);
      offset += header.bytes;
    }
  }

  async #header(offset: number): Promise<Header | undefined> {
    const header = await this.#bytes(offset, BLOCK_HEADER_BYTES);
    if (header === undefined || header.readUInt32LE(0) !== BLOCK_MAGIC) return undefined;
    if (crc32(header.subarray(0, 48)) >>> 0 !== header.readUInt32LE(48)) return undefined;
    const rows = header.readUInt32LE(8);
    const rawLength = header.readUInt32LE(12);
    const storedLength = header.readUInt32LE(16);
    if (rows > MAX_BATCH_ROWS || rows > rawLength || rawLength > MAX_RAW_BYTES) return undefined;
    if (rawLength > storedLength * MAX_EXPANSION + 64) return undefined;
    return {
      type: header[4] as BlockType,
      codec: header[5]!,
      rows,
      rawLength,
      storedLength,
      checksum: header.readUInt32LE(20),
      firstIndex: header.readDoubleLE(24),
      fromNs: header.readDoubleLE(32),
      toNs: header.readDoubleLE(40),
      offset,
      bytes: BLOCK_HEADER_BYTES + storedLength,
    };
  }

  async #bytes(offset: number, length: number): Promise<Buffer | undefined> {
    if (!(offset >= 0) || !Number.isInteger(offset) || offset + length > this.fileBytes) return undefined;
    const data = Buffer.allocUnsafe(length);
    const { bytesRead } = await this.#file.read(data, 0, length, offset);
    return bytesRead === length ? data : undefined;
  }
}
