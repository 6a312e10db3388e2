// Proxies that pass bytes on as they are, under an address that is not the one they listen at: Docker's, a sidecar on the
// loopback. Each connection of a client is followed by one of theirs that asks the same. What tells are the first turns of
// both: the same request comes behind the first one's, and is answered before it, several times on end. Bounded in requests
// remembered.

import { HEADER_BYTES, extrasLengthAt, keyLengthAt } from '../protocol/header.ts';
import type { TcpConnection } from './connection.ts';
import { digestOf } from './copies.ts';
import { hostOf, type Proxy } from './hops.ts';
import type { Packet } from './packet.ts';
import { Recent } from './recent.ts';

const MAX_REQUESTS = 4096;
const MAX_FORWARDERS = 64;
/** A proxy connects so soon after it was connected to. */
const MAX_OPENING_NS = 1e9;
/** So many turns are compared. */
export const FORWARDED_TURNS = 3;

/** What a connection began with. */
export interface Turns {
  /** Of the first request of each turn. */
  digests: number[];
  isAnswered: boolean;
  /** The connection that asked the same before, so far. */
  front: TcpConnection | undefined;
}

export class Forwarders {
  readonly #first = new Recent<number, TcpConnection>(MAX_REQUESTS);
  readonly #found = new Map<string, Proxy>();

  get proxies(): readonly Proxy[] {
    return [...this.#found.values()];
  }

  /** One of the first segments with payload of a connection. */
  heard(connection: TcpConnection, packet: Packet, fromClient: boolean): void {
    const turns = (connection.turns ??= { digests: [], isAnswered: true, front: undefined });
    if (!fromClient) return this.#answered(connection, turns);
    // The rest of a turn may be cut otherwise, in front and behind.
    if (!turns.isAnswered || packet.end - packet.at < HEADER_BYTES) return;
    turns.isAnswered = false;
    const digest = firstFrame(packet);
    const turn = turns.digests.push(digest) - 1;
    const front = turn === 0 ? this.#first.get(digest) : turns.front;
    turns.front = front !== undefined && isAsking(front, digest, turn) ? front : undefined;
    if (turn === 0 && turns.front !== undefined && !canForward(turns.front, connection))
      turns.front = undefined;
    if (turn === 0) this.#first.set(digest, connection);
  }

  /** Behind a proxy the answer comes first. */
  #answered({ info }: TcpConnection, turns: Turns): void {
    const { front, isAnswered, digests } = turns;
    turns.isAnswered = true;
    if (isAnswered || front === undefined) return;
    const isLast = digests.length === FORWARDED_TURNS;
    const isStillAsking = front.turns?.isAnswered === false;
    if (isLast && isStillAsking) this.#add(front, info);
    if (isLast || !isStillAsking) turns.front = undefined;
  }

  #add(front: TcpConnection, info: TcpConnection['info']): void {
    const { server } = front.info;
    const name = `${server} ${info.server}`;
    if (this.#found.size >= MAX_FORWARDERS || this.#found.has(name)) return;
    this.#found.set(name, { server, behind: info.server, passed: FORWARDED_TURNS, sent: FORWARDED_TURNS });
  }
}

/** It has just asked this, in this turn, and waits. */
function isAsking({ turns }: TcpConnection, digest: number, turn: number): boolean {
  return (
    turns !== undefined &&
    !turns.isAnswered &&
    turns.digests.length === turn + 1 &&
    turns.digests[turn] === digest
  );
}

/** A client that asks two servers the same is none, unless all of it is on the loopback of one host. */
function canForward(before: TcpConnection | undefined, { info: behind }: TcpConnection): boolean {
  // One of a row of connections that ask the same holds on to no row of them.
  if (before === undefined || before.turns?.front !== undefined) return false;
  const { info: front } = before;
  const client = hostOf(behind.client);
  if (front.server === behind.server || behind.openNs < front.openNs) return false;
  if (behind.openNs - front.openNs > MAX_OPENING_NS) return false;
  return client !== hostOf(front.client) || client.startsWith('127.') || client === '[::1]';
}

/** Of the first frame: what stands before its value. */
function firstFrame({ data, at, end }: Packet): number {
  const head = HEADER_BYTES + extrasLengthAt(data, at) + keyLengthAt(data, at);
  return digestOf(data, at, Math.min(end, at + head));
}
