// Ports: which are recorded, which side of a packet is the server, and what TCP traffic the capture has on all ports,
// so that a recording of the wrong port can name the right one.

import { Magic } from '../protocol/header.ts';
import type { Packet } from './packet.ts';
import { Flag } from './tcp.ts';

const PORTS = 65_536;

export interface PortSeen {
  port: number;
  packets: number;
  /** Payloads on it look like the memcached binary protocol. */
  binary: boolean;
}

interface Counts {
  port: number;
  packets: number;
  payloads: number;
  binary: number;
}

export class Ports {
  readonly #recorded = new Uint8Array(PORTS);
  /** By port, where its counts stand, from 1 on: few ports are seen, and a recording of a small capture is quick. */
  readonly #place = new Uint32Array(PORTS);
  readonly #counts: Counts[] = [];

  constructor(recorded: readonly number[]) {
    for (const port of recorded) this.#recorded[port] = 1;
  }

  isRecorded(packet: Packet): boolean {
    return this.#recorded[packet.sourcePort] === 1 || this.#recorded[packet.targetPort] === 1;
  }

  /** True where the packet went from client to server: as sure as this one packet makes it. */
  isFromClient(packet: Packet): boolean {
    const { sourcePort, targetPort, flags } = packet;
    if (this.#recorded[sourcePort] !== this.#recorded[targetPort]) return this.#recorded[targetPort] === 1;
    if ((flags & Flag.syn) !== 0) return (flags & Flag.ack) === 0;
    const magic = binaryMagic(packet);
    if (magic !== 0) return magic === Magic.request;
    // Ephemeral ports are high.
    return targetPort <= sourcePort;
  }

  count(packet: Packet): void {
    const port = this.isFromClient(packet) ? packet.targetPort : packet.sourcePort;
    const place = this.#place[port]!;
    const counts = place === 0 ? this.#begin(port) : this.#counts[place - 1]!;
    counts.packets++;
    if (packet.wireEnd === packet.at) return;
    counts.payloads++;
    if (binaryMagic(packet) !== 0) counts.binary++;
  }

  /** A datagram that stands behind what may be memcached's frame header: counted where it looks like the binary protocol. */
  countDatagram(packet: Packet): void {
    packet.flags = 0;
    if (binaryMagic(packet) !== 0) this.count(packet);
  }

  #begin(port: number): Counts {
    const counts = { port, packets: 0, payloads: 0, binary: 0 };
    this.#place[port] = this.#counts.push(counts);
    return counts;
  }

  /** The busiest ports first. */
  seen(limit = 64): PortSeen[] {
    const ports = this.#counts.map(({ port, packets, payloads, binary }): PortSeen => {
      // Segments in the middle of a large value begin with anything.
      return { port, packets, binary: binary > 0 && binary * 20 >= payloads };
    });
    const sorted = ports.toSorted((a, b) => b.packets - a.packets || a.port - b.port);
    return sorted.filter(({ binary }, n) => n < limit || binary).slice(0, limit * 2);
  }
}

/** `11211`, `11300-11310`: ports as people write them. */
export function portRanges(ports: readonly number[]): string[] {
  const ranges: [from: number, to: number][] = [];
  for (const port of ports.toSorted((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last !== undefined && port === last[1] + 1) last[1] = port;
    else ranges.push([port, port]);
  }
  return ranges.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`));
}

/** The magic that the payload begins with, if what follows it can be a header (the data type is always 0), else 0. */
function binaryMagic(packet: Packet): number {
  const { data, at, end } = packet;
  if (end - at < 6) return 0;
  const magic = data[at]!;
  return (magic === Magic.request || magic === Magic.response) && data[at + 5] === 0 ? magic : 0;
}
