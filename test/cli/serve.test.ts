import { EventEmitter } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { startServer } from '../../embedded/server.ts';
import { encodeRequest, storeExtras } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { Status } from '../../protocol/status.ts';
import { Client } from '../embedded/wire.ts';
import { memtape, runMemtape, type Ran } from '../support/cli.ts';

let folder: string;
let out: string;
let err: string;
let signals: EventEmitter;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'memtape-'));
  out = '';
  err = '';
  signals = new EventEmitter();
});

afterEach(() => rmSync(folder, { recursive: true }));

async function serve(...args: string[]): Promise<{ ended: Promise<Ran>; lines: string[] }> {
  const ended = runMemtape(['serve', ...args], { signals, onPrint: (text) => (out += text) });
  await Promise.race([ended, vi.waitUntil(() => out.endsWith('\n'))]);
  return { ended, lines: out.trimEnd().split('\n') };
}

async function stop(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP', ended: Promise<Ran>): Promise<void> {
  signals.emit(signal);
  const { code, stderr } = await ended;
  err = stderr;
  expect([code, signals.listenerCount(signal)]).toEqual([0, 0]);
}

function targetOf(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
}

const set = encodeRequest({ opcode: Opcode.set, extras: storeExtras(0, 0), key: 'k', value: 'value' });
const get = encodeRequest({ opcode: Opcode.get, key: 'k', opaque: 9 });

test('prints a line a backend, serves, and prints totals at the end', async () => {
  const { ended, lines } = await serve('--backends', '2');
  expect(lines).toHaveLength(2);
  expect(lines[0]).toMatch(/^backend 1 listening on 127\.0\.0\.1:\d+$/);
  expect(lines[1]).toMatch(/^backend 2 listening on 127\.0\.0\.1:\d+$/);
  const client = await Client.open(targetOf(lines[1]!.split(' ').at(-1)!));
  await client.ask([set, get]);
  await stop('SIGTERM', ended);
  expect(err).toBe('1 connections, 2 requests, 0 corrupted answers\n');
  client.close();
});

test('--json, --fault and --fault-log', async () => {
  const log = join(folder, 'faults.jsonl');
  const { ended, lines } = await serve('--json', '--fault', 'corrupt=1', '--fault-log', log);
  const { backends } = JSON.parse(lines.join('')) as { backends: string[] };
  expect(backends).toHaveLength(1);
  const client = await Client.open(targetOf(backends[0]!));
  const [, hit] = await client.ask([set, get]);
  expect(hit!.value.length).toBe(5);
  expect(hit!.value.toString()).not.toBe('value');
  // On disk before the answer was: a kill would lose nothing.
  expect(JSON.parse(readFileSync(log, 'utf8'))).toEqual({
    server: backends[0],
    seq: 1,
    connection: 1,
    opcode: 'get',
    key: 'k',
    opaque: 9,
  });
  await stop('SIGINT', ended);
  expect(err).toMatch(/1 corrupted answers/);
  client.close();
});

test('--auth-file, --no-cas and --memory reach the servers', async () => {
  const users = join(folder, 'users.txt');
  writeFileSync(users, '# tenants\ntenant:secret\n');
  const { ended, lines } = await serve('--auth-file', users, '--no-cas', '--memory', '2MiB');
  const target = targetOf(lines[0]!.split(' ').at(-1)!);
  const stranger = await Client.open(target);
  expect((await stranger.one(get)).status).toBe(Status.authFailed);
  const client = await Client.open(target);
  const auth = encodeRequest({ opcode: Opcode.saslAuth, key: 'PLAIN', value: '\0tenant\0secret' });
  expect((await client.one(auth)).status).toBe(Status.ok);
  expect((await client.one(set)).cas).toBe(0n);
  let [frame] = await client.ask([encodeRequest({ opcode: Opcode.stat })], 1);
  const stats: Record<string, string> = {};
  while (frame !== undefined && frame.key.length > 0) {
    stats[frame.key.toString()] = frame.value.toString();
    [frame] = await client.ask([], 1);
  }
  expect(stats['limit_maxbytes']).toBe(String(2 * 1024 * 1024));
  await stop('SIGTERM', ended);
  client.close();
  stranger.close();
});

test('a port in use is an error of usage, with the address', async () => {
  const taken = await startServer();
  const { code, stderr } = await memtape('serve', '--port', String(taken.port));
  expect([code, stderr]).toEqual([2, expect.stringContaining('the port is in use')]);
  await taken.stop();
});

test.each([
  [['--fault', 'explode=1'], /bad fault "explode=1"/],
  [['--backends', '0'], /whole number of at least 1, got "0"/],
  [['--port', '70000'], /port from 0 to 65535/],
  [['--port', '65535', '--backends', '2'], /ports up to 65535/],
  [['--memory', 'lots'], /expected a size/],
  [['--auth-file', 'no/such/file'], /cannot read the auth file/],
  [['--fault-log', 'no/such/folder/log'], /cannot write the fault log/],
])('%j is refused', async (args, message) => {
  const { code, stderr } = await memtape('serve', ...args);
  expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
});

test('--help has examples', async () => {
  const { stdout } = await memtape('serve', '--help');
  expect(stdout).toContain('Examples:');
  expect(stdout).toContain('memtape serve --backends 4');
});
