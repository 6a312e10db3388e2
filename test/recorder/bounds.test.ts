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
import { Conversation, ethernet, ipBytes, pcapBytes } from '../support/packets.ts';
import { listenToBytes } from './listener.ts';

function fragment(id: number, unit: number, more: boolean, bytes: number): Buffer {
  const ip = Buffer.alloc(20 + bytes, 1);
  ip[0] = 0x45;
  ip.writeUInt16BE(ip.length, 2);
  ip.writeUInt16BE(id, 4);
  ip.writeUInt16BE(unit | (more ? 0x2000 : 0), 6);
  ip[9] = 6;
  return ip;
}

function take(fragments: Fragments, data: Buffer): void {
  const packet = new Packet();
  packet.reset(data, 0, data.length);
  readIp(packet);
  fragments.take(packet);
}

describe('IP fragments', () => {
  test('small ones of many datagrams hold what is promised', () => {
    const fragments = new Fragments();
    for (let n = 0; n < 100_000; n++) take(fragments, fragment(n % 500, 1 + ((n / 500) % 8000), true, 8));
    expect(fragments.heldBytes).toBeLessThanOrEqual(16 * 1024 * 1024);
    expect(fragments.incomplete).toBe(100_000);
  });

  test('the same piece again and again costs no more each time', () => {
    const times = [20_000, 80_000].map((count) => {
      const fragments = new Fragments();
      take(fragments, fragment(7, 0, true, 8));
      take(fragments, fragment(7, 2, false, 8));
      const again = fragment(7, 2, true, 8);
      const from = process.cpuUsage().user;
      for (let n = 0; n < count; n++) take(fragments, again);
      return process.cpuUsage().user - from;
    });
    // Four times as many: a quadratic walk would take sixteen times as long.
    expect(times[1]!).toBeLessThan(times[0]! * 9 + 50_000);
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
