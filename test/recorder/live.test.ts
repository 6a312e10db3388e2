// Live capture through tcpdump, and what limits a recording: sampling by key, size.

import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { runClients, settled, type Counts } from '../../fixtures/clients.ts';
import { startServer } from '../../embedded/server.ts';
import { recordCapture } from '../../recorder/record.ts';
import { startProxy } from '../../recorder/proxy.ts';
import { captureLive } from '../../recorder/tcpdump.ts';
import { isSampled } from '../../trace/sample.ts';
import { TraceReader } from '../../trace/file.ts';
import { summarise } from '../../trace/summary.ts';
import { startMemcached } from '../support/memcached.ts';
import { replayedTape } from '../support/replay.ts';
import { temporary } from '../support/tape.ts';
import { readFileSync, statSync } from 'node:fs';

const capture = new URL('../../fixtures/captures/memjs.pcap', import.meta.url).pathname;
const { port } = JSON.parse(readFileSync(capture.replace('.pcap', '.json'), 'utf8')) as { port: number };

async function keysOf(path: string): Promise<Set<string>> {
  const trace = await TraceReader.open(path);
  const keys = new Set<string>();
  for await (const batch of trace.batches())
    for (let row = 0; row < batch.count; row++) keys.add(batch.key(row).toString());
  await trace.close();
  keys.delete('');
  return keys;
}

/** More than the header and the opening block of a trace. */
const OPENING_BYTES = 600;

test('a live ring goes by time that passes, whatever the clock says', async () => {
  // To these packets the clock of today is one that was set years ahead.
  const packets = new PassThrough();
  packets.write(readFileSync(capture));
  const output = temporary('set.tape');
  const recording = recordCapture(packets, {
    output,
    ports: [port],
    source: 'a pipe',
    ring: { ns: 60e9 },
    flushMs: 30,
  });
  await sleep(200);
  packets.end();
  const { exchanges } = await recording;
  const trace = await TraceReader.open(output);
  expect([exchanges > 0, trace.exchangeCount]).toEqual([true, exchanges]);
  await trace.close();
});

describe('an interface', () => {
  // tcpdump needs the right to capture; where this fails, it says what is missing.
  test('memjs against memcached on the loopback: every call is recorded', async () => {
    const memcached = await startMemcached();
    const live = await captureLive({ interface: 'lo', ports: [memcached.port] });
    const output = temporary('live.tape');
    const recording = recordCapture(live.packets, {
      output,
      ports: [memcached.port],
      source: 'lo',
      flushMs: 100,
      kernelDropped: () => live.dropped(),
    });
    const calls: Counts = {};
    const traffic = { address: memcached.address, clients: 3, exchanges: 150, seconds: 0.2, calls };
    await runClients({ ...traffic, seed: 5 });
    // It is written while it goes on, and not at the end only: rows of these are there before the next come.
    await settled(() => (statSync(output, { throwIfNoEntry: false })?.size ?? 0) > OPENING_BYTES, 10);
    await runClients({ ...traffic, seed: 6 });
    await sleep(100);
    live.stop();
    const recorded = await recording;
    await memcached.stop();
    const issued = Object.values(calls)
      .flatMap((outcomes) => Object.values(outcomes))
      .reduce((sum, n) => sum + n, 0);
    expect(recorded).toMatchObject({
      exchanges: issued,
      connections: 6,
      capture: { kernelDropped: 0, gaps: 0 },
    });
    const trace = await TraceReader.open(output);
    expect(trace.blocks.length).toBeGreaterThan(1);
    expect((await summarise(trace)).exchanges).toBe(issued);
    await trace.close();
  });

  test('one that does not exist', async () => {
    await expect(captureLive({ interface: 'nope0', ports: [11_211] })).rejects.toMatchObject({
      code: 'UNREADABLE',
      message: /cannot capture from nope0: .*No such device/,
    });
  });

  test('a filter that is none', async () => {
    await expect(captureLive({ interface: 'lo', ports: [1], filter: 'what is this' })).rejects.toMatchObject({
      code: 'UNREADABLE',
      message: /syntax error/,
    });
  });
});

describe('sampling', () => {
  test('a key that is kept has its whole history, and the replay of the sample passes', async () => {
    const whole = temporary('whole.tape');
    const quarter = temporary('quarter.tape');
    await recordCapture(capture, { output: whole, ports: [port], source: 'memjs' });
    await recordCapture(capture, { output: quarter, ports: [port], source: 'memjs', sample: 4 });
    const all = await keysOf(whole);
    const kept = await keysOf(quarter);
    expect([...kept].toSorted()).toEqual(
      [...all].filter((key) => isSampled(Buffer.from(key), 0, key.length, 4)).toSorted(),
    );
    const share = kept.size / all.size;
    expect(share).toBeGreaterThan(0.15);
    expect(share).toBeLessThan(0.35);
    const server = await startServer();
    const report = await replayedTape(quarter, { targets: [server.address], speed: 'max', timeoutMs: 2000 });
    await server.stop();
    expect(report.exchanges.violations).toBe(0);
    expect(report.exchanges.matched / report.exchanges.total).toBeGreaterThan(0.98);
  });

  test('through the proxy likewise', async () => {
    const server = await startServer();
    const output = temporary('proxy.tape');
    const proxy = await startProxy({
      listen: ['127.0.0.1:0'],
      upstream: [server.address],
      output,
      recording: { sample: 2 },
    });
    await runClients({
      address: proxy.addresses[0]!,
      seed: 8,
      clients: 2,
      exchanges: 400,
      seconds: 0.2,
      calls: {},
    });
    await settled(() => proxy.open === 0);
    await proxy.stop();
    await server.stop();
    const keys = await keysOf(output);
    expect(keys.size).toBeGreaterThan(10);
    for (const key of keys) expect(isSampled(Buffer.from(key), 0, key.length, 2)).toBe(true);
  });

  test('keys that differ in their last letter only are spread', () => {
    const kept = Array.from({ length: 16_000 }, (_, n) => Buffer.from(`user:${n}`)).filter((key) =>
      isSampled(key, 0, key.length, 16),
    );
    expect(Math.abs(kept.length - 1000)).toBeLessThan(150);
  });
});

test('a recording stops at the size that it may have', async () => {
  const output = temporary('small.tape');
  const recorded = await recordCapture(capture, { output, ports: [port], source: 'memjs', maxBytes: 1 });
  // One block is one block: the size is looked at between slabs.
  expect(recorded.exchanges).toBeGreaterThan(0);
  expect(recorded.broken).toBeUndefined();
});
