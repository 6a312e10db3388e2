// When the last packet of a capture file was captured, found at the file's end, without reading what is before: where the
// time of one file reaches into the time of another, they have to be looked at more closely.

import { open, type FileHandle } from 'node:fs/promises';
import type { CaptureFormat, PacketHandler } from './format.ts';
import { Pcap } from './pcap.ts';
import { Pcapng } from './pcapng.ts';

/** Of a file's beginning, where a pcapng describes its interfaces, and of its end; a shorter file is read whole. */
const HEAD_BYTES = 64 * 1024;
const TAIL_BYTES = 1024 * 1024;
const PCAP_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;
/** libpcap's own limit on the snap length; and no packet is shorter than a link's header. */
const MAX_RECORD_BYTES = 262_144;
const MIN_RECORD_BYTES = 4;
/** So many records in a row that lead to the file's end are no accident, and so many are looked at. */
const MIN_RECORDS = 3;
const RECORDS = 16;
const MIN_BLOCK_BYTES = 12;
/** Types of pcapng's blocks that hold a packet. */
const PACKET_BLOCKS = new Set([2, 3, 6]);

/** ns since 1970; undefined where the file's end does not tell: it is compressed, or cut, say. */
export async function lastStamp(path: string): Promise<bigint | undefined> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const from = Math.max(0, size - TAIL_BYTES);
    const tail = await bytesAt(file, from, size - from);
    const head = from === 0 ? tail : await bytesAt(file, 0, HEAD_BYTES);
    const magic = head.toString('hex', 0, 4);
    if (magic === '0a0d0d0a') return lastOf(new Pcapng(), from === 0 ? [tail] : ngParts(head, tail));
    const isLittle = /^(d4c3b2a1|4d3cb2a1)$/.test(magic);
    if (!isLittle && !/^(a1b2c3d4|a1b23c4d)$/.test(magic)) return undefined;
    return lastOf(new Pcap(), from === 0 ? [tail] : pcapParts(head, tail, isLittle));
  } catch {
    // What is wrong with the file is said when it is read.
    return undefined;
  } finally {
    await file.close();
  }
}

async function bytesAt(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, at);
  return buffer.subarray(0, bytesRead);
}

/** The latest time in what is a file's header, and whole records of its end. */
function lastOf(format: CaptureFormat, parts: readonly Buffer[]): bigint | undefined {
  let last: bigint | undefined;
  const handler: PacketHandler = {
    packet: (_link, seconds, nanos) => {
      const stamp = BigInt(Math.trunc(seconds)) * 1_000_000_000n + BigInt(Math.round(nanos));
      if (last === undefined || stamp > last) last = stamp;
    },
  };
  for (const part of parts) for (const slab of format.slabs(part)) format.read(slab, handler);
  return last;
}

/** The file's header, and its last records: those whose lengths lead to its end. None: that is not to be seen. */
function pcapParts(head: Buffer, tail: Buffer, isLittle: boolean): Buffer[] {
  const uint32 = (at: number): number => (isLittle ? tail.readUInt32LE(at) : tail.readUInt32BE(at));
  // How many records lead from a byte to the end, itself included; 0: none do.
  const leads = new Uint8Array(tail.length + 1);
  leads[tail.length] = 1;
  for (let at = tail.length - RECORD_HEADER_BYTES - MIN_RECORD_BYTES; at >= 0; at--) {
    const captured = uint32(at + 8);
    const next = at + RECORD_HEADER_BYTES + captured;
    if (captured < MIN_RECORD_BYTES || captured > MAX_RECORD_BYTES || next > tail.length) continue;
    if ((leads[next] ?? 0) === 0 || uint32(at + 12) < captured || uint32(at + 4) >= 1_000_000_000) continue;
    const leading = (leads[next] ?? 0) + 1;
    leads[at] = leading;
    if (leading > RECORDS || (at === 0 && leading > MIN_RECORDS))
      return [head.subarray(0, PCAP_HEADER_BYTES), tail.subarray(at)];
  }
  return [];
}

/** What stands before the first packet, and the last blocks: each has its length at its end too. */
function ngParts(head: Buffer, tail: Buffer): Buffer[] {
  const isLittle = head.readUInt32LE(8) === 0x1a2b3c4d;
  const word = (data: Buffer, at: number): number =>
    isLittle ? data.readUInt32LE(at) : data.readUInt32BE(at);
  let stop = 0;
  while (stop + MIN_BLOCK_BYTES <= head.length && !PACKET_BLOCKS.has(word(head, stop)))
    stop += Math.max(MIN_BLOCK_BYTES, word(head, stop + 4));
  let from = tail.length;
  for (let packets = 0; packets < RECORDS && from >= MIN_BLOCK_BYTES;) {
    const bytes = word(tail, from - 4);
    if (bytes < MIN_BLOCK_BYTES || bytes > from || word(tail, from - bytes + 4) !== bytes) break;
    from -= bytes;
    if (PACKET_BLOCKS.has(word(tail, from))) packets++;
  }
  return stop <= head.length ? [head.subarray(0, stop), tail.subarray(from)] : [];
}
