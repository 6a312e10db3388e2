// Makes the project's own captured traffic: several memjs clients against a real memcached, tcpdump beside them.
//
//     node dist/scripts/capture.js OUTDIR      needs memcached, tcpdump and the right to capture on the loopback interface
//
// Writes memjs.pcap, and memjs.json: where the traffic came from, and what the clients and the server each counted, as
// figures that owe nothing to memtape.

import { spawn, execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runClients, type Counts } from '../fixtures/clients.ts';
import { startMemcached } from '../embedded/memcached.ts';
import { FrameDecoder } from '../protocol/decoder.ts';
import { encodeRequest, readFrame } from '../protocol/frame.ts';
import { Magic } from '../protocol/header.ts';
import { Opcode } from '../protocol/opcode.ts';

const SEED = 20_240_611;
const CLIENTS = 6;
const EXCHANGES = 5_000;
const SECONDS = 5;
/** More than a loopback segment holds, so that values are cut by segments. */
const LARGE_BYTES = 70_000;
const SERVER_ARGS = ['-t', '2', '-m', '16'];

const searched = { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin` };

async function main(folder: string | undefined): Promise<void> {
  if (folder === undefined)
    throw new Error('expected a folder to write to: node dist/scripts/capture.js OUTDIR');
  mkdirSync(folder, { recursive: true });
  const server = await startMemcached(SERVER_ARGS);
  try {
    const observer = await Observer.open(server.port);
    const before = await observer.stats();
    const dump = await startTcpdump(join(folder, 'memjs.pcap'), server.port);
    const calls: Counts = {};
    const address = `127.0.0.1:${server.port}`;
    const began = performance.now();
    await runClients({
      address,
      seed: SEED,
      clients: CLIENTS,
      exchanges: EXCHANGES,
      seconds: SECONDS,
      largeBytes: LARGE_BYTES,
      calls,
    });
    const seconds = (performance.now() - began) / 1000;
    await sleep(300);
    const packets = await dump.stop();
    if (packets.droppedByKernel > 0)
      throw new Error(
        `the kernel dropped ${packets.droppedByKernel} packets: run it again on a quieter machine`,
      );
    const after = await observer.stats();
    observer.close();
    const origin = {
      source:
        'scripts/capture.ts: memjs clients running fixtures/workload.ts against memcached, on the loopback interface',
      date: new Date().toISOString(),
      versions: {
        memcached: after.values['version'],
        tcpdump: versionOf('tcpdump'),
        memjs: packageVersion('memjs'),
        node: process.versions.node,
      },
      commands: {
        memcached: `memcached -u nobody -l 127.0.0.1 -p ${server.port} -U 0 ${SERVER_ARGS.join(' ')}`,
        tcpdump: `tcpdump ${tcpdumpArgs(server.port).join(' ')} > memjs.pcap`,
      },
      port: server.port,
      seed: SEED,
      clients: CLIENTS,
      seconds: Number(seconds.toFixed(3)),
      packets,
      calls: sorted(calls),
      wire: wireFigures(calls),
      server: serverFigures(before, after),
    };
    writeFileSync(join(folder, 'memjs.json'), `${JSON.stringify(origin, null, 2)}\n`);
    const bytes = statSync(join(folder, 'memjs.pcap')).size;
    console.log(`${bytes} bytes, ${origin.wire.exchanges} exchanges, ${packets.captured} packets`);
  } finally {
    await server.stop();
  }
}

function sorted(calls: Counts): Counts {
  return Object.fromEntries(Object.entries(calls).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** The calls as they stand on the wire: exchanges by memtape's names of the opcodes, and by response status. */
function wireFigures(calls: Counts) {
  const named: Record<string, string> = { increment: 'incr', decrement: 'decr', prepend: 'append' };
  const refused: Record<string, number> = { 'Item not stored': 5, 'Key not found': 1 };
  const operations: Record<string, number> = {};
  const statuses: Record<string, number> = {};
  let exchanges = 0;
  for (const [op, outcomes] of Object.entries(calls))
    for (const [outcome, calls] of Object.entries(outcomes)) {
      let status = refused[outcome] ?? 0;
      // memjs makes false of "exists" for add, of "not found" for the others.
      if (outcome === 'false') status = op === 'add' ? 2 : 1;
      if (outcome === 'miss') status = 1;
      const name = named[op] ?? op;
      operations[name] = (operations[name] ?? 0) + calls;
      statuses[status] = (statuses[status] ?? 0) + calls;
      exchanges += calls;
    }
  const hits = calls['get']?.['hit'] ?? 0;
  const misses = calls['get']?.['miss'] ?? 0;
  return { exchanges, operations, statuses, hits, misses };
}

interface Stats {
  values: Record<string, string>;
  answerBytes: number;
}

/** The server's own counters, as grown between two STATs. */
function serverFigures(before: Stats, after: Stats): Record<string, number> {
  const figures: Record<string, number> = {};
  for (const name of Object.keys(after.values))
    if (/^(cmd_(get|set|touch)|(get|delete|incr|decr|touch)_(hits|misses))$/.test(name))
      figures[name] = Number(after.values[name]) - Number(before.values[name]);
  // The second STAT's own request, and the first one's answer, fall in between.
  figures['bytes_read'] = Number(after.values['bytes_read']) - Number(before.values['bytes_read']) - 24;
  figures['bytes_written'] =
    Number(after.values['bytes_written']) - Number(before.values['bytes_written']) - before.answerBytes;
  return figures;
}

/** A connection from before the capture's start, which asks the server for its counters. */
class Observer {
  readonly #socket;
  #received: (chunk: Buffer) => void = () => undefined;

  static async open(port: number): Promise<Observer> {
    const socket = connect(port, '127.0.0.1');
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new Observer(socket);
  }

  private constructor(socket: ReturnType<typeof connect>) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#received(chunk));
  }

  async stats(): Promise<Stats> {
    const stats: Stats = { values: {}, answerBytes: 0 };
    const whole = new Promise<void>((resolve) => {
      const frame = (data: Buffer, at: number, end: number): void => {
        const { key, value } = readFrame(data, at, end);
        stats.answerBytes += end - at;
        if (key.length === 0) resolve();
        else stats.values[key.toString()] = value.toString();
      };
      const decoder = new FrameDecoder({ frame }, { magic: Magic.response });
      this.#received = (chunk) => decoder.push(chunk);
    });
    this.#socket.write(encodeRequest({ opcode: Opcode.stat }));
    await whole;
    return stats;
  }

  close(): void {
    this.#socket.destroy();
  }
}

// Immediate mode: without it the kernel hands packets over in blocks, and the last ones would be lost at the end.
const tcpdumpArgs = (port: number): string[] =>
  `-i lo -s 0 -U -B 16384 --immediate-mode -n -w - port ${port}`.split(' ');

/** tcpdump into a file that we opened: run by root it drops its rights, and could not open one here itself. */
async function startTcpdump(file: string, port: number) {
  const out = openSync(file, 'w');
  const child = spawn('tcpdump', tcpdumpArgs(port), { env: searched, stdio: ['ignore', out, 'pipe'] });
  closeSync(out);
  let said = '';
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`tcpdump: ${said.trim()}`)));
    child.stderr!.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes('listening on')) resolve();
    });
  });
  return {
    async stop(): Promise<{ captured: number; droppedByKernel: number }> {
      const gone = new Promise((resolve) => child.once('close', resolve));
      child.kill('SIGINT');
      await gone;
      return {
        captured: figure(said, /(\d+) packets? captured/),
        droppedByKernel: figure(said, /(\d+) packets? dropped by kernel/),
      };
    },
  };
}

function figure(text: string, pattern: RegExp): number {
  const match = pattern.exec(text);
  if (match === null) throw new Error(`tcpdump said no ${pattern.source}: ${text.trim()}`);
  return Number(match[1]);
}

function versionOf(program: string): string {
  // tcpdump says its version on stderr or stdout, by release.
  const said = execFileSync('sh', ['-c', `${program} --version 2>&1`], { env: searched, encoding: 'utf8' });
  return said.split('\n', 1)[0]!;
}

function packageVersion(name: string): string {
  const file = createRequire(import.meta.url).resolve(`${name}/package.json`);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

await main(process.argv[2]);
