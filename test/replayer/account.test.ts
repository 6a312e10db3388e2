// Accounts: what targets say of themselves before a replay and after it, and that a target without one is replayed to
// all the same.

import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { startFaultProxy } from '../../embedded/proxy.ts';
import { makeCertificate, makeUsers } from '../../fixtures/secure.ts';
import { startServer } from '../../embedded/server.ts';
import { FrameDecoder } from '../../protocol/decoder.ts';
import { encodeResponse } from '../../protocol/frame.ts';
import { Magic, opaqueAt, opcodeAt } from '../../protocol/header.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { replay, type ReplayOptions } from '../../replayer/replay.ts';
import type { Account, ResultsEnd } from '../../trace/meta.ts';
import { ResultsReader } from '../../trace/file.ts';
import { startMemcached } from '../support/memcached.ts';
import { batchOf, connectionOf, temporary, writeTape, type ExchangeInit } from '../support/tape.ts';
import { startScripted } from '../support/target.ts';

const running: { stop(): Promise<void> | void }[] = [];
afterEach(async () => {
  for (const one of running.splice(0).toReversed()) await one.stop();
});

async function kept<T extends { stop(): Promise<void> }>(starting: Promise<T>): Promise<T> {
  const one = await starting;
  running.push(one);
  return one;
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'memtape-account-'));
  // memcached runs as nobody.
  chmodSync(path, 0o777);
  running.push({ stop: () => rmSync(path, { recursive: true, force: true }) });
  return path;
}

const three: ExchangeInit[] = [
  { op: 'get', key: 'there', answer: 'v' },
  { op: 'set', key: 'k', value: 'v' },
  { op: 'get', key: 'absent', status: 1 },
];

async function endOf(
  exchanges: ExchangeInit[],
  run: Partial<ReplayOptions> & Pick<ReplayOptions, 'targets'>,
  tenants: readonly string[] = [''],
): Promise<ResultsEnd> {
  const [trace, results] = [temporary('a.tape'), temporary('a.results')];
  const connections = tenants.map((tenant, id) => ({ ...connectionOf(id), tenant }));
  await writeTape(trace, [batchOf(exchanges, connections)]);
  await replay({ trace, results, timeoutMs: 2000, ...run });
  const reader = await ResultsReader.open(results);
  await reader.close();
  return reader.end!;
}

/** How much a figure grew. */
function grown({ before, after }: Account, name: string): number {
  return Number(after![name]) - Number(before[name]);
}

describe('memcached', () => {
  test('everything between the two accounts is the replay’s: its own requests, and those of the trace', async () => {
    const { address, process } = await kept(startMemcached());
    const [account, ...none] = (await endOf(three, { targets: [address] })).accounts!;
    expect(none).toEqual([]);
    expect(account).toMatchObject({ target: 0, asked: { sets: 1, gets: 2 } });
    expect([account!.before['pid'], account!.after!['pid']]).toEqual([`${process.pid}`, `${process.pid}`]);
    expect(grown(account!, 'cmd_set')).toBe(1 + 1);
    expect(grown(account!, 'cmd_get')).toBe(2 + 2);
    expect(grown(account!, 'evictions')).toBe(0);
    expect(Object.keys(account!.before)).not.toContain('pointer_size');
    const bare = (await endOf(three, { targets: [address], prefill: 'none' })).accounts![0]!;
    expect([bare.asked, grown(bare, 'cmd_get')]).toEqual([{ sets: 0, gets: 0 }, 2]);
  });

  test('what it evicts is counted', async () => {
    const { address } = await kept(startMemcached(['-m', '2', '-o', 'no_lru_maintainer']));
    const exchanges = Array.from({ length: 200 }, (_, n): ExchangeInit => ({
      op: 'set',
      key: `k${n}`,
      value: 'x'.repeat(100_000),
    }));
    const [account] = (await endOf(exchanges, { targets: [address] })).accounts!;
    expect(grown(account!, 'evictions')).toBeGreaterThan(10);
  });

  test('a restart is another pid; a target that is gone at the end has no second account', async () => {
    const first = await kept(startMemcached());
    const gone = await kept(startMemcached());
    const exchanges = Array.from({ length: 80 }, (_, n): ExchangeInit => ({
      ...three[n % 3]!,
      at: n * 10_000,
    }));
    const ending = endOf(exchanges, { targets: [first.address, gone.address], route: 'ketama' });
    await new Promise((resolve) => setTimeout(resolve, 300));
    await Promise.all([first.stop(), gone.stop()]);
    const again = await kept(startMemcached([], { port: first.port }));
    const [restarted, lost] = (await ending).accounts!;
    expect(restarted!.before['pid']).toBe(`${first.process.pid}`);
    expect(restarted!.after!['pid']).toBe(`${again.process.pid}`);
    expect(lost).toMatchObject({ target: 1, after: null });
  });

  test('on a unix socket, with TLS, and as one of several users', async () => {
    const path = join(folder(), 'memcached.sock');
    await kept(startMemcached([], { path }));
    expect((await endOf(three, { targets: [path] })).accounts![0]!.after).not.toBeNull();

    const own = makeCertificate(folder());
    const secure = `ssl_chain_cert=${own.certFile},ssl_key=${own.keyFile}`;
    const { address } = await kept(startMemcached(['-Z', '-o', secure]));
    const tls = { ca: own.cert };
    expect((await endOf(three, { targets: [address], tls })).accounts![0]!.after).not.toBeNull();

    const users = { 'alice@host': 'one secret', 'bob@host': 'another' };
    const env = makeUsers(folder(), users);
    const guarded = await kept(startMemcached(['-S'], { env }));
    const exchanges = three.map((one, connection) => ({ ...one, connection: connection % 2 }));
    const credentialsOf = (name: string) => ({
      user: `${name}@host`,
      password: users[`${name}@host` as keyof typeof users],
    });
    const run = { targets: [guarded.address], credentialsOf, tenants: 'isolated' } as const;
    const { accounts } = await endOf(exchanges, run, ['alice', 'bob']);
    expect(accounts).toHaveLength(1);
    expect(accounts![0]!.asked).toEqual({ sets: 1, gets: 2 });
    expect([grown(accounts![0]!, 'cmd_set'), grown(accounts![0]!, 'cmd_get')]).toEqual([1 + 1, 2 + 2]);
  });
});

test('the embedded server has an account; a proxy in front of it, and a scripted target, have none', async () => {
  const server = await kept(startServer());
  const [account] = (await endOf(three, { targets: [server.address] })).accounts!;
  expect(grown(account!, 'cmd_set')).toBe(1 + 1);
  const proxy = await kept(startFaultProxy({ backends: [server.address] }));
  const scripted = await kept(startScripted(() => ({ status: 1 })));
  for (const targets of [[proxy.address], [scripted.address]]) {
    const end = await endOf(three, { targets });
    expect(end).toMatchObject({ aborted: null });
    expect(end.accounts).toBeUndefined();
  }
  expect(scripted.requests.map(({ opcode }) => opcode)).not.toContain(Opcode.stat);
});

/** A target that knows NOOP and misses, and does this at a STAT. */
async function startWithout(atStat: (socket: Socket) => void): Promise<{ address: string }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    let isStuck = false;
    const decoder = new FrameDecoder(
      {
        frame: (data, at) => {
          const [opcode, opaque] = [opcodeAt(data, at), opaqueAt(data, at)];
          if (isStuck) return;
          if (opcode === Opcode.stat) {
            isStuck = true;
            atStat(socket);
          } else if (opcode === Opcode.noop || opcode === Opcode.get)
            socket.write(encodeResponse({ opcode, opaque, status: opcode === Opcode.get ? 1 : 0 }));
        },
      },
      { magic: Magic.request },
    );
    socket.on('error', () => undefined);
    socket.on('data', (data: Buffer) => decoder.push(data, 0, data.length, 0));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  running.push({
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

test.each<[string, (socket: Socket) => void]>([
  ['hangs up', (socket) => socket.end()],
  ['resets', (socket) => socket.resetAndDestroy()],
  ['never answers again', () => undefined],
  ['answers in ASCII', (socket) => socket.write('ERROR unknown command, and some more\r\n')],
  ['ends its side, and reads on', (socket) => socket.end(Buffer.from('8110', 'hex'))],
  [
    'answers without an end',
    (socket) => {
      const frame = encodeResponse({ opcode: Opcode.stat, key: 'extstore_x', value: '1' });
      const timer = setInterval(
        () => socket.write(Buffer.concat(Array.from({ length: 50 }, () => frame))),
        5,
      );
      socket.once('close', () => clearInterval(timer));
    },
  ],
])('a target that %s at STAT has no account, and is replayed to', async (_name, atStat) => {
  const { address } = await startWithout(atStat);
  const reads = ['a', 'b'].map((key): ExchangeInit => ({ op: 'get', key, status: 1 }));
  const end = await endOf(reads, { targets: [address], timeoutMs: 300 });
  expect([end.accounts, end.aborted, end.incidentCount]).toEqual([undefined, null, 0]);
});
