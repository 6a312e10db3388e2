// The recording proxy: clients connect to it, it connects to the server, and every byte goes through unchanged while
// the same bytes feed the pairing. It needs no right that a server does not need. Traffic comes first: whatever goes
// wrong with the recording, bytes go on.

import { connect, createServer, isIP, type AddressInfo, type Server, type Socket } from 'node:net';
import * as tls from 'node:tls';
import { ConnectionEnd } from '../trace/batch.ts';
import { formatHostPort, parseHostPort } from '../trace/address.ts';
import { Recording, type Recorded, type RecordingOptions } from './recording.ts';
import type { StreamSink } from './stream.ts';
import { UpstreamFailures } from './upstream.ts';

/** How often complete exchanges are looked for, and how often the open block goes to the disk. */
const SETTLE_MS = 100;
const FLUSH_MS = 5_000;
/** Smaller blocks than from a file, and fewer rows that wait: traffic waits while they are moved and encoded. */
const LIMITS = {
  batchRows: 16_384,
  batchBytes: 2 * 1024 * 1024,
  maxRows: 131_072,
  maxBytes: 32 * 1024 * 1024,
};

export interface ProxyOptions {
  /** Where clients connect: `host:port`; port 0 is a free one. One for each upstream. */
  listen: readonly string[];
  /** The servers behind, in the same order. */
  upstream: readonly string[];
  output: string;
  /** Clients speak TLS with this certificate and key, in PEM. */
  tls?: { cert: Buffer; key: Buffer };
  /** The servers speak TLS; `ca`, in PEM, where it is not one that the system knows. */
  upstreamTls?: { ca?: Buffer };
  recording?: RecordingOptions;
  /** A connection to a server has failed; called at once, and then every few seconds for each reason. */
  onUpstreamFailure?: (text: string) => void;
  /** Called once where the recording stops before the traffic does. */
  onRecordingError?: (error: Error) => void;
}

export interface RecordingProxy {
  /** Where it listens, in the order of `listen`. */
  readonly addresses: readonly string[];
  readonly exchanges: number;
  readonly connections: number;
  /** Connections at this moment. */
  readonly open: number;
  readonly bytesWritten: number;
  /** Writes the ring as it is now; its path, undefined without one. @throws TraceError */
  writeRing(): Promise<string | undefined>;
  /** Stops listening, closes the connections and finishes the trace. @throws TraceError WRITE */
  stop(): Promise<Recorded>;
}

/** @throws RecorderError BAD_OUTPUT · the socket's error where it cannot listen */
export async function startProxy(options: ProxyOptions): Promise<RecordingProxy> {
  const proxy = new Proxy(options);
  await proxy.listen();
  return proxy;
}

class Proxy implements RecordingProxy {
  readonly addresses: string[] = [];
  connections = 0;
  readonly #options: ProxyOptions;
  readonly #recording: Recording;
  readonly #servers: Server[] = [];
  readonly #pairs = new Set<Pair>();
  /** What clients have connected with, also those that are no clients yet: a TLS handshake is under way. */
  readonly #accepted = new Set<Socket>();
  readonly #failures: UpstreamFailures;
  readonly #startMs = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #flushedMs = performance.now();
  #error: Error | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: ProxyOptions) {
    this.#options = options;
    this.#recording = new Recording(options.output, { limits: LIMITS, ...options.recording });
    this.#failures = new UpstreamFailures(this.#recording.capture, options.onUpstreamFailure);
    const ports = options.upstream.map((address) => parseHostPort(address, 11_211).port);
    this.#recording.meta = {
      startNs: (BigInt(Math.round(performance.timeOrigin * 1000 + this.#startMs * 1000)) * 1000n).toString(),
      source: `proxy for ${options.upstream.join(', ')}`,
      ports: [...new Set(ports)],
    };
  }

  get exchanges(): number {
    return this.#recording.seen;
  }

  get open(): number {
    return this.#pairs.size;
  }

  get bytesWritten(): number {
    return this.#recording.bytesWritten;
  }

  async listen(): Promise<void> {
    const { listen, upstream } = this.#options;
    try {
      for (const [n, address] of listen.entries()) {
        const accept = (client: Socket): void => this.#accept(client, upstream[n]!);
        const options = { allowHalfOpen: true, noDelay: true };
        const server =
          this.#options.tls === undefined
            ? createServer(options, accept)
            : tls.createServer({ ...options, ...this.#options.tls }, accept);
        server.on('connection', (socket: Socket) => {
          this.#accepted.add(socket);
          socket.once('close', () => this.#accepted.delete(socket));
        });
        // A client whose handshake fails is not a client yet.
        server.on('tlsClientError', (_error, socket: Socket) => socket.destroy());
        this.#servers.push(server);
        const { host, port } = parseHostPort(address, 0);
        await new Promise<void>((resolve, reject) => {
          server.once('error', reject);
          server.listen(port, host, 511, resolve);
        });
        const bound = server.address() as AddressInfo;
        this.addresses.push(formatHostPort(bound.address, bound.port));
      }
    } catch (error) {
      for (const server of this.#servers) server.close();
      await this.#recording.abort();
      throw error;
    }
    this.#timer = setInterval(() => this.#settle(), SETTLE_MS);
  }

  writeRing(): Promise<string | undefined> {
    return this.#recording.writeRing();
  }

  async stop(): Promise<Recorded> {
    clearInterval(this.#timer);
    for (const server of this.#servers) server.close();
    for (const pair of this.#pairs) pair.destroy();
    for (const socket of this.#accepted) socket.destroy();
    await this.#writing;
    if (this.#error !== undefined) {
      await this.#recording.abort();
      throw this.#error;
    }
    return this.#recording.finish();
  }

  /** Whole microseconds, as in captures: what is finer is this process's own noise. */
  #nowNs(): number {
    return Math.round((performance.now() - this.#startMs) * 1000) * 1000;
  }

  #accept(client: Socket, upstream: string): void {
    const number = this.connections++;
    const ns = this.#nowNs();
    const { host, port } = parseHostPort(upstream, 11_211);
    const server = this.#connect(host, port);
    const info = {
      client: formatHostPort(client.remoteAddress ?? `client-${number}`, client.remotePort ?? 0),
      server: formatHostPort(host, port),
      openNs: ns,
      firstNs: ns,
      midstream: false,
    };
    const sink = this.#error === undefined ? this.#recording.exchanges.open(info) : undefined;
    let wasConnected = false;
    server.once(this.#options.upstreamTls === undefined ? 'connect' : 'secureConnect', () => {
      wasConnected = true;
    });
    server.on('error', (error) => this.#failures.note(info.server, error, wasConnected));
    const pair = new Pair(client, server, {
      data: (fromClient, data) =>
        this.#feed(sink, (to) => to.data(fromClient, data, 0, data.length, this.#nowNs())),
      end: (how) => {
        this.#pairs.delete(pair);
        this.#feed(sink, (to) => to.end(how, this.#nowNs()));
      },
    });
    this.#pairs.add(pair);
  }

  #connect(host: string, port: number): Socket {
    const { upstreamTls } = this.#options;
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
    if (upstreamTls === undefined) return socket;
    // By name, so that a certificate for it is accepted; addresses have none to send.
    const servername = isIP(host) === 0 ? { servername: host } : {};
    return tls.connect({ socket, host, ...servername, ...upstreamTls });
  }

  #feed(sink: StreamSink | undefined, give: (to: StreamSink) => void): void {
    if (sink === undefined || this.#error !== undefined) return;
    try {
      give(sink);
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #settle(): void {
    if (this.#error !== undefined) return;
    const now = performance.now();
    const flush = now - this.#flushedMs > FLUSH_MS;
    if (flush) this.#flushedMs = now;
    this.#writing = this.#writing
      .then(() => (flush ? this.#recording.flush() : this.#recording.settle(this.#nowNs())))
      .catch((error: unknown) => this.#fail(error as Error));
  }

  #fail(error: Error): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    this.#options.onRecordingError?.(error);
  }
}

interface PairEvents {
  data(fromClient: boolean, data: Buffer): void;
  end(how: ConnectionEnd): void;
}

/** A client's socket and the one to its server, each written as fast as the other is read, closed as the other closes. */
class Pair {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #events: PairEvents;
  #how: ConnectionEnd = ConnectionEnd.open;
  #closed = 0;

  constructor(client: Socket, server: Socket, events: PairEvents) {
    this.#client = client;
    this.#server = server;
    this.#events = events;
    this.#carry(client, server, true);
    this.#carry(server, client, false);
  }

  destroy(): void {
    this.#client.destroy();
    this.#server.destroy();
    this.#end();
  }

  #carry(from: Socket, to: Socket, fromClient: boolean): void {
    from.on('data', (data) => {
      this.#events.data(fromClient, data);
      if (!to.write(data)) from.pause();
    });
    to.on('drain', () => from.resume());
    from.on('end', () => {
      if (this.#how === ConnectionEnd.open)
        this.#how = fromClient ? ConnectionEnd.client : ConnectionEnd.server;
      to.end();
    });
    from.on('error', () => {
      if (this.#how === ConnectionEnd.open) this.#how = ConnectionEnd.reset;
      // The other side learns of a reset by a reset; of a server that cannot be reached likewise.
      if (to instanceof tls.TLSSocket) to.destroy();
      else to.resetAndDestroy();
    });
    from.on('close', () => {
      if (++this.#closed === 2) this.#end();
    });
  }

  #end(): void {
    if (this.#closed < 0) return;
    this.#closed = -1000;
    this.#events.end(this.#how);
  }
}
