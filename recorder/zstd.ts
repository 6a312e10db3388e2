// zstd where Node has none of its own: fzstd decodes, a block at a time (RFC 8878), so that a few bytes that stand for
// gigabytes are unpacked no faster than they are read, and a frame gets no more memory than people's files need.

import { Decompress } from 'fzstd';
import { RecorderError } from './error.ts';

const MAGIC = 0xfd2fb528;
/** Frames that hold no data have one of sixteen magics. */
const SKIPPABLE_MAGIC = 0x184d2a5;
const BLOCK_HEADER_BYTES = 3;
const BlockType = { raw: 0, rle: 1, compressed: 2 } as const;
const MAX_BLOCK_BYTES = 128 * 1024;
/** What `zstd -d` takes unless it is told otherwise: a frame may refer back so far. */
export const MAX_WINDOW_LOG = 27;
const MAX_HEADER_BYTES = 18;

/** @throws RecorderError TRUNCATED, CORRUPT, UNSUPPORTED */
export async function* unpackZstd(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const input = new Input(chunks);
  try {
    while (await input.has(1)) {
      const magic = (await input.take(4)).readUInt32LE(0);
      if (magic >>> 4 === SKIPPABLE_MAGIC) await input.skip((await input.take(4)).readUInt32LE(0));
      else if (magic === MAGIC) yield* frame(input);
      else throw damaged(`expected a frame, got 0x${magic.toString(16).padStart(8, '0')}`);
    }
  } finally {
    await input.close();
  }
}

async function* frame(input: Input): AsyncGenerator<Buffer> {
  const header = await headerOf(input);
  const hasChecksum = (header[4]! & 4) !== 0;
  let out: Buffer[] = [];
  const decoder = new Decompress((data) => {
    if (data.length > 0) out.push(Buffer.from(data.buffer, data.byteOffset, data.length));
  });
  const decode = (data: Buffer): void => {
    try {
      decoder.push(data);
    } catch (cause) {
      throw damaged((cause as Error).message, cause);
    }
  };
  decode(header);
  for (let isLast = false; !isLast;) {
    const head = await input.take(BLOCK_HEADER_BYTES);
    const word = head.readUIntLE(0, BLOCK_HEADER_BYTES);
    isLast = (word & 1) === 1;
    const type = (word >>> 1) & 3;
    const size = word >>> 3;
    if (type > BlockType.compressed || size > MAX_BLOCK_BYTES)
      throw damaged(`a block of type ${type} and ${size} bytes`);
    decode(Buffer.concat([head, await input.take(type === BlockType.rle ? 1 : size)]));
    yield* out;
    out = [];
  }
  if (hasChecksum) await input.take(4);
}

/** Magic, descriptor, window, dictionary, content size: as the descriptor says. */
async function headerOf(input: Input): Promise<Buffer> {
  const descriptor = (await input.take(1))[0]!;
  const isSingle = (descriptor & 0x20) !== 0;
  const sizeCode = descriptor >>> 6;
  const sizeBytes = sizeCode === 0 ? (isSingle ? 1 : 0) : 1 << sizeCode;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!;
  const rest = await input.take((isSingle ? 0 : 1) + dictionaryBytes + sizeBytes);
  const window = isSingle ? contentBytes(rest.subarray(dictionaryBytes)) : windowBytes(rest[0]!);
  if (window > 2 ** MAX_WINDOW_LOG)
    throw new RecorderError(
      'UNSUPPORTED',
      `expected a zstd file whose frames refer back at most ${2 ** MAX_WINDOW_LOG} bytes, got one of ${window}; unpack it first: zstd -d --long=31`,
    );
  const header = Buffer.alloc(5);
  header.writeUInt32LE(MAGIC, 0);
  header[4] = descriptor;
  return Buffer.concat([header, rest], Math.min(5 + rest.length, MAX_HEADER_BYTES));
}

function windowBytes(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >>> 3));
  return base + (base / 8) * (descriptor & 7);
}

function contentBytes(field: Buffer): number {
  if (field.length === 8) return Number(field.readBigUInt64LE(0));
  // Two bytes count from 256, which one byte cannot reach.
  return field.readUIntLE(0, field.length) + (field.length === 2 ? 256 : 0);
}

function damaged(what: string, cause?: unknown): RecorderError {
  return new RecorderError('CORRUPT', `the zstd file is damaged: ${what}`, { cause });
}

/** Bytes asked for in stretches of any length, out of chunks of any length. */
class Input {
  readonly #chunks: AsyncIterator<Buffer>;
  #chunk: Buffer = Buffer.alloc(0);
  #at = 0;

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async has(bytes: number): Promise<boolean> {
    while (this.#chunk.length - this.#at < bytes) {
      const next = await this.#chunks.next();
      if (next.done === true) return false;
      const left = this.#chunk.subarray(this.#at);
      this.#chunk = left.length === 0 ? next.value : Buffer.concat([left, next.value]);
      this.#at = 0;
    }
    return true;
  }

  async take(bytes: number): Promise<Buffer> {
    if (!(await this.has(bytes))) throw new RecorderError('TRUNCATED', 'the zstd file ends in the middle');
    this.#at += bytes;
    return this.#chunk.subarray(this.#at - bytes, this.#at);
  }

  async skip(bytes: number): Promise<void> {
    for (let left = bytes; left > 0;) {
      await this.take(1);
      const step = Math.min(left - 1, this.#chunk.length - this.#at);
      this.#at += step;
      left -= 1 + step;
    }
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}
