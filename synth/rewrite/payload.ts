// Values as a trace holds them: themselves, or, where it was recorded without values, tokens (trace/masked.ts). A rewrite
// of such a trace makes tokens of tokens, so that nothing is revealed and a replay still compares exactly.

import { parseCounter } from '../../protocol/counter.ts';
import { TOKEN_BYTES, TokenKind, deriveBytes } from '../../trace/masked.ts';
import type { TraceMeta } from '../../trace/meta.ts';
import { mix } from '../laws/hash.ts';
import { empty } from './row.ts';

/** What a value that the rewrite makes begins with, as far as it has room; then which one it is. */
const MARK = '~';
const MARK_BYTES = 8;

export class Payloads {
  /** Tokens stand for the values. */
  readonly isMasked: boolean;
  /** What a counter has become is not in the trace. */
  readonly hidesCounters: boolean;

  constructor({ values, numbers }: TraceMeta['privacy']) {
    this.isMasked = values !== 'full';
    this.hidesCounters = this.isMasked && numbers !== 'clear';
  }

  /** Bytes of the value itself. */
  length(value: Buffer): number {
    if (!this.isMasked || value.length === 0) return value.length;
    return value[0] === TokenKind.clear ? value.length - 1 : value.length >= 5 ? value.readUInt32LE(1) : 0;
  }

  /** What INCR finds; undefined where it is no number. */
  number(value: Buffer): bigint | undefined {
    const bytes = this.#digits(value);
    return bytes === undefined || bytes.length === 0 ? undefined : parseCounter(bytes, bytes.length);
  }

  /** The value that a counter leaves. @param text its digits, padded or not */
  counter(text: string): Buffer {
    return this.#clear(Buffer.from(text));
  }

  /** A value of so many bytes that no other exchange stores. @param draw a number of its own */
  fresh(length: number, draw: number): Buffer {
    if (length === 0) return empty;
    if (this.isMasked) return token(length, mix(draw), mix(draw ^ 0x5bd1e995));
    const value = Buffer.alloc(length, 'memtape.');
    value.write(`${MARK}${draw.toString(36).padStart(MARK_BYTES - 1, '0')}`.slice(0, length), 0, 'latin1');
    return value;
  }

  /** The value made larger, by repeating it, or smaller, by its beginning. Numbers stay: something counts with them. */
  scaled(value: Buffer, factor: number, most: number): Buffer {
    const length = this.length(value);
    const wanted = Math.min(Math.max(most, length), Math.max(1, Math.round(length * factor)));
    if (length === 0 || wanted === length || this.number(value) !== undefined) return value;
    if (!this.isMasked) return wanted < length ? value.subarray(0, wanted) : Buffer.alloc(wanted, value);
    if (value[0] === TokenKind.clear || value.length !== TOKEN_BYTES) return value;
    const other = Buffer.from(value);
    other.writeUInt32LE(wanted, 1);
    return other;
  }

  /** One behind the other; undefined where the values are not in the trace. */
  joined(first: Buffer, second: Buffer): Buffer | undefined {
    if (second.length === 0) return first;
    if (first.length === 0) return second;
    return this.isMasked ? undefined : Buffer.concat([first, second]);
  }

  #digits(value: Buffer): Buffer | undefined {
    if (!this.isMasked || value.length === 0) return value;
    if (value[0] === TokenKind.clear) return value.subarray(1);
    if (value[0] !== TokenKind.digits || value.length !== TOKEN_BYTES) return undefined;
    const length = value.readUInt32LE(1);
    // No number that INCR takes is longer.
    return length > 20
      ? undefined
      : deriveBytes(TokenKind.digits, length, value.readUInt32LE(5), value.readUInt32LE(9));
  }

  #clear(text: Buffer): Buffer {
    return this.isMasked ? Buffer.concat([Buffer.from([TokenKind.clear]), text]) : text;
  }
}

function token(length: number, low: number, high: number): Buffer {
  const value = Buffer.alloc(TOKEN_BYTES);
  value[0] = TokenKind.bytes;
  value.writeUInt32LE(length, 1);
  value.writeUInt32LE(low, 5);
  value.writeUInt32LE(high, 9);
  return value;
}
