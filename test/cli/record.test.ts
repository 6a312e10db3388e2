// `memtape record` from outside: what it refuses to write over, what it finishes whatever happens to it, and what it says
// of losses and of servers that fail.

import { spawn, type ChildProcess } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { run as runWorld } from '../../cli/run.ts';
import { settled } from '../../fixtures/clients.ts';
import { makeCertificate } from '../../fixtures/secure.ts';
import { startServer } from '../../embedded/server.ts';
import { encodeRequest, encodeResponse } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { TraceReader } from '../../trace/file.ts';
import { quiet, worldOf } from '../support/cli.ts';
import { Conversation, pcapBytes } from '../support/packets.ts';
import { temporary } from '../support/tape.ts';

const command = new URL('../../dist/cli/main.js', import.meta.url).pathname;
/** A process that starts takes a while where others run. */
const PATIENT_MS = 120_000;

interface Run {
  out: () => string;
  err: () => string;
  signal: (name: NodeJS.Signals) => void;
  /** Its exit code. */
  ended: Promise<number>;
}

/** The binary, where it matters how the process ends. */
interface Process extends Run {
  child: ChildProcess;
}

function startProcess(...args: string[]): Process {
  const child = spawn(process.execPath, [command, 'record', ...args], {
    env: { ...process.env, ...quiet },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (text: Buffer) => (out += text.toString()));
  child.stderr.on('data', (text: Buffer) => (err += text.toString()));
  const ended = new Promise<number>((resolve) => child.on('close', (code) => resolve(code ?? -1)));
  return { child, out: () => out, err: () => err, signal: (name) => void child.kill(name), ended };
}

function start(...args: string[]): Run {
  const signals = new EventEmitter();
  const { world, said } = worldOf({ signals });
  const ended = runWorld(['record', ...args], world);
  return {
    out: () => said.stdout,
    err: () => said.stderr,
    signal: (name) => void signals.emit(name),
    ended,
  };
}

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const { ended, out, err } = start(...args);
  return { code: await ended, out: out(), err: err() };
}

const noop = encodeRequest({ opcode: Opcode.noop });

function captureOf(exchanges: number, lost: number[] = []): string {
  const talk = new Conversation().open();
  const request = encodeRequest({ opcode: Opcode.get, key: 'key' });
  const answer = encodeResponse({ opcode: Opcode.get, extras: Buffer.alloc(4), value: 'v'.repeat(400) });
  for (let n = 0; n < exchanges; n++) {
    talk.send(true, request).send(false, answer);
    if (lost.includes(n)) talk.lose();
    talk.acknowledge(true);
  }
  const path = temporary('in.pcap');
  writeFileSync(path, pcapBytes(talk.fin(true).fin(false).packets));
  return path;
}

async function exchangesIn(path: string): Promise<number> {
  const trace = await TraceReader.open(path);
  const { exchangeCount, truncated } = trace;
  await trace.close();
  expect(truncated).toBe(false);
  return exchangeCount;
}

type Proxied<R extends Run> = R & { output: string; port: number };

async function startProxy(upstream: string, ...args: string[]): Promise<Proxied<Run>> {
  return proxied(start, upstream, ...args);
}

async function proxied<R extends Run>(
  begin: (...args: string[]) => R,
  upstream: string,
  ...args: string[]
): Promise<Proxied<R>> {
  const output = temporary('live.tape');
  const proxy = begin('--listen', '127.0.0.1:0', '--upstream', upstream, '-o', output, '--quiet', ...args);
  await settled(() => proxy.out().includes('listening on'), PATIENT_MS / 1000);
  return { ...proxy, output, port: Number(/listening on \S+:(\d+)/.exec(proxy.out())![1]) };
}

function client(port: number): Socket {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  return socket;
}

async function askedOnce(port: number): Promise<Socket> {
  const socket = client(port);
  socket.write(noop);
  await new Promise((resolve) => socket.once('data', resolve));
  return socket;
}

describe('what is there is not written over', () => {
  test(
    'a trace, unless --force says so',
    async () => {
      const capture = captureOf(3);
      const output = temporary('x.tape');
      expect((await run(capture, '-o', output)).code).toBe(0);
      expect(statSync(output).mode & 0o777).toBe(0o600);
      const before = readFileSync(output);
      expect(await run(capture, '-o', output)).toMatchObject({ code: 2, err: /is there already.*--force/ });
      expect(readFileSync(output)).toEqual(before);
      expect((await run(captureOf(4), '-o', output, '--force')).code).toBe(0);
      expect(await exchangesIn(output)).toBe(4);
    },
    PATIENT_MS,
  );

  test(
    'a recording that is under way; and a proxy knows it before it listens',
    async () => {
      const server = await startServer();
      const first = await startProxy(server.address);
      const second = await run('--listen', '127.0.0.1:0', '--upstream', server.address, '-o', first.output);
      expect(second).toMatchObject({ code: 2, out: '', err: /is there already/ });
      (await askedOnce(first.port)).destroy();
      first.signal('SIGINT');
      expect(await first.ended).toBe(0);
      expect(await exchangesIn(first.output)).toBe(1);
      // A recording without an exchange leaves nothing.
      const idle = await startProxy(server.address);
      idle.signal('SIGINT');
      expect(await idle.ended).toBe(2);
      expect(existsSync(idle.output)).toBe(false);
      await server.stop();
    },
    PATIENT_MS,
  );
});

describe('the file is finished', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    'after %s, with clients that stay, say nothing, or never read',
    async (signal) => {
      const server = await startServer();
      const proxy = await proxied(startProcess, server.address);
      const asked = await askedOnce(proxy.port);
      const silent = client(proxy.port);
      const deaf = client(proxy.port);
      deaf.pause();
      for (let n = 0; n < 200; n++) deaf.write(encodeRequest({ opcode: Opcode.stat }));
      await sleep(200);
      const beganMs = performance.now();
      proxy.signal(signal);
      expect(await proxy.ended).toBe(0);
      expect(performance.now() - beganMs).toBeLessThan(8000);
      expect(await exchangesIn(proxy.output)).toBeGreaterThan(0);
      for (const socket of [asked, silent, deaf]) socket.destroy();
      await server.stop();
    },
    PATIENT_MS,
  );

  test(
    'with a client whose TLS handshake never ends',
    async () => {
      const server = await startServer();
      const folder = dirname(temporary('key.pem'));
      mkdirSync(folder, { recursive: true });
      const { key, cert } = makeCertificate(folder);
      writeFileSync(join(folder, 'k.pem'), key);
      writeFileSync(join(folder, 'c.pem'), cert);
      const files = ['--tls-cert', join(folder, 'c.pem'), '--tls-key', join(folder, 'k.pem')];
      const proxy = await startProxy(server.address, ...files);
      const half = client(proxy.port);
      half.write(Buffer.from('1603010200', 'hex'));
      const whole = connectTls({ port: proxy.port, host: '127.0.0.1', rejectUnauthorized: false });
      whole.on('error', () => undefined);
      whole.write(noop);
      await new Promise((resolve) => whole.once('data', resolve));
      proxy.signal('SIGINT');
      expect(await proxy.ended).toBe(0);
      expect(await exchangesIn(proxy.output)).toBe(1);
      half.destroy();
      whole.destroy();
      await server.stop();
    },
    PATIENT_MS,
  );

  test(
    'when nobody reads what is printed any more',
    async () => {
      const server = await startServer();
      const proxy = await proxied(startProcess, server.address);
      proxy.child.stdout!.destroy();
      proxy.child.stderr!.destroy();
      (await askedOnce(proxy.port)).destroy();
      await sleep(100);
      proxy.signal('SIGTERM');
      await proxy.ended;
      expect(await exchangesIn(proxy.output)).toBe(1);
      await server.stop();
    },
    PATIENT_MS,
  );
});

test.each<[string, () => Conversation, RegExp]>([
  [
    'answers only',
    () => {
      const talk = new Conversation().open();
      for (let n = 0; n < 3; n++) talk.send(false, encodeResponse({ opcode: Opcode.noop, opaque: n }));
      talk.packets.splice(2, 1);
      talk.packets.splice(0, 1);
      return talk;
    },
    /got packets of the server only: answers cannot be recorded without their requests/,
  ],
  [
    'TLS',
    () =>
      new Conversation()
        .open()
        .send(true, Buffer.concat([Buffer.from('160301003c', 'hex'), Buffer.alloc(60)])),
    /1 connection of TLS.*--tls-cert/,
  ],
])(
  'there is nothing to record in a capture of %s, and the reason is said',
  async (_name, talkOf, message) => {
    const path = temporary('in.pcap');
    writeFileSync(path, pcapBytes(talkOf().packets));
    const output = temporary('x.tape');
    expect(await run(path, '-o', output)).toMatchObject({ code: 2, out: '', err: message });
    expect(existsSync(output)).toBe(false);
  },
  PATIENT_MS,
);

describe('losses', () => {
  test(
    'are a share, loud above one in a hundred; --max-loss ends with 3, and the trace stays',
    async () => {
      const capture = captureOf(50, [7, 20, 21]);
      const output = temporary('x.tape');
      const heard = await run(capture, '-o', output);
      expect(heard).toMatchObject({ code: 0, err: /holes in the capture: 1.3 kB, 5\.\d+% of the bytes/ });
      expect(heard.err).toContain('WARNING: 5.');
      expect(await run(capture, '-o', output, '--force', '--max-loss', '1%')).toMatchObject({
        code: 3,
        err: /expected at most 1.00% of the traffic to be missing, got 5\./,
      });
      expect(await exchangesIn(output)).toBe(50);
      expect((await run(capture, '-o', output, '--force', '--max-loss', '10%')).code).toBe(0);
      expect((await run(captureOf(50), '-o', output, '--force', '--max-loss', '0%')).code).toBe(0);
    },
    PATIENT_MS,
  );

  test(
    'of a server that refuses: told once, counted all',
    async () => {
      const closed = createServer();
      await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
      const { port } = closed.address() as AddressInfo;
      await new Promise((resolve) => closed.close(resolve));
      const proxy = await startProxy(`127.0.0.1:${port}`);
      for (let n = 0; n < 5; n++) {
        const socket = client(proxy.port);
        socket.write(noop);
        await new Promise((resolve) => socket.once('close', resolve));
      }
      proxy.signal('SIGINT');
      await proxy.ended;
      expect(proxy.err().match(/refused the connection; is it running/g)).toHaveLength(1);
      // Requests came, and nobody answered them.
      expect(proxy.err()).toContain('5 connections to the servers failed: 5 refused');
      expect(readdirSync(dirname(proxy.output)).length).toBeLessThanOrEqual(1);
    },
    PATIENT_MS,
  );
});
