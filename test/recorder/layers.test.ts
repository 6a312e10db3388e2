// Link and IP layers: the same conversation comes through whatever carries it; what cannot carry it is counted.

import { describe, expect, test } from 'vitest';
import {
  Conversation,
  ethernet,
  ipBytes,
  links,
  type CapturedPacket,
  type IpOptions,
  type LinkType,
} from '../support/packets.ts';
import { listen } from './listener.ts';

const v4 = { client: '10.0.0.1:40000', server: '10.0.0.2:11211' };
const v6 = { client: '[2001:db8:0:0:0:0:0:1]:40000', server: '[fe80:0:0:0:1:0:0:2]:11211' };

function talk(link: LinkType, hosts: typeof v4): CapturedPacket[] {
  return new Conversation({ ...hosts, link }).open().send(true, 'a').send(false, 'bc').packets;
}

describe('link layers', () => {
  for (const [name, link] of Object.entries(links)) {
    test(`${name} carries IPv4 and IPv6`, async () => {
      for (const hosts of [v4, v6]) {
        const { streams, result } = await listen(talk(link, hosts), { linkType: link.linkType });
        expect(streams.map(({ client, server }) => [client, server])).toEqual([['a', 'bc']]);
        expect(result.linkType).toBe(link.linkType);
      }
    });
  }

  test('raw IPv4 and raw IPv6 have numbers of their own', async () => {
    const link = links['raw IP, 101']!;
    expect((await listen(talk(link, v4), { linkType: 228 })).streams[0]?.client).toBe('a');
    expect((await listen(talk(link, v6), { linkType: 229 })).streams[0]?.client).toBe('a');
  });

  test('packets of a link type that is not read are skipped and counted', async () => {
    const { streams, result } = await listen(talk(ethernet, v4), { linkType: 105 });
    expect(streams).toEqual([]);
    expect(result).toMatchObject({ linkType: 105, packets: 5, unread: [{ linkType: 105, packets: 5 }] });
  });

  test('upper bits of the link type tell of check sequences and change nothing', async () => {
    const { streams, result } = await listen(talk(ethernet, v4), { linkType: 0x24000001 });
    expect(streams[0]?.server).toBe('bc');
    expect(result.linkType).toBe(1);
  });

  test('addresses are written as people write them', async () => {
    const [four] = (await listen(talk(ethernet, v4))).streams;
    const [six] = (await listen(talk(ethernet, v6))).streams;
    expect(four?.info).toMatchObject(v4);
    expect(six?.info).toMatchObject({ client: '[2001:db8::1]:40000', server: '[fe80::1:0:0:2]:11211' });
  });
});

const nothing = { other: 0, fragment: 0, cut: 0, malformed: 0 };

/** One request segment in an IP packet of special make. */
async function carried(ip: IpOptions, hosts = v4): Promise<{ client: string | undefined; skipped: object }> {
  const segment = {
    from: hosts.client,
    to: hosts.server,
    sequence: 5,
    flags: 'A',
    payload: Buffer.from('key'),
  };
  const data = ethernet.wrap(ipBytes(segment, ip));
  const { streams, result } = await listen([{ data, micros: 0 }]);
  return { client: streams[0]?.client, skipped: result.skipped };
}

/** An IPv6 extension header of this many bytes. */
const extension = (type: number, size: number): { type: number; bytes: Buffer } => {
  const bytes = Buffer.alloc(size);
  bytes[1] = type === 51 ? size / 4 - 2 : size / 8 - 1;
  return { type, bytes };
};

/** The packet in pieces of so many bytes, each an IP packet of its own. */
function cutUp(packet: CapturedPacket, pieceBytes: number): CapturedPacket[] {
  const { data, micros } = packet;
  const isFour = data[14]! >>> 4 === 4;
  const headBytes = isFour ? 20 : 40;
  const head = data.subarray(14, 14 + headBytes);
  const length = isFour ? head.readUInt16BE(2) - 20 : head.readUInt16BE(4);
  const body = data.subarray(14 + headBytes, 14 + headBytes + length);
  const pieces: CapturedPacket[] = [];
  for (let at = 0; at < length; at += pieceBytes) {
    const piece = body.subarray(at, at + pieceBytes);
    const more = at + piece.length < length ? 1 : 0;
    const own = Buffer.from(head);
    if (isFour) {
      own.writeUInt16BE(20 + piece.length, 2);
      own.writeUInt16BE(7, 4);
      own.writeUInt16BE((more << 13) | (at / 8), 6);
      pieces.push({ data: ethernet.wrap(Buffer.concat([own, piece])), micros });
      continue;
    }
    own.writeUInt16BE(8 + piece.length, 4);
    const extension = Buffer.from([own[6]!, 0, 0, 0, 0, 0, 0, 7]);
    extension.writeUInt16BE(at | more, 2);
    own[6] = 44;
    pieces.push({ data: ethernet.wrap(Buffer.concat([own, extension, piece])), micros });
  }
  return pieces;
}

describe('fragments are put together', () => {
  const orders: [string, (pieces: CapturedPacket[]) => CapturedPacket[]][] = [
    ['in order', (pieces) => pieces],
    ['backwards', (pieces) => pieces.toReversed()],
    ['repeated', (pieces) => pieces.flatMap((piece) => [piece, piece]).toSpliced(-1)],
  ];
  for (const [name, reorder] of orders)
    test(name, async () => {
      for (const hosts of [v4, v6]) {
        const value = 'x'.repeat(1000);
        const all = new Conversation(hosts).open().send(true, value).send(false, 'b');
        const packets = all.packets.flatMap((packet, n) =>
          n === 3 ? reorder(cutUp(packet, 200)) : [packet],
        );
        const { streams, result } = await listen(packets);
        expect(streams.map(({ client, server }) => [client, server])).toEqual([[value, 'b']]);
        expect(result.skipped.fragment).toBe(0);
      }
    });

  test('memory is bounded whatever comes', async () => {
    const { packets } = new Conversation(v4).open().send(true, 'y'.repeat(60_000));
    const first = cutUp(packets[3]!, 50_000)[0]!;
    const flood = Array.from({ length: 3000 }, (_, n) => {
      const data = Buffer.from(first.data);
      data.writeUInt16BE(n, 14 + 4);
      return { data, micros: n };
    });
    const before = process.memoryUsage().arrayBuffers;
    const { result } = await listen([...packets.slice(0, 3), ...flood], { chunkBytes: 65_536 });
    expect(result.skipped.fragment).toBe(3000);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(400e6);
  });
});

const datagram = (
  fromClient: boolean,
  id: number,
  number: number,
  total: number,
  payload: string,
): Buffer => {
  const frame = Buffer.alloc(16);
  frame.writeUInt16BE(fromClient ? 40_000 : 11_211, 0);
  frame.writeUInt16BE(fromClient ? 11_211 : 40_000, 2);
  frame.writeUInt16BE(16 + payload.length, 4);
  for (const [n, field] of [id, number, total, 0].entries()) frame.writeUInt16BE(field, 8 + n * 2);
  const ip = ipBytes(
    {
      from: fromClient ? v4.client : v4.server,
      to: fromClient ? v4.server : v4.client,
      sequence: 0,
      flags: '',
    },
    { protocol: 17 },
  ).subarray(0, 20);
  ip.writeUInt16BE(20 + frame.length + payload.length, 2);
  return ethernet.wrap(Buffer.concat([ip, frame, Buffer.from(payload)]));
};
const read = async (...data: Buffer[]): Promise<string[]> => {
  const { streams } = await listen(data.map((bytes, n) => ({ data: bytes, micros: n })));
  return streams.map(({ client, server }) => `${client} ${server}`);
};

describe('UDP', () => {
  test('requests and answers of one datagram', async () => {
    expect(await read(datagram(true, 1, 0, 1, 'ask'), datagram(false, 1, 0, 1, 'answer'))).toEqual([
      'ask answer',
    ]);
  });
  test('an answer of several is put in order', async () => {
    const [a, b, c] = [0, 1, 2].map((n) => datagram(false, 1, n, 3, 'abc'[n]!)) as [Buffer, Buffer, Buffer];
    expect(await read(datagram(true, 1, 0, 1, 'ask'), c, a, a, b)).toEqual(['ask abc']);
  });
  test('one that misses a datagram is a gap', async () => {
    expect(
      await read(
        datagram(false, 1, 0, 2, 'a'),
        datagram(true, 2, 0, 1, 'ask'),
        datagram(false, 2, 0, 1, 'b'),
      ),
    ).toEqual(['ask b<lost>']);
    expect(
      await read(datagram(true, 1, 0, 1, 'q'), datagram(false, 1, 1, 2, 'b'), datagram(false, 2, 0, 2, 'c')),
    ).toEqual(['q <lost><lost>']);
  });
});

describe('IP', () => {
  const rows: { name: string; ip: IpOptions; hosts?: typeof v4 }[] = [
    { name: 'IPv4 options', ip: { options: Buffer.alloc(8, 1) } },
    { name: 'IPv6 hop-by-hop', ip: { extensions: [extension(0, 8)] }, hosts: v6 },
    {
      name: 'IPv6 destination, routing, authentication',
      ip: { extensions: [extension(60, 16), extension(43, 24), extension(51, 24)] },
      hosts: v6,
    },
    { name: 'an IPv6 fragment that is all', ip: { extensions: [extension(44, 8)] }, hosts: v6 },
  ];
  for (const { name, ip, hosts } of rows) {
    test(`${name} are read over`, async () => {
      expect(await carried(ip, hosts)).toEqual({ client: 'key', skipped: nothing });
    });
  }

  test('a length of 0 (segmentation left to the card) means as long as captured', async () => {
    for (const hosts of [v4, v6]) {
      const payload = Buffer.alloc(70_000, 'x');
      const segment = { from: hosts.client, to: hosts.server, sequence: 5, flags: 'A', payload };
      const data = ethernet.wrap(ipBytes(segment, { length: 0 }));
      const { streams } = await listen([{ data, micros: 0 }]);
      expect(streams[0]?.client).toHaveLength(70_000);
    }
  });

  test('padding is not payload', async () => {
    const { packets } = new Conversation().open().send(true, 'a');
    expect(packets.map(({ data }) => data.length)).toEqual([60, 60, 60, 60]);
    expect((await listen(packets)).streams[0]?.client).toBe('a');
  });

  test('fragments of datagrams that never become whole are counted', async () => {
    const first = { type: 44, bytes: Buffer.from([0, 0, 0, 1, 0, 0, 0, 1]) };
    const later = { type: 44, bytes: Buffer.from([0, 0, 0, 8, 0, 0, 0, 1]) };
    // All but the last are whole units of eight bytes.
    expect(await carried({ fragment: 0x2000 })).toEqual({
      client: undefined,
      skipped: { ...nothing, malformed: 1 },
    });
    expect(await carried({ fragment: 0x0004 })).toEqual({
      client: undefined,
      skipped: { ...nothing, fragment: 1 },
    });
    for (const [extension, reason] of [
      [first, 'malformed'],
      [later, 'fragment'],
    ] as const)
      expect(await carried({ extensions: [extension] }, v6)).toEqual({
        client: undefined,
        skipped: { ...nothing, [reason]: 1 },
      });
  });

  test('a lost fragment shows as a gap', async () => {
    const talk = new Conversation().open().send(true, 'one').send(true, 'two').send(true, 'three');
    talk.packets[4]!.data.writeUInt16BE(0x2000, 14 + 6);
    talk.acknowledge(false);
    expect((await listen(talk.packets)).streams[0]?.client).toBe('one<3>three');
  });

  test('other protocols are counted and skipped', async () => {
    expect(await carried({ protocol: 17 })).toEqual({ client: undefined, skipped: { ...nothing, other: 1 } });
    expect(await carried({ protocol: 58 }, v6)).toEqual({
      client: undefined,
      skipped: { ...nothing, other: 1 },
    });
    const arp = Buffer.alloc(60);
    arp.writeUInt16BE(0x0806, 12);
    const { result, capture } = await listen([{ data: arp, micros: 0 }]);
    expect(result.skipped).toEqual({ ...nothing, other: 1 });
    expect(capture.packets).toBe(1);
  });

  test('headers that contradict themselves are counted and skipped', async () => {
    const malformed = { client: undefined, skipped: { ...nothing, malformed: 1 } };
    expect(await carried({ length: 19 })).toEqual(malformed);
    expect(await carried({ length: 30 })).toEqual(malformed);
    const { data } = new Conversation().segment(true, 'A', Buffer.from('x')).packets[0]!;
    data[14] = 0x75;
    expect((await listen([{ data, micros: 0 }])).result.skipped).toEqual({ ...nothing, malformed: 1 });
    data[14] = 0x45;
    data[14 + 20 + 12] = 0xf0;
    expect((await listen([{ data, micros: 0 }])).result.skipped).toEqual({ ...nothing, malformed: 1 });
    data[14 + 20 + 12] = 0x40;
    expect((await listen([{ data, micros: 0 }])).result.skipped).toEqual({ ...nothing, malformed: 1 });
  });
});

describe('snap length', () => {
  test('a cut payload is a gap of what was cut', async () => {
    const talk = new Conversation().open().send(true, 'abcdefgh').send(true, 'next');
    const whole = talk.packets[3]!;
    const headers = 14 + 20 + 20;
    whole.data = ethernet
      .wrap(
        ipBytes({
          from: v4.client,
          to: v4.server,
          sequence: 1001,
          flags: 'A',
          payload: Buffer.from('abcdefgh'),
        }),
      )
      .subarray(0, headers + 3);
    whole.wireBytes = headers + 8;
    const { streams, capture } = await listen(talk.packets);
    expect(streams[0]?.client).toBe('abc<5>next');
    expect(capture.gaps).toBe(1);
  });

  test('cut anywhere, nothing but the captured payload is delivered', async () => {
    const segment = {
      from: v4.client,
      to: v4.server,
      sequence: 5,
      flags: 'A',
      payload: Buffer.from('payload'),
    };
    const whole = ethernet.wrap(ipBytes({ ...segment, options: Buffer.alloc(12, 1) }));
    const payloadAt = whole.length - 7;
    for (let length = 0; length <= whole.length; length++) {
      const data = whole.subarray(0, length);
      const { streams, result } = await listen([{ data, micros: 0, wireBytes: whole.length }]);
      const got = Math.max(0, length - payloadAt);
      const expected = 'payload'.slice(0, got) + (got < 7 ? `<${7 - got}>` : '');
      // Without TCP's fixed header, nothing is known.
      if (length < 14 + 20 + 20) expect([streams, result.skipped]).toEqual([[], { ...nothing, cut: 1 }]);
      else expect(streams[0]?.client).toBe(expected);
    }
  });
});
