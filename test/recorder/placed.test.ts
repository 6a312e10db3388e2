// Files whose clocks cannot all be right: the clock was set between one and the next that goes on with its connections, or
// each host's clock differs. `PLACED_SEEDS=200` runs as many random ways.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { notesOf } from '../../recorder/notes.ts';
import { Packet } from '../../recorder/packet.ts';
import { Survey } from '../../recorder/survey.ts';
import { lastStamp } from '../../recorder/tail.ts';
import { Random } from '../../synth/laws/random.ts';
import { ngPacket, ngSection, pcapBytes, type CapturedPacket } from '../support/packets.ts';
import { captured, randomTraffic, seedsOf, tell, type WirePacket } from '../support/traffic.ts';

const SECOND_MICROS = 1_000_000;
const EPOCH_MICROS = 1_700_000_000 * SECOND_MICROS;

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'memtape-placed-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function ngBytes(packets: readonly CapturedPacket[]): Buffer {
  const blocks = packets.map(({ data, micros }) => ngPacket(data, BigInt(EPOCH_MICROS + Math.round(micros))));
  return Buffer.concat([ngSection([{}]), ...blocks]);
}

const formats = [pcapBytes, ngBytes, (packets: readonly CapturedPacket[]) => gzipSync(pcapBytes(packets))];

/** Each part's packets in a file, of any format; the files' names are in the order of the parts, or in none. */
function files(random: Random, parts: readonly (readonly WirePacket[])[], areInOrder: boolean): string[] {
  const paths = parts.map((packets, n) => {
    const path = join(folder, `${areInOrder ? n : random.uint32()}.pcap`);
    writeFileSync(path, formats[random.int(formats.length)]!(captured(packets)));
    return path;
  });
  return areInOrder ? paths : paths.toSorted(() => random.float() - 0.5);
}

const later = (packets: readonly WirePacket[], micros: number): WirePacket[] =>
  packets.map((packet) => Object.assign({}, packet, { micros: packet.micros + micros }));

/** In two to five files, of which each has something of the connections that are open. */
function rotated(random: Random, packets: readonly WirePacket[]): WirePacket[][] {
  const least = packets.length >> 3;
  const parts = 2 + random.int(4);
  const cuts = [0];
  for (let n = 1; n < parts; n++) {
    const cut = cuts.at(-1)! + least + random.int(least);
    if (cut < packets.length - least) cuts.push(cut);
  }
  return cuts.map((from, n) => packets.slice(from, cuts[n + 1]));
}

const stepOf = (random: Random): number =>
  -random.pick([0.1, 0.5, 5, 60, 3600]) * SECOND_MICROS * (0.1 + random.float());

test.each(seedsOf('PLACED_SEEDS', 12))('the clock was set back between files, seed %d', async (seed) => {
  const random = new Random(seed);
  const traffic = randomTraffic(random, { connections: 1 + random.int(4), turns: 20 });
  const plain = await tell([pcapBytes(captured(traffic))]);
  let clock = 0;
  const parts = rotated(random, traffic).map((packets) => {
    const part = later(packets, clock);
    clock += stepOf(random);
    return part;
  });
  const told = await tell(files(random, parts, random.chance(0.7)));
  expect(told.exchanges).toEqual(plain.exchanges);
  expect(told.connections).toBe(plain.connections);
  expect(told.capture).toMatchObject({ midstream: 0, gaps: 0, outOfOrder: 0 });
  expect(told.requestNs).toEqual(told.requestNs.toSorted((a, b) => a - b));
  // Distances are as recorded, but for the one at each step; no more than one exchange a connection is under way there.
  const wrong = told.latencyNs.filter((ns, n) => Math.abs(ns - plain.latencyNs[n]!) > 1000).length;
  expect(wrong).toBeLessThanOrEqual(plain.connections * (parts.length - 1));
  expect(told.result.lastNs).toBeLessThanOrEqual(plain.result.lastNs + parts.length * 500_000);
  expect(told.result.moves).toHaveLength(parts.length - 1);
  expect(notesOf(told.result, [11_211]).join('\n')).toMatch(/the clock went back by .* between source \d/);
});

const rename = (endpoint: string): string => (endpoint === '10.9.0.2:11211' ? '172.17.0.2:11211' : endpoint);

/** What another host sees of it, behind a translation of addresses, by its own clock. */
function behind(random: Random, packets: readonly WirePacket[], skew: number): WirePacket[] {
  const copies = packets.map((packet) => {
    const wayMicros = 20 + random.int(20);
    return {
      ...packet,
      from: rename(packet.from),
      to: rename(packet.to),
      micros: packet.micros + skew + (packet.to.endsWith(':11211') ? wayMicros : -wayMicros),
    };
  });
  return copies.toSorted((a, b) => a.micros - b.micros);
}

test.each(seedsOf('PLACED_SEEDS', 12))('two hosts whose captures lack packets, seed %d', async (seed) => {
  const random = new Random(seed);
  const traffic = randomTraffic(random, { connections: 1 + random.int(4), turns: 20 });
  const plain = await tell([pcapBytes(captured(traffic))]);
  const skew = (random.chance(0.5) ? 1 : -1) * 10 ** (4 + random.float() * 5);
  // The handshake is there: without it, the copies are recognised when their first holes have been given up already.
  const lost = traffic.map(({ flags }) => (random.chance(0.06) && !flags.includes('S') ? random.int(2) : 2));
  const seen = [0, 1].map((host) => traffic.filter((_, n) => lost[n] !== host));
  const hosts = [seen[0]!, behind(random, seen[1]!, skew)];
  const parts = random.chance(0.3) ? hosts.flatMap((host) => rotated(random, host)) : hosts;
  const told = await tell(files(random, parts, random.chance(0.5)));
  expect(told.exchanges, `skew ${skew}`).toEqual(plain.exchanges);
  expect(told.connections).toBe(plain.connections);
  expect(notesOf(told.result, [11_211]).join('\n')).toMatch(/the clock of source \d is .* that of source \d/);
});

test('the last time of a file is found at its end', async () => {
  const traffic = randomTraffic(new Random(1), { connections: 4, turns: 800 });
  const packets = captured(traffic);
  expect(pcapBytes(packets).length).toBeGreaterThan(2 * 1024 * 1024);
  const last = BigInt(EPOCH_MICROS + packets.at(-1)!.micros) * 1000n;
  const path = join(folder, 'long.pcap');
  for (const part of [packets, packets.slice(-3)])
    for (const bytes of [pcapBytes(part), pcapBytes(part, { bigEndian: true }), ngBytes(part)]) {
      writeFileSync(path, bytes);
      expect(await lastStamp(path)).toBe(last);
    }
  for (const bytes of [gzipSync(pcapBytes(packets)), Buffer.alloc(3), Buffer.alloc(3e6, 1)]) {
    writeFileSync(path, bytes);
    expect(await lastStamp(path)).toBeUndefined();
  }
});

test('what is remembered of a file is bounded, whatever it holds', () => {
  const room = { directions: 800, signs: 300 };
  const found = new Survey(room);
  const random = new Random(1);
  const packet = new Packet();
  for (let n = 0; n < 20_000; n++) {
    const data = Buffer.alloc(60, random.uint32().toString());
    Object.assign(packet, {
      data,
      at: 20,
      end: 60,
      wireEnd: 60,
      sourceAt: 0,
      targetAt: 4,
      sequence: random.uint32(),
    });
    packet.sourcePort = random.int(65_536);
    found.segment(packet, random.chance(0.5));
  }
  expect(found.early.size).toBe(room.directions / 8);
  expect(found.signs.size).toBeLessThanOrEqual(room.signs);
  expect(found.signs.size).toBeGreaterThan(room.signs / 8);
});
