// Two captures of one direction each, of hosts whose clocks differ, put together by time: answers may stand before their
// requests, and long after them. `SKEWED_SEEDS=200` runs as many random ways.

import { expect, test } from 'vitest';
import { Random } from '../../synth/laws/random.ts';
import { pcapBytes } from '../support/packets.ts';
import { captured, randomTraffic, seedsOf, tell } from '../support/traffic.ts';

test.each(seedsOf('SKEWED_SEEDS', 15))('directions whose clocks differ, seed %d', async (seed) => {
  const random = new Random(seed);
  const traffic = randomTraffic(random, { connections: 4, turns: 10, resets: true });
  const plain = await tell([pcapBytes(captured(traffic))]);
  const skew = (random.chance(0.5) ? 1 : -1) * 10 ** (3 + random.float() * 3.5);
  const skewed = traffic
    .map((packet) =>
      Object.assign(
        {},
        packet,
        packet.to.endsWith(':11211') ? {} : { micros: Math.round(packet.micros + skew) },
      ),
    )
    .toSorted((a, b) => a.micros - b.micros);
  const told = await tell([pcapBytes(captured(skewed))]);
  expect(told.exchanges, `skew ${skew}`).toEqual(plain.exchanges);
  expect(told.connections).toBe(4);
});
