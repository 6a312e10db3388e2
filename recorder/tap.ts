// The tap: takes captured packets, of whatever file format, through the layers to the streams of the connections on
// the recorded ports. Bounded in connections and in bytes held.

import type { Capture } from '../trace/meta.ts';
import { formatEndpoint } from './address.ts';
import { TcpConnection } from './connection.ts';
import { Beginnings, REMEMBERED, Suspect, type Held } from './copies.ts';
import { Ignored, type Entry, type EntryKey } from './entry.ts';
import { FORWARDED_TURNS, Forwarders } from './forwarders.ts';
import { Hops, hostOf } from './hops.ts';
import { Layers } from './layers.ts';
import { NO_LINK_TYPE, type LinkReader } from './link.ts';
import { Layer, Packet, type Skipped } from './packet.ts';
import { Copies } from './twice.ts';
import { Ports, type PortSeen } from './ports.ts';
import { REORDER_NS, type Pool } from './reassembly.ts';
import type { StreamFactory } from './stream.ts';
import { ConnectionTable } from './table.ts';
import { Flag } from './tcp.ts';
import { UdpFlows } from './udp.ts';

/** Bytes that all connections together may hold while they wait for earlier ones. */
const MAX_HELD_BYTES = 256 * 1024 * 1024;
/** Open at the same time: some 4 kB each. */
const MAX_CONNECTIONS = 131_072;
/** Link types that are counted apart. */
const MAX_UNREAD = 64;
/** How often, in the capture's time, connections with holes are looked at. */
const SWEEP_NS = 5_000_000;

export interface TapOptions {
  /** Server ports to record. */
  ports: readonly number[];
  factory: StreamFactory;
  /** Counts are added here as packets come. */
  capture: Capture;
  /** Only what these servers are asked: `10.0.0.2` or `10.0.0.2:11211`, as formatEndpoint writes them. All if absent. */
  servers?: readonly string[];
  /** UDP ports of VXLAN besides 4789 and 8472. */
  vxlanPorts?: readonly number[];
  maxHeldBytes?: number;
  maxConnections?: number;
}

export class Tap {
  readonly skipped: Skipped = { other: 0, fragment: 0, cut: 0, malformed: 0 };
  /** Connections given up because there were too many at once. */
  evicted = 0;
  /** Packets by link type, where that is not read. */
  readonly unread = new Map<number, number>();
  readonly copies = new Copies();
  readonly #packet = new Packet();
  readonly #ports: Ports;
  readonly #factory: StreamFactory;
  readonly #capture: Capture;
  readonly #table: ConnectionTable;
  readonly #pool: Pool;
  readonly #waiting = new Set<TcpConnection>();
  readonly #layers: Layers;
  readonly hops = new Hops();
  readonly forwarders = new Forwarders();
  /** Connections to other servers than those that are recorded. */
  otherServers = 0;
  readonly #servers: ReadonlySet<string> | undefined;
  readonly #beginnings = new Beginnings();
  readonly #suspects = new Set<Suspect>();
  readonly #held: Held = { bytes: 0 };
  readonly #udp: UdpFlows;
  #sweptNs = 0;
  #sinceSweep = 0;

  constructor(options: TapOptions) {
    this.#ports = new Ports(options.ports);
    this.#factory = options.factory;
    this.#udp = new UdpFlows(options.factory, this.#ports, {
      isWanted: (server) => this.#isWanted(server),
      onCopy: (server, other) => this.copies.addFlow(server, other),
    });
    this.#servers = options.servers === undefined ? undefined : new Set(options.servers);
    this.#layers = new Layers(options.vxlanPorts, (packet) => this.#udp.datagram(packet));
    this.#capture = options.capture;
    this.#table = new ConnectionTable(options.maxConnections ?? MAX_CONNECTIONS);
    this.#pool = {
      capture: options.capture,
      heldBytes: 0,
      maxHeldBytes: options.maxHeldBytes ?? MAX_HELD_BYTES,
      reorderNs: REORDER_NS,
    };
  }

  /** Bytes held at this moment for segments that came early, overhead included. */
  get heldBytes(): number {
    return this.#pool.heldBytes;
  }

  /** Open connections at this moment. */
  get connections(): number {
    return this.#table.size;
  }

  /** Packets of connections and flows that were seen under two addresses or at two times, and UDP datagrams seen twice. */
  get copiedPackets(): number {
    return this.copies.packets + this.#udp.copies;
  }

  get portsSeen(): PortSeen[] {
    return this.#ports.seen();
  }

  /**
   * One captured packet.
   * @param data valid during the call
   * @param ns since the trace's zero
   * @param wireBytes its length on the wire; more than data.length where the snap length cut it
   */
  packet(link: LinkReader, data: Buffer, ns: number, wireBytes: number): void {
    this.#capture.packets++;
    if (wireBytes > data.length) this.#noteCut(data.length);
    const packet = this.#packet;
    packet.reset(data, ns < 0 ? 0 : ns, wireBytes);
    const layer = this.#layers.unwrap(packet, link(packet));
    if (layer === Layer.ok) {
      this.#ports.count(packet);
      if (this.#ports.isRecorded(packet)) {
        this.#capture.cutBytes += packet.wireEnd - packet.end;
        this.#segment(packet);
      }
    } else if (layer !== Layer.taken) this.#skip(layer);
    if (this.#waiting.size > 0) this.#sweep(packet.ns);
  }

  /** The snap length has left so many bytes of a packet. */
  #noteCut(bytes: number): void {
    this.#capture.cutPackets++;
    this.#capture.snapLength = Math.max(this.#capture.snapLength ?? 0, bytes);
  }

  /** The capture is over: delivers what is held and ends all streams. */
  finish(): void {
    for (const suspect of this.#suspects)
      if (suspect.judge(true, true) === 'copy') this.#accept(suspect);
      else this.#dismiss(suspect);
    for (const connection of this.#table.open()) connection.finish(false);
    this.#udp.finish();
    this.skipped.fragment = this.#layers.incomplete;
    this.#waiting.clear();
  }

  #segment(packet: Packet): void {
    const table = this.#table;
    let entry = table.find(packet);
    let fromClient = table.foundFromClient;
    if (entry instanceof Suspect) {
      if (!entry.isReopened(packet, fromClient)) return this.#suspicious(entry, packet, fromClient);
      this.#dismiss(entry);
      entry = undefined;
    }
    if (entry instanceof Ignored) return;
    let connection = entry as TcpConnection | undefined;
    if (connection !== undefined && !connection.owns(packet, fromClient)) {
      const wasClosed = connection.closed;
      connection.finish(true);
      table.remove(connection, wasClosed);
      this.#waiting.delete(connection);
      connection = undefined;
    }
    if (connection === undefined) {
      const isSyn = (packet.flags & Flag.syn) !== 0;
      // Without either, an acknowledgement, or the rest of a close: nothing to record yet.
      if ((packet.flags & Flag.rst) !== 0 || (!isSyn && packet.wireEnd === packet.at)) return;
      fromClient = this.#ports.isFromClient(packet);
      if (this.#servers !== undefined && !this.#isWanted(this.#serverOf(packet, fromClient)))
        return this.#ignore(packet, fromClient);
      const suspect = Suspect.of(
        () => this.#keyOf(packet, fromClient),
        packet,
        fromClient,
        this.#beginnings,
        this.#held,
      );
      if (suspect !== undefined) {
        this.#evict(table.add(suspect));
        this.#suspects.add(suspect);
        return this.#suspicious(suspect, packet, fromClient);
      }
      connection = this.#open(packet, fromClient, isSyn);
    } else {
      if (connection.closed) return;
      table.touch(connection);
    }
    this.#take(connection, packet, fromClient);
  }

  #take(connection: TcpConnection, packet: Packet, fromClient: boolean): void {
    if (connection.remembered < REMEMBERED) this.#beginnings.remember(connection, packet, fromClient);
    if (packet.end > packet.at) this.#hear(connection, packet, fromClient);
    connection.packet(packet, fromClient);
    this.#settle(connection);
  }

  /** Whether requests are passed on. */
  #hear(connection: TcpConnection, packet: Packet, fromClient: boolean): void {
    const { turns } = connection;
    if (turns === undefined || turns.digests.length < FORWARDED_TURNS || !turns.isAnswered)
      this.forwarders.heard(connection, packet, fromClient);
    if (fromClient && this.hops.isWatching) this.hops.request(connection, packet);
  }

  #isWanted(server: string): boolean {
    return this.#servers === undefined || this.#servers.has(server) || this.#servers.has(hostOf(server));
  }

  #serverOf(
    { data, sourceAt, targetAt, addressBytes, sourcePort, targetPort }: Packet,
    fromClient: boolean,
  ): string {
    const at = fromClient ? targetAt : sourceAt;
    return formatEndpoint(data.subarray(at, at + addressBytes), fromClient ? targetPort : sourcePort);
  }

  #ignore(packet: Packet, fromClient: boolean): void {
    this.otherServers++;
    this.#evict(this.#table.add(new Ignored(this.#keyOf(packet, fromClient))));
  }

  /** A packet of what may be a copy of another connection. */
  #suspicious(suspect: Suspect, packet: Packet, fromClient: boolean): void {
    const { original } = suspect;
    if (original !== undefined) return this.#copied(suspect, packet, fromClient);
    const verdict = suspect.take(packet, fromClient);
    if (verdict === 'copy') this.#accept(suspect);
    else if (verdict === 'other') this.#dismiss(suspect);
  }

  #accept(suspect: Suspect): void {
    const original = suspect.original!;
    this.#suspects.delete(suspect);
    this.copies.add(suspect, original);
    for (const { packet, fromClient } of suspect.release()) this.#copied(suspect, packet, fromClient);
  }

  /** A copy at the same time may have what its original lacks; one at another time has it too late. */
  #copied(suspect: Suspect, packet: Packet, fromClient: boolean): void {
    this.copies.packets++;
    this.#table.touch(suspect);
    const original = suspect.original!;
    if (!suspect.isNear || original.closed) return;
    original.packet(packet, fromClient);
    this.#settle(original);
  }

  /** It is a connection of its own: what was held back of it is told now. */
  #dismiss(suspect: Suspect): void {
    this.#suspects.delete(suspect);
    this.#table.remove(suspect, false);
    const held = suspect.release();
    const first = held[0];
    if (first === undefined) return;
    const isSyn = (first.packet.flags & Flag.syn) !== 0;
    const connection = this.#open(first.packet, first.fromClient, isSyn);
    for (const { packet, fromClient } of held) this.#take(connection, packet, fromClient);
  }

  #open(packet: Packet, fromClient: boolean, isSyn: boolean): TcpConnection {
    const { ns, addressBytes } = packet;
    const key = this.#keyOf(packet, fromClient);
    if (!isSyn) this.#capture.midstream++;
    const info = {
      client: formatEndpoint(key.addresses.subarray(0, addressBytes), key.clientPort),
      server: formatEndpoint(key.addresses.subarray(addressBytes), key.serverPort),
      openNs: isSyn ? ns : -1,
      firstNs: ns,
      midstream: !isSyn,
    };
    const connection = new TcpConnection(key, info, this.#factory.open(info), this.#pool, ns);
    this.hops.opened(info);
    this.#evict(this.#table.add(connection));
    return connection;
  }

  #keyOf(packet: Packet, fromClient: boolean): EntryKey {
    const { data, sourceAt, targetAt, addressBytes } = packet;
    const addresses = new Uint8Array(addressBytes * 2);
    addresses.set(data.subarray(sourceAt, sourceAt + addressBytes), fromClient ? 0 : addressBytes);
    addresses.set(data.subarray(targetAt, targetAt + addressBytes), fromClient ? addressBytes : 0);
    const clientPort = fromClient ? packet.sourcePort : packet.targetPort;
    const serverPort = fromClient ? packet.targetPort : packet.sourcePort;
    return { addresses, clientPort, serverPort, hash: this.#table.hash(packet) };
  }

  #evict(evicted: Entry | undefined): void {
    if (evicted === undefined) return;
    this.evicted++;
    if (evicted instanceof TcpConnection) this.#waiting.delete(evicted);
    if (evicted instanceof Suspect) this.#suspects.delete(evicted);
    evicted.finish(false);
  }

  /** After anything that may have closed the connection, or opened or filled a hole. */
  #settle(connection: TcpConnection): void {
    if (connection.closed) this.#table.retire(connection);
    if (connection.waiting === connection.queued) return;
    connection.queued = connection.waiting;
    if (connection.queued) this.#waiting.add(connection);
    else this.#waiting.delete(connection);
  }

  #sweep(ns: number): void {
    this.#sinceSweep++;
    // However many wait, looking at them costs each packet no more than four of them.
    if (Math.abs(ns - this.#sweptNs) < SWEEP_NS || this.#sinceSweep * 4 < this.#waiting.size) return;
    this.#sweptNs = ns;
    this.#sinceSweep = 0;
    for (const connection of this.#waiting) {
      connection.expire(ns);
      this.#settle(connection);
    }
  }

  #skip(layer: Layer): void {
    if (layer === Layer.other) this.skipped.other++;
    else if (layer === Layer.unread) this.#countUnread(this.#packet.linkType);
    else if (layer === Layer.cut) this.skipped.cut++;
    else if (layer === Layer.malformed) this.skipped.malformed++;
  }

  #countUnread(linkType: number): void {
    const isNew = !this.unread.has(linkType) && this.unread.size >= MAX_UNREAD;
    const counted = isNew ? NO_LINK_TYPE : linkType;
    this.unread.set(counted, (this.unread.get(counted) ?? 0) + 1);
  }
}
