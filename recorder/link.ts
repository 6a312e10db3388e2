// Link layers: where in a captured packet the IP header begins. One reader per link type, picked once per capture.

import { uint16, uint32 } from '../protocol/header.ts';
import { RecorderError } from './error.ts';
import { Layer, type Packet } from './packet.ts';

/** Moves `packet.at` to the IP header. */
export type LinkReader = (packet: Packet) => Layer;

const EtherType = {
  ipv4: 0x0800,
  ipv6: 0x86dd,
  vlan: 0x8100,
  serviceVlan: 0x88a8,
  oldServiceVlan: 0x9100,
  pppoe: 0x8864,
};

function isIp(etherType: number): boolean {
  return etherType === EtherType.ipv4 || etherType === EtherType.ipv6;
}

/** `at`: where the two bytes of the type stand; IP, or any number of VLAN tags and then IP, follows them. */
function etherTypeAt(packet: Packet, at: number): Layer {
  const { data, end } = packet;
  let typeAt = at;
  for (;;) {
    if (typeAt + 2 > end) return Layer.cut;
    const type = uint16(data, typeAt);
    if (isIp(type)) {
      packet.at = typeAt + 2;
      return Layer.ok;
    }
    if (type === EtherType.pppoe) return pppoeAt(packet, typeAt + 2);
    if (type !== EtherType.vlan && type !== EtherType.serviceVlan && type !== EtherType.oldServiceVlan)
      return Layer.other;
    typeAt += 4;
  }
}

const Ppp = { ipv4: 0x0021, ipv6: 0x0057 };

/** version and type 1, code 1, session 2, length 2, protocol 2 (RFC 2516); code 0 carries a session's data. */
function pppoeAt(packet: Packet, at: number): Layer {
  const { data, end } = packet;
  if (at + 8 > end) return Layer.cut;
  const protocol = uint16(data, at + 6);
  if (data[at + 1] !== 0 || (protocol !== Ppp.ipv4 && protocol !== Ppp.ipv6)) return Layer.other;
  packet.at = at + 8;
  return Layer.ok;
}

export const ethernet: LinkReader = (packet) => etherTypeAt(packet, packet.at + 12);

// type 2, ARPHRD 2, address length 2, address 8, protocol 2; a tag follows the header as it would in Ethernet.
const cooked: LinkReader = (packet) => etherTypeAt(packet, packet.at + 14);

// protocol 2, reserved 2, interface 4, ARPHRD 2, type 1, address length 1, address 8
const cooked2: LinkReader = (packet) => {
  const { data, at, end } = packet;
  if (at + 20 > end) return Layer.cut;
  const type = uint16(data, at);
  packet.at = at + 20;
  if (isIp(type)) return Layer.ok;
  return type === EtherType.vlan || type === EtherType.serviceVlan
    ? etherTypeAt(packet, packet.at + 2)
    : Layer.other;
};

// AF_INET is 2 everywhere; AF_INET6 is 10 on Linux, 24 on NetBSD and OpenBSD, 28 on FreeBSD, 30 on macOS. DLT_NULL has
// it in the capturing host's byte order, DLT_LOOP in the network's: either is accepted for both.
const families = new Set([2, 10, 24, 28, 30]);
const loopback: LinkReader = (packet) => {
  const { data, at, end } = packet;
  if (at + 4 > end) return Layer.cut;
  const family = uint32(data, at);
  const swapped =
    ((family & 0xff) << 24) | ((family & 0xff00) << 8) | ((family >>> 8) & 0xff00) | (family >>> 24);
  packet.at = at + 4;
  return families.has(family) || families.has(swapped) ? Layer.ok : Layer.other;
};

// The IP layer tells the version by its first nibble.
const raw: LinkReader = () => Layer.ok;

const links = new Map<number, { name: string; read: LinkReader }>([
  [0, { name: 'BSD loopback', read: loopback }],
  [1, { name: 'Ethernet', read: ethernet }],
  [12, { name: 'raw IP', read: raw }],
  [14, { name: 'raw IP', read: raw }],
  [101, { name: 'raw IP', read: raw }],
  [108, { name: 'OpenBSD loopback', read: loopback }],
  [113, { name: 'Linux cooked', read: cooked }],
  [228, { name: 'raw IPv4', read: raw }],
  [229, { name: 'raw IPv6', read: raw }],
  [276, { name: 'Linux cooked v2', read: cooked2 }],
]);

/**
 * The reader for a link type of the tcpdump.org list.
 * @throws RecorderError UNSUPPORTED
 */
export function linkReader(linkType: number): LinkReader {
  const link = links.get(linkType);
  if (link !== undefined) return link.read;
  const known = [...links].map(([number, { name }]) => `${number} ${name}`).join(', ');
  throw new RecorderError('UNSUPPORTED', `expected link type ${known}; got ${linkType}`);
}
