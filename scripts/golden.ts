// Writes the golden files of the current format: `node dist/scripts/golden.js`. Once a format is released its golden
// files stay as they are, for the test that reads them; a new format gets files of its own.

import { mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { plainRows, type PlainRow } from '../fixtures/golden.ts';
import { recordCapture } from '../recorder/record.ts';
import { TraceReader, TraceWriter } from '../trace/file.ts';
import { readFileSync } from 'node:fs';

const FOLDER = 'fixtures/golden';
const ROWS = 60;
const BLOCKS = 3;

const { port } = JSON.parse(readFileSync('fixtures/captures/memjs.json', 'utf8')) as { port: number };
const whole = join(tmpdir(), `memtape-golden-${process.pid}.tape`);
await recordCapture('fixtures/captures/memjs.pcap', { output: whole, ports: [port], source: 'memjs.pcap' });
const trace = await TraceReader.open(whole);
mkdirSync(FOLDER, { recursive: true });
const writer = await TraceWriter.create(join(FOLDER, 'format-1.tape'), trace.meta);
const rows: PlainRow[] = [];
for await (const batch of trace.batches()) {
  for (let block = 0; block < BLOCKS; block++) {
    const part = batch.slice((block * ROWS) / BLOCKS, ((block + 1) * ROWS) / BLOCKS);
    rows.push(...plainRows(part));
    writer.append(part);
  }
  break;
}
await writer.finish(trace.end!);
await trace.close();
writeFileSync(join(FOLDER, 'format-1.json'), `${JSON.stringify(rows, null, 1)}\n`);
