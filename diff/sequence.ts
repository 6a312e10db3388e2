// The first look at each key: its changes are taken in the order of the trace, and reads where the trace has them between
// these, each executed at some moment of its interval; one item is worked out as they pass. Where stores and reads overtook
// each other, their CAS ids tell the order instead (overlap.ts). As long as that order is possible and the item gives every
// answer, it explains them, and there is nothing to search. Whatever is not plainly so makes the key odd: an order that the
// intervals do not allow, a key that is gone, a concatenation. Odd keys go to the search. So this may call odd what is right,
// and never right what the search refuses: what it accepts is one of the orders that the search may find
// (test/diff/oracle.test.ts).

import { DO_NOT_CREATE, expiryOffset } from '../protocol/expiry.ts';
import { uint32 } from '../protocol/header.ts';
import { isQuiet, mutates, opcodeInfo } from '../protocol/opcode.ts';
import { silentStatus } from '../protocol/semantics.ts';
import { Status } from '../protocol/status.ts';
import type { Batch } from '../trace/batch.ts';
import { Result, type ResultBatch } from '../trace/results.ts';
import { namesVersion, tokenOf } from '../trace/token.ts';
import { Found } from './found.ts';
import type { ReplayClock } from './gather.ts';
import { Following, Held, Known, NONE, NOT_NUMERIC, lifetimeIn, numberOf } from './held.ts';
import { Overtaking } from './overtaking.ts';
import { Sketches } from './sketch.ts';

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

export class Sequences {
  readonly #clock: ReplayClock;
  readonly #sketches = new Sketches();
  readonly #held = new Held();
  readonly #read = new Found();
  readonly #overtaking: Overtaking;

  constructor(clock: ReplayClock) {
    this.#clock = clock;
    this.#overtaking = new Overtaking(this.#held, this.#sketches, clock);
  }

  /** The key was asked for first: what it held before. `null`: nothing; undefined: nobody knows. */
  begin(key: number, held: { value: Buffer; flags: number } | null | undefined): void {
    this.#held.reserve(key + 1);
    if (held === undefined) return;
    if (held === null) this.#held.known[key] = Known.absent;
    else {
      this.#store(key, held.value, 0, held.value.length, held.flags);
      this.#overtaking.remember(key, NONE, -Infinity, Infinity);
    }
  }

  rowsOf(key: number): number {
    return this.#held.rows[key]!;
  }

  /** Of the values that were sent to it, and of the answers that differ. */
  bytesOf(key: number): number {
    return this.#held.bytes[key]!;
  }

  /** Asked once all was seen. */
  isOdd(key: number): boolean {
    if (this.#held.following[key] === Following.byIds && !this.#overtaking.close(key)) this.mark(key);
    return this.#held.following[key] === Following.odd;
  }

  mark(key: number): void {
    this.#held.reserve(key + 1);
    if (this.#held.following[key] === Following.byIds) this.#overtaking.drop(key);
    this.#held.following[key] = Following.odd;
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
    this.#held.rows[key]!++;
    this.#held.bytes[key]! += batch.valueLength[row]! + results.valueLength[resultRow]!;
    if (this.#held.following[key] === Following.odd) return false;
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
    if (this.#held.following[key] === Following.byIds) {
      const fits = isPlain
        ? this.#overtaking.follow(key, family === SET, batch, row, results, resultRow, cas)
        : undefined;
      if (fits !== undefined) return fits;
      if (!this.#overtaking.close(key)) return false;
    }
    // Each is executed at some moment of its interval; changes after all before them, reads after the last change.
    const pointNs = Math.max(fromNs, this.#held.changedNs[key]!, changes ? this.#held.readNs[key]! : 0);
    if (!isPlain) this.#held.last[key] = NONE;
    else if (
      !(toNs >= pointNs) ||
      this.#overtaking.overtakes(key, family === SET, cas) ||
      (family === GET && this.#held.cas[key] === 0 && !this.#shows(key, batch, row, results, resultRow))
    )
      return (
        this.#overtaking.open(key, batch.firstIndex + row) &&
        this.#overtaking.follow(key, family === SET, batch, row, results, resultRow, cas) === true
      );
    if (!(toNs >= pointNs)) return false;
    if (changes) this.#held.changedNs[key] = pointNs;
    else if (pointNs > this.#held.readNs[key]!) this.#held.readNs[key] = pointNs;
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
        const before = this.#held.last[key]!;
        this.#store(key, heap, batch.valueAt[row]!, batch.valueLength[row]!, uint32(heap, extras));
        this.#live(key, uint32(heap, extras + 4), batch, row, fromNs, toNs);
        if (!this.#renamed(key, cas, batch, row)) return false;
        if (isPlain) this.#overtaking.remember(key, before, fromNs, toNs);
        return true;
      }
      case DELETE:
        if (namesVersion(batch, row) ? !this.#isNamed(key, batch, row) : false) return false;
        if (!this.#isThere(key, fromNs)) return false;
        this.#held.known[key] = Known.absent;
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
    return this.#held.known[key] === Known.present && this.#held.mustNs[key]! >= fromNs;
  }

  /** It is absent, or may have expired by then, after every read that found it. */
  #isGone(key: number, toNs: number): boolean {
    const held = this.#held;
    if (held.known[key] === Known.present) {
      const goneNs = Math.max(held.mayNs[key]!, held.readNs[key]!, held.changedNs[key]!);
      if (!(toNs >= goneNs)) return false;
      held.changedNs[key] = goneNs;
    }
    held.known[key] = Known.absent;
    return true;
  }

  /** The version that the request names is the one that is there. */
  #isNamed(key: number, batch: Batch, row: number): boolean {
    const token = tokenOf(batch.casHigh[row]!, batch.casLow[row]!);
    return this.#held.cas[key] !== 0 && this.#held.recordedCas[key] === token;
  }

  #store(key: number, heap: Buffer, at: number, length: number, flags: number): void {
    const sketches = this.#sketches;
    sketches.of(heap, at, length);
    this.#held.known[key] = Known.present;
    this.#held.high[key] = sketches.high;
    this.#held.low[key] = sketches.low;
    this.#held.length[key] = length;
    this.#held.flags[key] = flags;
    this.#held.number[key] = numberOf(heap, at, length);
    this.#held.cas[key] = 0;
    this.#held.recordedCas[key] = 0;
    this.#held.mayNs[key] = Infinity;
    this.#held.mustNs[key] = Infinity;
    this.#held.last[key] = NONE;
  }

  #live(key: number, expiry: number, batch: Batch, row: number, fromNs: number, toNs: number): void {
    if (expiry === 0) {
      this.#held.mayNs[key] = Infinity;
      this.#held.mustNs[key] = Infinity;
      return;
    }
    const { mayLiveNs, mustDieNs } = lifetimeIn(this.#clock, expiry, batch, row);
    this.#held.mayNs[key] = fromNs + mayLiveNs;
    this.#held.mustNs[key] = toNs + mustDieNs;
  }

  /** A new version has an id above all before it, as those of memcached are; else the search decides. */
  #renamed(key: number, cas: number, batch: Batch, row: number): boolean {
    this.#held.cas[key] = cas;
    this.#held.recordedCas[key] = recordedCasOf(batch, row);
    if (cas === 0) return true;
    if (!(cas > this.#held.greatest[key]!)) return false;
    this.#held.greatest[key] = cas;
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
    if (!this.#read.of(batch, row, results, resultRow)) return false;
    const { heap, at, length, flags } = this.#read;
    if (this.#held.known[key] === Known.unknown) {
      // TOUCH shows no value; the search knows items of which a part is not known.
      if (family === TOUCH) return false;
      this.#store(key, heap, at, length, flags);
      if (family === GET) this.#overtaking.remember(key, NONE, -Infinity, Infinity);
    } else {
      if (!this.#isThere(key, fromNs) || this.#held.flags[key] !== flags) return false;
      if (family !== TOUCH && !this.#holds(key, heap, at, length)) return false;
    }
    if (cas !== 0) {
      if (this.#held.cas[key] === 0) {
        if (!(cas > this.#held.greatest[key]!)) return false;
        this.#held.greatest[key] = cas;
        this.#held.cas[key] = cas;
      } else if (this.#held.cas[key] !== cas) return false;
      this.#held.recordedCas[key] = recordedCasOf(batch, row);
    }
    if (family === GET) this.#overtaking.saw(key, cas, fromNs, toNs);
    else {
      const expiry = batch.extrasLength[row] === 4 ? uint32(batch.heap, batch.extrasAt[row]!) : 0;
      this.#live(key, expiry, batch, row, fromNs, toNs);
    }
    return true;
  }

  /** A read whose id is the first that is told of the key found what is there, as far as that is known. */
  #shows(key: number, batch: Batch, row: number, results: ResultBatch, resultRow: number): boolean {
    if (this.#held.known[key] !== Known.present) return true;
    return results.agrees[resultRow] === 1
      ? this.#holds(key, batch.heap, batch.answerValueAt[row]!, batch.answerValueLength[row]!)
      : this.#holds(key, results.heap, results.valueAt[resultRow]!, results.valueLength[resultRow]!);
  }

  #holds(key: number, heap: Buffer, at: number, length: number): boolean {
    if (this.#held.length[key] !== length) return false;
    const sketches = this.#sketches;
    sketches.of(heap, at, length);
    return this.#held.high[key] === sketches.high && this.#held.low[key] === sketches.low;
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
    if (
      this.#held.known[key] === Known.present &&
      this.#isThere(key, fromNs) &&
      toNs < this.#held.mayNs[key]!
    ) {
      const before = this.#held.number[key]!;
      if (before === NOT_NUMERIC) return false;
      sum = family === INCR ? before + delta : Math.max(0, before - delta);
    } else {
      // Near an expiry it may have counted on, or begun anew.
      if (this.#held.known[key] !== Known.absent || !mayCreate(batch, row)) return false;
      sum = initial;
    }
    if (!(sum <= Number.MAX_SAFE_INTEGER) || !(delta <= Number.MAX_SAFE_INTEGER)) return false;
    if (!isSilent) {
      const agrees = results.agrees[resultRow] === 1;
      const from = agrees ? heap : results.heap;
      const at = agrees ? batch.answerValueAt[row]! : results.valueAt[resultRow]!;
      if (uint32(from, at) * TWO32 + uint32(from, at + 4) !== sum) return false;
    }
    const isNew = this.#held.known[key] === Known.absent;
    const digits = Buffer.from(String(sum));
    // What gets shorter is padded, or not.
    if (!isNew && digits.length < this.#held.length[key]!) return false;
    const [flags, mayNs, mustNs] = isNew
      ? [0, Infinity, Infinity]
      : [this.#held.flags[key]!, this.#held.mayNs[key]!, this.#held.mustNs[key]!];
    this.#store(key, digits, 0, digits.length, flags);
    this.#held.mayNs[key] = mayNs;
    this.#held.mustNs[key] = mustNs;
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
