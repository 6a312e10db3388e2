// The first look at each key: its changes are taken in the order of the trace, and reads where the trace has them between
// these, each executed at some moment of its interval; one item is worked out as they pass. Where stores and reads overtook
// each other, their CAS ids tell the order instead (overlap.ts). As long as that order is possible and the item gives every
// answer, it explains them, and there is nothing to search. Whatever is not plainly so makes the key odd: an order that the
// intervals do not allow, a key that is gone, a concatenation. Odd keys go to the search. So this may call odd what is right,
// and never right what the search refuses: what it accepts is one of the orders that the search may find
// (test/diff/oracle.test.ts).

import { DO_NOT_CREATE, expiryOffset, lifetimeOf, type Lifetime } from '../protocol/expiry.ts';
import { uint32 } from '../protocol/header.ts';
import { isQuiet, mutates, opcodeInfo } from '../protocol/opcode.ts';
import { silentStatus } from '../protocol/semantics.ts';
import { Status } from '../protocol/status.ts';
import { grown, type Batch } from '../trace/batch.ts';
import { Result, type ResultBatch } from '../trace/results.ts';
import { namesVersion, tokenOf } from '../trace/token.ts';
import type { ReplayClock } from './gather.ts';
import { Overlap, type Version } from './overlap.ts';
import { RecentVersions } from './recent.ts';
import { Sketches } from './sketch.ts';

const Known = { unknown: 0, absent: 1, present: 2 } as const;
/** How a key is followed: in the order of the trace, by its CAS ids for a while, or no more. */
const Course = { inOrder: 0, byIds: 1, odd: 2 } as const;
/** Rows that a replayer has under way at most: so much later in the trace may one stand that left before another. */
const NEAR_ROWS = 1 << 17;
/** There is no version that another may have overtaken. */
const NONE = -1;

const families = [
  'get',
  'gat',
  'touch',
  'set',
  'add',
  'replace',
  'append',
  'prepend',
  'delete',
  'incr',
  'decr',
] as const;
type KeyFamily = (typeof families)[number];
const OTHER = 255;
/** By opcode: the place of its family in the list above. */
const familyOf = Uint8Array.from({ length: 256 }, (_, opcode) => {
  const at = families.indexOf(opcodeInfo(opcode)?.family as KeyFamily);
  return at < 0 ? OTHER : at;
});
const [GET, GAT, TOUCH, SET, ADD, REPLACE, APPEND, PREPEND, DELETE, INCR, DECR] =
  families.keys() as Iterable<number> as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
const TWO32 = 0x1_0000_0000;
const NOT_NUMERIC = -1;

export class Sequences {
  readonly #clock: ReplayClock;
  readonly #sketches = new Sketches();
  readonly #recent = new RecentVersions();
  readonly #overlaps = new Map<number, Overlap>();
  /** What a plain request brings or finds; reused. */
  readonly #version: Version = {
    cas: 0,
    fromNs: 0,
    toNs: 0,
    readFromNs: -Infinity,
    readToNs: Infinity,
    high: 0,
    low: 0,
    length: 0,
    flags: 0,
    number: NOT_NUMERIC,
    expiry: { mayLiveNs: Infinity, mustDieNs: Infinity },
    isMade: true,
  };
  #capacity = 0;
  #course!: Uint8Array;
  #known!: Uint8Array;
  #high!: Int32Array;
  #low!: Int32Array;
  #length!: Uint32Array;
  #flags!: Uint32Array;
  /** The number that the value is, written plainly; or NOT_NUMERIC. */
  #number!: Float64Array;
  /** CAS id of the version that is there, 0: not known; the same in the recording; and the greatest so far. */
  #cas!: Float64Array;
  #recordedCas!: Float64Array;
  #greatest!: Float64Array;
  #mayNs!: Float64Array;
  #mustNs!: Float64Array;
  /** The earliest moments at which the last change and the last read can have been executed. */
  #changedNs!: Float64Array;
  #readNs!: Float64Array;
  /** Where the version that is there stands among the recent ones. */
  #last!: Float64Array;
  #rows!: Uint32Array;
  #bytes!: Float64Array;

  constructor(clock: ReplayClock) {
    this.#clock = clock;
    this.#reserve(4096);
  }

  #reserve(keys: number): void {
    if (keys <= this.#capacity) return;
    const before = this.#capacity;
    const n = Math.max(keys, this.#capacity * 2);
    this.#course = grown(this.#course, new Uint8Array(n));
    this.#known = grown(this.#known, new Uint8Array(n));
    this.#high = grown(this.#high, new Int32Array(n));
    this.#low = grown(this.#low, new Int32Array(n));
    this.#length = grown(this.#length, new Uint32Array(n));
    this.#flags = grown(this.#flags, new Uint32Array(n));
    this.#number = grown(this.#number, new Float64Array(n));
    this.#cas = grown(this.#cas, new Float64Array(n));
    this.#recordedCas = grown(this.#recordedCas, new Float64Array(n));
    this.#greatest = grown(this.#greatest, new Float64Array(n));
    this.#mayNs = grown(this.#mayNs, new Float64Array(n));
    this.#mustNs = grown(this.#mustNs, new Float64Array(n));
    this.#changedNs = grown(this.#changedNs, new Float64Array(n));
    this.#readNs = grown(this.#readNs, new Float64Array(n));
    this.#last = grown(this.#last, new Float64Array(n));
    this.#rows = grown(this.#rows, new Uint32Array(n));
    this.#bytes = grown(this.#bytes, new Float64Array(n));
    this.#changedNs.fill(-Infinity, before);
    this.#readNs.fill(-Infinity, before);
    this.#last.fill(NONE, before);
    this.#mayNs.fill(Infinity, before);
    this.#mustNs.fill(Infinity, before);
    this.#capacity = n;
  }

  /** The key was asked for first: what it held before. `null`: nothing; undefined: nobody knows. */
  begin(key: number, held: { value: Buffer; flags: number } | null | undefined): void {
    this.#reserve(key + 1);
    if (held === undefined) return;
    if (held === null) this.#known[key] = Known.absent;
    else {
      this.#store(key, held.value, 0, held.value.length, held.flags);
      this.#remember(key, NONE, -Infinity, Infinity);
    }
  }

  rowsOf(key: number): number {
    return this.#rows[key]!;
  }

  /** Of the values that were sent to it, and of the answers that differ. */
  bytesOf(key: number): number {
    return this.#bytes[key]!;
  }

  /** Asked once all was seen. */
  isOdd(key: number): boolean {
    if (this.#course[key] === Course.byIds && !this.#close(key)) this.mark(key);
    return this.#course[key] === Course.odd;
  }

  mark(key: number): void {
    this.#reserve(key + 1);
    if (this.#course[key] === Course.byIds) this.#overlaps.delete(key);
    this.#course[key] = Course.odd;
  }

  /**
   * @param isSound the answer has the form of one to this operation
   * @returns false where the key is odd
   */
  see(
    key: number,
    batch: Batch,
    row: number,
    results: ResultBatch,
    resultRow: number,
    isSound: boolean,
  ): boolean {
    this.#rows[key]!++;
    this.#bytes[key]! += batch.valueLength[row]! + results.valueLength[resultRow]!;
    if (this.#course[key] === Course.odd) return false;
    this.#sketches.begin(batch.heap);
    const opcode = batch.opcode[row]!;
    const result = results.result[resultRow];
    const isSilent = result === Result.silent && isQuiet[opcode] === 1;
    if (!isSound || (!isSilent && result !== Result.answered)) {
      if (mutates[opcode] === 0) return true;
      this.mark(key);
      return false;
    }
    const status = isSilent
      ? silentStatus(opcode)
      : results.agrees[resultRow] === 1
        ? batch.status[row]!
        : results.status[resultRow]!;
    if (this.#fits(key, batch, row, results, resultRow, status, isSilent)) return true;
    this.mark(key);
    return false;
  }

  #fits(
    key: number,
    batch: Batch,
    row: number,
    results: ResultBatch,
    resultRow: number,
    status: number,
    isSilent: boolean,
  ): boolean {
    const family = familyOf[batch.opcode[row]!]!;
    if (family === OTHER) return true;
    const fromNs = results.sentNs[resultRow]!;
    const toNs = results.answeredNs[resultRow]!;
    const changes = family !== GET && (status === Status.ok || family === SET);
    const cas =
      isSilent || status !== Status.ok ? 0 : tokenOf(results.casHigh[resultRow]!, results.casLow[resultRow]!);
    const isPlain = cas !== 0 && (family === GET || (family === SET && isPlainStore(batch, row)));
    const isByIds = this.#course[key] === Course.byIds;
    if (isByIds && isPlain && this.#isNear(key, batch.firstIndex + row))
      return this.#join(key, family, batch, row, results, resultRow, cas);
    if (isByIds && !this.#close(key)) return false;
    // Each is executed at some moment of its interval; changes after all before them, reads after the last change.
    const pointNs = Math.max(fromNs, this.#changedNs[key]!, changes ? this.#readNs[key]! : 0);
    if (!isPlain) this.#last[key] = NONE;
    else if (!(toNs >= pointNs) || this.#overtakes(key, family, cas))
      return (
        this.#open(key, batch.firstIndex + row) &&
        this.#join(key, family, batch, row, results, resultRow, cas)
      );
    if (!(toNs >= pointNs)) return false;
    if (changes) this.#changedNs[key] = pointNs;
    else if (pointNs > this.#readNs[key]!) this.#readNs[key] = pointNs;
    switch (status) {
      case Status.ok:
        break;
      case Status.notFound:
        if (family === SET || family === ADD) return false;
        if ((family === INCR || family === DECR) && mayCreate(batch, row)) return false;
        return this.#isGone(key, toNs);
      case Status.notStored:
        return (family === APPEND || family === PREPEND) && this.#isGone(key, toNs);
      case Status.exists:
        return family === ADD && !namesVersion(batch, row) && this.#isThere(key, fromNs);
      default:
        return false;
    }
    switch (family) {
      case GET:
      case GAT:
      case TOUCH:
        return this.#found(key, family, batch, row, results, resultRow, fromNs, toNs, cas);
      case SET:
      case ADD:
      case REPLACE: {
        if (namesVersion(batch, row)) {
          if (!this.#isNamed(key, batch, row) || !this.#isThere(key, fromNs)) return false;
        } else if (
          family === ADD ? !this.#isGone(key, toNs) : family === REPLACE && !this.#isThere(key, fromNs)
        )
          return false;
        if (batch.extrasLength[row] !== 8) return false;
        const { heap } = batch;
        const extras = batch.extrasAt[row]!;
        const before = this.#last[key]!;
        this.#store(key, heap, batch.valueAt[row]!, batch.valueLength[row]!, uint32(heap, extras));
        this.#live(key, uint32(heap, extras + 4), batch, row, fromNs, toNs);
        if (!this.#renamed(key, cas, batch, row)) return false;
        if (isPlain) this.#remember(key, before, fromNs, toNs);
        return true;
      }
      case DELETE:
        if (namesVersion(batch, row) ? !this.#isNamed(key, batch, row) : false) return false;
        if (!this.#isThere(key, fromNs)) return false;
        this.#known[key] = Known.absent;
        return true;
      case INCR:
      case DECR:
        return (
          !namesVersion(batch, row) &&
          this.#counted(key, family, batch, row, results, resultRow, isSilent, cas)
        );
      default:
        // What was concatenated is worked out by the search.
        return false;
    }
  }

  #isThere(key: number, fromNs: number): boolean {
    return this.#known[key] === Known.present && this.#mustNs[key]! >= fromNs;
  }

  /** It is absent, or may just have expired. */
  #isGone(key: number, toNs: number): boolean {
    if (this.#known[key] === Known.present && !(toNs >= this.#mayNs[key]!)) return false;
    this.#known[key] = Known.absent;
    return true;
  }

  /** The version that the request names is the one that is there. */
  #isNamed(key: number, batch: Batch, row: number): boolean {
    const token = tokenOf(batch.casHigh[row]!, batch.casLow[row]!);
    return this.#cas[key] !== 0 && this.#recordedCas[key] === token;
  }

  #store(key: number, heap: Buffer, at: number, length: number, flags: number): void {
    const sketches = this.#sketches;
    sketches.of(heap, at, length);
    this.#known[key] = Known.present;
    this.#high[key] = sketches.high;
    this.#low[key] = sketches.low;
    this.#length[key] = length;
    this.#flags[key] = flags;
    this.#number[key] = numberOf(heap, at, length);
    this.#cas[key] = 0;
    this.#recordedCas[key] = 0;
    this.#mayNs[key] = Infinity;
    this.#mustNs[key] = Infinity;
    this.#last[key] = NONE;
  }

  #live(key: number, expiry: number, batch: Batch, row: number, fromNs: number, toNs: number): void {
    if (expiry === 0) {
      this.#mayNs[key] = Infinity;
      this.#mustNs[key] = Infinity;
      return;
    }
    const { mayLiveNs, mustDieNs } = this.#lifetime(expiry, batch, row);
    this.#mayNs[key] = fromNs + mayLiveNs;
    this.#mustNs[key] = toNs + mustDieNs;
  }

  #lifetime(expiry: number, batch: Batch, row: number): Lifetime {
    const { speed, recordedAtSeconds } = this.#clock;
    return lifetimeOf(expiry, speed, recordedAtSeconds + batch.requestNs[row]! / 1e9);
  }

  /** A new version has an id above all before it, as those of memcached are; else the search decides. */
  #renamed(key: number, cas: number, batch: Batch, row: number): boolean {
    this.#cas[key] = cas;
    this.#recordedCas[key] = recordedCasOf(batch, row);
    if (cas === 0) return true;
    if (!(cas > this.#greatest[key]!)) return false;
    this.#greatest[key] = cas;
    return true;
  }

  #found(
    key: number,
    family: number,
    batch: Batch,
    row: number,
    results: ResultBatch,
    resultRow: number,
    fromNs: number,
    toNs: number,
    cas: number,
  ): boolean {
    const agrees = results.agrees[resultRow] === 1;
    const heap = agrees ? batch.heap : results.heap;
    const extrasLength = agrees ? batch.answerExtrasLength[row] : results.extrasLength[resultRow];
    if (extrasLength !== 4) return false;
    const flags = uint32(heap, agrees ? batch.answerExtrasAt[row]! : results.extrasAt[resultRow]!);
    const at = agrees ? batch.answerValueAt[row]! : results.valueAt[resultRow]!;
    const length = agrees ? batch.answerValueLength[row]! : results.valueLength[resultRow]!;
    if (this.#known[key] === Known.unknown) {
      // TOUCH shows no value; the search knows items of which a part is not known.
      if (family === TOUCH) return false;
      this.#store(key, heap, at, length, flags);
      if (family === GET) this.#remember(key, NONE, -Infinity, Infinity);
    } else {
      if (!this.#isThere(key, fromNs) || this.#flags[key] !== flags) return false;
      if (family !== TOUCH && !this.#holds(key, heap, at, length)) return false;
    }
    if (cas !== 0) {
      if (this.#cas[key] === 0) {
        if (!(cas > this.#greatest[key]!)) return false;
        this.#greatest[key] = cas;
        this.#cas[key] = cas;
      } else if (this.#cas[key] !== cas) return false;
      this.#recordedCas[key] = recordedCasOf(batch, row);
    }
    if (family === GET) this.#recent.saw(this.#last[key]!, cas, fromNs, toNs);
    else {
      const expiry = batch.extrasLength[row] === 4 ? uint32(batch.heap, batch.extrasAt[row]!) : 0;
      this.#live(key, expiry, batch, row, fromNs, toNs);
    }
    return true;
  }

  /** The version that is there may change places with what overtook it. @param before place of the one before it */
  #remember(key: number, before: number, fromNs: number, toNs: number): void {
    const version = this.#version;
    version.cas = this.#cas[key]!;
    version.fromNs = fromNs;
    version.toNs = toNs;
    version.high = this.#high[key]!;
    version.low = this.#low[key]!;
    version.length = this.#length[key]!;
    version.flags = this.#flags[key]!;
    version.number = this.#number[key]!;
    const { expiry } = version;
    const [mayNs, mustNs] = [this.#mayNs[key]!, this.#mustNs[key]!];
    expiry.mayLiveNs = mayNs === Infinity ? Infinity : mayNs - fromNs;
    expiry.mustDieNs = mustNs === Infinity ? Infinity : mustNs - toNs;
    this.#last[key] = this.#recent.add(before, this.#changedNs[key]!, version);
  }

  /** The ids say that it was executed elsewhere than the trace has it. */
  #overtakes(key: number, family: number, cas: number): boolean {
    if (this.#known[key] !== Known.present) return false;
    const current = this.#cas[key]!;
    return family === SET || current === 0 ? cas <= this.#greatest[key]! : cas !== current;
  }

  /** From here on the key is followed by its ids. */
  #open(key: number, index: number): boolean {
    this.#sweep(index);
    const recent = this.#recent.upTo(this.#last[key]!);
    if (recent === undefined) return false;
    this.#overlaps.set(key, new Overlap(recent.versions, recent.firstNs));
    this.#course[key] = Course.byIds;
    return true;
  }

  /** It may have left before what was seen of the key last. */
  #isNear(key: number, index: number): boolean {
    return index - this.#overlaps.get(key)!.lastIndex <= NEAR_ROWS;
  }

  /** Closes keys of which nothing was seen for long, of the two that were opened first. */
  #sweep(index: number): void {
    let left = 2;
    for (const [key, overlap] of this.#overlaps) {
      if (left-- === 0) return;
      if (index - overlap.lastIndex > NEAR_ROWS) {
        if (!this.#close(key)) this.mark(key);
      } else {
        this.#overlaps.delete(key);
        this.#overlaps.set(key, overlap);
      }
    }
  }

  #join(
    key: number,
    family: number,
    batch: Batch,
    row: number,
    results: ResultBatch,
    resultRow: number,
    cas: number,
  ): boolean {
    const version = this.#version;
    const fromNs = results.sentNs[resultRow]!;
    const toNs = results.answeredNs[resultRow]!;
    const overlap = this.#overlaps.get(key)!;
    overlap.lastIndex = batch.firstIndex + row;
    if (family === SET) {
      const { heap } = batch;
      const extras = batch.extrasAt[row]!;
      this.#sketch(heap, batch.valueAt[row]!, batch.valueLength[row]!, uint32(heap, extras));
      return overlap.store(cas, fromNs, toNs, version, this.#lifetime(uint32(heap, extras + 4), batch, row));
    }
    const agrees = results.agrees[resultRow] === 1;
    const heap = agrees ? batch.heap : results.heap;
    const extrasLength = agrees ? batch.answerExtrasLength[row] : results.extrasLength[resultRow];
    if (extrasLength !== 4) return false;
    this.#sketch(
      heap,
      agrees ? batch.answerValueAt[row]! : results.valueAt[resultRow]!,
      agrees ? batch.answerValueLength[row]! : results.valueLength[resultRow]!,
      uint32(heap, agrees ? batch.answerExtrasAt[row]! : results.extrasAt[resultRow]!),
    );
    return overlap.read(cas, fromNs, toNs, version);
  }

  #sketch(heap: Buffer, at: number, length: number, flags: number): void {
    const version = this.#version;
    const sketches = this.#sketches;
    sketches.of(heap, at, length);
    version.high = sketches.high;
    version.low = sketches.low;
    version.length = length;
    version.flags = flags;
    version.number = numberOf(heap, at, length);
  }

  /** From here on the key is followed in the order of the trace again. @returns false where no order explains the ids */
  #close(key: number): boolean {
    const closed = this.#overlaps.get(key)!.close();
    this.#overlaps.delete(key);
    this.#course[key] = Course.inOrder;
    if (closed === undefined) return false;
    const { madeNs, version } = closed;
    this.#high[key] = version.high;
    this.#low[key] = version.low;
    this.#length[key] = version.length;
    this.#flags[key] = version.flags;
    this.#number[key] = version.number;
    this.#cas[key] = version.cas;
    // Which recorded version it stands for is not known.
    this.#recordedCas[key] = 0;
    this.#greatest[key] = Math.max(this.#greatest[key]!, version.cas);
    const { mayLiveNs, mustDieNs } = version.expiry;
    this.#mayNs[key] = mayLiveNs === Infinity ? Infinity : version.fromNs + mayLiveNs;
    this.#mustNs[key] = mustDieNs === Infinity ? Infinity : madeNs + mustDieNs;
    this.#changedNs[key] = madeNs;
    this.#readNs[key] = Math.max(madeNs, version.readFromNs);
    this.#remember(key, NONE, version.fromNs, version.toNs);
    return true;
  }

  #holds(key: number, heap: Buffer, at: number, length: number): boolean {
    if (this.#length[key] !== length) return false;
    const sketches = this.#sketches;
    sketches.of(heap, at, length);
    return this.#high[key] === sketches.high && this.#low[key] === sketches.low;
  }

  #counted(
    key: number,
    family: number,
    batch: Batch,
    row: number,
    results: ResultBatch,
    resultRow: number,
    isSilent: boolean,
    cas: number,
  ): boolean {
    if (batch.extrasLength[row] !== 20) return false;
    const { heap } = batch;
    const extras = batch.extrasAt[row]!;
    const fromNs = results.sentNs[resultRow]!;
    const toNs = results.answeredNs[resultRow]!;
    const delta = uint32(heap, extras) * TWO32 + uint32(heap, extras + 4);
    const initial = uint32(heap, extras + 8) * TWO32 + uint32(heap, extras + 12);
    let sum: number;
    if (this.#known[key] === Known.present && this.#isThere(key, fromNs) && toNs < this.#mayNs[key]!) {
      const before = this.#number[key]!;
      if (before === NOT_NUMERIC) return false;
      sum = family === INCR ? before + delta : Math.max(0, before - delta);
    } else {
      // Near an expiry it may have counted on, or begun anew.
      if (this.#known[key] !== Known.absent || !mayCreate(batch, row)) return false;
      sum = initial;
    }
    if (!(sum <= Number.MAX_SAFE_INTEGER) || !(delta <= Number.MAX_SAFE_INTEGER)) return false;
    if (!isSilent) {
      const agrees = results.agrees[resultRow] === 1;
      const from = agrees ? heap : results.heap;
      const at = agrees ? batch.answerValueAt[row]! : results.valueAt[resultRow]!;
      if (uint32(from, at) * TWO32 + uint32(from, at + 4) !== sum) return false;
    }
    const isNew = this.#known[key] === Known.absent;
    const digits = Buffer.from(String(sum));
    // What gets shorter is padded, or not.
    if (!isNew && digits.length < this.#length[key]!) return false;
    const [flags, mayNs, mustNs] = isNew
      ? [0, Infinity, Infinity]
      : [this.#flags[key]!, this.#mayNs[key]!, this.#mustNs[key]!];
    this.#store(key, digits, 0, digits.length, flags);
    this.#mayNs[key] = mayNs;
    this.#mustNs[key] = mustNs;
    if (isNew) this.#live(key, uint32(heap, extras + 16), batch, row, fromNs, toNs);
    return this.#renamed(key, cas, batch, row);
  }
}

/** It stores whatever is there. */
function isPlainStore(batch: Batch, row: number): boolean {
  return batch.extrasLength[row] === 8 && !namesVersion(batch, row);
}

function mayCreate(batch: Batch, row: number): boolean {
  const at = expiryOffset[batch.opcode[row]!]!;
  return batch.extrasLength[row] === 20 && uint32(batch.heap, batch.extrasAt[row]! + at) !== DO_NOT_CREATE;
}

function recordedCasOf(batch: Batch, row: number): number {
  return tokenOf(batch.answerCasHigh[row]!, batch.answerCasLow[row]!);
}

const MAX_DIGITS = 15;

/** The number that these bytes are, written as memcached writes one; or NOT_NUMERIC. */
function numberOf(heap: Buffer, at: number, length: number): number {
  if (length === 0 || length > MAX_DIGITS || (heap[at] === 0x30 && length > 1)) return NOT_NUMERIC;
  let number = 0;
  for (let i = at; i < at + length; i++) {
    const digit = heap[i]! - 0x30;
    if (digit < 0 || digit > 9) return NOT_NUMERIC;
    number = number * 10 + digit;
  }
  return number;
}
