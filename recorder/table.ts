// The table of TCP connections: finds a packet's connection by addresses and ports without allocating, and forgets
// what has been quiet for longest when there are too many.

import { randomInt } from 'node:crypto';
import type { Entry } from './entry.ts';
import type { Packet } from './packet.ts';

/** What is kept of closed connections, so that their echoes open no new ones. */
const MAX_CLOSED = 16_384;

/** Connections in a row, oldest first, through the links that each of them has. */
class Row {
  oldest: Entry | undefined;
  newest: Entry | undefined;
  size = 0;

  push(connection: Entry): void {
    connection.older = this.newest;
    connection.newer = undefined;
    if (this.newest === undefined) this.oldest = connection;
    else this.newest.newer = connection;
    this.newest = connection;
    this.size++;
  }

  unlink(connection: Entry): void {
    if (connection.older === undefined) this.oldest = connection.newer;
    else connection.older.newer = connection.newer;
    if (connection.newer === undefined) this.newest = connection.older;
    else connection.newer.older = connection.older;
    this.size--;
  }
}

export class ConnectionTable {
  readonly #maxOpen: number;
  readonly #byHash = new Map<number, Entry>();
  readonly #open = new Row();
  readonly #closed = new Row();
  // Nobody outside can prepare addresses that all fall on one hash.
  readonly #seed = randomInt(0x7fffffff);
  /** Direction of the packet that find() was asked for last. */
  foundFromClient = false;

  constructor(maxOpen: number) {
    this.#maxOpen = maxOpen;
  }

  get size(): number {
    return this.#open.size;
  }

  /** The same for both directions; a small integer, which Map handles fastest. */
  hash(packet: Packet): number {
    const { data, sourceAt, targetAt, addressBytes } = packet;
    const source = this.#endpoint(data, sourceAt, addressBytes, packet.sourcePort);
    const target = this.#endpoint(data, targetAt, addressBytes, packet.targetPort);
    return (source + target) & 0x3fffffff;
  }

  find(packet: Packet): Entry | undefined {
    let connection = this.#byHash.get(this.hash(packet));
    while (connection !== undefined) {
      if (connection.addresses.length === packet.addressBytes * 2) {
        if (
          connection.serverPort === packet.targetPort &&
          connection.clientPort === packet.sourcePort &&
          hasAddresses(connection, packet, packet.sourceAt, packet.targetAt)
        ) {
          this.foundFromClient = true;
          return connection;
        }
        if (
          connection.serverPort === packet.sourcePort &&
          connection.clientPort === packet.targetPort &&
          hasAddresses(connection, packet, packet.targetAt, packet.sourceAt)
        ) {
          this.foundFromClient = false;
          return connection;
        }
      }
      connection = connection.sameHash;
    }
    return undefined;
  }

  /** Takes a connection in; returns the one that has to make room for it, if one has to. */
  add(connection: Entry): Entry | undefined {
    connection.sameHash = this.#byHash.get(connection.hash);
    this.#byHash.set(connection.hash, connection);
    this.#open.push(connection);
    if (this.#open.size <= this.#maxOpen) return undefined;
    const evicted = this.#open.oldest!;
    this.remove(evicted, false);
    return evicted;
  }

  /** There was a packet of this connection. */
  touch(connection: Entry): void {
    if (connection.closed || this.#open.newest === connection) return;
    this.#open.unlink(connection);
    this.#open.push(connection);
  }

  /** Its connection has closed; echoes still find it for a while. */
  retire(connection: Entry): void {
    this.#open.unlink(connection);
    this.#closed.push(connection);
    if (this.#closed.size > MAX_CLOSED) this.remove(this.#closed.oldest!, true);
  }

  remove(connection: Entry, retired: boolean): void {
    (retired ? this.#closed : this.#open).unlink(connection);
    const first = this.#byHash.get(connection.hash);
    if (first === connection) {
      if (connection.sameHash === undefined) this.#byHash.delete(connection.hash);
      else this.#byHash.set(connection.hash, connection.sameHash);
      return;
    }
    for (let other = first; other !== undefined; other = other.sameHash)
      if (other.sameHash === connection) other.sameHash = connection.sameHash;
  }

  /** Open connections, the one that was quiet for longest first. */
  *open(): Generator<Entry> {
    for (let connection = this.#open.oldest; connection !== undefined; connection = connection.newer)
      yield connection;
  }

  #endpoint(data: Buffer, at: number, bytes: number, port: number): number {
    let hash = this.#seed ^ port;
    for (let i = 0; i < bytes; i++) hash = Math.imul(hash ^ data[at + i]!, 0x01000193);
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
    return hash ^ (hash >>> 12);
  }
}

function hasAddresses(connection: Entry, packet: Packet, clientAt: number, serverAt: number): boolean {
  const { addresses } = connection;
  const { data, addressBytes } = packet;
  for (let i = 0; i < addressBytes; i++)
    if (addresses[i] !== data[clientAt + i] || addresses[addressBytes + i] !== data[serverAt + i])
      return false;
  return true;
}
