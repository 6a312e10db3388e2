// The bytes of keys and values. A key says which it is; a value says whose it is and which version, so that a wrong one
// is recognised, and is otherwise a stretch of bytes that compress as asked for.

import type { Batch } from '../trace/batch.ts';
import { hash, mix } from './hash.ts';
import { Random } from './random.ts';

const DIGITS = Buffer.from('0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ');
/** No digit, so that keys of different numbers differ however long they are. */
const FILLER = '.'.charCodeAt(0);
const STRETCH = 1 << 20;
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
  readonly #pattern: Buffer;
  readonly #compressible: number;

  /** @param largest value, bytes */
  constructor(kind: 'random' | 'text', compressible: number, largest: number) {
    this.#pool = Buffer.allocUnsafe(STRETCH + largest);
    const random = new Random(7);
    if (kind === 'random')
      for (let at = 0; at < this.#pool.length; at++) this.#pool[at] = random.uint32() >>> 24;
    else
      for (let at = 0; at < this.#pool.length;)
        at += this.#pool.write(`${random.pick(words)}=${random.int(10_000)} `, at, 'latin1');
    this.#compressible = compressible;
    this.#pattern = Buffer.alloc(compressible > 0 ? largest : 0, PATTERN);
  }

  /** Writes a value to the heap at `at`. @param id of the key; a number below 2^53 */
  write(to: Buffer, at: number, bytes: number, id: number, version: number): void {
    const h = hash(version, id, 1);
    const from = h % STRETCH;
    const varied = bytes - Math.floor(bytes * this.#compressible);
    this.#pool.copy(to, at, from, from + varied);
    if (varied < bytes) this.#pattern.copy(to, at + varied, 0, bytes - varied);
    if (bytes >= MARK) {
      digits(to, at, KEY_DIGITS, mix(id % 0x1_0000_0000));
      digits(to, at + KEY_DIGITS, VERSION_DIGITS, version);
    } else if (bytes > 0) digits(to, at, Math.min(bytes, VERSION_DIGITS), version);
  }
}

/** How many digits the numbers below n have. */
export function widthOf(n: number): number {
  let width = 1;
  while (62 ** width < n) width++;
  return width;
}

/** Writes a key to the heap: prefix, sort, number; longer where it has to be. Returns its length. */
export function writeKey(
  batch: Batch,
  prefix: Buffer,
  sort: number,
  id: number,
  width: number,
  wanted: number,
): number {
  const length = Math.min(250, Math.max(wanted, prefix.length + 1 + width));
  const at = batch.allocate(length);
  const to = batch.heap;
  for (let i = 0; i < prefix.length; i++) to[at + i] = prefix[i]!;
  to[at + prefix.length] = sort;
  digits(to, at + prefix.length + 1, width, id);
  for (let i = prefix.length + 1 + width; i < length; i++) to[at + i] = FILLER;
  return length;
}

function digits(to: Buffer, at: number, width: number, value: number): void {
  let left = value;
  for (let i = at + width - 1; i >= at; i--) {
    const rest = left % 62;
    to[i] = DIGITS[rest]!;
    left = (left - rest) / 62;
  }
}
