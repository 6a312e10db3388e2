// The addresses of a trace's connections as bytes, for formats that have real ones. What is no IP address (a name, a unix
// socket) gets one of 198.18.0.0/15, which is for benchmarks: always the same one for the same text.

import { isIP } from 'node:net';

export interface Endpoint {
  /** 4 or 16 bytes. */
  address: Buffer;
  port: number;
}

const MAX_PORT = 65_535;

export class Endpoints {
  readonly #defaultPort: number;
  readonly #names = new Map<string, number>();

  /** @param defaultPort where a server's text has none */
  constructor(defaultPort: number) {
    this.#defaultPort = defaultPort;
  }

  /** The two ends, with addresses of one version. */
  pair(client: string, server: string): { client: Endpoint; server: Endpoint } {
    const ends = { client: this.#parse(client, 40_000), server: this.#parse(server, this.#defaultPort) };
    if (ends.client.address.length === ends.server.address.length) return ends;
    return { client: asV6(ends.client), server: asV6(ends.server) };
  }

  #parse(text: string, defaultPort: number): Endpoint {
    const match = /^(?:\[(?<v6>[^\]]+)\]|(?<host>[^:]*)):(?<port>\d{1,5})$/.exec(text);
    const host = match?.groups?.['v6'] ?? match?.groups?.['host'] ?? text;
    const given = Number(match?.groups?.['port'] ?? defaultPort);
    const port = given > 0 && given <= MAX_PORT ? given : defaultPort;
    const version = isIP(host);
    if (version === 4) return { address: Buffer.from(host.split('.').map(Number)), port };
    if (version === 6) return { address: v6Bytes(host), port };
    let number = this.#names.get(host);
    if (number === undefined) this.#names.set(host, (number = this.#names.size + 1));
    return {
      address: Buffer.from([198, 18 + ((number >>> 16) & 1), (number >>> 8) & 0xff, number & 0xff]),
      port,
    };
  }
}

/** IPv4 within IPv6: ::ffff:10.0.0.7. */
function asV6({ address, port }: Endpoint): Endpoint {
  if (address.length === 16) return { address, port };
  return { address: Buffer.concat([Buffer.alloc(10), Buffer.from([0xff, 0xff]), address]), port };
}

/** @param text a valid address, perhaps with a zone, or with an IPv4 address at its end */
function v6Bytes(text: string): Buffer {
  const [bare = ''] = text.split('%');
  const hex = bare.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...bytes: string[]) => {
    const [a, b, c, d] = bytes.map(Number) as [number, number, number, number];
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });
  const [left = '', right] = hex.split('::');
  const [head, tail] = [groups(left), groups(right ?? '')];
  const all = [...head, ...Array.from({ length: 8 - head.length - tail.length }, () => 0), ...tail];
  const bytes = Buffer.alloc(16);
  for (const [n, group] of all.entries()) bytes.writeUInt16BE(group, n * 2);
  return bytes;
}

function groups(part: string): number[] {
  return part === '' ? [] : part.split(':').map((group) => parseInt(group, 16));
}
