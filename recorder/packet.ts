// One packet on its way through the layers: a single record, reused for every packet, that each layer narrows to what
// it carries. Offsets only, no copies.

/** What a layer made of a packet. */
export const Layer = {
  /** Narrowed to the payload of a TCP segment. */
  ok: 0,
  /** Carries something else than what is recorded here (ARP, DNS, …). */
  other: 1,
  /** An IP fragment, of a datagram that is not whole (yet). */
  fragment: 2,
  /** The capture's snap length cut the headers. */
  cut: 3,
  /** Headers that contradict themselves. */
  malformed: 4,
  /** Of a link type that is not read here; `linkType` says which. */
  unread: 5,
  /** Stands at the header that the name says, which is read next. */
  udp: 6,
  tcp: 7,
  ip: 8,
  ethernet: 9,
  etherType: 14,
  mpls: 10,
  gre: 11,
  etherIp: 12,
  /** A datagram of memcached, which was handed on. */
  taken: 13,
} as const;
export type Layer = (typeof Layer)[keyof typeof Layer];

/** Packets that no connection got, by reason. */
export interface Skipped {
  other: number;
  fragment: number;
  cut: number;
  malformed: number;
}

export class Packet {
  data: Buffer = Buffer.alloc(0);
  /** Time in ns since the trace's zero. */
  ns = 0;
  /** Where the layer to read next begins. */
  at = 0;
  /** Where the captured bytes of that layer end, padding excluded. */
  end = 0;
  /** Where they ended on the wire: past `end` where the snap length cut the packet. */
  wireEnd = 0;
  /** Where a layer says `unread`: the link type. */
  linkType = -1;

  /** 4 or 16. */
  addressBytes = 4;
  sourceAt = 0;
  targetAt = 0;
  tcpAt = 0;

  sourcePort = 0;
  targetPort = 0;
  sequence = 0;
  acknowledgement = 0;
  /** TCP's flag byte. */
  flags = 0;
  // The payload is what is left: data[at, end), and wireEnd - end bytes that were not captured.

  /** One that stays when this one is used for the next packet. */
  copy(): Packet {
    return Object.assign(new Packet(), this, { data: Buffer.from(this.data) });
  }

  reset(data: Buffer, ns: number, wireBytes: number): void {
    this.data = data;
    this.ns = ns;
    this.at = 0;
    this.end = data.length;
    this.wireEnd = Math.max(wireBytes, data.length);
  }
}
