// memcached over UDP, at random: what the last two bytes of the frame header are does not matter, an empty datagram proves
// that a request has nothing to be answered, and a datagram that the snap length cut keeps what stands in its head.

import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { encodeRequest, encodeResponse, storeExtras } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { Exchanges } from '../../recorder/exchanges.ts';
import { readCapture } from '../../recorder/capture.ts';
import { notesOf } from '../../recorder/notes.ts';
import { Window } from '../../recorder/window.ts';
import { Random } from '../../synth/laws/random.ts';
import { RowFlag, outcomeNames } from '../../trace/batch.ts';
import { emptyCapture } from '../../trace/meta.ts';
import { ethernet, pcapBytes, type CapturedPacket } from '../support/packets.ts';
import { seedsOf } from '../support/traffic.ts';

const seeds = seedsOf('DIALECT_SEEDS', 12);
const UDP = 17;

function datagram(
  fromClient: boolean,
  id: number,
  total: number,
  reserved: number,
  payload: Buffer,
  number = 0,
  port = 11_211,
): Buffer {
  const frame = Buffer.alloc(16 + payload.length);
  frame.writeUInt16BE(fromClient ? 40_000 : port, 0);
  frame.writeUInt16BE(fromClient ? port : 40_000, 2);
  frame.writeUInt16BE(frame.length, 4);
  frame.writeUInt16BE(id, 8);
  frame.writeUInt16BE(number, 10);
  frame.writeUInt16BE(total, 12);
  frame.writeUInt16BE(reserved, 14);
  payload.copy(frame, 16);
  const ip = Buffer.alloc(20);
  ip[0] = 0x45;
  ip.writeUInt16BE(20 + frame.length, 2);
  ip[8] = 64;
  ip[9] = UDP;
  ip.set(fromClient ? [10, 0, 0, 1, 10, 0, 0, 2] : [10, 0, 0, 2, 10, 0, 0, 1], 12);
  return ethernet.wrap(Buffer.concat([ip, frame]));
}

async function record(packets: readonly CapturedPacket[]) {
  const rows: { told: string; flags: number }[] = [];
  const window = new Window((batch) => {
    for (let row = 0; row < batch.count; row++)
      rows.push({
        told: `${batch.opcode[row]} ${batch.key(row).toString()} ${outcomeNames[batch.outcome[row] as 0]}`,
        flags: batch.flags[row]!,
      });
  });
  const capture = emptyCapture();
  const exchanges = new Exchanges(window, capture);
  const ports = [11_211];
  const read = await readCapture(Readable.from([pcapBytes(packets)]), { ports, factory: exchanges, capture });
  window.finish();
  return { rows, capture, notes: notesOf(read, ports) };
}

interface Traffic {
  packets: CapturedPacket[];
  truth: string[];
}

function traffic(random: Random, reserved: () => number): Traffic {
  const packets: CapturedPacket[] = [];
  const truth: string[] = [];
  const give = (data: Buffer): void => void packets.push({ data, micros: packets.length * 100 });
  for (let id = 1; id <= 40; id++) {
    const key = `key-${id}`;
    const opaque = random.int(1000);
    const isQuiet = random.chance(0.5);
    const isRead = random.chance(0.5);
    const opcode = isRead ? (isQuiet ? Opcode.getq : Opcode.get) : isQuiet ? Opcode.setq : Opcode.set;
    const value = Buffer.alloc(1 + random.int(200), 1);
    const store = isRead ? {} : { value, extras: storeExtras(0, 0) };
    give(datagram(true, id, 1, reserved(), encodeRequest({ opcode, key, opaque, ...store })));
    const answers = !isQuiet || (isRead && random.chance(0.5));
    const hit = isRead ? { extras: Buffer.alloc(4), value } : {};
    if (answers) give(datagram(false, id, 1, reserved(), encodeResponse({ opcode, opaque, ...hit })));
    else give(datagram(false, id, 0, reserved(), Buffer.alloc(0)));
    truth.push(`${opcode} ${key} ${answers ? 'answered' : 'silent'}`);
  }
  return { packets, truth };
}

test('reserved bytes are ignored, and an empty datagram proves silence', async () => {
  for (const seed of seeds) {
    const random = new Random(seed);
    const { packets, truth } = traffic(random, () => random.int(65_536));
    const { rows, capture } = await record(packets);
    expect(
      rows.map(({ told }) => told),
      `seed ${seed}`,
    ).toEqual(truth);
    expect(capture.orphans).toBe(0);
  }
});

test('a value that the snap length cut is unknown, and the exchange is kept', async () => {
  for (const seed of seeds) {
    const { packets, truth } = traffic(new Random(seed), () => 0);
    const cut = packets.map((packet) =>
      Object.assign({}, packet, { data: packet.data.subarray(0, 120), wireBytes: packet.data.length }),
    );
    const { rows, capture } = await record(cut);
    expect(
      rows.map(({ told }) => told),
      `seed ${seed}`,
    ).toEqual(truth);
    const unknown = RowFlag.valueUnknown | RowFlag.answerUnknown;
    expect(rows.filter(({ flags }) => (flags & unknown) !== 0).length).toBe(capture.cutValues);
    expect(capture.cutValues).toBeGreaterThan(0);
  }
});

const hit = (opcode: number, opaque: number, bytes: number): Buffer =>
  encodeResponse({ opcode, opaque, extras: Buffer.alloc(4), value: Buffer.alloc(bytes, `value ${opaque} `) });

/** The datagrams of one answer. */
function answerOf(id: number, answer: Buffer): Buffer[] {
  const total = Math.ceil(answer.length / 300);
  return Array.from({ length: total }, (_, number) =>
    datagram(false, id, total, 0, answer.subarray(number * 300, (number + 1) * 300), number),
  );
}

test('several quiet requests in a datagram: memcached says once that the first few are silent', async () => {
  for (const seed of seeds) {
    const random = new Random(seed);
    const packets: CapturedPacket[] = [];
    const truth: RegExp[] = [];
    const give = (data: Buffer): void => void packets.push({ data, micros: packets.length * 100 });
    for (let id = 1; id <= 30; id++) {
      const hits = Array.from({ length: 1 + random.int(5) }, () => random.chance(0.5));
      const requests = hits.map((_, opaque) => encodeRequest({ opcode: Opcode.getq, key: `${id}`, opaque }));
      give(datagram(true, id, 1, 0, Buffer.concat(requests)));
      if (!hits[0]) give(datagram(false, id, 0, 0, Buffer.alloc(0)));
      for (const [opaque, isHit] of hits.entries())
        if (isHit) for (const part of answerOf(id, hit(Opcode.getq, opaque, random.int(900)))) give(part);
      // Of those behind the last answer, nothing says anything, unless there was none.
      const last = hits.lastIndexOf(true);
      for (const [n, isHit] of hits.entries())
        truth.push(isHit ? /answered/ : n < last || last < 0 ? /silent/ : /silent|indeterminate/);
    }
    const { rows, capture } = await record(packets);
    expect(rows).toHaveLength(truth.length);
    for (const [n, { told }] of rows.entries()) expect(told, `seed ${seed}, row ${n}`).toMatch(truth[n]!);
    expect(capture.orphans).toBe(0);
  }
});

test('the id tells which request an answer is to, and what is lost says nothing of others', async () => {
  for (const seed of seeds) {
    const random = new Random(seed);
    const packets: CapturedPacket[] = [];
    const truth = new Map<string, RegExp>();
    const give = (data: Buffer): void => void packets.push({ data, micros: packets.length * 100 });
    for (let group = 0; group < 10; group++) {
      const ids = Array.from({ length: 1 + random.int(6) }, (_, n) => group * 10 + n + 1);
      const answers: Buffer[][] = [];
      for (const id of ids) {
        const opcode = random.chance(0.5) ? Opcode.get : Opcode.getq;
        const isLost = random.chance(0.2);
        give(datagram(true, id, 1, 0, encodeRequest({ opcode, key: `${id}`, opaque: id })));
        const parts = answerOf(id, hit(opcode, id, random.int(900)));
        if (isLost) parts.splice(random.int(parts.length), 1);
        answers.push(parts);
        truth.set(`${id}`, isLost ? /gap|indeterminate/ : /answered/);
      }
      // Datagrams of all of them, in any order.
      for (const part of answers.flat().toSorted(() => random.float() - 0.5)) give(part);
    }
    const { rows } = await record(packets);
    expect(rows).toHaveLength(truth.size);
    for (const { told } of rows) expect(told, `seed ${seed}`).toMatch(truth.get(told.split(' ')[1]!)!);
  }
});

test('requests that all have one opaque are told apart by their id', async () => {
  for (const seed of seeds) {
    const random = new Random(seed);
    const packets: CapturedPacket[] = [];
    const truth: RegExp[] = [];
    const give = (data: Buffer): void => void packets.push({ data, micros: packets.length * 100 });
    for (let id = 1; id <= 40; id++) {
      const isLost = random.chance(0.2);
      give(datagram(true, id, 1, 0, encodeRequest({ opcode: Opcode.get, key: `${id}` })));
      if (!isLost) give(datagram(false, id, 1, 0, hit(Opcode.get, 0, id)));
      truth.push(isLost ? /gap|indeterminate/ : /answered/);
    }
    const { rows } = await record(packets);
    expect(rows).toHaveLength(truth.length);
    for (const [n, { told }] of rows.entries()) expect(told, `seed ${seed}`).toMatch(truth[n]!);
  }
});

test('what speaks memcached on ports that are not recorded is noted, and nothing else is', async () => {
  for (const seed of seeds) {
    const random = new Random(seed);
    const spoken = random.chance(0.5);
    const other = 1024 + random.int(30_000);
    const packets: CapturedPacket[] = [];
    const give = (data: Buffer): void => void packets.push({ data, micros: packets.length * 100 });
    for (let id = 1; id <= 30; id++) {
      const opcode = random.chance(0.5) ? Opcode.get : Opcode.getq;
      for (const port of [11_211, other]) {
        const isMemcached = port === 11_211 || spoken;
        // What is none has a header at times that could be one, and bytes that are no frame.
        const random16 = (): Buffer => Buffer.from(Array.from({ length: 16 }, () => random.int(128)));
        const request = isMemcached ? encodeRequest({ opcode, key: `${id}`, opaque: id }) : random16();
        give(datagram(true, id, 1, 0, request, 0, port));
        give(datagram(false, id, 1, 0, isMemcached ? hit(opcode, id, id) : random16(), 0, port));
      }
    }
    const { rows, notes } = await record(packets);
    expect(rows).toHaveLength(30);
    const note = `port ${other} has memcached binary too and is not recorded; record it with --port `;
    const ports = other < 11_211 ? `${other},11211` : `11211,${other}`;
    const expected = other === 11_210 || other === 11_212 ? expect.any(Array) : [note + ports];
    expect(notes, `seed ${seed}`).toEqual(spoken ? expected : []);
  }
});
