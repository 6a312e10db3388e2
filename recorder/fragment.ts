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

interface Datagram {
  /** The IP header that the whole gets, as if it had never been cut. */
  head: Buffer | undefined;
  pieces: { at: number; data: Buffer }[];
  bytes: number;
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

  /** Takes a packet that stands at the IP header of a fragment; `ok` where that made a datagram whole, which it is now. */
  take(packet: Packet): Layer {
    if (packet.end < packet.wireEnd) return Layer.cut;
    const piece = packet.data[packet.at]! >>> 4 === 4 ? pieceOf4(packet) : pieceOf6(packet);
    if (piece === undefined) return Layer.malformed;
    const bytes = packet.end - piece.from;
    if (piece.offset + bytes > MAX_DATAGRAM_BYTES || bytes === 0) return Layer.malformed;
    this.#expire(packet.ns);
    let datagram = this.#datagrams.get(piece.name);
    if (datagram === undefined) {
      datagram = { head: undefined, pieces: [], bytes: 0, totalBytes: -1, sinceNs: packet.ns };
      this.#datagrams.set(piece.name, datagram);
    }
    this.incomplete++;
    datagram.pieces.push({
      at: piece.offset,
      data: Buffer.from(packet.data.subarray(piece.from, packet.end)),
    });
    datagram.bytes += bytes;
    this.#heldBytes += bytes;
    if (piece.offset === 0) datagram.head ??= piece.head;
    if (piece.isLast && datagram.totalBytes < 0) datagram.totalBytes = piece.offset + bytes;
    const whole = joined(datagram);
    if (whole === undefined) return Layer.fragment;
    this.#drop(piece.name, datagram);
    this.incomplete -= datagram.pieces.length;
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
    this.#heldBytes -= datagram.bytes;
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

/** Where fragments overlap, the first that came wins. */
function joined({ head, pieces, bytes, totalBytes }: Datagram): Buffer | undefined {
  if (head === undefined || totalBytes < 0 || bytes < totalBytes) return undefined;
  const out = Buffer.alloc(head.length + totalBytes);
  const filled = new Uint8Array(totalBytes);
  head.copy(out);
  let missing = totalBytes;
  for (const { at, data } of pieces)
    for (let n = 0; n < data.length && at + n < totalBytes; n++) {
      if (filled[at + n] === 1) continue;
      filled[at + n] = 1;
      out[head.length + at + n] = data[n]!;
      missing--;
    }
  return missing === 0 ? out : undefined;
}
