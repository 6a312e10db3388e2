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
   * push() that brought the frame's first byte; chunks are numbered from 1. `missing`: so many bytes of the frame's value,
   * all of it, are not known (see FrameDecoder.hole); `end` is then where its key ends.
   */
  frame(data: Buffer, at: number, end: number, stamp: number, chunk: number, missing: number): void;
}

export interface DecoderOptions {
  /** Which magic is expected: requests or responses. */
  magic: Magic;
  /** The largest body to accept, in bytes: a bound on memory against hostile headers. */
  maxBodyBytes?: number;
  /**
   * Requests with an opcode that has no row are taken as whole frames, as memcached 1.4 and 1.5 and other servers take
   * them; where no request follows there, as memcached 1.6 does, which counts extras and key twice.
   */
  looksBehindUnknown?: boolean;
}

/** memcached's largest configurable item is 1 GiB; its default is 1 MiB. Nothing sane goes past this. */
export const DEFAULT_MAX_BODY_BYTES = 64 * 1024 * 1024;

// How many bytes a request takes from the stream, as memcached 1.6 consumes it, not as its header says:
//   whole      24 + body
//   noValue    24 + extras + key; a value, if sent, is parsed as the next request (STAT, TOUCH, GAT*)
//   unknown    24 + extras + key + body: extras and key are counted twice (other servers than 1.6: 24 + body)
const consume = { whole: 0, noValue: 1, unknown: 2 };
const consumption = Uint8Array.from({ length: 256 }, (_, opcode) => {
  const info = opcodeInfo(opcode);
  if (info === undefined) return consume.unknown;
  return info.leavesValue ? consume.noValue : consume.whole;
});

/** A carry of up to this size is kept for the next frame that a chunk cuts. */
const MAX_KEPT_BYTES = 4096;
const empty = Buffer.alloc(0);

export class FrameDecoder {
  readonly #sink: FrameSink;
  readonly #magic: Magic;
  readonly #maxBodyBytes: number;
  readonly #looksBehindUnknown: boolean;
  #carry: Buffer = empty;
  #held = 0;
  #needed = HEADER_BYTES;
  #carryStamp = 0;
  #carryChunk = 0;
  #chunk = 0;
  #offset = 0;
  #stopped = false;
  /** Bytes of the value under way that are passed over: something of it is missing. */
  #hollow = 0;
  #hollowValue = 0;
  /** Bytes behind a request without a row that memcached 1.6 takes as well, and whether they are being passed over. */
  #slack = 0;
  #passesSlack = false;

  constructor(sink: FrameSink, options: DecoderOptions) {
    this.#sink = sink;
    this.#magic = options.magic;
    this.#maxBodyBytes = options.maxBodyBytes ?? DEFAULT_MAX_BODY_BYTES;
    this.#looksBehindUnknown = options.looksBehindUnknown === true;
  }

  /** Stream offset of the first byte that belongs to no whole frame yet. */
  get offset(): number {
    return this.#offset;
  }

  /** Bytes kept of a frame that is not whole yet. */
  get held(): number {
    return this.#held;
  }

  /** Stream offset of the next byte to come. */
  get next(): number {
    return this.#offset + (this.#hollowValue > 0 ? this.#needed - this.#hollow : this.#held);
  }

  /** Bytes of memory set aside for frames that chunks cut, whether or not there is one. */
  get reserved(): number {
    return this.#carry.length;
  }

  /** Gives that memory back where nothing is held. */
  release(): void {
    if (this.#held === 0) this.#carry = empty;
  }

  /** Forgets the frame under way; the next push begins at a frame's first byte. */
  reset(): void {
    this.#offset += this.#held;
    this.#held = 0;
    this.#hollow = 0;
    this.#hollowValue = 0;
    this.#slack = 0;
    this.#needed = HEADER_BYTES;
    this.#stopped = true;
    this.#carry = empty;
  }

  /**
   * So many bytes of the stream are missing here. Where they belong to the value of a frame whose header, extras and key
   * are there, framing goes on behind them, and the frame is handed on without its value. False: it cannot go on; a frame
   * whose value alone the hole has cut was handed on before, and the decoder is reset.
   */
  hole(bytes: number): boolean {
    this.#stopped = false;
    if (this.#hollowValue === 0 && !this.#hollowOut()) {
      this.reset();
      return false;
    }
    const isInside = bytes <= this.#hollow;
    this.#passOver(Math.min(bytes, this.#hollow));
    if (isInside) return true;
    this.reset();
    return false;
  }

  /** Forgets what is there of the value under way. False where its frame's head is not whole. */
  #hollowOut(): boolean {
    if (this.#held < HEADER_BYTES) return false;
    const head = HEADER_BYTES + extrasLengthAt(this.#carry, 0) + keyLengthAt(this.#carry, 0);
    // A request whose value the server parses as the next one, or has none, has none to hollow out.
    if (this.#held < head || this.#needed <= head) return false;
    this.#hollow = this.#needed - this.#held;
    this.#hollowValue = this.#needed - head;
    this.#held = head;
    return true;
  }

  /** Bytes of a value that is not kept, captured or not. */
  #passOver(bytes: number): void {
    this.#hollow -= bytes;
    if (this.#hollow > 0) return;
    const head = this.#held;
    const missing = this.#hollowValue;
    const carry = this.#carry;
    this.#held = 0;
    this.#hollowValue = 0;
    this.#needed = HEADER_BYTES;
    this.#offset += head + missing;
    if (this.#looksBehindUnknown) this.#noteSlack(carry, 0);
    this.#sink.frame(carry, 0, head, this.#carryStamp, this.#carryChunk, missing);
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
    if (this.#hollowValue > 0) {
      const take = Math.min(this.#hollow, end - at);
      this.#passOver(take);
      at += take;
      if (this.#stopped) return;
    } else if (this.#slack > 0 && at < end) {
      at = this.#behindUnknown(data, at, end);
    }
    while (this.#held > 0) {
      if (at === end) return;
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
      if (carry.length > MAX_KEPT_BYTES) this.#carry = empty;
      if (this.#looksBehindUnknown) this.#noteSlack(carry, 0);
      this.#sink.frame(carry, 0, length, this.#carryStamp, this.#carryChunk, 0);
      if (this.#stopped) return;
      break;
    }
    while (at < end) {
      if (this.#slack > 0) {
        at = this.#behindUnknown(data, at, end);
        continue;
      }
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
      if (this.#looksBehindUnknown) this.#noteSlack(data, at);
      this.#sink.frame(data, at, at + length, stamp, this.#chunk, 0);
      if (this.#stopped) return;
      at += length;
    }
  }

  #noteSlack(data: Buffer, at: number): void {
    if (consumption[opcodeAt(data, at)] === consume.unknown)
      this.#slack = extrasLengthAt(data, at) + keyLengthAt(data, at);
    this.#passesSlack = false;
  }

  /** Where the next request begins behind one without a row: here, or behind what memcached 1.6 takes besides. */
  #behindUnknown(data: Buffer, at: number, end: number): number {
    if (!this.#passesSlack && magicAt(data, at) === this.#magic) {
      this.#slack = 0;
      return at;
    }
    this.#passesSlack = true;
    const passed = Math.min(this.#slack, end - at);
    this.#slack -= passed;
    this.#offset += passed;
    return at + passed;
  }

  #keep(data: Buffer, at: number, end: number): void {
    const total = this.#held + end - at;
    if (this.#carry.length < total) {
      // Grows with the bytes that arrived, at most doubling: a header's claim alone allocates nothing.
      // Not from Node's pool: one held byte would keep 8 KiB of it alive.
      const grown = Buffer.allocUnsafeSlow(Math.min(Math.max(total * 2, 256), Math.max(this.#needed, total)));
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
    if (how === consume.whole || (how === consume.unknown && this.#looksBehindUnknown))
      return HEADER_BYTES + body;
    return HEADER_BYTES + head + (how === consume.unknown ? body : 0);
  }
}
