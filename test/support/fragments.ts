// Fragments that a sender makes to cost the reader more than they cost him: each kind a stream of IP packets without an
// end, drawn from a seed.

import { Random } from '../../synth/laws/random.ts';

const UNIT_BYTES = 8;
/** Units of the longest datagram. */
const UNITS = 8192;
const FRAGMENT_HEADER = 44;

interface Piece {
  id: number;
  /** Where its bytes stand in the datagram, in units of 8 bytes. */
  unit: number;
  more: boolean;
  bytes: number;
}

export function packet4({ id, unit, more, bytes }: Piece): Buffer {
  const ip = Buffer.alloc(20 + bytes, 1);
  ip[0] = 0x45;
  ip.writeUInt16BE(ip.length, 2);
  ip.writeUInt16BE(id & 0xffff, 4);
  ip.writeUInt16BE(unit | (more ? 0x2000 : 0), 6);
  ip[9] = 17;
  // There are more ids than the field has room for.
  ip[15] = (id >>> 16) & 0xff;
  return ip;
}

function packet6({ id, unit, more, bytes }: Piece): Buffer {
  const ip = Buffer.alloc(48 + bytes, 1);
  ip.writeUInt32BE(0x60000000, 0);
  ip.writeUInt16BE(8 + bytes, 4);
  ip[6] = FRAGMENT_HEADER;
  ip[40] = 17;
  ip.writeUInt16BE((unit << 3) | Number(more), 42);
  ip.writeUInt32BE(id, 44);
  return ip;
}

function shuffled(random: Random, count: number): number[] {
  const order = Array.from({ length: count }, (_, n) => n);
  for (let n = count - 1; n > 0; n--) {
    const other = random.int(n + 1);
    [order[n], order[other]] = [order[other]!, order[n]!];
  }
  return order;
}

type Kind = (random: Random) => Generator<Piece>;

const kinds: Readonly<Record<string, Kind>> = {
  'all units are there but one, and more behind the end, again and again': function* (random) {
    for (let id = random.int(1000); ; id++) {
      const end = UNITS / 2 + random.int(UNITS / 4);
      const hole = end - 2 - random.int(10);
      for (const unit of shuffled(random, UNITS - 1))
        if (unit !== hole) yield { id, unit, more: unit !== end, bytes: UNIT_BYTES };
      for (let n = 0; n < 100_000; n++) yield { id, unit: random.int(hole), more: true, bytes: UNIT_BYTES };
    }
  },
  'wide ones that overlap, each with one unit of its own': function* (random) {
    for (let id = random.int(1000); ; id++) {
      const wide = 100 + random.int(80);
      for (let unit = UNITS - wide - 1; unit > 0; unit--)
        yield { id, unit, more: true, bytes: wide * UNIT_BYTES };
    }
  },
  'last ones of one byte at every place': function* (random) {
    for (let id = random.int(1000); ; id++)
      for (const unit of shuffled(random, UNITS - 1))
        yield { id, unit: unit + 1, more: unit % 2 === 0, bytes: unit % 2 === 0 ? UNIT_BYTES : 1 };
  },
  'a datagram of each id, never whole': function* (random) {
    for (let id = random.int(1000); ; id++)
      yield { id, unit: 1 + random.int(UNITS - 200), more: true, bytes: UNIT_BYTES * (1 + random.int(180)) };
  },
  'many datagrams at once, from their ends on, whole at last': function* (random) {
    for (let id = random.int(1000); ; id += 64) {
      const units = 20 + random.int(UNITS / 2);
      for (let unit = units - 1; unit >= 0; unit--)
        for (let n = 0; n < 64; n++) yield { id: id + n, unit, more: unit < units - 1, bytes: UNIT_BYTES };
    }
  },
  'everything at random': function* (random) {
    for (;;) {
      const unit = random.int(UNITS - 200);
      const bytes = UNIT_BYTES * (1 + random.int(random.chance(0.1) ? 180 : 2));
      yield { id: random.int(1500), unit, more: random.chance(0.95), bytes };
    }
  },
};

/** Kinds of attack by fragments, in both versions of IP. */
export const fragmentKinds: readonly string[] = Object.keys(kinds);

/** So many packets of the kind, from the IP header on. */
export function* fragments(kind: string, version: 4 | 6, seed: number, count: number): Generator<Buffer> {
  let left = count;
  for (const piece of kinds[kind]!(new Random(seed, 4))) {
    if (left-- === 0) return;
    yield version === 4 ? packet4(piece) : packet6(piece);
  }
}
