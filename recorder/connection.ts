// One TCP connection: who is the client, how it opened and ended, and the order in which its sink hears of it.

import { ConnectionEnd, NEVER } from '../trace/batch.ts';
import { Entry, type EntryKey } from './entry.ts';
import type { Turns } from './forwarders.ts';
import type { Packet } from './packet.ts';
import { Direction, REORDER_NS, type Outlet, type Pool } from './reassembly.ts';
import type { StreamInfo, StreamSink } from './stream.ts';
import { Flag } from './tcp.ts';

/** A SYN-ACK acknowledges the SYN, and what data a fast open sent with it. */
const MAX_FAST_OPEN_BYTES = 65_536;

/** A cycle of segments that wait for one another is released after this. */
const PARKED_NS = 1_000_000_000;
const UNPARK_PROBES = 64;

/** For this long after its end, packets of a connection are echoes of it, not the beginning of another. */
const ECHO_NS = 30_000_000_000;

/**
 * A segment that acknowledges bytes of the other side which the capture has not shown yet: it was sent after they had
 * arrived, so its own bytes wait for theirs. Answers are then told after their requests, in whatever order a capture of
 * several queues has them, and whatever it lacks.
 */
interface Parked {
  fromClient: boolean;
  sequence: number;
  acknowledgement: number;
  data: Buffer;
  missing: number;
  ns: number;
}

/** Receivers' windows are seldom larger. */
const MAX_WINDOW = 4 * 1024 * 1024;

/** The most that one connection holds; past that, what is missing is given up. */
const MAX_PARKED = 4096;
const MAX_PARKED_BYTES = 4 * 1024 * 1024;
/** What a parked segment costs besides its bytes. */
const PARKED_BYTES = 500;

export class TcpConnection extends Entry implements Outlet {
  /** Stands in the table's set of connections with holes. */
  queued = false;
  /** Packets that copies of it would be recognised by. */
  remembered = 0;
  readonly info: StreamInfo;
  /** What it began with; undefined before it asked anything. */
  turns: Turns | undefined;
  /** How far the copies of it that its names are of stand from its own packets, towards the server: see Suspect.behindNs. */
  serverNs = 0;
  clientNs = 0;
  readonly #client: Direction;
  readonly #server: Direction;
  readonly #sink: StreamSink;
  readonly #pool: Pool;
  #parked: Parked[] = [];
  #parkedBytes = 0;
  #resetNs = NEVER;
  #isResetByClient = false;
  #firstFin: ConnectionEnd = ConnectionEnd.open;
  #sinkNs: number;
  #lastNs: number;

  constructor(key: EntryKey, info: StreamInfo, sink: StreamSink, pool: Pool, ns: number) {
    super(key);
    this.info = info;
    this.#sink = sink;
    this.#pool = pool;
    this.#sinkNs = ns;
    this.#lastNs = ns;
    this.#client = new Direction(this, true, pool);
    this.#server = new Direction(this, false, pool);
  }

  /** Time alone can bring it further: expire() wants to be called. */
  get waiting(): boolean {
    return (
      this.#parked.length > 0 ||
      this.#client.waiting ||
      this.#server.waiting ||
      (this.#resetNs !== NEVER && !this.closed)
    );
  }

  /** False where the packet belongs to a later connection between the same addresses and ports. */
  owns(packet: Packet, fromClient: boolean): boolean {
    if ((packet.flags & Flag.syn) === 0) {
      if (!this.closed || packet.wireEnd === packet.at) return true;
      return packet.ns - this.#lastNs < ECHO_NS;
    }
    const self = fromClient ? this.#client : this.#server;
    const peer = fromClient ? this.#server : this.#client;
    // Of a side that was not seen yet, what the other side acknowledged says where it begins.
    const isLate = !self.settled && self.started && self.firstSequence === (packet.sequence + 1) >>> 0;
    if (this.#resetNs !== NEVER && !isLate) return false;
    if (this.closed && packet.ns - this.#lastNs > REORDER_NS) return false;
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
      self.synchronise(sequence, ns);
    }
    if ((flags & Flag.rst) !== 0) return this.#reset(packet, fromClient);
    if (this.#closeIfReset(ns)) return;
    if ((flags & Flag.ack) !== 0) {
      const peer = fromClient ? this.#server : this.#client;
      peer.acknowledged(packet.acknowledgement, ns);
    }
    const bytes = packet.wireEnd - packet.at;
    if (bytes > 0) {
      const peer = fromClient ? this.#server : this.#client;
      if ((flags & Flag.ack) !== 0 && peer.lacks(packet.acknowledgement))
        this.#park(packet, fromClient, sequence);
      else self.segment(sequence, packet.data, packet.at, packet.end, packet.wireEnd - packet.end, ns);
      if (this.#parked.length > 0) this.#unpark();
    }
    if ((flags & Flag.fin) !== 0 && self.fin((sequence + bytes) >>> 0, ns))
      if (this.#firstFin === ConnectionEnd.open)
        this.#firstFin = fromClient ? ConnectionEnd.client : ConnectionEnd.server;
    if (this.#firstFin !== ConnectionEnd.open) this.#closeIfFinished(ns);
  }

  /**
   * Bytes that were sent before a reset may be captured after it. Its payload does not count; what it acknowledges counts where
   * the other side may have sent that: a host that closes early says what it had, and one that knows nothing of the
   * connection repeats a number of the segment that it answers.
   */
  #reset({ flags, acknowledgement, ns }: Packet, fromClient: boolean): void {
    const peer = this.#side(!fromClient);
    const isTold = (flags & Flag.ack) !== 0 && peer.settled && peer.distanceTo(acknowledgement) <= MAX_WINDOW;
    if (isTold) peer.acknowledged(acknowledgement, ns);
    if (this.#resetNs !== NEVER) return;
    this.#resetNs = ns;
    this.#isResetByClient = fromClient;
  }

  /** It was seen under other addresses as well: these tell more. */
  rename(client: string, server: string): void {
    this.info.client = client;
    this.info.server = server;
    this.#sink.renamed?.();
  }

  /** Gives up holes that have been waited for long enough. */
  expire(ns: number): void {
    // A hole of the one side that is told may be what a hole of the other side waited for.
    for (let told = -1; told !== this.#client.offset + this.#server.offset;) {
      told = this.#client.offset + this.#server.offset;
      this.#expireSide(true, ns);
      this.#expireSide(false, ns);
    }
    // Each waits for the other: no host sends that, and it was waited for long enough.
    const patienceNs = Math.max(this.#client.patienceNs, this.#server.patienceNs);
    if (this.#parked.length > 0 && ns - this.#parked[0]!.ns > PARKED_NS + patienceNs) this.#release();
    this.#closeIfFinished(ns);
    this.#closeIfReset(ns);
  }

  #expireSide(isClient: boolean, ns: number): void {
    const side = this.#side(isClient);
    for (let told = -1; told !== side.offset && side.isDue(ns);) {
      told = side.offset;
      this.#tellHeld(!isClient, ns);
      side.expire(ns, this.#nextStop(isClient));
      this.#unpark();
    }
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

  /** It was where the stream stands now, however long it was waited for: what follows keeps its times. */
  gap(fromClient: boolean, bytes: number, wasCut: boolean): void {
    this.#sink.gap(fromClient, bytes, this.#sinkNs, wasCut);
  }

  #monotonic(ns: number): number {
    if (ns > this.#sinkNs) this.#sinkNs = ns;
    return this.#sinkNs;
  }

  #side(isClient: boolean): Direction {
    return isClient ? this.#client : this.#server;
  }

  /**
   * How far a hole of one side may be told at once, as a sequence number: up to what it has parked itself, and up to what
   * a parked segment of the other side acknowledges. That segment was sent there: a request behind an answer that is
   * missing, say, before the next answer, which may be missing as well.
   */
  #nextStop(isClient: boolean): number | undefined {
    const side = this.#side(isClient);
    let stop: number | undefined;
    for (const { fromClient, sequence, acknowledgement } of this.#parked) {
      const at = fromClient === isClient ? sequence : acknowledgement;
      if (fromClient !== isClient && !side.lacks(at)) continue;
      if (stop === undefined || ((at - stop) | 0) < 0) stop = at;
    }
    return stop;
  }

  /**
   * Tells what one side holds behind a hole of its own, before a hole of the other side is told. It waits for nothing of
   * the other side, so what was lost before it did not either; the other side's hole may answer it.
   */
  #tellHeld(isClient: boolean, ns: number): void {
    const side = this.#side(isClient);
    for (let held = NEVER; side.heldPieces > 0 && side.heldPieces !== held;) {
      held = side.heldPieces;
      side.giveUpToHeld(ns, this.#nextStop(isClient));
    }
    this.#unpark();
  }

  #park(packet: Packet, fromClient: boolean, sequence: number): void {
    const { acknowledgement, ns, at, end, wireEnd } = packet;
    const data = Buffer.allocUnsafeSlow(end - at);
    // The header itself may say that it goes on behind what was captured: then there is nothing to copy.
    if (end > at) packet.data.copy(data, 0, at, end);
    this.#parked.push({ fromClient, sequence, acknowledgement, data, missing: wireEnd - end, ns });
    this.#charge(data.length + PARKED_BYTES);
    const isFull = this.#parked.length > MAX_PARKED || this.#parkedBytes > MAX_PARKED_BYTES;
    if (isFull || this.#pool.heldBytes > this.#pool.maxHeldBytes) this.#release();
  }

  #charge(bytes: number): void {
    this.#parkedBytes += bytes;
    this.#pool.heldBytes += bytes;
  }

  /** Delivers what has nothing to wait for any more, which may let more go. */
  #unpark(): void {
    // Behind the first few, nothing can go before they do; looking on would cost each packet all of them.
    for (let n = 0; n < Math.min(this.#parked.length, UNPARK_PROBES);) {
      const parked = this.#parked[n]!;
      if (this.#side(!parked.fromClient).lacks(parked.acknowledgement)) {
        n++;
        continue;
      }
      this.#parked.splice(n, 1);
      this.#deliver(parked);
      n = 0;
    }
  }

  #deliver({ fromClient, sequence, data, missing, ns }: Parked): void {
    this.#charge(-data.length - PARKED_BYTES);
    this.#side(fromClient).segment(sequence, data, 0, data.length, missing, ns);
  }

  /** Nothing waits any more: what is missing is given up where it is. */
  #release(): void {
    const waiting = this.#parked;
    this.#parked = [];
    for (const parked of waiting) this.#deliver(parked);
  }

  #flush(ns: number): void {
    // Hole by hole, so that what waited for one is still told in its order.
    for (let left = this.#parked.length; left > 0; left = this.#parked.length) {
      const { fromClient, acknowledgement } = this.#parked[0]!;
      const peer = this.#side(!fromClient);
      const lacking = peer.distanceTo(acknowledgement);
      this.#tellHeld(fromClient, ns);
      peer.giveUpFirst(ns, this.#nextStop(!fromClient));
      this.#unpark();
      // Several holes may stand before what it waits for.
      if (this.#parked.length === left && peer.distanceTo(acknowledgement) === lacking) this.#release();
    }
    this.#client.flush(ns);
    this.#server.flush(ns);
  }

  #closeIfFinished(ns: number): void {
    if (this.#client.finished && this.#server.finished) this.#close(this.#firstFin, ns);
  }

  /**
   * True where it was reset so long ago that nothing of it can still come. Of the side that did not reset it, nothing may have
   * been seen yet: its capture is another host's, whose clock is behind.
   */
  #closeIfReset(ns: number): boolean {
    if (this.#resetNs === NEVER) return false;
    if (ns - this.#resetNs < this.#side(!this.#isResetByClient).patienceNs) return false;
    this.#close(ConnectionEnd.reset, this.#resetNs);
    return true;
  }

  #close(how: ConnectionEnd, ns: number): void {
    if (this.closed) return;
    this.#flush(ns);
    this.closed = true;
    this.#charge(-this.#parkedBytes);
    this.#parked = [];
    this.#client.discard();
    this.#server.discard();
    this.#sink.end(how, this.#monotonic(ns));
  }
}
