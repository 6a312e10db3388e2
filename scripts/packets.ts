// Captures at random, as nobody would send them: stamps jump, lengths lie, tunnels nest, segments come in any order from
// either side, bytes change.

import { encodeRequest, encodeResponse, storeExtras } from '../protocol/frame.ts';
import { Opcode } from '../protocol/opcode.ts';
import type { Random } from '../synth/laws/random.ts';

const words = [
  0, 1, 2, 24, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff,
];
const stamps = [
  0,
  1,
  5,
  1_000_000_000,
  1_699_999_990,
  1_700_000_000,
  1_700_003_600,
  1_702_592_000,
  2 ** 31,
  2 ** 32 - 1,
];

interface Packet {
  seconds: number;
  fraction: number;
  data: Buffer;
}

function pick<T>(random: Random, from: readonly T[]): T {
  return from[random.int(from.length)]!;
}

function frames(random: Random, fromClient: boolean): Buffer {
  const opcode = pick(random, [
    Opcode.get,
    Opcode.set,
    Opcode.getkq,
    Opcode.noop,
    Opcode.stat,
    Opcode.saslAuth,
  ]);
  const key = Buffer.alloc(opcode === Opcode.noop ? 0 : 1 + random.int(20), 'k');
  const value = Buffer.alloc(opcode === Opcode.set ? random.int(200) : 0, 'v');
  const opaque = random.int(3);
  if (!fromClient) return encodeResponse({ opcode, opaque, value });
  return encodeRequest({
    opcode,
    key,
    value,
    opaque,
    ...(opcode === Opcode.set ? { extras: storeExtras(0, 0) } : {}),
  });
}

/** A segment of one of a few connections, its numbers nearly right. */
function segment(random: Random, sequences: number[]): Buffer {
  const fromClient = random.chance(0.5);
  const port = 40_000 + random.int(3);
  const side = (port - 40_000) * 2 + Number(fromClient);
  const isUdp = random.chance(0.1);
  const payload = random.chance(0.7) ? frames(random, fromClient) : Buffer.alloc(random.int(40), 0x80);
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(fromClient ? port : 11_211, 0);
  ports.writeUInt16BE(fromClient ? 11_211 : port, 2);
  let body: Buffer;
  if (isUdp) {
    const head = Buffer.alloc(12);
    for (const [n, word] of [
      20 + payload.length,
      0,
      random.int(4),
      random.int(3),
      random.int(4),
      0,
    ].entries())
      head.writeUInt16BE(word, n * 2);
    body = Buffer.concat([ports, head.subarray(0, 12), payload]);
  } else {
    const head = Buffer.alloc(16);
    const flags = pick(random, [0x10, 0x18, 0x18, 0x18, 0x02, 0x12, 0x11, 0x04]);
    const jump = random.chance(0.1) ? pick(random, words) : 0;
    head.writeUInt32BE((sequences[side]! + jump) >>> 0, 0);
    head.writeUInt32BE((sequences[side ^ 1]! + (random.chance(0.1) ? random.int(1000) : 0)) >>> 0, 4);
    head[8] = 0x50;
    head[9] = flags;
    sequences[side] = (sequences[side]! + payload.length + (flags & 3 ? 1 : 0)) >>> 0;
    body = Buffer.concat([ports, head, payload]);
  }
  const addresses = fromClient ? [10, 0, 0, 1, 10, 0, 0, 2] : [10, 0, 0, 2, 10, 0, 0, 1];
  return ip(isUdp ? 17 : 6, addresses, body, random.chance(0.05) ? pick(random, words) & 0xffff : 0);
}

function ip(protocol: number, addresses: readonly number[], body: Buffer, fragment = 0): Buffer {
  const head = Buffer.alloc(12);
  head[0] = 0x45;
  head.writeUInt16BE(Math.min(20 + body.length, 0xffff), 2);
  head.writeUInt16BE(7, 4);
  head.writeUInt16BE(fragment, 6);
  head[9] = protocol;
  return Buffer.concat([head, Buffer.from(addresses), body]);
}

/** Up to ten headers around it. */
function nested(random: Random, inner: Buffer): Buffer {
  let packet = inner;
  for (let depth = random.chance(0.8) ? 0 : random.int(10); depth > 0; depth--)
    packet = random.chance(0.5)
      ? ip(4, [1, 1, 1, 1, 2, 2, 2, 2], packet)
      : ip(47, [1, 1, 1, 1, 2, 2, 2, 2], Buffer.concat([Buffer.from([0, 0, 8, 0]), packet]));
  return Buffer.concat([Buffer.alloc(12, 2), Buffer.from([8, 0]), packet]);
}

function packets(random: Random): Packet[] {
  const sequences = Array.from({ length: 6 }, () => pick(random, [1000, 0xfffffff0, random.uint32()]));
  let seconds = pick(random, stamps);
  let fraction = 0;
  return Array.from({ length: 1 + random.int(40) }, () => {
    if (random.chance(0.06)) seconds = pick(random, stamps);
    else if (random.chance(0.05)) seconds = Math.max(0, seconds + random.int(200_000) - 100_000);
    fraction = random.chance(0.02) ? pick(random, words) : (fraction + random.int(5000)) % 1_000_000;
    return { seconds, fraction, data: nested(random, segment(random, sequences)) };
  });
}

function pcap(random: Random, all: readonly Packet[]): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(random.chance(0.3) ? 0xa1b23c4d : 0xa1b2c3d4, 0);
  header.writeUInt32LE(0x40002, 4);
  header.writeUInt32LE(random.chance(0.05) ? random.int(300) : 1, 20);
  const parts = all.flatMap(({ seconds, fraction, data }) => {
    const record = Buffer.alloc(16);
    const wire = random.chance(0.05) ? pick(random, words) : data.length;
    for (const [n, word] of [seconds, fraction, data.length, wire].entries())
      record.writeUInt32LE(word >>> 0, n * 4);
    return [record, data];
  });
  return Buffer.concat([header, ...parts]);
}

function block(type: number, body: Buffer): Buffer {
  const padded = Buffer.concat([body, Buffer.alloc((4 - (body.length % 4)) % 4)]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32LE(type, 0);
  ends.writeUInt32LE(padded.length + 12, 4);
  return Buffer.concat([ends, padded, ends.subarray(4)]);
}

function pcapng(random: Random, all: readonly Packet[]): Buffer {
  const section = Buffer.from('4d3c2b1a01000000ffffffffffffffff', 'hex');
  const interfaces = Array.from({ length: 1 + random.int(2) }, () => {
    const offset = Buffer.alloc(12);
    offset.writeUInt16LE(14, 0);
    offset.writeUInt16LE(8, 2);
    offset.writeBigInt64LE(
      random.chance(0.2) ? BigInt(pick(random, words)) * pick(random, [1n, -1n, 1_000_000_007n]) : 0n,
      4,
    );
    const resolution = Buffer.from([9, 0, 1, 0, pick(random, [6, 9, 3, 0, 19, 0x80 | 20]), 0, 0, 0]);
    return block(1, Buffer.concat([Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]), resolution, offset]));
  });
  const parts = all.map(({ seconds, fraction, data }) => {
    const units = BigInt(seconds) * 1_000_000n + BigInt(fraction);
    const head = Buffer.alloc(20);
    head.writeUInt32LE(random.int(3), 0);
    head.writeUInt32LE(Number((units >> 32n) & 0xffffffffn), 4);
    head.writeUInt32LE(Number(units & 0xffffffffn), 8);
    head.writeUInt32LE(data.length, 12);
    head.writeUInt32LE(data.length, 16);
    return block(random.chance(0.02) ? 3 : 6, Buffer.concat([head, data]));
  });
  return Buffer.concat([block(0x0a0d0d0a, section), ...interfaces, ...parts]);
}

function mutated(random: Random, file: Buffer): Buffer {
  for (let changes = random.chance(0.6) ? 0 : 1 + random.int(6); changes > 0; changes--) {
    const at = random.int(file.length);
    if (random.chance(0.5)) file[at] = random.int(256);
    else if (at + 4 <= file.length) file.writeUInt32LE(pick(random, words), at);
  }
  return random.chance(0.05) ? file.subarray(0, random.int(file.length)) : file;
}

/** A capture file: pcap or pcapng. */
export function randomCapture(random: Random): Buffer {
  const all = packets(random);
  return mutated(random, random.chance(0.5) ? pcap(random, all) : pcapng(random, all));
}

/** A pcapng file of several sections, in either byte order, with blocks of any kind, and lengths that lie. */
export function randomPcapng(random: Random): Buffer {
  const sections = Array.from({ length: 1 + random.int(3) }, () => {
    const file = pcapng(random, packets(random).slice(0, 12));
    const blocks: Buffer[] = [];
    for (const one of splitBlocks(file)) {
      if (random.chance(0.1)) blocks.push(strangeBlock(random));
      blocks.push(one);
    }
    if (random.chance(0.1)) blocks.splice(random.int(blocks.length), 1);
    if (random.chance(0.1)) blocks.push(pick(random, blocks));
    return Buffer.concat(random.chance(0.3) ? blocks.map(swapped) : blocks);
  });
  return mutated(random, Buffer.concat(sections));
}

function splitBlocks(file: Buffer): Buffer[] {
  const blocks: Buffer[] = [];
  for (let at = 0; at < file.length;) {
    const end = at + file.readUInt32LE(at + 4);
    blocks.push(file.subarray(at, end));
    at = end;
  }
  return blocks;
}

/** Simple and obsolete packets, names, statistics, secrets, a journal, and types that nobody knows. */
function strangeBlock(random: Random): Buffer {
  const body = Buffer.alloc(4 * random.int(12));
  for (let at = 0; at < body.length; at += 4) body.writeUInt32LE(pick(random, words) >>> 0, at);
  return block(pick(random, [2, 3, 4, 5, 9, 10, 0xbad, 0x80000001]), body);
}

/** Fields of the blocks above by type, [from, bytes]: those that every block has, and their own. */
const fieldsOf: Readonly<Record<number, readonly (readonly [number, number])[]>> = {
  0x0a0d0d0a: [
    [8, 4],
    [12, 2],
    [14, 2],
    [16, 8],
  ],
  1: [
    [8, 2],
    [10, 2],
    [12, 4],
    [16, 2],
    [18, 2],
    [24, 2],
    [26, 2],
    [28, 8],
  ],
  6: [
    [8, 4],
    [12, 4],
    [16, 4],
    [20, 4],
    [24, 4],
  ],
};

/** The block in the other byte order. */
function swapped(one: Buffer): Buffer {
  const other = Buffer.from(one);
  for (const [from, bytes] of [
    [0, 4],
    [4, 4],
    [one.length - 4, 4],
    ...(fieldsOf[one.readUInt32LE(0)] ?? []),
  ] as const)
    other.subarray(from, from + bytes).reverse();
  return other;
}
