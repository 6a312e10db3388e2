// What the recorder holds of hostile captures, and how long it looks at them: bounded, and in proportion to their length.

import { Readable } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import { Exchanges } from '../../recorder/exchanges.ts';
import { Fragments } from '../../recorder/fragment.ts';
import { readIp } from '../../recorder/ip.ts';
import { linkReader } from '../../recorder/link.ts';
import { Packet } from '../../recorder/packet.ts';
import { unpack } from '../../recorder/packed.ts';
import { Tap } from '../../recorder/tap.ts';
import { Window } from '../../recorder/window.ts';
import { emptyCapture } from '../../trace/meta.ts';
import { fragmentKinds, packet4 as piece, fragments as fragmentsOf } from '../support/fragments.ts';
import { Conversation, ethernet, ipBytes, pcapBytes } from '../support/packets.ts';
import { listenToBytes } from './listener.ts';

const seed = Number(process.env['FRAGMENT_SEED'] ?? 1);
/** Fragments of each kind; four times as many are compared with them. */
const FEW = Number(process.env['FRAGMENTS'] ?? 4000);

function take(fragments: Fragments, data: Buffer): void {
  const packet = new Packet();
  packet.reset(data, 0, data.length);
  readIp(packet);
  fragments.take(packet);
}

/** Seconds of the processor that so many of them take, and what they hold at most. */
function cost(kind: string, version: 4 | 6, count: number): { seconds: number; mostBytes: number } {
  const fragments = new Fragments();
  const packets = [...fragmentsOf(kind, version, seed, count)];
  let mostBytes = 0;
  const from = process.cpuUsage().user;
  for (const [n, packet] of packets.entries()) {
    take(fragments, packet);
    if (n % 64 === 0) mostBytes = Math.max(mostBytes, fragments.heldBytes);
  }
  return { seconds: (process.cpuUsage().user - from) / 1e6, mostBytes };
}

/** Seconds that duplicates take in a datagram with a hole, whose end is known. */
function secondsOfDuplicates(isEnded: boolean): number {
  const fragments = new Fragments();
  for (let unit = 0; unit < 8190; unit++)
    if (unit !== 4000) take(fragments, piece({ id: 7, unit, more: !isEnded || unit !== 4001, bytes: 8 }));
  const again = piece({ id: 7, unit: 5, more: true, bytes: 8 });
  const from = process.cpuUsage().user;
  for (let n = 0; n < 40_000; n++) take(fragments, again);
  return (process.cpuUsage().user - from) / 1e6;
}

function leastOfDuplicates(isEnded: boolean): number {
  return Math.min(...[1, 2, 3].map(() => secondsOfDuplicates(isEnded)));
}

describe('IP fragments', () => {
  test.each(fragmentKinds.map((kind, n) => [kind, (n + seed) % 2 === 0 ? 4 : 6] as const))(
    '%s, version %i: time and memory are bounded',
    (kind, version) => {
      const [few, many] = [cost(kind, version, FEW), cost(kind, version, 4 * FEW)];
      // Four times as many: a quadratic walk would take sixteen times as long.
      expect(many.seconds).toBeLessThan(few.seconds * 10 + 0.2);
      expect(many.mostBytes).toBeLessThanOrEqual(17 * 1024 * 1024);
    },
  );

  test('a hole far behind costs nothing at each fragment that does not fill it', () => {
    // A walk to the hole takes three times as long.
    expect(leastOfDuplicates(true)).toBeLessThan(leastOfDuplicates(false) * 2 + 0.005);
  });
});

function block(type: number, size: number, isLast: boolean): Buffer {
  const header = Buffer.alloc(3);
  header.writeUIntLE(size * 8 + type * 2 + Number(isLast), 0, 3);
  return header;
}

/** A zstd frame of blocks that each stand for 128 KiB of one byte, behind a first that holds `head`. */
function bomb(head: Buffer, blocks: number, window = 0x50): Buffer {
  const run = Buffer.concat([block(1, 128 * 1024, false), Buffer.from([0])]);
  return Buffer.concat([
    Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, window]),
    block(0, head.length, false),
    head,
    ...Array.from({ length: blocks }, () => run),
    block(0, 0, true),
  ]);
}

describe('zstd', () => {
  const file = pcapBytes(new Conversation().open().send(true, 'ask').send(false, 'yes').packets);

  test('a few bytes that stand for a quarter of a gigabyte are unpacked as they are read', async () => {
    const packed = bomb(file, 2000);
    let most = 0;
    let bytes = 0;
    const before = process.memoryUsage().rss;
    for await (const chunk of unpack(Readable.from([packed]))) {
      bytes += chunk.length;
      if (bytes % (64 * 131_072) < 131_072) most = Math.max(most, process.memoryUsage().rss - before);
    }
    expect(bytes).toBe(file.length + 2000 * 131_072);
    expect(most).toBeLessThan(300e6);
  });

  test('a frame that refers back further than files do is refused, and says what to do', async () => {
    await expect(unpack(Readable.from([bomb(file, 1, 0xa0)])).next()).rejects.toMatchObject({
      code: expect.stringMatching(/UNSUPPORTED|CORRUPT/),
    });
  });

  test('frames one behind the other, and frames that hold nothing', async () => {
    const nothing = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    const [first, second] = [file.subarray(0, 200), file.subarray(200)];
    const packed = Buffer.concat([bomb(first, 0), nothing, bomb(second, 0)]);
    for (const chunkBytes of [1, 50, packed.length]) {
      const { streams } = await listenToBytes(packed, { chunkBytes });
      expect(streams.map(({ client, server }) => [client, server])).toEqual([['ask', 'yes']]);
    }
  });
});

test('packets that a snap length cuts anywhere, also within the TCP options, are read as far as they go', async () => {
  const stamp = Buffer.from([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
  const [client, server] = ['10.0.0.1:40000', '10.0.0.2:11211'];
  const whole = [
    { from: client, to: server, sequence: 5_000_000, flags: 'S', options: stamp },
    {
      from: server,
      to: client,
      sequence: 9_000_000,
      acknowledgement: 5_000_001,
      flags: 'SA',
      options: stamp,
    },
    { from: client, to: server, sequence: 5_000_001, acknowledgement: 9_000_001, flags: 'A', options: stamp },
    {
      from: client,
      to: server,
      sequence: 5_000_001,
      acknowledgement: 9_000_001,
      flags: 'AP',
      options: stamp,
      payload: Buffer.from('ask'),
    },
  ].map((segment) => ethernet.wrap(ipBytes(segment)));
  const longest = Math.max(...whole.map(({ length }) => length));
  for (let snap = 1; snap <= longest; snap++) {
    // Each is there twice, as behind an address translation.
    const packets = [...whole, ...whole].map((data, n) => ({
      data: data.subarray(0, snap),
      micros: n * 100,
      wireBytes: data.length,
    }));
    const { capture } = await listenToBytes(pcapBytes(packets));
    expect(capture.packets, `snap length ${snap}`).toBe(packets.length);
  }
});

describe('connections', () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const memory = (): number => {
    collect();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };

  /** What one of them holds, open, with a segment of one byte each. */
  function heldEach(connections: number, sequence: number): number {
    const capture = emptyCapture();
    const window = new Window(() => undefined);
    const tap = new Tap({ ports: [11_211], factory: new Exchanges(window, capture), capture });
    const link = linkReader(1);
    const before = memory();
    for (let n = 0; n < connections * 2; n++) {
      const connection = n % connections;
      const isFirst = n < connections;
      const data = ethernet.wrap(
        ipBytes({
          from: `10.0.${connection >> 12}.1:${20_000 + (connection & 4095)}`,
          to: '10.99.0.1:11211',
          sequence: isFirst ? 1000 : sequence,
          flags: isFirst ? 'S' : 'AP',
          payload: isFirst ? Buffer.alloc(0) : Buffer.from([0x80]),
        }),
      );
      tap.packet(link, data, n * 2000, data.length);
    }
    const held = memory() - before;
    expect(tap.connections).toBe(connections);
    tap.finish();
    return held / connections;
  }

  test.each([
    ['in order', 1001],
    ['early', 1003],
  ])('thousands that begin a request and no more hold what is promised: %s', (_name, sequence) => {
    expect(heldEach(6000, sequence)).toBeLessThan(4096);
  });
});
