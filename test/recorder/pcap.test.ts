// Classic pcap files: both byte orders, any chunking, cut anywhere, and everything that is no such file.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readCapture } from '../../recorder/capture.ts';
import { emptyCapture } from '../../trace/meta.ts';
import { Conversation, pcapBytes } from '../support/packets.ts';
import { Listener, listen, listenToBytes } from './listener.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'memtape-pcap-'));
});
afterAll(() => rm(folder, { recursive: true }));

const talk = new Conversation()
  .open()
  .send(true, 'ask')
  .send(false, 'answer')
  .send(true, 'more')
  .fin(true)
  .fin(false);
const file = pcapBytes(talk.packets);
/** Where each record ends, the header first. */
const boundaries = [24];
for (const { data } of talk.packets) boundaries.push(boundaries.at(-1)! + 16 + data.length);
const whole = ['> ask', '< answer', '> more', 'end client'];

describe('a pcap file', () => {
  test('in either byte order', async () => {
    for (const bigEndian of [false, true]) {
      const { streams, result, capture } = await listen(talk.packets, { bigEndian });
      expect(streams.map(({ events }) => events)).toEqual([whole]);
      expect(result).toEqual({
        startNs: '1700000000000000000',
        firstNs: 0,
        lastNs: 700_000,
        packets: 8,
        bytes: file.length,
        linkType: 1,
        portsSeen: [{ port: 11211, packets: 8, binary: false }],
        truncatedAt: null,
        truncatedSource: 0,
        troubles: [],
        skipped: { other: 0, fragment: 0, cut: 0, malformed: 0 },
        unread: [],
        evicted: 0,
        copies: { connections: 0, packets: 0, pairs: [] },
        proxies: [],
        forwarders: [],
        otherServers: 0,
        corrections: 0,
        clockEvents: [],
        moves: [],
      });
      expect(capture.packets).toBe(8);
    }
  });

  test('in chunks of any size', async () => {
    for (let chunkBytes = 1; chunkBytes <= file.length; chunkBytes += chunkBytes < 100 ? 1 : 37) {
      const { streams, result } = await listenToBytes(file, { chunkBytes });
      expect(streams.map(({ events }) => events)).toEqual([whole]);
      expect(result).toMatchObject({ packets: 8, bytes: file.length, truncatedAt: null });
    }
  });

  test('by its path', async () => {
    const path = join(folder, 'a.pcap');
    await writeFile(path, file);
    const listener = new Listener();
    const capture = emptyCapture();
    const result = await readCapture(path, { ports: [11211], factory: listener, capture });
    expect(listener.streams[0]?.events).toEqual(whole);
    expect(result.packets).toBe(8);
  });

  test('with no packets', async () => {
    const { streams, result } = await listen([]);
    expect(streams).toEqual([]);
    expect(result).toMatchObject({ startNs: '0', firstNs: -1, lastNs: -1, packets: 0, truncatedAt: null });
  });

  test('with records of no bytes and of the most bytes', async () => {
    const sizes = [0, 262_144, 0].map((length) => ({ data: Buffer.alloc(length), micros: 0 }));
    const { streams, capture, result } = await listen([...sizes, ...talk.packets], { chunkBytes: 10_000 });
    expect(streams[0]?.events).toEqual(whole);
    expect([capture.packets, result.truncatedAt]).toEqual([11, null]);
  });
});

describe('a cut file', () => {
  test('gives all whole packets before the cut, wherever it is', async () => {
    for (let length = 24; length <= file.length; length++) {
      const cutFile = file.subarray(0, length);
      const at = boundaries.findLast((boundary) => boundary <= length)!;
      const expected = await listenToBytes(file.subarray(0, at));
      const { streams, result } = await listenToBytes(cutFile, { chunkBytes: 33 });
      expect(result.truncatedAt).toBe(at === length ? null : at);
      expect(result.packets).toBe(boundaries.indexOf(at));
      expect(streams).toEqual(expected.streams);
      expect(streams.every(({ end }) => end !== undefined)).toBe(true);
    }
  });

  test('within its header is an error that says so', async () => {
    for (let length = 4; length < 24; length++)
      await expect(listenToBytes(file.subarray(0, length), { chunkBytes: 3 })).rejects.toMatchObject({
        name: 'RecorderError',
        code: 'TRUNCATED',
        message: `expected a pcap header of 24 bytes, got a file of ${length}`,
      });
  });
});

describe('what is no pcap file, or not yet', () => {
  const rows: { name: string; bytes: Buffer; code: string; message: RegExp }[] = [
    {
      name: 'an empty file',
      bytes: Buffer.alloc(0),
      code: 'NOT_A_CAPTURE',
      message: /expected a pcap file.*empty/,
    },
    {
      name: 'text',
      bytes: Buffer.from('GET / HTTP/1.1\r\n'),
      code: 'NOT_A_CAPTURE',
      message: /got first bytes 474554202f204854/,
    },
    {
      name: 'three bytes',
      bytes: Buffer.from('abc'),
      code: 'NOT_A_CAPTURE',
      message: /got first bytes 616263$/,
    },
    {
      name: 'a modified pcap',
      bytes: pcapBytes([], { magic: 0xa1b2cd34 }),
      code: 'UNSUPPORTED',
      message: /Kuznetzov/,
    },
    {
      name: 'xz',
      bytes: Buffer.from('fd377a585a000000', 'hex'),
      code: 'UNSUPPORTED',
      message: /got xz; unpack it/,
    },
    {
      name: 'bzip2',
      bytes: Buffer.from('425a683931415926', 'hex'),
      code: 'UNSUPPORTED',
      message: /got bzip2/,
    },
    {
      name: 'an old pcap version',
      bytes: pcapBytes([], { minorVersion: 3 }),
      code: 'UNSUPPORTED',
      message: /expected pcap version 2\.4, got 2\.3/,
    },
  ];
  for (const { name, bytes, code, message } of rows) {
    test(name, async () => {
      for (const chunkBytes of [1, 7, 100])
        await expect(listenToBytes(bytes, { chunkBytes })).rejects.toMatchObject({
          name: 'RecorderError',
          code,
          message: expect.stringMatching(message),
        });
    });
  }

  test('a file that is not there, and one that is a folder', async () => {
    for (const path of [join(folder, 'missing.pcap'), folder])
      await expect(
        readCapture(path, { ports: [11211], factory: new Listener(), capture: emptyCapture() }),
      ).rejects.toMatchObject({ code: 'UNREADABLE', message: expect.stringMatching(/ENOENT|EISDIR/) });
  });

  test('an impossible record length names its offset; what stood before it was delivered', async () => {
    for (const length of [262_145, 0xffffffff])
      for (const chunkBytes of [1, 50, 10_000]) {
        const bad = Buffer.from(file);
        const at = boundaries[4]!;
        bad.writeUInt32LE(length, at + 8);
        const listener = new Listener();
        const chunks = Array.from({ length: Math.ceil(bad.length / chunkBytes) }, (_, i) =>
          bad.subarray(i * chunkBytes, (i + 1) * chunkBytes),
        );
        const reading = readCapture(Readable.from(chunks), {
          ports: [11211],
          factory: listener,
          capture: emptyCapture(),
        });
        await expect(reading).rejects.toMatchObject({
          code: 'CORRUPT',
          message: expect.stringContaining(`got a length of ${length} (record at byte ${at})`),
        });
        expect(listener.streams[0]?.events).toEqual(['> ask']);
      }
  });
});

describe('time', () => {
  test('counts from the first packet, to the microsecond, over seconds and weeks', async () => {
    const slow = new Conversation({ startMicros: 999_999 }).open();
    slow
      .pause(1)
      .send(true, 'a')
      .pause(20 * 86_400_000_000)
      .send(true, 'b')
      .acknowledge(false)
      .acknowledge(true);
    const starts: string[] = [];
    const { streams, result } = await listen(slow.packets, {
      epochSeconds: 4_000_000_000,
      onStart: ({ startNs, linkType }) => starts.push(`${startNs} ${linkType}`),
    });
    expect(starts).toEqual(['4000000000999999000 1']);
    expect(result.startNs).toBe('4000000000999999000');
    expect(streams[0]?.ns).toEqual([301_000, 1_728_000_000_401_000, 1_728_000_000_601_000]);
    expect(result.lastNs).toBe(1_728_000_000_601_000);
  });

  test('never goes back for a sink: a packet that was stamped too early comes after the one before', async () => {
    const { packets } = new Conversation().open().send(true, 'a').send(false, 'b').send(true, 'c');
    packets[4]!.micros = -5_000_000;
    const { streams, result } = await listen(packets);
    expect(streams[0]?.ns).toEqual([300_000, 400_000, 500_000, 500_000]);
    expect(result).toMatchObject({ firstNs: 0, lastNs: 500_000, corrections: 1 });
  });

  test('a connection that opens before the first packet opens at zero', async () => {
    const early = new Conversation({ startMicros: -700 }).open().send(true, 'a');
    const { streams } = await listen([{ data: Buffer.alloc(60), micros: 0 }, ...early.packets]);
    expect(streams[0]?.info).toMatchObject({ openNs: 0, firstNs: 0 });
    expect(streams[0]?.ns).toEqual([0, 0]);
  });

  test('onStart comes before any stream', async () => {
    const order: string[] = [];
    const listener = new Listener();
    await readCapture(Readable.from([file]), {
      ports: [11211],
      capture: emptyCapture(),
      onStart: () => order.push('start'),
      factory: {
        open: (info) => {
          order.push('open');
          return listener.open(info);
        },
      },
    });
    expect(order).toEqual(['start', 'open']);
  });
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** About 3 MB of traffic. */
function longFile(): Buffer {
  const long = new Conversation().open();
  for (let i = 0; i < 3000; i++) long.send(i % 2 === 0, Buffer.alloc(1000, 'x'));
  return pcapBytes(long.packets);
}

describe('flow', () => {
  test('a slow sink halts the reading', async () => {
    const bytes = longFile();
    let at = 0;
    const source = new Readable({
      highWaterMark: 65_536,
      read() {
        this.push(at < bytes.length ? bytes.subarray(at, (at += 65_536)) : null);
      },
    });
    let release: (() => void) | undefined;
    let waits = 0;
    let delivered = 0;
    const reading = readCapture(source, {
      ports: [11211],
      capture: emptyCapture(),
      factory: {
        open: () => ({
          data: (_fromClient, _data, start, end) => (delivered += end - start),
          gap: () => undefined,
          end: () => undefined,
        }),
      },
      drained: () => {
        waits++;
        return new Promise((resolve) => (release = resolve));
      },
    });
    let most = 0;
    for (let step = 1; step <= 20; step++) {
      for (let i = 0; i < 20; i++) await turn();
      expect(waits).toBe(step);
      // What is read ahead: a chunk under way and the source's own buffer.
      expect(at - delivered).toBeLessThan(65_536 * 4 + step * 8000);
      expect(delivered).toBeGreaterThan(most);
      most = delivered;
      release!();
    }
    const finishing = setInterval(() => release!(), 1);
    const result = await reading;
    clearInterval(finishing);
    expect(delivered).toBe(3_000_000);
    expect(result.bytes).toBe(bytes.length);
  });

  test('one large chunk is delivered in slabs, with progress', async () => {
    const bytes = longFile();
    const progress: number[] = [];
    let waits = 0;
    await listenToBytes(bytes, {
      onProgress: (done) => progress.push(done),
      drained: () => {
        waits++;
        return undefined;
      },
    });
    expect(waits).toBe(progress.length);
    expect(waits).toBe(Math.ceil(bytes.length / (262_144 + 1070)));
    expect(progress.at(-1)).toBe(bytes.length);
    expect(progress).toEqual(progress.toSorted((a, b) => a - b));
  });

  test('a signal ends the capture where it stands, even while the source is silent', async () => {
    const source = new Readable({ read: () => undefined });
    source.push(file.subarray(0, boundaries[5]! + 7));
    const controller = new AbortController();
    const listener = new Listener();
    const reading = readCapture(source, {
      ports: [11211],
      factory: listener,
      capture: emptyCapture(),
      signal: controller.signal,
      onProgress: () => setTimeout(() => controller.abort(), 5),
    });
    expect(await reading).toMatchObject({ packets: 5, bytes: boundaries[5], truncatedAt: null });
    expect(listener.streams[0]?.events).toEqual(['> ask', '< answer', 'end open']);
    expect(source.destroyed).toBe(true);
  });

  test("a sink's error comes through as it is, and the source is let go", async () => {
    const source = Readable.from([file]);
    const failure = new Error('disk full');
    const reading = readCapture(source, {
      ports: [11211],
      capture: emptyCapture(),
      factory: {
        open: () => {
          throw failure;
        },
      },
    });
    await expect(reading).rejects.toBe(failure);
    expect(source.destroyed).toBe(true);
  });

  test("the source's error is kept as the cause", async () => {
    const cause = new Error('pipe broke');
    const source = new Readable({ read: () => void source.destroy(cause) });
    const reading = readCapture(source, { ports: [11211], factory: new Listener(), capture: emptyCapture() });
    await expect(reading).rejects.toMatchObject({ code: 'UNREADABLE', cause });
  });
});
