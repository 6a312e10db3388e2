// Privacy: what leaves production is decided here, on every batch, before it is written. Values become tokens of their
// keyed hash and length; keys become others of the same length, one to one; nothing of either reaches the disk.

import { createHmac, randomBytes } from 'node:crypto';
import type { Distribution } from '../protocol/distribution.ts';
import { Opcode, opcodeInfo } from '../protocol/opcode.ts';
import { RowFlag, type Batch } from '../trace/batch.ts';
import { TOKEN_BYTES, TokenKind, hasMaskedAnswer, hasMaskedValue } from '../trace/masked.ts';
import type { TraceMeta } from '../trace/meta.ts';
import { RecorderError } from './error.ts';

export interface PrivacyOptions {
  values: 'full' | 'hash' | 'size';
  /** Decimal numbers of up to twenty digits, and what counters answer, are kept as they are. */
  keepNumbers?: boolean;
  /** Keys are masked with it. */
  maskKey?: Buffer;
  /** So many first bytes of a key stay as they are. */
  keepPrefix?: number;
  /** A masked key is on the same server as the key was. */
  keepRoute?: Distribution;
}

/** The shortest secret that masks are made with. */
const MIN_MASK_KEY_BYTES = 16;

/** The secret of a mask key file, called `path` in messages. @throws RecorderError BAD_OPTION */
export function maskKeyOf(secret: Buffer, path: string): Buffer {
  if (secret.length >= MIN_MASK_KEY_BYTES) return secret;
  throw new RecorderError('BAD_OPTION', `${path}: expected a secret of at least ${MIN_MASK_KEY_BYTES} bytes`);
}

/** What a recording masked with this key calls a user. */
export function maskTenant(tenant: string, maskKey: Buffer): string {
  const mask = new Mask({ values: 'full', maskKey });
  return mask.mask(Buffer.from(tenant)).toString('hex');
}

/** Keys whose mask is remembered. */
const MAX_CACHED = 100_000;
/** Keys from this length on have room for a hash that does not collide; shorter ones are permuted. */
const HASHED_BYTES = 16;
const ALPHABET = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_');
const ROUNDS = 8;
const MAX_NUMBER_BYTES = 20;

export class Mask {
  readonly #values: PrivacyOptions['values'];
  readonly #keepsNumbers: boolean;
  readonly #maskKey: Buffer | undefined;
  readonly #keepPrefix: number;
  readonly #keepRoute: Distribution | undefined;
  /** Without a key file, hashes are of use in this one trace only. */
  readonly #valueKey: Buffer;
  readonly #masked = new Map<string, Buffer>();

  constructor({ values, keepNumbers = false, maskKey, keepPrefix = 0, keepRoute }: PrivacyOptions) {
    this.#values = values;
    this.#keepsNumbers = keepNumbers;
    this.#maskKey = maskKey;
    this.#keepPrefix = keepPrefix;
    this.#keepRoute = keepRoute;
    this.#valueKey = maskKey ?? randomBytes(32);
  }

  /** What the trace says of itself. */
  get privacy(): TraceMeta['privacy'] {
    return {
      values: this.#values,
      keys: this.#maskKey === undefined ? 'clear' : 'masked',
      ...(this.#keepPrefix > 0 && this.#maskKey !== undefined ? { prefix: this.#keepPrefix } : {}),
      ...(this.#values === 'full' ? {} : { numbers: this.#keepsNumbers ? 'clear' : 'masked' }),
    };
  }

  /** Changes the batch, and the heap that it may share with others that come after it. */
  apply(batch: Batch): void {
    if (this.#maskKey !== undefined) this.#maskKeys(batch);
    if (this.#values !== 'full') this.#maskValues(batch);
  }

  #maskKeys(batch: Batch): void {
    const { heap } = batch;
    for (let row = 0; row < batch.count; row++) {
      const opcode = batch.opcode[row]!;
      // The subcommand of STAT and the mechanism of SASL are no keys; what a STAT tells may name some.
      if (opcode === Opcode.stat) batch.answerValueLength[row] = 0;
      else if ((batch.flags[row]! & RowFlag.secret) === 0) {
        this.#maskAt(heap, batch.keyAt[row]!, batch.keyLength[row]!);
        this.#maskAt(heap, batch.answerKeyAt[row]!, batch.answerKeyLength[row]!);
      }
    }
    for (const connection of batch.connections)
      if (connection.tenant !== '')
        connection.tenant = this.mask(Buffer.from(connection.tenant)).toString('hex');
  }

  #maskAt(heap: Buffer, at: number, length: number): void {
    if (length > 0) this.mask(heap.subarray(at, at + length)).copy(heap, at);
  }

  /** Another key of the same length: always the same for the same key, and never that of another key. */
  mask(key: Buffer): Buffer {
    const name = key.toString('latin1');
    let masked = this.#masked.get(name);
    if (masked === undefined) {
      if (this.#masked.size >= MAX_CACHED) this.#masked.clear();
      masked = this.#keepRoute === undefined ? this.#next(key, key, 0) : this.#routed(key, this.#keepRoute);
      this.#masked.set(name, masked);
    }
    return masked;
  }

  /** The first of the masks of a key that its server would have. */
  #routed(key: Buffer, route: Distribution): Buffer {
    const wanted = route(key, 0, key.length);
    let masked = key;
    let attempt = 0;
    // Short keys walk the cycle of their permutation, which ends at the key itself: so no two keys become one.
    do masked = this.#next(masked, key, attempt++);
    while (route(masked, 0, masked.length) !== wanted);
    return masked;
  }

  /** The attempt-th mask of a long key; of a short one, what its permutation makes of `from`. */
  #next(from: Buffer, key: Buffer, attempt: number): Buffer {
    const prefix = from.subarray(0, this.#keepPrefix);
    const rest = from.subarray(prefix.length);
    const hidden =
      rest.length >= HASHED_BYTES ? this.#hashed(rest.length, key, attempt) : this.#permuted(rest, prefix);
    return Buffer.concat([prefix, hidden]);
  }

  /** So many characters of the whole key's hash. */
  #hashed(length: number, key: Buffer, attempt: number): Buffer {
    const out = Buffer.allocUnsafe(length);
    const purpose = attempt === 0 ? 'key' : `key/${attempt}`;
    for (let at = 0, block = 0; at < length; block++) {
      const hash = this.#hmac(purpose, block, key);
      for (let n = 0; n < hash.length && at < length; n++) out[at++] = ALPHABET[hash[n]! & 63]!;
    }
    return out;
  }

  /** A Feistel network over the halves of the key, in half-bytes, so that it works from a single byte on. */
  #permuted(key: Buffer, prefix: Buffer): Buffer {
    const nibbles = Array.from(key).flatMap((byte) => [byte >>> 4, byte & 15]);
    let left = nibbles.slice(0, key.length);
    let right = nibbles.slice(key.length);
    for (let round = 0; round < ROUNDS; round++) {
      const hash = this.#hmac('short', round, Buffer.concat([Buffer.from([key.length, ...right]), prefix]));
      const mixed = left.map((nibble, n) => nibble ^ (hash[n]! & 15));
      left = right;
      right = mixed;
    }
    const all = [...left, ...right];
    return Buffer.from(Array.from(key, (_byte, n) => (all[n * 2]! << 4) | all[n * 2 + 1]!));
  }

  #maskValues(batch: Batch): void {
    for (let row = 0; row < batch.count; row++) {
      const flags = batch.flags[row]!;
      // What is not known is a token already.
      if (hasMaskedValue(batch, row) && (flags & RowFlag.valueUnknown) === 0) {
        const at = this.#token(batch, batch.valueAt[row]!, batch.valueLength[row]!);
        batch.valueAt[row] = at;
        batch.valueLength[row] = batch.heapLength - at;
      }
      if ((flags & RowFlag.answerUnknown) !== 0) continue;
      if (hasMaskedAnswer(batch, row)) {
        const at = this.#token(batch, batch.answerValueAt[row]!, batch.answerValueLength[row]!);
        batch.answerValueAt[row] = at;
        batch.answerValueLength[row] = batch.heapLength - at;
      } else if (!this.#keepsNumbers) this.#blankCounter(batch, row);
    }
  }

  #token(batch: Batch, at: number, length: number): number {
    const value = batch.heap.subarray(at, at + length);
    const isNumber = length <= MAX_NUMBER_BYTES && isDigits(value);
    if (isNumber && this.#keepsNumbers) {
      const to = batch.allocate(1 + length);
      batch.heap[to] = TokenKind.clear;
      batch.heap.copy(batch.heap, to + 1, at, at + length);
      return to;
    }
    const hash = this.#values === 'hash' ? this.#hmac('value', 0, value) : undefined;
    const to = batch.allocate(TOKEN_BYTES);
    batch.heap[to] = isNumber ? TokenKind.digits : TokenKind.bytes;
    batch.heap.writeUInt32LE(length, to + 1);
    if (hash === undefined) batch.heap.fill(0, to + 5, to + TOKEN_BYTES);
    else hash.copy(batch.heap, to + 5, 0, 8);
    return to;
  }

  /** What a counter has become is a number too. */
  #blankCounter(batch: Batch, row: number): void {
    const family = opcodeInfo(batch.opcode[row]!)?.family;
    if (family === 'incr' || family === 'decr') batch.answerValueLength[row] = 0;
  }

  #hmac(domain: string, number: number, data: Buffer): Buffer {
    return createHmac('sha256', this.#maskKey ?? this.#valueKey)
      .update(`${domain} ${number} `)
      .update(data)
      .digest();
  }
}

function isDigits(value: Buffer): boolean {
  for (const byte of value) if (byte < 0x30 || byte > 0x39) return false;
  return value.length > 0;
}
