// The requests of one connection that wait for their answers, and which of them an answer is to. memcached answers in
// order, so an answer to the n-th proves that the quiet ones before it were silent. Other servers answer in another order,
// or a quiet request under its loud opcode: they are followed by opaque, as far as opaques are unique among what is under way.

import { HEADER_BYTES, extrasLengthAt, keyLengthAt } from '../protocol/header.ts';
import { Opcode, echoesKey, isQuiet, loudOf } from '../protocol/opcode.ts';
import { Outstanding } from '../protocol/outstanding.ts';
import { ConnectionEnd, NEVER, Outcome, RowFlag } from '../trace/batch.ts';
import { Overtaken } from './overtaken.ts';
import type { Window } from './window.ts';

/** A request that waits longer than this many others on its connection is forgotten: its answer is not coming. */
const MAX_OUTSTANDING = 1 << 20;
/** Requests that wait on all connections together, beyond which the oldest of the busy one is forgotten. */
const MAX_ALL_OUTSTANDING = 1 << 22;

// A search that ends with a pair is paid by the requests that it passes, since they leave. One that finds nothing is paid
// out of an account: so much to begin with, so much for each request; while it is overdrawn, searches look at the first few
// only. So no traffic costs more than its length.
const FIRST_STEPS = 65_536;
const STEPS_A_REQUEST = 16;
const STEPS_WITHOUT_CREDIT = 64;

/** Requests that wait, of all connections. */
export interface Waiting {
  outstanding: number;
}

const GONE = -1;

export class Pairing {
  readonly #window: Window;
  readonly #waiting: Waiting;
  readonly #requests = new Outstanding();
  /** No response was paired yet since the beginning, or since a hole: an unknown one is no anomaly then. */
  untied: boolean;
  /** A request was sent that a server always answers. */
  expectsAnswers = false;
  /** What answered() found last was no longer under way: nothing is to be dropped. */
  wasOvertaken = false;
  /** It found none that the answer could be to. */
  isOrphan = false;
  #left = 0;
  #steps = FIRST_STEPS;
  /** Requests were lost, or given up: an answer may be to one of them, however much it looks like another's. */
  #owesAnswers = false;
  #answeredSinceGap = false;
  /** The client sends without waiting for the answer: that one came does not say that none is to come. */
  #pipelines = false;
  #lastOpaque = -1;
  /** The client gives each request an opaque of its own: an answer cannot be mistaken. */
  #opaquesDiffer = false;
  /** It always did. */
  #areDistinct = true;
  /** Requests from this number on were framed after a hole. */
  #foundAt = 0;
  // Over UDP, what is answered is one of the requests between the first two, and says nothing of those before the third.
  #from = 0;
  #to = Infinity;
  #toldFrom = 0;
  /** Requests up to this number may have been answered in a hole. */
  #unseenTo = 0;
  /** The server answers quiet requests under their loud opcodes. */
  #answersLoud = false;
  /** The server has answered a request after one behind it: that later ones were answered proves no silence. */
  #isUnordered = false;
  #overtaken: Overtaken | undefined;
  // Up to which request those with this opcode and opaque are marked as ambiguous; all with a number below #doubtTo are.
  #markedOpcode = -1;
  #markedOpaque = 0;
  #markedTo = 0;
  #doubtTo = 0;

  constructor(window: Window, waiting: Waiting, untied: boolean) {
    this.#window = window;
    this.#waiting = waiting;
    this.untied = untied;
  }

  /** Requests so far: each has the number of those before it. */
  get count(): number {
    return this.#left + this.#requests.length;
  }

  /** Requests under way. */
  get length(): number {
    return this.#requests.length;
  }

  /** None was answered, or given up, before those under way. */
  get isFirst(): boolean {
    return this.#left === 0;
  }

  /** Of the oldest request under way: the window's number of its row, its opcode and its opaque. */
  get headRow(): number {
    return this.#requests.row[this.#requests.slot(0)]!;
  }

  get headOpcode(): number {
    return this.#requests.opcode[this.#requests.slot(0)]!;
  }

  get headOpaque(): number {
    return this.#requests.opaque[this.#requests.slot(0)]!;
  }

  /** An answer with these cannot be mistaken: one of the last requests has them, and each has an opaque of its own. */
  expects(opcode: number, opaque: number): boolean {
    return this.#areDistinct && this.#requests.has(opcode, opaque, STEPS_WITHOUT_CREDIT);
  }

  /** The oldest request was under way when answers were cut: the first part of its own may be among them. */
  get isHeadCut(): boolean {
    return this.#left < this.#unseenTo;
  }

  push(row: number, opcode: number, opaque: number): void {
    const requests = this.#requests;
    this.#opaquesDiffer = opaque !== this.#lastOpaque;
    if (!this.#opaquesDiffer && this.#areDistinct) {
      this.#areDistinct = false;
      if (this.#left < this.#unseenTo) this.giveUp();
    }
    this.#lastOpaque = opaque;
    if (isQuiet[opcode] === 0) this.expectsAnswers = true;
    // While answers are missing, some requests only seem to be under way.
    if (requests.length > 0 && !this.untied) {
      const last = requests.opcode[requests.slot(requests.length - 1)]!;
      if (isQuiet[last] === 0) this.#pipelines = true;
    }
    // The client goes on after it was answered, with nothing under way: it has all its answers.
    if (requests.length === 0 && this.#answeredSinceGap && !this.#pipelines) this.#owesAnswers = false;
    const isFull = this.#waiting.outstanding >= MAX_ALL_OUTSTANDING && requests.length > 0;
    if (isFull || requests.length === MAX_OUTSTANDING) {
      this.#window.complete(this.headRow, Outcome.indeterminate, NEVER);
      this.drop(1);
    }
    requests.push(row, opcode, opaque);
    this.#waiting.outstanding++;
    if (this.#steps < FIRST_STEPS) this.#steps += STEPS_A_REQUEST;
  }

  drop(requests: number): void {
    this.#requests.drop(requests);
    this.#left += requests;
    this.#waiting.outstanding -= requests;
  }

  /**
   * The row that this response answers: the head of what is under way from now on, or one that was overtaken (then
   * `wasOvertaken`). -1: none, or it is not to be known which.
   */
  answered(data: Buffer, at: number, opcode: number, opaque: number, ns: number): number {
    this.wasOvertaken = false;
    this.isOrphan = false;
    const n = this.#find(data, at, opcode, opaque);
    if (this.#owesAnswers) {
      this.#answeredSinceGap = true;
      const isSure =
        n >= 0 && (this.#opaquesDiffer || (echoesKey[opcode] === 1 && keyLengthAt(data, at) > 0));
      if (isSure || (this.#requests.length === 0 && !this.#pipelines)) this.#owesAnswers = false;
      else if (n >= 0) {
        this.#giveUpFirst();
        return GONE;
      }
    }
    if (n < 0) {
      const late = this.#late(opcode, opaque);
      // Before the first match, responses may answer requests that the capture has not seen.
      this.isOrphan = late < 0 && !this.untied;
      return late;
    }
    const wasUntied = this.untied;
    this.untied = false;
    if (n > 0) this.#skip(n, ns, wasUntied);
    const asked = this.headOpcode;
    if (isQuiet[asked] === 1 && echoesKey[asked] === 0) this.#markAmbiguous(asked, opaque);
    return this.headRow;
  }

  /**
   * Bytes are missing: what is under way may have been answered, or not have arrived. `wasCut`: the packet that had them is
   * there, so nothing else is missing, and both directions are told in their order.
   */
  hole(inRequests: boolean, wasCut = false): void {
    if (wasCut && this.#areDistinct) {
      // Answers to what is missing cannot be mistaken for others; what is answered in the hole is passed over unseen.
      if (inRequests) this.#owe();
      else this.#unseenTo = this.count;
      this.untied = true;
      return;
    }
    if ((this.#pipelines && this.#requests.length > 0) || inRequests) this.#owe();
    this.giveUp();
    this.untied = true;
  }

  /** Answers to what was lost are still to come. */
  #owe(): void {
    this.#owesAnswers = true;
    this.#answeredSinceGap = false;
  }

  /** Framing of requests was found again: those to come may turn out to be none. */
  found(): void {
    this.#foundAt = this.count;
  }

  /** Nothing is known any more of what is under way. */
  giveUp(): void {
    for (let n = 0; n < this.#requests.length; n++)
      this.#close(this.#requests.row[this.#requests.slot(n)]!, Outcome.gap, NEVER);
    this.drop(this.#requests.length);
    this.#overtaken?.giveUp(this.#window);
  }

  /** The last few were no requests: they looked like some, in the middle of a stream. */
  cancelLast(count: number): void {
    const requests = this.#requests;
    const fakes = Math.min(count, requests.length);
    for (let n = requests.length - fakes; n < requests.length; n++)
      this.#window.cancel(requests.row[requests.slot(n)]!);
    requests.length -= fakes;
    this.#waiting.outstanding -= fakes;
  }

  /** What is answered next is one of the requests from number `from` to `to`, and says nothing of those before `toldFrom`. */
  answering(from: number, to: number, toldFrom: number): void {
    this.#from = from;
    this.#to = to;
    this.#toldFrom = toldFrom;
  }

  /**
   * The server says that it has nothing to answer to the requests from number `from` to `to`. memcached says so once where the
   * first few of a datagram are silent, and answers others of it after that: they stay under way until the next of these.
   */
  silent(from: number, to: number, ns: number): void {
    const requests = this.#requests;
    for (let n = Math.max(0, from - this.#left); n < Math.min(to - this.#left, requests.length); n++) {
      const slot = requests.slot(n);
      if (isQuiet[requests.opcode[slot]!] === 1) this.#close(requests.row[slot]!, Outcome.silent, ns);
    }
    while (requests.length > 0 && this.#left < from && this.#window.isSilent(this.headRow)) this.drop(1);
  }

  /** An answer to one of the requests from number `from` to `to` is missing: any but the first, where that is silent. */
  lost(from: number, to: number): void {
    const requests = this.#requests;
    for (let n = Math.max(0, from - this.#left); n < Math.min(to - this.#left, requests.length); n++) {
      const row = requests.row[requests.slot(n)]!;
      const isFirst = this.#left + n === from;
      if (!isFirst || !this.#window.isSilent(row)) this.#window.complete(row, Outcome.gap, NEVER);
    }
  }

  /** Unless the server has said that it has nothing to answer. */
  #close(row: number, outcome: Outcome, ns: number): void {
    if (!this.#window.isSilent(row)) this.#window.complete(row, outcome, ns);
  }

  settleAtEnd(how: ConnectionEnd, isReadable: boolean, ns: number): void {
    const requests = this.#requests;
    const closed = how !== ConnectionEnd.open;
    // The server flushes earlier replies before it obeys a QUIT: silence up to there is proven by the close.
    const last = requests.length > 0 ? requests.opcode[requests.slot(requests.length - 1)]! : -1;
    const quit = last === Opcode.quit || last === Opcode.quitq;
    const proven = closed && isReadable && quit && how !== ConnectionEnd.reset;
    for (let n = 0; n < requests.length; n++) {
      const slot = requests.slot(n);
      const row = requests.row[slot]!;
      const quiet = isQuiet[requests.opcode[slot]!] === 1;
      if (this.#left + n < this.#unseenTo) this.#window.complete(row, Outcome.gap, NEVER);
      else if (this.#window.isClosed(row)) continue;
      else if (quiet && proven) this.#window.complete(row, Outcome.silent, ns);
      // A client that said QUIT resets what comes after: the answer may have been sent, and be missing from the capture.
      else if (quit && how === ConnectionEnd.reset && n === requests.length - 1)
        this.#window.complete(row, Outcome.indeterminate, NEVER);
      else if (!quiet && closed && isReadable) this.#window.complete(row, Outcome.unanswered, NEVER);
      else this.#window.complete(row, Outcome.indeterminate, NEVER);
    }
    this.drop(requests.length);
    this.#overtaken?.giveUp(this.#window);
  }

  /** How many places behind the head the request stands that this response answers; -1 where there is none. */
  #find(data: Buffer, at: number, opcode: number, opaque: number): number {
    const keyLength = echoesKey[opcode] === 1 ? keyLengthAt(data, at) : 0;
    const key = at + HEADER_BYTES + extrasLengthAt(data, at);
    const n = this.#search(data, key, keyLength, opcode, opaque, this.#answersLoud);
    if (n >= 0 || this.#answersLoud || isQuiet[opcode] === 1) return n;
    const quiet = this.#search(data, key, keyLength, opcode, opaque, true);
    if (quiet >= 0 && !this.untied) this.#answersLoud = true;
    return quiet;
  }

  /** @param folded the answer's opcode is the loud one of what was asked */
  #search(
    data: Buffer,
    key: number,
    keyLength: number,
    opcode: number,
    opaque: number,
    folded: boolean,
  ): number {
    const requests = this.#requests;
    const { length } = requests;
    const first = Math.max(0, this.#from - this.#left);
    const stop = Math.min(length, this.#to - this.#left);
    const most = this.#steps > 0 ? stop : Math.min(stop, first + STEPS_WITHOUT_CREDIT);
    for (let n = first; n < most; n++) {
      const slot = requests.slot(n);
      if (requests.opaque[slot] !== opaque) continue;
      const asked = requests.opcode[slot]!;
      if (asked !== opcode && (!folded || loudOf(asked) !== opcode)) continue;
      const row = requests.row[slot]! - this.#window.base;
      if (keyLength === 0 || row < 0) return n;
      const { heap, keyAt, keyLength: lengths } = this.#window.batch;
      const from = keyAt[row]!;
      if (data.compare(heap, from, from + lengths[row]!, key, key + keyLength) === 0) return n;
    }
    this.#steps -= Math.max(0, most - first);
    return -1;
  }

  /** A response to the n-th request: what became of those before it. */
  #skip(n: number, ns: number, wasUntied: boolean): void {
    const requests = this.#requests;
    // Framing was found again in the middle of a stream, and a server that answers in order has passed these over: they were
    // no requests, but bytes of a value that look like some.
    const fakesFrom = Math.max(this.#foundAt, this.#unseenTo) - this.#left;
    const fakesTo = wasUntied ? this.#loudBefore(n) : 0;
    for (let skipped = 0; skipped < n; skipped++) {
      const slot = requests.slot(skipped);
      const row = requests.row[slot]!;
      if (skipped >= fakesFrom && skipped < fakesTo) {
        this.#window.cancel(row);
        continue;
      }
      if (this.#left + skipped < this.#unseenTo) {
        this.#window.complete(row, Outcome.gap, NEVER);
        continue;
      }
      if (this.#window.isClosed(row)) continue;
      const opcode = requests.opcode[slot]!;
      const quiet = isQuiet[opcode] === 1;
      if (!quiet) this.#window.doubt(row);
      else if (this.#isUnordered || this.#left + skipped < this.#toldFrom)
        this.#window.complete(row, Outcome.indeterminate, NEVER);
      else this.#window.complete(row, Outcome.silent, ns);
      if (quiet && this.#left + skipped < this.#doubtTo) this.#window.flag(row, RowFlag.ambiguous);
      this.#overtaken ??= new Overtaken();
      this.#overtaken.push(row, opcode, requests.opaque[slot]!, this.#window);
    }
    this.drop(n);
  }

  /** Of the first n: how many there are up to the last loud one. */
  #loudBefore(n: number): number {
    const requests = this.#requests;
    while (n > 0 && isQuiet[requests.opcode[requests.slot(n - 1)]!] === 1) n--;
    return n;
  }

  /** A response to nothing under way: to one that another answer has overtaken? */
  #late(opcode: number, opaque: number): number {
    if (this.untied || this.#overtaken === undefined || !this.#isUnique(opaque)) return GONE;
    const row = this.#overtaken.take(opcode, opaque);
    if (row === GONE) return GONE;
    this.#isUnordered = true;
    this.wasOvertaken = true;
    return row;
  }

  /** Whether no other request has this opaque, of those that the answer could be to: then it cannot be mistaken. */
  #isUnique(opaque: number): boolean {
    if (this.#lastOpaque === opaque || this.#steps <= 0) return false;
    this.#steps -= this.#requests.length;
    for (let n = 0; n < this.#requests.length; n++)
      if (this.#requests.opaque[this.#requests.slot(n)] === opaque) return false;
    return true;
  }

  /** Quiet requests in one run with the same opcode and opaque: which of them the response answers is a guess. */
  #markAmbiguous(opcode: number, opaque: number): void {
    const requests = this.#requests;
    const isMarked = this.#markedOpcode === opcode && this.#markedOpaque === opaque;
    // Those up to there were seen when the one before was answered.
    let n = isMarked ? Math.max(1, this.#markedTo - this.#left) : 1;
    let found = isMarked && this.#left < this.#markedTo;
    let last = 0;
    for (; n < requests.length; n++) {
      if (this.#steps-- <= 0) {
        // Too many runs within runs: which of them are alike is not looked for any more.
        this.#doubtTo = this.count;
        found = true;
        break;
      }
      const slot = requests.slot(n);
      if (isQuiet[requests.opcode[slot]!] === 0) break;
      if (requests.opcode[slot] !== opcode || requests.opaque[slot] !== opaque) continue;
      last = n;
      this.#window.flag(requests.row[slot]!, RowFlag.ambiguous);
    }
    if (last > 0) found = true;
    if (found || this.#left < this.#doubtTo) this.#window.flag(this.headRow, RowFlag.ambiguous);
    this.#markedOpcode = opcode;
    this.#markedOpaque = opaque;
    this.#markedTo = Math.max(isMarked ? this.#markedTo : 0, this.#left + n);
  }

  /** One of two answers is this request's, and which of them is not to be known. */
  #giveUpFirst(): void {
    this.#window.complete(this.headRow, Outcome.gap, NEVER);
    this.drop(1);
  }
}
