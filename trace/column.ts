// Columns as bytes: each becomes a stream of its own inside a block, in small numbers that compress well. The encoder
// and the decoder stand side by side; docs/trace-format.md says the same to the byte.

import { isRead } from '../protocol/opcode.ts';
import { NEVER } from './batch.ts';
import { Dictionary } from './dictionary.ts';
import { TraceError } from './error.ts';
import { parseJson } from './json.ts';

type Words = Uint16Array | Uint32Array | Uint8Array;

/** What the strings of a block are kept apart by: numbers in a small dictionary are small. */
export const StringKind = { extras: 0, key: 1, value: 2 } as const;
export type StringKind = (typeof StringKind)[keyof typeof StringKind];

/** The number of the empty string, which no dictionary has. */
export const EMPTY = 0xffffffff;

/** Codes of a string column: what is left stands for the dictionary's numbers. */
const StringCode = { empty: 0, expected: 1, next: 2, known: 3 } as const;

export class ColumnEncoder {
  #out = Buffer.allocUnsafe(1 << 16);
  #at = 0;
  readonly #dictionaries = [new Dictionary(), new Dictionary(), new Dictionary()];

  /** Begins a block. */
  begin(): void {
    this.#at = 0;
    for (const dictionary of this.#dictionaries) dictionary.clear();
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
    const last = new Lasts(lane, rows, 0);
    for (let row = 0; row < rows; row++) {
      this.#signed(column[row]! - last.get(lane[row]!));
      last.set(lane[row]!, column[row]!);
    }
  }

  /**
   * CAS tokens' lower halves: 0 as it is; else a difference, from the key's last token for a read, from the largest of
   * the block for whatever makes a new one.
   * @param keys the keys' numbers
   */
  tokens(column: Uint32Array, opcodes: Uint8Array, keys: Uint32Array, rows: number): void {
    this.#reserve(rows * 6);
    const expected = new ExpectedTokens(keys, rows);
    for (let row = 0; row < rows; row++) {
      const token = column[row]!;
      const difference = token - expected.of(opcodes[row]!, keys[row]!);
      if (token === 0) this.#varint(0);
      else {
        this.#varint(difference >= 0 ? difference * 2 + 1 : -difference * 2);
        expected.learn(keys[row]!, token);
      }
    }
  }

  /** The largest of the units in which these times are whole numbers; it is told first. */
  unit(columns: readonly Float64Array[], rows: number): number {
    const unit = columns.every((column) => isWhole(column, MICROSECOND, rows)) ? MICROSECOND : 1;
    this.#reserve(5);
    this.#varint(unit);
    return unit;
  }

  /** Times as differences from the row before, in units. */
  times(column: Float64Array, unit: number, rows: number): void {
    this.#reserve(rows * 9);
    let last = 0;
    for (let row = 0; row < rows; row++) {
      const time = Math.round(column[row]! / unit);
      this.#signed(time - last);
      last = time;
    }
  }

  /** Times as differences from another column of the same row, in units; 0 is NEVER. */
  timesAfter(column: Float64Array, base: Float64Array, unit: number, rows: number): void {
    this.#reserve(rows * 10);
    for (let row = 0; row < rows; row++) {
      if (column[row] === NEVER) {
        this.#varint(0);
        continue;
      }
      const difference = Math.round(column[row]! / unit) - Math.round(base[row]! / unit);
      this.#varint(difference >= 0 ? difference * 2 + 1 : -difference * 2);
    }
  }

  /**
   * Byte strings.
   * @param ids takes their numbers in the dictionary, EMPTY for the empty one
   * @param expected the number that a row is likely to have, where there is an opinion
   */
  strings(
    kind: StringKind,
    heap: Buffer,
    at: Uint32Array,
    length: Words,
    ids: Uint32Array,
    rows: number,
    expected?: Uint32Array | Expectation,
  ): void {
    this.#reserve(rows * 5);
    const dictionary = this.#dictionaries[kind]!;
    const opinion = opinionOf(expected);
    for (let row = 0; row < rows; row++) {
      if (length[row] === 0) {
        this.#varint(StringCode.empty);
        ids[row] = EMPTY;
        opinion.learn(row, EMPTY);
        continue;
      }
      const before = dictionary.count;
      const id = dictionary.number(heap, at[row]!, length[row]!);
      ids[row] = id;
      if (id === before) this.#varint(StringCode.next);
      else if (id === opinion.of(row)) this.#varint(StringCode.expected);
      else this.#varint(id + StringCode.known);
      opinion.learn(row, id);
    }
  }

  /** Ends the block: its streams, then the dictionaries. The bytes are the caller's. */
  end(): Buffer {
    const streams = this.#at;
    let strings = 0;
    for (const dictionary of this.#dictionaries) {
      this.#reserve(dictionary.count * 5 + 16);
      this.#varint(dictionary.count);
      for (let id = 0; id < dictionary.count; id++) this.#varint(dictionary.lengthOf(id));
      strings += dictionary.heapLength;
    }
    const raw = Buffer.allocUnsafe(4 + this.#at + strings);
    raw.writeUInt32LE(streams, 0);
    this.#out.copy(raw, 4, 0, this.#at);
    let to = 4 + this.#at;
    for (const dictionary of this.#dictionaries)
      to += dictionary.heap.copy(raw, to, 0, dictionary.heapLength);
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

/** Captures of microseconds are most. */
const MICROSECOND = 1000;

function isWhole(column: Float64Array, unit: number, rows: number): boolean {
  for (let row = 0; row < rows; row++) if (column[row] !== NEVER && column[row]! % unit !== 0) return false;
  return true;
}

/** What a string column's next row is likely to be: the same on both ways. */
export interface Expectation {
  of(row: number): number;
  learn(row: number, id: number): void;
}

const noOpinion: Expectation = { of: () => EMPTY, learn: () => undefined };

function opinionOf(expected: Uint32Array | Expectation | undefined): Expectation {
  if (expected === undefined) return noOpinion;
  return expected instanceof Uint32Array ? { of: (row) => expected[row]!, learn: () => undefined } : expected;
}

/** No number of the columns. */
const NONE = -1;

/** How many lanes have a place: as many as the largest number below that of rows asks for. */
function denseLanes(lanes: Uint32Array, rows: number): number {
  let count = 0;
  for (let row = 0; row < rows; row++) {
    const lane = lanes[row]!;
    if (lane >= count && lane < rows) count = lane + 1;
  }
  return count;
}

/** The last number of each lane: by place where the lanes' numbers are dense, as those of keys and connections are. */
class Lasts {
  readonly #dense: Float64Array;
  readonly #others = new Map<number, number>();
  readonly #first: number;

  /** @param first what stands for the last of a lane that had none */
  constructor(lanes: Uint32Array, rows: number, first: number) {
    this.#dense = new Float64Array(denseLanes(lanes, rows)).fill(first);
    this.#first = first;
  }

  get(lane: number): number {
    return lane < this.#dense.length ? this.#dense[lane]! : (this.#others.get(lane) ?? this.#first);
  }

  set(lane: number, last: number): void {
    if (lane < this.#dense.length) this.#dense[lane] = last;
    else this.#others.set(lane, last);
  }
}

/** A read answers what was last stored or read under its key. */
export class ExpectedAnswers implements Expectation {
  readonly #byKey: Lasts;
  readonly #keys: Uint32Array;
  readonly #stored: Uint32Array;

  /** @param keys the rows' keys · @param stored the numbers of the requests' values */
  constructor(keys: Uint32Array, stored: Uint32Array) {
    this.#byKey = new Lasts(keys, keys.length, EMPTY);
    this.#keys = keys;
    this.#stored = stored;
  }

  of(row: number): number {
    return this.#byKey.get(this.#keys[row]!);
  }

  learn(row: number, answered: number): void {
    const id = answered === EMPTY ? this.#stored[row]! : answered;
    if (id !== EMPTY) this.#byKey.set(this.#keys[row]!, id);
  }
}

class ExpectedTokens {
  readonly #byKey: Lasts;
  #largest = 0;

  constructor(keys: Uint32Array, rows: number) {
    this.#byKey = new Lasts(keys, rows, NONE);
  }

  of(opcode: number, key: number): number {
    const last = isRead[opcode] === 1 ? this.#byKey.get(key) : NONE;
    return last === NONE ? this.#largest : last;
  }

  learn(key: number, token: number): void {
    this.#byKey.set(key, token);
    if (token > this.#largest) this.#largest = token;
  }
}

/** The largest number that a column holds. */
function mostOf(column: Words): number {
  return 2 ** (column.BYTES_PER_ELEMENT * 8) - 1;
}

/** A request and its answer may each name one of a kind. */
const MAX_STRINGS_PER_ROW = 2;

/** The strings of one kind in a raw block. */
interface Strings {
  at: Uint32Array;
  length: Uint32Array;
  told: number;
}

export class ColumnDecoder {
  readonly #raw: Buffer;
  readonly #where: string;
  readonly #end: number;
  #at = 4;
  /** Where the dictionaries' strings stand in the raw block, which serves as the batch's heap. */
  readonly #strings: Strings[] = [];

  /**
   * @param where for messages: `block 3 at byte 4096`
   * @param rows that the block has: a string stands in its dictionary because a row names it
   * @throws TraceError BROKEN
   */
  constructor(raw: Buffer, where: string, rows: number) {
    this.#raw = raw;
    this.#where = where;
    if (raw.length < 5) throw this.#broken(`expected at least 5 bytes, got ${raw.length}`);
    this.#end = raw.length;
    const streams = 4 + raw.readUInt32LE(0);
    if (streams >= raw.length)
      throw this.#broken(`its dictionary begins at ${streams} of ${raw.length} bytes`);
    this.#at = streams;
    const kinds = Object.keys(StringKind).length;
    for (let kind = 0; kind < kinds; kind++) {
      const count = this.#varint();
      // Each has a byte of its own and one that tells its length.
      if (count > rows * MAX_STRINGS_PER_ROW || count * 2 > raw.length - this.#at)
        throw this.#broken(`${count} strings for ${rows} rows in ${raw.length - this.#at} bytes`);
      const length = new Uint32Array(count);
      for (let id = 0; id < count; id++) {
        length[id] = this.#varint();
        if (length[id] === 0) throw this.#broken(`expected string ${id} to have a byte, got none`);
      }
      this.#strings.push({ at: new Uint32Array(count), length, told: 0 });
    }
    let at = this.#at;
    for (const strings of this.#strings)
      for (const [id, length] of strings.length.entries()) {
        strings.at[id] = at;
        at += length;
      }
    if (at !== raw.length) throw this.#broken(`its strings end at ${at} of ${raw.length} bytes`);
    this.#end = streams;
    this.#at = 4;
  }

  get heap(): Buffer {
    return this.#raw;
  }

  /** How many distinct strings of a kind there are. */
  count(kind: StringKind): number {
    return this.#strings[kind]!.at.length;
  }

  json(): unknown {
    const length = this.#varint();
    if (length > this.#end - this.#at) throw this.#broken(`a text of ${length} bytes passes the end`);
    const text = this.#raw.subarray(this.#at, this.#at + length);
    this.#at += length;
    try {
      return parseJson(text);
    } catch (cause) {
      throw this.#broken((cause as Error).message, cause);
    }
  }

  /** All has been read, and nothing is left over. @throws TraceError BROKEN */
  finish(): void {
    if (this.#at !== this.#end)
      throw this.#broken(`its columns end at ${this.#at} of the ${this.#end} bytes of its streams`);
    for (const { at, told } of this.#strings)
      if (told !== at.length) throw this.#broken(`${at.length} strings, of which its rows name ${told}`);
  }

  bytes(column: Uint8Array, rows: number): void {
    if (rows > this.#end - this.#at) throw this.#broken(`a column of ${rows} bytes passes the end`);
    column.set(this.#raw.subarray(this.#at, this.#at + rows));
    this.#at += rows;
  }

  words(column: Words, rows: number): void {
    const most = mostOf(column);
    for (let row = 0; row < rows; row++) {
      const value = this.#varint();
      if (value > most) throw this.#beyond(row, value, most);
      column[row] = value;
    }
  }

  deltas(column: Words, rows: number): void {
    const most = mostOf(column);
    let last = 0;
    for (let row = 0; row < rows; row++) {
      last += this.#signed();
      if (last < 0 || last > most) throw this.#beyond(row, last, most);
      column[row] = last;
    }
  }

  laneDeltas(column: Words, lane: Uint32Array, rows: number): void {
    const most = mostOf(column);
    const last = new Lasts(lane, rows, 0);
    for (let row = 0; row < rows; row++) {
      const value = last.get(lane[row]!) + this.#signed();
      if (value < 0 || value > most) throw this.#beyond(row, value, most);
      last.set(lane[row]!, value);
      column[row] = value;
    }
  }

  tokens(column: Uint32Array, opcodes: Uint8Array, keys: Uint32Array, rows: number): void {
    const most = mostOf(column);
    const expected = new ExpectedTokens(keys, rows);
    for (let row = 0; row < rows; row++) {
      const code = this.#varint();
      column[row] = 0;
      if (code === 0) continue;
      const token = expected.of(opcodes[row]!, keys[row]!) + (code % 2 === 1 ? (code - 1) / 2 : -code / 2);
      if (token < 0 || token > most) throw this.#beyond(row, token, most);
      column[row] = token;
      expected.learn(keys[row]!, column[row]!);
    }
  }

  unit(): number {
    const unit = this.#varint();
    if (unit !== 1 && unit !== MICROSECOND)
      throw this.#broken(`expected a unit of 1 or 1000 ns, got ${unit}`);
    return unit;
  }

  times(column: Float64Array, unit: number, rows: number): void {
    let last = 0;
    for (let row = 0; row < rows; row++) column[row] = (last += this.#signed()) * unit;
  }

  timesAfter(column: Float64Array, base: Float64Array, unit: number, rows: number): void {
    for (let row = 0; row < rows; row++) {
      const code = this.#varint();
      if (code === 0) column[row] = NEVER;
      else column[row] = base[row]! + (code % 2 === 1 ? (code - 1) / 2 : -code / 2) * unit;
    }
  }

  /** @param ids takes the strings' numbers in the dictionary, EMPTY for the empty one */
  stringRefs(
    kind: StringKind,
    at: Uint32Array,
    length: Words,
    ids: Uint32Array,
    rows: number,
    expected?: Uint32Array | Expectation,
  ): void {
    const most = mostOf(length);
    const strings = this.#strings[kind]!;
    const { at: places, length: lengths } = strings;
    const opinion = opinionOf(expected);
    const isAsked = expected !== undefined;
    for (let row = 0; row < rows; row++) {
      const code = this.#varint();
      let id: number = EMPTY;
      if (code >= StringCode.known) id = code - StringCode.known;
      else if (code === StringCode.next) id = strings.told++;
      else if (code === StringCode.expected) id = opinion.of(row);
      ids[row] = id;
      if (isAsked) opinion.learn(row, id);
      if (code === StringCode.empty) {
        at[row] = 0;
        length[row] = 0;
        continue;
      }
      if (id >= strings.told || id >= places.length) throw this.#broken(`string ${id} of ${places.length}`);
      const bytes = lengths[id]!;
      if (bytes > most) throw this.#broken(`a string of ${bytes} bytes, at most ${most} fit`);
      at[row] = places[id]!;
      length[row] = bytes;
    }
  }

  #signed(): number {
    const code = this.#varint();
    return code % 2 === 0 ? code / 2 : -(code + 1) / 2;
  }

  #varint(): number {
    const raw = this.#raw;
    let at = this.#at;
    if (at < this.#end && raw[at]! < 0x80) {
      this.#at = at + 1;
      return raw[at]!;
    }
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

  #beyond(row: number, value: number, most: number): TraceError {
    return this.#broken(`its row ${row} has ${value} where 0 to ${most} fit`);
  }

  #broken(what: string, cause?: unknown): TraceError {
    return new TraceError('BROKEN', `${this.#where} is broken: ${what}`, { cause });
  }
}
