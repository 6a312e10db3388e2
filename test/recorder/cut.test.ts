// Captures that show less than there was: packets cut by a snap length, a beginning in the middle of a bulk segment, one
// direction only. Each exchange is as it truly was, or marked; and what can be known is known. `npm run proof cut` has
// hundreds of each kind.

import { Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { Exchanges } from '../../recorder/exchanges.ts';
import { readCapture } from '../../recorder/capture.ts';
import { recordCapture } from '../../recorder/record.ts';
import { Window } from '../../recorder/window.ts';
import { encodeRequest, encodeResponse } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { startServer } from '../../embedded/server.ts';
import { Told, told, untrue } from '../../scripts/truth.ts';
import { Random } from '../../synth/laws/random.ts';
import { emptyCapture } from '../../trace/meta.ts';
import { TraceReader } from '../../trace/file.ts';
import { originOfAnswer, originOfValue } from '../../trace/masked.ts';
import { Conversation, pcapBytes, type CapturedPacket } from '../support/packets.ts';
import { Server, type Asked } from '../support/pipelined.ts';
import { replayedTape } from '../support/replay.ts';
import { temporary } from '../support/tape.ts';
import { seedsOf } from '../support/traffic.ts';

const seeds = seedsOf('CUT_SEEDS', 6);
const PORT = 11_211;
const MSS = 1448;
/** Ethernet, IPv4 and TCP without options. */
const HEAD_BYTES = 54;

function send(talk: Conversation, fromClient: boolean, data: Buffer): void {
  for (let at = 0; at < data.length; at += MSS) talk.send(fromClient, data.subarray(at, at + MSS));
}

function snapped(packets: readonly CapturedPacket[], length: number): CapturedPacket[] {
  return packets.map((packet) => ({
    ...packet,
    data: packet.data.subarray(0, length),
    wireBytes: packet.data.length,
  }));
}

/** A client that waits for each answer. */
function oneByOne(random: Random, turns: number): { packets: CapturedPacket[]; asked: Asked[] } {
  const server = new Server(random, { maxValue: 4000, quiet: 0, decoys: 0.2 });
  const talk = new Conversation().open();
  const asked = Array.from({ length: turns }, () => server.one());
  for (const { request, answer } of asked) {
    send(talk, true, request);
    talk.acknowledge(false);
    send(talk, false, answer!);
    talk.acknowledge(true);
  }
  return { packets: talk.fin(true).fin(false).packets, asked };
}

/** Whether the frame's head is in a packet of which the snap length leaves so much. */
function fits(frame: Buffer, length: number): boolean {
  return 24 + frame.readUInt16BE(2) + frame[4]! <= length - HEAD_BYTES;
}

describe('a snap length', () => {
  test.each([64, 80, 96, 112, 128, 200, 256, 512, 1000, 1400, 1500])('of %d bytes', async (length) => {
    for (const seed of seeds) {
      const random = new Random(seed * 1000 + length);
      const { packets, asked } = oneByOne(random, 60);
      const whole = await told(pcapBytes(packets), PORT);
      const seen = await told(pcapBytes(snapped(packets, length)), PORT);
      expect(untrue(seen, whole), `seed ${seed}`).toEqual([]);
      // Where request and answer can be told, they are kept, whatever is missing of their values.
      const known = asked.filter(({ request, answer }) => fits(request, length) && fits(answer!, length));
      expect(seen.total - seen.marked, `seed ${seed}`).toBeGreaterThanOrEqual(known.length);
    }
  });

  test('is counted, the values are marked, and a replay takes derived bytes for them', async () => {
    const { packets } = oneByOne(new Random(4), 200);
    const path = temporary('cut.tape');
    const { capture } = await recordCapture(Readable.from([pcapBytes(snapped(packets, 200))]), {
      output: path,
      ports: [PORT],
      source: 'x',
    });
    expect(capture).toMatchObject({ snapLength: 200, requestsOnly: 0, answersOnly: 0 });
    expect(capture.cutPackets).toBeGreaterThan(20);
    const trace = await TraceReader.open(path);
    let unknown = 0;
    for await (const batch of trace.batches())
      for (let row = 0; row < batch.count; row++)
        for (const origin of [
          originOfValue(batch, row, trace.meta.privacy),
          originOfAnswer(batch, row, trace.meta.privacy),
        ])
          if (origin === 'unknown') unknown++;
    await trace.close();
    expect(unknown).toBe(capture.cutValues);
    const server = await startServer();
    const report = await replayedTape(path, { targets: [server.address], speed: 'max' });
    await server.stop();
    expect(report.exchanges).toMatchObject({ violations: 0, skipped: 0 });
  });
});

/** Requests in bulk, of which a capture sees what is behind the first `from` bytes; then their answers. */
function bulk(asked: readonly Asked[], from: number, answersFrom = 0): CapturedPacket[] {
  const requests = Buffer.concat(asked.map(({ request }) => request));
  const answers = Buffer.concat(asked.flatMap(({ answer }) => answer ?? []));
  const talk = new Conversation();
  talk.clientSequence += from;
  talk.serverSequence += answersFrom;
  // Segments end where they would have.
  const first = Math.min(MSS - (from % MSS), requests.length - from);
  talk.send(true, requests.subarray(from, from + first));
  send(talk, true, requests.subarray(from + first));
  talk.acknowledge(false);
  send(talk, false, answers.subarray(answersFrom));
  return talk.acknowledge(true).packets;
}

describe('a beginning in the middle', () => {
  test('of a bulk segment, at each of its bytes: every request behind it is known', async () => {
    for (const seed of seeds) {
      const random = new Random(seed);
      const server = new Server(random, { quiet: 0.2, decoys: 0 });
      const asked = Array.from({ length: 12 }, () => server.group()).flat();
      const whole = await told(pcapBytes(bulk(asked, 0)), PORT);
      const step = seeds.length > 10 ? 1 : 13;
      for (let from = 1; from < MSS; from += step) {
        const seen = await told(pcapBytes(bulk(asked, from)), PORT);
        expect(untrue(seen, whole), `seed ${seed}, from byte ${from}`).toEqual([]);
        let at = 0;
        const behind = asked.filter(({ request }) => (at += request.length) - request.length >= from).length;
        expect(seen.total, `seed ${seed}, from byte ${from}`).toBe(behind);
        expect(seen.marked, `seed ${seed}, from byte ${from}`).toBe(0);
      }
    }
  });

  test('of a value that contains whole frames: they are none', async () => {
    for (const seed of seeds) {
      const random = new Random(seed);
      const server = new Server(random, { quiet: 0, reads: 0.2, decoys: 1 });
      const asked = Array.from({ length: 30 }, () => server.one());
      const whole = await told(pcapBytes(bulk(asked, 0)), PORT);
      const step = seeds.length > 10 ? 3 : 41;
      for (let from = 1; from < MSS; from += step) {
        const seen = await told(pcapBytes(bulk(asked, from)), PORT);
        expect(untrue(seen, whole), `seed ${seed}, from byte ${from}`).toEqual([]);
        expect(seen.total, `seed ${seed}, from byte ${from}`).toBeGreaterThan(0);
      }
    }
  });
});

describe('a beginning in the middle of an answer', () => {
  test('whose bytes look like the head of a long one: what follows is known', async () => {
    for (const seed of seeds) {
      const random = new Random(seed);
      const server = new Server(random, { quiet: 0, decoys: 0 });
      const asked = Array.from({ length: 30 }, () => server.one());
      // The second segment of the first answer begins with the header of an answer that would take a megabyte.
      const fake = encodeResponse({ opcode: Opcode.get, opaque: random.uint32(), extras: Buffer.alloc(4) });
      fake.writeUInt32BE(1_000_000, 8);
      const value = Buffer.concat([
        Buffer.alloc(MSS - 28, 'v'),
        fake,
        Buffer.alloc(2 * MSS + random.int(MSS), 'v'),
      ]);
      const large = {
        request: encodeRequest({ opcode: Opcode.get, key: Buffer.from('large'), opaque: random.uint32() }),
        answer: encodeResponse({ opcode: Opcode.get, extras: Buffer.alloc(4), value }),
      };
      const talk = new Conversation();
      for (const { request, answer } of [large, ...asked]) {
        send(talk, true, request);
        send(talk, false, answer!);
        talk.acknowledge(true);
      }
      const packets = talk.fin(true).fin(false).acknowledge(true).packets;
      const whole = await told(pcapBytes(packets), PORT);
      const seen = await told(pcapBytes(packets.slice(2)), PORT);
      expect(untrue(seen, whole), `seed ${seed}`).toEqual([]);
      expect(seen.total - seen.marked, `seed ${seed}`).toBeGreaterThanOrEqual(asked.length - 1);
    }
  });
});

test('an answer to STAT of which a snap length has cut a part is not known', async () => {
  for (const seed of seeds) {
    const random = new Random(seed);
    const talk = new Conversation().open();
    for (let turn = 0; turn < 20; turn++) {
      const opaque = random.uint32();
      const names = Array.from({ length: random.int(40) }, (_, n) => `stat ${n}`);
      const pairs = [...names, ''].map((name) =>
        encodeResponse({
          opcode: Opcode.stat,
          opaque,
          key: Buffer.from(name),
          value: Buffer.from(name === '' ? '' : String(random.uint32())),
        }),
      );
      send(talk, true, encodeRequest({ opcode: Opcode.stat, opaque }));
      send(talk, false, Buffer.concat(pairs));
      talk.acknowledge(true);
    }
    const { packets } = talk.fin(true).fin(false);
    const whole = await told(pcapBytes(packets), PORT);
    for (const length of [200, 512, 1000, 1400]) {
      const seen = await told(pcapBytes(snapped(packets, length)), PORT);
      expect(untrue(seen, whole), `seed ${seed}, ${length} bytes`).toEqual([]);
      expect(seen.total).toBe(whole.total);
    }
  }
});

/** What is counted of a capture. */
async function counted(packets: readonly CapturedPacket[]) {
  const all = new Told();
  const window = new Window((batch) => all.add(batch));
  const capture = emptyCapture();
  const exchanges = new Exchanges(window, capture);
  const options = { ports: [PORT], factory: exchanges, capture };
  await readCapture(Readable.from([pcapBytes(packets)]), options);
  window.finish();
  return { all, capture };
}

const isFromClient = ({ data }: CapturedPacket): boolean => data.readUInt16BE(36) === PORT;

test('one direction only is known as such', async () => {
  const { packets } = oneByOne(new Random(9), 20);
  const requests = await counted(packets.filter(isFromClient));
  expect(requests.capture).toMatchObject({ requestsOnly: 1, answersOnly: 0 });
  expect([requests.all.total, requests.all.marked]).toEqual([20, 20]);
  const answers = await counted(packets.filter((packet) => !isFromClient(packet)));
  expect(answers.capture).toMatchObject({ requestsOnly: 0, answersOnly: 1 });
  expect(answers.all.total).toBe(0);
  expect((await counted(packets)).capture).toMatchObject({ requestsOnly: 0, answersOnly: 0 });
});
