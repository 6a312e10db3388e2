// Link layers: where in a captured packet the IP header begins, or a header that leads to it. One reader per link type of
// the tcpdump.org list, picked once per capture. Link types without IP, and those that are not read here, are named.

import { uint16, uint32 } from '../protocol/header.ts';
import { LLC_FOLLOWS, carriedBy, etherTypeAt, ppp, pppoe } from './ethernet.ts';
import { Layer, type Packet } from './packet.ts';

/** Moves `packet.at` to the header that it returns. */
export type LinkReader = (packet: Packet) => Layer;

const ethernet: LinkReader = () => Layer.ethernet;

// type 2, ARPHRD 2, address length 2, address 8, protocol 2; a tag follows the header as it would in Ethernet.
const cooked: LinkReader = (packet) => cookedProtocol(packet, packet.at + 2, packet.at + 14, packet.at + 16);

// protocol 2, reserved 2, interface 4, ARPHRD 2, type 1, address length 1, address 8
const cooked2: LinkReader = (packet) => cookedProtocol(packet, packet.at + 8, packet.at, packet.at + 20);

/** ARPHRD of sockets that watch netlink, whose protocol is a number of its own. */
const ARPHRD_NETLINK = 824;

function cookedProtocol(packet: Packet, hardwareAt: number, protocolAt: number, headerEnd: number): Layer {
  const { data, end } = packet;
  if (headerEnd > end) return Layer.cut;
  const protocol = uint16(data, protocolAt);
  packet.at = headerEnd;
  if (uint16(data, hardwareAt) === ARPHRD_NETLINK) return Layer.other;
  // Below the EtherTypes are Linux's own numbers, of which one says LLC.
  return protocol >= 0x0600 || protocol === LLC_FOLLOWS ? carriedBy(packet, protocol) : Layer.other;
}

// AF_INET is 2 everywhere; AF_INET6 is 10 on Linux, 24 on NetBSD and OpenBSD, 26 on Solaris, 28 on FreeBSD, 30 on macOS.
const families = new Set([2, 10, 24, 26, 28, 30]);

// DLT_NULL has the family in the capturing host's byte order, DLT_LOOP in the network's: either is accepted for both.
const loopback: LinkReader = (packet) => {
  const { data, at, end } = packet;
  if (at + 4 > end) return Layer.cut;
  packet.at = at + 4;
  return families.has(uint32(data, at)) || families.has(data.readUInt32LE(at)) ? Layer.ip : Layer.other;
};

// OpenBSD's view of IPsec: family, security parameter, flags, four bytes each, behind which the packet is in the clear.
const encapsulated: LinkReader = (packet) => {
  if (packet.at + 12 > packet.end) return Layer.cut;
  const layer = loopback(packet);
  packet.at += 8;
  return layer;
};

// OpenBSD's filter log: the header's length without its padding to four bytes, the family, and what rule it was.
const filterLog: LinkReader = (packet) => {
  const { data, at, end } = packet;
  if (at + 4 > end) return Layer.cut;
  packet.at = at + ((data[at]! + 3) & ~3);
  return families.has(data[at + 1]!) ? Layer.ip : Layer.other;
};

// The IP layer tells the version by its first nibble.
const raw: LinkReader = () => Layer.ip;

// A byte of address, one of control, and the protocol as an EtherType.
const cisco: LinkReader = (packet) => etherTypeAt(packet, packet.at + 2);

// A byte that tells the direction, then PPP.
const directedPpp: LinkReader = (packet) => {
  packet.at++;
  return ppp(packet);
};

// Two addresses of eight bytes each, and the EtherType.
const firewire: LinkReader = (packet) => etherTypeAt(packet, packet.at + 16);

// Solaris: version, family, hook 2, length 4, interfaces 4 and 4, zones 4 and 4.
const solaris: LinkReader = (packet) => {
  const { data, at, end } = packet;
  if (at + 24 > end) return Layer.cut;
  packet.at = at + 24;
  return families.has(data[at + 1]!) ? Layer.ip : Layer.other;
};

/** Attribute of NFLOG that is the packet, from its network header on. */
const NFLOG_PAYLOAD = 9;

// Family, version, group 2; then attributes: length, their four bytes of header counted, and type, in the capturing
// host's byte order; values padded to four bytes.
const nflog: LinkReader = (packet) => {
  const { at, end } = packet;
  if (at + 4 > end) return Layer.cut;
  for (const isLittleEndian of [true, false])
    if (nflogPayload(packet, at + 4, isLittleEndian)) return Layer.ip;
  return packet.wireEnd > end ? Layer.cut : Layer.other;
};

function nflogPayload(packet: Packet, from: number, isLittleEndian: boolean): boolean {
  const { data, end } = packet;
  const half = (at: number): number => (isLittleEndian ? data.readUInt16LE(at) : data.readUInt16BE(at));
  for (let at = from; at + 4 <= end;) {
    const length = half(at);
    if (length < 4) return false;
    if ((half(at + 2) & 0x7fff) === NFLOG_PAYLOAD) {
      packet.at = at + 4;
      return true;
    }
    at += (length + 3) & ~3;
  }
  return false;
}

// Apple: length of this header 4, type of what follows 4 (1: a packet), its link type 4, and what process it was; in the
// capturing host's byte order, which is little-endian since there are such captures.
const pktap: LinkReader = (packet) => {
  const { data, at, end } = packet;
  if (at + 12 > end) return Layer.cut;
  const headerBytes = data.readUInt32LE(at);
  if (headerBytes < 12 || data.readUInt32LE(at + 4) !== 1) return Layer.other;
  packet.at = Math.min(at + headerBytes, end);
  return nested(packet, data.readUInt32LE(at + 8));
};

// Per-packet information: version, flags, length 2, link type 4, little-endian.
const ppi: LinkReader = (packet) => {
  const { data, at, end } = packet;
  if (at + 8 > end) return Layer.cut;
  const headerBytes = data.readUInt16LE(at + 2);
  if (headerBytes < 8) return Layer.malformed;
  packet.at = Math.min(at + headerBytes, end);
  return nested(packet, data.readUInt32LE(at + 4));
};

/** Envelopes hold no envelopes, so that none is opened for ever. */
function nested(packet: Packet, linkType: number): Layer {
  const link = links.get(linkType);
  if (link !== undefined && link.read !== pktap && link.read !== ppi) return link.read(packet);
  packet.linkType = linkType;
  return Layer.unread;
}

const links = new Map<number, { name: string; read: LinkReader }>([
  [0, { name: 'BSD loopback', read: loopback }],
  [1, { name: 'Ethernet', read: ethernet }],
  [9, { name: 'PPP', read: ppp }],
  [12, { name: 'raw IP', read: raw }],
  [14, { name: 'raw IP', read: raw }],
  [50, { name: 'PPP in HDLC', read: ppp }],
  [51, { name: 'PPPoE', read: pppoe }],
  [101, { name: 'raw IP', read: raw }],
  [104, { name: 'Cisco HDLC', read: cisco }],
  [108, { name: 'OpenBSD loopback', read: loopback }],
  [109, { name: 'OpenBSD IPsec', read: encapsulated }],
  [113, { name: 'Linux cooked', read: cooked }],
  [117, { name: 'OpenBSD filter log', read: filterLog }],
  [138, { name: 'IP over FireWire', read: firewire }],
  // Apple's number for PKTAP before it had one of its own.
  [149, { name: 'PKTAP', read: pktap }],
  [166, { name: 'PPP with direction', read: directedPpp }],
  [192, { name: 'per-packet information', read: ppi }],
  [204, { name: 'PPP with direction', read: directedPpp }],
  [219, { name: 'MPLS', read: () => Layer.mpls }],
  [226, { name: 'IPNET of Solaris', read: solaris }],
  [228, { name: 'raw IPv4', read: raw }],
  [229, { name: 'raw IPv6', read: raw }],
  [239, { name: 'NFLOG', read: nflog }],
  [258, { name: 'PKTAP', read: pktap }],
  [276, { name: 'Linux cooked v2', read: cooked2 }],
]);

/** Those that people meet beside the ones that are read. */
const unreadNames = new Map<number, string>([
  [105, 'IEEE 802.11'],
  [119, 'IEEE 802.11 with a Prism header'],
  [127, 'IEEE 802.11 with radiotap'],
  [186, 'USB of FreeBSD'],
  [187, 'Bluetooth'],
  [189, 'USB of Linux'],
  [195, 'IEEE 802.15.4'],
  [201, 'Bluetooth'],
  [220, 'USB of Linux'],
  [227, 'CAN bus'],
  [249, 'USB of Windows'],
  [252, 'a dissection by Wireshark'],
  [253, 'netlink'],
  [254, 'Bluetooth of Linux'],
  [266, 'USB of macOS'],
  [271, 'virtual sockets'],
]);

/** The reader for a link type; one that says `unread` where it is not known here. */
export function linkReader(linkType: number): LinkReader {
  return (
    links.get(linkType)?.read ??
    ((packet) => {
      packet.linkType = linkType;
      return Layer.unread;
    })
  );
}

/** Stands for the link type of an interface that the capture does not describe. */
export const NO_LINK_TYPE = -1;

/** `220 (USB of Linux)` */
export function linkTypeName(linkType: number): string {
  const name = links.get(linkType)?.name ?? unreadNames.get(linkType);
  return name === undefined ? String(linkType) : `${linkType} (${name})`;
}

/** `1 Ethernet, 113 Linux cooked, …` */
export function linkTypesRead(): string {
  return [...links].map(([number, { name }]) => `${number} ${name}`).join(', ');
}
