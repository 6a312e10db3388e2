// The IP layer, versions 4 and 6: narrows a packet to its TCP segment or UDP datagram, and notes where the addresses
// stand.

import { uint16 } from '../protocol/header.ts';
import { Layer, type Packet } from './packet.ts';

const Next = {
  hopByHop: 0,
  tcp: 6,
  udp: 17,
  routing: 43,
  fragment: 44,
  authentication: 51,
  destination: 60,
} as const;

/** Narrows to what IP carries: `ok` for TCP, `udp` for UDP. Padding behind it falls away. */
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
  const next = data[at + 9];
  if (next !== Next.tcp && next !== Next.udp) return Layer.other;
  packet.addressBytes = 4;
  packet.sourceAt = at + 12;
  packet.targetAt = at + 16;
  packet.at = at + headerBytes;
  return next === Next.tcp ? Layer.ok : Layer.udp;
}

function readIpv6(packet: Packet): Layer {
  const { data, at } = packet;
  if (at + 40 > packet.end) return Layer.cut;
  const payloadBytes = uint16(data, at + 4);
  // 0: TSO again, or a jumbogram.
  if (payloadBytes !== 0) narrow(packet, at + 40 + payloadBytes);
  const { end } = packet;
  let next = data[at + 6]!;
  let nextAt = at + 40;
  while (next !== Next.tcp && next !== Next.udp) {
    if (next === Next.fragment) {
      if (nextAt + 8 > end) return Layer.cut;
      // A fragment that is the whole packet is legal; the low bit says that more follow.
      if ((uint16(data, nextAt + 2) & 0xfff9) !== 0) return Layer.fragment;
      next = data[nextAt]!;
      nextAt += 8;
      continue;
    }
    const words = next === Next.authentication ? 4 : 8;
    if (words === 8 && next !== Next.hopByHop && next !== Next.routing && next !== Next.destination)
      return Layer.other;
    if (nextAt + 2 > end) return Layer.cut;
    next = data[nextAt]!;
    // Extension headers count 8-byte words after the first; AH counts 4-byte words after the second.
    nextAt += words === 8 ? (data[nextAt + 1]! + 1) * 8 : (data[nextAt + 1]! + 2) * 4;
  }
  packet.addressBytes = 16;
  packet.sourceAt = at + 8;
  packet.targetAt = at + 24;
  packet.at = nextAt;
  return next === Next.tcp ? Layer.ok : Layer.udp;
}

function narrow(packet: Packet, wireEnd: number): void {
  packet.wireEnd = wireEnd;
  if (packet.end > wireEnd) packet.end = wireEnd;
}
