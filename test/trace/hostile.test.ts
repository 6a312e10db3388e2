// Traces made to harm: sound checksums around content that is not. Reading, summing up and replaying them ends, in
// bounded time, with figures or with an error of ours.

import { readFileSync } from 'node:fs';
import { beforeAll, expect, test } from 'vitest';
import { startServer } from '../../embedded/server.ts';
import { replay } from '../../replayer/replay.ts';
import { ReplayError } from '../../replayer/error.ts';
import { Random } from '../../synth/laws/random.ts';
import { BlockReader, BlockType, BlockWriter, FileKind } from '../../trace/block.ts';
import { TraceError } from '../../trace/error.ts';
import { TraceReader, TraceWriter } from '../../trace/file.ts';
import { emptyCapture } from '../../trace/meta.ts';
import { summarise } from '../../trace/summary.ts';
import { runs } from '../support/scale.ts';
import { batchOf, temporary, testMeta } from '../support/tape.ts';

const golden = new URL('../../fixtures/golden/format-1.tape', import.meta.url).pathname;
const blocks: { type: BlockType; rows: number; raw: Buffer }[] = [];

beforeAll(async () => {
  expect(readFileSync(golden).length).toBeGreaterThan(1000);
  const reader = await BlockReader.open(golden, FileKind.trace);
  for (const block of reader.blocks)
    blocks.push({ type: block.type, rows: block.rows, raw: await reader.read(block) });
  await reader.close();
});

/** The golden trace, its blocks changed, with the checksums that fit. */
async function forge(change: (raw: Buffer, type: BlockType) => Buffer): Promise<string> {
  const path = temporary('forged.tape');
  const writer = await BlockWriter.create(path, FileKind.trace);
  let first = 0;
  for (const { type, rows, raw } of blocks) {
    writer.append(type, rows, first, 0, 1e9, change(Buffer.from(raw), type));
    if (type === BlockType.rows) first += rows;
  }
  await writer.finish();
  return path;
}

/** Everything that is done with a trace; only errors of ours may come of it. */
async function use(path: string, address: string): Promise<string> {
  try {
    const trace = await TraceReader.open(path);
    try {
      JSON.stringify(await summarise(trace));
    } finally {
      await trace.close();
    }
    await replay({
      trace: path,
      results: temporary('forged.results'),
      targets: [address],
      speed: 'max',
      timeoutMs: 100,
    });
    return 'replayed';
  } catch (error) {
    if (error instanceof TraceError || error instanceof ReplayError) return error.code;
    throw error;
  }
}

test('columns with any bytes changed', async () => {
  const server = await startServer();
  const random = new Random(4);
  const seen = new Map<string, number>();
  for (let run = 0; run < runs(120); run++) {
    let chosen = random.int(3);
    const path = await forge((raw, type) => {
      if (type !== BlockType.rows || chosen-- !== 0) return raw;
      for (let n = 1 + random.int(2); n > 0; n--) raw[random.int(raw.length)] = random.int(256);
      return raw;
    });
    const end = await use(path, server.address);
    seen.set(end, (seen.get(end) ?? 0) + 1);
  }
  await server.stop();
  expect(seen.get('replayed')).toBeGreaterThan(10);
  expect(seen.get('BROKEN')).toBeGreaterThan(10);
}, 120_000);

const json = (change: (value: Record<string, unknown>) => unknown) => (raw: Buffer, type: BlockType) =>
  type === BlockType.meta
    ? Buffer.from(JSON.stringify(change(JSON.parse(raw.toString()) as Record<string, unknown>)))
    : raw;

test.each([
  ['no object', json(() => 7)],
  ['null', json(() => null)],
  ['a time that is none', json((meta) => ({ ...meta, startNs: '12abc' }))],
  ['no privacy', json((meta) => ({ ...meta, privacy: null }))],
  ['no JSON', (raw: Buffer, type: BlockType) => (type === BlockType.meta ? Buffer.from('{') : raw)],
  [
    'a closing block that is a number',
    (raw: Buffer, type: BlockType) => (type === BlockType.end ? Buffer.from('7') : raw),
  ],
])('an opening or closing block with %s', async (_name, change) => {
  expect(await use(await forge(change), '127.0.0.1:1')).toBe('BROKEN');
});

test.each([
  ['null', 'null'],
  ['a connection without an id', '[{}]'],
  [
    'a connection far beyond the others',
    '[{"id":4000000000,"client":"a","server":"b","tenant":"","openNs":0,"closeNs":0,"end":0}]',
  ],
  ['none at all', '[]'],
])('connections: %s', async (_name, text) => {
  const path = await forge((raw, type) => {
    if (type !== BlockType.rows) return raw;
    // The first stream is the connections' JSON behind its length, and the number before all is where the strings begin.
    const length = raw[4]! < 0x80 ? raw[4]! : (raw[4]! & 0x7f) | (raw[5]! << 7);
    const at = raw[4]! < 0x80 ? 5 : 6;
    const put = Buffer.concat([
      Buffer.from([(text.length & 0x7f) | 0x80, text.length >> 7]),
      Buffer.from(text),
    ]);
    const head = Buffer.alloc(4);
    head.writeUInt32LE(raw.readUInt32LE(0) - (at - 4) - length + put.length, 0);
    return Buffer.concat([head, put, raw.subarray(at + length)]);
  });
  expect(await use(path, '127.0.0.1:1')).toBe('BROKEN');
});

test.each([
  ['a kind that there is not', 9, 5],
  ['more bytes than a value may have', 0, 2 ** 27],
])('a token of %s: refused by who reads values, and by who copies tokens', async (_name, kind, bytes) => {
  const path = temporary('tokens.tape');
  const token = Buffer.alloc(13);
  token[0] = kind;
  token.writeUInt32LE(bytes, 1);
  const writer = await TraceWriter.create(path, {
    ...testMeta,
    privacy: { values: 'hash', keys: 'clear' },
  });
  writer.append(batchOf([{ op: 'set', key: 'k', value: token }]));
  await writer.finish({ capture: emptyCapture(), casRequests: 0 });
  for (const values of ['derived', 'as they stand'] as const) {
    const trace = await TraceReader.open(path, { values });
    await expect(trace.batches().next()).rejects.toMatchObject({ code: 'BROKEN' });
    await trace.close();
  }
});
