// The recorder, measured: `node dist/bench/record.js [OPERATIONS]`. Makes a capture of memcaslap's traffic (50 connections,
// ten gets to a set), then records it beside what else reads or packs captures, each in turn in one run: tshark over the
// same fields, tcpdump, which only reads it, and zstd (size). Needs memcached, tcpdump, memcaslap, tshark, zstd, GNU time.

import { execFileSync } from 'node:child_process';
import { createReadStream, createWriteStream, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { deflateRawSync } from 'node:zlib';
import { startMemcached } from '../embedded/memcached.ts';
import { TraceReader } from '../trace/file.ts';
import { captured, command, inFolder, isMain, median, say, timed, type Cost } from './measure.ts';

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

/** Captures so many operations of memcaslap's; returns the server's port. */
async function capture(folder: string, path: string, operations: number): Promise<number> {
  const server = await startMemcached(['-m', '1024']);
  const config = join(folder, 'workload.cnf');
  writeFileSync(config, workload);
  const asked = `-s ${server.address} -T 1 -c 50 -B -x ${operations} -F ${config}`;
  const drops = await captured(path, server.port, () => void execFileSync('memcaslap', asked.split(' ')));
  await server.stop();
  say(`capture: ${(statSync(path).size / 1e6).toFixed(0)} MB; ${drops}`);
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

export interface Recorded {
  packets: number;
  /** Medians and most of all rounds; of tshark over the same fields, and of tcpdump, which only reads. */
  record: Cost;
  tshark: Cost;
  tcpdump: Cost;
  /** Bytes of 100 MB of capture: as a trace, and packed. */
  traceBytes: number;
  zstdBytes: number;
  /** Bytes of an exchange in the trace, besides distinct keys and values. */
  overheadBytes: number;
  /** All of the capture. */
  whole: Cost & { captureBytes: number };
}

function middle(costs: readonly Cost[]): Cost {
  return {
    cpu: median(costs.map(({ cpu }) => cpu)),
    seconds: median(costs.map(({ seconds }) => seconds)),
    megabytes: Math.max(...costs.map(({ megabytes }) => megabytes)),
    stdout: '',
  };
}

export async function measureRecord(operations: number, rounds: number): Promise<Recorded> {
  return inFolder(async (folder) => {
    const [whole, million, small, tape] = ['whole.pcap', 'million.pcap', 'small.pcap', 'x.tape'].map((name) =>
      join(folder, name),
    ) as [string, string, string, string];
    const port = await capture(folder, whole, operations);
    const packets = await head(whole, million, 1_000_000, Infinity);
    await head(whole, small, Infinity, 100e6);
    const record = (from: string): Cost =>
      timed(folder, [
        process.execPath,
        command,
        ...`record ${from} --port ${port} -o ${tape} --force --quiet`.split(' '),
      ]);
    const asked = `-r ${million} -d tcp.port==${port},memcache -T fields`.split(' ');
    const dissect = ['tshark', ...asked, ...fields.flatMap((field) => ['-e', field])];
    const [ours, theirs, reads]: [Cost[], Cost[], Cost[]] = [[], [], []];
    for (let round = 0; round < rounds; round++) {
      ours.push(record(million));
      // Its output is bytes that nobody needs.
      theirs.push(timed(folder, ['sh', '-c', `exec "$@" > /dev/null`, 'sh', ...dissect]));
      reads.push(timed(folder, ['tcpdump', '-r', million, '-w', '/dev/null']));
    }
    record(small);
    const traceBytes = statSync(tape).size;
    const overheadBytes = await overhead(tape);
    execFileSync('zstd', ['-q', '-19', '--long=27', '-T2', small, '-o', `${small}.zst`]);
    return {
      packets,
      record: middle(ours),
      tshark: middle(theirs),
      tcpdump: middle(reads),
      traceBytes,
      zstdBytes: statSync(`${small}.zst`).size,
      overheadBytes,
      whole: { ...record(whole), captureBytes: statSync(whole).size },
    };
  });
}

function cost({ cpu, seconds, megabytes }: Cost): string {
  return `${cpu.toFixed(2)} s of CPU, ${seconds.toFixed(2)} s, ${megabytes.toFixed(0)} MB`;
}

if (isMain(import.meta)) {
  const { packets, record, tshark, tcpdump, traceBytes, zstdBytes, overheadBytes, whole } =
    await measureRecord(Number(process.argv[2] ?? 1_300_000), 3);
  say(`${packets} packets: memtape record ${cost(record)}`);
  say(`  tshark ${cost(tshark)}: ${(tshark.cpu / record.cpu).toFixed(1)} times the CPU`);
  say(`  tcpdump -r ${cost(tcpdump)}`);
  say(
    `100 MB: a trace of ${traceBytes} bytes, ${overheadBytes.toFixed(2)} an exchange besides distinct keys and values`,
  );
  say(
    `zstd -19 --long=27: ${zstdBytes}; the trace has ${((100 * traceBytes) / zstdBytes).toFixed(0)}% of it`,
  );
  say(`${(whole.captureBytes / 1e6).toFixed(0)} MB: ${cost(whole)}`);
}
