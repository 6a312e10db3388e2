// What a capture file shows of TCP, before it is recorded: where the connections' bytes begin and end in it, and when some of
// its segments came. Two files whose clocks cannot both be right are put in their places by that (placing.ts). Bounded in
// connections and in segments remembered, whatever the file's length.

import { Clock } from './clock.ts';
import { digestOf } from './copies.ts';
import { RecorderError } from './error.ts';
import { Layers } from './layers.ts';
import { Layer, Packet } from './packet.ts';
import { Ports } from './ports.ts';
import { Reading } from './reading.ts';
import { Recent } from './recent.ts';
import { Flag } from './tcp.ts';

/** What is remembered of one file. */
export interface Room {
  /** Directions of connections that it ends with; of those that it begins with, an eighth of it. */
  directions: number;
  /** Segments and when they came. */
  signs: number;
}

/** Sequence numbers below this are rather made up than drawn at random, and say little. */
const MIN_RANDOM = 2 ** 20;
/** What a segment is recognised by, besides its sequence number: where frames begin, a header. */
const SIGN_BYTES = 24;

/** One direction of a connection: which of its bytes the file has. */
export interface Stretch {
  /** Sequence numbers of the first byte and of the one behind the last; a SYN and a FIN take one each. */
  first: number;
  end: number;
  /** It begins with a SYN. */
  isOpened: boolean;
}

export class Survey {
  /** Time of the last packet since the first. */
  endNs = 0;
  /** Those that the file begins with. */
  readonly early = new Map<number, Stretch>();
  readonly #late: Recent<number, Stretch>;
  /** When segments came, ns since the file's first packet: one in so many, by what they are recognised by. */
  readonly signs = new Map<number, number>();
  readonly #room: Room;
  #mask = 0;

  constructor(room: Room) {
    this.#room = room;
    this.#late = new Recent(room.directions);
  }

  stretch(key: number): Stretch | undefined {
    return this.#late.get(key) ?? this.early.get(key);
  }

  /** A TCP segment, whichever side sent it. */
  segment(packet: Packet, fromClient: boolean): void {
    const { flags, wireEnd, at, sequence } = packet;
    const isSyn = (flags & Flag.syn) !== 0;
    if ((flags & Flag.rst) !== 0) return;
    const length = wireEnd - at + (isSyn ? 1 : 0) + ((flags & Flag.fin) !== 0 ? 1 : 0);
    this.#extend(directionOf(packet), sequence, (sequence + length) | 0, isSyn);
    if (sequence < MIN_RANDOM || (wireEnd === at && !isSyn)) return;
    const sign = signOf(packet, fromClient);
    if ((mixed(sign) & this.#mask) === 0 && !this.signs.has(sign)) this.#remember(sign, packet.ns);
  }

  #extend(key: number, sequence: number, end: number, isSyn: boolean): void {
    const known = this.stretch(key);
    if (known === undefined) {
      const stretch = { first: sequence, end, isOpened: isSyn };
      if (this.early.size * 8 < this.#room.directions) this.early.set(key, stretch);
      this.#late.set(key, stretch);
      return;
    }
    // The ports may be another connection's now.
    if (isSyn && sequence !== known.first) Object.assign(known, { first: sequence, end, isOpened: true });
    else if (((end - known.end) | 0) > 0) known.end = end;
    if (this.#late.isFading(key)) this.#late.set(key, known);
  }

  #remember(sign: number, ns: number): void {
    this.signs.set(sign, ns);
    while (this.signs.size > this.#room.signs) {
      this.#mask = this.#mask * 2 + 1;
      for (const known of this.signs.keys()) if ((mixed(known) & this.#mask) !== 0) this.signs.delete(known);
    }
  }
}

/** A number for one direction of a connection, the same in all files. */
function directionOf({ data, sourceAt, targetAt, addressBytes, sourcePort, targetPort }: Packet): number {
  const source = digestOf(data, sourceAt, sourceAt + addressBytes) ^ sourcePort;
  const target = digestOf(data, targetAt, targetAt + addressBytes) ^ Math.imul(targetPort, 0x2c1b3c6d);
  return (source >>> 0) * 0x20_0000 + (Math.imul(target, 0x01000193) >>> 11);
}

/** A digest of what no translation of addresses changes. */
function signOf({ data, at, end, sequence }: Packet, fromClient: boolean): number {
  const digest = digestOf(data, at, Math.min(end, at + SIGN_BYTES));
  return sequence * 0x20_0000 + (digest >>> 12) * 2 + Number(fromClient);
}

export function isSignOfClient(sign: number): boolean {
  return sign % 2 === 1;
}

function mixed(sign: number): number {
  const folded = (sign / 0x20_0000) ^ (sign % 0x20_0000);
  return Math.imul(folded ^ (folded >>> 15), 0x2c1b3c6d) >>> 8;
}

export interface SurveyOptions {
  ports: readonly number[];
  vxlanPorts?: readonly number[];
  signal?: AbortSignal;
}

/** Reads a file to its end, or to where it is broken, which will be found again; or its first few hundred KiB. */
export async function survey(
  path: string,
  room: Room,
  options: SurveyOptions,
  isBrief = false,
): Promise<Survey> {
  const found = new Survey(room);
  const ports = new Ports(options.ports);
  const layers = new Layers(options.vxlanPorts, () => false);
  const packet = new Packet();
  const clock = new Clock((link, data, ns, wireBytes) => {
    if (ns > found.endNs) found.endNs = ns;
    packet.reset(data, ns, wireBytes);
    if (layers.unwrap(packet, link(packet)) === Layer.ok && ports.isRecorded(packet))
      found.segment(packet, ports.isFromClient(packet));
  });
  try {
    for await (const { format, data } of new Reading(path, options.signal).slabs()) {
      format.read(data, clock);
      if (isBrief) break;
    }
  } catch (error) {
    if (!(error instanceof RecorderError)) throw error;
  }
  clock.finish();
  return found;
}
