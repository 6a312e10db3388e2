// Removals, which have no id, find their gaps: each change and each miss that finds nothing needs one before it, and each one
// needs a gap whose next change does not need the item. Where the gap that one needs is taken, or none is left for it, others
// change their places, so that all find one where there is one for all.

import { Status } from '../protocol/status.ts';
import { Gaps, Part, type Gap } from './gaps.ts';
import { Presence, type Item } from './item.ts';
import type { Operation } from './operation.ts';

/** Removals change places with others so far away, and so many times for one of them. */
const MOVED = 60;
const MOVES = 200;

export function isRemoval({ family, status }: Operation): boolean {
  return family === 'delete' && status === Status.ok;
}

export class Removals {
  /** Those that have no place yet: the one that must be over first comes first. */
  readonly free: Set<number>;
  readonly #gaps: Gaps;
  readonly #after: (item: Item, ordinal: number) => Item | undefined;
  readonly #placeMiss: (ordinal: number) => boolean;

  /**
   * @param after the item after an operation; undefined where it cannot be executed
   * @param placeMiss finds another place for what finds nothing
   */
  constructor(
    gaps: Gaps,
    after: (item: Item, ordinal: number) => Item | undefined,
    placeMiss: (ordinal: number) => boolean,
  ) {
    this.#gaps = gaps;
    this.#after = after;
    this.#placeMiss = placeMiss;
    const { operations, known, first, last } = gaps;
    this.free = new Set(
      known
        .filter((ordinal) => isRemoval(operations[ordinal]!))
        .toSorted((a, b) => last[a]! - last[b]! || first[b]! - first[a]!),
    );
  }

  /** Into a gap whose next change does not need the item; or in the place of another one, for which there is one. */
  place(ordinal: number, tried = new Set<number>()): boolean {
    const gaps = this.#gaps;
    for (const at of gaps.near(ordinal)) {
      const gap = gaps.all[at]!;
      if (gap.removal !== undefined || gap.item.presence !== Presence.present || tried.has(at)) continue;
      if (!gaps.isReplaced(at) || !gaps.fits(at, ordinal, Part.removal)) continue;
      if (this.#remove(at, ordinal)) return true;
    }
    for (const at of gaps.near(ordinal)) {
      const gap = gaps.all[at]!;
      const { removal } = gap;
      if (removal === undefined || tried.has(at) || tried.size > MOVES) continue;
      tried.add(at);
      this.#vacate(gap);
      const isMoved = gaps.fits(at, ordinal, Part.removal) && this.place(removal, tried);
      this.#remove(at, isMoved ? ordinal : removal);
      if (isMoved) return true;
    }
    return false;
  }

  /** Puts one into the gap, before what then finds nothing: `missed`, or the next change. */
  putIn(at: number, missed?: number): boolean {
    const gap = this.#gaps.all[at]!;
    if (gap.removal !== undefined || gap.item.presence === Presence.absent) return false;
    const untilNs = missed === undefined ? Infinity : this.#gaps.operations[missed]!.toNs;
    return this.#putFree(at, untilNs) || this.#fill(at, untilNs, new Set([at]));
  }

  /** Puts another one into the gap, before `missed` too: that in it began too late. */
  exchange(at: number, missed: number): boolean {
    const gap = this.#gaps.all[at]!;
    const { removal } = gap;
    if (removal === undefined) return false;
    this.#vacate(gap);
    gap.missed.push(missed);
    const isRefilled = this.#refill(at, new Set([at]));
    gap.missed.splice(gap.missed.indexOf(missed), 1);
    if (isRefilled) this.free.add(removal);
    else this.#remove(at, removal);
    return isRefilled;
  }

  /** That of those without a place which must be over first. */
  #putFree(at: number, untilNs: number): boolean {
    const gaps = this.#gaps;
    for (const ordinal of this.free)
      if (gaps.operations[ordinal]!.fromNs <= untilNs && gaps.fits(at, ordinal, Part.removal))
        return this.#remove(at, ordinal);
    return false;
  }

  /** Takes one from another gap. */
  #fill(at: number, untilNs: number, tried: Set<number>): boolean {
    const gaps = this.#gaps;
    const last = Math.min(at + MOVED, gaps.all.length - 1);
    for (let from = Math.max(0, at - MOVED); from <= last; from++) {
      const { removal } = gaps.all[from]!;
      if (removal === undefined || tried.has(from) || tried.size > MOVES) continue;
      if (gaps.operations[removal]!.fromNs > untilNs || !gaps.fits(at, removal, Part.removal)) continue;
      tried.add(from);
      if (this.#move(removal, from, at, tried)) return true;
    }
    return false;
  }

  /** From one gap to another one; what found nothing behind it does so elsewhere, or behind another one. */
  #move(removal: number, from: number, to: number, tried: Set<number>): boolean {
    const gaps = this.#gaps;
    const giver = gaps.all[from]!;
    const taker = gaps.all[to]!;
    const had = taker.missed.length;
    this.#vacate(giver);
    this.#remove(to, removal);
    const homeless = giver.missed;
    giver.missed = [];
    giver.missed = homeless.filter((ordinal) => !this.#placeMiss(ordinal));
    gaps.measure(giver);
    if (giver.missed.length === 0 && gaps.isReplaced(from)) return true;
    if (this.#refill(from, tried)) return true;
    giver.missed.push(...taker.missed.splice(had));
    this.#vacate(taker);
    this.#remove(from, removal);
    gaps.measure(giver);
    return false;
  }

  /** A gap in which something finds nothing gets one. */
  #refill(at: number, tried: Set<number>): boolean {
    const { all, operations } = this.#gaps;
    const untilNs = all[at]!.missed.reduce((least, one) => Math.min(least, operations[one]!.toNs), Infinity);
    return this.#putFree(at, untilNs) || this.#fill(at, untilNs, tried);
  }

  #vacate(gap: Gap): void {
    this.#gaps.isTight = true;
    gap.removal = undefined;
    gap.removed = undefined;
    this.#gaps.measure(gap);
  }

  #remove(at: number, ordinal: number): boolean {
    const gap = this.#gaps.all[at]!;
    const removed = this.#after(gap.item, ordinal);
    if (removed === undefined) return false;
    this.#gaps.put(at, ordinal, Part.removal);
    gap.removed = removed;
    this.free.delete(ordinal);
    return true;
  }
}
