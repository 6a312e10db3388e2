// The IP layer, versions 4 and 6: narrows a packet to what it carries, and notes where the addresses stand. IP may carry
// IP again, either version in either, or a tunnel's header.

import { uint16 } from '../protocol/header.ts';
import { Layer, type Packet } from './packet.ts';

const Next = {
  hopByHop: 0,
  ipv4: 4,
  tcp: 6,
  udp: 17,
  ipv6: 41,
  routing: 43,
  fragment: 44,
  gre: 47,
  authentication: 51,
  destination: 60,
  etherIp: 97,
  mpls: 137,
  ethernet: 143,
} as const;

/** What is read next, by the protocol's number; `other` for what is not read here. */
const carried = new Uint8Array(256).fill(Layer.other);
carried[Next.tcp] = Layer.tcp;
carried[Next.udp] = Layer.udp;
carried[Next.ipv4] = Layer.ip;
carried[Next.ipv6] = Layer.ip;
carried[Next.gre] = Layer.gre;
carried[Next.mpls] = Layer.mpls;
carried[Next.etherIp] = Layer.etherIp;
carried[Next.ethernet] = Layer.ethernet;

/** Narrows to what IP carries. Padding behind it falls away. */
export function readIp(packet: Packet): Layer {
  if (packet.at >= packet.end) return Layer.cut;
  const version = packet.data[packet.at]! >>> 4;
  if (version === 4) return readIpv4(packet);
  return version === 6 ? readIpv6(packet) : Layer.malformed;
}

function readIpv4(packet: Packet): Layer {
  const { data, at } = packet;
  if (at + 20 > packet.end) return Layer.cut;
  const headerBytes = (data[at]! & 0x0f) * 4;
  const totalBytes = uint16(data, at + 2);
  if (headerBytes < 20) return Layer.malformed;
  // 0: the packet was captured before the network card cut it up (TSO), and is as long as was captured.
  if (totalBytes !== 0) {
    if (totalBytes < headerBytes) return Layer.malformed;
    narrow(packet, at + totalBytes);
  }
  // More fragments, or a fragment's offset.
  if ((uint16(data, at + 6) & 0x3fff) !== 0) return Layer.fragment;
  packet.addressBytes = 4;
  packet.sourceAt = at + 12;
  packet.targetAt = at + 16;
  packet.at = at + headerBytes;
  const next = data[at + 9]!;
  if (next !== Next.authentication) return carried[next] as Layer;
  const layer = behindExtensions(packet, next);
  return layer === Layer.fragment ? Layer.other : layer;
}

function readIpv6(packet: Packet): Layer {
  const { data, at } = packet;
  if (at + 40 > packet.end) return Layer.cut;
  const payloadBytes = uint16(data, at + 4);
  // 0: TSO again, or a jumbogram.
  if (payloadBytes !== 0) narrow(packet, at + 40 + payloadBytes);
  packet.addressBytes = 16;
  packet.sourceAt = at + 8;
  packet.targetAt = at + 24;
  packet.at = at + 40;
  const next = data[at + 6]!;
  if (next === Next.tcp) return Layer.tcp;
  const layer = behindExtensions(packet, next);
  // Fragments are put together from the header on.
  if (layer === Layer.fragment) packet.at = at;
  return layer;
}

/** Walks the extension headers, of which the first, at `packet.at`, is `next`. */
function behindExtensions(packet: Packet, first: number): Layer {
  const { data, end } = packet;
  let next = first;
  let nextAt = packet.at;
  for (;;) {
    if (next === Next.fragment) {
      if (nextAt + 8 > end) return Layer.cut;
      // A fragment that is the whole packet is legal; the low bit says that more follow.
      if ((uint16(data, nextAt + 2) & 0xfff9) !== 0) return Layer.fragment;
      next = data[nextAt]!;
      nextAt += 8;
      continue;
    }
    const words = next === Next.authentication ? 4 : 8;
    if (words === 8 && next !== Next.hopByHop && next !== Next.routing && next !== Next.destination) break;
    if (nextAt + 2 > end) return Layer.cut;
    next = data[nextAt]!;
    // Extension headers count 8-byte words after the first; AH counts 4-byte words after the second.
    nextAt += words === 8 ? (data[nextAt + 1]! + 1) * 8 : (data[nextAt + 1]! + 2) * 4;
  }
  packet.at = nextAt;
  return carried[next] as Layer;
}

function narrow(packet: Packet, wireEnd: number): void {
  packet.wireEnd = wireEnd;
  if (packet.end > wireEnd) packet.end = wireEnd;
}
