// The first look at each key: its changes are taken in the order of the trace, and reads where the trace has them between
// these, each executed at some moment of its interval; one item is worked out as they pass. As long as that order is possible and the item gives every answer, it
// explains them, and there is nothing to search. Whatever is not plainly so makes the key odd: an order that the intervals do
// not allow, a key that is gone, a concatenation. Odd keys go to the search. So this may call odd what is right, and never
// right what the search refuses: what it accepts is one of the orders that the search may find (test/diff/oracle.test.ts).

import { DO_NOT_CREATE, expiryOffset, lifetimeOf } from '../protocol/expiry.ts';
import { uint32 } from '../protocol/header.ts';
import { isQuiet, mutates, opcodeInfo } from '../protocol/opcode.ts';
import { silentStatus } from '../protocol/semantics.ts';
import { Status } from '../protocol/status.ts';
import { grown, type Batch } from '../trace/batch.ts';
import { Result, type ResultBatch } from '../trace/results.ts';
import { namesVersion, tokenOf } from '../trace/token.ts';
import type { ReplayClock } from './gather.ts';
import { Sketches } from './sketch.ts';

const Known = { unknown: 0, absent: 1, present: 2 } as const;

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
  #capacity = 0;
  #odd!: Uint8Array;
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
    this.#odd = grown(this.#odd, new Uint8Array(n));
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
    this.#rows = grown(this.#rows, new Uint32Array(n));
    this.#bytes = grown(this.#bytes, new Float64Array(n));
    this.#changedNs.fill(-Infinity, before);
    this.#readNs.fill(-Infinity, before);
    this.#mayNs.fill(Infinity, before);
    this.#mustNs.fill(Infinity, before);
    this.#capacity = n;
  }

  /** The key was asked for first: what it held before. `null`: nothing; undefined: nobody knows. */
  begin(key: number, held: { value: Buffer; flags: number } | null | undefined): void {
    this.#reserve(key + 1);
    if (held === undefined) return;
    if (held === null) this.#known[key] = Known.absent;
    else this.#store(key, held.value, 0, held.value.length, held.flags);
  }

  rowsOf(key: number): number {
    return this.#rows[key]!;
  }

  /** Of the values that were sent to it, and of the answers that differ. */
  bytesOf(key: number): number {
    return this.#bytes[key]!;
  }

  isOdd(key: number): boolean {
    return this.#odd[key] === 1;
  }

  mark(key: number): void {
    this.#reserve(key + 1);
    this.#odd[key] = 1;
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
    if (this.#odd[key] === 1) return false;
    this.#sketches.begin(batch.heap);
    const opcode = batch.opcode[row]!;
    const result = results.result[resultRow];
    const isSilent = result === Result.silent && isQuiet[opcode] === 1;
    if (!isSound || (!isSilent && result !== Result.answered)) {
      if (mutates[opcode] === 0) return true;
      this.#odd[key] = 1;
      return false;
    }
    const status = isSilent
      ? silentStatus(opcode)
      : results.agrees[resultRow] === 1
        ? batch.status[row]!
        : results.status[resultRow]!;
    if (this.#fits(key, batch, row, results, resultRow, status, isSilent)) return true;
    this.#odd[key] = 1;
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
    // Each is executed at some moment of its interval; changes after all before them, reads after the last change.
    const pointNs = Math.max(fromNs, this.#changedNs[key]!, changes ? this.#readNs[key]! : 0);
    if (!(toNs >= pointNs)) return false;
    if (changes) this.#changedNs[key] = pointNs;
    else if (pointNs > this.#readNs[key]!) this.#readNs[key] = pointNs;
    const cas =
      isSilent || status !== Status.ok ? 0 : tokenOf(results.casHigh[resultRow]!, results.casLow[resultRow]!);
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
        this.#store(key, heap, batch.valueAt[row]!, batch.valueLength[row]!, uint32(heap, extras));
        this.#live(key, uint32(heap, extras + 4), batch, row, fromNs, toNs);
        return this.#renamed(key, cas, batch, row);
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
  }

  #live(key: number, expiry: number, batch: Batch, row: number, fromNs: number, toNs: number): void {
    if (expiry === 0) {
      this.#mayNs[key] = Infinity;
      this.#mustNs[key] = Infinity;
      return;
    }
    const { speed, recordedAtSeconds } = this.#clock;
    const { mayLiveNs, mustDieNs } = lifetimeOf(
      expiry,
      speed,
      recordedAtSeconds + batch.requestNs[row]! / 1e9,
    );
    this.#mayNs[key] = fromNs + mayLiveNs;
    this.#mustNs[key] = toNs + mustDieNs;
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
    if (family !== GET) {
      const expiry = batch.extrasLength[row] === 4 ? uint32(batch.heap, batch.extrasAt[row]!) : 0;
      this.#live(key, expiry, batch, row, fromNs, toNs);
    }
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
