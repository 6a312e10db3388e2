// Proxies of which both sides are in a capture: each request is there twice, and the recording says so and which hop to
// choose. Clients that ask the same are no proxies. `TWICE_SEEDS=200` runs as many random ways.

import { describe, expect, test } from 'vitest';
import { encodeRequest, encodeResponse } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { notesOf } from '../../recorder/notes.ts';
import { Random } from '../../synth/laws/random.ts';
import { pcapBytes } from '../support/packets.ts';
import { captured, passedOn, randomTraffic, seedsOf, tell, type WirePacket } from '../support/traffic.ts';

const byTime = (packets: readonly WirePacket[]): Buffer =>
  pcapBytes(captured(packets.toSorted((a, b) => a.micros - b.micros)));
const portOf = (endpoint: string): string => endpoint.slice(endpoint.lastIndexOf(':') + 1);

interface Way {
  server: string;
  client?: (n: number) => string;
  /** The address that the proxy connects from, and whom it connects to. */
  from: string;
  behind: string;
}

const ways: Record<string, Way> = {
  'a host that is server and client': {
    server: '10.9.0.2:11211',
    from: '10.9.0.2',
    behind: '10.9.0.3:11211',
  },
  'a proxy of Docker': { server: '10.9.0.2:11211', from: '172.17.0.1', behind: '172.17.0.2:11211' },
  'a sidecar on the loopback': {
    server: '127.0.0.1:11211',
    client: (n) => `127.0.0.1:${40_000 + n}`,
    from: '10.0.0.5',
    behind: '10.0.0.9:11211',
  },
  'over IPv6': {
    server: '[fd00:0:0:0:0:0:0:2]:11211',
    client: (n) => `[fd00:0:0:0:0:0:0:9]:${40_000 + n}`,
    from: '[fd00:0:0:0:0:0:0:7]',
    behind: '[fd00:0:0:0:0:0:0:3]:11211',
  },
};

describe.each(Object.entries(ways))('%s', (_name, { server, client, from, behind }) => {
  test.each(seedsOf('TWICE_SEEDS', 5))('is named, and one hop can be chosen, seed %d', async (seed) => {
    const random = new Random(seed);
    const named = client === undefined ? {} : { client };
    const traffic = randomTraffic(random, { connections: 1 + random.int(4), turns: 6, server, ...named });
    const next = passedOn(
      random,
      traffic,
      (endpoint) => `${from}:${20_000 + Number(portOf(endpoint))}`,
      behind,
    );
    const plain = await tell([byTime(traffic)]);
    const both = await tell([byTime([...traffic, ...next])]);
    expect(both.exchanges).toEqual([...plain.exchanges, ...plain.exchanges].toSorted());
    expect(notesOf(both.result, [11_211]).join('\n')).toMatch(
      /there twice, before (this|a) proxy and behind it/,
    );
    for (const hop of [...plain.servers, both.servers.find((other) => other !== plain.servers[0])!]) {
      const one = await tell([byTime([...traffic, ...next])], { servers: [hop] });
      expect(one.exchanges, hop).toEqual(plain.exchanges);
    }
  });
});

const same = {
  request: encodeRequest({ opcode: Opcode.get, key: 'hot', opaque: 1 }),
  answer: encodeResponse({ opcode: Opcode.get, opaque: 1, value: 'v', extras: Buffer.alloc(4) }),
};

test.each(seedsOf('TWICE_SEEDS', 10))('clients that ask the same are no proxies, seed %d', async (seed) => {
  const random = new Random(seed);
  const all = [2, 3, 4].flatMap((host) =>
    randomTraffic(random, {
      connections: 4,
      turns: 10,
      ask: () => same,
      server: `10.9.0.${host}:11211`,
      client: (n) => `10.${host}.0.${n + 1}:40000`,
    }),
  );
  const { result } = await tell([byTime(all)]);
  expect(notesOf(result, [11_211])).toEqual([]);
});
