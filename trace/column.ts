// Columns as bytes: each becomes a stream of its own inside a block, in small numbers that compress well. The encoder
// and the decoder stand side by side; docs/trace-format.md says the same to the byte.

import { NEVER } from './batch.ts';
import { Dictionary } from './dictionary.ts';
import { TraceError } from './error.ts';

type Words = Uint16Array | Uint32Array | Uint8Array;

export class ColumnEncoder {
  #out = Buffer.allocUnsafe(1 << 20);
  #at = 0;
  readonly #dictionary = new Dictionary();

  /** Begins a block. */
  begin(): void {
    this.#at = 0;
    this.#dictionary.clear();
  }

  json(value: unknown): void {
    const text = Buffer.from(JSON.stringify(value));
    this.#reserve(text.length + 8);
    this.#varint(text.length);
    text.copy(this.#out, this.#at);
    this.#at += text.length;
  }

  bytes(column: Uint8Array, rows: number): void {
    this.#reserve(rows);
    this.#out.set(column.subarray(0, rows), this.#at);
    this.#at += rows;
  }

  words(column: Words, rows: number): void {
    this.#reserve(rows * 5);
    for (let row = 0; row < rows; row++) this.#varint(column[row]!);
  }

  /** Differences from the row before. */
  deltas(column: Words, rows: number): void {
    this.#reserve(rows * 6);
    let last = 0;
    for (let row = 0; row < rows; row++) {
      this.#signed(column[row]! - last);
      last = column[row]!;
    }
  }

  /** Differences from the last row of the same lane (a connection, for opaques). */
  laneDeltas(column: Words, lane: Uint32Array, rows: number): void {
    this.#reserve(rows * 6);
    const last = new Map<number, number>();
    for (let row = 0; row < rows; row++) {
      this.#signed(column[row]! - (last.get(lane[row]!) ?? 0));
      last.set(lane[row]!, column[row]!);
    }
  }

  /** Times as differences from the row before. */
  times(column: Float64Array, rows: number): void {
    this.#reserve(rows * 9);
    let last = 0;
    for (let row = 0; row < rows; row++) {
      this.#signed(Math.round(column[row]!) - last);
      last = Math.round(column[row]!);
    }
  }

  /** Times as differences from another column of the same row; 0 is NEVER. */
  timesAfter(column: Float64Array, base: Float64Array, rows: number): void {
    this.#reserve(rows * 10);
    for (let row = 0; row < rows; row++) {
      if (column[row] === NEVER) {
        this.#varint(0);
        continue;
      }
      const difference = Math.round(column[row]!) - Math.round(base[row]!);
      this.#varint(difference >= 0 ? difference * 2 + 1 : -difference * 2);
    }
  }

  /** Byte strings: 0 is the empty one, 1 the next new one, n + 2 the one n places back in the dictionary. */
  strings(heap: Buffer, at: Uint32Array, length: Words, rows: number): void {
    this.#reserve(rows * 5);
    const dictionary = this.#dictionary;
    for (let row = 0; row < rows; row++) {
      if (length[row] === 0) {
        this.#varint(0);
        continue;
      }
      const before = dictionary.count;
      const id = dictionary.number(heap, at[row]!, length[row]!);
      this.#varint(id === before ? 1 : before - id + 1);
    }
  }

  /** Ends the block: its streams, then the dictionary. The bytes are the caller's. */
  end(): Buffer {
    const dictionary = this.#dictionary;
    this.#reserve(dictionary.count * 5 + 16);
    const streams = this.#at;
    this.#varint(dictionary.count);
    for (let id = 0; id < dictionary.count; id++) this.#varint(dictionary.lengthOf(id));
    const raw = Buffer.allocUnsafe(4 + this.#at + dictionary.heapLength);
    raw.writeUInt32LE(streams, 0);
    this.#out.copy(raw, 4, 0, this.#at);
    dictionary.heap.copy(raw, 4 + this.#at, 0, dictionary.heapLength);
    return raw;
  }

  #signed(value: number): void {
    this.#varint(value >= 0 ? value * 2 : -value * 2 - 1);
  }

  // Seven bits a byte, the lowest first; division where the number has passed 32 bits.
  #varint(value: number): void {
    const out = this.#out;
    while (value > 0x7fffffff) {
      out[this.#at++] = (value % 128) | 0x80;
      value = Math.floor(value / 128);
    }
    while (value > 0x7f) {
      out[this.#at++] = (value & 0x7f) | 0x80;
      value >>>= 7;
    }
    out[this.#at++] = value;
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#out.length) return;
    const out = Buffer.allocUnsafe(Math.max(this.#at + bytes, this.#out.length * 2));
    this.#out.copy(out, 0, 0, this.#at);
    this.#out = out;
  }
}

export class ColumnDecoder {
  readonly #raw: Buffer;
  readonly #where: string;
  readonly #end: number;
  #at = 4;
  /** Where the dictionary's strings stand in the raw block, which serves as the batch's heap. */
  readonly #stringAt: Uint32Array;
  readonly #stringLength: Uint32Array;
  #told = 0;

  /**
   * @param where for messages: `block 3 at byte 4096`
   * @throws TraceError BROKEN
   */
  constructor(raw: Buffer, where: string) {
    this.#raw = raw;
    this.#where = where;
    if (raw.length < 5) throw this.#broken(`expected at least 5 bytes, got ${raw.length}`);
    this.#end = raw.length;
    const streams = 4 + raw.readUInt32LE(0);
    if (streams >= raw.length)
      throw this.#broken(`its dictionary begins at ${streams} of ${raw.length} bytes`);
    this.#at = streams;
    const count = this.#varint();
    if (count > raw.length - streams) throw this.#broken(`${count} strings in ${raw.length - streams} bytes`);
    this.#stringAt = new Uint32Array(count);
    this.#stringLength = new Uint32Array(count);
    for (let id = 0; id < count; id++) this.#stringLength[id] = this.#varint();
    let at = this.#at;
    for (let id = 0; id < count; id++) {
      this.#stringAt[id] = at;
      at += this.#stringLength[id]!;
    }
    if (at !== raw.length) throw this.#broken(`its strings end at ${at} of ${raw.length} bytes`);
    this.#end = streams;
    this.#at = 4;
  }

  get heap(): Buffer {
    return this.#raw;
  }

  get strings(): number {
    return this.#stringAt.length;
  }

  json(): unknown {
    const length = this.#varint();
    if (length > this.#end - this.#at) throw this.#broken(`a text of ${length} bytes passes the end`);
    const text = this.#raw.toString('utf8', this.#at, this.#at + length);
    this.#at += length;
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw new TraceError('BROKEN', `${this.#where}: expected JSON`, { cause });
    }
  }

  bytes(column: Uint8Array, rows: number): void {
    if (rows > this.#end - this.#at) throw this.#broken(`a column of ${rows} bytes passes the end`);
    column.set(this.#raw.subarray(this.#at, this.#at + rows));
    this.#at += rows;
  }

  words(column: Words, rows: number): void {
    for (let row = 0; row < rows; row++) column[row] = this.#varint();
  }

  deltas(column: Words, rows: number): void {
    let last = 0;
    for (let row = 0; row < rows; row++) column[row] = last += this.#signed();
  }

  laneDeltas(column: Words, lane: Uint32Array, rows: number): void {
    const last = new Map<number, number>();
    for (let row = 0; row < rows; row++) {
      const value = (last.get(lane[row]!) ?? 0) + this.#signed();
      last.set(lane[row]!, value);
      column[row] = value;
    }
  }

  times(column: Float64Array, rows: number): void {
    let last = 0;
    for (let row = 0; row < rows; row++) column[row] = last += this.#signed();
  }

  timesAfter(column: Float64Array, base: Float64Array, rows: number): void {
    for (let row = 0; row < rows; row++) {
      const code = this.#varint();
      if (code === 0) column[row] = NEVER;
      else column[row] = base[row]! + (code % 2 === 1 ? (code - 1) / 2 : -code / 2);
    }
  }

  /** @param ids where given, takes the string's number in the dictionary; 0xffffffff for the empty string */
  stringRefs(at: Uint32Array, length: Words, rows: number, ids?: Uint32Array): void {
    const most = 2 ** (length.BYTES_PER_ELEMENT * 8) - 1;
    for (let row = 0; row < rows; row++) {
      const code = this.#varint();
      if (code === 0) {
        at[row] = 0;
        length[row] = 0;
        if (ids !== undefined) ids[row] = 0xffffffff;
        continue;
      }
      const id = code === 1 ? this.#told++ : this.#told - (code - 1);
      if (id < 0 || id >= this.#stringAt.length)
        throw this.#broken(`string ${id} of ${this.#stringAt.length}`);
      if (this.#stringLength[id]! > most)
        throw this.#broken(`a string of ${this.#stringLength[id]} bytes, at most ${most} fit`);
      at[row] = this.#stringAt[id]!;
      length[row] = this.#stringLength[id]!;
      if (ids !== undefined) ids[row] = id;
    }
  }

  #signed(): number {
    const code = this.#varint();
    return code % 2 === 0 ? code / 2 : -(code + 1) / 2;
  }

  #varint(): number {
    const raw = this.#raw;
    let at = this.#at;
    let value = 0;
    let scale = 1;
    for (;;) {
      if (at >= this.#end) throw this.#broken('a number passes the end of its stream');
      const byte = raw[at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
      scale *= 128;
      if (scale > 2 ** 56) throw this.#broken('a number has more than nine bytes');
    }
    this.#at = at;
    return value;
  }

  #broken(what: string): TraceError {
    return new TraceError('BROKEN', `${this.#where} is broken: ${what}`);
  }
}
