// Builds captured packets for tests, byte by byte: link layers, IPv4 and IPv6, TCP, classic pcap files, and a
// conversation that keeps the sequence numbers. Checksums stay zero: nothing reads them.

export interface Segment {
  /** `10.0.0.7:51234`, `[fe80:0:0:0:0:0:0:1]:51234` with all eight groups. */
  from: string;
  to: string;
  sequence: number;
  acknowledgement?: number;
  /** Any of S A F R P. */
  flags: string;
  payload?: Uint8Array;
  /** TCP options, whole 4-byte words. */
  options?: Uint8Array;
}

export interface CapturedPacket {
  data: Buffer;
  micros: number;
  /** Length on the wire, where the capture cut it. */
  wireBytes?: number;
}

const flagBits: Record<string, number> = { F: 1, S: 2, R: 4, P: 8, A: 16 };

interface Endpoint {
  address: Buffer;
  port: number;
}

function parseEndpoint(text: string): Endpoint {
  const colon = text.lastIndexOf(':');
  const host = text.slice(0, colon);
  const port = Number(text.slice(colon + 1));
  if (!host.startsWith('[')) return { address: Buffer.from(host.split('.').map(Number)), port };
  const address = Buffer.alloc(16);
  for (const [i, group] of host.slice(1, -1).split(':').entries())
    address.writeUInt16BE(parseInt(group, 16), i * 2);
  return { address, port };
}

function tcpBytes(segment: Segment): Buffer {
  const options = segment.options ?? Buffer.alloc(0);
  const header = Buffer.alloc(20);
  header.writeUInt16BE(parseEndpoint(segment.from).port, 0);
  header.writeUInt16BE(parseEndpoint(segment.to).port, 2);
  header.writeUInt32BE(segment.sequence >>> 0, 4);
  header.writeUInt32BE((segment.acknowledgement ?? 0) >>> 0, 8);
  header[12] = (5 + options.length / 4) << 4;
  for (const flag of segment.flags) header[13]! |= flagBits[flag]!;
  header.writeUInt16BE(65_535, 14);
  return Buffer.concat([header, options, segment.payload ?? Buffer.alloc(0)]);
}

export interface IpOptions {
  protocol?: number;
  /** IPv4 options, whole 4-byte words. */
  options?: Uint8Array;
  /** The flags and offset field of IPv4. */
  fragment?: number;
  /** The length field; the true one unless given. */
  length?: number;
  /** IPv6 extension headers: type, and bytes whose first is overwritten by the next type. */
  extensions?: { type: number; bytes: Uint8Array }[];
}

/** The IP packet of a segment; the version is that of its addresses. */
export function ipBytes(segment: Segment, ip: IpOptions = {}): Buffer {
  const source = parseEndpoint(segment.from).address;
  const target = parseEndpoint(segment.to).address;
  const tcp = tcpBytes(segment);
  const protocol = ip.protocol ?? 6;
  if (source.length === 4) {
    const options = ip.options ?? Buffer.alloc(0);
    const header = Buffer.alloc(12);
    header[0] = 0x45 + options.length / 4;
    header.writeUInt16BE(ip.length ?? 20 + options.length + tcp.length, 2);
    header.writeUInt16BE(ip.fragment ?? 0x4000, 6);
    header[8] = 64;
    header[9] = protocol;
    return Buffer.concat([header, source, target, options, tcp]);
  }
  const extensions = ip.extensions ?? [];
  const chain = extensions.map(({ bytes }, i) => {
    const copy = Buffer.from(bytes);
    copy[0] = extensions[i + 1]?.type ?? protocol;
    return copy;
  });
  const payload = Buffer.concat([...chain, tcp]);
  const header = Buffer.alloc(8);
  header[0] = 0x60;
  header.writeUInt16BE(ip.length ?? payload.length, 4);
  header[6] = extensions[0]?.type ?? protocol;
  header[7] = 64;
  return Buffer.concat([header, source, target, payload]);
}

const bytes = (...values: number[]): Buffer => Buffer.from(values);
const isIpv6 = (ip: Buffer): boolean => ip[0]! >>> 4 === 6;
const etherType = (ip: Buffer): Buffer => (isIpv6(ip) ? bytes(0x86, 0xdd) : bytes(0x08, 0x00));
const macs = Buffer.alloc(12, 2);

export interface LinkType {
  linkType: number;
  wrap(ip: Buffer): Buffer;
}

const word = (value: number, little: boolean): Buffer => {
  const out = Buffer.alloc(4);
  if (little) out.writeUInt32LE(value);
  else out.writeUInt32BE(value);
  return out;
};

export const ethernet: LinkType = {
  linkType: 1,
  wrap: (ip) => {
    const frame = Buffer.concat([macs, etherType(ip), ip]);
    // The shortest frame has 60 bytes: zeros fill it up.
    return frame.length < 60 ? Buffer.concat([frame, Buffer.alloc(60 - frame.length)]) : frame;
  },
};

/** An Ethernet frame in a UDP datagram between two hosts of a cloud. */
function mirrored(port: number, head: Buffer, frame: Buffer, outerIsIpv6 = false): Buffer {
  const payload = Buffer.concat([head, frame]);
  const udp = Buffer.alloc(8);
  udp.writeUInt16BE(50_000, 0);
  udp.writeUInt16BE(port, 2);
  udp.writeUInt16BE(8 + payload.length, 4);
  const body = Buffer.concat([udp, payload]);
  const ip = outerIsIpv6 ? Buffer.alloc(40, 1) : Buffer.alloc(20, 1);
  if (outerIsIpv6) {
    ip.writeUInt32BE(0x60000000, 0);
    ip.writeUInt16BE(body.length, 4);
    ip[6] = 17;
  } else {
    ip[0] = 0x45;
    ip.writeUInt16BE(20 + body.length, 2);
    ip.writeUInt16BE(0, 6);
    ip[9] = 17;
  }
  return Buffer.concat([macs, etherType(ip), ip, body]);
}

const vxlan = bytes(8, 0, 0, 0, 0, 0, 5, 0);

export const links: Record<string, LinkType> = {
  Ethernet: ethernet,
  '802.1Q': { linkType: 1, wrap: (ip) => Buffer.concat([macs, bytes(0x81, 0, 0, 7), etherType(ip), ip]) },
  QinQ: {
    linkType: 1,
    wrap: (ip) => Buffer.concat([macs, bytes(0x88, 0xa8, 0, 9, 0x81, 0, 0, 7), etherType(ip), ip]),
  },
  PPPoE: {
    linkType: 1,
    wrap: (ip) => {
      const length = bytes((ip.length + 2) >> 8, (ip.length + 2) & 0xff);
      const head = bytes(0x88, 0x64, 0x11, 0, 0, 1);
      return Buffer.concat([macs, head, length, bytes(0, isIpv6(ip) ? 0x57 : 0x21), ip]);
    },
  },
  VXLAN: { linkType: 1, wrap: (ip) => mirrored(4789, vxlan, ethernet.wrap(ip)) },
  'VXLAN over IPv6': { linkType: 1, wrap: (ip) => mirrored(4789, vxlan, ethernet.wrap(ip), true) },
  'VXLAN in VXLAN': {
    linkType: 1,
    wrap: (ip) => mirrored(4789, vxlan, mirrored(4789, vxlan, ethernet.wrap(ip))),
  },
  'GENEVE with an option': {
    linkType: 1,
    wrap: (ip) =>
      mirrored(6081, bytes(2, 0, 0x65, 0x58, 0, 0, 5, 0, 1, 2, 3, 1, 9, 9, 9, 9), ethernet.wrap(ip)),
  },
  'Linux cooked': {
    linkType: 113,
    wrap: (ip) => Buffer.concat([bytes(0, 0, 3, 4, 0, 6), Buffer.alloc(8), etherType(ip), ip]),
  },
  'Linux cooked, tagged': {
    linkType: 113,
    wrap: (ip) =>
      Buffer.concat([bytes(0, 0, 0, 1, 0, 6), Buffer.alloc(8), bytes(0x81, 0, 0, 7), etherType(ip), ip]),
  },
  'Linux cooked v2': {
    linkType: 276,
    wrap: (ip) => Buffer.concat([etherType(ip), Buffer.alloc(18), ip]),
  },
  'Linux cooked v2, tagged': {
    linkType: 276,
    wrap: (ip) => Buffer.concat([bytes(0x81, 0), Buffer.alloc(18), bytes(0, 7), etherType(ip), ip]),
  },
  'loopback, little-endian': {
    linkType: 0,
    wrap: (ip) => Buffer.concat([word(isIpv6(ip) ? 30 : 2, true), ip]),
  },
  'loopback, big-endian': {
    linkType: 0,
    wrap: (ip) => Buffer.concat([word(isIpv6(ip) ? 28 : 2, false), ip]),
  },
  'OpenBSD loopback': {
    linkType: 108,
    wrap: (ip) => Buffer.concat([word(isIpv6(ip) ? 24 : 2, false), ip]),
  },
  'raw IP, 12': { linkType: 12, wrap: (ip) => ip },
  'raw IP, 14': { linkType: 14, wrap: (ip) => ip },
  'raw IP, 101': { linkType: 101, wrap: (ip) => ip },
};

export interface PcapInit {
  linkType?: number;
  bigEndian?: boolean;
  magic?: number;
  minorVersion?: number;
  /** Seconds since 1970 that the packets' microseconds count from. */
  epochSeconds?: number;
}

/** The bytes of a classic pcap file. */
export function pcapBytes(packets: readonly CapturedPacket[], init: PcapInit = {}): Buffer {
  const little = init.bigEndian !== true;
  const u32 = (...values: number[]): Buffer =>
    Buffer.concat(values.map((value) => word(value >>> 0, little)));
  const version = little ? bytes(2, 0, init.minorVersion ?? 4, 0) : bytes(0, 2, 0, init.minorVersion ?? 4);
  const parts = [u32(init.magic ?? 0xa1b2c3d4), version, u32(0, 0, 262_144, init.linkType ?? 1)];
  for (const { data, micros, wireBytes } of packets) {
    const seconds = (init.epochSeconds ?? 1_700_000_000) + Math.floor(micros / 1_000_000);
    const rest = ((micros % 1_000_000) + 1_000_000) % 1_000_000;
    parts.push(u32(seconds, rest, data.length, wireBytes ?? data.length), data);
  }
  return Buffer.concat(parts);
}

export interface ConversationInit {
  client?: string;
  server?: string;
  clientSequence?: number;
  serverSequence?: number;
  link?: LinkType;
  /** Time between packets, in microseconds. */
  stepMicros?: number;
  startMicros?: number;
}

/** The packets of one connection in the order that they were sent; a test may drop, repeat or move them. */
export class Conversation {
  readonly packets: CapturedPacket[] = [];
  readonly client: string;
  readonly server: string;
  clientSequence: number;
  serverSequence: number;
  micros: number;
  readonly #link: LinkType;
  readonly #stepMicros: number;

  constructor(init: ConversationInit = {}) {
    this.client = init.client ?? '10.0.0.1:40000';
    this.server = init.server ?? '10.0.0.2:11211';
    this.clientSequence = init.clientSequence ?? 1000;
    this.serverSequence = init.serverSequence ?? 9000;
    this.#link = init.link ?? ethernet;
    this.#stepMicros = init.stepMicros ?? 100;
    this.micros = init.startMicros ?? 0;
  }

  /** A packet like those of this conversation, at any sequence number; moves nothing but the clock. */
  segment(fromClient: boolean, flags: string, payload: Uint8Array = Buffer.alloc(0), offset = 0): this {
    const sequence = (fromClient ? this.clientSequence : this.serverSequence) + offset;
    const acknowledgement = fromClient ? this.serverSequence : this.clientSequence;
    const ip = ipBytes({
      from: fromClient ? this.client : this.server,
      to: fromClient ? this.server : this.client,
      sequence,
      acknowledgement: flags.includes('A') ? acknowledgement : 0,
      flags,
      payload,
    });
    this.packets.push({ data: this.#link.wrap(ip), micros: this.micros });
    this.micros += this.#stepMicros;
    return this;
  }

  open(): this {
    this.segment(true, 'S');
    this.clientSequence++;
    this.segment(false, 'SA');
    this.serverSequence++;
    return this.segment(true, 'A');
  }

  send(fromClient: boolean, payload: Uint8Array | string): this {
    const data = typeof payload === 'string' ? Buffer.from(payload) : payload;
    this.segment(fromClient, 'PA', data);
    if (fromClient) this.clientSequence += data.length;
    else this.serverSequence += data.length;
    return this;
  }

  acknowledge(fromClient: boolean): this {
    return this.segment(fromClient, 'A');
  }

  fin(fromClient: boolean): this {
    this.segment(fromClient, 'FA');
    if (fromClient) this.clientSequence++;
    else this.serverSequence++;
    return this;
  }

  reset(fromClient: boolean): this {
    return this.segment(fromClient, 'RA');
  }

  pause(micros: number): this {
    this.micros += micros;
    return this;
  }

  /** Takes the packet at `index` (from the end if negative) out: the capture missed it. */
  lose(index = -1): this {
    this.packets.splice(index, 1);
    return this;
  }
}

export interface NgInterface {
  linkType?: number;
  /** The byte of if_tsresol; absent: microseconds. */
  resolution?: number;
  /** Seconds. */
  offset?: bigint;
}

/** A block of pcapng: its type and its body, padded, between its lengths. */
export function ngBlock(type: number, body: Buffer, little = true): Buffer {
  const padded = Buffer.concat([body, Buffer.alloc((4 - (body.length % 4)) % 4)]);
  const length = word(padded.length + 12, little);
  return Buffer.concat([word(type, little), length, padded, length]);
}

/** A section header and the descriptions of its interfaces. */
export function ngSection(interfaces: readonly NgInterface[], little = true): Buffer {
  const half = (value: number): Buffer => word(value, little).subarray(little ? 0 : 2, little ? 2 : 4);
  const option = (code: number, value: Buffer): Buffer =>
    Buffer.concat([half(code), half(value.length), value, Buffer.alloc((4 - (value.length % 4)) % 4)]);
  const section = Buffer.concat([word(0x1a2b3c4d, little), half(1), half(0), Buffer.alloc(8, 0xff)]);
  return Buffer.concat([
    ngBlock(0x0a0d0d0a, section, little),
    ...interfaces.map(({ linkType = 1, resolution, offset }) => {
      const options: Buffer[] = [option(2, Buffer.from('eth0'))];
      if (resolution !== undefined) options.push(option(9, bytes(resolution)));
      if (offset !== undefined) {
        const value = Buffer.alloc(8);
        if (little) value.writeBigInt64LE(offset);
        else value.writeBigInt64BE(offset);
        options.push(option(14, value));
      }
      return ngBlock(
        1,
        Buffer.concat([half(linkType), half(0), word(0, little), ...options, word(0, little)]),
        little,
      );
    }),
  ]);
}

/** An enhanced packet block; `units` in the resolution of its interface. */
export function ngPacket(data: Buffer, units: bigint, interfaceId = 0, little = true): Buffer {
  const head = [interfaceId, Number(units >> 32n), Number(units & 0xffffffffn), data.length, data.length];
  const padding = Buffer.alloc((4 - (data.length % 4)) % 4);
  // A comment behind the packet.
  const comment = little
    ? bytes(1, 0, 2, 0, 0x68, 0x69, 0, 0, 0, 0, 0, 0)
    : bytes(0, 1, 0, 2, 0x68, 0x69, 0, 0, 0, 0, 0, 0);
  return ngBlock(
    6,
    Buffer.concat([...head.map((value) => word(value, little)), data, padding, comment]),
    little,
  );
}
