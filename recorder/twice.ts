// What was seen twice, for the notes of a recording: connections under two addresses, or at two times. Whose address stands
// in the trace is decided here too.

import { formatEndpoint } from './address.ts';
import type { TcpConnection } from './connection.ts';
import type { Suspect } from './copies.ts';

/** Pairs of addresses that are named. */
const MAX_PAIRS = 64;

export interface Pair {
  /** What the trace says. */
  server: string;
  /** The other server address; the same where only the client's, or nothing, differs. */
  other: string;
  connections: number;
  /** Where the copies come at another time: by how much, the first of them. */
  apartNs: number;
}

export class Copies {
  readonly pairs: Pair[] = [];
  connections = 0;
  packets = 0;
  readonly #known = new Map<string, Pair>();

  /**
   * Addresses are translated on the way to the server: the server's address is taken from the copy that is nearest to it, and
   * the client's from the one that is nearest to that. The server's own address is the one that tells servers behind a
   * service's address apart; the client's own tells clients apart.
   */
  add(copy: Suspect, original: TcpConnection): void {
    this.connections++;
    const half = copy.addresses.length / 2;
    const client = formatEndpoint(copy.addresses.subarray(0, half), copy.clientPort);
    const server = formatEndpoint(copy.addresses.subarray(half), copy.serverPort);
    const before = original.info;
    const [otherClient, otherServer] = [before.client, before.server];
    const { behindNs } = copy;
    const chosen = { client: otherClient, server: otherServer };
    if (behindNs > original.serverNs) {
      chosen.server = server;
      original.serverNs = behindNs;
    } else if (behindNs < original.clientNs) {
      chosen.client = client;
      original.clientNs = behindNs;
    }
    if (chosen.client !== otherClient || chosen.server !== otherServer)
      original.rename(chosen.client, chosen.server);
    this.#count(chosen.server, chosen.server === server ? otherServer : server, copy);
  }

  /** The same of UDP. */
  addFlow(server: string, other: string): void {
    this.connections++;
    this.#count(server, other, { isNear: true, apartNs: 0 });
  }

  #count(server: string, other: string, { isNear, apartNs }: Pick<Suspect, 'isNear' | 'apartNs'>): void {
    const name = `${server} ${other} ${isNear}`;
    let pair = this.#known.get(name);
    if (pair === undefined) {
      if (this.pairs.length >= MAX_PAIRS) return;
      pair = { server, other, connections: 0, apartNs: isNear ? 0 : apartNs };
      this.#known.set(name, pair);
      this.pairs.push(pair);
    }
    pair.connections++;
  }
}
