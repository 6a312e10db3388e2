// Tunnels between hosts, switches and clouds: GRE (RFC 2784, 2890, 2637) with ERSPAN, EtherIP (RFC 3378), and in UDP
// datagrams VXLAN (RFC 7348), VXLAN-GPE, GENEVE (RFC 8926), MPLS (RFC 7510) and GRE (RFC 8086).

import { uint16 } from '../protocol/header.ts';
import { carriedBy } from './ethernet.ts';
import { Layer, type Packet } from './packet.ts';

const UDP_HEADER_BYTES = 8;
/** VXLAN: flags, reserved, network identifier. GENEVE: as many, and options of four bytes each. */
const TUNNEL_HEADER_BYTES = 8;
/** VXLAN's flags: there is a network identifier, which is always so; there is a next protocol (GPE). */
const VxlanFlag = { identifier: 0x08, nextProtocol: 0x04 } as const;
const GpeNext = { ipv4: 1, ipv6: 2, ethernet: 3, mpls: 5 } as const;

const GreFlag = { checksum: 0x8000, routing: 0x4000, key: 0x2000, sequence: 0x1000, acknowledgement: 0x80 };
/** Of GRE, beside the EtherTypes. */
const GreProtocol = { erspan: 0x88be, erspan3: 0x22eb, wccp: 0x883e } as const;
const ERSPAN2_BYTES = 8;
const ERSPAN3_BYTES = 12;
/** ERSPAN III: what stands behind its header where its lowest bit says so. */
const ERSPAN3_OPTION_BYTES = 8;

type Reader = (packet: Packet) => Layer;

/** By the target's port; VXLAN's may be set. The packet stands behind the UDP header. */
export class UdpTunnels {
  readonly #readers = new Map<number, Reader>([
    [4754, () => Layer.gre],
    [4789, vxlan],
    [4790, vxlan],
    // Linux's own default, of before the number was assigned: flannel, Cilium, k3s.
    [8472, vxlan],
    [6081, geneve],
    [6635, () => Layer.mpls],
  ]);

  constructor(vxlanPorts: readonly number[] = []) {
    for (const port of vxlanPorts) this.#readers.set(port, vxlan);
  }

  /** Narrows a UDP datagram to what it carries in a tunnel; `other` where it is none. */
  read(packet: Packet): Layer {
    const { data, at, end } = packet;
    const inner = at + UDP_HEADER_BYTES;
    if (inner > end) return Layer.cut;
    const reader = this.#readers.get(uint16(data, at + 2));
    if (reader === undefined) return Layer.other;
    packet.at = inner;
    return reader(packet);
  }
}

function vxlan(packet: Packet): Layer {
  const { data, at, end } = packet;
  if (at + TUNNEL_HEADER_BYTES > end) return Layer.cut;
  const flags = data[at]!;
  if ((flags & VxlanFlag.identifier) === 0) return Layer.other;
  packet.at = at + TUNNEL_HEADER_BYTES;
  if ((flags & VxlanFlag.nextProtocol) === 0) return Layer.ethernet;
  const next = data[at + 3];
  if (next === GpeNext.ipv4 || next === GpeNext.ipv6) return Layer.ip;
  if (next === GpeNext.mpls) return Layer.mpls;
  return next === GpeNext.ethernet ? Layer.ethernet : Layer.other;
}

function geneve(packet: Packet): Layer {
  const { data, at, end } = packet;
  if (at + TUNNEL_HEADER_BYTES > end) return Layer.cut;
  if (data[at]! >>> 6 !== 0) return Layer.other;
  packet.at = at + TUNNEL_HEADER_BYTES + (data[at]! & 0x3f) * 4;
  return carriedBy(packet, uint16(data, at + 2));
}

export function gre(packet: Packet): Layer {
  const { data, at, end } = packet;
  if (at + 4 > end) return Layer.cut;
  const flags = uint16(data, at);
  const version = flags & 7;
  // Source routes are of a time before tunnels carried mirrors.
  if (version > 1 || (flags & GreFlag.routing) !== 0) return Layer.other;
  const hasSequence = (flags & GreFlag.sequence) !== 0;
  let words = 1;
  if ((flags & GreFlag.checksum) !== 0) words++;
  if ((flags & GreFlag.key) !== 0) words++;
  if (hasSequence) words++;
  if (version === 1 && (flags & GreFlag.acknowledgement) !== 0) words++;
  const protocol = uint16(data, at + 2);
  packet.at = at + words * 4;
  if (packet.at >= end) return Layer.cut;
  if (protocol === GreProtocol.erspan) return erspan(packet, hasSequence);
  if (protocol === GreProtocol.erspan3) return erspan3(packet);
  if (protocol !== GreProtocol.wccp) return carriedBy(packet, protocol);
  // WCCP's second version has four bytes before the IP header; the first has none.
  if (data[packet.at]! >>> 4 !== 4) packet.at += 4;
  return Layer.ip;
}

/** Type I is the frame alone and has no sequence numbers; type II has them, and a header whose version is 1. */
function erspan(packet: Packet, hasSequence: boolean): Layer {
  if (hasSequence && packet.data[packet.at]! >>> 4 === 1) packet.at += ERSPAN2_BYTES;
  return Layer.ethernet;
}

function erspan3(packet: Packet): Layer {
  const { data, at, end } = packet;
  if (at + ERSPAN3_BYTES > end) return Layer.cut;
  const last = uint16(data, at + 10);
  packet.at = at + ERSPAN3_BYTES + ((last & 1) === 1 ? ERSPAN3_OPTION_BYTES : 0);
  // The frame's type: 0 Ethernet, 2 IP.
  const frameType = (last >>> 10) & 0x1f;
  if (frameType === 2) return Layer.ip;
  return frameType === 0 ? Layer.ethernet : Layer.other;
}

/** A version, 3, and reserved bits before a frame. */
export function etherIp(packet: Packet): Layer {
  const { data, at, end } = packet;
  if (at + 2 > end) return Layer.cut;
  packet.at = at + 2;
  return data[at]! >>> 4 === 3 ? Layer.ethernet : Layer.other;
}
