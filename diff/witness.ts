// An order read off the CAS ids. memcached counts ids up, so those in the answers tell in which order the changes of a key
// were executed, and which version each read saw; between two changes there is a gap, into which what has no id is fitted
// where its interval, the order of its connection's requests and the item allow it. The order is then tried from beginning to
// end. Where it holds it explains all
// answers, in time that grows with their number; where it does not, the search decides.

import { Status } from '../protocol/status.ts';
import { Machine, Presence, Step, type Circumstances, type Item } from './item.ts';
import { Ending, isAnswerOnly, isFinding, isNumbered, type Operation } from './operation.ts';
import type { Executed, Explanation } from './explanation.ts';

/** Gaps that are tried for one operation, in each direction. */
const NEAR = 400;

/** Removals change places with others so far away, and so many times for one of them. */
const MOVED = 60;
const MOVES = 200;

const noSight = { fromNs: -Infinity, toNs: Infinity };

/** What stands behind a change, until the next. */
interface Gap {
  /** The change that opens it; undefined: the beginning. */
  change: number | undefined;
  /** When it can begin at the earliest, for what stands before it; and when what stands behind must have been executed, ns. */
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
  /** Stores without an id, which the next change replaces. */
  replaced: number[];
  /** By part: the latest beginning and the earliest end of what stands in it, ns. */
  beginsNs: number[];
  endsNs: number[];
}

/** The parts of a gap, in their order. */
const Part = { seen: 0, removal: 1, missed: 2, replaced: 3 } as const;
type Part = (typeof Part)[keyof typeof Part];

/** @param operations in the order of their beginnings @returns undefined where the ids do not tell an order that holds */
export function witness(
  operations: readonly Operation[],
  initial: Item,
  about: Circumstances,
): Explanation | undefined {
  const known = [...operations.keys()].filter((ordinal) => operations[ordinal]!.ending === Ending.known);
  // Any other change without an id may stand anywhere.
  const isTold = known.every((ordinal) => {
    const one = operations[ordinal]!;
    return isNumbered(one) || isFinding(one) || isAnswerOnly(one) || isRemoval(one) || isBlindStore(one);
  });
  if (!isTold) return undefined;
  const madeBy = new Map(about.madeBy);
  const all = withSeenIds(operations, madeBy);
  const machine = new Machine({ ...about, madeBy });
  machine.bornNs = (ordinal) => operations[ordinal]!.fromNs;
  // Servers execute the requests of a connection in their order, which leaves the least to try; proxies need not.
  return (
    new Gaps(all, known, initial, machine, true).explain() ??
    new Gaps(all, known, initial, machine, false).explain()
  );
}

/** Stores that told no id have that of a read which showed their value, and an id that no answer gave to a change. */
function withSeenIds(operations: readonly Operation[], madeBy: Map<number, number>): readonly Operation[] {
  const unseen = new Map<number, number[]>();
  for (const [ordinal, one] of operations.entries())
    if (isBlindStore(one) && one.cas === 0 && one.ending === Ending.known) {
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

function isRemoval({ family, status }: Operation): boolean {
  return family === 'delete' && status === Status.ok;
}

/** It stores whatever was there. */
function isBlindStore({ family, status, hasCas }: Operation): boolean {
  return family === 'set' && status === Status.ok && !hasCas;
}

class Gaps {
  readonly #operations: readonly Operation[];
  readonly #machine: Machine;
  readonly #initial: Item;
  readonly #known: readonly number[];
  readonly #gaps: Gap[] = [];
  /** CAS id -> place of the gap that its change opens. */
  readonly #ofId = new Map<number, number>();
  /** Removals that have no place yet: the one that must be over first comes first. */
  readonly #removals: Set<number>;
  /** Stores without an id that have no place yet. */
  readonly #stores: Set<number>;
  readonly #changes: readonly number[];
  /** CAS id -> the latest beginning and the earliest end of the reads that tell it; 0: whose id no change here has. */
  readonly #sights = new Map<number, { fromNs: number; toNs: number }>();
  /** By ordinal: the first gap and the last one that the order of its connection leaves it. */
  readonly #first: Int32Array;
  readonly #last: Int32Array;
  /** A removal has changed its place since the bounds of the gaps were worked out. */
  #isTight = false;

  constructor(
    operations: readonly Operation[],
    known: readonly number[],
    initial: Item,
    machine: Machine,
    byConnections: boolean,
  ) {
    this.#operations = operations;
    this.#changes = known
      .filter((ordinal) => isNumbered(operations[ordinal]!))
      .toSorted((a, b) => operations[a]!.cas - operations[b]!.cas);
    const ids = new Set(this.#changes.map((ordinal) => operations[ordinal]!.cas));
    for (const ordinal of known) {
      const one = operations[ordinal]!;
      if (!isFinding(one) || one.cas === 0) continue;
      const cas = ids.has(one.cas) ? one.cas : 0;
      const { fromNs, toNs } = this.#sights.get(cas) ?? noSight;
      this.#sights.set(cas, { fromNs: Math.max(fromNs, one.fromNs), toNs: Math.min(toNs, one.toNs) });
    }
    this.#first = new Int32Array(operations.length);
    this.#last = new Int32Array(operations.length).fill(this.#changes.length);
    if (byConnections) this.#bound(known);
    this.#machine = machine;
    this.#initial = initial;
    this.#known = known;
    this.#removals = new Set(
      known
        .filter((ordinal) => isRemoval(operations[ordinal]!))
        .toSorted((a, b) => this.#last[a]! - this.#last[b]! || this.#first[b]! - this.#first[a]!),
    );
    this.#stores = new Set(
      known.filter((ordinal) => isBlindStore(operations[ordinal]!) && !isNumbered(operations[ordinal]!)),
    );
  }

  /** Between those of its connection whose place the ids tell. */
  #bound(known: readonly number[]): void {
    const gapOf = new Map(this.#changes.map((ordinal, n) => [this.#operations[ordinal]!.cas, n + 1]));
    const pinned = (ordinal: number): number | undefined => {
      const one = this.#operations[ordinal]!;
      return one.cas === 0 ? undefined : (gapOf.get(one.cas) ?? 0);
    };
    const reached = new Map<number, number>();
    for (const ordinal of known) {
      const { connection } = this.#operations[ordinal]!;
      const gap = Math.max(reached.get(connection) ?? 0, pinned(ordinal) ?? 0);
      this.#first[ordinal] = gap;
      reached.set(connection, gap);
    }
    const left = new Map<number, number>();
    for (const ordinal of known.toReversed()) {
      const one = this.#operations[ordinal]!;
      const gap = Math.min(left.get(one.connection) ?? this.#changes.length, pinned(ordinal) ?? Infinity);
      this.#last[ordinal] = gap;
      // A change opens its gap: what came before it on its connection stands in an earlier one.
      left.set(one.connection, isNumbered(one) ? gap - 1 : gap);
    }
  }

  explain(): Explanation | undefined {
    if (!this.#open()) return undefined;
    // Those first that can stand in one place alone.
    const isOneWay = (ordinal: number): boolean => this.#first[ordinal] === this.#last[ordinal];
    for (const ordinal of this.#removals)
      if (isOneWay(ordinal) && !this.#placed(() => this.#placeRemoval(ordinal))) return undefined;
    const rest = this.#known
      .filter((ordinal) => !isNumbered(this.#operations[ordinal]!) && !isRemoval(this.#operations[ordinal]!))
      .toSorted((a, b) => this.#last[a]! - this.#last[b]!);
    for (const ordinal of rest)
      if (
        this.#needsAbsence(ordinal) &&
        !this.#placed(() => this.#place(ordinal) || this.#makeAbsence(ordinal))
      )
        return undefined;
    for (const ordinal of this.#removals)
      if (!this.#placed(() => this.#placeRemoval(ordinal))) return undefined;
    for (const ordinal of rest) {
      const one = this.#operations[ordinal]!;
      if (this.#needsAbsence(ordinal)) continue;
      const place = (): boolean =>
        isBlindStore(one)
          ? !this.#stores.has(ordinal) || this.#placeStore(ordinal)
          : isFinding(one) && one.cas !== 0
            ? this.#placeSight(ordinal)
            : this.#place(ordinal);
      if (!this.#placed(place)) return undefined;
    }
    const order = this.#tried();
    return order === undefined
      ? undefined
      : { order, wrong: [], undecided: [], cost: 0, isWhole: true, work: 0 };
  }

  /** Tries it again where removals that changed places since had left less room than there is. */
  #placed(place: () => boolean): boolean {
    if (place()) return true;
    if (!this.#isTight) return false;
    this.#loosen();
    return place();
  }

  /** Bounds of all gaps, by what stands in them now. */
  #loosen(): void {
    this.#isTight = false;
    const operations = this.#operations;
    let fromNs = -Infinity;
    for (const gap of this.#gaps) {
      const { change } = gap;
      this.#measure(gap);
      if (change !== undefined) fromNs = Math.max(fromNs, operations[change]!.fromNs);
      gap.fromNs = fromNs;
      fromNs = Math.max(fromNs, ...gap.beginsNs);
    }
    let untilNs = Infinity;
    for (const gap of this.#gaps.toReversed()) {
      gap.untilNs = untilNs;
      untilNs = Math.min(untilNs, ...gap.endsNs);
      if (gap.change !== undefined) untilNs = Math.min(untilNs, operations[gap.change]!.toNs);
    }
  }

  /** When what stands in the gap begins and ends. */
  #measure(gap: Gap): void {
    const { change, seen, removal, missed, replaced } = gap;
    const sights = this.#sightsOf(change);
    gap.beginsNs = [sights.fromNs, -Infinity, -Infinity, -Infinity];
    gap.endsNs = [sights.toNs, Infinity, Infinity, Infinity];
    const parts = [seen, removal === undefined ? [] : [removal], missed, replaced];
    for (const [part, ordinals] of parts.entries())
      for (const ordinal of ordinals) {
        const { fromNs, toNs } = this.#operations[ordinal]!;
        gap.beginsNs[part] = Math.max(gap.beginsNs[part]!, fromNs);
        gap.endsNs[part] = Math.min(gap.endsNs[part]!, toNs);
      }
  }

  /** It found nothing, whether or not there was something in the beginning. */
  #needsAbsence(ordinal: number): boolean {
    const { status } = this.#operations[ordinal]!;
    return status === Status.notFound || status === Status.notStored;
  }

  /** The next change, if any, does not need what the gap leaves. */
  #isReplaced(at: number): boolean {
    const next = this.#gaps[at + 1]?.change;
    return next === undefined || isBlindStore(this.#operations[next]!);
  }

  /** Puts a removal where the operation then finds nothing. */
  #makeAbsence(ordinal: number): boolean {
    for (const at of this.#near(ordinal)) {
      if (!this.#isReplaced(at) || !this.#fits(at, ordinal, Part.missed)) continue;
      if (!this.#removeIn(at, ordinal)) continue;
      this.#put(at, ordinal, Part.missed);
      return true;
    }
    // Another removal in the place of one that began too late.
    for (const at of this.#near(ordinal)) {
      const gap = this.#gaps[at]!;
      const { removal } = gap;
      if (removal === undefined) continue;
      this.#vacate(gap);
      gap.missed.push(ordinal);
      const isRefilled = this.#refill(at, new Set([at]));
      gap.missed.splice(gap.missed.indexOf(ordinal), 1);
      if (!isRefilled) {
        this.#remove(at, removal);
        continue;
      }
      this.#removals.add(removal);
      if (!this.#fits(at, ordinal, Part.missed)) continue;
      this.#put(at, ordinal, Part.missed);
      return true;
    }
    return false;
  }

  /** The changes in the order of their ids, with the item after each. */
  #open(): boolean {
    const operations = this.#operations;
    const changes = this.#changes;
    const untilNs = new Float64Array(changes.length + 1).fill(Infinity);
    for (let n = changes.length - 1; n >= 0; n--) {
      const { toNs } = operations[changes[n]!]!;
      untilNs[n] = Math.min(untilNs[n + 1]!, toNs, this.#sightsOf(changes[n]).toNs);
    }
    let item = this.#initial;
    let fromNs = -Infinity;
    this.#add(undefined, fromNs, untilNs[0]!, item);
    for (const [n, ordinal] of changes.entries()) {
      const one = operations[ordinal]!;
      fromNs = Math.max(fromNs, one.fromNs, ...this.#gaps.at(-1)!.beginsNs);
      if (fromNs > one.toNs) return false;
      let next = this.#plainly(item, ordinal);
      if (next === undefined) {
        // It found nothing: something removed the item just before.
        const at = this.#gaps.length - 1;
        if (this.#removeIn(at)) next = this.#plainly(this.#gaps[at]!.removed!, ordinal);
        // Or it found what a store left that told no id.
        next ??= this.#storeBefore(at, ordinal);
        if (next === undefined) return false;
        fromNs = Math.max(fromNs, ...this.#gaps[at]!.beginsNs);
      }
      if (fromNs > one.toNs) return false;
      item = next;
      this.#add(ordinal, fromNs, untilNs[n + 1]!, item);
      this.#ofId.set(one.cas, n + 1);
    }
    return true;
  }

  /** Of the reads that tell the id of the change. */
  #sightsOf(change: number | undefined): { fromNs: number; toNs: number } {
    return this.#sights.get(change === undefined ? 0 : this.#operations[change]!.cas) ?? noSight;
  }

  /** Puts a store into the gap, after which the change can be executed. @returns the item after the change */
  #storeBefore(at: number, ordinal: number): Item | undefined {
    const gap = this.#gaps[at]!;
    for (const store of this.#stores) {
      if (!this.#fits(at, store, Part.replaced)) continue;
      const stored = this.#plainly(gap.removed ?? gap.item, store);
      const next = stored === undefined ? undefined : this.#plainly(stored, ordinal);
      if (next === undefined) continue;
      this.#put(at, store, Part.replaced);
      this.#stores.delete(store);
      return next;
    }
    return undefined;
  }

  #add(change: number | undefined, fromNs: number, untilNs: number, item: Item): void {
    const { fromNs: seenNs, toNs: seenUntilNs } = this.#sightsOf(change);
    this.#gaps.push({
      change,
      fromNs,
      untilNs,
      item,
      seen: [],
      removal: undefined,
      removed: undefined,
      missed: [],
      replaced: [],
      beginsNs: [seenNs, -Infinity, -Infinity, -Infinity],
      endsNs: [seenUntilNs, Infinity, Infinity, Infinity],
    });
  }

  /** The item after the operation, where nothing needs to get lost for it. */
  #plainly(item: Item, ordinal: number): Item | undefined {
    for (const { item: next, step } of this.#machine.after(item, this.#operations[ordinal]!, ordinal))
      if (step === Step.none) return next;
    return undefined;
  }

  /** It may stand in this part of the gap: after what stands in the parts before, and before what stands in those after. */
  #fits(at: number, ordinal: number, part: Part): boolean {
    if (at < this.#first[ordinal]! || at > this.#last[ordinal]!) return false;
    const gap = this.#gaps[at]!;
    const { fromNs, toNs } = this.#operations[ordinal]!;
    if (fromNs > gap.untilNs || toNs < gap.fromNs) return false;
    for (let other = 0; other < part; other++) if (toNs < gap.beginsNs[other]!) return false;
    for (let other = part + 1; other <= Part.replaced; other++) if (fromNs > gap.endsNs[other]!) return false;
    return true;
  }

  #put(at: number, ordinal: number, part: Part): void {
    const gap = this.#gaps[at]!;
    const { fromNs, toNs } = this.#operations[ordinal]!;
    gap.beginsNs[part] = Math.max(gap.beginsNs[part]!, fromNs);
    gap.endsNs[part] = Math.min(gap.endsNs[part]!, toNs);
    if (part === Part.seen) gap.seen.push(ordinal);
    else if (part === Part.missed) gap.missed.push(ordinal);
    else if (part === Part.replaced) gap.replaced.push(ordinal);
    else gap.removal = ordinal;
    for (let later = at + 1; later < this.#gaps.length && this.#gaps[later]!.fromNs < fromNs; later++)
      this.#gaps[later]!.fromNs = fromNs;
    for (let earlier = at - 1; earlier >= 0 && this.#gaps[earlier]!.untilNs > toNs; earlier--)
      this.#gaps[earlier]!.untilNs = toNs;
  }

  /** Puts the removal that must be over first into the gap, before what then finds nothing. */
  #removeIn(at: number, missed?: number): boolean {
    const gap = this.#gaps[at]!;
    if (gap.removal !== undefined || gap.item.presence === Presence.absent) return false;
    const untilNs = missed === undefined ? Infinity : this.#operations[missed]!.toNs;
    for (const ordinal of this.#removals)
      if (this.#operations[ordinal]!.fromNs <= untilNs && this.#fits(at, ordinal, Part.removal))
        return this.#remove(at, ordinal);
    return this.#fill(at, untilNs, new Set([at]));
  }

  /** Takes a removal from another gap. */
  #fill(at: number, untilNs: number, tried: Set<number>): boolean {
    const last = Math.min(at + MOVED, this.#gaps.length - 1);
    for (let from = Math.max(0, at - MOVED); from <= last; from++) {
      const { removal } = this.#gaps[from]!;
      if (removal === undefined || tried.has(from) || tried.size > MOVES) continue;
      if (this.#operations[removal]!.fromNs > untilNs || !this.#fits(at, removal, Part.removal)) continue;
      tried.add(from);
      if (this.#move(removal, from, at, tried)) return true;
    }
    return false;
  }

  /** From one gap to another one; what found nothing behind it does so elsewhere, or behind another removal. */
  #move(removal: number, from: number, to: number, tried: Set<number>): boolean {
    const giver = this.#gaps[from]!;
    const taker = this.#gaps[to]!;
    const had = taker.missed.length;
    this.#vacate(giver);
    this.#remove(to, removal);
    const homeless = giver.missed;
    giver.missed = [];
    giver.missed = homeless.filter((ordinal) => !this.#place(ordinal));
    this.#measure(giver);
    if (giver.missed.length === 0 && this.#isReplaced(from)) return true;
    if (this.#refill(from, tried)) return true;
    giver.missed.push(...taker.missed.splice(had));
    this.#vacate(taker);
    this.#remove(from, removal);
    this.#measure(giver);
    return false;
  }

  /** A removal for a gap in which something finds nothing. */
  #refill(at: number, tried: Set<number>): boolean {
    const { missed } = this.#gaps[at]!;
    const untilNs = missed.reduce((least, one) => Math.min(least, this.#operations[one]!.toNs), Infinity);
    for (const ordinal of this.#removals)
      if (this.#operations[ordinal]!.fromNs <= untilNs && this.#fits(at, ordinal, Part.removal))
        return this.#remove(at, ordinal);
    return this.#fill(at, untilNs, tried);
  }

  /** Other gaps stay as tight as it left them: that leaves less to try, and nothing wrong. */
  #vacate(gap: Gap): void {
    this.#isTight = true;
    gap.removal = undefined;
    gap.removed = undefined;
    this.#measure(gap);
  }

  #remove(at: number, ordinal: number): boolean {
    const gap = this.#gaps[at]!;
    const removed = this.#plainly(gap.item, ordinal);
    if (removed === undefined) return false;
    this.#put(at, ordinal, Part.removal);
    gap.removed = removed;
    this.#removals.delete(ordinal);
    return true;
  }

  /** Into a gap whose next change does not need the item; or in the place of another removal, for which there is one. */
  #placeRemoval(ordinal: number, tried = new Set<number>()): boolean {
    for (const at of this.#near(ordinal)) {
      const gap = this.#gaps[at]!;
      if (gap.removal !== undefined || gap.item.presence !== Presence.present || tried.has(at)) continue;
      if (!this.#fits(at, ordinal, Part.removal)) continue;
      if (!this.#isReplaced(at)) continue;
      if (this.#remove(at, ordinal)) return true;
    }
    for (const at of this.#near(ordinal)) {
      const gap = this.#gaps[at]!;
      const { removal } = gap;
      if (removal === undefined || tried.has(at) || tried.size > MOVES) continue;
      tried.add(at);
      this.#vacate(gap);
      const isMoved = this.#fits(at, ordinal, Part.removal) && this.#placeRemoval(removal, tried);
      this.#remove(at, isMoved ? ordinal : removal);
      if (isMoved) return true;
    }
    return false;
  }

  /** A store whose id nothing told, and which nobody saw: right before another one. */
  #placeStore(ordinal: number): boolean {
    for (const at of this.#near(ordinal)) {
      if (!this.#isReplaced(at)) continue;
      if (!this.#fits(at, ordinal, Part.replaced)) continue;
      this.#put(at, ordinal, Part.replaced);
      return true;
    }
    return false;
  }

  /** A read that tells which version it saw. */
  #placeSight(ordinal: number): boolean {
    const one = this.#operations[ordinal]!;
    const at = this.#ofId.get(one.cas) ?? 0;
    const gap = this.#gaps[at]!;
    if (!this.#fits(at, ordinal, Part.seen) || this.#plainly(gap.item, ordinal) === undefined) return false;
    this.#put(at, ordinal, Part.seen);
    return true;
  }

  /** What changes nothing, and names no version: where the item gives its answer. */
  #place(ordinal: number): boolean {
    for (const at of this.#near(ordinal)) {
      const gap = this.#gaps[at]!;
      if (this.#fits(at, ordinal, Part.seen) && this.#plainly(gap.item, ordinal) === gap.item) {
        this.#put(at, ordinal, Part.seen);
        return true;
      }
      if (gap.removed === undefined || !this.#fits(at, ordinal, Part.missed)) continue;
      if (this.#plainly(gap.removed, ordinal) !== gap.removed) continue;
      this.#put(at, ordinal, Part.missed);
      return true;
    }
    return false;
  }

  /** Gaps that its interval allows: the one at its beginning first, then those after it, then those before. */
  *#near(ordinal: number): Generator<number> {
    const one = this.#operations[ordinal]!;
    const [start, end] = [this.#first[ordinal]!, Math.min(this.#last[ordinal]!, this.#gaps.length - 1)];
    let low = start;
    let high = end + 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#gaps[middle]!.fromNs <= one.fromNs) low = middle + 1;
      else high = middle;
    }
    const first = Math.max(start, low - 1);
    for (let at = first; at <= end && at < first + NEAR; at++) {
      if (this.#gaps[at]!.fromNs > one.toNs) break;
      yield at;
    }
    for (let at = first - 1; at >= start && at > first - NEAR; at--) {
      if (this.#gaps[at]!.untilNs < one.fromNs) break;
      yield at;
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
    for (const { change, seen, removal, missed, replaced } of this.#gaps) {
      if (change !== undefined && !execute(change)) return undefined;
      if (!seen.toSorted(byBeginning).every(execute)) return undefined;
      if (removal !== undefined && !execute(removal)) return undefined;
      if (!missed.toSorted(byBeginning).every(execute)) return undefined;
      if (!replaced.toSorted(byBeginning).every(execute)) return undefined;
    }
    return order.length === this.#known.length ? order : undefined;
  }
}
