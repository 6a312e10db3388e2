// The decoder: every frame of the vectors at every split, whole and byte by byte; round trips; and bytes that are no frames.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readVectors } from '../../fixtures/vector.ts';
import { FrameDecoder } from '../../protocol/decoder.ts';
import { ProtocolError } from '../../protocol/error.ts';
import { encodeRequest, encodeResponse, readFrame } from '../../protocol/frame.ts';
import { HEADER_BYTES, Magic, bodyLengthAt, type Magic as MagicByte } from '../../protocol/header.ts';

const vectors = readVectors(new URL('../../fixtures/vectors.jsonl', import.meta.url));

/** The frames of a stream, as hex, that comes in these chunks. */
function decode(chunks: readonly Buffer[], magic: MagicByte): string[] {
  const frames: string[] = [];
  const decoder = new FrameDecoder(
    { frame: (data, at, end) => frames.push(data.toString('hex', at, end)) },
    { magic },
  );
  for (const chunk of chunks) {
    // A copy that is overwritten: whoever keeps a view of a chunk is found out.
    const lent = Buffer.from(chunk);
    decoder.push(lent, 0, lent.length, 0);
    lent.fill(0xff);
  }
  return frames;
}

/** The slow, obvious way: a header says how long its frame is. */
function cut(data: Buffer): string[] {
  const frames: string[] = [];
  for (let at = 0; at + HEADER_BYTES <= data.length;) {
    const end = at + HEADER_BYTES + bodyLengthAt(data, at);
    if (end > data.length) break;
    frames.push(data.toString('hex', at, end));
    at = end;
  }
  return frames;
}

/** All whole response frames of the vectors; ASCII answers and cut ones aside. */
const streams = vectors
  .flatMap(({ name, responseHex, segments }) =>
    [responseHex, ...(segments ?? []).map((segment) => segment.responseHex)].map((hex) => ({ name, hex })),
  )
  .filter(({ hex }) => hex.startsWith('81'))
  .map(({ name, hex }) => ({ name, data: Buffer.from(hex, 'hex') }));

describe('the vectors', () => {
  test('there are enough of them', () => expect(streams.length).toBeGreaterThan(80));

  test.each(streams.map(({ name, data }) => [name, data] as const))('%s, at every split', (_name, data) => {
    const whole = cut(data);
    expect(whole.join('')).toBe(data.toString('hex'));
    expect(decode([data], Magic.response)).toEqual(whole);
    const limit = Math.min(data.length, 2_000);
    for (let at = 0; at <= limit; at++)
      expect(decode([data.subarray(0, at), data.subarray(at)], Magic.response)).toEqual(whole);
    if (data.length > 20_000) return;
    const bytes = Array.from(data, (_byte, at) => data.subarray(at, at + 1));
    expect(decode(bytes, Magic.response)).toEqual(whole);
  });
});

const bytes = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength }).map((data) => Buffer.from(data));
const frame = fc.record({
  opcode: fc.integer({ min: 0, max: 0x24 }),
  status: fc.integer({ min: 0, max: 0xffff }),
  opaque: fc.integer({ min: 0, max: 0xffffffff }),
  cas: fc.bigInt({ min: 0n, max: 0xffffffffffffffffn }),
  extras: bytes(20),
  key: bytes(250),
  value: bytes(300),
});

describe('round trips', () => {
  test('a frame says what was put into it', () => {
    fc.assert(
      fc.property(frame, (init) => {
        const data = encodeResponse(init);
        expect(readFrame(data, 0, data.length)).toMatchObject(init);
      }),
    );
  });

  test('frames come out whole, however they are cut', () => {
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 8 }),
        fc.array(fc.nat(2_000), { maxLength: 8 }),
        (frames, places) => {
          const parts = frames.map(encodeResponse);
          const data = Buffer.concat(parts);
          const cuts = [
            0,
            ...places.map((place) => Math.min(place, data.length)).toSorted((a, b) => a - b),
            data.length,
          ];
          const chunks = cuts.slice(1).map((end, n) => data.subarray(cuts[n], end));
          expect(decode(chunks, Magic.response)).toEqual(parts.map((part) => part.toString('hex')));
        },
      ),
    );
  });
});

describe('broken streams', () => {
  test('a wrong magic is told with the offset in the stream', () => {
    const good = encodeRequest({ opcode: 0x0a });
    const decoder = new FrameDecoder({ frame: () => undefined }, { magic: Magic.request });
    decoder.push(good, 0, good.length, 0);
    expect(() => decoder.push(Buffer.from('get a\r\n'.padEnd(24)), 0, 24, 0)).toThrow(/24/);
  });

  test('a body shorter than its key and extras', () => {
    const data = encodeResponse({ opcode: 0, key: 'key', value: 'value' });
    data.writeUInt32BE(2, 8);
    expect(() => decode([data], Magic.response)).toThrow(ProtocolError);
  });

  test('any bytes: frames or a ProtocolError, and nothing else', () => {
    fc.assert(
      fc.property(bytes(200), fc.boolean(), (data, asResponse) => {
        if (data.length > 0) data[0] = asResponse ? Magic.response : Magic.request;
        try {
          decode([data.subarray(0, 30), data.subarray(30)], asResponse ? Magic.response : Magic.request);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }),
    );
  });

  test('a claimed body of 4 GB is not allocated before it comes', () => {
    const data = encodeResponse({ opcode: 0, value: 'x' });
    data.writeUInt32BE(0xffffffff, 8);
    const before = process.memoryUsage().arrayBuffers;
    try {
      decode([data], Magic.response);
    } catch (error) {
      expect(error).toBeInstanceOf(ProtocolError);
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024);
  });
});
