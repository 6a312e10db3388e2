// The recorder, measured: `node dist/bench/record.js [OPERATIONS]`. Makes a capture of memcaslap's traffic (50 connections,
// ten gets to a set), then records it beside what else reads or packs captures, each in turn in one run: tshark over the
// same fields (time, memory), and zstd (size). Needs memcached, tcpdump, memcaslap, tshark, zstd, GNU time.

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createReadStream, createWriteStream, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { deflateRawSync } from 'node:zlib';
import { startMemcached } from '../fixtures/memcached.ts';
import { TraceReader } from '../trace/file.ts';

const OPERATIONS = Number(process.argv[2] ?? 1_300_000);
const ROUNDS = 3;
const command = new URL('../cli/main.js', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'memtape-bench-'));
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const workload = `key
24 40 0.5
41 64 0.5
value
64 256 0.5
257 1024 0.4
1025 4096 0.1
cmd
0 0.1
1 0.9
`;

async function capture(path: string): Promise<number> {
  const server = await startMemcached(['-m', '1024']);
  const args = ['-i', 'lo', '-s', '0', '-B', '262144', '-Z', 'root', '-w', path, `tcp port ${server.port}`];
  const dump = spawn('tcpdump', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  dump.stderr.on('data', (text: Buffer) => (said += text.toString()));
  while (!said.includes('listening')) await sleep(50);
  const config = join(folder, 'workload.cnf');
  writeFileSync(config, workload);
  const address = `127.0.0.1:${server.port}`;
  execFileSync('memcaslap', [
    '-s',
    address,
    '-T',
    '1',
    '-c',
    '50',
    '-B',
    '-x',
    String(OPERATIONS),
    '-F',
    config,
  ]);
  await sleep(1500);
  const gone = new Promise((resolve) => dump.on('close', resolve));
  dump.kill('SIGINT');
  await gone;
  await server.stop();
  say(
    `capture: ${(statSync(path).size / 1e6).toFixed(0)} MB; ${/.*dropped by kernel/.exec(said)?.[0] ?? ''}`,
  );
  return server.port;
}

/** The first packets of a capture: so many, or so many bytes of them. */
async function head(from: string, to: string, packets: number, bytes: number): Promise<number> {
  let end = 24;
  let count = 0;
  let carry = Buffer.alloc(0);
  let base = 0;
  for await (const chunk of createReadStream(from, { highWaterMark: 1 << 22 }) as AsyncIterable<Buffer>) {
    carry = Buffer.concat([carry, chunk]);
    while (end - base + 16 <= carry.length) {
      const next = end + 16 + carry.readUInt32LE(end - base + 8);
      if (count === packets || next > bytes) break;
      count++;
      end = next;
    }
    if (count === packets || end + 100_000 > bytes) break;
    const used = Math.min(carry.length, end - base);
    carry = carry.subarray(used);
    base += used;
  }
  await pipeline(createReadStream(from, { end: end - 1 }), createWriteStream(to));
  return count;
}

interface Run {
  seconds: number;
  megabytes: number;
}

function timed(program: string, args: readonly string[]): Run {
  const began = performance.now();
  const { stderr, status } = spawnSync('/usr/bin/time', ['-f', 'RSS %M', program, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  const seconds = (performance.now() - began) / 1000;
  if (status !== 0) throw new Error(`${program} ended with ${status}: ${stderr}`);
  return { seconds, megabytes: Number(/RSS (\d+)/.exec(stderr)?.[1] ?? 0) / 1024 };
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

/** Bytes that are not distinct keys and values, an exchange. */
async function overhead(path: string): Promise<number> {
  const trace = await TraceReader.open(path);
  const seen = new Set<string>();
  const parts: Buffer[] = [];
  for await (const batch of trace.batches())
    for (let row = 0; row < batch.count; row++)
      for (const bytes of [batch.key(row), batch.value(row), batch.answerValue(row)]) {
        if (bytes.length === 0 || seen.has(bytes.toString('latin1'))) continue;
        seen.add(bytes.toString('latin1'));
        parts.push(Buffer.from(bytes));
      }
  await trace.close();
  return (trace.fileBytes - deflateRawSync(Buffer.concat(parts), { level: 1 }).length) / trace.exchangeCount;
}

try {
  const whole = join(folder, 'whole.pcap');
  const port = await capture(whole);
  const million = join(folder, 'million.pcap');
  const small = join(folder, 'small.pcap');
  const packets = await head(whole, million, 1_000_000, Infinity);
  await head(whole, small, Infinity, 100e6);
  const tape = join(folder, 'x.tape');
  const record = (from: string): Run =>
    timed(process.execPath, [
      command,
      'record',
      from,
      '--port',
      String(port),
      '-o',
      tape,
      '--force',
      '--quiet',
    ]);
  const fields = [
    'frame.time_epoch',
    'tcp.stream',
    'memcache.magic',
    'memcache.opcode',
    'memcache.opaque',
    'memcache.cas',
    'memcache.status',
    'memcache.key',
    'memcache.value',
    'memcache.extras.flags',
  ];
  const dissect = (from: string): Run =>
    timed('tshark', [
      '-r',
      from,
      '-d',
      `tcp.port==${port},memcache`,
      '-T',
      'fields',
      ...fields.flatMap((field) => ['-e', field]),
    ]);
  const ours: Run[] = [];
  const theirs: Run[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    ours.push(record(million));
    theirs.push(dissect(million));
  }
  const ratio = median(theirs.map(({ seconds }, n) => seconds / ours[n]!.seconds));
  say(
    `${packets} packets: memtape record ${median(ours.map(({ seconds }) => seconds)).toFixed(2)} s, tshark ${median(theirs.map(({ seconds }) => seconds)).toFixed(2)} s: ${ratio.toFixed(1)} times as fast (median of ${ROUNDS} pairs)`,
  );
  say(
    `memory: memtape ${Math.max(...ours.map(({ megabytes }) => megabytes)).toFixed(0)} MB, tshark ${Math.max(...theirs.map(({ megabytes }) => megabytes)).toFixed(0)} MB`,
  );
  const little = record(small);
  say(
    `100 MB: ${little.megabytes.toFixed(0)} MB of memory; size ${statSync(tape).size}, ${(await overhead(tape)).toFixed(2)} bytes an exchange besides distinct keys and values`,
  );
  execFileSync('zstd', ['-q', '-19', '--long=27', '-T2', small, '-o', `${small}.zst`]);
  say(
    `zstd -19 --long=27: ${statSync(`${small}.zst`).size}; the trace has ${((100 * statSync(tape).size) / statSync(`${small}.zst`).size).toFixed(0)}% of it`,
  );
  const large = record(whole);
  say(
    `${(statSync(whole).size / 1e6).toFixed(0)} MB: ${large.megabytes.toFixed(0)} MB of memory, ${large.seconds.toFixed(1)} s, ${statSync(tape).size} bytes`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
