// One source of captured packets, a file or a pipe: bytes, unpacked where they are compressed, cut into slabs of whole
// records by the reader of their format, and what of them is a file of its own (`cat` puts several into one) by another.

import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { RecorderError } from './error.ts';
import type { CaptureFormat } from './format.ts';
import { unpack } from './packed.ts';
import { Pcap } from './pcap.ts';
import { Pcapng } from './pcapng.ts';

const MAGIC_BYTES = 4;

export interface Slab {
  format: CaptureFormat;
  /** Valid until the next one is asked for. */
  data: Buffer;
}

export class Reading {
  /** Of the one that is read, or was read last. */
  format: CaptureFormat = new Pcap();
  /** Bytes of the source so far, as they stand there. */
  bytes = 0;
  readonly #source: Readable | string;
  readonly #signal: AbortSignal | undefined;

  constructor(source: Readable | string, signal: AbortSignal | undefined) {
    this.#source = source;
    this.#signal = signal;
  }

  get isStopped(): boolean {
    return this.#signal?.aborted === true;
  }

  /** Whole records, a slab at a time. A stop of the signal's ends them. @throws RecorderError */
  async *slabs(): AsyncGenerator<Slab> {
    const stream =
      typeof this.#source === 'string'
        ? createReadStream(this.#source, { highWaterMark: 262_144 })
        : this.#source;
    const stop = (): void => void stream.destroy();
    if (this.isStopped) stop();
    this.#signal?.addEventListener('abort', stop);
    let isBegun = false;
    try {
      for await (const chunk of atLeast(MAGIC_BYTES, unpack(this.#chunks(stream)))) {
        let data: Buffer | undefined = chunk;
        while (data !== undefined) {
          if (!isBegun) this.format = formatOf(data, this.format.offset);
          isBegun = true;
          for (const slab of this.format.slabs(data)) {
            yield { format: this.format, data: slab };
            if (this.isStopped) return;
          }
          data = this.format.rest;
          isBegun = data === undefined;
        }
      }
    } finally {
      this.#signal?.removeEventListener('abort', stop);
    }
  }

  /** The source has ended: where the record stands that the end cut, if it cut one. @throws RecorderError */
  end(): number | null {
    return this.isStopped ? null : this.format.end();
  }

  /** The stream's chunks; a stop ends them, and trouble of the stream's own comes as a RecorderError. */
  async *#chunks(stream: Readable): AsyncGenerator<Buffer> {
    const iterator = stream[Symbol.asyncIterator]() as AsyncIterator<Uint8Array | string>;
    try {
      for (;;) {
        let next: IteratorResult<Uint8Array | string>;
        try {
          next = await iterator.next();
        } catch (cause) {
          if (this.isStopped) return;
          const why = cause instanceof Error ? cause.message : String(cause);
          throw new RecorderError('UNREADABLE', `the capture cannot be read: ${why}`, { cause });
        }
        if (next.done === true || this.isStopped) return;
        const chunk = next.value;
        this.bytes += chunk.length;
        yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk as Uint8Array);
      }
    } finally {
      stream.destroy();
    }
  }
}

/** The chunks, of which the first has so many bytes unless there are no more. */
async function* atLeast(bytes: number, chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let head: Buffer = Buffer.alloc(0);
  let isWhole = false;
  for await (const chunk of chunks) {
    if (isWhole) {
      yield chunk;
      continue;
    }
    head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
    isWhole = head.length >= bytes;
    if (isWhole) yield head;
  }
  if (!isWhole && head.length > 0) yield head;
}

/** pcapng begins with the type of its section header, which reads the same in both byte orders. */
function formatOf(chunk: Buffer, offset: number): CaptureFormat {
  return chunk.toString('hex', 0, 4) === '0a0d0d0a' ? new Pcapng(offset) : new Pcap(offset);
}
