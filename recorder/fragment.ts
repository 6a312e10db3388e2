// IP fragments: datagrams that the network cut up are put together again before the layers above read them. Bounded in
// datagrams, bytes and time; what stays incomplete shows as a gap in its stream.

import { uint16, uint32 } from '../protocol/header.ts';
import { Layer, type Packet } from './packet.ts';

const MAX_DATAGRAMS = 1024;
const MAX_DATAGRAM_BYTES = 65_535;
const MAX_HELD_BYTES = 16 * 1024 * 1024;
/** RFC 8200, section 4.5: fragments are waited for this long. */
const MAX_AGE_NS = 60e9;
const FRAGMENT_HEADER = 44;
/** Offsets count in these; each fragment but the last is a whole number of them. */
const UNIT_BYTES = 8;
/** What a datagram and a piece of it cost besides their bytes. */
const DATAGRAM_BYTES = 1024 + MAX_DATAGRAM_BYTES / UNIT_BYTES / 8;
const PIECE_BYTES = 400;

interface Datagram {
  /** The IP header that the whole gets, as if it had never been cut. */
  head: Buffer | undefined;
  /** Each has some unit that none before it had. */
  pieces: { at: number; data: Buffer }[];
  /** A bit for each unit that is there. */
  units: Uint8Array;
  /** How many of those before the end, as far as that is known. */
  unitCount: number;
  endUnit: number;
  heldBytes: number;
  fragments: number;
  /** -1 until the last fragment came. */
  totalBytes: number;
  sinceNs: number;
}

interface Piece {
  name: string;
  head: Buffer;
  offset: number;
  isLast: boolean;
  from: number;
}

export class Fragments {
  readonly #datagrams = new Map<string, Datagram>();
  #heldBytes = 0;
  /** Fragments that belong to no whole datagram so far. */
  incomplete = 0;

  /** Bytes held at this moment, overhead included. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Takes a packet that stands at the IP header of a fragment; `ok` where that made a datagram whole, which it is now. */
  take(packet: Packet): Layer {
    if (packet.end < packet.wireEnd) return Layer.cut;
    const piece = packet.data[packet.at]! >>> 4 === 4 ? pieceOf4(packet) : pieceOf6(packet);
    if (piece === undefined) return Layer.malformed;
    const bytes = packet.end - piece.from;
    if (piece.offset + bytes > MAX_DATAGRAM_BYTES || bytes === 0) return Layer.malformed;
    if (!piece.isLast && bytes % UNIT_BYTES !== 0) return Layer.malformed;
    this.#expire(packet.ns);
    let datagram = this.#datagrams.get(piece.name);
    if (datagram === undefined) {
      datagram = emptyDatagram(packet.ns);
      this.#heldBytes += datagram.heldBytes;
      this.#datagrams.set(piece.name, datagram);
    }
    this.incomplete++;
    datagram.fragments++;
    if (piece.offset === 0) datagram.head ??= piece.head;
    if (piece.isLast && datagram.totalBytes < 0) endAt(datagram, piece.offset + bytes);
    if (fill(datagram, piece.offset, bytes)) {
      // Not from Node's pool: a few bytes would keep 8 KiB of it alive.
      const data = Buffer.allocUnsafeSlow(bytes);
      packet.data.copy(data, 0, piece.from, packet.end);
      datagram.pieces.push({ at: piece.offset, data });
      datagram.heldBytes += bytes + PIECE_BYTES;
      this.#heldBytes += bytes + PIECE_BYTES;
    }
    if (!isWhole(datagram)) return Layer.fragment;
    const whole = joined(datagram);
    this.#drop(piece.name, datagram);
    this.incomplete -= datagram.fragments;
    packet.reset(whole, packet.ns, whole.length);
    return Layer.ok;
  }

  #expire(ns: number): void {
    for (const [name, datagram] of this.#datagrams) {
      const isOld = ns - datagram.sinceNs > MAX_AGE_NS;
      if (!isOld && this.#datagrams.size < MAX_DATAGRAMS && this.#heldBytes < MAX_HELD_BYTES) return;
      this.#drop(name, datagram);
    }
  }

  #drop(name: string, datagram: Datagram): void {
    this.#datagrams.delete(name);
    this.#heldBytes -= datagram.heldBytes;
  }
}

function pieceOf4({ data, at, end }: Packet): Piece | undefined {
  const headBytes = (data[at]! & 0x0f) * 4;
  const field = uint16(data, at + 6);
  if (at + headBytes > end) return undefined;
  const head = Buffer.from(data.subarray(at, at + headBytes));
  // No fragment any more; and 0, a length that the layer above takes from what is there.
  head.writeUInt16BE(0, 2);
  head.writeUInt16BE(0, 6);
  const name = `${data.toString('latin1', at + 12, at + 20)}${data[at + 9]} ${uint16(data, at + 4)}`;
  return {
    name,
    head,
    offset: (field & 0x1fff) * 8,
    isLast: (field & 0x2000) === 0,
    from: at + headBytes,
  };
}

function pieceOf6({ data, at, end }: Packet): Piece | undefined {
  let next = data[at + 6]!;
  let nextAt = at + 40;
  // The layer below has walked these headers already, up to the fragment's.
  while (next !== FRAGMENT_HEADER) {
    if (nextAt + 8 > end) return undefined;
    next = data[nextAt]!;
    nextAt += (data[nextAt + 1]! + 1) * 8;
  }
  if (nextAt + 8 > end) return undefined;
  const field = uint16(data, nextAt + 2);
  const head = Buffer.from(data.subarray(at, at + 40));
  head.writeUInt16BE(0, 4);
  head[6] = data[nextAt]!;
  const name = `${data.toString('latin1', at + 8, at + 40)} ${uint32(data, nextAt + 4)}`;
  return { name, head, offset: field & 0xfff8, isLast: (field & 1) === 0, from: nextAt + 8 };
}

function emptyDatagram(sinceNs: number): Datagram {
  return {
    head: undefined,
    pieces: [],
    units: new Uint8Array(DATAGRAM_UNITS / 8),
    unitCount: 0,
    endUnit: DATAGRAM_UNITS,
    heldBytes: DATAGRAM_BYTES,
    fragments: 0,
    totalBytes: -1,
    sinceNs,
  };
}

const DATAGRAM_UNITS = (MAX_DATAGRAM_BYTES + 1) / UNIT_BYTES;

/** From here on, units behind the end do not count. */
function endAt(datagram: Datagram, totalBytes: number): void {
  datagram.totalBytes = totalBytes;
  datagram.endUnit = Math.ceil(totalBytes / UNIT_BYTES);
  datagram.unitCount = 0;
  for (let unit = 0; unit < datagram.endUnit; unit++) if (isThere(datagram, unit)) datagram.unitCount++;
}

function isThere({ units }: Datagram, unit: number): boolean {
  return (units[unit >>> 3]! & (1 << (unit & 7))) !== 0;
}

/** Marks the units as there; false where all of them were. */
function fill(datagram: Datagram, offset: number, bytes: number): boolean {
  const before = datagram.unitCount;
  const end = Math.min(Math.ceil((offset + bytes) / UNIT_BYTES), datagram.endUnit);
  for (let unit = offset / UNIT_BYTES; unit < end; unit++) {
    if (isThere(datagram, unit)) continue;
    datagram.units[unit >>> 3]! |= 1 << (unit & 7);
    datagram.unitCount++;
  }
  return datagram.unitCount > before;
}

/** Every unit before the end is there. Counted, and not looked for at each fragment: most of those may be duplicates. */
function isWhole({ head, totalBytes, unitCount, endUnit }: Datagram): boolean {
  return head !== undefined && totalBytes >= 0 && unitCount === endUnit;
}

/** Where fragments overlap, the first that came wins. */
function joined({ head, pieces, totalBytes }: Datagram): Buffer {
  const headBytes = head!.length;
  const out = Buffer.alloc(headBytes + totalBytes);
  head!.copy(out);
  for (const { at, data } of pieces.toReversed())
    if (at < totalBytes) data.copy(out, headBytes + at, 0, Math.min(data.length, totalBytes - at));
  return out;
}
