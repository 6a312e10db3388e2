// Captures that were compressed: gzip and zstd are recognised by their first bytes and unpacked on the way, whatever the
// file is called.

import { Readable, type Transform } from 'node:stream';
import * as zlib from 'node:zlib';
import { RecorderError } from './error.ts';
import { MAX_WINDOW_LOG, unpackZstd } from './zstd.ts';

const GZIP = '1f8b';
const ZSTD = '28b52ffd';
const MAGIC_BYTES = 4;
const refused: [start: string, what: string][] = [
  ['fd377a58', 'xz'],
  ['425a68', 'bzip2'],
];

/** The chunks as they are, or unpacked. @throws RecorderError CORRUPT, TRUNCATED, UNSUPPORTED */
export async function* unpack(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const iterator = chunks[Symbol.asyncIterator]();
  let head: Buffer = Buffer.alloc(0);
  while (head.length < MAGIC_BYTES) {
    const next = await iterator.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  const hex = head.toString('hex', 0, MAGIC_BYTES);
  const what = refused.find(([magic]) => hex.startsWith(magic))?.[1];
  if (what !== undefined)
    throw new RecorderError(
      'UNSUPPORTED',
      `expected pcap, pcapng, gzip or zstd, got ${what}; unpack it first`,
    );
  const all = rest(head, iterator);
  if (hex.startsWith(GZIP)) yield* through(all, zlib.createGunzip(), 'gzip');
  else if (hex === ZSTD) yield* unzstd(all);
  else yield* all;
}

async function* rest(head: Buffer, iterator: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  try {
    if (head.length > 0) yield head;
    for (;;) {
      const next = await iterator.next();
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await iterator.return?.();
  }
}

async function* through(
  chunks: AsyncIterable<Buffer>,
  unpacker: Transform,
  name: string,
): AsyncGenerator<Buffer> {
  const source = Readable.from(chunks, { objectMode: false });
  let trouble: unknown;
  source.once('error', (error) => {
    trouble = error;
    unpacker.destroy(error);
  });
  source.pipe(unpacker);
  try {
    for await (const chunk of unpacker) yield chunk as Buffer;
  } catch (cause) {
    if (trouble !== undefined) throw trouble;
    const { code, message } = cause as NodeJS.ErrnoException;
    const isCut = code === 'Z_BUF_ERROR' || /unexpected (EOF|end)/i.test(message);
    throw new RecorderError(
      isCut ? 'TRUNCATED' : 'CORRUPT',
      isCut ? `the ${name} file ends in the middle` : `the ${name} file is damaged: ${message}`,
      { cause },
    );
  } finally {
    source.destroy();
    unpacker.destroy();
  }
}

type CreateZstd = (options: { params: Record<number, number> }) => Transform;

/** Node's own where it has one (from 22.15 on), which is several times as fast. */
function unzstd(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const { createZstdDecompress, constants } = zlib as typeof zlib & { createZstdDecompress?: CreateZstd };
  if (createZstdDecompress === undefined) return unpackZstd(chunks);
  const windowLog = (constants as Record<string, number>)['ZSTD_d_windowLogMax'] ?? 100;
  return through(chunks, createZstdDecompress({ params: { [windowLog]: MAX_WINDOW_LOG } }), 'zstd');
}
