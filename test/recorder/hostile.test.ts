// Hostile input: whatever the bytes are, reading ends, in bounded memory, with a result or a RecorderError. (The
// listener itself objects to empty ranges, times that go back, and calls after the end.)

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RecorderError } from '../../recorder/error.ts';
import { linkReader } from '../../recorder/link.ts';
import { Tap } from '../../recorder/tap.ts';
import { emptyCapture } from '../../trace/meta.ts';
import { Conversation, ethernet, ipBytes, links, pcapBytes } from '../support/packets.ts';
import { runs } from '../support/scale.ts';
import { Listener, listen, listenToBytes } from './listener.ts';

/** Reads to a result, or to the one error that is allowed. */
async function survives(reading: ReturnType<typeof listen>): Promise<void> {
  try {
    const { streams } = await reading;
    for (const { end } of streams) expect(end).toBeDefined();
  } catch (error) {
    if (!(error instanceof RecorderError)) throw error;
  }
}

test('random bytes as packets, on every link type', async () => {
  const linkTypes = [...new Set(Object.values(links).map(({ linkType }) => linkType))];
  const packet = fc.record({
    data: fc.uint8Array({ maxLength: 120 }).map((bytes) => Buffer.from(bytes)),
    micros: fc.nat(),
    wireBytes: fc.nat(0xffffffff),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(packet, { maxLength: 20 }),
      fc.constantFrom(...linkTypes),
      async (packets, linkType) => {
        const { capture } = await listen(packets, { linkType });
        expect(capture.packets).toBe(packets.length);
      },
    ),
    { numRuns: runs(120) },
  );
});

test('random bytes as a file', async () => {
  const header = pcapBytes([]);
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.boolean(), async (bytes, isPcap) => {
      await survives(listenToBytes(isPcap ? Buffer.concat([header, bytes]) : Buffer.from(bytes)));
    }),
    { numRuns: runs(120) },
  );
});

const talks = [
  new Conversation().open().send(true, 'ask').send(false, 'answer').fin(true).fin(false),
  new Conversation({
    client: '[fd00:0:0:0:0:0:0:1]:40000',
    server: '[fd00:0:0:0:0:0:0:2]:11211',
    link: links['802.1Q']!,
  })
    .open()
    .send(true, 'ask')
    .send(true, 'lost')
    .lose()
    .send(false, 'answer')
    .send(true, 'more')
    .reset(false),
];
const valid = pcapBytes(talks.flatMap(({ packets }) => packets));

test('valid files with bytes changed, taken out and put in', async () => {
  const change = fc.record({ at: fc.nat(valid.length - 1), value: fc.nat(255), kind: fc.nat(3) });
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { minLength: 1, maxLength: 12 }),
      fc.integer({ min: 1, max: 400 }),
      async (changes, chunkBytes) => {
        const bytes = [...valid];
        for (const { at, value, kind } of changes) {
          if (kind === 0) bytes.splice(at, 1);
          else if (kind === 1) bytes.splice(at, 0, value);
          else bytes[at] = value;
        }
        await survives(listenToBytes(Buffer.from(bytes), { chunkBytes }));
      },
    ),
    { numRuns: runs(500) },
  );
});

test('any sequence numbers, acknowledgements and flags', async () => {
  const near = fc.integer({ min: -40, max: 40 });
  const number = fc.oneof(near, near, fc.nat(0xffffffff));
  const segment = fc.record({
    fromClient: fc.boolean(),
    flags: fc.constantFrom('A', 'A', 'A', 'PA', 'FA', 'S', 'SA', 'R', 'RA', 'F', '', 'SF', 'SR', 'FSRPA'),
    sequence: number,
    acknowledgement: number,
    length: fc.nat(12),
    cut: fc.nat(3),
    micros: fc.oneof(fc.nat(100), fc.nat(60_000_000)),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(segment, { maxLength: 60 }), async (segments) => {
      const packets = segments.map(({ fromClient, length, cut, micros, ...rest }) => {
        const [from, to] = fromClient
          ? ['10.0.0.1:4000', '10.0.0.2:11211']
          : ['10.0.0.2:11211', '10.0.0.1:4000'];
        const data = links['raw IP, 101']!.wrap(
          ipBytes({ ...rest, from, to, payload: Buffer.alloc(length, 'x') }),
        );
        return {
          data: data.subarray(0, data.length - Math.min(cut, length)),
          wireBytes: data.length,
          micros,
        };
      });
      const { streams } = await listen(packets, { linkType: 101 });
      for (const { end } of streams) expect(end).toBeDefined();
    }),
    { numRuns: runs(350) },
  );
});

test('memory held is bounded, and let go at the end', () => {
  // Early segments of many connections; hardly ever is a hole before them filled.
  const maxHeldBytes = 200_000;
  const listener = new Listener();
  const capture = emptyCapture();
  const tap = new Tap({ ports: [11211], factory: listener, capture, maxHeldBytes, maxConnections: 50 });
  const link = linkReader(1);
  let most = 0;
  for (let i = 0; i < 6000; i++) {
    const data = ethernet.wrap(
      ipBytes({
        from: `10.0.0.1:${i % 10 === 0 ? 30_000 + i : 20_000 + (i % 40)}`,
        to: '10.0.0.2:11211',
        sequence: (1000 + i * 997) % 1_000_000,
        flags: i < 100 ? 'S' : 'A',
        payload: i < 100 ? Buffer.alloc(0) : Buffer.alloc((i * 31) % 1400, 'x'),
      }),
    );
    tap.packet(link, data, i * 1000, data.length);
    most = Math.max(most, tap.heldBytes);
    expect(tap.connections).toBeLessThanOrEqual(50);
  }
  expect(most).toBeLessThanOrEqual(maxHeldBytes);
  expect(most).toBeGreaterThan(maxHeldBytes / 2);
  tap.finish();
  expect(tap.heldBytes).toBe(0);
  expect(listener.streams.every(({ end }) => end !== undefined)).toBe(true);
});
