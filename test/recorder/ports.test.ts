// What the capture has on ports that nobody asked for, so that a wrong port can be put right.

import { expect, test } from 'vitest';
import { encodeRequest, encodeResponse } from '../../protocol/frame.ts';
import { Random } from '../../synth/laws/random.ts';
import { Conversation, pcapBytes } from '../support/packets.ts';
import { capturedDatagrams, randomDatagrams, seedsOf } from '../support/traffic.ts';
import { listen, listenToBytes } from './listener.ts';

const request = encodeRequest({ opcode: 0, key: 'key' });
const response = encodeResponse({ opcode: 0, value: 'v'.repeat(3000) });

test('the busiest port first, and whether it speaks the binary protocol', async () => {
  const memcached = new Conversation({ server: '10.0.0.2:21301' }).open();
  for (let i = 0; i < 10; i++) {
    memcached.send(true, request);
    for (const at of [0, 1000, 2000]) memcached.send(false, response.subarray(at, at + 1000));
  }
  const web = new Conversation({ server: '10.0.0.2:80' })
    .open()
    .send(true, 'GET /')
    .send(false, 'HTTP/1.1 200');
  const { streams, result, capture } = await listen([...web.packets, ...memcached.packets]);
  expect(streams).toEqual([]);
  expect(capture.packets).toBe(48);
  expect(result.portsSeen).toEqual([
    { port: 21301, packets: 43, binary: true },
    { port: 80, packets: 5, binary: false },
  ]);
});

test('frames tell the server even where its port is the higher one', async () => {
  const talk = new Conversation({ client: '10.0.0.1:30000', server: '10.0.0.2:42000' });
  talk.send(true, request).send(false, response);
  expect((await listen(talk.packets)).result.portsSeen).toEqual([{ port: 42_000, packets: 2, binary: true }]);
});

test('a recorded port is the server, whatever else', async () => {
  const talk = new Conversation({ client: '10.0.0.1:80' }).open().send(true, 'text');
  expect((await listen(talk.packets)).result.portsSeen).toEqual([
    { port: 11_211, packets: 4, binary: false },
  ]);
});

test('many ports: the list is short', async () => {
  const packets = Array.from(
    { length: 1000 },
    (_, i) => new Conversation({ server: `10.0.0.2:${1000 + i}` }).segment(true, 'S').packets,
  ).flat();
  const { portsSeen } = (await listen(packets)).result;
  expect(portsSeen).toHaveLength(64);
  expect(portsSeen[0]).toEqual({ port: 1000, packets: 1, binary: false });
});

test('payloads that only begin like a frame, and few of many, are no binary protocol', async () => {
  const other = new Conversation({ server: '10.0.0.2:80' }).send(true, Buffer.from([0x80, 1, 1, 1, 1, 1]));
  const mostly = new Conversation({ server: '10.0.0.2:81' }).send(true, request);
  for (let i = 0; i < 20; i++) mostly.send(false, 'text');
  const { portsSeen } = (await listen([...other.packets, ...mostly.packets])).result;
  expect(portsSeen).toEqual([
    { port: 81, packets: 21, binary: false },
    { port: 80, packets: 1, binary: false },
  ]);
});

test.each(seedsOf('TWICE_SEEDS', 5))('memcached over UDP on another port is seen, seed %d', async (seed) => {
  const random = new Random(seed);
  const init = { clients: 2, turns: 5, ids: 'none', hasRequestIds: random.chance(0.5) } as const;
  const packets = capturedDatagrams(randomDatagrams(random, { ...init, server: '10.9.0.2:11300' }));
  const { result } = await listenToBytes(pcapBytes(packets));
  expect(result.portsSeen).toMatchObject([{ port: 11_300, binary: true }]);
});
