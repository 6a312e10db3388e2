// The bytes of keys and values. A key says which it is; a value says whose it is and which version, so that a wrong one
// is recognised, and is otherwise a stretch of bytes that compress as asked for.

import { hash, mix } from '../laws/hash.ts';
import { MAX_VALUE } from '../model/model.ts';
import { Random } from '../laws/random.ts';

const DIGITS = Buffer.from('0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ');
/** No digit, so that keys of different numbers differ however long they are. */
const FILLER = '.'.charCodeAt(0);
const STRETCH = 1 << 20;
/** Of so many bytes a loop is quicker than a call. */
const LOOPED = 64;
/** The mark of a value: six digits of its key, four of its version. */
const KEY_DIGITS = 6;
const VERSION_DIGITS = 4;
const MARK = KEY_DIGITS + VERSION_DIGITS;
/** What repeats itself, in values that are to compress. */
const PATTERN = Buffer.from('{"id":0,"name":"","tags":[],"on":true},');

const words =
  'user cart item price stock order page view name mail city note open paid sent true false null'.split(' ');

export class Content {
  readonly #pool: Buffer;
  readonly #compressible: number;

  constructor(kind: 'random' | 'text', compressible: number) {
    this.#pool = poolOf(kind);
    this.#compressible = compressible;
  }

  /** Writes a value to the heap at `at`. @param id of the key; a number below 2^53 */
  write(to: Buffer, at: number, bytes: number, id: number, version: number): void {
    const h = hash(version, id, 1);
    const from = h % STRETCH;
    const varied = bytes - Math.floor(bytes * this.#compressible);
    copy(this.#pool, from, to, at, varied);
    if (varied < bytes) to.fill(PATTERN, at + varied, at + bytes);
    if (bytes >= MARK) {
      digits(to, at, KEY_DIGITS, mix(id % 0x1_0000_0000));
      digits(to, at + KEY_DIGITS, VERSION_DIGITS, version);
    } else if (bytes > 0) digits(to, at, Math.min(bytes, VERSION_DIGITS), version);
  }
}

/** By kind, of all contents of this thread. */
const pools = new Map<string, Buffer>();

function poolOf(kind: 'random' | 'text'): Buffer {
  let pool = pools.get(kind);
  if (pool !== undefined) return pool;
  pool = Buffer.allocUnsafe(STRETCH + MAX_VALUE);
  const random = new Random(7);
  if (kind === 'random') for (let at = 0; at < pool.length; at++) pool[at] = random.uint32() >>> 24;
  else
    for (let at = 0; at < pool.length;)
      at += pool.write(`${random.pick(words)}=${random.int(10_000)} `, at, 'latin1');
  pools.set(kind, pool);
  return pool;
}

function copy(from: Buffer, start: number, to: Buffer, at: number, bytes: number): void {
  if (bytes > LOOPED) from.copy(to, at, start, start + bytes);
  else for (let n = 0; n < bytes; n++) to[at + n] = from[start + n]!;
}

/** How many digits the numbers below n have. */
export function widthOf(n: number): number {
  let width = 1;
  while (62 ** width < n) width++;
  return width;
}

/** Writes a key to the heap at `at`: prefix, sort, number; longer where it has to be. Returns its length. */
export function writeKey(
  to: Buffer,
  at: number,
  prefix: Buffer,
  sort: number,
  id: number,
  width: number,
  wanted: number,
): number {
  const length = keyLength(prefix, width, wanted);
  for (let i = 0; i < prefix.length; i++) to[at + i] = prefix[i]!;
  to[at + prefix.length] = sort;
  const start = at + prefix.length + 1;
  digits(to, start, width, id);
  for (let i = start + width; i < at + length; i++) to[i] = FILLER;
  return length;
}

/** Bytes of a key. @param width of its number, digits @param wanted at least, where that is not too long */
export function keyLength(prefix: Buffer, width: number, wanted: number): number {
  return Math.min(250, Math.max(wanted, prefix.length + 1 + width));
}

/** Numbers below this are divided as whole ones. */
const WHOLE = 2 ** 31;

function digits(to: Buffer, at: number, width: number, value: number): void {
  let left = value;
  let i = at + width - 1;
  for (; i >= at && left >= WHOLE; i--) {
    const next = Math.floor(left / 62);
    to[i] = DIGITS[left - next * 62]!;
    left = next;
  }
  for (let whole = left | 0; i >= at; i--) {
    const next = (whole / 62) | 0;
    to[i] = DIGITS[whole - next * 62]!;
    whole = next;
  }
}
