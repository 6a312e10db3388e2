// The tap: takes captured packets, of whatever file format, through the layers to the streams of the connections on
// the recorded ports. Bounded in connections and in bytes held.

import type { Capture } from '../trace/meta.ts';
import { formatEndpoint } from './address.ts';
import { TcpConnection } from './connection.ts';
import { ethernet, etherTypeAt, mpls } from './ethernet.ts';
import { Fragments } from './fragment.ts';
import { readIp } from './ip.ts';
import { NO_LINK_TYPE, type LinkReader } from './link.ts';
import { Layer, Packet, type Skipped } from './packet.ts';
import { Ports, type PortSeen } from './ports.ts';
import type { Pool } from './reassembly.ts';
import type { StreamFactory } from './stream.ts';
import { ConnectionTable } from './table.ts';
import { Flag, readTcp } from './tcp.ts';
import { etherIp, gre, UdpTunnels } from './tunnel.ts';
import { UdpFlows } from './udp.ts';

/** Bytes that all connections together may hold while they wait for earlier ones. */
const MAX_HELD_BYTES = 256 * 1024 * 1024;
const MAX_CONNECTIONS = 262_144;
/** Headers before the segment: tunnels within tunnels, which an attacker could make of thousands. */
const MAX_LAYERS = 32;
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
  readonly #packet = new Packet();
  readonly #ports: Ports;
  readonly #factory: StreamFactory;
  readonly #capture: Capture;
  readonly #table: ConnectionTable;
  readonly #pool: Pool;
  readonly #waiting = new Set<TcpConnection>();
  readonly #fragments = new Fragments();
  readonly #udp: UdpFlows;
  readonly #tunnels: UdpTunnels;
  #sweptNs = 0;
  #sinceSweep = 0;

  constructor(options: TapOptions) {
    this.#ports = new Ports(options.ports);
    this.#factory = options.factory;
    this.#udp = new UdpFlows(options.factory, this.#ports);
    this.#tunnels = new UdpTunnels(options.vxlanPorts);
    this.#capture = options.capture;
    this.#table = new ConnectionTable(options.maxConnections ?? MAX_CONNECTIONS);
    this.#pool = {
      capture: options.capture,
      heldBytes: 0,
      maxHeldBytes: options.maxHeldBytes ?? MAX_HELD_BYTES,
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
    const packet = this.#packet;
    packet.reset(data, ns < 0 ? 0 : ns, wireBytes);
    const layer = this.#unwrap(packet, link(packet));
    if (layer === Layer.ok) {
      this.#ports.count(packet);
      if (this.#ports.isRecorded(packet)) this.#segment(packet);
    } else if (layer !== Layer.taken) this.#skip(layer);
    if (this.#waiting.size > 0) this.#sweep(packet.ns);
  }

  /** The capture is over: delivers what is held and ends all streams. */
  finish(): void {
    for (const connection of this.#table.open()) connection.finish(false);
    this.#udp.finish();
    this.skipped.fragment = this.#fragments.incomplete;
    this.#waiting.clear();
  }

  /** Reads on until a TCP segment is found, or it is clear that there is none. */
  #unwrap(packet: Packet, first: Layer): Layer {
    let layer = first;
    for (let layers = 0; layers < MAX_LAYERS; layers++)
      switch (layer) {
        case Layer.ethernet:
          layer = ethernet(packet);
          break;
        case Layer.etherType:
          layer = etherTypeAt(packet, packet.at);
          break;
        case Layer.ip:
          layer = this.#ip(packet);
          break;
        case Layer.tcp:
          return readTcp(packet);
        case Layer.udp:
          if (this.#udp.datagram(packet)) return Layer.taken;
          layer = this.#tunnels.read(packet);
          break;
        case Layer.gre:
          layer = gre(packet);
          break;
        case Layer.mpls:
          layer = mpls(packet);
          break;
        case Layer.etherIp:
          layer = etherIp(packet);
          break;
        default:
          return layer;
      }
    return Layer.other;
  }

  #ip(packet: Packet): Layer {
    const layer = readIp(packet);
    if (layer !== Layer.fragment) return layer;
    return this.#fragments.take(packet) === Layer.ok ? readIp(packet) : Layer.fragment;
  }

  #segment(packet: Packet): void {
    const table = this.#table;
    let connection = table.find(packet);
    let fromClient = table.foundFromClient;
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
      connection = this.#open(packet, fromClient, isSyn);
    } else {
      if (connection.closed) return;
      table.touch(connection);
    }
    connection.packet(packet, fromClient);
    this.#settle(connection);
  }

  #open(packet: Packet, fromClient: boolean, isSyn: boolean): TcpConnection {
    const { data, ns, sourceAt, targetAt, addressBytes } = packet;
    const addresses = new Uint8Array(addressBytes * 2);
    addresses.set(data.subarray(sourceAt, sourceAt + addressBytes), fromClient ? 0 : addressBytes);
    addresses.set(data.subarray(targetAt, targetAt + addressBytes), fromClient ? addressBytes : 0);
    const clientPort = fromClient ? packet.sourcePort : packet.targetPort;
    const serverPort = fromClient ? packet.targetPort : packet.sourcePort;
    if (!isSyn) this.#capture.midstream++;
    const sink = this.#factory.open({
      client: formatEndpoint(addresses.subarray(0, addressBytes), clientPort),
      server: formatEndpoint(addresses.subarray(addressBytes), serverPort),
      openNs: isSyn ? ns : -1,
      firstNs: ns,
      midstream: !isSyn,
    });
    const key = { addresses, clientPort, serverPort, hash: this.#table.hash(packet) };
    const connection = new TcpConnection(key, sink, this.#pool, ns);
    const evicted = this.#table.add(connection);
    if (evicted !== undefined) {
      this.evicted++;
      this.#waiting.delete(evicted);
      evicted.finish(false);
    }
    return connection;
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
