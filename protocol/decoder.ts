// The incremental decoder: bytes of one direction of a connection in, in chunks of any size, whole frames out.
// It tells "need more" (push returns, the rest is kept) from "broken" (push throws, with the stream's offset).
// Frames that lie whole in a chunk are handed on in place; only a frame that a chunk cuts is copied.

import { ProtocolError } from './error.ts';
import {
  HEADER_BYTES,
  Magic,
  bodyLengthAt,
  extrasLengthAt,
  keyLengthAt,
  magicAt,
  opcodeAt,
} from './header.ts';
import { opcodeInfo } from './opcode.ts';

export interface FrameSink {
  /**
   * One whole frame: data[at, end). The bytes are valid during the call only. `stamp` and `chunk` are those of the
   * push() that brought the frame's first byte; chunks are numbered from 1.
   */
  frame(data: Buffer, at: number, end: number, stamp: number, chunk: number): void;
}

export interface DecoderOptions {
  /** Which magic is expected: requests or responses. */
  magic: Magic;
  /** The largest body to accept, in bytes: a bound on memory against hostile headers. */
  maxBodyBytes?: number;
}

/** memcached's largest configurable item is 1 GiB; its default is 1 MiB. Nothing sane goes past this. */
export const DEFAULT_MAX_BODY_BYTES = 64 * 1024 * 1024;

// How many bytes a request takes from the stream, as memcached 1.6 consumes it, not as its header says:
//   whole      24 + body
//   noValue    24 + extras + key; a value, if sent, is parsed as the next request (STAT, TOUCH, GAT*)
//   unknown    24 + extras + key + body: extras and key are counted twice
const consume = { whole: 0, noValue: 1, unknown: 2 };
const consumption = Uint8Array.from({ length: 256 }, (_, opcode) => {
  const family = opcodeInfo(opcode)?.family;
  if (family === undefined) return consume.unknown;
  return family === 'stat' || family === 'touch' || family === 'gat' ? consume.noValue : consume.whole;
});

export class FrameDecoder {
  readonly #sink: FrameSink;
  readonly #magic: Magic;
  readonly #maxBodyBytes: number;
  #carry = Buffer.alloc(0);
  #held = 0;
  #needed = HEADER_BYTES;
  #carryStamp = 0;
  #carryChunk = 0;
  #chunk = 0;
  #offset = 0;
  #stopped = false;

  constructor(sink: FrameSink, options: DecoderOptions) {
    this.#sink = sink;
    this.#magic = options.magic;
    this.#maxBodyBytes = options.maxBodyBytes ?? DEFAULT_MAX_BODY_BYTES;
  }

  /** Stream offset of the first byte that belongs to no whole frame yet. */
  get offset(): number {
    return this.#offset;
  }

  /** Bytes kept of a frame that is not whole yet. */
  get held(): number {
    return this.#held;
  }

  /** Forgets the frame under way; the next push begins at a frame's first byte. */
  reset(): void {
    this.#offset += this.#held;
    this.#held = 0;
    this.#needed = HEADER_BYTES;
    this.#stopped = true;
    this.#carry = Buffer.alloc(0);
  }

  /**
   * Takes data[start, end); calls the sink once for each frame that this completes.
   * @param stamp handed to the sink with each frame whose first byte is in this chunk (a time, usually)
   * @throws ProtocolError BAD_MAGIC, BAD_LENGTH, TOO_LARGE; the decoder then stands at the broken frame.
   */
  push(data: Buffer, start = 0, end = data.length, stamp = 0): void {
    this.#chunk++;
    this.#stopped = false;
    let at = start;
    while (this.#held > 0) {
      const take = Math.min(this.#needed - this.#held, end - at);
      this.#keep(data, at, at + take);
      at += take;
      if (this.#held < this.#needed) return;
      const length = this.#frameLength(this.#carry, 0);
      if (length > this.#needed) {
        this.#needed = length;
        continue;
      }
      this.#held = 0;
      this.#needed = HEADER_BYTES;
      this.#offset += length;
      const carry = this.#carry;
      // A large carry is not kept for the connection's life: thousands of connections would each hold one.
      if (carry.length > 65_536) this.#carry = Buffer.alloc(0);
      this.#sink.frame(carry, 0, length, this.#carryStamp, this.#carryChunk);
      if (this.#stopped) return;
      break;
    }
    while (at < end) {
      const available = end - at;
      let length = HEADER_BYTES;
      if (available >= HEADER_BYTES) length = this.#frameLength(data, at);
      else if (magicAt(data, at) !== this.#magic) this.#frameLength(data, at);
      if (available < length) {
        this.#needed = length;
        this.#carryStamp = stamp;
        this.#carryChunk = this.#chunk;
        this.#keep(data, at, end);
        return;
      }
      this.#offset += length;
      this.#sink.frame(data, at, at + length, stamp, this.#chunk);
      if (this.#stopped) return;
      at += length;
    }
  }

  #keep(data: Buffer, at: number, end: number): void {
    const total = this.#held + end - at;
    if (this.#carry.length < total) {
      // Grows with the bytes that arrived, at most doubling: a header's claim alone allocates nothing.
      const grown = Buffer.allocUnsafe(Math.min(Math.max(total * 2, 256), Math.max(this.#needed, total)));
      this.#carry.copy(grown, 0, 0, this.#held);
      this.#carry = grown;
    }
    data.copy(this.#carry, this.#held, at, end);
    this.#held = total;
  }

  #frameLength(data: Buffer, at: number): number {
    const magic = magicAt(data, at);
    if (magic !== this.#magic)
      throw new ProtocolError(
        'BAD_MAGIC',
        `expected magic 0x${this.#magic.toString(16)}, got 0x${magic.toString(16).padStart(2, '0')}`,
        this.#offset,
      );
    const head = extrasLengthAt(data, at) + keyLengthAt(data, at);
    const body = bodyLengthAt(data, at);
    if (head > body)
      throw new ProtocolError(
        'BAD_LENGTH',
        `extras and key need ${head} bytes of a body of ${body}`,
        this.#offset,
      );
    if (body > this.#maxBodyBytes)
      throw new ProtocolError(
        'TOO_LARGE',
        `expected a body of at most ${this.#maxBodyBytes} bytes, got ${body}`,
        this.#offset,
      );
    if (this.#magic === Magic.response) return HEADER_BYTES + body;
    const how = consumption[opcodeAt(data, at)]!;
    if (how === consume.whole) return HEADER_BYTES + body;
    return HEADER_BYTES + head + (how === consume.unknown ? body : 0);
  }
}
