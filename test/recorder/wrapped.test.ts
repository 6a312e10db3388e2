// Whatever is wrapped around it, the same traffic is recorded. `WRAPPED_SEEDS=200` runs as many random wrappings.

import { describe, expect, test } from 'vitest';
import { Random } from '../../synth/laws/random.ts';
import { Conversation, links, ngPacket, ngSection, pcapBytes } from '../support/packets.ts';
import { captured, randomTraffic, seedsOf, tell } from '../support/traffic.ts';
import { moreLinks, randomWrapping } from '../support/wraps.ts';
import { listen, listenToBytes } from './listener.ts';

const v6 = { client: '[2001:db8:0:0:0:0:0:1]:40000', server: '[fe80:0:0:0:1:0:0:2]:11211' };

describe('link types', () => {
  for (const [name, link] of Object.entries(moreLinks))
    test(`${name} carries IPv4 and IPv6`, async () => {
      for (const hosts of [{}, v6]) {
        const { packets } = new Conversation({ ...hosts, link }).open().send(true, 'a').send(false, 'bc');
        const { streams } = await listen(packets, { linkType: link.linkType });
        expect(streams.map(({ client, server }) => [client, server])).toEqual([['a', 'bc']]);
      }
    });
});

test.each(seedsOf('WRAPPED_SEEDS', 25))('wrapped at random, seed %d', async (seed) => {
  const random = new Random(seed);
  const server = random.chance(0.5) ? '10.9.0.2:11211' : v6.server;
  const client = (n: number): string =>
    server === v6.server ? `[2001:db8:0:0:0:0:0:1]:${40_000 + n}` : `10.0.0.1:${40_000 + n}`;
  const traffic = randomTraffic(random, { connections: 3, turns: 8, server, client });
  const plain = await tell([pcapBytes(captured(traffic))]);
  expect(plain.exchanges).toHaveLength(24);
  const { name, linkType, wrap } = randomWrapping(random);
  const wrapped = await tell([pcapBytes(captured(traffic, wrap), { linkType })], { vxlanPorts: [5555] });
  expect(wrapped.exchanges, name).toEqual(plain.exchanges);
  expect(wrapped.connections, name).toBe(3);
});

test('tunnels without end, and tags without end, are given up', async () => {
  const tag = Buffer.from([0x81, 0, 0, 7]);
  const tags = Buffer.concat([Buffer.alloc(12), ...Array.from({ length: 60_000 }, () => tag)]);
  const ip = Buffer.alloc(20 * 3000);
  for (let at = 0; at < ip.length; at += 20) {
    ip[at] = 0x45;
    ip[at + 9] = 4;
  }
  const data = [tags, links['Ethernet']!.wrap(ip)];
  const { result } = await listen(data.map((packet, micros) => ({ data: packet, micros })));
  expect(result.skipped.other).toBe(2);
});

const strange = (id: number): Buffer => ngPacket(Buffer.alloc(60, 0x45), 0n, id);

test('a link type that is not read, and an interface that nobody described, among others', async () => {
  const { packets } = new Conversation().open().send(true, 'a').send(false, 'b');
  const file = Buffer.concat([
    ngSection([{ linkType: 220 }, { linkType: 1 }]),
    strange(0),
    ...packets.map(({ data, micros }) => ngPacket(data, BigInt(micros), 1)),
    strange(9),
    strange(0),
  ]);
  const { streams, result } = await listenToBytes(file);
  expect(streams.map(({ client, server }) => [client, server])).toEqual([['a', 'b']]);
  expect(result.unread).toEqual([
    { linkType: 220, packets: 2 },
    { linkType: -1, packets: 1 },
  ]);
});
