// One direction of a TCP connection: puts segments in order, drops what repeats, holds what came early, in bounded
// memory, and says which bytes will never come. Sequence numbers wrap; inside, offsets that never wrap stand for them.

import { NEVER } from '../trace/batch.ts';
import type { Capture } from '../trace/meta.ts';
import { Proofs } from './proofs.ts';

/** Where ordered bytes go. */
export interface Outlet {
  data(fromClient: boolean, data: Buffer, start: number, end: number, ns: number): void;
  /** `wasCut`: the snap length has cut them off a packet that is there. */
  gap(fromClient: boolean, bytes: number, wasCut: boolean): void;
}

/** What all directions of a capture share. */
export interface Pool {
  capture: Capture;
  /** Bytes held by all directions, overhead included, and how many there may be. */
  heldBytes: number;
  maxHeldBytes: number;
  /**
   * So long may bytes still come that the receiver has acknowledged, or that were sent before a reset: packets of several
   * queues or cores are captured a little out of order. It grows where the two directions of connections are of two hosts
   * whose clocks differ.
   */
  reorderNs: number;
}

// Per direction. A receiver's window is seldom above 4 MiB; past that the hole is a lost packet.
const MAX_HELD_BYTES = 4 * 1024 * 1024;
const MAX_HELD_PIECES = 1024;
/** What a held piece costs besides its bytes. */
const PIECE_BYTES = 500;

/** What the pool's reorderNs begins with, and grows to at most. */
export const REORDER_NS = 10_000_000;
const MAX_REORDER_NS = 60_000_000_000;
/** A direction of which nothing was seen may be in a capture of another host, whose clock is so far behind. */
const UNSEEN_NS = 10_000_000_000;
// No acknowledgement tells (a capture of one direction only): longer than a retransmission usually takes.
const SILENT_HOLE_NS = 5_000_000_000;

// A segment further off than this is a stray, or the capture paused for longer than sequence numbers can tell.
const MAX_BEHIND = 16 * 1024 * 1024;
const MAX_AHEAD = 1024 * 1024 * 1024;
/** So many strays that follow each other are the stream. */
const STRAYS_TO_FOLLOW = 3;

interface Piece {
  at: number;
  end: number;
  ns: number;
  /** Absent: these bytes were on the wire and the snap length cut them. */
  data: Buffer | undefined;
}

export class Direction {
  readonly #outlet: Outlet;
  readonly #fromClient: boolean;
  readonly #pool: Pool;
  /** A first sequence number is known. */
  started = false;
  /** It is known from this direction's own packets, not only from what the other side acknowledged. */
  settled = false;
  /** Sequence number of the stream's first byte. */
  firstSequence = 0;
  /** There may be holes: expire() wants to be called. */
  waiting = false;
  #nextSequence = 0;
  #nextAt = 0;
  /** The furthest byte seen. */
  #seenTo = 0;
  #finAt = NEVER;
  #held: Piece[] = [];
  #heldBytes = 0;
  #heldSince = NEVER;
  readonly #proofs = new Proofs();
  #startedNs = 0;
  /** Bytes up to here were given up since they had been acknowledged, at that time. */
  #givenUpTo = 0;
  #givenUpSince = NEVER;
  #strays = 0;
  #strayNext = 0;

  constructor(outlet: Outlet, fromClient: boolean, pool: Pool) {
    this.#outlet = outlet;
    this.#fromClient = fromClient;
    this.#pool = pool;
  }

  /** All bytes up to the FIN were delivered. */
  get finished(): boolean {
    return this.#finAt !== NEVER && this.#nextAt >= this.#finAt;
  }

  /** Bytes before this sequence number, of which somebody knows, were not delivered yet. */
  lacks(sequence: number): boolean {
    const ahead = (sequence - this.#nextSequence) | 0;
    if (ahead <= 0 || ahead > MAX_AHEAD) return false;
    if (!this.settled) return this.started;
    // A FIN takes a number too, whether or not it was captured.
    if (this.#finAt !== NEVER) return this.#nextAt < this.#finAt;
    return ahead > 1 || this.#isMoreAhead;
  }

  /** Bytes that were delivered, or given up, so far. */
  get offset(): number {
    return this.#nextAt;
  }

  /** How far it is from what was delivered last to this sequence number; negative: it was delivered. */
  distanceTo(sequence: number): number {
    return (sequence - this.#nextSequence) | 0;
  }

  /** Whether more than the next byte is known to come: it is held, or was acknowledged. */
  get #isMoreAhead(): boolean {
    return this.#held.length > 0 || this.#proofs.furthest > this.#nextAt + 1;
  }

  /** Fixes the stream's beginning: `sequence` is that of its first byte. Does nothing once that is settled. */
  start(sequence: number, settled: boolean, ns: number): void {
    if (this.settled) return;
    if (!this.started) this.#startedNs = ns;
    if (!this.started || settled) {
      this.firstSequence = sequence;
      this.#nextSequence = sequence | 0;
      this.#proofs.restart(this.#nextAt);
      this.waiting = false;
    }
    this.started = true;
    this.settled = settled;
  }

  /** data[start, end) and `missing` bytes more, whose first has this sequence number. */
  segment(sequence: number, data: Buffer, start: number, end: number, missing: number, ns: number): void {
    // What the other side acknowledged was only where the stream had come to.
    if (!this.started || (!this.settled && ((sequence - this.#nextSequence) | 0) < 0))
      this.start(sequence, true, ns);
    this.settled = true;
    const distance = (sequence - this.#nextSequence) | 0;
    if (distance === 0 && missing === 0 && !this.waiting && this.#finAt === NEVER) {
      this.#strays = 0;
      this.#emit(data, start, end - start, ns);
      return;
    }
    const length = end - start + missing;
    // A keep-alive repeats the last byte, or sends garbage in its place.
    if (distance === -1 && length === 1) return;
    if (distance < -MAX_BEHIND || distance > MAX_AHEAD) {
      if (!this.#follow(sequence, length, ns)) return;
      this.segment(sequence, data, start, end, missing, ns);
      return;
    }
    this.#strays = 0;
    const at = this.#nextAt + distance;
    if (this.#proofs.since !== NEVER && at < this.#proofs.furthest) this.#learn(ns - this.#proofs.since);
    const seenTo = this.#seenTo;
    const stop = this.#finAt === NEVER ? at + length : Math.min(at + length, this.#finAt);
    const cut = Math.min(at + end - start, stop);
    const fresh =
      this.#place(at, cut, data, start, ns) + (cut < stop ? this.#place(cut, stop, undefined, 0, ns) : 0);
    if (fresh < stop - at) this.#pool.capture.retransmitted++;
    if (at < this.#givenUpTo && this.#givenUpSince !== NEVER) this.#learn(ns - this.#givenUpSince);
    // Some of what is new stood before bytes seen earlier.
    if (fresh > Math.max(0, stop - Math.max(seenTo, at))) this.#pool.capture.outOfOrder++;
    this.#bound(ns);
    this.#settleWait(ns);
  }

  /** The other side has everything before this sequence number. */
  acknowledged(sequence: number, ns: number): void {
    if (!this.started) {
      this.start(sequence, false, ns);
      return;
    }
    const ahead = (sequence - this.#nextSequence) | 0;
    if (ahead <= 0 || ahead > MAX_AHEAD) return;
    // One byte, and nothing behind it: rather a FIN that was not captured, which takes a number too.
    if (ahead === 1 && !this.#isMoreAhead) return;
    const to = this.#finAt === NEVER ? this.#nextAt + ahead : Math.min(this.#nextAt + ahead, this.#finAt);
    if (to <= this.#proofs.furthest) return;
    this.#proofs.add(to, ns, this.patienceNs);
    this.#settleWait(ns);
  }

  /** A FIN stands at this sequence number; false where it cannot. */
  fin(sequence: number, ns: number): boolean {
    if (!this.started) this.start(sequence, true, ns);
    const distance = (sequence - this.#nextSequence) | 0;
    if (distance < 0 || distance > MAX_AHEAD || this.#nextAt + distance < this.#seenTo) return false;
    if (this.#finAt !== NEVER) return true;
    this.#finAt = this.#nextAt + distance;
    this.#proofs.endAt(this.#finAt);
    this.#settleWait(ns);
    return true;
  }

  /** How many stretches of bytes are held, for what is missing before them. */
  get heldPieces(): number {
    return this.#held.length;
  }

  /** So long after they were acknowledged, bytes may still come. */
  get patienceNs(): number {
    const { reorderNs } = this.#pool;
    return this.settled ? reorderNs : Math.max(reorderNs, UNSEEN_NS);
  }

  /** Bytes came so long after they had been acknowledged. */
  #learn(lateNs: number): void {
    if (lateNs * 2 > this.#pool.reorderNs) this.#pool.reorderNs = Math.min(lateNs * 4, MAX_REORDER_NS);
  }

  /** A hole has been waited for long enough. */
  isDue(ns: number): boolean {
    return this.#isProvenLost(ns) || this.#isSilentForLong(ns);
  }

  #isProvenLost(ns: number): boolean {
    const { since } = this.#proofs;
    return since !== NEVER && ns - since >= this.patienceNs;
  }

  #isSilentForLong(ns: number): boolean {
    return this.#heldSince !== NEVER && ns - this.#heldSince >= SILENT_HOLE_NS;
  }

  /**
   * Gives up holes that have been waited for long enough.
   * @param before bytes from this sequence number on are there, and will come; undefined where there are none
   */
  expire(ns: number, before?: number): void {
    const limit = this.#limit(before);
    if (this.#isProvenLost(ns)) {
      const due = Math.min(this.#proofs.oldest, limit);
      this.#givenUpTo = due;
      this.#givenUpSince = this.#proofs.since;
      while (this.#nextAt < due) this.#skip(Math.min(due, this.#held[0]?.at ?? due), ns);
    }
    if (this.#isSilentForLong(ns) && this.#held.length > 0)
      this.#skip(Math.min(this.#held[0]!.at, limit), ns);
    this.#settleWait(ns);
  }

  /** Gives up the first hole, whatever time it had. */
  giveUpFirst(ns: number, before?: number): void {
    const to = Math.min(Math.max(this.#proofs.furthest, this.#nextAt), this.#limit(before));
    this.#skip(this.#held.length > 0 ? Math.min(this.#held[0]!.at, to) : to, ns);
    this.#settleWait(ns);
  }

  /** Gives up the hole before the first bytes that are held, whatever time it had. */
  giveUpToHeld(ns: number, before?: number): void {
    if (this.#held.length > 0) this.#skip(Math.min(this.#held[0]!.at, this.#limit(before)), ns);
    this.#settleWait(ns);
  }

  #limit(sequence: number | undefined): number {
    return sequence === undefined ? Infinity : this.#nextAt + ((sequence - this.#nextSequence) | 0);
  }

  /** The SYN came: late, where the other side's answer to it was there before. */
  synchronise(sequence: number, ns: number): void {
    if (this.started && !this.settled) this.#learn(ns - this.#startedNs);
    this.start(sequence, true, ns);
  }

  /** Gives up all holes: nothing more will come. */
  flush(ns: number): void {
    while (this.#held.length > 0) this.#skip(this.#held[0]!.at, ns);
    this.#skip(Math.max(this.#proofs.furthest, this.#finAt), ns);
    this.#settleWait(ns);
  }

  /** Lets go of what is held, undelivered. */
  discard(): void {
    this.#pool.heldBytes -= this.#heldBytes;
    this.#heldBytes = 0;
    this.#held = [];
    this.waiting = false;
  }

  #emit(data: Buffer | undefined, start: number, bytes: number, ns: number, wasCut = true): void {
    this.#nextAt += bytes;
    this.#nextSequence = (this.#nextSequence + bytes) | 0;
    if (this.#nextAt > this.#seenTo) this.#seenTo = this.#nextAt;
    if (data !== undefined) {
      this.#outlet.data(this.#fromClient, data, start, start + bytes, ns);
      return;
    }
    this.#pool.capture.gaps++;
    this.#outlet.gap(this.#fromClient, bytes, wasCut);
  }

  /** Delivers or holds [at, end), whose first byte is data[start]; returns how many of the bytes were new. */
  #place(at: number, end: number, data: Buffer | undefined, start: number, ns: number): number {
    let from = Math.max(at, this.#nextAt);
    if (from > this.#nextAt) return this.#hold(from, end, data, start + from - at, ns);
    let fresh = 0;
    while (from < end) {
      const until = Math.min(end, this.#held[0]?.at ?? end);
      this.#emit(data, start + from - at, until - from, ns);
      fresh += until - from;
      this.#drain();
      from = this.#nextAt;
    }
    return fresh;
  }

  /** Keeps copies of those parts of [at, end) that no piece has yet: the first copy wins. */
  #hold(at: number, end: number, data: Buffer | undefined, start: number, ns: number): number {
    let index = this.#held.length;
    while (index > 0 && this.#held[index - 1]!.at > at) index--;
    let from = index > 0 ? Math.max(at, this.#held[index - 1]!.end) : at;
    let fresh = 0;
    while (from < end) {
      const next = this.#held[index];
      const until = next === undefined ? end : Math.min(end, next.at);
      if (until > from) {
        let copy: Buffer | undefined;
        if (data !== undefined) {
          // Not from Node's pool: one held byte would keep 8 KiB of it alive.
          copy = Buffer.allocUnsafeSlow(until - from);
          data.copy(copy, 0, start + from - at, start + until - at);
        }
        this.#held.splice(index++, 0, { at: from, end: until, ns, data: copy });
        this.#charge(PIECE_BYTES + (copy?.length ?? 0));
        fresh += until - from;
      }
      from = next === undefined ? end : next.end;
      index++;
    }
    if (fresh > 0 && end > this.#seenTo) this.#seenTo = end;
    return fresh;
  }

  #drain(): void {
    let count = 0;
    let piece = this.#held[0];
    while (piece !== undefined && piece.at <= this.#nextAt) {
      this.#charge(-PIECE_BYTES - (piece.data?.length ?? 0));
      this.#emit(piece.data, 0, piece.end - piece.at, piece.ns);
      piece = this.#held[++count];
    }
    if (count > 0) {
      this.#held.splice(0, count);
      this.#heldSince = NEVER;
    }
  }

  #charge(bytes: number): void {
    this.#heldBytes += bytes;
    this.#pool.heldBytes += bytes;
  }

  /** Declares the bytes before `to` missing. */
  #skip(to: number, ns: number): void {
    if (to > this.#nextAt) this.#emit(undefined, 0, to - this.#nextAt, ns, false);
    this.#drain();
  }

  #bound(ns: number): void {
    while (
      this.#held.length > MAX_HELD_PIECES ||
      this.#heldBytes > MAX_HELD_BYTES ||
      (this.#pool.heldBytes > this.#pool.maxHeldBytes && this.#held.length > 0)
    )
      this.#skip(this.#held[0]!.at, ns);
  }

  /** Keeps the clocks of holes; called after anything that may open or close one. */
  #settleWait(ns: number): void {
    if (this.#held.length === 0) this.#heldSince = NEVER;
    else if (this.#heldSince === NEVER) this.#heldSince = ns;
    this.#proofs.reached(this.#nextAt);
    this.waiting = this.#heldSince !== NEVER || this.#proofs.since !== NEVER;
  }

  /** A segment from nowhere: true once several in a row have shown where the stream went on. */
  #follow(sequence: number, length: number, ns: number): boolean {
    const step = (sequence - this.#strayNext) | 0;
    this.#strays = this.#strays > 0 && step >= 0 && step <= MAX_BEHIND ? this.#strays + 1 : 1;
    this.#strayNext = (sequence + length) | 0;
    if (this.#strays < STRAYS_TO_FOLLOW) return false;
    this.flush(ns);
    // How often the numbers wrapped meanwhile is not to be known.
    this.#finAt = NEVER;
    this.#skip(this.#nextAt + ((sequence - this.#nextSequence) >>> 0), ns);
    this.#proofs.restart(this.#nextAt);
    this.#settleWait(ns);
    return true;
  }
}
