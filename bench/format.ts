// What a trace's blocks cost in each codec and size: `node dist/bench/format.js CAPTURE PORT`. Prints tables in Markdown, and
// with a folder as the third argument writes the blocks there, unpacked, for codecs that Node does not have.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as zlib from 'node:zlib';
import { readCapture } from '../recorder/capture.ts';
import { Recording } from '../recorder/recording.ts';
import { BlockReader, BlockType, FileKind } from '../trace/block.ts';
import { say } from './measure.ts';

const [capture, portText, dump] = process.argv.slice(2);
if (capture === undefined || portText === undefined)
  throw new Error('expected a capture and a port: node dist/bench/format.js CAPTURE PORT [FOLDER]');
const port = Number(portText);
const folder = mkdtempSync(join(tmpdir(), 'memtape-bench-'));

async function blocksOf(
  batchRows: number,
  batchBytes: number,
): Promise<{ raw: Buffer[]; exchanges: number }> {
  const path = join(folder, 'x.tape');
  const recording = new Recording(path, { limits: { batchRows, batchBytes } });
  await readCapture(capture!, {
    ports: [port],
    factory: recording.exchanges,
    capture: recording.capture,
    drained: () => recording.settle(recording.exchanges.lastNs),
  });
  const { exchanges } = await recording.finish();
  const reader = await BlockReader.open(path, FileKind.trace);
  const raw: Buffer[] = [];
  for (const block of reader.blocks) if (block.type === BlockType.rows) raw.push(await reader.read(block));
  await reader.close();
  return { raw, exchanges };
}

const brotli = (quality: number) => (data: Buffer) =>
  zlib.brotliCompressSync(data, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: quality } });
const deflate = (level: number) => (data: Buffer) => zlib.deflateRawSync(data, { level });
const codecs: [string, (data: Buffer) => Buffer, (data: Buffer) => Buffer][] = [
  ...[1, 6, 9].map((level): (typeof codecs)[number] => [
    `deflate ${level}`,
    deflate(level),
    (data) => zlib.inflateRawSync(data),
  ]),
  ...[1, 5, 9].map((level): (typeof codecs)[number] => [
    `brotli ${level}`,
    brotli(level),
    (data) => zlib.brotliDecompressSync(data),
  ]),
];

const sum = (buffers: readonly Buffer[]): number => buffers.reduce((total, { length }) => total + length, 0);

try {
  say('| rows a block | bytes a block | blocks | unpacked | deflate 1 |\n|---|---|---|---|---|');
  for (const [rows, megabytes] of [
    [4096, 1],
    [16_384, 4],
    [65_536, 8],
    [65_536, 32],
  ] as const) {
    const { raw, exchanges } = await blocksOf(rows, megabytes * 1024 * 1024);
    const packed = sum(raw.map(deflate(1)));
    say(
      `| ${rows} | ${megabytes} MiB | ${raw.length} | ${(sum(raw) / exchanges).toFixed(1)} | ${(packed / exchanges).toFixed(2)} |`,
    );
  }
  const { raw, exchanges } = await blocksOf(65_536, 8 * 1024 * 1024);
  say('\n| codec | bytes an exchange | packs | unpacks |\n|---|---|---|---|');
  const megabytes = sum(raw) / 1e6;
  for (const [name, pack, unpack] of codecs) {
    let began = performance.now();
    const packed = raw.map(pack);
    const packing = performance.now() - began;
    began = performance.now();
    for (const data of packed) unpack(data);
    const unpacking = performance.now() - began;
    const rate = (ms: number): string => `${((megabytes * 1000) / ms).toFixed(0)} MB/s`;
    say(`| ${name} | ${(sum(packed) / exchanges).toFixed(2)} | ${rate(packing)} | ${rate(unpacking)} |`);
  }
  if (dump !== undefined)
    for (const [n, data] of raw.entries()) writeFileSync(join(dump, `block-${n}`), data);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
