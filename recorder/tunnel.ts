// Tunnels in which clouds mirror traffic: VXLAN (RFC 7348) and GENEVE (RFC 8926), an Ethernet frame in a UDP datagram.

import { uint16 } from '../protocol/header.ts';
import { ethernet } from './link.ts';
import { Layer, type Packet } from './packet.ts';

const Port = { vxlan: 4789, geneve: 6081 } as const;
const UDP_HEADER_BYTES = 8;
/** VXLAN: flags, reserved, network identifier. GENEVE: as many, and options of four bytes each. */
const TUNNEL_HEADER_BYTES = 8;
/** GENEVE's protocol type of an Ethernet frame. */
const ETHERNET_FRAME = 0x6558;
/** VXLAN's flag that there is a network identifier, which is always set. */
const VXLAN_FLAG = 0x08;

/** Narrows a UDP datagram to the IP packet that it carries in a tunnel; `other` where it is none. */
export function readTunnel(packet: Packet): Layer {
  const { data, at, end } = packet;
  const inner = at + UDP_HEADER_BYTES;
  if (inner > end) return Layer.cut;
  const port = uint16(data, at + 2);
  if (port !== Port.vxlan && port !== Port.geneve) return Layer.other;
  if (inner + TUNNEL_HEADER_BYTES > end) return Layer.cut;
  if (port === Port.vxlan) {
    if ((data[inner]! & VXLAN_FLAG) === 0) return Layer.other;
    packet.at = inner + TUNNEL_HEADER_BYTES;
    return ethernet(packet);
  }
  if (data[inner]! >>> 6 !== 0 || uint16(data, inner + 2) !== ETHERNET_FRAME) return Layer.other;
  packet.at = inner + TUNNEL_HEADER_BYTES + (data[inner]! & 0x3f) * 4;
  return ethernet(packet);
}
