// Classic pcap. Where its records begin and end is found out here, before the parser, which would wait for gigabytes when
// a length says so: slabs of whole records go through, anything that cannot be a record is an error with its offset, and
// what a cut leaves is known. Records with microseconds are pcap-parser's; it does not know those with nanoseconds.

import { EventEmitter } from 'node:events';
import { parse } from 'pcap-parser';
import { RecorderError } from './error.ts';
import type { CaptureFormat, PacketHandler } from './format.ts';
import { linkReader, type LinkReader } from './link.ts';

const HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;
/** libpcap's own limit on the snap length. */
const MAX_RECORD_BYTES = 262_144;
const MAX_UNIT_BYTES = RECORD_HEADER_BYTES + MAX_RECORD_BYTES;
/** So much goes to the parser at once: back-pressure acts between slabs. */
const SLAB_BYTES = 256 * 1024;

/** What a file begins with when it is something that people record packets in, in hexadecimal. */
const known: [start: string, what: string][] = [
  ['a1b2cd34', "a pcap of Kuznetzov's format"],
  ['34cdb2a1', "a pcap of Kuznetzov's format"],
];

/** What pcap-parser takes for a stream; 'data' is emitted, and handled, within read(). */
class Feed extends EventEmitter {
  pause(): void {
    // Whoever emits decides when.
  }

  resume(): void {
    // As above.
  }
}

export class Pcap implements CaptureFormat {
  /** Offset in the file of the first byte not handed on yet. */
  offset: number;
  /** Of the header, once it was read; -1 before. */
  linkType = -1;
  rest: Buffer | undefined;
  readonly #feed = new Feed();
  #handler: PacketHandler | undefined;
  #link: LinkReader | undefined;
  #isLittleEndian = true;
  #isNano = false;
  #inHeader = true;
  #firstSlab = true;
  #carry = Buffer.alloc(0);
  #held = 0;

  /**
   * The whole records that are now complete, the file's header before the first. A slab is valid until the next one
   * is asked for.
   * @throws RecorderError NOT_A_CAPTURE, UNSUPPORTED, CORRUPT
   */
  *slabs(chunk: Buffer): Generator<Buffer> {
    let at = 0;
    while (this.#held > 0) {
      if (this.#isNextFile(this.#carry, 0, this.#held)) {
        this.rest = Buffer.concat([this.#carry.subarray(0, this.#held), chunk.subarray(at)]);
        this.#held = 0;
        return;
      }
      const needed = this.#unitBytes(this.#carry, 0, this.#held);
      if (needed > MAX_UNIT_BYTES) this.#refuse(needed);
      if (this.#held >= needed) {
        this.#held = 0;
        yield this.#handOn(this.#carry, 0, needed);
        break;
      }
      const take = Math.min(needed - this.#held, chunk.length - at);
      if (take === 0) return;
      this.#keep(chunk, at, at + take);
      at += take;
    }
    let start = at;
    let bytes = 0;
    while (at < chunk.length) {
      if (this.#isNextFile(chunk, at, chunk.length - at)) {
        this.rest = chunk.subarray(at);
        break;
      }
      bytes = this.#unitBytes(chunk, at, chunk.length - at);
      if (bytes > chunk.length - at || bytes > MAX_UNIT_BYTES) break;
      at += bytes;
      if (at - start < SLAB_BYTES) continue;
      yield this.#handOn(chunk, start, at);
      start = at;
    }
    if (at > start) yield this.#handOn(chunk, start, at);
    if (at === chunk.length || this.rest !== undefined) return;
    if (bytes > MAX_UNIT_BYTES) this.#refuse(bytes);
    this.#keep(chunk, at, chunk.length);
  }

  /**
   * The file has ended: where the record stands that the end cut, if it cut one.
   * @throws RecorderError NOT_A_CAPTURE, TRUNCATED where there is not even a whole header.
   */
  end(): number | null {
    if (!this.#inHeader) return this.#held > 0 ? this.offset : null;
    if (this.#held === 0) throw new RecorderError('NOT_A_CAPTURE', 'expected a pcap file, got an empty one');
    this.#checkMagic(this.#carry.subarray(0, this.#held));
    throw new RecorderError(
      'TRUNCATED',
      `expected a pcap header of ${HEADER_BYTES} bytes, got a file of ${this.#held}`,
    );
  }

  /** @throws RecorderError UNSUPPORTED, CORRUPT */
  read(slab: Buffer, handler: PacketHandler): void {
    this.#handler = handler;
    if (this.#isNano) this.#readNano(slab);
    else this.#feed.emit('data', slab);
  }

  /** @param offset of its first byte, where other files came before it */
  constructor(offset = 0) {
    this.offset = offset;
    const parser = parse(this.#feed);
    parser.on('globalHeader', ({ linkLayerType }) => this.#setLink(linkLayerType));
    parser.on('packet', ({ header, data }) =>
      this.#handler!.packet(
        this.#link!,
        header.timestampSeconds,
        header.timestampMicroseconds * 1000,
        data,
        header.originalLength,
        0,
      ),
    );
    parser.on('error', (cause) => {
      throw new RecorderError('CORRUPT', `the capture cannot be parsed: ${cause.message}`, { cause });
    });
  }

  #setLink(linkType: number): void {
    // The upper bits tell of frame check sequences, which fall away with the padding.
    this.linkType = linkType & 0xffff;
    this.#link = linkReader(this.linkType);
  }

  /** Whole records: seconds, nanoseconds, captured and original length, four bytes each, and the packet. */
  #readNano(slab: Buffer): void {
    const word = (at: number): number =>
      this.#isLittleEndian ? slab.readUInt32LE(at) : slab.readUInt32BE(at);
    let at = 0;
    if (this.#firstSlab) {
      this.#firstSlab = false;
      this.#setLink(word(20));
      at = HEADER_BYTES;
    }
    while (at < slab.length) {
      const start = at + RECORD_HEADER_BYTES;
      const end = start + word(at + 8);
      this.#handler!.packet(this.#link!, word(at), word(at + 4), slab.subarray(start, end), word(at + 12), 0);
      at = end;
    }
  }

  #handOn(data: Buffer, start: number, end: number): Buffer {
    this.offset += end - start;
    return data.subarray(start, end);
  }

  #keep(chunk: Buffer, start: number, end: number): void {
    const total = this.#held + end - start;
    if (this.#carry.length < total) {
      const grown = Buffer.alloc(Math.max(total, Math.min(total * 2, MAX_UNIT_BYTES)));
      this.#carry.copy(grown, 0, 0, this.#held);
      this.#carry = grown;
    }
    chunk.copy(this.#carry, this.#held, start, end);
    this.#held = total;
  }

  /** A file's header where a record would stand: its first words would be a time of 2055, or a length of gigabytes. */
  #isNextFile(data: Buffer, at: number, available: number): boolean {
    if (this.#inHeader || available < RECORD_HEADER_BYTES) return false;
    return isPcapStart(data, at) || isPcapngStart(data, at);
  }

  /** Length of the header or record at data[at], as far as `available` bytes of it tell. */
  #unitBytes(data: Buffer, at: number, available: number): number {
    if (this.#inHeader) return this.#headerBytes(data.subarray(at, at + available));
    if (available < RECORD_HEADER_BYTES) return RECORD_HEADER_BYTES;
    const bytes = this.#isLittleEndian ? data.readUInt32LE(at + 8) : data.readUInt32BE(at + 8);
    return RECORD_HEADER_BYTES + bytes;
  }

  #refuse(unitBytes: number): never {
    throw new RecorderError(
      'CORRUPT',
      `expected a packet of at most ${MAX_RECORD_BYTES} captured bytes, got a length of ${unitBytes - RECORD_HEADER_BYTES} (record at byte ${this.offset})`,
    );
  }

  #headerBytes(start: Buffer): number {
    if (start.length < HEADER_BYTES) return HEADER_BYTES;
    this.#checkMagic(start);
    const major = this.#isLittleEndian ? start.readUInt16LE(4) : start.readUInt16BE(4);
    const minor = this.#isLittleEndian ? start.readUInt16LE(6) : start.readUInt16BE(6);
    // Before 2.4 the two lengths of a record stood the other way round.
    if (major !== 2 || minor !== 4)
      throw new RecorderError('UNSUPPORTED', `expected pcap version 2.4, got ${major}.${minor}`);
    this.#inHeader = false;
    return HEADER_BYTES;
  }

  #checkMagic(start: Buffer): void {
    const hex = start.toString('hex', 0, 8);
    this.#isNano = isNano(hex);
    this.#isLittleEndian = hex.startsWith('d4c3b2a1') || hex.startsWith('4d3cb2a1');
    if (this.#isLittleEndian || this.#isNano || hex.startsWith('a1b2c3d4')) return;
    const what = known.find(([magic]) => hex.startsWith(magic))?.[1];
    if (what !== undefined)
      throw new RecorderError(
        'UNSUPPORTED',
        `expected pcap or pcapng, got ${what}; convert it with: editcap -F pcap IN OUT`,
      );
    throw new RecorderError(
      'NOT_A_CAPTURE',
      `expected a pcap file (first bytes d4c3b2a1, a1b2c3d4 or, with nanoseconds, 4d3cb2a1, a1b23c4d) or pcapng (0a0d0d0a), got first bytes ${hex}`,
    );
  }
}

/** The magic and the version, in the same byte order; eight bytes at least have to be there. */
export function isPcapStart(data: Buffer, at: number): boolean {
  const magic = data.readUInt32BE(at);
  if (magic === 0xa1b2c3d4 || magic === 0xa1b23c4d) return data.readUInt32BE(at + 4) === 0x0002_0004;
  if (magic === 0xd4c3b2a1 || magic === 0x4d3cb2a1) return data.readUInt32LE(at + 4) === 0x0004_0002;
  return false;
}

/** The section header's type, and its byte order behind its length; twelve bytes at least have to be there. */
function isPcapngStart(data: Buffer, at: number): boolean {
  if (data.readUInt32BE(at) !== 0x0a0d0d0a) return false;
  const order = data.readUInt32BE(at + 8);
  return order === 0x1a2b3c4d || order === 0x4d3c2b1a;
}

function isNano(hex: string): boolean {
  return hex.startsWith('4d3cb2a1') || hex.startsWith('a1b23c4d');
}
