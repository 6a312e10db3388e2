// Wrappings at random: headers around IP packets and frames, one in the other, as switches, clouds and providers put them.

import type { Random } from '../../synth/laws/random.ts';
import { ethernet, links, type LinkType } from './packets.ts';

type Wrap = (inner: Buffer, random: Random) => Buffer;

const bytes = (...values: number[]): Buffer => Buffer.from(values);
const half = (value: number): Buffer => bytes(value >> 8, value & 0xff);
const isIpv6 = (ip: Buffer): boolean => ip[0]! >>> 4 === 6;
const macs = (random: Random): Buffer =>
  Buffer.from(Array.from({ length: 12 }, (_, n) => (n % 6 === 0 ? random.int(128) * 2 : random.int(256))));
const typeOf = (ip: Buffer): Buffer => (isIpv6(ip) ? half(0x86dd) : half(0x0800));

/** An IP header of either version around `body`. */
function ip(random: Random, protocol: number, body: Buffer): Buffer {
  if (random.chance(0.5)) {
    const header = Buffer.alloc(20, random.int(256));
    header[0] = 0x45;
    header.writeUInt16BE(20 + body.length, 2);
    header.writeUInt16BE(0x4000, 6);
    header[9] = protocol;
    return Buffer.concat([header, body]);
  }
  const isExtended = random.chance(0.3);
  const header = Buffer.alloc(40, random.int(256));
  header.writeUInt32BE(0x60000000, 0);
  const extension = bytes(protocol, 0, 1, 4, 0, 0, 0, 0);
  header.writeUInt16BE(body.length + (isExtended ? 8 : 0), 4);
  header[6] = isExtended ? 60 : protocol;
  return Buffer.concat(isExtended ? [header, extension, body] : [header, body]);
}

function udp(random: Random, port: number, body: Buffer): Buffer {
  const head = Buffer.concat([half(49_152 + random.int(1000)), half(port), half(8 + body.length), half(0)]);
  return ip(random, 17, Buffer.concat([head, body]));
}

/** With the optional words that the flags say. */
function gre(random: Random, protocol: number, body: Buffer, needed = 0): Buffer {
  let flags = needed;
  for (const flag of [0x8000, 0x2000, 0x1000]) if (protocol !== 0x88be && random.chance(0.4)) flags |= flag;
  const words = [0x8000, 0x2000, 0x1000].filter((flag) => (flags & flag) !== 0).length;
  return ip(random, 47, Buffer.concat([half(flags), half(protocol), Buffer.alloc(words * 4, 7), body]));
}

function labels(random: Random): Buffer {
  const count = 1 + random.int(4);
  return Buffer.concat(
    Array.from({ length: count }, (_, n) =>
      bytes(random.int(256), random.int(256), (random.int(128) << 1) | Number(n === count - 1), 64),
    ),
  );
}

const erspan3 = (random: Random, isIp: boolean): Buffer => {
  const hasOption = random.chance(0.5);
  const header = Buffer.alloc(hasOption ? 20 : 12, 0);
  header[0] = 0x20;
  header.writeUInt16BE(((isIp ? 2 : 0) << 10) | Number(hasOption), 10);
  return header;
};

/** The names are those of a test's failure. */
const aroundIp: Record<string, Wrap> = {
  IP: (inner, random) => ip(random, isIpv6(inner) ? 41 : 4, inner),
  GRE: (inner, random) => gre(random, isIpv6(inner) ? 0x86dd : 0x0800, inner),
  'GRE, MPLS': (inner, random) => gre(random, 0x8847, Buffer.concat([labels(random), inner])),
  'ERSPAN III of IP': (inner, random) =>
    gre(random, 0x22eb, Buffer.concat([erspan3(random, true), inner]), 0x1000),
  'MPLS in IP': (inner, random) => ip(random, 137, Buffer.concat([labels(random), inner])),
  'MPLS in UDP': (inner, random) => udp(random, 6635, Buffer.concat([labels(random), inner])),
  'GENEVE of IP': (inner, random) =>
    udp(random, 6081, Buffer.concat([bytes(1, 0), typeOf(inner), bytes(0, 0, 5, 0, 9, 9, 9, 0), inner])),
  'VXLAN-GPE of IP': (inner, random) =>
    udp(random, 4790, Buffer.concat([bytes(0x0c, 0, 0, isIpv6(inner) ? 2 : 1, 0, 0, 5, 0), inner])),
};
const aroundFrame: Record<string, Wrap> = {
  'GRE of Ethernet': (inner, random) => gre(random, 0x6558, inner),
  'ERSPAN I': (inner, random) => gre(random, 0x88be, inner),
  'ERSPAN II': (inner, random) =>
    gre(random, 0x88be, Buffer.concat([bytes(0x10, 1, 0, 5, 0, 0, 0, 9), inner]), 0x1000),
  'ERSPAN III': (inner, random) =>
    gre(random, 0x22eb, Buffer.concat([erspan3(random, false), inner]), 0x1000),
  VXLAN: (inner, random) => udp(random, 4789, Buffer.concat([bytes(8, 0, 0, 0, 0, 0, 5, 0), inner])),
  'VXLAN, 8472': (inner, random) => udp(random, 8472, Buffer.concat([bytes(8, 0, 0, 0, 0, 0, 5, 0), inner])),
  'VXLAN, 5555': (inner, random) =>
    udp(random, 5555, Buffer.concat([bytes(0x88, 0, 1, 2, 0, 0, 5, 0), inner])),
  GENEVE: (inner, random) => udp(random, 6081, Buffer.concat([bytes(0, 0, 0x65, 0x58, 0, 0, 5, 0), inner])),
  EtherIP: (inner, random) => ip(random, 97, Buffer.concat([bytes(0x30, 0), inner])),
  'pseudowire with control word': (inner, random) =>
    ip(random, 137, Buffer.concat([labels(random), Buffer.alloc(4), inner])),
};
const frames: Record<string, Wrap> = {
  Ethernet: (inner, random) => Buffer.concat([macs(random), typeOf(inner), inner]),
  VLAN: (inner, random) => Buffer.concat([macs(random), bytes(0x81, 0, 0, 7), typeOf(inner), inner]),
  QinQ: (inner, random) =>
    Buffer.concat([macs(random), bytes(0x88, 0xa8, 0, 9, 0x81, 0, 0, 7), typeOf(inner), inner]),
  'MPLS on Ethernet': (inner, random) => Buffer.concat([macs(random), half(0x8847), labels(random), inner]),
  PPPoE: (inner, random) =>
    Buffer.concat([
      macs(random),
      bytes(0x88, 0x64, 0x11, 0, 0, 1),
      half(inner.length + 2),
      half(isIpv6(inner) ? 0x57 : 0x21),
      inner,
    ]),
  SNAP: (inner, random) =>
    Buffer.concat([
      macs(random),
      half((inner.length + 8) & 0x3ff),
      bytes(0xaa, 0xaa, 3, 0, 0, 0),
      typeOf(inner),
      inner,
    ]),
  'provider backbone': (inner, random) =>
    Buffer.concat([macs(random), half(0x88e7), bytes(0, 0, 1, 2), macs(random), typeOf(inner), inner]),
};

/** Link types that hold IP beside those of `links`. */
export const moreLinks: Record<string, LinkType> = {
  NFLOG: { linkType: 239, wrap: (inner) => nflog(inner, true) },
  'NFLOG of a big-endian host': { linkType: 239, wrap: (inner) => nflog(inner, false) },
  PKTAP: { linkType: 258, wrap: (inner) => pktap(1, ethernet.wrap(inner)) },
  'PKTAP of raw IP': { linkType: 149, wrap: (inner) => pktap(12, inner) },
  'per-packet information': {
    linkType: 192,
    wrap: (inner) => Buffer.concat([bytes(0, 0, 12, 0, 1, 0, 0, 0, 1, 2, 3, 4), ethernet.wrap(inner)]),
  },
  IPNET: {
    linkType: 226,
    wrap: (inner) => Buffer.concat([bytes(1, isIpv6(inner) ? 26 : 2), Buffer.alloc(22, 1), inner]),
  },
  MPLS: { linkType: 219, wrap: (inner) => Buffer.concat([bytes(0, 1, 1, 64), inner]) },
  PPP: {
    linkType: 9,
    wrap: (inner) => Buffer.concat([bytes(0xff, 3), half(isIpv6(inner) ? 0x57 : 0x21), inner]),
  },
  'Cisco HDLC': { linkType: 104, wrap: (inner) => Buffer.concat([bytes(0x0f, 0), typeOf(inner), inner]) },
  'OpenBSD filter log': {
    linkType: 117,
    wrap: (inner) => Buffer.concat([bytes(61, isIpv6(inner) ? 24 : 2), Buffer.alloc(62, 1), inner]),
  },
  FireWire: { linkType: 138, wrap: (inner) => Buffer.concat([Buffer.alloc(16, 3), typeOf(inner), inner]) },
};

function nflog(inner: Buffer, little: boolean): Buffer {
  const word = (value: number): Buffer => (little ? bytes(value & 0xff, value >> 8) : half(value));
  const padding = Buffer.alloc((4 - (inner.length % 4)) % 4);
  return Buffer.concat([
    bytes(isIpv6(inner) ? 10 : 2, 0, 0, 5),
    word(8),
    word(1),
    typeOf(inner),
    bytes(1, 0),
    word(6),
    word(10),
    bytes(0x78, 0),
    bytes(0, 0),
    word(4 + inner.length),
    word(9),
    inner,
    padding,
  ]);
}

function pktap(linkType: number, inner: Buffer): Buffer {
  const header = Buffer.alloc(108, 1);
  for (const [n, value] of [108, 1, linkType].entries()) header.writeUInt32LE(value, n * 4);
  return Buffer.concat([header, inner]);
}

export interface Wrapping {
  name: string;
  linkType: number;
  wrap: (ip: Buffer) => Buffer;
}

/** Up to six wrappings, one in the other, below one of the link types. */
export function randomWrapping(random: Random): Wrapping {
  const steps: { name: string; wrap: Wrap }[] = [];
  const pick = (from: Record<string, Wrap>): void => {
    const names = Object.keys(from);
    const name = names[random.int(names.length)]!;
    steps.push({ name, wrap: from[name]! });
  };
  for (let depth = random.int(7); depth > 0; depth--)
    if (random.chance(0.5)) pick(aroundIp);
    else {
      pick(frames);
      pick(aroundFrame);
    }
  const all = { ...links, ...moreLinks };
  const names = Object.keys(all);
  const last = random.chance(0.4) ? names[random.int(names.length)]! : undefined;
  if (last === undefined) pick(frames);
  const link = last === undefined ? undefined : all[last]!;
  return {
    name: [...steps.map(({ name }) => name), last ?? ''].join(' < '),
    linkType: link?.linkType ?? 1,
    wrap: (inner) => {
      const whole = steps.reduce((packet, { wrap }) => wrap(packet, random), inner);
      return link?.wrap(whole) ?? whole;
    },
  };
}
