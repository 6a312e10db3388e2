// Privacy: nothing of a key or a value is in a masked trace, and its replay is still compared exactly.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseFault } from '../../embedded/fault.ts';
import { startServer } from '../../embedded/server.ts';
import { runClients, settled } from '../../fixtures/clients.ts';
import { createDistribution, distributionNames } from '../../protocol/distribution.ts';
import { parseHostPort } from '../../trace/address.ts';
import { Mask, type PrivacyOptions } from '../../recorder/mask.ts';
import { startProxy } from '../../recorder/proxy.ts';
import { recordCapture } from '../../recorder/record.ts';
import { BlockReader, FileKind } from '../../trace/block.ts';
import { TraceReader } from '../../trace/file.ts';
import { deriveBytes } from '../../trace/masked.ts';
import { startMemcached } from '../support/memcached.ts';
import { replayedTape } from '../support/replay.ts';
import { temporary } from '../support/tape.ts';

const capture = new URL('../../fixtures/captures/memjs.pcap', import.meta.url).pathname;
const { port } = JSON.parse(readFileSync(capture.replace('.pcap', '.json'), 'utf8')) as { port: number };
const maskKey = Buffer.from('a secret of more than sixteen bytes');

async function recorded(privacy: PrivacyOptions): Promise<string> {
  const output = temporary('masked.tape');
  await recordCapture(capture, { output, ports: [port], source: 'memjs', privacy });
  return output;
}

/** Everything that the file holds, unpacked. */
async function contentOf(path: string): Promise<string> {
  const blocks = await BlockReader.open(path, FileKind.trace);
  const parts: Buffer[] = [];
  for (const block of blocks.blocks) parts.push(await blocks.read(block));
  await blocks.close();
  return Buffer.concat(parts).toString('latin1');
}

/** Keys, and values of eight bytes and more, of the trace. */
async function secretsOf(path: string): Promise<string[]> {
  const trace = await TraceReader.open(path);
  const secrets = new Set<string>();
  for await (const batch of trace.batches())
    for (let row = 0; row < batch.count; row++) {
      secrets.add(batch.key(row).toString('latin1'));
      for (const value of [batch.value(row), batch.answerValue(row)])
        if (value.length > 8) secrets.add(value.toString('latin1'));
    }
  await trace.close();
  secrets.delete('');
  for (const text of ['Not found', 'Not stored.', 'Data exists for key.']) secrets.delete(text);
  return [...secrets];
}

describe('a masked trace', () => {
  test('holds no key and no value', async () => {
    const secrets = await secretsOf(await recorded({ values: 'full' }));
    expect(secrets.length).toBeGreaterThan(1000);
    const content = await contentOf(await recorded({ values: 'hash', maskKey }));
    expect(secrets.filter((secret) => content.includes(secret))).toEqual([]);
    // The test finds what is there.
    const clear = await contentOf(await recorded({ values: 'full' }));
    expect(secrets.filter((secret) => !clear.includes(secret))).toEqual([]);
  });

  test('of the same capture and key is the same, byte for byte; of another key it is not', async () => {
    const privacy: PrivacyOptions = { values: 'hash', maskKey };
    const [one, two, other] = await Promise.all(
      [privacy, privacy, { ...privacy, maskKey: Buffer.from('another secret of many bytes') }].map(
        async (each) => readFileSync(await recorded(each)),
      ),
    );
    expect(one!.equals(two!)).toBe(true);
    expect(one!.equals(other!)).toBe(false);
  });

  // A tenth of the capture is of lists and counters, whose values are made from others.
  test.each<[string, PrivacyOptions, number]>([
    ['hash', { values: 'hash' }, 0.88],
    ['hash, keys masked', { values: 'hash', maskKey }, 0.88],
    ['hash, numbers kept', { values: 'hash', maskKey, keepNumbers: true }, 0.93],
    ['size', { values: 'size', maskKey }, 0.88],
    ['keys masked', { values: 'full', maskKey }, 0.99],
  ])('%s: the replay against memcached passes', async (_name, privacy, least) => {
    const memcached = await startMemcached();
    const report = await replayedTape(await recorded(privacy), {
      targets: [memcached.address],
      speed: 'max',
      timeoutMs: 2000,
    });
    await memcached.stop();
    expect(report.violations).toEqual({});
    expect(report.exchanges.matched / report.exchanges.total).toBeGreaterThan(least);
    expect(report.exchanges.untestable).toBe(report.untestable['masked'] ?? 0);
  });

  test('a sick server is still found out, value by value', async () => {
    const server = await startServer({ fault: parseFault('corrupt=1/50,seed=4') });
    const tape = await recorded({ values: 'hash', maskKey });
    const report = await replayedTape(tape, { targets: [server.address], speed: 'max', timeoutMs: 2000 });
    await server.stop();
    const found = report.findings
      .filter((finding) => finding.class === 'violation')
      .flatMap(({ examples }) => examples.map(({ opcode, key }) => `${opcode} ${key}`));
    const made = server.faultLog.map(({ opcode, key }) => `${opcode} ${key}`);
    const rest = [...made];
    for (const text of found) {
      expect(rest).toContain(text);
      rest.splice(rest.indexOf(text), 1);
    }
    // What was appended to, and counters, cannot be told.
    expect(found.length).toBeGreaterThan(made.length / 2);
    expect(rest.length).toBeLessThanOrEqual(report.untestable['masked']!);
  });

  test('a tenant is masked with the keys', async () => {
    const server = await startServer({ users: new Map([['ann-the-tenant', 'secret-of-ann']]) });
    const output = temporary('tenant.tape');
    const proxy = await startProxy({
      listen: ['127.0.0.1:0'],
      upstream: [server.address],
      output,
      recording: { privacy: { values: 'hash', maskKey } },
    });
    const address = `ann-the-tenant:secret-of-ann@${proxy.addresses[0]!}`;
    await runClients({ address, seed: 2, clients: 2, exchanges: 60, seconds: 0.1, calls: {} });
    await settled(() => proxy.open === 0);
    expect((await proxy.stop()).exchanges).toBeGreaterThan(50);
    await server.stop();
    const content = await contentOf(output);
    expect(content).not.toContain('ann-the-tenant');
    expect(content).not.toContain('secret-of-ann');
    const trace = await TraceReader.open(output);
    const tenants = new Set<string>();
    for await (const batch of trace.batches())
      for (const { tenant } of batch.connections) tenants.add(tenant);
    await trace.close();
    tenants.delete('');
    expect([...tenants]).toEqual([
      new Mask({ values: 'full', maskKey }).mask(Buffer.from('ann-the-tenant')).toString('hex'),
    ]);
  });
});

describe('masks of keys', () => {
  const mask = new Mask({ values: 'full', maskKey });

  test('keep the length, and differ from the key', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 4, maxLength: 250 }), (bytes) => {
        const masked = mask.mask(Buffer.from(bytes));
        expect(masked.length).toBe(bytes.length);
        expect(masked.equals(bytes)).toBe(false);
        expect(new Mask({ values: 'full', maskKey }).mask(Buffer.from(bytes)).equals(masked)).toBe(true);
      }),
    );
  });

  test('are one to one where keys are short', () => {
    const ones = new Set(Array.from({ length: 256 }, (_, n) => mask.mask(Buffer.from([n])).toString('hex')));
    expect(ones.size).toBe(256);
    const twos = new Set<string>();
    for (let first = 0; first < 256; first++) {
      // It does not know what it has made of the others.
      const one = new Mask({ values: 'full', maskKey });
      for (let second = 0; second < 256; second++)
        twos.add(one.mask(Buffer.from([first, second])).toString('hex'));
    }
    expect(twos.size).toBe(65_536);
  });
});

test('derived bytes: of the length asked for, the same for the same hash, spread, and digits where a number was', () => {
  expect(deriveBytes(0, 0, 1, 2)).toHaveLength(0);
  for (const length of [1, 3, 4, 1000]) expect(deriveBytes(0, length, 1, 2)).toHaveLength(length);
  expect(deriveBytes(0, 64, 1, 2).equals(deriveBytes(0, 64, 1, 2))).toBe(true);
  expect(deriveBytes(0, 64, 1, 2).equals(deriveBytes(0, 64, 2, 1))).toBe(false);
  const counts = new Float64Array(256);
  for (const byte of deriveBytes(0, 256_000, 7, 9)) counts[byte]!++;
  expect(Math.min(...counts)).toBeGreaterThan(800);
  expect(Math.max(...counts)).toBeLessThan(1200);
  for (let length = 1; length <= 20; length++) {
    const digits = deriveBytes(1, length, length, 5).toString();
    expect(digits).toMatch(/^[1-9]\d*$/);
    expect(BigInt(digits)).toBeLessThan(1n << 64n);
  }
});

test('a kept prefix stays, and nothing behind it', () => {
  const mask = new Mask({ values: 'full', maskKey: Buffer.alloc(32, 1), keepPrefix: 5 });
  const seen = new Set<string>();
  for (let n = 0; n < 2000; n++)
    for (const name of [`user:${n}`, `user:a-long-key-of-somebody:${n}`, `u${n}`]) {
      const masked = mask.mask(Buffer.from(name));
      expect(masked).toHaveLength(name.length);
      expect(masked.subarray(0, 5).toString('latin1')).toBe(name.slice(0, 5));
      if (name.length > 8) expect(masked.toString('latin1')).not.toBe(name);
      seen.add(masked.toString('latin1'));
    }
  expect(seen.size).toBe(6000);
});

test.each(distributionNames)('a masked key stays on its server: %s', (name) => {
  const servers = ['a:1', 'b:2', 'c:3', 'd:4', 'e:5'].map((server) => parseHostPort(server, 11_211));
  const keepRoute = createDistribution(name, servers);
  const mask = new Mask({ values: 'full', maskKey: Buffer.alloc(32, 7), keepPrefix: 2, keepRoute });
  const keys = Array.from({ length: 500 }, (_, n) =>
    Buffer.from(n % 2 === 0 ? `u:${n}` : `user:${n}:${'x'.repeat(20)}`),
  );
  const masked = keys.map((key) => mask.mask(key));
  for (const [n, key] of keys.entries()) {
    expect(keepRoute(masked[n]!, 0, masked[n]!.length)).toBe(keepRoute(key, 0, key.length));
    expect([masked[n]!.length, masked[n]!.toString('latin1', 0, 2)]).toEqual([
      key.length,
      key.toString('latin1', 0, 2),
    ]);
  }
  // One to one, and, but for the rare key whose cycle is itself, not the key.
  expect(new Set(masked.map((key) => key.toString('hex'))).size).toBe(keys.length);
  expect(masked.filter((key, n) => key.equals(keys[n]!)).length).toBeLessThan(5);
});
