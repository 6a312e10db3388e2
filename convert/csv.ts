// Twitter's cache-trace: lines of `timestamp,anonymized key,key size,value size,client id,operation,TTL`, in whole
// seconds. Keys are written as they are but for what would break a line: bytes that are not printable ASCII, and what a
// spreadsheet would take for a formula, are `\xNN`, and a backslash is two. A key may contain commas: what stands between the first comma and the last five is the key.

import { MAX_KEY_BYTES } from '../protocol/semantics.ts';
import type { TraceReader } from '../trace/file.ts';
import { MAX_VALUE_BYTES, operationOf, operations, sizeOf, ttlOf, type Operation } from './access.ts';
import { Clock } from './clock.ts';
import { ConvertError } from './error.ts';
import type { Parser } from './input.ts';
import { Output } from './output.ts';
import type { Request } from './tape.ts';

export interface Written {
  /** Rows of the output. */
  rows: number;
  /** Exchanges that the format has no row for: what is no operation on a key. */
  skipped: number;
  fileBytes: number;
}

/** Clients are numbered in the order of their first row. @throws TraceError · ConvertError WRITE */
export async function writeCsv(
  trace: TraceReader,
  path: string,
  onProgress?: (exchanges: number) => void,
): Promise<Written> {
  const output = await Output.create(path);
  try {
    const clock = new Clock(trace.meta);
    const clients = new Map<number, number>();
    let rows = 0;
    let skipped = 0;
    for await (const batch of trace.batches()) {
      for (let row = 0; row < batch.count; row++) {
        const operation = operationOf(batch, row);
        if (operation === undefined) {
          skipped++;
          continue;
        }
        let client = clients.get(batch.connection[row]!);
        if (client === undefined) clients.set(batch.connection[row]!, (client = clients.size));
        const second = clock.second(batch.requestNs[row]!);
        const size = sizeOf(batch, row, operation);
        const ttl = ttlOf(batch, row, operation, second);
        const line = `${second},${escaped(batch.key(row))},${batch.keyLength[row]},${size},${client},${operation},${ttl}\n`;
        const { data, at } = output.room(line.length);
        data.write(line, at, 'latin1');
        rows++;
        if ((rows & 0xfff) === 0) await output.drained();
      }
      onProgress?.(rows + skipped);
    }
    await output.finish();
    return { rows, skipped, fileBytes: output.bytes };
  } catch (error) {
    await output.abort();
    throw error;
  }
}

function escaped(key: Buffer): string {
  const text = key.toString('latin1');
  if (!/[^ -[\]-~]|(^|,)[=+\-@]/.test(text)) return text;
  // Also what a spreadsheet would take for a formula, at the beginning of a field.
  return text.replaceAll(/[^ -[\]-~]|(?<=^|,)[=+\-@]/g, (byte) =>
    byte === '\\' ? '\\\\' : `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** A backslash that begins no escape stands for itself. */
function unescaped(text: string): string {
  if (!text.includes('\\')) return text;
  return text.replaceAll(/\\(?:x([0-9a-f]{2})|\\)/gi, (_, hex?: string) =>
    hex === undefined ? '\\' : String.fromCharCode(parseInt(hex, 16)),
  );
}

const NEWLINE = 0x0a;
const MAX_LINE_BYTES = 64 * 1024;
const MAX_SECOND = 0xffffffff;
const known: ReadonlySet<string> = new Set(operations);

export class CsvParser implements Parser {
  readonly #path: string;
  readonly #take: (request: Request) => void;
  /** The part of a line that a chunk ended in. */
  #rest: Buffer = Buffer.alloc(0);
  #line = 0;
  #last = 0;
  readonly #key = Buffer.alloc(MAX_KEY_BYTES);
  readonly #request: Request = { second: 0, client: '', operation: 'get', key: this.#key, bytes: 0, ttl: 0 };

  /** @param path for messages */
  constructor(path: string, take: (request: Request) => void) {
    this.#path = path;
    this.#take = take;
  }

  push(chunk: Buffer): void {
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let from = 0;
    for (let end = data.indexOf(NEWLINE); end >= 0; end = data.indexOf(NEWLINE, from)) {
      this.#row(data.toString('latin1', from, end));
      from = end + 1;
    }
    if (data.length - from > MAX_LINE_BYTES) {
      this.#line++;
      throw this.#wrong(`a line of at most ${MAX_LINE_BYTES} bytes`, `${data.length - from} without an end`);
    }
    this.#rest = Buffer.from(data.subarray(from));
  }

  end(): void {
    if (this.#rest.length > 0) this.#row(this.#rest.toString('latin1'));
  }

  #row(text: string): void {
    this.#line++;
    const line = text.endsWith('\r') ? text.slice(0, -1) : text;
    if (line === '') return;
    // From the back: TTL, operation, client, value size, key size.
    const commas: number[] = [];
    let at = line.length;
    for (let n = 0; n < 5 && at > 0; n++) commas.push((at = line.lastIndexOf(',', at - 1)));
    const first = line.indexOf(',');
    const [ttlAt, operationAt, clientAt, bytesAt, keyBytesAt] = commas as [
      number,
      number,
      number,
      number,
      number,
    ];
    if (commas.length < 5 || at <= first)
      throw this.#wrong('timestamp,key,key size,value size,client id,operation,TTL', quoted(line));
    const request = this.#request;
    request.second = this.#number(line.slice(0, first), 'a timestamp in whole seconds', MAX_SECOND);
    if (request.second < this.#last)
      throw this.#wrong(
        `a timestamp that is not before ${this.#last}, the one before it`,
        quoted(line.slice(0, first)),
      );
    this.#last = request.second;
    const key = unescaped(line.slice(first + 1, keyBytesAt));
    if (key.length === 0 || key.length > MAX_KEY_BYTES)
      throw this.#wrong(`a key of 1 to ${MAX_KEY_BYTES} bytes`, `one of ${key.length}`);
    request.key = this.#key.subarray(0, this.#key.write(key, 'latin1'));
    this.#number(line.slice(keyBytesAt + 1, bytesAt), 'a key size', Infinity);
    request.bytes = this.#number(line.slice(bytesAt + 1, clientAt), 'a value size', MAX_VALUE_BYTES);
    request.client = line.slice(clientAt + 1, operationAt);
    if (request.client === '') throw this.#wrong('a client id', 'none');
    const operation = line.slice(operationAt + 1, ttlAt);
    if (!known.has(operation))
      throw this.#wrong(`an operation (${operations.join(', ')})`, quoted(operation));
    request.operation = operation as Operation;
    const ttl = line.slice(ttlAt + 1);
    request.ttl = ttl === '-1' ? -1 : this.#number(ttl, 'a TTL in whole seconds', MAX_SECOND >>> 1);
    this.#take(request);
  }

  #number(text: string, what: string, most: number): number {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : -1;
    if (value < 0) throw this.#wrong(what, quoted(text));
    if (value > most) throw this.#wrong(`${what} of at most ${most}`, text);
    return value;
  }

  #wrong(expected: string, got: string): ConvertError {
    return new ConvertError(
      'MALFORMED',
      `${this.#path}, line ${this.#line}: expected ${expected}; got ${got}`,
    );
  }
}

const MAX_QUOTED = 80;

function quoted(text: string): string {
  return JSON.stringify(text.length > MAX_QUOTED ? `${text.slice(0, MAX_QUOTED)}…` : text);
}
