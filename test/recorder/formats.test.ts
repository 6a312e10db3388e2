// Capture formats beside classic pcap: nanoseconds, pcapng, and both compressed. The same conversation comes out of all.

import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { decompress } from 'fzstd';
import { describe, expect, test } from 'vitest';
import { RecorderError } from '../../recorder/error.ts';
import {
  Conversation,
  links,
  ngBlock,
  ngPacket,
  ngSection,
  pcapBytes,
  type CapturedPacket,
} from '../support/packets.ts';
import { runs } from '../support/scale.ts';
import { listenToBytes, type Reading } from './listener.ts';

const { packets } = new Conversation().open().send(true, 'ask').send(false, 'answer').fin(true).fin(false);
const EPOCH = 1_700_000_000;
const classic = pcapBytes(packets);

/** All that a reading says, but for the size and the kind of its file. */
function told({ streams, result, capture }: Reading): unknown {
  return { streams, capture, result: { ...result, bytes: 0 } };
}

/** Microseconds since 1970. */
function micros(at: number): bigint {
  return BigInt(EPOCH) * 1_000_000n + BigInt(at);
}

/** The packets as pcapng: nanoseconds since the epoch, in the units of an interface. */
function ng(
  units: (ns: bigint) => bigint,
  resolution: number | undefined,
  little = true,
  offset?: bigint,
): Buffer {
  return Buffer.concat([
    ngSection(
      [{ ...(resolution === undefined ? {} : { resolution }), ...(offset === undefined ? {} : { offset }) }],
      little,
    ),
    ...packets.map(({ data, micros }) =>
      ngPacket(data, units(BigInt(EPOCH) * 1_000_000_000n + BigInt(micros) * 1000n), 0, little),
    ),
  ]);
}

const nano = (bigEndian: boolean): Buffer => {
  const inNano = packets.map((packet): CapturedPacket => ({ ...packet }));
  const file = pcapBytes(inNano, { magic: 0xa1b23c4d, bigEndian });
  // The same file, its fractions of a second in nanoseconds.
  for (let at = 24; at < file.length;) {
    const read = (place: number): number => (bigEndian ? file.readUInt32BE(place) : file.readUInt32LE(place));
    const fraction = read(at + 4) * 1000;
    if (bigEndian) file.writeUInt32BE(fraction, at + 4);
    else file.writeUInt32LE(fraction, at + 4);
    at += 16 + read(at + 8);
  }
  return file;
};

const files: [string, Buffer][] = [
  ['pcap with nanoseconds', nano(false)],
  ['pcap with nanoseconds, big-endian', nano(true)],
  ['pcapng', ng((ns) => ns / 1000n, undefined)],
  ['pcapng, big-endian', ng((ns) => ns / 1000n, 6, false)],
  ['pcapng with nanoseconds', ng((ns) => ns, 9)],
  ['pcapng with an offset', ng((ns) => ns - BigInt(EPOCH) * 1_000_000_000n, 9, true, BigInt(EPOCH))],
  ['pcap in gzip', gzipSync(classic)],
  ['pcapng in gzip', gzipSync(ng((ns) => ns, 9))],
];

describe('the same packets', () => {
  for (const [name, bytes] of files)
    test(name, async () => {
      const expected = told(await listenToBytes(classic));
      for (const chunkBytes of [1, 7, 100, bytes.length])
        expect(told(await listenToBytes(bytes, { chunkBytes }))).toEqual(expected);
    });

  test('zstd, as the command makes it', async () => {
    const packed = readFileSync(new URL('../../fixtures/captures/start.pcap.zst', import.meta.url));
    const { port } = JSON.parse(
      readFileSync(new URL('../../fixtures/captures/memjs.json', import.meta.url), 'utf8'),
    ) as { port: number };
    const expected = told(await listenToBytes(Buffer.from(decompress(packed)), { ports: [port] }));
    expect((expected as Reading).streams.length).toBe(6);
    for (const chunkBytes of [100, 1000, packed.length])
      expect(told(await listenToBytes(packed, { chunkBytes, ports: [port] }))).toEqual(expected);
    const cut = packed.subarray(0, packed.length / 2);
    await expect(listenToBytes(cut)).rejects.toMatchObject({
      code: 'TRUNCATED',
      message: /zstd file ends in the middle/,
    });
  });
});

describe('pcapng', () => {
  test('a resolution of powers of two', async () => {
    const file = Buffer.concat([
      ngSection([{ resolution: 0x80 | 10 }]),
      ...packets.map(({ data }, n) => ngPacket(data, BigInt(EPOCH) * 1024n + BigInt(n))),
    ]);
    const { streams } = await listenToBytes(file);
    // 3/1024 of a second after the first packet.
    expect(streams[0]!.ns[0]).toBe(Math.floor((3 * 1e9) / 1024));
  });

  test('interfaces of their own type and resolution, in sections of their own byte order', async () => {
    const cooked = links['Linux cooked']!;
    const other = new Conversation({ link: cooked, client: '10.0.0.1:40009' })
      .open()
      .send(true, 'two').packets;
    const file = Buffer.concat([
      ngSection([{ resolution: 9 }, { linkType: 113 }]),
      ...packets.slice(0, 4).map(({ data, micros: at }) => ngPacket(data, micros(at) * 1000n, 0)),
      ngBlock(0x0bad, Buffer.from('a block of somebody else’s')),
      ...other.map(({ data, micros: at }) => ngPacket(data, micros(at), 1)),
      ngSection([{}], false),
      ...packets.slice(4).map(({ data, micros: at }) => ngPacket(data, micros(at), 0, false)),
    ]);
    for (const chunkBytes of [1, 50, file.length]) {
      const { streams, result } = await listenToBytes(file, { chunkBytes });
      expect(streams.map(({ client, server }) => [client, server])).toEqual([
        ['ask', 'answer'],
        ['two', ''],
      ]);
      expect(result).toMatchObject({
        linkType: 1,
        packets: packets.length + other.length,
        truncatedAt: null,
      });
    }
  });

  test('packets that the kernel dropped are counted', async () => {
    const drops = Buffer.alloc(28);
    drops.writeUInt16LE(5, 12);
    drops.writeUInt16LE(8, 14);
    drops.writeBigUInt64LE(42n, 16);
    const file = Buffer.concat([ng((ns) => ns / 1000n, 6), ngBlock(5, drops)]);
    expect((await listenToBytes(file)).capture.kernelDropped).toBe(42);
    expect((await listenToBytes(ng((ns) => ns / 1000n, 6))).capture.kernelDropped).toBeNull();
  });

  test('cut in the middle of a block', async () => {
    const file = ng((ns) => ns / 1000n, 6);
    const { result, streams } = await listenToBytes(file.subarray(0, file.length - 10), { chunkBytes: 33 });
    expect(result.truncatedAt).toBeGreaterThan(file.length - 200);
    expect(streams[0]?.client).toBe('ask');
  });

  test('packets of an interface that was not described are skipped', async () => {
    const strange = ngPacket(packets[0]!.data, 0n, 3);
    const file = Buffer.concat([ngSection([{}]), strange, ng((ns) => ns / 1000n, 6), strange]);
    const { streams, result } = await listenToBytes(file);
    expect(streams[0]?.client).toBe('ask');
    expect(result.unread).toEqual([{ linkType: -1, packets: 2 }]);
  });

  test('long blocks that are no packets are passed over, however they are cut', async () => {
    const long = ngBlock(0x0bad, Buffer.alloc(3 << 20, 6));
    const [section, rest] = [
      ngSection([{}]),
      ng((ns) => ns / 1000n, 6).subarray(ngSection([{ resolution: 6 }]).length),
    ];
    const file = Buffer.concat([section, long, rest, long]);
    for (const chunkBytes of [1000, 65_536, file.length]) {
      const { streams, result } = await listenToBytes(file, { chunkBytes });
      expect(streams[0]?.client).toBe('ask');
      expect(result).toMatchObject({ truncatedAt: null, bytes: file.length });
    }
    const cut = await listenToBytes(file.subarray(0, file.length - 5));
    expect(cut.result.truncatedAt).not.toBeNull();
  });

  const section = ngSection([{}]);
  const wrongLength = (length: number): Buffer => {
    const block = ngBlock(6, Buffer.alloc(20));
    block.writeUInt32LE(length, 4);
    return Buffer.concat([section, block]);
  };
  test.each<[string, Buffer, RegExp]>([
    [
      'a length of nothing',
      wrongLength(0),
      /expected a block of 12 to \d+ bytes, a multiple of 4, got 0 \(block at byte \d+\)/,
    ],
    ['a length that is no multiple of four', wrongLength(33), /got 33/],
    ['a length of gigabytes', wrongLength(0xfffffff0), /got 4294967280/],
    [
      'a byte order that is none',
      Buffer.concat([Buffer.from('0a0d0d0a1c0000001122334400000000', 'hex'), Buffer.alloc(12)]),
      /byte-order magic/,
    ],
    [
      'a packet that is longer than its block',
      Buffer.concat([section, ngBlock(6, Buffer.from('0000000000000000000000000000ffff00000000', 'hex'))]),
      /a packet of at most/,
    ],
    [
      'a clock finer than any',
      Buffer.concat([ngSection([{ resolution: 100 }])]),
      /resolution that a clock can have/,
    ],
  ])('%s', async (_name, file, message) => {
    for (const chunkBytes of [5, 4096])
      await expect(listenToBytes(file, { chunkBytes })).rejects.toMatchObject({
        code: 'CORRUPT',
        message: expect.stringMatching(message),
      });
  });

  test('any bytes changed: packets, or a RecorderError', async () => {
    const file = ng((ns) => ns, 9);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(file.length - 1), fc.nat(255)), { minLength: 1, maxLength: 5 }),
        async (changes) => {
          const copy = Buffer.from(file);
          for (const [at, value] of changes) copy[at] = value;
          try {
            await listenToBytes(copy, { chunkBytes: 64 });
          } catch (error) {
            expect(error).toBeInstanceOf(RecorderError);
          }
        },
      ),
      { numRuns: runs(120) },
    );
  });
});

test('gzip that is cut, and gzip that is damaged', async () => {
  const packed = gzipSync(
    Buffer.concat([classic, ...Array.from({ length: 50 }, () => classic.subarray(24))]),
  );
  await expect(listenToBytes(packed.subarray(0, packed.length - 30))).rejects.toMatchObject({
    code: 'TRUNCATED',
    message: /gzip file ends in the middle/,
  });
  const damaged = Buffer.from(packed);
  damaged.fill(0xff, 40, 60);
  await expect(listenToBytes(damaged)).rejects.toMatchObject({
    code: 'CORRUPT',
    message: /gzip file is damaged/,
  });
});
