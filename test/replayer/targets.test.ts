// Replays against targets of every kind: several by key, with users, with TLS, on unix sockets, under names.

import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'memjs';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { makeCertificate, makeUsers } from '../../fixtures/secure.ts';
import { parseRouteMap } from '../../replayer/target.ts';
import { storeExtras } from '../../protocol/frame.ts';
import { ConnectionEnd, NEVER, type Connection } from '../../trace/batch.ts';
import { startMemcached, type Memcached, type MemcachedOptions } from '../support/memcached.ts';
import { kindsOf, replayed } from '../support/replay.ts';
import { batchOf, connectionOf, type ExchangeInit } from '../support/tape.ts';

const folder = mkdtempSync(join(tmpdir(), 'memtape-targets-'));
// memcached runs as nobody.
chmodSync(folder, 0o755);
const running: Memcached[] = [];
afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function start(args: readonly string[] = [], options: MemcachedOptions = {}): Promise<Memcached> {
  const server = await startMemcached(args, options);
  running.push(server);
  return server;
}

const setAndGet = (connection = 0, key = 'k', value = 'v'): ExchangeInit[] => [
  { op: 'set', key, value, connection, answerCas: 1n },
  { op: 'get', key, answer: value, connection },
];

const tenant = (id: number, name: string): Connection => ({
  id,
  client: `10.0.0.9:${40_000 + id}`,
  server: '10.0.0.1:11211',
  tenant: name,
  openNs: 0,
  closeNs: NEVER,
  end: ConnectionEnd.open,
});

/** Exchanges one after the other, whatever their connection. */
const inTurn = (exchanges: ExchangeInit[], apartMicros = 100): ExchangeInit[] =>
  exchanges.map((one, n) => ({ ...one, at: n * apartMicros }));

describe('by key', () => {
  test('what memjs stored on five servers is found where memjs put it', async () => {
    const servers = await Promise.all([1, 2, 3, 4, 5].map(async () => start()));
    const targets = servers.map(({ address }) => address);
    const client = Client.create(targets.join(','));
    const keys = Array.from({ length: 200 }, (_, n) => `user:${n}`);
    await Promise.all(keys.map(async (key) => client.set(key, `value of ${key}`, {})));
    client.close();
    const reads = keys.map((key): ExchangeInit => ({ op: 'get', key, answer: `value of ${key}` }));
    const report = await replayed(reads, { targets, route: 'memjs', prefill: 'none', speed: 'max' });
    expect([report.verdict, report.exchanges.matched]).toEqual(['pass', keys.length]);
    expect(report.servers.every(({ exchanges }) => exchanges > 10)).toBe(true);
    const elsewhere = await replayed(reads, { targets, route: 'modula', prefill: 'none', speed: 'max' });
    expect(elsewhere.drift['lost']).toBeGreaterThan(50);
  });

  test('one recorded connection becomes one to each server, and a request still waits for what was answered before', async () => {
    const targets = (await Promise.all([1, 2, 3].map(async () => start()))).map(({ address }) => address);
    const exchanges = inTurn(
      Array.from({ length: 300 }, (_, n): ExchangeInit[] => [
        ...setAndGet(0, `key${n % 30}`, `value ${n}`),
        { op: 'noop' },
        { op: 'getq', key: `none${n}`, outcome: 1, answeredAt: (n * 5 + 4) * 100 + 50 },
        { op: 'noop' },
      ]).flat(),
    );
    for (const order of ['key', 'connection'] as const)
      for (const speed of [1, 'max'] as const) {
        const report = await replayed(exchanges, { targets, route: 'ketama', order, speed });
        expect([report.verdict, report.exchanges.matched]).toEqual(['pass', exchanges.length]);
      }
  });

  test('a map of keys', async () => {
    const [a, b] = [await start(), await start()];
    const targets = [a.address, b.address];
    const routeMap = parseRouteMap(`# users apart\nuser:* ${b.address}\n* ${a.address}\n`, 'map');
    const exchanges = [...setAndGet(0, 'user:1'), ...setAndGet(0, 'x'), ...setAndGet(0, 'y')];
    const report = await replayed(inTurn(exchanges), { targets, route: 'map', routeMap });
    expect(report.servers.map(({ exchanges: count }) => count)).toEqual([4, 2]);
    expect(() => parseRouteMap('user:*\n', 'map')).toThrow(/map:1: expected GLOB ADDRESS/);
    const partial = { targets, route: 'map', routeMap: parseRouteMap(`user:* ${b.address}`, 'map') } as const;
    await expect(replayed(inTurn(exchanges), partial)).rejects.toThrow(/no rule for key "x"/);
  });
});

const wrongPassword = (): { user: string; password: string } => ({
  user: 'alice@host',
  password: 'hunter2',
});

// Far enough apart that the order is that of the schedule: keys of several users do not wait for each other.
const both = (second: string, third: string): ExchangeInit[] =>
  inTurn(
    [
      { op: 'set', key: 'same', value: 'of alice', connection: 0 },
      { op: 'set', key: 'same', value: second, connection: 1 },
      { op: 'get', key: 'same', answer: third, connection: 0 },
    ],
    400_000,
  );
describe('SASL: memcached -S with two users', () => {
  const users = { 'alice@host': 'one secret', 'bob@host': 'another' };
  const credentialsOf = (name: string): { user: string; password: string } => ({
    user: `${name}@host`,
    password: users[`${name}@host` as keyof typeof users],
  });

  test('each recorded user as himself', async () => {
    const env = makeUsers(mkdtempSync(join(folder, 'sasl-')), users);
    const { address } = await start(['-S'], { env });
    const exchanges = inTurn([
      ...setAndGet(0, 'a', 'of alice'),
      ...setAndGet(1, 'b', 'of bob'),
      { op: 'get', key: 'present', answer: 'before', connection: 1 },
    ]);
    const batch = batchOf(exchanges, [tenant(0, 'alice'), tenant(1, 'bob')]);
    const report = await replayed([batch], { targets: [address], credentialsOf });
    expect([report.verdict, report.exchanges.matched, report.prefill.keys]).toEqual(['pass', 5, 1]);
  });

  test('a wrong password, and none at all, are told before anything is sent', async () => {
    const env = makeUsers(mkdtempSync(join(folder, 'sasl-')), users);
    const { address } = await start(['-S'], { env });
    const batch = batchOf(setAndGet(), [tenant(0, 'alice')]);
    const refused = await replayed([batch], { targets: [address], credentialsOf: wrongPassword }).catch(
      String,
    );
    expect(refused).toMatch(/refused the credentials of user "alice@host"/);
    expect(refused).not.toContain('hunter2');
    await expect(replayed([batch], { targets: [address] })).rejects.toThrow(
      /asks for credentials.*--auth-file/,
    );
  });

  const connections = [tenant(0, 'alice'), tenant(1, 'bob')];

  test('users that share their keys, as the trace shows', async () => {
    const { address } = await start();
    const report = await replayed([batchOf(both('of bob', 'of bob'), connections)], { targets: [address] });
    expect([report.verdict, kindsOf(report)]).toEqual(['pass', []]);
  });

  test('users with keys of their own: what the other stored is a leak', async () => {
    const { address } = await start();
    const report = await replayed([batchOf(both('of bob', 'of alice'), connections)], { targets: [address] });
    expect(report.verdict).toBe('fail');
    expect(kindsOf(report)).toEqual([expect.stringMatching(/^violation .*-value 1$/)]);
  });
});

describe('TLS: memcached -Z', () => {
  test('with the right certificate, under its name or its address, and not with another', async () => {
    const own = makeCertificate(mkdtempSync(join(folder, 'tls-')));
    const other = makeCertificate(mkdtempSync(join(folder, 'tls-')));
    const { address, port } = await start([
      '-Z',
      '-o',
      `ssl_chain_cert=${own.certFile},ssl_key=${own.keyFile}`,
    ]);
    for (const targets of [[address], [`localhost:${port}`]]) {
      const report = await replayed(setAndGet(), { targets, tls: { ca: own.cert } });
      expect([report.verdict, report.exchanges.matched]).toEqual(['pass', 2]);
    }
    await expect(replayed(setAndGet(), { targets: [address], tls: { ca: other.cert } })).rejects.toThrow(
      /cannot reach .*certificate/,
    );
    const blind = { targets: [address], tls: { rejectUnauthorized: false } };
    expect((await replayed(setAndGet(), blind)).verdict).toBe('pass');
  });
});

test('a unix socket', async () => {
  const own = mkdtempSync(join(folder, 'unix-'));
  chmodSync(own, 0o777);
  const path = join(own, 'memcached.sock');
  await start([], { path });
  for (const target of [path, `unix:${path}`]) {
    const report = await replayed(setAndGet(), { targets: [target] });
    expect([report.verdict, report.servers[0]!.address]).toEqual(['pass', path]);
  }
  await expect(replayed(setAndGet(), { targets: [`${path}.not`] })).rejects.toThrow(/no such socket/);
});

test('a name with several addresses: connections go to them in turn', async () => {
  // localhost is 127.0.0.1, and on most machines ::1 too; what listens there is one memcached or two.
  const { port } = await start();
  const six = createServer((socket) => socket.destroy());
  const hasSix = await new Promise<boolean>((resolve) => {
    six.once('error', () => resolve(false));
    six.listen(0, '::1', () => resolve(true));
  });
  six.close();
  if (hasSix) running.push(await startMemcached(['-l', `[::1]:${port}`]).catch(async () => startMemcached()));
  const exchanges = inTurn([0, 1, 2, 3].flatMap((connection) => setAndGet(connection, `k${connection}`)));
  const batch = batchOf(
    exchanges,
    [0, 1, 2, 3].map((id) => connectionOf(id)),
  );
  const report = await replayed([batch], { targets: [`localhost:${port}`] });
  expect(report.exchanges.matched).toBeGreaterThan(0);
  expect(report.verdict).not.toBe('aborted');
  await expect(replayed(setAndGet(), { targets: ['no-such-host.invalid'] })).rejects.toThrow(/cannot find/);
});

test('an absolute expiry and flags go where the key goes', async () => {
  const targets = [(await start()).address, (await start()).address];
  const expiry = Math.round(Date.now() / 1000) + 10_000_000;
  const extras = storeExtras(7, expiry);
  const exchanges = inTurn(
    [1, 2, 3, 4].flatMap((n): ExchangeInit[] => [
      { op: 'set', key: `k${n}`, value: 'v', extras },
      { op: 'get', key: `k${n}`, answer: 'v', answerExtras: Buffer.from([0, 0, 0, 7]) },
    ]),
  );
  const report = await replayed(exchanges, { targets, route: 'jump' });
  expect([report.verdict, report.exchanges.matched]).toEqual(['pass', 8]);
});
