// The TCP header: ports, sequence numbers and flags, and where the payload begins.

import { uint16, uint32 } from '../protocol/header.ts';
import { Layer, type Packet } from './packet.ts';

export const Flag = { fin: 1, syn: 2, rst: 4, ack: 16 } as const;

/** Narrows the packet to the payload. */
export function readTcp(packet: Packet): Layer {
  const { data, at, end } = packet;
  if (at + 20 > end) return packet.wireEnd > end ? Layer.cut : Layer.malformed;
  const headerBytes = (data[at + 12]! >>> 4) * 4;
  if (headerBytes < 20 || at + headerBytes > packet.wireEnd) return Layer.malformed;
  packet.sourcePort = uint16(data, at);
  packet.targetPort = uint16(data, at + 2);
  packet.sequence = uint32(data, at + 4);
  packet.acknowledgement = uint32(data, at + 8);
  packet.flags = data[at + 13]!;
  packet.tcpAt = at;
  packet.at = at + headerBytes;
  // A cut within the options leaves no payload; what there was of it is known by its length.
  if (packet.at > end) packet.end = packet.at;
  return Layer.ok;
}
