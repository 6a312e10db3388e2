// Recordings that run for days: one file after the other, the flight recorder, TLS on either side of the proxy.

import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect as connectTls, createServer as createTls } from 'node:tls';
import { connect, type AddressInfo } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runClients, settled } from '../../fixtures/clients.ts';
import { makeCertificate } from '../../fixtures/secure.ts';
import { startServer } from '../../embedded/server.ts';
import { FrameDecoder } from '../../protocol/decoder.ts';
import { encodeRequest, encodeResponse, readFrame } from '../../protocol/frame.ts';
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
    // Each is named by the time at which it begins.
    for (const file of files) expect(file.slice(output.length - 5)).toMatch(/^-\d{8}T\d{6}Z(-\d+)?\.tape$/);
    expect(new Set(files).size).toBe(5);
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

test('of rotated files, those of an earlier recording included, so many stay as are asked for', async () => {
  const output = temporary('live.tape');
  const rotate = { ns: 1e9, keep: 3 };
  await recordInPieces(output, { rotate: { ns: 1e9 } });
  const second = await recordInPieces(output, { rotate });
  const folder = dirname(output);
  expect(readdirSync(folder).toSorted()).toEqual(
    second
      .slice(-3)
      .map((path) => basename(path))
      .toSorted(),
  );
  for (const path of second.slice(-3)) expect(statSync(path).mode & 0o777).toBe(0o600);
});

test('what is no trace of this output is never deleted, whatever its name', async () => {
  const output = temporary('live.tape');
  const folder = dirname(output);
  const [earlier] = await recordInPieces(output, { rotate: { ns: 1e9 } });
  const old = (name: string): string => join(folder, name);
  const others = {
    'live-20200101T000000Z.tape': 'somebody’s own notes',
    'live-20200101T000001Z.tape': '',
    'live-20200101T00000Z.tape': readFileSync(earlier!),
    'live-2-20200101T000000Z.tape': readFileSync(earlier!),
    'live-20200101T000000Z.tape.bak': readFileSync(earlier!),
    'live-20200101T000000Z-x.tape': readFileSync(earlier!),
    'xlive-20200101T000000Z.tape': readFileSync(earlier!),
    'live.tape': readFileSync(earlier!),
  };
  for (const [name, data] of Object.entries(others)) writeFileSync(old(name), data);
  mkdirSync(old('live-20200101T000002Z.tape'));
  symlinkSync(earlier!, old('live-20200101T000003Z.tape'));
  writeFileSync(old('live-20200101T000004Z.tape'), readFileSync(earlier!));
  const files = await recordInPieces(output, { rotate: { ns: 1e9, keep: 2 } });
  expect(readdirSync(folder).toSorted()).toEqual(
    [
      ...Object.keys(others),
      'live-20200101T000002Z.tape',
      'live-20200101T000003Z.tape',
      ...files.slice(-2).map((path) => basename(path)),
    ].toSorted(),
  );
});

describe('--ring', () => {
  test('what is older than the ring goes by the clock, also where nothing comes any more', async () => {
    const output = temporary('ring.tape');
    const recording = new Recording(output, { ring: { ns: 10e9 } });
    const sink = recording.exchanges.open({
      client: 'c',
      server: 's',
      openNs: 0,
      firstNs: 0,
      midstream: false,
    });
    const ask = (ns: number): void => {
      const data = encodeRequest({ opcode: Opcode.noop });
      const answer = encodeResponse({ opcode: Opcode.noop });
      sink.data(true, data, 0, data.length, ns);
      sink.data(false, answer, 0, answer.length, ns + 1000);
    };
    ask(0);
    await recording.settle(2e9);
    ask(3e9);
    await recording.settle(4e9);
    const written = await recording.writeRing();
    expect((await tell(written!)).exchanges).toBe(2);
    for (let second = 5; second < 60; second++) await recording.settle(second * 1e9);
    expect(await recording.writeRing()).toBeUndefined();
    expect(readdirSync(`${output}.ring`).length).toBeLessThanOrEqual(2);
    expect((await recording.finish()).files).toEqual([written]);
    expect(existsSync(output)).toBe(false);
  });

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
    expect(written).toEqual([expect.stringMatching(/ring-\d{8}T\d{6}Z\.tape$/)]);
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
