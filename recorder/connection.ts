// One TCP connection: who is the client, how it opened and ended, and the order in which its sink hears of it.

import { ConnectionEnd, NEVER } from '../trace/batch.ts';
import type { Packet } from './packet.ts';
import { Direction, REORDER_NS, type Outlet, type Pool } from './reassembly.ts';
import type { StreamSink } from './stream.ts';
import { Flag } from './tcp.ts';

/** A SYN-ACK acknowledges the SYN, and what data a fast open sent with it. */
const MAX_FAST_OPEN_BYTES = 65_536;

/** For this long after its end, packets of a connection are echoes of it, not the beginning of another. */
const ECHO_NS = 30_000_000_000;

export class TcpConnection implements Outlet {
  /** The client's address, then the server's. */
  readonly addresses: Uint8Array;
  readonly clientPort: number;
  readonly serverPort: number;
  readonly hash: number;
  // Links of the table: connections of the same hash, and neighbours in the list by last activity.
  sameHash: TcpConnection | undefined;
  older: TcpConnection | undefined;
  newer: TcpConnection | undefined;

  /** Stands in the table's set of connections with holes. */
  queued = false;
  closed = false;
  readonly #client: Direction;
  readonly #server: Direction;
  readonly #sink: StreamSink;
  #resetNs = NEVER;
  #firstFin: ConnectionEnd = ConnectionEnd.open;
  #sinkNs: number;
  #lastNs: number;

  constructor(
    key: { addresses: Uint8Array; clientPort: number; serverPort: number; hash: number },
    sink: StreamSink,
    pool: Pool,
    ns: number,
  ) {
    this.addresses = key.addresses;
    this.clientPort = key.clientPort;
    this.serverPort = key.serverPort;
    this.hash = key.hash;
    this.#sink = sink;
    this.#sinkNs = ns;
    this.#lastNs = ns;
    this.#client = new Direction(this, true, pool);
    this.#server = new Direction(this, false, pool);
  }

  /** Time alone can bring it further: expire() wants to be called. */
  get waiting(): boolean {
    return this.#client.waiting || this.#server.waiting || (this.#resetNs !== NEVER && !this.closed);
  }

  /** False where the packet belongs to a later connection between the same addresses and ports. */
  owns(packet: Packet, fromClient: boolean): boolean {
    if ((packet.flags & Flag.syn) === 0) {
      if (!this.closed || packet.wireEnd === packet.at) return true;
      return packet.ns - this.#lastNs < ECHO_NS;
    }
    if (this.#resetNs !== NEVER) return false;
    const self = fromClient ? this.#client : this.#server;
    const peer = fromClient ? this.#server : this.#client;
    if (self.settled && self.firstSequence !== (packet.sequence + 1) >>> 0) return false;
    if ((packet.flags & Flag.ack) === 0 || !peer.settled) return true;
    const answered = (packet.acknowledgement - peer.firstSequence) | 0;
    return answered >= 0 && answered <= MAX_FAST_OPEN_BYTES;
  }

  packet(packet: Packet, fromClient: boolean): void {
    if (this.closed) return;
    const { flags, ns } = packet;
    this.#lastNs = ns;
    const self = fromClient ? this.#client : this.#server;
    let sequence = packet.sequence;
    if ((flags & Flag.syn) !== 0) {
      sequence = (sequence + 1) >>> 0;
      self.start(sequence, true);
    }
    // A reset answers what its sender knows nothing of: neither its acknowledgement nor its payload counts. Bytes that
    // were sent before it may be captured after it.
    if ((flags & Flag.rst) !== 0) {
      if (this.#resetNs === NEVER) this.#resetNs = ns;
      return;
    }
    if (this.#closeIfReset(ns)) return;
    if ((flags & Flag.ack) !== 0) {
      const peer = fromClient ? this.#server : this.#client;
      peer.acknowledged(packet.acknowledgement, ns);
    }
    const bytes = packet.wireEnd - packet.at;
    if (bytes > 0)
      self.segment(sequence, packet.data, packet.at, packet.end, packet.wireEnd - packet.end, ns);
    if ((flags & Flag.fin) !== 0 && self.fin((sequence + bytes) >>> 0, ns))
      if (this.#firstFin === ConnectionEnd.open)
        this.#firstFin = fromClient ? ConnectionEnd.client : ConnectionEnd.server;
    if (this.#firstFin !== ConnectionEnd.open) this.#closeIfFinished(ns);
  }

  /** Gives up holes that have been waited for long enough. */
  expire(ns: number): void {
    this.#client.expire(ns);
    this.#server.expire(ns);
    this.#closeIfFinished(ns);
    this.#closeIfReset(ns);
  }

  /** Ends it early: the capture is over, its table is full, or its ports were reused (then it had closed). */
  finish(reused: boolean): void {
    if (this.closed) return;
    this.#flush(this.#lastNs);
    this.#closeIfFinished(this.#lastNs);
    if (this.#resetNs !== NEVER) this.#close(ConnectionEnd.reset, this.#resetNs);
    if (!this.closed) this.#close(reused ? this.#firstFin : ConnectionEnd.open, this.#lastNs);
  }

  data(fromClient: boolean, data: Buffer, start: number, end: number, ns: number): void {
    this.#sink.data(fromClient, data, start, end, this.#monotonic(ns));
  }

  gap(fromClient: boolean, bytes: number, ns: number): void {
    this.#sink.gap(fromClient, bytes, this.#monotonic(ns));
  }

  #monotonic(ns: number): number {
    if (ns > this.#sinkNs) this.#sinkNs = ns;
    return this.#sinkNs;
  }

  #flush(ns: number): void {
    this.#client.flush(ns);
    this.#server.flush(ns);
  }

  #closeIfFinished(ns: number): void {
    if (this.#client.finished && this.#server.finished) this.#close(this.#firstFin, ns);
  }

  /** True where it was reset so long ago that nothing of it can still come. */
  #closeIfReset(ns: number): boolean {
    if (this.#resetNs === NEVER || ns - this.#resetNs < REORDER_NS) return false;
    this.#close(ConnectionEnd.reset, this.#resetNs);
    return true;
  }

  #close(how: ConnectionEnd, ns: number): void {
    if (this.closed) return;
    this.#flush(ns);
    this.closed = true;
    this.#client.discard();
    this.#server.discard();
    this.#sink.end(how, this.#monotonic(ns));
  }
}
