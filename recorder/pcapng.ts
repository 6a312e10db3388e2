// pcapng: blocks with their length at both ends, in sections that each have an endianness and interfaces of their own.
// Read here since pcap-parser does not know it. Facts are those of the IETF draft, draft-ietf-opsawg-pcapng.

import { RecorderError } from './error.ts';
import type { CaptureFormat, PacketHandler } from './format.ts';
import { isPcapStart } from './pcap.ts';
import { NO_LINK_TYPE, linkReader, type LinkReader } from './link.ts';

const BlockType = {
  section: 0x0a0d0d0a,
  interface: 1,
  /** Obsolete, still found in old files. */
  packet: 2,
  simplePacket: 3,
  statistics: 5,
  enhancedPacket: 6,
} as const;
const BYTE_ORDER = 0x1a2b3c4d;
const MIN_BLOCK_BYTES = 12;
/** A packet and its options, or an interface; whatever of them claims to be longer is no block. Other blocks may be. */
const MAX_BLOCK_BYTES = 1024 * 1024;
const mustBeShort = new Set<number>([
  BlockType.section,
  BlockType.interface,
  BlockType.packet,
  BlockType.simplePacket,
  BlockType.enhancedPacket,
]);
const NOTHING: Buffer = Buffer.alloc(0);
const SLAB_BYTES = 256 * 1024;
const MAX_INTERFACES = 65_536;
const Option = { end: 0, drops: 5, resolution: 9, offset: 14 } as const;

interface Interface {
  linkType: number;
  /** Looked up at the first packet: an interface that no packet names may be of any type. */
  link: LinkReader | undefined;
  snapBytes: number;
  /** Units of its timestamps in a second. */
  unitsPerSecond: bigint;
  /** Seconds to add. */
  offsetSeconds: number;
}

const STRANGE: Interface = {
  linkType: NO_LINK_TYPE,
  link: undefined,
  snapBytes: 0,
  unitsPerSecond: 1_000_000n,
  offsetSeconds: 0,
};

export class Pcapng implements CaptureFormat {
  offset: number;
  rest: Buffer | undefined;
  linkType = -1;
  /** Byte order of the section that is being cut, and of the one that is being read: cutting is ahead. */
  #cutsLittleEndian = true;
  #isLittleEndian = true;
  #interfaces: Interface[] = [];
  #carry = NOTHING;
  #sections = 0;
  /** Of a long block that is no packet: bytes still to pass over. */
  #passOver = 0;
  /** Simple packets have no time: they were captured when the packet before them was, or later. */
  #lastSeconds = 0;
  #lastNanos = 0;

  /** @param offset of its first byte, where other files came before it */
  constructor(offset = 0) {
    this.offset = offset;
  }

  *slabs(chunk: Buffer): Generator<Buffer> {
    // A block that a chunk cuts is joined with what follows; blocks are small beside chunks.
    const data = this.#carry.length === 0 ? chunk : Buffer.concat([this.#carry, chunk]);
    this.#carry = NOTHING;
    let start = this.#passed(data, 0);
    let at = start;
    while (data.length - at >= MIN_BLOCK_BYTES && !isPcapStart(data, at)) {
      const bytes = this.#blockBytes(data, at, at - start);
      const isLong = bytes > MAX_BLOCK_BYTES;
      if (!isLong && bytes > data.length - at) break;
      if (!isLong) at += bytes;
      if (at - start >= (isLong ? 1 : SLAB_BYTES)) {
        yield data.subarray(start, at);
        this.offset += at - start;
        start = at;
      }
      if (!isLong) continue;
      this.#passOver = bytes;
      start = this.#passed(data, at);
      at = start;
    }
    if (at > start) {
      yield data.subarray(start, at);
      this.offset += at - start;
    }
    if (data.length - at >= MIN_BLOCK_BYTES && isPcapStart(data, at)) this.rest = data.subarray(at);
    else this.#carry = Buffer.from(data.subarray(at));
  }

  /** Where reading goes on behind what is passed over of a long block. */
  #passed(data: Buffer, at: number): number {
    const bytes = Math.min(this.#passOver, data.length - at);
    this.#passOver -= bytes;
    this.offset += bytes;
    return at + bytes;
  }

  end(): number | null {
    if (this.#sections === 0)
      throw new RecorderError(
        'TRUNCATED',
        `expected a pcapng section header, got a file of ${this.#carry.length} bytes`,
      );
    return this.#carry.length > 0 || this.#passOver > 0 ? this.offset : null;
  }

  read(slab: Buffer, handler: PacketHandler): void {
    for (let at = 0; at < slab.length;) {
      if (slab.readUInt32LE(at) === BlockType.section)
        this.#isLittleEndian = slab.readUInt32LE(at + 8) === BYTE_ORDER;
      const bytes = this.#word(slab, at + 4);
      const body = slab.subarray(at + 8, at + bytes - 4);
      switch (this.#word(slab, at)) {
        case BlockType.section:
          this.#interfaces = [];
          break;
        case BlockType.interface:
          this.#addInterface(body, at);
          break;
        case BlockType.enhancedPacket:
          if (body.length < 20) throw this.#corrupt(at, 'a packet block with its header');
          this.#packet(body, this.#word(body, 0), 20, at, handler);
          break;
        case BlockType.packet:
          if (body.length < 20) throw this.#corrupt(at, 'a packet block with its header');
          this.#packet(body, this.#half(body, 0), 20, at, handler);
          break;
        case BlockType.simplePacket:
          this.#simplePacket(body, at, handler);
          break;
        case BlockType.statistics:
          this.#statistics(body, handler);
          break;
        default:
        // Names, comments, secrets and the blocks of others.
      }
      at += bytes;
    }
  }

  /** The block's whole length. `ahead`: how far it is from what was handed on last. */
  #blockBytes(data: Buffer, at: number, ahead: number): number {
    if (data.readUInt32LE(at) === BlockType.section) this.#order(data, at, ahead);
    else if (this.#sections === 0) throw this.#corrupt(ahead, 'a section header');
    const type = this.#cutsLittleEndian ? data.readUInt32LE(at) : data.readUInt32BE(at);
    const bytes = this.#cutsLittleEndian ? data.readUInt32LE(at + 4) : data.readUInt32BE(at + 4);
    if (bytes < MIN_BLOCK_BYTES || bytes % 4 !== 0 || (bytes > MAX_BLOCK_BYTES && mustBeShort.has(type)))
      throw new RecorderError(
        'CORRUPT',
        `expected a block of ${MIN_BLOCK_BYTES} to ${MAX_BLOCK_BYTES} bytes, a multiple of 4, got ${bytes} (block at byte ${this.offset + ahead})`,
      );
    return bytes;
  }

  /** The section header at `at` says in which order its bytes are. */
  #order(data: Buffer, at: number, ahead: number): void {
    this.#sections++;
    if (data.readUInt32LE(at + 8) === BYTE_ORDER) this.#cutsLittleEndian = true;
    else if (data.readUInt32BE(at + 8) === BYTE_ORDER) this.#cutsLittleEndian = false;
    else throw this.#corrupt(ahead, 'the byte-order magic 1a2b3c4d in a section header');
  }

  #addInterface(body: Buffer, at: number): void {
    if (body.length < 8) throw this.#corrupt(at, 'an interface block with its header');
    if (this.#interfaces.length === MAX_INTERFACES)
      throw this.#corrupt(at, `at most ${MAX_INTERFACES} interfaces in a section`);
    const linkType = this.#half(body, 0);
    const added: Interface = {
      linkType,
      link: undefined,
      snapBytes: this.#word(body, 4),
      unitsPerSecond: 1_000_000n,
      offsetSeconds: 0,
    };
    if (this.linkType < 0) this.linkType = linkType;
    this.#options(body, 8, (code, value) => {
      if (code === Option.resolution && value.length > 0) {
        const exponent = value[0]! & 0x7f;
        // No clock is finer than 10^-19 or 2^-63; a larger exponent is noise.
        if (exponent > 63 || (value[0]! < 0x80 && exponent > 19))
          throw this.#corrupt(at, 'a timestamp resolution that a clock can have');
        added.unitsPerSecond = (value[0]! & 0x80) === 0 ? 10n ** BigInt(exponent) : 1n << BigInt(exponent);
      } else if (code === Option.offset && value.length === 8) {
        const seconds = this.#isLittleEndian ? value.readBigInt64LE(0) : value.readBigInt64BE(0);
        added.offsetSeconds = Number(seconds);
      }
    });
    this.#interfaces.push(added);
  }

  /** Interface, time high, time low, captured and original length; the packet stands behind them. */
  #packet(body: Buffer, interfaceId: number, dataAt: number, at: number, handler: PacketHandler): void {
    // Its time and its layers are those of an interface that nobody described.
    const from = this.#interfaces[interfaceId] ?? STRANGE;
    const captured = this.#word(body, 12);
    if (captured > body.length - dataAt)
      throw this.#corrupt(at, `a packet of at most ${body.length - dataAt} bytes`);
    const high = this.#word(body, 4);
    const low = this.#word(body, 8);
    let seconds: number;
    let nanos: number;
    if (from.unitsPerSecond === 1_000_000n && high < 0x200000) {
      const units = high * 0x1_0000_0000 + low;
      seconds = Math.floor(units / 1e6);
      nanos = (units % 1e6) * 1000;
    } else {
      const units = (BigInt(high) << 32n) | BigInt(low);
      seconds = Number(units / from.unitsPerSecond);
      nanos = Number(((units % from.unitsPerSecond) * 1_000_000_000n) / from.unitsPerSecond);
    }
    from.link ??= linkReader(from.linkType);
    this.#lastSeconds = seconds + from.offsetSeconds;
    this.#lastNanos = nanos;
    handler.packet(
      from.link,
      this.#lastSeconds,
      nanos,
      body.subarray(dataAt, dataAt + captured),
      this.#word(body, 16),
      from === STRANGE ? 0 : interfaceId,
    );
  }

  /** No time and no interface: the first one, and the time of the packet before. */
  #simplePacket(body: Buffer, at: number, handler: PacketHandler): void {
    if (body.length < 4) throw this.#corrupt(at, 'a simple packet with its length');
    const from = this.#interfaces[0] ?? STRANGE;
    const original = this.#word(body, 0);
    const snapped = from.snapBytes === 0 ? original : Math.min(original, from.snapBytes);
    const captured = Math.min(snapped, body.length - 4);
    from.link ??= linkReader(from.linkType);
    const data = body.subarray(4, 4 + captured);
    handler.packet(from.link, this.#lastSeconds, this.#lastNanos, data, original, 0);
  }

  #statistics(body: Buffer, handler: PacketHandler): void {
    this.#options(body, 12, (code, value) => {
      if (code !== Option.drops || value.length !== 8) return;
      const drops = this.#isLittleEndian ? value.readBigUInt64LE(0) : value.readBigUInt64BE(0);
      handler.dropped?.(Number(drops));
    });
  }

  #options(body: Buffer, from: number, each: (code: number, value: Buffer) => void): void {
    for (let at = from; at + 4 <= body.length;) {
      const code = this.#half(body, at);
      const length = this.#half(body, at + 2);
      if (code === Option.end || at + 4 + length > body.length) return;
      each(code, body.subarray(at + 4, at + 4 + length));
      at += 4 + ((length + 3) & ~3);
    }
  }

  #word(data: Buffer, at: number): number {
    return this.#isLittleEndian ? data.readUInt32LE(at) : data.readUInt32BE(at);
  }

  #half(data: Buffer, at: number): number {
    return this.#isLittleEndian ? data.readUInt16LE(at) : data.readUInt16BE(at);
  }

  #corrupt(at: number, wanted: string): RecorderError {
    return new RecorderError('CORRUPT', `expected ${wanted} (block at byte ${this.offset + at})`);
  }
}
