// Recordings that run for days: one file after the other, the flight recorder, TLS on either side of the proxy.

import { existsSync, readFileSync } from 'node:fs';
import { connect as connectTls, createServer as createTls } from 'node:tls';
import { connect, type AddressInfo } from 'node:net';
import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runClients, settled } from '../../fixtures/clients.ts';
import { makeCertificate } from '../../fixtures/secure.ts';
import { startServer } from '../../fixtures/server.ts';
import { FrameDecoder } from '../../protocol/decoder.ts';
import { encodeRequest, readFrame } from '../../protocol/frame.ts';
import { Magic } from '../../protocol/header.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { readCapture } from '../../recorder/capture.ts';
import { recordCapture } from '../../recorder/record.ts';
import { Recording, type RecordingOptions } from '../../recorder/recording.ts';
import { startProxy } from '../../recorder/proxy.ts';
import { TraceReader } from '../../trace/file.ts';
import { summarise } from '../../trace/summary.ts';
import { surveyTrace } from '../../trace/survey.ts';
import { replayedTape } from '../support/replay.ts';
import { temporary } from '../support/tape.ts';

const capture = new URL('../../fixtures/captures/memjs.pcap', import.meta.url).pathname;
const { port } = JSON.parse(readFileSync(capture.replace('.pcap', '.json'), 'utf8')) as { port: number };

interface Told {
  exchanges: number;
  seconds: number;
  midstream: number;
  operations: Record<string, number>;
  startMs: number;
}

async function tell(path: string): Promise<Told> {
  const trace = await TraceReader.open(path);
  const { exchanges, operations, durationSeconds, startTime } = await summarise(trace);
  const { connections } = await surveyTrace(trace.batches());
  expect(trace.truncated).toBe(false);
  await trace.close();
  expect(connections.map(({ id }) => id)).toEqual(connections.map((_, n) => n));
  const midstream = connections.filter(({ openNs }) => openNs < 0).length;
  return { exchanges, operations, seconds: durationSeconds, midstream, startMs: Date.parse(startTime) };
}

/** The capture in small pieces, as a live source gives it, so that files can change in between. */
async function recordInPieces(output: string, options: RecordingOptions): Promise<readonly string[]> {
  const recording = new Recording(output, options);
  const { createReadStream } = await import('node:fs');
  await readCapture(createReadStream(capture, { highWaterMark: 8192 }), {
    ports: [port],
    factory: recording.exchanges,
    capture: recording.capture,
    onStart: ({ startNs }) => (recording.meta = { startNs, source: 'pieces', ports: [port] }),
    drained: () => recording.settle(recording.exchanges.lastNs),
  });
  return (await recording.finish()).files;
}

describe('--rotate', () => {
  test('every second a file; together they hold what one would', async () => {
    const whole = temporary('whole.tape');
    await recordCapture(capture, { output: whole, ports: [port], source: 'whole' });
    const all = await tell(whole);
    const output = temporary('live.tape');
    const files = await recordInPieces(output, { rotate: { ns: 1e9 } });
    expect(files).toHaveLength(5);
    expect(files[1]).toBe(output.replace('.tape', '-2.tape'));
    const told = await Promise.all(files.map(tell));
    const operations: Record<string, number> = {};
    for (const part of told)
      for (const [name, count] of Object.entries(part.operations))
        operations[name] = (operations[name] ?? 0) + count;
    expect(operations).toEqual(all.operations);
    for (const [n, part] of told.entries()) {
      expect(part.seconds).toBeLessThan(1.2);
      expect(part.startMs).toBeGreaterThanOrEqual(told[n - 1]?.startMs ?? 0);
      expect(part.midstream).toBe(n === 0 ? 0 : 6);
    }
    // Each can be replayed by itself.
    const server = await startServer();
    const report = await replayedTape(files[2]!, { targets: [server.address], speed: 'max' });
    expect(report.exchanges.total).toBe(told[2]!.exchanges);
    expect(report.exchanges.violations).toBe(0);
    await server.stop();
  });

  test('by size', async () => {
    const files = await recordInPieces(temporary('live.tape'), {
      rotate: { bytes: 15_000 },
      limits: { batchRows: 500 },
    });
    expect(files.length).toBeGreaterThan(2);
    const told = await Promise.all(files.map(tell));
    expect(told.reduce((sum, { exchanges }) => sum + exchanges, 0)).toBe(5004);
  });
});

describe('--ring', () => {
  test('at the end there are the last seconds, and nothing else', async () => {
    const output = temporary('ring.tape');
    const files = await recordInPieces(output, { ring: { ns: 2e9 } });
    expect(files).toEqual([output]);
    const told = await tell(output);
    expect(told.seconds).toBeGreaterThan(1.5);
    expect(told.seconds).toBeLessThan(2.1);
    expect(told.exchanges).toBeGreaterThan(1000);
    expect(existsSync(`${output}.ring`)).toBe(false);
  });

  test('masked tokens stay tokens on the way', async () => {
    const output = temporary('ring.tape');
    await recordInPieces(output, { ring: { ns: 2e9 }, privacy: { values: 'hash' } });
    const server = await startServer();
    const report = await replayedTape(output, { targets: [server.address], speed: 'max' });
    expect(report.exchanges.violations).toBe(0);
    await server.stop();
  });

  test('a burst of errors has it written, once', async () => {
    const server = await startServer();
    const output = temporary('ring.tape');
    const written: string[] = [];
    const proxy = await startProxy({
      listen: ['127.0.0.1:0'],
      upstream: [server.address],
      output,
      recording: {
        ring: { ns: 60e9, trigger: { errors: 20, withinNs: 1e9 } },
        limits: { batchRows: 10 },
        onRing: (path) => written.push(path),
      },
    });
    const socket = connect(Number(proxy.addresses[0]!.split(':')[1]), '127.0.0.1');
    socket.resume();
    for (let n = 0; n < 100; n++) socket.write(encodeRequest({ opcode: 0x3e, opaque: n }));
    await settled(() => written.length > 0);
    expect(written).toEqual([output.replace('.tape', '-1.tape')]);
    expect((await tell(written[0]!)).exchanges).toBeGreaterThanOrEqual(20);
    socket.destroy();
    const { files } = await proxy.stop();
    expect(files).toEqual([...written, output]);
    expect((await tell(output)).exchanges).toBe(100);
    await server.stop();
  });
});

describe('TLS through the recording proxy', () => {
  test('on both sides; the trace is as in clear', async () => {
    const { key, cert } = makeCertificate(dirname(temporary('key.pem')));
    const pem = { key, cert };
    const server = await startServer();
    // In front of the server, what ends its TLS.
    const front = createTls(pem, (socket) => {
      const behind = connect(Number(server.address.split(':')[1]), '127.0.0.1');
      socket.pipe(behind).pipe(socket);
      socket.on('error', () => behind.destroy());
    });
    await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
    const output = temporary('tls.tape');
    const proxy = await startProxy({
      listen: ['127.0.0.1:0'],
      upstream: [`localhost:${(front.address() as AddressInfo).port}`],
      output,
      tls: pem,
      upstreamTls: { ca: pem.cert },
    });
    const answers: number[] = [];
    const decoder = new FrameDecoder(
      { frame: (data, at) => answers.push(readFrame(data, at).opaque) },
      { magic: Magic.response },
    );
    const socket = connectTls({
      port: Number(proxy.addresses[0]!.split(':')[1]),
      host: 'localhost',
      ca: pem.cert,
    });
    socket.on('data', (data: Buffer) => decoder.push(data, 0, data.length, 0));
    for (let n = 0; n < 50; n++)
      socket.write(encodeRequest({ opcode: Opcode.get, key: Buffer.from(`key${n}`), opaque: n }));
    await settled(() => answers.length === 50);
    socket.destroy();
    // A client that speaks no TLS is turned away, and harms nobody.
    await new Promise<void>((resolve) => {
      const plain = connect(Number(proxy.addresses[0]!.split(':')[1]), '127.0.0.1');
      plain.on('error', () => undefined).on('close', () => resolve());
      plain.write(encodeRequest({ opcode: Opcode.noop }));
    });
    await settled(() => proxy.open === 0);
    expect((await proxy.stop()).exchanges).toBe(50);
    expect((await tell(output)).operations).toEqual({ get: 50 });
    front.close();
    await server.stop();
  });
});

test('clients that come and go by the hundred', async () => {
  const server = await startServer();
  const proxy = await startProxy({
    listen: ['127.0.0.1:0'],
    upstream: [server.address],
    output: temporary('many.tape'),
  });
  await runClients({
    address: proxy.addresses[0]!,
    seed: 1,
    clients: 200,
    exchanges: 2000,
    seconds: 1,
    calls: {},
  });
  await settled(() => proxy.open === 0);
  expect(await proxy.stop()).toMatchObject({ connections: 200, capture: { orphans: 0, desynchronised: 0 } });
  await server.stop();
});
