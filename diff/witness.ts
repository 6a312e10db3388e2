// An order read off the CAS ids. memcached counts ids up, so those in the answers tell in which order the changes of a key
// were executed, and which version each read saw; what has no id is fitted into the gaps between changes. The order is then
// tried from beginning to end. Where it holds it explains all answers, in time that grows with their number; where it does
// not, the search decides.

import { isStore } from '../protocol/semantics.ts';
import { Status } from '../protocol/status.ts';
import type { Executed, Explanation } from './explanation.ts';
import { Gaps, Part, isBlindStore, type Bounds } from './gaps.ts';
import { Machine, Step, type Circumstances, type Item } from './item.ts';
import { Ending, isAnswerOnly, isFinding, isNumbered, type Operation } from './operation.ts';
import { Removals, isRemoval } from './removals.ts';

/** Each leads to another order of what finds its place first. */
const allBounds: readonly Bounds[] = [
  { byTime: true, byConnections: true },
  { byTime: true, byConnections: false },
  { byTime: false, byConnections: true },
  { byTime: false, byConnections: false },
];
/** So often it is tried with each, each time with one more that goes first; and with fewer where operations are many. */
const TRIES = 12;
const OPERATIONS_TRIED = 100_000;

/** @param operations in the order of their beginnings @returns undefined where the ids do not tell an order that holds */
export function witness(
  operations: readonly Operation[],
  initial: Item,
  about: Circumstances,
): Explanation | undefined {
  const known = [...operations.keys()].filter((ordinal) => operations[ordinal]!.ending === Ending.known);
  const madeBy = new Map(about.madeBy);
  const all = withSeenIds(operations, madeBy);
  // Any other change without an id may stand anywhere.
  const isTold = known.every((ordinal) => {
    const one = all[ordinal]!;
    return isNumbered(one) || isFinding(one) || isAnswerOnly(one) || isRemoval(one) || isBlindStore(one);
  });
  if (!isTold) return undefined;
  const machine = new Machine({ ...about, madeBy });
  machine.bornNs = (ordinal) => operations[ordinal]!.fromNs;
  // Servers execute the requests of a connection in their order, which leaves the least to try; proxies need not.
  const most = Math.min(TRIES, 1 + Math.floor(OPERATIONS_TRIED / operations.length));
  for (const bounds of allBounds) {
    // What found no place in vain is placed first the next time.
    const urgent: number[] = [];
    for (let tried = 0; tried < most; tried++) {
      const one = new Witness(new Gaps(all, known, bounds), initial, machine, urgent);
      const explanation = one.explain();
      if (explanation !== undefined) return explanation;
      const { homeless } = one;
      if (homeless === undefined || urgent[0] === homeless) break;
      const before = urgent.indexOf(homeless);
      if (before > 0) urgent.splice(before, 1);
      urgent.unshift(homeless);
    }
  }
  return undefined;
}

/** Stores that told no id have that of a read which showed their value, and an id that no answer gave to a change. */
function withSeenIds(operations: readonly Operation[], madeBy: Map<number, number>): readonly Operation[] {
  const unseen = new Map<number, number[]>();
  for (const [ordinal, one] of operations.entries())
    if (isStore(one.family) && one.status === Status.ok && one.cas === 0 && one.ending === Ending.known) {
      const same = unseen.get(one.value);
      if (same === undefined) unseen.set(one.value, [ordinal]);
      else same.push(ordinal);
    }
  if (unseen.size === 0) return operations;
  const all = [...operations];
  for (const { cas, read, toNs } of operations) {
    if (cas === 0 || read < 0 || madeBy.has(cas)) continue;
    const stores = unseen.get(read) ?? [];
    const at = stores.findIndex((ordinal) => operations[ordinal]!.fromNs <= toNs);
    if (at < 0) continue;
    const [ordinal] = stores.splice(at, 1) as [number];
    madeBy.set(cas, ordinal);
    all[ordinal] = { ...operations[ordinal]!, cas };
  }
  return all;
}

class Witness {
  /** What found no place, where it ended so. */
  homeless: number | undefined;
  readonly #urgent: readonly number[];
  readonly #gaps: Gaps;
  readonly #machine: Machine;
  readonly #initial: Item;
  /** CAS id -> place of the gap that its change opens. */
  readonly #ofId = new Map<number, number>();
  readonly #removals: Removals;
  /** Stores without an id that have no place yet. */
  readonly #stores: Set<number>;

  /** @param urgent what is placed before all else */
  constructor(gaps: Gaps, initial: Item, machine: Machine, urgent: readonly number[]) {
    this.#urgent = urgent;
    this.#gaps = gaps;
    this.#initial = initial;
    this.#machine = machine;
    const { operations, known } = gaps;
    this.#removals = new Removals(
      gaps,
      (item, ordinal) => this.#plainly(item, ordinal),
      (ordinal) => this.#place(ordinal),
    );
    this.#stores = new Set(
      known.filter((ordinal) => isBlindStore(operations[ordinal]!) && !isNumbered(operations[ordinal]!)),
    );
  }

  explain(): Explanation | undefined {
    if (!this.#open() || !this.#placeAll()) return undefined;
    const order = this.#tried();
    return order === undefined
      ? undefined
      : { order, wrong: [], undecided: [], cost: 0, isWhole: true, work: 0 };
  }

  #placeAll(): boolean {
    const { operations, known, first, last } = this.#gaps;
    const done = new Set(this.#urgent);
    if (!this.#urgent.every((ordinal) => this.#settle(ordinal))) return false;
    // Those first that can stand in one place alone.
    for (const ordinal of this.#removals.free)
      if (first[ordinal] === last[ordinal] && !this.#settle(ordinal)) return false;
    const rest = known
      .filter(
        (ordinal) =>
          !done.has(ordinal) && !isNumbered(operations[ordinal]!) && !isRemoval(operations[ordinal]!),
      )
      .toSorted((a, b) => last[a]! - last[b]!);
    const missing = rest.filter((ordinal) => this.#needsAbsence(ordinal));
    const others = rest.filter((ordinal) => !this.#needsAbsence(ordinal));
    return (
      missing.every((ordinal) => this.#settle(ordinal)) &&
      [...this.#removals.free].every((ordinal) => this.#settle(ordinal)) &&
      others.every((ordinal) => this.#settle(ordinal))
    );
  }

  /** Finds it a place. */
  #settle(ordinal: number): boolean {
    if (this.#placed(() => this.#settled(ordinal))) return true;
    this.homeless = ordinal;
    return false;
  }

  #settled(ordinal: number): boolean {
    const one = this.#gaps.operations[ordinal]!;
    if (isRemoval(one)) return !this.#removals.free.has(ordinal) || this.#removals.place(ordinal);
    if (this.#needsAbsence(ordinal)) return this.#place(ordinal) || this.#makeAbsence(ordinal);
    if (isBlindStore(one)) return !this.#stores.has(ordinal) || this.#placeStore(ordinal);
    return isFinding(one) && one.cas !== 0 ? this.#placeSight(ordinal) : this.#place(ordinal);
  }

  /** Tries it again where removals that changed places since had left less room than there is. */
  #placed(place: () => boolean): boolean {
    if (place()) return true;
    if (!this.#gaps.isTight) return false;
    this.#gaps.loosen();
    return place();
  }

  /** It found nothing, whether or not there was something in the beginning. */
  #needsAbsence(ordinal: number): boolean {
    const { status } = this.#gaps.operations[ordinal]!;
    return status === Status.notFound || status === Status.notStored;
  }

  /** Puts a removal where the operation then finds nothing. */
  #makeAbsence(ordinal: number): boolean {
    for (const at of this.#gaps.near(ordinal)) {
      if (!this.#gaps.isReplaced(at) || !this.#gaps.fits(at, ordinal, Part.missed)) continue;
      if (!this.#removals.putIn(at, ordinal)) continue;
      this.#gaps.put(at, ordinal, Part.missed);
      return true;
    }
    for (const at of this.#gaps.near(ordinal)) {
      if (!this.#removals.exchange(at, ordinal) || !this.#gaps.fits(at, ordinal, Part.missed)) continue;
      this.#gaps.put(at, ordinal, Part.missed);
      return true;
    }
    return false;
  }

  /** The changes in the order of their ids, with the item after each. */
  #open(): boolean {
    const operations = this.#gaps.operations;
    const changes = this.#gaps.changes;
    const untilNs = this.#gaps.latestNs();
    let item = this.#initial;
    let fromNs = -Infinity;
    this.#gaps.add(undefined, fromNs, untilNs[0]!, item);
    for (const [n, ordinal] of changes.entries()) {
      const one = operations[ordinal]!;
      fromNs = Math.max(fromNs, one.fromNs, ...this.#gaps.all.at(-1)!.beginsNs);
      if (fromNs > one.toNs) return false;
      let next = this.#plainly(item, ordinal);
      if (next === undefined) {
        // It found nothing: something removed the item just before.
        const at = this.#gaps.all.length - 1;
        if (this.#removals.putIn(at)) next = this.#plainly(this.#gaps.all[at]!.removed!, ordinal);
        // Or it found what a store left that told no id.
        next ??= this.#storeBefore(at, ordinal);
        if (next === undefined) return false;
        fromNs = Math.max(fromNs, ...this.#gaps.all[at]!.beginsNs);
      }
      if (fromNs > one.toNs) return false;
      item = next;
      this.#gaps.add(ordinal, fromNs, untilNs[n + 1]!, item);
      this.#ofId.set(one.cas, n + 1);
    }
    return true;
  }

  /** Puts a store into the gap, after which the change can be executed. @returns the item after the change */
  #storeBefore(at: number, ordinal: number): Item | undefined {
    const gap = this.#gaps.all[at]!;
    for (const store of this.#stores) {
      if (!this.#gaps.fits(at, store, Part.replaced)) continue;
      const stored = this.#plainly(gap.removed ?? gap.item, store);
      const next = stored === undefined ? undefined : this.#plainly(stored, ordinal);
      if (next === undefined) continue;
      this.#gaps.put(at, store, Part.replaced);
      this.#stores.delete(store);
      return next;
    }
    return undefined;
  }

  /** The item after the operation, where nothing needs to get lost for it. */
  #plainly(item: Item, ordinal: number): Item | undefined {
    const operation = this.#gaps.operations[ordinal]!;
    if (this.#machine.isShown(item, operation)) return item;
    for (const { item: next, step } of this.#machine.after(item, operation, ordinal, true))
      if (step === Step.none) return next;
    return undefined;
  }

  /** A store whose id nothing told, and which nobody saw: right before another one. */
  #placeStore(ordinal: number): boolean {
    for (const at of this.#gaps.near(ordinal)) {
      if (!this.#gaps.isReplaced(at)) continue;
      if (!this.#gaps.fits(at, ordinal, Part.replaced)) continue;
      this.#gaps.put(at, ordinal, Part.replaced);
      return true;
    }
    return false;
  }

  /** A read that tells which version it saw. */
  #placeSight(ordinal: number): boolean {
    const one = this.#gaps.operations[ordinal]!;
    const at = this.#ofId.get(one.cas) ?? 0;
    const gap = this.#gaps.all[at]!;
    if (!this.#gaps.fits(at, ordinal, Part.seen) || this.#plainly(gap.item, ordinal) === undefined)
      return false;
    this.#gaps.put(at, ordinal, Part.seen);
    return true;
  }

  /** What changes nothing, and names no version: where the item gives its answer. */
  #place(ordinal: number): boolean {
    for (const at of this.#gaps.near(ordinal)) {
      const gap = this.#gaps.all[at]!;
      if (this.#gaps.fits(at, ordinal, Part.seen) && this.#plainly(gap.item, ordinal) === gap.item) {
        this.#gaps.put(at, ordinal, Part.seen);
        return true;
      }
      if (gap.removed === undefined || !this.#gaps.fits(at, ordinal, Part.missed)) continue;
      if (this.#plainly(gap.removed, ordinal) !== gap.removed) continue;
      this.#gaps.put(at, ordinal, Part.missed);
      return true;
    }
    return false;
  }

  /** The whole order, executed. */
  #tried(): Executed[] | undefined {
    const order: Executed[] = [];
    let item = this.#initial;
    let nowNs = -Infinity;
    const execute = (ordinal: number): boolean => {
      const { fromNs, toNs } = this.#gaps.operations[ordinal]!;
      nowNs = Math.max(nowNs, fromNs);
      const next = nowNs > toNs ? undefined : this.#plainly(item, ordinal);
      if (next === undefined) return false;
      order.push({ ordinal, step: Step.none, before: item, item: next });
      item = next;
      return true;
    };
    const byBeginning = (a: number, b: number): number =>
      this.#gaps.operations[a]!.fromNs - this.#gaps.operations[b]!.fromNs;
    for (const { change, seen, removal, missed, replaced } of this.#gaps.all) {
      if (change !== undefined && !execute(change)) return undefined;
      if (!seen.toSorted(byBeginning).every(execute)) return undefined;
      if (removal !== undefined && !execute(removal)) return undefined;
      if (!missed.toSorted(byBeginning).every(execute)) return undefined;
      if (!replaced.toSorted(byBeginning).every(execute)) return undefined;
    }
    return order.length === this.#gaps.known.length ? order : undefined;
  }
}
