// Clocks that step, that are set, and stamps that are far off: times stay monotonic with the recorded distances, and the
// recording says so. `CLOCKS_SEEDS=200` runs as many random ways.

import { expect, test } from 'vitest';
import { notesOf } from '../../recorder/notes.ts';
import { Random } from '../../synth/laws/random.ts';
import { pcapBytes, type CapturedPacket } from '../support/packets.ts';
import { captured, randomTraffic, seedsOf, tell } from '../support/traffic.ts';

const EPOCH_MICROS = 1_700_000_000_000_000;
const HOUR_MICROS = 3_600_000_000;

interface Way {
  /** Changes the stamps, of which `at` is the first that is wrong. */
  spoil(packets: CapturedPacket[], at: number, random: Random): void;
  /** Exchanges around the step, whose times cannot be known. */
  unknown: number;
  says: RegExp;
}

const back = (packets: CapturedPacket[], from: number, micros: number): void => {
  for (const packet of packets.slice(from)) packet.micros -= micros;
};

const ways: Record<string, Way> = {
  'steps back': {
    spoil: (packets, at, random) => back(packets, at, 200_000 + random.int(600_000_000)),
    unknown: 12,
    says: /the clock went back by/,
  },
  'steps back twice': {
    spoil: (packets, at, random) => {
      back(packets, at >> 1, 200_000 + random.int(10_000_000));
      back(packets, at, 200_000 + random.int(10_000_000));
    },
    unknown: 24,
    says: /the clock went back by/,
  },
  'one stamp hours ahead': {
    spoil: (packets, at, random) => (packets[at]!.micros += (1 + random.int(60)) * HOUR_MICROS),
    unknown: 4,
    says: /the time stamp is far off/,
  },
  'one stamp of 1970': {
    spoil: (packets, at) => (packets[at]!.micros = -EPOCH_MICROS + 5),
    unknown: 4,
    says: /the time stamp is far off/,
  },
  'stamps of 1970 beside others': {
    spoil: (packets, at, random) => {
      for (const packet of packets.slice(at, at + 60)) if (random.chance(0.4)) packet.micros -= EPOCH_MICROS;
    },
    unknown: 60,
    says: /the clock|the time stamp/,
  },
  'set after the capture began': {
    spoil: (packets, at) => back(packets.slice(0, at), 0, EPOCH_MICROS - 5_000_000),
    unknown: 12,
    says: /the clock was set forward by/,
  },
};

for (const [name, way] of Object.entries(ways))
  test.each(seedsOf('CLOCKS_SEEDS', 6))(`${name}, seed %d`, async (seed) => {
    const random = new Random(seed);
    const traffic = randomTraffic(random, { connections: 4, turns: 12 });
    const plain = await tell([pcapBytes(captured(traffic))]);
    const packets = captured(traffic);
    way.spoil(packets, 20 + random.int(packets.length - 40), random);
    const told = await tell([pcapBytes(packets)]);
    expect(told.exchanges).toEqual(plain.exchanges);
    expect(told.requestNs).toEqual(told.requestNs.toSorted((a, b) => a - b));
    const wrong = told.latencyNs.filter((ns, n) => Math.abs(ns - plain.latencyNs[n]!) > 1000).length;
    expect(wrong).toBeLessThanOrEqual(way.unknown);
    // Not longer than it was, but for a little at each step.
    expect(told.result.lastNs).toBeLessThan(plain.result.lastNs + 40e6);
    expect(notesOf(told.result, [11_211]).join('\n')).toMatch(way.says);
  });

test.each(seedsOf('CLOCKS_SEEDS', 6))(
  'minutes without a packet are told of, the longest, seed %d',
  async (seed) => {
    const random = new Random(seed);
    const traffic = randomTraffic(random, { connections: 4, turns: 12 });
    const packets = captured(traffic);
    const gaps = Array.from({ length: 1 + random.int(8) }, () => 61 + random.int(3400));
    const places = gaps.map((_, n) => 10 + n * 5);
    for (const [n, seconds] of gaps.entries())
      for (const packet of packets.slice(places[n])) packet.micros += seconds * 1e6;
    const told = await tell([pcapBytes(packets)]);
    const notes = notesOf(told.result, [11_211]);
    const longest = Math.max(...gaps);
    const minutes = `${Math.floor(longest / 60)} min ${longest % 60} s`;
    expect(notes).toHaveLength(1);
    expect(notes[0]).toContain(
      `at packet ${places[gaps.indexOf(longest)]! + 1} nothing was captured for ${minutes}`,
    );
  },
);

test('hours without a packet are kept, and years are not', async () => {
  const traffic = randomTraffic(new Random(4), { connections: 2, turns: 10 });
  const at = traffic.length >> 1;
  for (const [hours, kept] of [
    [0.5, true],
    [18, true],
    [24 * 400, false],
  ] as const) {
    const packets = captured(traffic);
    for (const packet of packets.slice(at)) packet.micros += hours * HOUR_MICROS;
    const told = await tell([pcapBytes(packets)]);
    expect(told.exchanges).toHaveLength(20);
    expect(told.result.lastNs > hours * HOUR_MICROS * 1000).toBe(kept);
  }
});
