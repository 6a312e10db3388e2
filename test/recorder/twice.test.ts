// Connections that a capture shows twice are counted once; two connections that are alike are counted twice.
// `TWICE_SEEDS=200` runs as many random ways.

import { describe, expect, test } from 'vitest';
import { encodeRequest, encodeResponse } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { Random } from '../../synth/laws/random.ts';
import { links, pcapBytes } from '../support/packets.ts';
import {
  captured,
  capturedDatagrams,
  idsOf,
  randomDatagrams,
  randomTraffic,
  seedsOf,
  tell,
  type WirePacket,
} from '../support/traffic.ts';

const VIRTUAL = '10.9.0.2:11211';

type Rewrite = (endpoint: string) => string;

/** Who is called what behind the translation: the server, the client, or both. */
const translations: Record<string, Rewrite> = {
  DNAT: (endpoint) => (endpoint === VIRTUAL ? '172.17.0.2:11211' : endpoint),
  'DNAT to another port': (endpoint) => (endpoint === VIRTUAL ? '172.17.0.2:11212' : endpoint),
  SNAT: (endpoint) => (endpoint === VIRTUAL ? endpoint : `192.168.1.1:${masked(endpoint)}`),
  both: (endpoint) => (endpoint === VIRTUAL ? '172.17.0.2:11211' : `192.168.1.1:${masked(endpoint)}`),
  'nothing, on two interfaces': (endpoint) => endpoint,
};

/** A masquerading host gives a port of its own. */
function masked(endpoint: string): number {
  return 20_000 + Number(endpoint.split(':')[1]);
}

const isFromClient = ({ to }: WirePacket): boolean => /:1121[12]$/.test(to);

/** What the other side of the translation shows, so much later for requests and so much earlier for answers. */
function copies(
  random: Random,
  packets: readonly WirePacket[],
  rewrite: Rewrite,
  mostMicros: number,
): WirePacket[] {
  return packets.map((packet) => {
    const apart = 1 + random.int(mostMicros);
    return {
      ...packet,
      from: rewrite(packet.from),
      to: rewrite(packet.to),
      micros: packet.micros + (isFromClient(packet) ? apart : -apart),
    };
  });
}

const byTime = (packets: readonly WirePacket[]): WirePacket[] =>
  packets.toSorted((a, b) => a.micros - b.micros);
const ports = [11_211, 11_212];

describe.each(Object.keys(translations))('%s', (name) => {
  const rewrite = translations[name]!;

  test.each(seedsOf('TWICE_SEEDS', 5))('at one host, seed %d', async (seed) => {
    const random = new Random(seed);
    // Made-up captures count from fixed numbers, real ones from random ones.
    const isMadeUp = random.chance(0.3);
    const traffic = randomTraffic(random, {
      connections: isMadeUp ? 1 : 6,
      turns: 8,
      ...(isMadeUp ? { sequences: [1000, 5000] } : {}),
    });
    const plain = await tell([pcapBytes(captured(traffic))]);
    const behind = copies(random, traffic, rewrite, 40);
    const third = copies(random, behind, (endpoint) => endpoint, 5);
    const both = captured(
      byTime(random.chance(0.5) ? [...traffic, ...behind] : [...traffic, ...behind, ...third]),
    );
    const told = await tell([pcapBytes(both)], { ports });
    expect(told.exchanges).toEqual(plain.exchanges);
    expect(told.connections).toBe(plain.connections);
    if (name.startsWith('nothing')) return;
    expect(told.result.copies.connections).toBeGreaterThanOrEqual(plain.connections);
    expect(told.servers.at(-1)).toBe(rewrite(VIRTUAL));
  });

  test.each(seedsOf('TWICE_SEEDS', 5))('at two hosts whose clocks differ, seed %d', async (seed) => {
    const random = new Random(seed);
    const traffic = randomTraffic(random, { connections: 6, turns: 8 });
    const plain = await tell([pcapBytes(captured(traffic))]);
    const skew = (random.chance(0.5) ? 1 : -1) * (100_000 + random.int(600_000_000));
    const behind = copies(random, traffic, rewrite, 40);
    // Now and then a queue between the hosts delays a packet, and those that follow it.
    const mostDelayed = random.int(25_000);
    let before = -Infinity;
    for (const packet of behind) {
      const delay = random.chance(0.2) ? random.int(mostDelayed + 1) : 0;
      before = Math.max(before, packet.micros + skew + delay);
      packet.micros = before;
    }
    const told = await tell([pcapBytes(captured(byTime([...traffic, ...behind])))], { ports });
    expect(told.exchanges).toEqual(plain.exchanges);
    expect(told.connections).toBe(plain.connections);
  });

  test.each(seedsOf('TWICE_SEEDS', 5))('each copy without other packets, seed %d', async (seed) => {
    const random = new Random(seed);
    const traffic = randomTraffic(random, { connections: 6, turns: 8, resets: true });
    const plain = await tell([pcapBytes(captured(traffic))]);
    const behind = copies(random, traffic, rewrite, 20);
    const lost = traffic.map(() => (random.chance(0.08) ? random.int(2) : 2));
    const both = [...traffic.filter((_, n) => lost[n] !== 0), ...behind.filter((_, n) => lost[n] !== 1)];
    const told = await tell([pcapBytes(captured(byTime(both)))], { ports });
    expect(told.exchanges).toEqual(plain.exchanges);
    expect(told.connections).toBe(plain.connections);
    expect([...new Set(told.servers)]).toEqual([rewrite(VIRTUAL)]);
  });

  test.each(seedsOf('TWICE_SEEDS', 5))('begun before the capture, seed %d', async (seed) => {
    const random = new Random(seed);
    const traffic = randomTraffic(random, { connections: 6, turns: 12 });
    const behind = copies(random, traffic, rewrite, 40);
    // Both begin at one packet of each connection, behind its handshake.
    const from = traffic[traffic.length >> 2]!.micros;
    const late = (packet: WirePacket, n: number): boolean =>
      traffic[n]!.micros >= from && packet.flags !== 'S';
    const plain = await tell([pcapBytes(captured(traffic.filter((packet, n) => late(packet, n))))]);
    const both = byTime([...traffic.filter(late), ...behind.filter(late)]);
    const told = await tell([pcapBytes(captured(both))], { ports });
    expect(told.exchanges).toEqual(plain.exchanges);
    expect(told.connections).toBe(plain.connections);
  });
});

test('tagged and untagged copies', async () => {
  const traffic = randomTraffic(new Random(5), { connections: 3, turns: 5 });
  const wraps = [links['Ethernet']!, links['802.1Q']!, links['VXLAN']!];
  const all = captured(
    traffic.flatMap((packet) => wraps.map(() => packet)),
    (ip, n) => wraps[n % 3]!.wrap(ip),
  );
  const plain = await tell([pcapBytes(captured(traffic))]);
  const told = await tell([pcapBytes(all)]);
  expect([told.exchanges, told.connections]).toEqual([plain.exchanges, 3]);
});

const same = {
  request: encodeRequest({ opcode: Opcode.get, key: Buffer.from('k'), opaque: 1 }),
  answer: encodeResponse({ opcode: Opcode.get, opaque: 1, value: Buffer.from('v'), extras: Buffer.alloc(4) }),
};

describe('alike, and two', () => {
  const ways: Record<string, Parameters<typeof randomTraffic>[1]> = {
    'many clients ask the same': { connections: 40, turns: 2, ask: () => same },
    'many clients ask the same, with equal sequence numbers': {
      connections: 40,
      turns: 2,
      ask: () => same,
      sequences: [1000, 9000],
      startMicros: (n) => n * 5_000,
    },
    'many clients with equal sequence numbers': { connections: 40, turns: 3, sequences: [1000, 9000] },
    'many clients with equal numbers that look random': {
      connections: 40,
      turns: 3,
      sequences: [3_000_000_000, 2_500_000_000],
    },
    'a port used again and again': {
      connections: 20,
      turns: 2,
      ask: () => same,
      client: () => '10.0.0.1:40000',
      startMicros: (n) => n * 50_000,
    },
  };
  for (const [name, init] of Object.entries(ways))
    test.each(seedsOf('TWICE_SEEDS', 5))(`${name}, seed %d`, async (seed) => {
      const traffic = randomTraffic(new Random(seed), init);
      const told = await tell([pcapBytes(captured(traffic))]);
      expect(told.connections).toBe(init.connections);
      expect(told.exchanges).toHaveLength(init.connections * init.turns);
      expect(told.result.copies.connections).toBe(0);
    });
});

test('servers on several ports of one host, asked the same at the same times with the same numbers', async () => {
  const all = [0, 1, 2, 3].flatMap((n) =>
    randomTraffic(new Random(1), {
      connections: 1,
      turns: 1,
      sequences: [1000, 5000],
      client: () => `10.0.0.1:${40_000 + n}`,
      server: `10.0.0.2:${11_211 + n}`,
    }),
  );
  const told = await tell([pcapBytes(captured(byTime(all)))], { ports: [11_211, 11_212, 11_213, 11_214] });
  expect([told.exchanges.length, told.connections]).toEqual([4, 4]);
});

describe('datagrams', () => {
  for (const [name, rewrite] of Object.entries(translations))
    test.each(seedsOf('TWICE_SEEDS', 5))(`${name}, seed %d`, async (seed) => {
      const random = new Random(seed);
      const ids = random.pick(idsOf);
      const init = { clients: 4, turns: 8, server: VIRTUAL, ids, hasRequestIds: random.chance(0.7) };
      const plain = randomDatagrams(random, init);
      const behind = plain.map((datagram) => {
        const apart = 1 + random.int(40);
        return {
          ...datagram,
          from: rewrite(datagram.from),
          to: rewrite(datagram.to),
          micros: datagram.micros + (datagram.to === VIRTUAL ? apart : -apart),
        };
      });
      const both = [...plain, ...behind].toSorted((a, b) => a.micros - b.micros);
      const expected = await tell([pcapBytes(capturedDatagrams(plain))], { ports });
      expect(expected.exchanges).toHaveLength(32);
      const told = await tell([pcapBytes(capturedDatagrams(both))], { ports });
      expect(told.exchanges).toEqual(expected.exchanges);
      expect(told.connections).toBe(4);
    });

  test.each(seedsOf('TWICE_SEEDS', 5))('alike, and not the same, seed %d', async (seed) => {
    for (const ids of idsOf)
      for (const hasRequestIds of [true, false]) {
        const random = new Random(seed);
        const init = { clients: 30, turns: 4, server: VIRTUAL, ids, hasRequestIds, ask: () => same };
        const told = await tell([pcapBytes(capturedDatagrams(randomDatagrams(random, init)))]);
        expect(told.exchanges).toHaveLength(120);
        expect(told.connections).toBe(30);
      }
  });

  test.each(seedsOf('TWICE_SEEDS', 5))('of clients in step, who ask the same, seed %d', async (seed) => {
    const random = new Random(seed);
    const init = { clients: 1, turns: 8, server: VIRTUAL, ids: random.pick(['server', 'none'] as const) };
    const first = randomDatagrams(random, { ...init, hasRequestIds: random.chance(0.7) });
    // Their requests come one after the other, and are answered in that order.
    const named = (endpoint: string, n: number): string =>
      endpoint === VIRTUAL ? endpoint : `10.0.0.${n}:40000`;
    const all = [2, 3, 4, 5].flatMap((n) => {
      const later = n * 30 + random.int(20);
      return first.map((datagram) =>
        Object.assign({}, datagram, {
          from: named(datagram.from, n),
          to: named(datagram.to, n),
          micros: datagram.micros + later,
          ipId: datagram.ipId === 0 ? 0 : 1 + random.int(65_535),
        }),
      );
    });
    const told = await tell([pcapBytes(capturedDatagrams(all.toSorted((a, b) => a.micros - b.micros)))]);
    expect([told.exchanges.length, told.connections]).toEqual([32, 4]);
  });
});
