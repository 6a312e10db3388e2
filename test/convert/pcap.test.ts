// Traces as captures: the recorder reads the same exchanges back, and the packets are what a network would carry.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Endpoints } from '../../convert/endpoint.ts';
import { MAX_SEGMENT_BYTES } from '../../convert/packet.ts';
import { writePcap } from '../../convert/pcap.ts';
import { parsePackets } from '../../fixtures/mangle.ts';
import { encodeResponse, storeExtras } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { recordCapture } from '../../recorder/record.ts';
import { ConnectionEnd, Outcome, RowFlag, type Connection } from '../../trace/batch.ts';
import { TraceReader } from '../../trace/file.ts';
import { runs } from '../support/scale.ts';
import { connectionOf, temporary, type ExchangeInit } from '../support/tape.ts';
import {
  batchOf,
  closed,
  exchanges,
  exchangesOf,
  memjsPort,
  memjsTape,
  numbered,
  tapeOf,
} from './support.ts';

async function pcapOf(tape: string): Promise<string> {
  const path = temporary('out.pcap');
  const trace = await TraceReader.open(tape);
  await writePcap(trace, path);
  await trace.close();
  return path;
}

/** The trace of the capture of the trace. */
async function again(tape: string, port = 11_211): Promise<{ path: string; gaps: number; orphans: number }> {
  const output = temporary('again.tape');
  const { capture } = await recordCapture(await pcapOf(tape), { output, ports: [port], source: 'x' });
  return { path: output, gaps: capture.gaps, orphans: capture.orphans };
}

interface Tcp {
  from: string;
  to: string;
  sequence: number;
  acknowledgement: number;
  flags: number;
  length: number;
}

/** Adds the words up as the receiver does: 0 where a checksum is right. */
function residue(...parts: readonly Buffer[]): number {
  const data = Buffer.concat(parts);
  const even = data.length % 2 === 0 ? data : Buffer.concat([data, Buffer.alloc(1)]);
  let sum = 0;
  for (let at = 0; at < even.length; at += 2) {
    sum += even.readUInt16BE(at);
    sum = (sum & 0xffff) + (sum >>> 16);
  }
  return ~sum & 0xffff;
}

/** The packets of a capture, their lengths and checksums checked. */
function packetsOf(path: string): Tcp[] {
  return parsePackets(readFileSync(path)).map(({ data }) => {
    const isV6 = data.readUInt16BE(12) === 0x86dd;
    const ip = data.subarray(14);
    const headerBytes = isV6 ? 40 : 20;
    const tcp = ip.subarray(headerBytes);
    expect(isV6 ? ip.readUInt16BE(4) : ip.readUInt16BE(2) - 20).toBe(tcp.length);
    if (!isV6) expect(residue(ip.subarray(0, 20))).toBe(0);
    const addresses = ip.subarray(isV6 ? 8 : 12, headerBytes);
    const tail = Buffer.from([0, 6, tcp.length >>> 8, tcp.length & 0xff]);
    expect(residue(addresses, tail, tcp)).toBe(0);
    expect(ip.length).toBeLessThanOrEqual(1500);
    const half = addresses.length / 2;
    return {
      from: `${addresses.subarray(0, half).toString('hex')} ${tcp.readUInt16BE(0)}`,
      to: `${addresses.subarray(half).toString('hex')} ${tcp.readUInt16BE(2)}`,
      sequence: tcp.readUInt32BE(4),
      acknowledgement: tcp.readUInt32BE(8),
      flags: tcp[13]!,
      length: tcp.length - (tcp[12]! >>> 4) * 4,
    };
  });
}

/** Sequence numbers leave no hole, and what is acknowledged has come. */
function checkStreams(packets: readonly Tcp[]): void {
  const next = new Map<string, number>();
  for (const { from, to, sequence, acknowledgement, flags, length } of packets) {
    const [stream, other] = [`${from} ${to}`, `${to} ${from}`];
    const isSyn = (flags & 2) !== 0;
    if (!isSyn) expect(sequence).toBe(next.get(stream));
    if ((flags & 16) !== 0) expect(acknowledgement).toBe(next.get(other));
    next.set(stream, sequence + length + (isSyn || (flags & 1) !== 0 ? 1 : 0));
  }
}

test('what memjs did is read back as it was', async () => {
  const tape = await memjsTape();
  const { path, gaps, orphans } = await again(tape, memjsPort);
  expect([gaps, orphans]).toEqual([0, 0]);
  expect(await exchangesOf(path)).toEqual(await exchangesOf(tape));
  const packets = packetsOf(await pcapOf(tape));
  checkStreams(packets);
  expect(packets.filter(({ flags }) => (flags & 2) !== 0).length).toBe(12);
});

test('any trace of answered exchanges is read back as it was', async () => {
  await fc.assert(
    fc.asyncProperty(exchanges, async (list) => {
      const rows = list.map((init) => ({ ...init, outcome: Outcome.answered }));
      if (rows.length === 0) return;
      const tape = await tapeOf([batchOf(numbered(rows))]);
      const { path } = await again(tape);
      expect(await exchangesOf(path)).toEqual(await exchangesOf(tape));
      checkStreams(packetsOf(await pcapOf(tape)));
    }),
    { numRuns: runs(12) },
  );
});

const large = Buffer.alloc(MAX_SEGMENT_BYTES * 3, 0x76);
const store = { op: 'set', key: 'k', extras: storeExtras(0, 0) } as const;

/** One figure of a STAT; without a name, its end. */
function statFrame(key: string): Buffer {
  return encodeResponse({ opcode: Opcode.stat, opaque: 5, key, value: key === '' ? '' : '1' });
}

describe('shapes', () => {
  const cases: [string, ExchangeInit[], Connection[]][] = [
    [
      'a value of several segments',
      [
        { ...store, value: large },
        { op: 'get', key: 'k', answer: large },
      ],
      [connectionOf(0)],
    ],
    [
      'quiet requests that share a segment, proven silent by a noop',
      [
        { op: 'getq', key: 'a', at: 10, outcome: Outcome.silent, answeredAt: 90, opaque: 1 },
        {
          op: 'getq',
          key: 'b',
          at: 10,
          flags: RowFlag.sharesSegment,
          answer: 'x',
          answeredAt: 90,
          opaque: 2,
        },
        { op: 'noop', at: 10, flags: RowFlag.sharesSegment, answeredAt: 90, opaque: 3 },
      ],
      [connectionOf(0)],
    ],
    [
      'pipelined, answered late, beside others',
      [
        { op: 'get', key: 'a', at: 0, answer: '1', answeredAt: 500, opaque: 1 },
        { op: 'get', key: 'b', at: 1, connection: 1, answer: '2', answeredAt: 400, opaque: 1 },
        { op: 'get', key: 'c', at: 2, answer: '3', answeredAt: 500, opaque: 2 },
        { op: 'get', key: 'd', at: 500, answer: '4', answeredAt: 600, opaque: 3 },
      ],
      [connectionOf(0), connectionOf(1)],
    ],
    [
      'pipelined at once, in segments of their own',
      [
        { op: 'get', key: 'a', at: 10, answer: '1', answeredAt: 50, opaque: 1 },
        { op: 'get', key: 'b', at: 10, answer: '2', answeredAt: 50, opaque: 2 },
      ],
      [connectionOf(0)],
    ],
    [
      'IPv6, and a close by the server',
      [{ op: 'get', key: 'a', answer: 'x' }],
      [{ ...closed(0, 1e9, ConnectionEnd.server), client: '[2001:db8::7]:51234', server: '[::1]:11211' }],
    ],
    [
      'a reset before the answer',
      [{ op: 'get', key: 'a', outcome: Outcome.unanswered }],
      [closed(0, 1e6, ConnectionEnd.reset)],
    ],
    [
      'an answer and a close at the same time',
      [{ op: 'get', key: 'a', at: 10, answeredAt: 20, answer: 'x' }],
      [closed(0, 20_000)],
    ],
  ];
  test.each(cases)('%s', async (_name, rows, connections) => {
    const tape = await tapeOf([batchOf(rows, connections)]);
    const { path, gaps } = await again(tape);
    expect(gaps).toBe(0);
    expect(await exchangesOf(path)).toEqual(await exchangesOf(tape));
    checkStreams(packetsOf(await pcapOf(tape)));
    const trace = await TraceReader.open(path);
    const ends = new Map<number, number>();
    for await (const batch of trace.batches()) for (const { id, end } of batch.connections) ends.set(id, end);
    await trace.close();
    expect([...ends.values()]).toEqual(connections.map(({ end }) => end));
  });

  test('a STAT of three frames', async () => {
    const answer = Buffer.concat([statFrame('pid'), statFrame('uptime'), statFrame('')]);
    const batch = batchOf([{ op: 'stat', opaque: 5, answer }]);
    batch.frames[0] = 3;
    const tape = await tapeOf([batch]);
    expect(await exchangesOf((await again(tape)).path)).toEqual(await exchangesOf(tape));
  });

  test('a login: zeros stand for what was withheld, and the tenant is gone', async () => {
    const login: ExchangeInit = {
      op: 'sasl-auth',
      key: 'PLAIN',
      value: Buffer.alloc(20),
      flags: RowFlag.secret,
    };
    const tape = await tapeOf([
      batchOf([{ ...login, answer: 'Authenticated' }], [{ ...connectionOf(0), tenant: 'ann' }]),
    ]);
    const { path } = await again(tape);
    expect(await exchangesOf(path)).toEqual(await exchangesOf(tape));
    const trace = await TraceReader.open(path);
    for await (const batch of trace.batches()) expect(batch.connections[0]?.tenant).toBe('');
    await trace.close();
  });

  test('a request whose answer is missing is a gap again', async () => {
    const rows: ExchangeInit[] = [
      { op: 'get', key: 'a', at: 0, outcome: Outcome.gap, opaque: 1 },
      { op: 'get', key: 'b', at: 100, answer: 'x', opaque: 2 },
    ];
    const tape = await tapeOf([batchOf(rows)]);
    expect(await exchangesOf((await again(tape)).path)).toEqual(await exchangesOf(tape));
  });

  test('a request whose bytes came in two goes', async () => {
    const batch = batchOf([
      { ...store, value: 'hello' },
      { ...store, value: large, at: 1000 },
    ]);
    batch.requestEndNs[0] = 30_000;
    batch.requestEndNs[1] = 1_030_000;
    batch.answerNs[1] = 1_040_000;
    const tape = await tapeOf([batch]);
    expect(await exchangesOf((await again(tape)).path)).toEqual(await exchangesOf(tape));
  });

  test('two connections at once between the same ends get two ports', async () => {
    const twin = { ...connectionOf(0), id: 1 };
    const rows: ExchangeInit[] = [
      { op: 'get', key: 'a', connection: 0, answer: 'x' },
      { op: 'get', key: 'b', connection: 1, answer: 'y' },
    ];
    const path = await pcapOf(await tapeOf([batchOf(rows, [connectionOf(0), twin])]));
    const packets = packetsOf(path);
    checkStreams(packets);
    expect(new Set(packets.map(({ from }) => from)).size).toBe(3);
  });
});

test.each([
  ['10.0.0.7:51234', '10.0.0.1:11311', '0a000007', 51_234, '0a000001', 11_311],
  ['[fe80::1%eth0]:1', '[::]:2', `fe80${'0'.repeat(27)}1`, 1, '0'.repeat(32), 2],
  [
    '10.0.0.7:5',
    '[::ffff:1.2.3.4]:6',
    `${'0'.repeat(20)}ffff0a000007`,
    5,
    `${'0'.repeat(20)}ffff01020304`,
    6,
  ],
  ['/run/app.sock', 'cache:11300', 'c6120001', 40_000, 'c6120002', 11_300],
  ['10.0.0.7:99999', 'x', '0a000007', 40_000, 'c6120001', 11_211],
])('ends %s and %s', (client, server, clientHex, clientPort, serverHex, serverPort) => {
  const pair = new Endpoints(11_211).pair(client, server);
  expect([pair.client.address.toString('hex'), pair.client.port]).toEqual([clientHex, clientPort]);
  expect([pair.server.address.toString('hex'), pair.server.port]).toEqual([serverHex, serverPort]);
});
