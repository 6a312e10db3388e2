// Where workers fetch the trace and hand in their results: a small HTTP server beside the run. A trace can be fetched from any
// byte on; results are taken once, of the attempt that was chosen for their shard, and with their checksum.

import { createHash, timingSafeEqual } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { formatHostPort } from '../trace/address.ts';

export interface DepotOptions {
  /** The address to listen on. */
  host: string;
  port: number;
  token: string;
  /** Undefined where there is a model instead. */
  trace: { path: string; bytes: number } | undefined;
  /** Where results are put. */
  folder: string;
  /** Whether these results are wanted. */
  takes: (index: number, attempt: string) => boolean;
  onResults: (index: number, path: string) => void;
}

export class Depot {
  readonly #server: Server;
  readonly #options: DepotOptions;
  readonly #taking = new Set<number>();

  private constructor(options: DepotOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch(() => response.destroy());
    });
  }

  /** @throws Error where the address cannot be listened on */
  static async start(options: DepotOptions): Promise<Depot> {
    const depot = new Depot(options);
    await new Promise<void>((resolve, reject) => {
      depot.#server.once('error', reject);
      depot.#server.listen(options.port, options.host, resolve);
    });
    return depot;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** @param host as workers know this machine */
  url(host: string): string {
    return `http://${formatHostPort(host, this.port)}`;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method, url = '' } = request;
    if (!isLetIn(request.headers.authorization ?? '', this.#options.token)) return answer(response, 403);
    if (method === 'GET' && url === '/trace') return this.#trace(request, response);
    const [, index, attempt] = /^\/results\/(\d{1,4})\/([0-9a-f]{32})$/.exec(url) ?? [];
    if (method === 'PUT' && attempt !== undefined)
      return this.#take(request, response, Number(index), attempt);
    answer(response, 404);
  }

  async #trace(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { trace } = this.#options;
    if (trace === undefined) return answer(response, 404);
    const start = Number(/^bytes=(\d{1,16})-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    if (start > trace.bytes) return answer(response, 416);
    response.writeHead(start > 0 ? 206 : 200, {
      'content-type': 'application/octet-stream',
      'content-length': trace.bytes - start,
      ...(start > 0 ? { 'content-range': `bytes ${start}-${trace.bytes - 1}/${trace.bytes}` } : {}),
    });
    // A file that has grown meanwhile is not the one that was announced: its checksum will tell.
    if (start === trace.bytes) response.end();
    else await pipeline(createReadStream(trace.path, { start, end: trace.bytes - 1 }), response);
  }

  async #take(
    request: IncomingMessage,
    response: ServerResponse,
    index: number,
    attempt: string,
  ): Promise<void> {
    const { takes, folder, onResults } = this.#options;
    if (!takes(index, attempt) || this.#taking.has(index)) return answer(response, 409);
    this.#taking.add(index);
    const part = join(folder, `${index}.part`);
    const path = join(folder, `${index}.results`);
    try {
      const hash = createHash('sha256');
      request.on('data', (chunk: Buffer) => hash.update(chunk));
      await pipeline(request, createWriteStream(part));
      if (hash.digest('hex') !== request.headers['x-sha256']) return answer(response, 422);
      // Whoever was given up meanwhile is not taken after all.
      if (!takes(index, attempt)) return answer(response, 409);
      await rename(part, path);
      answer(response, 204);
      onResults(index, path);
    } finally {
      this.#taking.delete(index);
      await rm(part, { force: true });
    }
  }
}

function isLetIn(given: string, token: string): boolean {
  const [a, b] = [given, `Bearer ${token}`].map((text) => createHash('sha256').update(text).digest());
  return timingSafeEqual(a!, b!);
}

function answer(response: ServerResponse, status: number): void {
  response.writeHead(status, { 'content-length': 0, connection: 'close' }).end();
}
