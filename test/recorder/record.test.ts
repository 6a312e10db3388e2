// From captures and live bytes to traces: figures that others counted, and sources that are no captures.

import { createReadStream, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { runClients, settled, type Counts } from '../../fixtures/clients.ts';
import { startServer } from '../../embedded/server.ts';
import { encodeRequest, encodeResponse } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { startProxy } from '../../recorder/proxy.ts';
import { recordCapture } from '../../recorder/record.ts';
import { TraceReader } from '../../trace/file.ts';
import { summarise, type Summary } from '../../trace/summary.ts';
import { startMemcached } from '../support/memcached.ts';
import { Conversation, pcapBytes } from '../support/packets.ts';
import { temporary } from '../support/tape.ts';

const capture = new URL('../../fixtures/captures/memjs.pcap', import.meta.url).pathname;
const origin = JSON.parse(readFileSync(capture.replace('.pcap', '.json'), 'utf8')) as {
  port: number;
  packets: { captured: number };
  wire: {
    exchanges: number;
    operations: Record<string, number>;
    statuses: Record<string, number>;
    hits: number;
    misses: number;
  };
  server: { bytes_read: number; bytes_written: number };
};

async function summaryOf(path: string): Promise<Summary> {
  const trace = await TraceReader.open(path);
  try {
    return await summarise(trace);
  } finally {
    await trace.close();
  }
}

describe('a capture of memjs and memcached by tcpdump', () => {
  test('every figure is what the clients and the server counted', async () => {
    const output = temporary('memjs.tape');
    const recorded = await recordCapture(capture, { output, ports: [origin.port], source: 'memjs' });
    expect(recorded).toMatchObject({ exchanges: origin.wire.exchanges, connections: 6, broken: undefined });
    expect(await summaryOf(output)).toMatchObject({
      format: 'memtape/1',
      exchanges: origin.wire.exchanges,
      connections: 6,
      operations: origin.wire.operations,
      statuses: origin.wire.statuses,
      hits: origin.wire.hits,
      misses: origin.wire.misses,
      bytes: { requests: origin.server.bytes_read, responses: origin.server.bytes_written },
      capture: { packets: origin.packets.captured, gaps: 0, midstream: 0, orphans: 0, desynchronised: 0 },
      truncated: false,
    });
  });

  test('the same capture gives the same trace, from a file or a pipe', async () => {
    const files = await Promise.all(
      [capture, createReadStream(capture, { highWaterMark: 777 })].map(async (input, n) => {
        const output = temporary(`${n}.tape`);
        await recordCapture(input, { output, ports: [origin.port], source: 'memjs' });
        return readFileSync(output);
      }),
    );
    expect(files[0]!.equals(files[1]!)).toBe(true);
  });

  test('cut in the middle: what came before is recorded, and where it was cut is told', async () => {
    const cut = temporary('cut.pcap');
    writeFileSync(cut, readFileSync(capture).subarray(0, 300_001));
    const output = temporary('cut.tape');
    const { source, exchanges } = await recordCapture(cut, { output, ports: [origin.port], source: 'cut' });
    expect(source?.truncatedAt).toBeGreaterThan(299_000);
    expect(exchanges).toBeGreaterThan(500);
    expect((await summaryOf(output)).exchanges).toBe(exchanges);
  });

  test('another port: nothing, no file, and the ports that were seen', async () => {
    const output = temporary('none.tape');
    const { exchanges, source } = await recordCapture(capture, { output, ports: [11_211], source: 'memjs' });
    expect([exchanges, existsSync(output)]).toEqual([0, false]);
    expect(source?.portsSeen[0]).toMatchObject({ port: origin.port, binary: true });
  });
});

test('ASCII beside binary: counted, named, and not recorded', async () => {
  const ascii = new Conversation({ client: '10.0.0.1:40001' })
    .open()
    .send(true, 'get a\r\n')
    .send(false, 'END\r\n');
  const binary = new Conversation({ client: '10.0.0.1:40002' })
    .open()
    .send(true, encodeRequest({ opcode: Opcode.noop }))
    .send(false, encodeResponse({ opcode: Opcode.noop }));
  const file = temporary('both.pcap');
  writeFileSync(file, pcapBytes([...ascii.packets, ...binary.packets]));
  const output = temporary('both.tape');
  const {
    exchanges,
    capture: counts,
    remarks,
  } = await recordCapture(file, { output, ports: [11_211], source: 'both' });
  expect([exchanges, counts.notBinary]).toEqual([1, 1]);
  expect(remarks).toMatchObject([{ kind: 'ascii' }]);
});

describe('the recording proxy', () => {
  test('memjs through it against memcached: every call is recorded', async () => {
    const memcached = await startMemcached();
    const output = temporary('proxy.tape');
    const proxy = await startProxy({ listen: ['127.0.0.1:0'], upstream: [memcached.address], output });
    try {
      const calls: Counts = {};
      await runClients({
        address: proxy.addresses[0]!,
        seed: 3,
        clients: 3,
        exchanges: 600,
        seconds: 0.5,
        largeBytes: 300_000,
        calls,
      });
      const issued = Object.values(calls)
        .flatMap((outcomes) => Object.values(outcomes))
        .reduce((sum, n) => sum + n, 0);
      await settled(() => proxy.open === 0);
      const recorded = await proxy.stop();
      expect(recorded).toMatchObject({ exchanges: issued, connections: 3 });
      const summary = await summaryOf(output);
      expect(summary.servers).toEqual([{ address: memcached.address, exchanges: issued }]);
      expect(summary.outcomes.answered).toBe(issued);
    } finally {
      await memcached.stop();
    }
  });

  test('a client that closes half of its connection still gets its answers', async () => {
    const server = await startServer();
    const proxy = await startProxy({
      listen: ['127.0.0.1:0'],
      upstream: [server.address],
      output: temporary('half.tape'),
    });
    const answer = await new Promise<Buffer>((resolve, reject) => {
      const parts: Buffer[] = [];
      const socket = connect(Number(proxy.addresses[0]!.split(':')[1]), '127.0.0.1');
      socket.on('data', (part: Buffer) => parts.push(part)).on('error', reject);
      socket.on('close', () => resolve(Buffer.concat(parts)));
      socket.end(encodeRequest({ opcode: Opcode.version }));
    });
    expect(answer[0]).toBe(0x81);
    expect((await proxy.stop()).exchanges).toBe(1);
    await server.stop();
  });

  test('a server that cannot be reached: the client hears it, the proxy goes on', async () => {
    const proxy = await startProxy({
      listen: ['127.0.0.1:0'],
      upstream: ['127.0.0.1:1'],
      output: temporary('x.tape'),
    });
    await new Promise<void>((resolve) => {
      const socket = connect(Number(proxy.addresses[0]!.split(':')[1]), '127.0.0.1');
      socket.on('error', () => undefined);
      socket.on('close', () => resolve());
    });
    expect((await proxy.stop()).exchanges).toBe(0);
  });

  test('a full disk stops the recording, and not the traffic', async () => {
    const server = await startServer();
    const errors: Error[] = [];
    const proxy = await startProxy({
      listen: ['127.0.0.1:0'],
      upstream: [server.address],
      output: '/dev/full',
      onRecordingError: (error) => errors.push(error),
    });
    const calls: Counts = {};
    await runClients({
      address: proxy.addresses[0]!,
      seed: 3,
      clients: 3,
      exchanges: 600,
      seconds: 1,
      calls,
    });
    expect(calls['get']!['hit']! + calls['get']!['miss']!).toBeGreaterThan(300);
    expect(errors).toMatchObject([{ code: 'WRITE' }]);
    await expect(proxy.stop()).rejects.toMatchObject({ code: 'WRITE' });
    await server.stop();
  });
});
