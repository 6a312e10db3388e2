// The recorder against tshark's memcache dissector: real clients' traffic, as captured and mangled in ways that a network
// or a capture has, counted by both. `node dist/scripts/tshark.js [OPERATIONS]`; needs memcached, tcpdump, tshark, and the
// clients; prints a table in Markdown, and ends with 1 where they differ.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addFrames as add, differences, tsharkCounts, type Counts } from '../fixtures/tshark.ts';
import { beginningInside, manglings, parsePackets, writePackets } from '../fixtures/mangle.ts';
import { recordCapture } from '../recorder/record.ts';
import { TraceReader } from '../trace/file.ts';
import { capture, clients } from './captured.ts';
import { Told, told, untrue } from './truth.ts';

const OPERATIONS = Number(process.argv[2] ?? 3000);
const folder = mkdtempSync(join(tmpdir(), 'memtape-tshark-'));

interface Recorded extends Told {
  counts: Counts;
}

async function recorded(path: string, port: number): Promise<Recorded> {
  const output = join(folder, 'x.tape');
  const out = Object.assign(new Told(true), { counts: new Map() as Counts });
  const { exchanges } = await recordCapture(path, { output, ports: [port], source: 'x' });
  if (exchanges === 0) return out;
  const trace = await TraceReader.open(output);
  for await (const batch of trace.batches()) {
    out.add(batch);
    for (let row = 0; row < batch.count; row++) {
      const opcode = batch.opcode[row]!;
      add(out.counts, 'request', opcode);
      if (batch.frames[row]! > 0) add(out.counts, 'response', opcode, batch.frames[row]);
    }
  }
  await trace.close();
  return out;
}

let failed = 0;
const fail = (what: string, details: readonly string[]): void => {
  failed++;
  process.stderr.write(`${what}: ${details.length} wrong\n  ${details.slice(0, 8).join('\n  ')}\n`);
};

const rows: string[] = [];
try {
  for (const client of clients) {
    const { path, port } = await capture(client, OPERATIONS, folder);
    const theirs = tsharkCounts(path, port);
    const whole = await recorded(path, port);
    const packets = parsePackets(readFileSync(path));
    const frames = [...whole.counts.values()].reduce((sum, n) => sum + n, 0);
    const plain = differences(whole.counts, theirs);
    if (plain.length > 0) fail(`${client.name}, as captured`, plain);
    const cells: string[] = [];
    for (const mangling of manglings) {
      const { name, lossy } = mangling;
      const mangled = join(folder, 'mangled.pcap');
      writeFileSync(mangled, writePackets(mangling.mangle(packets)));
      const seen = await recorded(mangled, port);
      if (!lossy) {
        const other = differences(seen.counts, theirs);
        if (other.length > 0) fail(`${client.name}, ${name}`, other);
        cells.push(other.length === 0 ? 'equal' : `${other.length} differ`);
        continue;
      }
      const false_ = untrue(seen, whole);
      if (false_.length > 0) fail(`${client.name}, ${name}`, false_);
      cells.push(
        `${seen.total - seen.marked} right${seen.unknown > 0 ? ` (${seen.unknown} without a value)` : ''}, ${seen.marked} marked${false_.length > 0 ? `, ${false_.length} WRONG` : ''}`,
      );
    }
    let starts = 0;
    let wrong = 0;
    for (const cut of beginningInside(packets, port)) {
      const seen = await told(writePackets(cut), port);
      const false_ = untrue(seen, whole);
      if (false_.length > 0) fail(`${client.name}, beginning inside a segment, ${starts}`, false_);
      if (false_.length > 0 || seen.total === 0) wrong++;
      starts++;
    }
    cells.push(`${starts - wrong} of ${starts}`);
    rows.push(
      `| ${client.name} | ${packets.length} | ${frames} | ${plain.length === 0 ? 'equal' : 'differs'} | ${cells.join(' | ')} |`,
    );
  }
} finally {
  // What went wrong is in the captures, and live traffic does not come twice.
  if (failed === 0) rmSync(folder, { recursive: true, force: true });
  else process.stdout.write(`the captures are kept in ${folder}\n`);
}
const names = [
  'client',
  'packets',
  'frames',
  'as captured',
  ...manglings.map(({ name }) => name),
  'begun at each byte of a segment',
];
process.stdout.write(`| ${names.join(' | ')} |\n|${names.map(() => '---|').join('')}\n${rows.join('\n')}\n`);
process.exitCode = failed === 0 ? 0 : 1;
