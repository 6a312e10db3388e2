// An order read off the CAS ids. memcached counts ids up, so those in the answers tell in which order the changes of a key
// were executed, and which version each read saw; between two changes there is a gap, into which what has no id is fitted
// where its interval and the item allow it. The order is then tried from beginning to end. Where it holds it explains all
// answers, in time that grows with their number; where it does not, the search decides.

import { Status } from '../protocol/status.ts';
import { Machine, Presence, Step, type Circumstances, type Item } from './item.ts';
import { Ending, isAnswerOnly, isFinding, isNumbered, type Operation } from './operation.ts';
import type { Executed, Explanation } from './search.ts';

/** Gaps that are tried for one operation, in each direction. */
const NEAR = 400;

/** What stands behind a change, until the next. */
interface Gap {
  /** The change that opens it; undefined: the beginning. */
  change: number | undefined;
  /** When it can begin at the earliest, and when the next change must have been executed, ns. */
  fromNs: number;
  untilNs: number;
  /** The item in it, and behind the removal. */
  item: Item;
  /** What sees the item, or is refused by it. */
  seen: number[];
  removal: number | undefined;
  removed: Item | undefined;
  /** What finds nothing. */
  missed: number[];
}

/** @param operations in the order of their beginnings @returns undefined where the ids do not tell an order that holds */
export function witness(
  operations: readonly Operation[],
  initial: Item,
  about: Circumstances,
): Explanation | undefined {
  const known = [...operations.keys()].filter((ordinal) => operations[ordinal]!.ending === Ending.known);
  // A change without an id may stand anywhere.
  const isTold = known.every((ordinal) => {
    const one = operations[ordinal]!;
    return isNumbered(one) || isFinding(one) || isAnswerOnly(one) || one.family === 'delete';
  });
  if (!isTold) return undefined;
  const machine = new Machine(about);
  machine.bornNs = (ordinal) => operations[ordinal]!.fromNs;
  return new Gaps(operations, known, initial, machine).explain();
}

class Gaps {
  readonly #operations: readonly Operation[];
  readonly #machine: Machine;
  readonly #initial: Item;
  readonly #known: readonly number[];
  readonly #gaps: Gap[] = [];
  readonly #ofId = new Map<number, Gap>();
  /** Removals that have no place yet. */
  readonly #removals: Set<number>;

  constructor(operations: readonly Operation[], known: readonly number[], initial: Item, machine: Machine) {
    this.#operations = operations;
    this.#machine = machine;
    this.#initial = initial;
    this.#known = known;
    this.#removals = new Set(
      known.filter((n) => operations[n]!.family === 'delete' && operations[n]!.status === Status.ok),
    );
  }

  explain(): Explanation | undefined {
    if (!this.#open()) return undefined;
    for (const ordinal of this.#removals) if (!this.#placeRemoval(ordinal)) return undefined;
    for (const ordinal of this.#known) {
      const one = this.#operations[ordinal]!;
      if (isNumbered(one) || (one.family === 'delete' && one.status === Status.ok)) continue;
      if (!(isFinding(one) && one.cas !== 0 ? this.#placeSight(ordinal) : this.#place(ordinal)))
        return undefined;
    }
    const order = this.#tried();
    return order === undefined
      ? undefined
      : { order, wrong: [], undecided: [], cost: 0, isWhole: true, work: 0 };
  }

  /** The changes in the order of their ids, with the item after each. */
  #open(): boolean {
    const operations = this.#operations;
    const changes = this.#known
      .filter((ordinal) => isNumbered(operations[ordinal]!))
      .toSorted((a, b) => operations[a]!.cas - operations[b]!.cas);
    const untilNs = new Float64Array(changes.length + 1).fill(Infinity);
    for (let n = changes.length - 1; n >= 0; n--)
      untilNs[n] = Math.min(untilNs[n + 1]!, operations[changes[n]!]!.toNs);
    let item = this.#initial;
    let fromNs = -Infinity;
    this.#add(undefined, fromNs, untilNs[0]!, item);
    for (const [n, ordinal] of changes.entries()) {
      const one = operations[ordinal]!;
      fromNs = Math.max(fromNs, one.fromNs);
      if (fromNs > one.toNs) return false;
      let next = this.#plainly(item, ordinal);
      if (next === undefined) {
        // It found nothing: something removed the item just before.
        const gap = this.#gaps.at(-1)!;
        if (!this.#removeIn(gap)) return false;
        next = this.#plainly(gap.removed!, ordinal);
        if (next === undefined) return false;
      }
      item = next;
      this.#ofId.set(one.cas, this.#add(ordinal, fromNs, untilNs[n + 1]!, item));
    }
    return true;
  }

  #add(change: number | undefined, fromNs: number, untilNs: number, item: Item): Gap {
    const gap: Gap = {
      change,
      fromNs,
      untilNs,
      item,
      seen: [],
      removal: undefined,
      removed: undefined,
      missed: [],
    };
    this.#gaps.push(gap);
    return gap;
  }

  /** The item after the operation, where nothing needs to get lost for it. */
  #plainly(item: Item, ordinal: number): Item | undefined {
    for (const { item: next, step } of this.#machine.after(item, this.#operations[ordinal]!, ordinal))
      if (step === Step.none) return next;
    return undefined;
  }

  #fits(gap: Gap, { fromNs, toNs }: Operation): boolean {
    return fromNs <= gap.untilNs && toNs >= gap.fromNs;
  }

  /** Puts the removal that must be over first into the gap. */
  #removeIn(gap: Gap): boolean {
    if (gap.removal !== undefined || gap.item.presence === Presence.absent) return false;
    let best: number | undefined;
    for (const ordinal of this.#removals) {
      const one = this.#operations[ordinal]!;
      if (!this.#fits(gap, one)) continue;
      if (best === undefined || one.toNs < this.#operations[best]!.toNs) best = ordinal;
    }
    return best !== undefined && this.#remove(gap, best);
  }

  #remove(gap: Gap, ordinal: number): boolean {
    const removed = this.#plainly(gap.item, ordinal);
    if (removed === undefined) return false;
    gap.removal = ordinal;
    gap.removed = removed;
    this.#removals.delete(ordinal);
    return true;
  }

  /** Into a gap whose next change does not need the item. */
  #placeRemoval(ordinal: number): boolean {
    for (const at of this.#near(ordinal)) {
      const gap = this.#gaps[at]!;
      if (gap.removal !== undefined || gap.item.presence !== Presence.present) continue;
      const next = this.#gaps[at + 1]?.change;
      if (next !== undefined && !this.#storesAnyway(next)) continue;
      if (this.#remove(gap, ordinal)) return true;
    }
    return false;
  }

  #storesAnyway(ordinal: number): boolean {
    const { family, hasCas } = this.#operations[ordinal]!;
    return family === 'set' && !hasCas;
  }

  /** A read that tells which version it saw. */
  #placeSight(ordinal: number): boolean {
    const one = this.#operations[ordinal]!;
    const gap = this.#ofId.get(one.cas) ?? this.#gaps[0]!;
    if (!this.#fits(gap, one) || this.#plainly(gap.item, ordinal) === undefined) return false;
    gap.seen.push(ordinal);
    return true;
  }

  /** What changes nothing, and names no version: where the item gives its answer. */
  #place(ordinal: number): boolean {
    for (const at of this.#near(ordinal)) {
      const gap = this.#gaps[at]!;
      if (this.#plainly(gap.item, ordinal) === gap.item) {
        gap.seen.push(ordinal);
        return true;
      }
      if (gap.removed === undefined || this.#plainly(gap.removed, ordinal) !== gap.removed) continue;
      gap.missed.push(ordinal);
      return true;
    }
    return false;
  }

  /** Gaps that its interval allows: the one at its beginning first, then those after it, then those before. */
  *#near(ordinal: number): Generator<number> {
    const one = this.#operations[ordinal]!;
    let low = 0;
    let high = this.#gaps.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#gaps[middle]!.fromNs <= one.fromNs) low = middle + 1;
      else high = middle;
    }
    const first = Math.max(0, low - 1);
    for (let at = first; at < this.#gaps.length && at < first + NEAR; at++) {
      if (this.#gaps[at]!.fromNs > one.toNs) break;
      if (this.#fits(this.#gaps[at]!, one)) yield at;
    }
    for (let at = first - 1; at >= 0 && at > first - NEAR; at--) {
      if (this.#gaps[at]!.untilNs < one.fromNs) break;
      if (this.#fits(this.#gaps[at]!, one)) yield at;
    }
  }

  /** The whole order, executed. */
  #tried(): Executed[] | undefined {
    const order: Executed[] = [];
    let item = this.#initial;
    let nowNs = -Infinity;
    const execute = (ordinal: number): boolean => {
      const { fromNs, toNs } = this.#operations[ordinal]!;
      nowNs = Math.max(nowNs, fromNs);
      const next = nowNs > toNs ? undefined : this.#plainly(item, ordinal);
      if (next === undefined) return false;
      order.push({ ordinal, step: Step.none, before: item, item: next });
      item = next;
      return true;
    };
    const byBeginning = (a: number, b: number): number =>
      this.#operations[a]!.fromNs - this.#operations[b]!.fromNs;
    for (const { change, seen, removal, missed } of this.#gaps) {
      if (change !== undefined && !execute(change)) return undefined;
      if (!seen.toSorted(byBeginning).every(execute)) return undefined;
      if (removal !== undefined && !execute(removal)) return undefined;
      if (!missed.toSorted(byBeginning).every(execute)) return undefined;
    }
    return order;
  }
}
