// Ethernet and what else says by an EtherType what it carries: VLAN tags, LLC with SNAP, PPPoE, MPLS, provider backbones.

import { uint16 } from '../protocol/header.ts';
import { Layer, type Packet } from './packet.ts';

const EtherType = {
  ipv4: 0x0800,
  ipv6: 0x86dd,
  vlan: 0x8100,
  serviceVlan: 0x88a8,
  oldServiceVlans: [0x9100, 0x9200, 0x9300],
  pppoe: 0x8864,
  mpls: 0x8847,
  mplsMulticast: 0x8848,
  /** A whole Ethernet frame: GRE, GENEVE, and Linux's cooked captures of such devices. */
  ethernet: 0x6558,
  /** IEEE 802.1ah: a service tag of four bytes, then the customer's frame. */
  backbone: 0x88e7,
  ppp: 0x880b,
} as const;
const Ppp = { ipv4: 0x0021, ipv6: 0x0057, mpls: 0x0281, mplsMulticast: 0x0283 } as const;
/** Smaller is no type but the length of an IEEE 802.3 frame. */
const MIN_ETHER_TYPE = 0x0600;
/** LLC: SNAP's two service points and "unnumbered information"; then three bytes of organisation, all 0 for an EtherType. */
const SNAP = 0xaaaa03;

/** What Linux writes in place of an EtherType where the frame begins with LLC (ETH_P_802_2). */
export const LLC_FOLLOWS = 0x0004;

const isVlan = (type: number): boolean =>
  type === EtherType.vlan ||
  type === EtherType.serviceVlan ||
  EtherType.oldServiceVlans.some((old) => old === type);

/** Whether a packet of this EtherType can hold IP. */
function isKnownType(type: number): boolean {
  return isVlan(type) || Object.values(EtherType).some((known) => known === type);
}

/** The packet stands behind its EtherType, at what `type` names. */
export function carriedBy(packet: Packet, type: number): Layer {
  if (type === EtherType.ipv4 || type === EtherType.ipv6) return Layer.ip;
  if (isVlan(type)) {
    // The tag's number, and the next type.
    packet.at += 2;
    return Layer.etherType;
  }
  switch (type) {
    case EtherType.pppoe:
      return pppoe(packet);
    case EtherType.mpls:
    case EtherType.mplsMulticast:
      return Layer.mpls;
    case EtherType.ethernet:
      return Layer.ethernet;
    case EtherType.ppp:
      return ppp(packet);
    case EtherType.backbone:
      packet.at += 4;
      return Layer.ethernet;
    case LLC_FOLLOWS:
      return llc(packet);
    default:
      return type < MIN_ETHER_TYPE ? llc(packet) : Layer.other;
  }
}

/** `at`: where the two bytes of the type stand. */
export function etherTypeAt(packet: Packet, at: number): Layer {
  if (at + 2 > packet.end) return Layer.cut;
  packet.at = at + 2;
  return carriedBy(packet, uint16(packet.data, at));
}

export function ethernet(packet: Packet): Layer {
  return etherTypeAt(packet, packet.at + 12);
}

function llc(packet: Packet): Layer {
  const { data, at, end } = packet;
  if (at + 8 > end) return Layer.cut;
  if (data.readUIntBE(at, 3) !== SNAP || data.readUIntBE(at + 3, 3) !== 0) return Layer.other;
  const type = uint16(data, at + 6);
  if (type < MIN_ETHER_TYPE) return Layer.other;
  packet.at = at + 8;
  return carriedBy(packet, type);
}

/** version and type 1, code 1, session 2, length 2, then PPP (RFC 2516); code 0 carries a session's data. */
export function pppoe(packet: Packet): Layer {
  const { data, at, end } = packet;
  if (at + 8 > end) return Layer.cut;
  if (data[at + 1] !== 0) return Layer.other;
  packet.at = at + 6;
  return ppp(packet);
}

/** PPP's protocol, in one byte where it is compressed; HDLC's address and control may stand before it. */
export function ppp(packet: Packet): Layer {
  const { data, end } = packet;
  let at = packet.at;
  if (at + 4 > end) return Layer.cut;
  if (data[at] === 0xff && data[at + 1] === 0x03) at += 2;
  const isShort = (data[at]! & 1) === 1;
  const protocol = isShort ? data[at]! : uint16(data, at);
  packet.at = at + (isShort ? 1 : 2);
  if (protocol === Ppp.ipv4 || protocol === Ppp.ipv6) return Layer.ip;
  return protocol === Ppp.mpls || protocol === Ppp.mplsMulticast ? Layer.mpls : Layer.other;
}

/** Labels of four bytes, the last of which has the bottom bit; nothing says what follows, so its looks decide (RFC 4385). */
export function mpls(packet: Packet): Layer {
  const { data, end } = packet;
  let at = packet.at;
  do {
    if (at + 4 > end) return Layer.cut;
    at += 4;
  } while ((data[at - 2]! & 1) === 0);
  if (at >= end) return Layer.cut;
  packet.at = at;
  const first = data[at]!;
  // A frame's address can begin with such a nibble too: then a type that is known stands at its place.
  const isFrame = (from: number): boolean =>
    from + 14 <= end &&
    (isKnownType(uint16(data, from + 12)) || (from + 17 <= end && data.readUIntBE(from + 14, 3) === SNAP));
  if ((first >>> 4 === 4 && (first & 0x0f) >= 5) || first >>> 4 === 6) return Layer.ip;
  // A control word, whose first nibble is 0, stands before the frame, or not.
  if (first >>> 4 === 0 && isFrame(at + 4)) packet.at = at + 4;
  return Layer.ethernet;
}
