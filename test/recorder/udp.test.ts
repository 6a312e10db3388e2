// memcached over UDP, at random: what the last two bytes of the frame header are does not matter, an empty datagram proves
// that a request has nothing to be answered, and a datagram that the snap length cut keeps what stands in its head.

import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { encodeRequest, encodeResponse, storeExtras } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { Exchanges } from '../../recorder/exchanges.ts';
import { readCapture } from '../../recorder/capture.ts';
import { Window } from '../../recorder/window.ts';
import { Random } from '../../synth/random.ts';
import { RowFlag, outcomeNames } from '../../trace/batch.ts';
import { emptyCapture } from '../../trace/meta.ts';
import { ethernet, pcapBytes, type CapturedPacket } from '../support/packets.ts';
import { seedsOf } from '../support/traffic.ts';

const seeds = seedsOf('DIALECT_SEEDS', 12);
const UDP = 17;

function datagram(fromClient: boolean, id: number, total: number, reserved: number, payload: Buffer): Buffer {
  const frame = Buffer.alloc(16 + payload.length);
  frame.writeUInt16BE(fromClient ? 40_000 : 11_211, 0);
  frame.writeUInt16BE(fromClient ? 11_211 : 40_000, 2);
  frame.writeUInt16BE(frame.length, 4);
  frame.writeUInt16BE(id, 8);
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
  await readCapture(Readable.from([pcapBytes(packets)]), { ports: [11_211], factory: exchanges, capture });
  window.finish();
  return { rows, capture };
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
