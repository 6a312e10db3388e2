// libCacheSim's oracleGeneral: records of 24 bytes, little-endian: time (u32, seconds), object (u64), size (u32), and the
// number of the next request for the same object (i64), counted from 1; -1 where there is none.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TraceReader } from '../trace/file.ts';
import { MAX_VALUE_BYTES, operationOf, sizeOf } from './access.ts';
import { Clock } from './clock.ts';
import type { Written } from './csv.ts';
import { ConvertError } from './error.ts';
import { hash64 } from './hash.ts';
import type { Parser } from './input.ts';
import { NextAccess } from './next.ts';
import { Output } from './output.ts';
import type { Request } from './tape.ts';

export const RECORD_BYTES = 24;
const NEXT_AT = 16;
const MAX_SECOND = 0xffffffff;
const MAX_OBJECT = 0xffff_ffff_ffff_ffffn;

/**
 * The object of a key: a key that is a decimal number of 64 bits is that number, any other its hash. What a read missed
 * has size 0, which libCacheSim leaves out by default.
 * @throws TraceError · ConvertError WRITE, UNSUPPORTED
 */
export async function writeOracle(
  trace: TraceReader,
  path: string,
  onProgress?: (exchanges: number) => void,
): Promise<Written> {
  const folder = await mkdtemp(join(tmpdir(), 'memtape-convert-'));
  try {
    const next = await NextAccess.create(folder, trace.exchangeCount);
    try {
      return await writeBeside(trace, path, next, onProgress);
    } finally {
      await next.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function writeBeside(
  trace: TraceReader,
  path: string,
  next: NextAccess,
  onProgress?: (exchanges: number) => void,
): Promise<Written> {
  const output = await Output.create(path);
  try {
    const clock = new Clock(trace.meta);
    let rows = 0;
    let skipped = 0;
    for await (const batch of trace.batches()) {
      const objects = new BigUint64Array(batch.keyCount);
      const isKnown = new Uint8Array(batch.keyCount);
      for (let row = 0; row < batch.count; row++) {
        const operation = operationOf(batch, row);
        if (operation === undefined) {
          skipped++;
          continue;
        }
        const id = batch.keyId[row]!;
        if (isKnown[id] === 0) {
          objects[id] = objectOf(batch.key(row));
          isKnown[id] = 1;
        }
        const second = clock.second(batch.requestNs[row]!);
        if (second > MAX_SECOND)
          throw new ConvertError('UNSUPPORTED', `${path}: expected times of 32 bits, got ${second} s`);
        const { data, at } = output.room(RECORD_BYTES);
        data.writeUInt32LE(second, at);
        data.writeBigUInt64LE(objects[id]!, at + 4);
        data.writeUInt32LE(sizeOf(batch, row, operation), at + 12);
        next.add(objects[id]!, ++rows);
        if ((rows & 0xfff) === 0) await Promise.all([output.drained(), next.drained()]);
      }
      onProgress?.(rows + skipped);
    }
    await output.flush();
    await next.resolve();
    await fillNext(output, rows, next);
    await output.finish();
    return { rows, skipped, fileBytes: output.bytes };
  } catch (error) {
    await output.abort();
    throw error;
  }
}

const CHUNK_RECORDS = 32_768;

/** Puts the numbers of the next requests into the records that were written. */
async function fillNext(output: Output, rows: number, next: NextAccess): Promise<void> {
  const chunk = Buffer.allocUnsafe(CHUNK_RECORDS * RECORD_BYTES);
  for (let from = 0; from < rows; from += CHUNK_RECORDS) {
    const records = Math.min(CHUNK_RECORDS, rows - from);
    await output.read(chunk, records * RECORD_BYTES, from * RECORD_BYTES);
    for (let n = 0; n < records; n++) {
      const at = n * RECORD_BYTES;
      const number =
        next.take(chunk.readBigUInt64LE(at + 4)) ?? (await next.load(chunk.readBigUInt64LE(at + 4)));
      chunk.writeBigInt64LE(BigInt(number), at + NEXT_AT);
    }
    await output.write(chunk, records * RECORD_BYTES, from * RECORD_BYTES);
  }
}

function objectOf(key: Buffer): bigint {
  const text = key.toString('latin1');
  if (/^(0|[1-9]\d{0,19})$/.test(text)) {
    const object = BigInt(text);
    if (object <= MAX_OBJECT) return object;
  }
  const { low, high } = hash64(key);
  return (BigInt(high) << 32n) | BigInt(low);
}

/** Requests without a client are spread over so many, by their key. */
const CLIENTS = 16;

export class OracleParser implements Parser {
  readonly #path: string;
  readonly #take: (request: Request) => void;
  #rest: Buffer = Buffer.alloc(0);
  #offset = 0;
  #last = 0;
  readonly #request: Request = {
    second: 0,
    client: '',
    operation: 'get',
    key: Buffer.alloc(0),
    bytes: 0,
    ttl: 0,
  };

  /** @param path for messages */
  constructor(path: string, take: (request: Request) => void) {
    this.#path = path;
    this.#take = take;
  }

  push(chunk: Buffer): void {
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    for (; at + RECORD_BYTES <= data.length; at += RECORD_BYTES) {
      this.#record(data, at);
      this.#offset += RECORD_BYTES;
    }
    this.#rest = Buffer.from(data.subarray(at));
  }

  end(): void {
    if (this.#rest.length > 0)
      throw this.#wrong(`records of ${RECORD_BYTES} bytes`, `${this.#rest.length} bytes before the end`);
  }

  #record(data: Buffer, at: number): void {
    const request = this.#request;
    request.second = data.readUInt32LE(at);
    if (request.second < this.#last)
      throw this.#wrong(`a time that is not before ${this.#last}, the one before it`, String(request.second));
    this.#last = request.second;
    const object = data.readBigUInt64LE(at + 4);
    request.key = Buffer.from(object.toString(), 'latin1');
    request.client = String(hash64(request.key).low % CLIENTS);
    request.bytes = data.readUInt32LE(at + 12);
    if (request.bytes > MAX_VALUE_BYTES)
      throw this.#wrong(`a size that memcached can hold, at most ${MAX_VALUE_BYTES}`, String(request.bytes));
    const next = data.readBigInt64LE(at + NEXT_AT);
    if (next < -1n) throw this.#wrong('the number of the next request, or -1', String(next));
    this.#take(request);
  }

  #wrong(expected: string, got: string): ConvertError {
    return new ConvertError(
      'MALFORMED',
      `${this.#path}, at byte ${this.#offset}: expected ${expected}; got ${got}`,
    );
  }
}
