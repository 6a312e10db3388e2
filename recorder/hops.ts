// Proxies in a capture: a host that is a server on a recorded port and a client of other servers there. Each request may
// then stand in the recording twice, once before the proxy and once behind it. Hosts of a cluster that each have a server and
// are clients of the others look alike, so requests are compared. Bounded in hosts and requests remembered.

import type { TcpConnection } from './connection.ts';
import { digestOf } from './copies.ts';
import type { Packet } from './packet.ts';
import { Recent } from './recent.ts';

const MAX_HOSTS = 16_384;
const MAX_REQUESTS = 16_384;
const MAX_PROXIES = 64;
const DIGEST_BYTES = 256;
/** A proxy passes a request on within this time. */
const PASSED_NS = 1e9;
/** So many requests, and this share of those that the host sends, were passed on: it is a proxy. */
const MIN_PASSED = 3;
const MIN_SHARE = 0.5;
/** Where in a request's header the opaque stands, which proxies may change. */
const OPAQUE = { at: 12, end: 16 } as const;

export interface Proxy {
  /** Its address as a server. */
  server: string;
  /** A server behind it. */
  behind: string;
  passed: number;
  sent: number;
}

interface Asked {
  host: string;
  ns: number;
}

export class Hops {
  /** Addresses by host, of those that were seen as a server. */
  readonly #servers = new Map<string, string>();
  readonly #clients = new Map<string, string>();
  readonly #proxies = new Map<string, Proxy>();
  readonly #asked = new Recent<number, Asked>(MAX_REQUESTS);

  /** Some host is both, and requests have to be compared. */
  get isWatching(): boolean {
    return this.#proxies.size > 0;
  }

  /** Those that pass requests on. */
  get proxies(): Proxy[] {
    return [...this.#proxies.values()].filter(
      ({ passed, sent }) => passed >= MIN_PASSED && passed >= sent * MIN_SHARE,
    );
  }

  opened({ client, server }: TcpConnection['info']): void {
    const [from, to] = [hostOf(client), hostOf(server)];
    if (from === to) return;
    if (this.#servers.size < MAX_HOSTS) this.#servers.set(to, server);
    if (this.#clients.size < MAX_HOSTS) this.#clients.set(from, server);
    this.#meet(from);
    this.#meet(to);
  }

  /** A segment from a client. */
  request(connection: TcpConnection, { data, at, end, ns }: Packet): void {
    if (end - at < OPAQUE.end) return;
    const { client, server } = connection.info;
    const head = digestOf(data, at, at + OPAQUE.at);
    const digest =
      (head ^ Math.imul(digestOf(data, at + OPAQUE.end, Math.min(end, at + DIGEST_BYTES)), 31)) >>> 0;
    const proxy = this.#proxies.get(hostOf(client));
    if (proxy !== undefined) {
      proxy.sent++;
      const asked = this.#asked.get(digest);
      if (asked?.host === hostOf(client) && ns - asked.ns <= PASSED_NS) proxy.passed++;
    }
    if (!this.#proxies.has(hostOf(server))) return;
    this.#asked.set(digest, { host: hostOf(server), ns });
  }

  #meet(host: string): void {
    const server = this.#servers.get(host);
    const behind = this.#clients.get(host);
    if (server === undefined || behind === undefined || this.#proxies.has(host)) return;
    if (this.#proxies.size < MAX_PROXIES) this.#proxies.set(host, { server, behind, passed: 0, sent: 0 });
  }
}

/** An address without its port. */
export function hostOf(endpoint: string): string {
  return endpoint.slice(0, endpoint.lastIndexOf(':'));
}
