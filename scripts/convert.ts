// Traces as captures, against Wireshark: `node dist/scripts/convert.js [EXCHANGES]`. What memjs says to a memcached is
// recorded through the proxy, of a server on IPv4 and of one on IPv6, and a capture is recorded besides; each trace, and all of them
// merged, is converted to pcap, and tshark must count in it the frames that the trace has, and find nothing wrong with
// its TCP. The recorder must read the same exchanges back. Needs memcached and tshark; ends with 1 where they differ.

import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mergeTraces } from '../convert/merge.ts';
import { writePcap } from '../convert/pcap.ts';
import { runClients } from '../fixtures/clients.ts';
import { startMemcached } from '../embedded/memcached.ts';
import { addFrames, differences, tsharkCounts, tsharkRemarks, type Counts } from '../fixtures/tshark.ts';
import { startProxy } from '../recorder/proxy.ts';
import { recordCapture } from '../recorder/record.ts';
import { TraceReader } from '../trace/file.ts';

const EXCHANGES = Number(process.argv[2] ?? 4000);
const folder = mkdtempSync(join(tmpdir(), 'memtape-convert-'));

async function throughProxy(
  name: string,
  host: string,
  seed: number,
): Promise<{ tape: string; port: number }> {
  const memcached = await startMemcached(['-I', '2m', '-l', '::1']);
  const tape = join(folder, `${name}.tape`);
  const upstream = [`${host}:${memcached.port}`];
  const proxy = await startProxy({ listen: ['127.0.0.1:0'], upstream, output: tape });
  const address = proxy.addresses[0]!;
  await runClients({
    address,
    seed,
    clients: 8,
    exchanges: EXCHANGES,
    seconds: 2,
    largeBytes: 1_000_000,
    calls: {},
  });
  await proxy.stop();
  await memcached.stop();
  // The trace names the server behind the proxy.
  return { tape, port: memcached.port };
}

async function ofCapture(): Promise<{ tape: string; port: number }> {
  const capture = new URL('../../fixtures/captures/memjs.pcap', import.meta.url).pathname;
  const { port } = JSON.parse(readFileSync(capture.replace('.pcap', '.json'), 'utf8')) as { port: number };
  const tape = join(folder, 'capture.tape');
  await recordCapture(capture, { output: tape, ports: [port], source: 'memjs.pcap' });
  return { tape, port };
}

/** Frames of a trace, and its exchanges: by opaque, key, value and answer. */
async function told(path: string): Promise<{ counts: Counts; exchanges: string[] }> {
  const counts: Counts = new Map();
  const exchanges: string[] = [];
  const trace = await TraceReader.open(path);
  for await (const batch of trace.batches()) {
    for (let row = 0; row < batch.count; row++) {
      const opcode = batch.opcode[row]!;
      addFrames(counts, 'request', opcode);
      if (batch.frames[row]! > 0) addFrames(counts, 'response', opcode, batch.frames[row]);
      const [request, answer] = [batch.value(row), batch.answerValue(row)].map((value) =>
        value.toString('base64'),
      );
      exchanges.push(
        `${opcode} ${batch.opaque[row]} ${batch.key(row).toString('hex')} ${request} ${batch.outcome[row]} ${batch.status[row]} ${answer}`,
      );
    }
  }
  await trace.close();
  return { counts, exchanges: exchanges.toSorted() };
}

async function convert(tape: string): Promise<{ path: string; packets: number }> {
  const path = tape.replace(/\.tape$/, '.pcap');
  const trace = await TraceReader.open(tape);
  const { packets } = await writePcap(trace, path);
  await trace.close();
  return { path, packets };
}

let failed = 0;
const rows: string[] = [];

async function compare(name: string, tape: string, ports: readonly number[]): Promise<void> {
  const was = await told(tape);
  const { path, packets } = await convert(tape);
  const counts: Counts = new Map();
  for (const port of ports)
    for (const [frame, count] of tsharkCounts(path, port))
      counts.set(frame, (counts.get(frame) ?? 0) + count);
  const other = differences(was.counts, counts);
  const remarks = ports.flatMap((port) => tsharkRemarks(path, port));
  const again = join(folder, 'again.tape');
  await recordCapture(path, { output: again, ports, source: 'x' });
  const is = await told(again);
  const isSame = was.exchanges.join('\n') === is.exchanges.join('\n');
  if (other.length + remarks.length > 0 || !isSame) {
    failed++;
    process.stderr.write(`${name}:\n  ${[...other, ...remarks].slice(0, 8).join('\n  ')}\n`);
  }
  const frames = [...was.counts.values()].reduce((sum, count) => sum + count, 0);
  const size = `${(statSync(path).size / 1e6).toFixed(1)} MB`;
  rows.push(
    `| ${name} | ${was.exchanges.length} | ${frames} | ${packets} | ${size} | ${other.length === 0 ? 'equal' : 'differs'} | ${remarks.length} | ${isSame ? 'equal' : 'differs'} |`,
  );
}

try {
  const traces = [
    { name: 'a capture of memjs', ...(await ofCapture()) },
    { name: 'memjs through the proxy', ...(await throughProxy('v4', '127.0.0.1', 5)) },
    { name: 'memjs through the proxy, a server on IPv6', ...(await throughProxy('v6', '[::1]', 6)) },
  ];
  for (const { name, tape, port } of traces) await compare(name, tape, [port]);
  const merged = join(folder, 'merged.tape');
  await mergeTraces(
    traces.map(({ tape }) => tape),
    merged,
  );
  await compare(
    'all merged',
    merged,
    traces.map(({ port }) => port),
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
const names = [
  'trace',
  'exchanges',
  'frames',
  'packets',
  'pcap',
  'frames in tshark',
  'remarks on TCP',
  'read back',
];
process.stdout.write(`| ${names.join(' | ')} |\n|${names.map(() => '---|').join('')}\n${rows.join('\n')}\n`);
process.exitCode = failed === 0 ? 0 : 1;
