// A recording in parts: rotated files in any order, put one behind the other, and captures of two hosts at one time.
// `PARTS_SEEDS=200` runs as many random ways to cut.

import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { Random } from '../../synth/laws/random.ts';
import { ngPacket, ngSection, pcapBytes, type CapturedPacket } from '../support/packets.ts';
import { captured, randomTraffic, seedsOf, tell } from '../support/traffic.ts';

const EPOCH_MICROS = 1_700_000_000_000_000n;

function ngBytes(packets: readonly CapturedPacket[]): Buffer {
  const blocks = packets.map(({ data, micros }) => ngPacket(data, EPOCH_MICROS + BigInt(micros)));
  return Buffer.concat([ngSection([{}]), ...blocks]);
}

const formats = [
  pcapBytes,
  (packets: readonly CapturedPacket[]) => pcapBytes(packets, { bigEndian: true }),
  ngBytes,
];

/** The packets in up to five files of any format. */
function cutUp(random: Random, packets: readonly CapturedPacket[]): Buffer[] {
  const cuts = Array.from({ length: 1 + random.int(4) }, () => random.int(packets.length)).toSorted(
    (a, b) => a - b,
  );
  return [0, ...cuts].map((from, n) =>
    formats[random.int(formats.length)]!(packets.slice(from, cuts[n] ?? packets.length)),
  );
}

test.each(seedsOf('PARTS_SEEDS', 12))('in parts, seed %d', async (seed) => {
  const random = new Random(seed);
  const packets = captured(randomTraffic(random, { connections: 4, turns: 10 }));
  const whole = await tell([pcapBytes(packets)]);
  const files = cutUp(random, packets);
  const shuffled = files.toSorted(() => random.float() - 0.5);
  // Each packet went by one of two hosts that captured at the same time.
  const hosts = [0, 1].map((host) =>
    pcapBytes(packets.filter((_, n) => ((n * 2_654_435_761) >>> 16) % 2 === host)),
  );
  const ways: Record<string, Buffer[]> = {
    'in order': files,
    'in any order': shuffled,
    'one behind the other': [Buffer.concat(files)],
    'two hosts': hosts,
    'packed and put behind one another': [Buffer.concat(files.map((file) => gzipSync(file)))],
  };
  for (const [way, parts] of Object.entries(ways)) {
    const told = await tell(parts);
    expect(told.exchanges, way).toEqual(whole.exchanges);
    expect(told.connections, way).toBe(4);
    expect(told.capture, way).toEqual(whole.capture);
    expect(told.result, way).toMatchObject({ startNs: whole.result.startNs, lastNs: whole.result.lastNs });
  }
});

test('a part that is broken or cut leaves the others to be read', async () => {
  const packets = captured(randomTraffic(new Random(3), { connections: 2, turns: 10 }));
  const [first, second] = [packets.slice(0, 30), packets.slice(30)].map((part) => pcapBytes(part));
  const cut = await tell([first!.subarray(0, first!.length - 3), second!]);
  expect(cut.result).toMatchObject({ truncatedSource: 0, troubles: [] });
  expect(cut.result.truncatedAt).toBeGreaterThan(0);
  expect(cut.exchanges.length).toBeGreaterThan(10);
  const broken = await tell([first!, Buffer.from('this is no capture at all'), second!]);
  expect(broken.result.troubles).toMatchObject([{ source: 1, error: { code: 'NOT_A_CAPTURE' } }]);
  expect(broken.exchanges).toHaveLength(20);
  await expect(tell([Buffer.from('no capture'), Buffer.from('nor this')])).rejects.toMatchObject({
    code: 'NOT_A_CAPTURE',
  });
});

test('kernel drops of several parts are counted once', async () => {
  const drops = Buffer.alloc(28);
  drops.writeUInt16LE(5, 12);
  drops.writeUInt16LE(8, 14);
  drops.writeBigUInt64LE(42n, 16);
  const packets = captured(randomTraffic(new Random(3), { connections: 1, turns: 3 }));
  const statistics = Buffer.concat([
    Buffer.from('0500000028000000', 'hex'),
    drops,
    Buffer.from('28000000', 'hex'),
  ]);
  const file = (part: CapturedPacket[]): Buffer => Buffer.concat([ngBytes(part), statistics]);
  const { capture } = await tell([file(packets.slice(0, 5)), file(packets.slice(5))]);
  expect(capture.kernelDropped).toBe(84);
});
