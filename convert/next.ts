// For every request, the number of the next one for the same object. That is known only from the end, and there may be
// more objects than memory: requests are dealt out to temporary files by their object, so that each file has few enough
// objects; each file is then walked backwards, and the number of the next request written where the object stood. Within
// a file the order of requests is that of the trace, so reading the files side by side gives the numbers in order.

import { join } from 'node:path';
import { Output } from './output.ts';

const NONE = -1;
/** An object (u64), and the number of its request (f64); once resolved, that of the next one (f64) in the object's place. */
const ENTRY_BYTES = 16;
const CHUNK_ENTRIES = 4096;
/** Requests for which one file does; its map of objects is what takes memory. */
const FILE_REQUESTS = 2_000_000;
const MAX_FILES = 256;
const BUFFER_BYTES = 64 * 1024;

interface Part {
  file: Output;
  entries: number;
  /** For reading it in order. */
  chunk: Buffer;
  from: number;
  at: number;
}

export class NextAccess {
  readonly #parts: readonly Part[];

  private constructor(parts: readonly Part[]) {
    this.#parts = parts;
  }

  /** @param folder where the files go; the caller removes it @param requests about how many there are */
  static async create(folder: string, requests: number, fileRequests = FILE_REQUESTS): Promise<NextAccess> {
    const files = Math.min(MAX_FILES, Math.max(1, Math.ceil(requests / fileRequests)));
    const parts: Part[] = [];
    const made = new NextAccess(parts);
    try {
      for (let n = 0; n < files; n++) {
        const file = await Output.create(join(folder, String(n)), BUFFER_BYTES);
        parts.push({ file, entries: 0, chunk: Buffer.alloc(0), from: 0, at: 0 });
      }
    } catch (error) {
      await made.close();
      throw error;
    }
    return made;
  }

  add(object: bigint, number: number): void {
    const part = this.#partOf(object);
    const { data, at } = part.file.room(ENTRY_BYTES);
    data.writeBigUInt64LE(object, at);
    data.writeDoubleLE(number, at + 8);
    part.entries++;
  }

  /** @throws ConvertError WRITE */
  async drained(): Promise<void> {
    for (const { file } of this.#parts) await file.drained();
  }

  /** All requests were added. @throws ConvertError WRITE */
  async resolve(): Promise<void> {
    const chunk = Buffer.allocUnsafe(CHUNK_ENTRIES * ENTRY_BYTES);
    for (const { file, entries } of this.#parts) {
      await file.flush();
      const next = new Map<bigint, number>();
      for (let end = entries; end > 0; end -= CHUNK_ENTRIES) {
        const from = Math.max(0, end - CHUNK_ENTRIES);
        const bytes = (end - from) * ENTRY_BYTES;
        await file.read(chunk, bytes, from * ENTRY_BYTES);
        for (let at = bytes - ENTRY_BYTES; at >= 0; at -= ENTRY_BYTES) {
          const object = chunk.readBigUInt64LE(at);
          chunk.writeDoubleLE(next.get(object) ?? NONE, at);
          next.set(object, chunk.readDoubleLE(at + 8));
        }
        await file.write(chunk, bytes, from * ENTRY_BYTES);
      }
    }
  }

  /** What comes after the next request for this object, asked in the order of requests; undefined: load() has it. */
  take(object: bigint): number | undefined {
    const part = this.#partOf(object);
    if (part.at === part.chunk.length) return undefined;
    const number = part.chunk.readDoubleLE(part.at);
    part.at += ENTRY_BYTES;
    return number;
  }

  /** As take(), from the file. */
  async load(object: bigint): Promise<number> {
    const part = this.#partOf(object);
    const entries = Math.min(CHUNK_ENTRIES, part.entries - part.from);
    part.chunk = Buffer.allocUnsafe(entries * ENTRY_BYTES);
    await part.file.read(part.chunk, part.chunk.length, part.from * ENTRY_BYTES);
    part.from += entries;
    part.at = 0;
    return this.take(object) ?? NONE;
  }

  async close(): Promise<void> {
    for (const { file } of this.#parts) await file.abort();
  }

  #partOf(object: bigint): Part {
    // Objects may be numbered in steps: the high bits of a product tell them apart.
    const mixed = BigInt.asUintN(64, object * 0x9e3779b97f4a7c15n) >> 40n;
    return this.#parts[Number(mixed) % this.#parts.length]!;
  }
}
