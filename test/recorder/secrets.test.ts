// SASL passwords occur in no file and in no message, however the frames that carry them arrive.

import { connect } from 'node:net';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { settled } from '../../fixtures/clients.ts';
import { startServer } from '../../embedded/server.ts';
import { encodeRequest } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { startProxy } from '../../recorder/proxy.ts';
import { recordCapture } from '../../recorder/record.ts';
import { TraceReader } from '../../trace/file.ts';
import { temporary } from '../support/tape.ts';
import { Conversation, pcapBytes } from '../support/packets.ts';
import { Readable } from 'node:stream';

const PASSWORD = 'correct-horse-battery';
const auth = encodeRequest({
  opcode: Opcode.saslAuth,
  key: Buffer.from('PLAIN'),
  value: Buffer.from(`\0tenant\0${PASSWORD}`),
  opaque: 1,
});
const step = encodeRequest({
  opcode: Opcode.saslStep,
  key: Buffer.from('PLAIN'),
  value: Buffer.from(PASSWORD),
  opaque: 2,
});
const noop = encodeRequest({ opcode: Opcode.noop, opaque: 9 });
const changed = (at: number, byte: number): Buffer => {
  const copy = Buffer.from(auth);
  copy[at] = byte;
  return copy;
};

/** The client's segments, and which of them the capture misses. */
const ways: Record<string, { segments: Buffer[]; lost?: number }> = {
  'a whole frame': { segments: [auth, noop] },
  'byte by byte': { segments: [...Array.from(auth, (byte) => Buffer.from([byte])), noop] },
  'cut within the password': { segments: [auth.subarray(0, 40), auth.subarray(40), noop] },
  'a step': { segments: [auth, step, noop] },
  'the password where the mechanism stands': {
    segments: [encodeRequest({ opcode: Opcode.saslAuth, key: Buffer.from(PASSWORD), opaque: 3 }), noop],
  },
  'extras that take in the password': { segments: [changed(4, 20), noop] },
  'a key length that takes in the password': { segments: [changed(3, 33), noop] },
  'a body that claims to be longer': { segments: [changed(11, 200), noop, noop] },
  'a body that claims to be shorter: the password is the next frame': { segments: [changed(11, 8), noop] },
  'lengths that cannot be': { segments: [changed(3, 250), noop] },
  'a first half that is lost': { segments: [noop, auth.subarray(0, 30), auth.subarray(30), noop], lost: 1 },
  'a second half that is lost': { segments: [noop, auth.subarray(0, 40), auth.subarray(40), noop], lost: 2 },
  'a wrong magic behind the frame': { segments: [Buffer.concat([auth, Buffer.from(`x${PASSWORD}`)]), noop] },
  'the end of the connection in the middle': { segments: [noop, auth.subarray(0, 45)] },
};

function expectNoSecret(where: string, data: Buffer | string): void {
  const text = typeof data === 'string' ? data : data.toString('latin1');
  for (let at = 0; at + 8 <= PASSWORD.length; at++)
    expect(text.includes(PASSWORD.slice(at, at + 8)), `${where} holds ${PASSWORD.slice(at, at + 8)}`).toBe(
      false,
    );
}

/** The file itself, and what its blocks hold once unpacked. */
async function expectCleanTape(path: string): Promise<void> {
  expectNoSecret('the file', readFileSync(path));
  const trace = await TraceReader.open(path);
  expectNoSecret('its head and its end', JSON.stringify([trace.meta, trace.end]));
  for await (const batch of trace.batches()) {
    expectNoSecret('a block', batch.heap);
    expectNoSecret('its connections', JSON.stringify(batch.connections));
  }
  await trace.close();
}

describe('through packets', () => {
  for (const [name, { segments, lost }] of Object.entries(ways))
    for (const privacy of [{ values: 'full' }, { values: 'hash', maskKey: Buffer.alloc(32, 7) }] as const)
      test(`${name}, values ${privacy.values}`, async () => {
        const talk = new Conversation().open();
        for (const [n, segment] of segments.entries()) {
          talk.send(true, segment);
          if (n === lost) talk.lose();
          talk.acknowledge(false);
        }
        talk.pause(50_000).send(true, noop).fin(true).fin(false);
        const output = temporary('x.tape');
        const result = await recordCapture(Readable.from([pcapBytes(talk.packets)]), {
          output,
          ports: [11_211],
          source: 'x',
          privacy,
        });
        expectNoSecret('the remarks', JSON.stringify(result.remarks));
        if (result.exchanges > 0) await expectCleanTape(output);
      });
});

describe('through the proxy', () => {
  test('every way at once', async () => {
    const server = await startServer({ users: new Map([['tenant', PASSWORD]]) });
    const output = temporary('proxy.tape');
    const proxy = await startProxy({ listen: ['127.0.0.1:0'], upstream: [server.address], output });
    const port = Number(proxy.addresses[0]!.split(':')[1]);
    for (const { segments } of Object.values(ways)) {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true });
      socket.on('error', () => undefined).resume();
      for (const segment of segments) {
        socket.write(segment);
        await new Promise((resolve) => setImmediate(resolve));
      }
      socket.end();
    }
    await settled(() => proxy.connections === Object.keys(ways).length && proxy.open === 0);
    const recorded = await proxy.stop();
    expect(recorded.exchanges).toBeGreaterThan(8);
    expectNoSecret('the remarks', JSON.stringify(recorded.remarks));
    await expectCleanTape(output);
    await server.stop();
  });
});
