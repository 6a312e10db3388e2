// Connections that a capture shows twice: before and after address translation, on several interfaces, or at two hosts.
// What does not change tells: sequence numbers and payloads, and the distances in time. The first packets of connections are
// remembered; a connection that begins with those of another is held back until its own packets prove or disprove it.
// Bounded in packets remembered and bytes held back.

import { uint16 } from '../protocol/header.ts';
import type { TcpConnection } from './connection.ts';
import { Entry, type EntryKey } from './entry.ts';
import { Packet } from './packet.ts';
import { Recent } from './recent.ts';
import { Flag } from './tcp.ts';

/** Sequence numbers whose packets are remembered, of all connections, at some 200 bytes each; the oldest are forgotten. */
const MAX_REMEMBERED = 65_536;
/** Of one connection, those of its handshake included. */
export const REMEMBERED = 6;
/** Of those that begin alike, the newest. */
const MAX_ALIKE = 8;
/** Held back of one connection, and of all. */
const MAX_HELD = 64;
const MAX_HELD_BYTES = 1024 * 1024;
const MAX_ALL_HELD_BYTES = 16 * 1024 * 1024;
/** What a packet that is held costs besides its bytes. */
const HELD_BYTES = 400;
const DIGEST_BYTES = 1024;

/**
 * Copies on one host are so near; what is further is another host's capture, whose clock differs. The distances of copies
 * from their packets differ by no more than that either: by the way there and back, by queues, by clocks that drift.
 */
const NEAR_NS = 50e6;
/** The same where numbers say little. */
const STEADY_NS = 2e6;
/** First sequence numbers below this are of both sides are rather made up than drawn at random, and say little. */
const MIN_RANDOM = 2 ** 20;
/** Where they say little, and an address or a port differs, only copies in step are believed. */
const STEP_NS = 2e6;
const STEADY_STEP_NS = 1e6;
/** Segments of a burst that leave one host, or one interface, in another order. */
const MAX_OVERTAKEN = 2;
/** Packets that have to agree where a copy is not near. */
const MIN_FAR_MATCHES = 3;

/** A packet that can be recognised: it opens a connection, or carries data. */
interface Sign {
  fromClient: boolean;
  isSyn: boolean;
  sequence: number;
  length: number;
  digest: number;
  headDigest: number;
  /** IPv4's identification, which no router changes; 0: none. */
  ipId: number;
  /** TCP's time stamp on a SYN; 0: none. */
  stamp: number;
  ns: number;
}

interface Remembered extends Sign {
  connection: TcpConnection;
}

/** The packets that connections began with, by sequence number. */
export class Beginnings {
  readonly #bySequence = new Recent<number, Remembered[]>(MAX_REMEMBERED);
  /** By the number that the other side acknowledges them with. */
  readonly #byEnd = new Recent<number, Remembered[]>(MAX_REMEMBERED);
  /** Connections with the same first sequence numbers were not the same: the numbers are made up. */
  areUnreliable = false;

  remember(connection: TcpConnection, packet: Packet, fromClient: boolean): void {
    const sign = signOf(packet, fromClient);
    if (sign === undefined) return;
    const key = keyOf(sign);
    const alike = this.#bySequence.get(key);
    if (alike?.some((other) => other.connection === connection) === true) return;
    connection.remembered++;
    const remembered = { ...sign, connection };
    put(this.#bySequence, key, remembered);
    put(this.#byEnd, endKeyOf(sign.sequence + sign.length + (sign.isSyn ? 1 : 0), fromClient), remembered);
  }

  alike(sign: Sign): readonly Remembered[] {
    return this.#bySequence.get(keyOf(sign)) ?? [];
  }

  /** Those of the other side that this packet acknowledges, and nothing behind them. */
  acknowledged({ flags, acknowledgement }: Packet, fromClient: boolean): readonly Remembered[] {
    if ((flags & Flag.ack) === 0) return [];
    return this.#byEnd.get(endKeyOf(acknowledgement, !fromClient)) ?? [];
  }
}

function put(map: Recent<number, Remembered[]>, key: number, remembered: Remembered): void {
  const alike = map.get(key);
  if (alike === undefined) map.set(key, [remembered]);
  else if (alike.push(remembered) > MAX_ALIKE) alike.shift();
}

function keyOf({ sequence, fromClient, isSyn }: Sign): number {
  return (sequence * 4 + (fromClient ? 2 : 0) + (isSyn ? 1 : 0)) % 0x1_0000_0000;
}

function endKeyOf(end: number, fromClient: boolean): number {
  return (end * 2 + (fromClient ? 1 : 0)) % 0x1_0000_0000;
}

/** The other connection that a suspect may be, and what speaks for it. */
interface Candidate {
  connection: TcpConnection;
  /** Of `signs`, those that the connection had too. */
  matched: Set<Sign>;
  isRefuted: boolean;
  hasClientData: boolean;
  hasServerData: boolean;
  leastNs: number;
  mostNs: number;
  /** How much later the copy's packets come, of the client and of the server: the sums, and how many they are. */
  clientNs: number;
  clientCount: number;
  serverNs: number;
  serverCount: number;
  sameIds: number;
  otherIds: number;
  /** Of the two that open a connection: those that matched, and of these the ones whose time stamps are the same. */
  opens: number;
  sameStamps: number;
}

export type Verdict = 'open' | 'copy' | 'other';

/** What all suspects hold. */
export interface Held {
  bytes: number;
}

export class Suspect extends Entry {
  /** Once it is proven: what it is a copy of, and whether its packets come at the same time. */
  original: TcpConnection | undefined;
  isNear = false;
  /** The copy's distance from its original. */
  apartNs = 0;
  /** How far it is from the original towards the server, in time; negative: towards the client. */
  behindNs = 0;
  readonly opensFromClient: boolean;
  packets: { packet: Packet; fromClient: boolean }[] = [];
  readonly #beginnings: Beginnings;
  readonly #all: Held;
  readonly #candidates: Candidate[];
  readonly #signs: Sign[] = [];
  readonly #first: number;
  #bytes = 0;

  private constructor(
    key: EntryKey,
    beginnings: Beginnings,
    all: Held,
    first: Sign,
    alike: readonly Remembered[],
  ) {
    super(key);
    this.#beginnings = beginnings;
    this.#all = all;
    this.#first = first.sequence;
    this.opensFromClient = first.fromClient;
    this.#candidates = alike.map(({ connection }) => ({
      connection,
      matched: new Set(),
      isRefuted: false,
      hasClientData: false,
      hasServerData: false,
      leastNs: Infinity,
      mostNs: -Infinity,
      clientNs: 0,
      clientCount: 0,
      serverNs: 0,
      serverCount: 0,
      sameIds: 0,
      otherIds: 0,
      opens: 0,
      sameStamps: 0,
    }));
  }

  /** Where the packet, the first of its connection, is one that another connection began with. */
  static of(
    key: () => EntryKey,
    packet: Packet,
    fromClient: boolean,
    beginnings: Beginnings,
    all: Held,
  ): Suspect | undefined {
    const sign = signOf(packet, fromClient);
    if (sign === undefined) return undefined;
    let alike = beginnings.alike(sign).filter((other) => agree(sign, other) !== false);
    // Its first packets may be missing, of either copy, and answers are seen behind a translation first.
    if (alike.length === 0) alike = [...beginnings.acknowledged(packet, fromClient)];
    if (alike.length === 0) return undefined;
    return new Suspect(key(), beginnings, all, sign, alike);
  }

  /** A SYN that is not the one this began with opens another connection. */
  isReopened({ flags, sequence }: Packet, fromClient: boolean): boolean {
    const opens = (flags & Flag.syn) !== 0 && (flags & Flag.ack) === 0;
    return opens && fromClient && this.opensFromClient && sequence !== this.#first;
  }

  /** Takes a packet, which is held until it is known what this is. */
  take(packet: Packet, fromClient: boolean): Verdict {
    const sign = signOf(packet, fromClient);
    if (sign !== undefined && this.#signs.length < REMEMBERED && !this.#has(sign)) this.#signs.push(sign);
    this.packets.push({ packet: packet.copy(), fromClient });
    this.#charge(packet.data.length + HELD_BYTES);
    const isEnding = (packet.flags & (Flag.fin | Flag.rst)) !== 0;
    const isFull =
      this.packets.length >= MAX_HELD || this.#bytes > MAX_HELD_BYTES || this.#all.bytes > MAX_ALL_HELD_BYTES;
    return this.judge(isEnding || isFull, isFull);
  }

  /** @param isLate what there is has to do · @param isLast if it does not, this is no copy */
  judge(isLate: boolean, isLast: boolean): Verdict {
    for (const candidate of this.#candidates) this.#compare(candidate);
    const left = this.#candidates.filter(({ isRefuted }) => !isRefuted);
    for (const candidate of left) {
      const { hasClientData, hasServerData, matched } = candidate;
      const hasData = hasClientData || hasServerData || !this.#signs.some(({ length }) => length > 0);
      const isEnough =
        (hasClientData && hasServerData) ||
        (isLate && hasData && matched.size >= 2) ||
        this.#isOpenedAlike(candidate);
      if (!isEnough || !this.#isTimely(candidate, isLate)) continue;
      this.original = candidate.connection;
      this.apartNs = candidate.leastNs;
      this.behindNs = behindNs(candidate);
      this.isNear = isNear(candidate);
      return 'copy';
    }
    return left.length === 0 || isLast ? 'other' : 'open';
  }

  /** Gives away what it holds. */
  release(): { packet: Packet; fromClient: boolean }[] {
    const { packets } = this;
    this.packets = [];
    this.#charge(-this.#bytes);
    return packets;
  }

  finish(): void {
    this.release();
    this.closed = true;
  }

  #has({ sequence, fromClient, isSyn }: Sign): boolean {
    return this.#signs.some(
      (sign) => sign.sequence === sequence && sign.fromClient === fromClient && sign.isSyn === isSyn,
    );
  }

  #charge(bytes: number): void {
    this.#bytes += bytes;
    this.#all.bytes += bytes;
  }

  #compare(candidate: Candidate): void {
    if (candidate.isRefuted) return;
    for (const sign of this.#signs) {
      if (candidate.matched.has(sign)) continue;
      const other = this.#beginnings
        .alike(sign)
        .find(({ connection }) => connection === candidate.connection);
      if (other === undefined) continue;
      const agrees = agree(sign, other);
      if (agrees === undefined) continue;
      if (!agrees) {
        candidate.isRefuted = true;
        this.#beginnings.areUnreliable ||= candidate.matched.size >= 2;
        return;
      }
      candidate.matched.add(sign);
      if (sign.isSyn) candidate.opens++;
      if (sign.stamp !== 0 && sign.stamp === other.stamp) candidate.sameStamps++;
      if (sign.length > 0 && sign.fromClient) candidate.hasClientData = true;
      if (sign.length > 0 && !sign.fromClient) candidate.hasServerData = true;
      const apartNs = sign.ns - other.ns;
      candidate.leastNs = Math.min(candidate.leastNs, apartNs);
      candidate.mostNs = Math.max(candidate.mostNs, apartNs);
      if (sign.fromClient) {
        candidate.clientNs += apartNs;
        candidate.clientCount++;
      } else {
        candidate.serverNs += apartNs;
        candidate.serverCount++;
      }
      if (sign.ipId === 0 || other.ipId === 0) continue;
      if (sign.ipId === other.ipId) candidate.sameIds++;
      else candidate.otherIds++;
    }
  }

  /**
   * Numbers drawn at random, and two clocks or payloads besides, at the same time: a hole of one copy is filled from the
   * other before it is given up. One of the two that open the connection may be missing.
   */
  #isOpenedAlike(candidate: Candidate): boolean {
    const { opens, sameStamps, matched } = candidate;
    if (opens === 0 || (sameStamps < 2 && matched.size < 3) || !isNear(candidate)) return false;
    return this.#signs.every(({ isSyn, sequence }) => !isSyn || sequence >= MIN_RANDOM);
  }

  #isTimely(candidate: Candidate, isLate: boolean): boolean {
    const { leastNs, mostNs, connection, matched, sameIds, otherIds } = candidate;
    if (otherIds >= 2 && sameIds === 0) return false;
    const spread = mostNs - leastNs;
    const near = isNear(candidate);
    const isFarEnoughTold = near || matched.size >= MIN_FAR_MATCHES;
    const isRandom = this.#signs.some(({ sequence }) => sequence >= MIN_RANDOM);
    if (isRandom && !this.#beginnings.areUnreliable) return isFarEnoughTold && spread <= NEAR_NS;
    // Where numbers say little, all that is there has to agree, and there has to be enough of it. A segment that another
    // overtook in one of the two may be just past what is remembered of the other.
    const overtaken = connection.remembered >= REMEMBERED ? MAX_OVERTAKEN : 0;
    const isWhole =
      matched.size >= this.#signs.length - overtaken && (isLate || matched.size >= REMEMBERED - overtaken);
    if (!isWhole) return false;
    // A translation that changes the client's port changes its address too.
    if (hasSameHosts(this, connection) && this.clientPort !== connection.clientPort) return false;
    if (hasSameHosts(this, connection) && this.serverPort === connection.serverPort)
      return isFarEnoughTold && spread <= STEADY_NS;
    return Math.max(Math.abs(leastNs), Math.abs(mostNs)) <= STEP_NS && spread <= STEADY_STEP_NS;
  }
}

/** Requests come so much later there, and answers so much earlier, whatever the clocks differ by; on one host, requests tell. */
function behindNs(candidate: Candidate): number {
  const { clientNs, clientCount, serverNs, serverCount } = candidate;
  const client = clientCount === 0 ? undefined : clientNs / clientCount;
  const server = serverCount === 0 ? undefined : serverNs / serverCount;
  if (client !== undefined && server !== undefined && !isNear(candidate)) return (client - server) / 2;
  return client ?? -(server ?? 0);
}

function isNear({ leastNs, mostNs }: Candidate): boolean {
  return leastNs >= -NEAR_NS && mostNs <= NEAR_NS;
}

function hasSameHosts(a: Entry, b: Entry): boolean {
  return Buffer.compare(a.addresses, b.addresses) === 0;
}

/** Undefined: they are cut differently, and nothing can be said. */
function agree(a: Sign, b: Sign): boolean | undefined {
  if (a.stamp !== 0 && b.stamp !== 0 && a.stamp !== b.stamp) return false;
  if (a.length === b.length) return a.digest === b.digest;
  return a.headDigest !== 0 && b.headDigest !== 0 ? a.headDigest === b.headDigest : undefined;
}

function signOf(packet: Packet, fromClient: boolean): Sign | undefined {
  const { data, at, end, wireEnd, flags, sequence, sourceAt, addressBytes, ns } = packet;
  const isSyn = (flags & Flag.syn) !== 0;
  const length = wireEnd - at;
  if ((flags & Flag.rst) !== 0 || (length === 0 && !isSyn)) return undefined;
  return {
    fromClient,
    isSyn,
    sequence,
    length,
    digest: digestOf(data, at, Math.min(end, at + DIGEST_BYTES)),
    headDigest: end - at >= HEAD_BYTES ? digestOf(data, at, at + HEAD_BYTES) : 0,
    ipId: addressBytes === 4 ? uint16(data, sourceAt - 8) : 0,
    stamp: isSyn ? stampOf(packet) : 0,
    ns,
  };
}

/** A frame's header, with opcode, lengths and opaque. */
const HEAD_BYTES = 24;
const TimestampOption = { kind: 8, length: 10 } as const;

/** The first half of TCP's time stamp option; 0: there is none. */
function stampOf({ data, tcpAt, at, end }: Packet): number {
  // A snap length may cut within the options.
  const stop = Math.min(at, end, data.length);
  for (let option = tcpAt + 20; option < stop;) {
    const kind = data[option];
    if (kind === 0) return 0;
    if (kind === 1) {
      option++;
      continue;
    }
    const length = data[option + 1] ?? 0;
    if (kind === TimestampOption.kind && length === TimestampOption.length && option + 10 <= stop)
      return data.readUInt32BE(option + 2);
    if (length < 2) return 0;
    option += length;
  }
  return 0;
}

/** FNV-1a: tells apart what happens to differ, not what somebody makes alike. */
export function digestOf(data: Uint8Array, from: number, to: number): number {
  let hash = 0x811c9dc5;
  for (let at = from; at < to; at++) hash = Math.imul(hash ^ data[at]!, 0x01000193);
  return hash >>> 0;
}
