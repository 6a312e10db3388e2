// The oracle: is there an order of a key's operations, each inside its interval, in which one item gives every answer that
// came? The search is that of Wing and Gong as Lowe made it: it walks the beginnings and ends of the operations in the order
// of time, holds every state in which the item can be then together with which of the operations under way have been
// executed, and asks at an operation's end that it has been. Where no state is left, the operation that ends is one that no
// correct server can have answered so; the search goes on without it, so that one sick answer is one finding.

import { Status } from '../protocol/status.ts';
import { Classifier, isHit } from './classifier.ts';
import { itemName, mayShow, type Executed, type Explanation, type Wrong } from './explanation.ts';
import { Machine, Step, costs, type Circumstances, type Item, type Successor } from './item.ts';
import {
  Ending,
  UNKNOWN,
  areIdsInOrder,
  isAnswerOnly,
  isFinding,
  isNumbered,
  type Operation,
} from './operation.ts';
import { seek } from './seek.ts';
import { witness } from './witness.ts';

/** What becomes of an operation under way, in one way of seeing things. */
const Mode = {
  /** It is yet to be executed. */
  todo: 0,
  /** It may be executed, and need not: nobody knows whether it was, or another store came after it. */
  may: 1,
  done: 2,
} as const;

interface Trail {
  readonly previous: Trail | undefined;
  readonly ordinal: number;
  readonly step: Step;
  readonly item: Item;
  readonly before: Item;
}

interface State {
  item: Item;
  /** By slot of the operations under way. */
  modes: Uint8Array;
  /** The greatest CAS id that a change was answered with so far. */
  greatest: number;
  cost: number;
  trail: Trail | undefined;
}

/** How hard it is tried. */
interface Effort {
  /** Changes are executed in the order of their CAS ids, as memcached's are: it counts them up. */
  byIds: boolean;
  /** An item may be lost before an operation under way that does not end yet. */
  losesEarly: boolean;
  /** States that are held at once. */
  states: number;
  /** States that are looked at on the way to the end of one operation. */
  visited: number;
  /** Successors that are looked at in all. */
  work: number;
  /** What it says is of no use any more where it finds this; it ends there. */
  endsAt: 'wrong' | 'undecided' | undefined;
}

/** However hasty: enough for requests that race by twos and threes. */
const LEAST_WORK = 4_000;
/** A key with so few operations is searched whole. */
const FEW = 64;
/** Of the work on a key of many operations: more than in proportion to what has ended, for where most are at once. */
const HEADSTART = 0.15;
/** So many times as many states are found as are held then. */
const MANY = 16;
/** States with one item that are compared with each other. */
const MAX_ALIKE = 64;
const NO_SLOT = -1;
const COST_OF_WRONG = 1e6;

/**
 * The cheapest explanation. CAS ids tell in which order changes were executed, and connections in which order their requests
 * were, so that is tried first: it is quick, and what it explains is explained. Only where it fails every order is tried.
 * @param operations in the order of their beginnings
 * @param haste tries so many times less than it might
 */
export function explain(
  operations: readonly Operation[],
  initial: Item,
  about: Circumstances,
  haste = 1,
): Explanation {
  const { length } = operations;
  const narrow = { states: 256, visited: 4000, work: 20_000 + 300 * length };
  const wide =
    length <= FEW
      ? { states: 1024, visited: 20_000, work: 300_000 }
      : { states: 128, visited: 400, work: 20_000 + 200 * length };
  // There is one order: that of their times.
  if (areApart(operations))
    return new Search(operations, initial, about, {
      byIds: false,
      losesEarly: true,
      endsAt: undefined,
      ...wide,
    }).run();
  const byIds = areIdsInOrder(operations);
  const told = byIds && length > 2 ? witness(operations, initial, about) : undefined;
  if (told !== undefined) return told;
  let work = 0;
  // The best that explains all answers, and the best that says of each whether it is right.
  let clean: Explanation | undefined;
  let decided: Explanation | undefined;
  for (const loses of [false, true]) {
    const sought = seek(operations, initial, about, { byIds, loses, haste });
    work += sought.work;
    clean ??= sought.found;
    if (clean?.isWhole === true) return { ...clean, work };
  }
  // Only the last of them counts where it leaves something undecided; the first one only where it explains everything.
  const attempts: Effort[] = [
    { byIds, losesEarly: false, endsAt: 'wrong', ...narrow },
    { byIds, losesEarly: true, endsAt: byIds ? 'undecided' : undefined, ...wide },
  ];
  if (byIds) attempts.push({ byIds: false, losesEarly: true, endsAt: undefined, ...wide });
  let last: Explanation | undefined;
  for (const effort of attempts) {
    const limit = Math.max(LEAST_WORK, effort.work / haste);
    last = new Search(operations, initial, about, { ...effort, work: limit }).run();
    work += last.work;
    if (isClean(last)) {
      // Another order may need no loss.
      if (last.cost < costs[Step.evicted]! || (effort.losesEarly && last.isWhole)) return { ...last, work };
      if (clean === undefined || last.cost < clean.cost) clean = { ...last, isWhole: false };
    }
    if (effort.losesEarly && last.undecided.length === 0) decided = last;
  }
  // Of many operations at once not all orders can be tried; then what was found counts.
  const best = clean ?? (last!.undecided.length > 0 ? decided : undefined) ?? last!;
  return { ...best, work };
}

/** Each is over before the next begins. */
function areApart(operations: readonly Operation[]): boolean {
  return operations.every(
    ({ ending, fromNs }, n) => ending === Ending.known && (n === 0 || operations[n - 1]!.toNs < fromNs),
  );
}

function isClean({ wrong, undecided }: Explanation): boolean {
  return wrong.length === 0 && undecided.length === 0;
}

class Search {
  readonly #operations: readonly Operation[];
  readonly #machine: Machine;
  readonly #classifier: Classifier;
  readonly #isOverwriting: boolean[];
  /** By ordinal: what it does and is answered; undefined: no other one is the same. */
  readonly #kinds: (string | undefined)[];
  /** By ordinal. */
  readonly #slotOf: Int32Array;
  /** By slot: the ordinal under way; or none. */
  readonly #slots: number[] = [];
  readonly #free: number[] = [];
  /** Ordinals under way. */
  readonly #pending: number[] = [];
  /** By ordinal: 1: another operation was under way at the same time. */
  readonly #overlaps: Uint8Array;
  #states: State[];
  #isTruncated = false;
  /** It was, at any time. */
  #wasTruncated = false;
  #work = 0;
  readonly #effort: Effort;
  readonly #wrong: Wrong[] = [];
  readonly #undecided: number[] = [];

  constructor(operations: readonly Operation[], initial: Item, about: Circumstances, effort: Effort) {
    this.#operations = operations;
    this.#effort = effort;
    this.#machine = new Machine(about);
    this.#classifier = new Classifier(operations, this.#machine, about);
    this.#machine.bornNs = (ordinal) => operations[ordinal]?.fromNs ?? -Infinity;
    this.#isOverwriting = operations.map(
      (operation, ordinal) => overwrites(operation) && isOwn(operation, ordinal, about),
    );
    this.#kinds = operations.map(kindOf);
    this.#slotOf = new Int32Array(operations.length).fill(NO_SLOT);
    this.#overlaps = new Uint8Array(operations.length);
    this.#states = [{ item: initial, modes: new Uint8Array(4), greatest: 0, cost: 0, trail: undefined }];
    if (initial.value !== UNKNOWN) this.#classifier.had.add(initial.value);
  }

  run(): Explanation {
    const operations = this.#operations;
    const ends = Array.from(operations.keys())
      .filter((ordinal) => operations[ordinal]!.ending === Ending.known)
      .toSorted((a, b) => operations[a]!.toNs - operations[b]!.toNs || a - b);
    let begun = 0;
    for (const [n, ordinal] of ends.entries()) {
      const { toNs } = operations[ordinal]!;
      // What begins at the very moment at which another ends overlaps it.
      while (begun < operations.length && operations[begun]!.fromNs <= toNs) this.#begin(begun++);
      this.#end(ordinal);
      if (this.#isUseless(n / ends.length)) {
        // What is left was not tried.
        this.#undecided.push(...ends.slice(n + 1));
        break;
      }
    }
    const best = this.#states.reduce((a, b) => (b.cost < a.cost ? b : a));
    const order: Executed[] = [];
    for (let at = best.trail; at !== undefined; at = at.previous) order.push(at);
    return {
      order: order.toReversed(),
      wrong: this.#wrong,
      undecided: this.#undecided,
      cost: best.cost,
      isWhole: !this.#wasTruncated,
      work: this.#work,
    };
  }

  /** @param share of the operations that have ended */
  #isUseless(share: number): boolean {
    const { endsAt, work } = this.#effort;
    if (endsAt === undefined) return false;
    // What takes far more than its share at the beginning does not come to the end.
    const isLate = this.#operations.length > FEW && this.#work > work * (HEADSTART + share);
    return isLate || this.#undecided.length > 0 || (endsAt === 'wrong' && this.#wrong.length > 0);
  }

  #begin(ordinal: number): void {
    const slot = this.#free.pop() ?? this.#slots.length;
    this.#slots[slot] = ordinal;
    this.#slotOf[ordinal] = slot;
    if (this.#pending.length > 0) {
      this.#overlaps[ordinal] = 1;
      for (const other of this.#pending) this.#overlaps[other] = 1;
    }
    this.#pending.push(ordinal);
    const mode = this.#operations[ordinal]!.ending === Ending.open ? Mode.may : Mode.todo;
    for (const state of this.#states) {
      if (slot >= state.modes.length) {
        const wider = new Uint8Array(state.modes.length * 2);
        wider.set(state.modes);
        state.modes = wider;
      }
      state.modes[slot] = mode;
      if (mode === Mode.todo) this.#answer(state, ordinal);
    }
  }

  /** An operation that changes nothing is executed as soon as the item gives its answer: waiting cannot help. */
  #answer(state: State, ordinal: number): void {
    const operation = this.#operations[ordinal]!;
    const { item } = state;
    if (!isAnswerOnly(operation) || !mayShow(operation, item)) return;
    const [first] = this.#machine.after(item, operation, ordinal);
    if (first === undefined || first.item !== item || first.step !== Step.none) return;
    state.modes[this.#slotOf[ordinal]!] = Mode.done;
    state.trail = { previous: state.trail, ordinal, step: Step.none, item, before: item };
  }

  #end(ordinal: number): void {
    const slot = this.#slotOf[ordinal]!;
    const next: State[] = [];
    let isTruncated = false;
    const [state] = this.#states as [State];
    if (this.#pending.length === 1 && this.#states.length === 1 && state.modes[slot] !== Mode.may) {
      // Most operations are alone, on a key whose state is known.
      if (state.modes[slot] === Mode.done) next.push(state);
      else
        for (const successor of this.#machine.after(state.item, this.#operations[ordinal]!, ordinal))
          if (this.#isInOrder(state, ordinal)) next.push(this.#advance(state, ordinal, successor));
    } else {
      const most = this.#effort.states * MANY;
      for (const one of this.#states) {
        if (one.modes[slot] !== Mode.todo) next.push(one);
        if (one.modes[slot] === Mode.done) continue;
        if (next.length > most) isTruncated = true;
        else isTruncated = this.#reach(one, ordinal, next) || isTruncated;
      }
    }
    if (isTruncated || this.#isTruncated) this.#wasTruncated = true;
    if (next.length === 0) this.#fail(ordinal, isTruncated || this.#isTruncated);
    else this.#states = next;
    this.#leave(ordinal, slot);
    if (this.#states.length > 1) this.#reduce();
    // A store that nothing overlaps leaves one item, whatever was there: nothing else makes up for what was not tried.
    else if (this.#isOverwriting[ordinal] === true && this.#overlaps[ordinal] === 0)
      this.#isTruncated = false;
    if (isTruncated) this.#isTruncated = true;
    if (this.#isTruncated) this.#wasTruncated = true;
  }

  #leave(ordinal: number, slot: number): void {
    this.#pending.splice(this.#pending.indexOf(ordinal), 1);
    this.#slotOf[ordinal] = NO_SLOT;
    this.#slots[slot] = NO_SLOT;
    this.#free.push(slot);
    for (const state of this.#states) state.modes[slot] = Mode.todo;
  }

  /**
   * All states in which the item can be right after the operation has been executed, others before it.
   * @returns whether there may be more, which it took too long to find
   */
  #reach(from: State, ordinal: number, into: State[]): boolean {
    const operation = this.#operations[ordinal]!;
    const seen = new Set<string>();
    const stack: State[] = [from];
    let visited = 0;
    for (let state = stack.pop(); state !== undefined; state = stack.pop()) {
      const slot = this.#slotOf[ordinal]!;
      if (state.modes[slot] === Mode.done) {
        // What another one left gave its answer.
        into.push(state);
        continue;
      }
      let isReached = false;
      const isPlain = isAnswerOnly(operation);
      for (const successor of this.#machine.after(state.item, operation, ordinal)) {
        if (!this.#isInOrder(state, ordinal)) break;
        const next = this.#advance(state, ordinal, successor);
        if (this.#effort.byIds && this.#isDead(next)) continue;
        into.push(next);
        // What shows more of the item than was known may as well show another item.
        isReached ||= successor.step === Step.none && (!isPlain || successor.item === state.item);
      }
      const others = this.#othersOf(state, ordinal);
      if (others.length === 0) continue;
      // A store leaves nothing of what was there: another one before it is of use only to what stands between the two.
      const areStores = !this.#effort.byIds && this.#areStores(state, ordinal);
      if (areStores && isReached && (this.#isOverwriting[ordinal] === true || isPlain)) continue;
      if (++visited > this.#effort.visited || this.#work > this.#effort.work) return true;
      for (const other of others) {
        // What it takes grows with what is under way.
        this.#work += 1 + (this.#pending.length >> 3);
        for (const successor of this.#machine.after(state.item, this.#operations[other]!, other)) {
          if (!this.#effort.losesEarly && costs[successor.step]! >= costs[Step.evicted]!) continue;
          if (areStores && this.#machine.after(successor.item, operation, ordinal).length === 0) continue;
          const next = this.#advance(state, other, successor);
          if (this.#effort.byIds && this.#isDead(next)) continue;
          const name = nameOf(next);
          if (seen.has(name)) continue;
          seen.add(name);
          stack.push(next);
        }
      }
    }
    return false;
  }

  /** All that is under way besides is stores. */
  #areStores({ modes }: State, ordinal: number): boolean {
    return this.#pending.every(
      (other) =>
        other === ordinal || this.#isOverwriting[other] === true || modes[this.#slotOf[other]!] === Mode.done,
    );
  }

  /** Operations under way that are worth trying before this one. */
  #othersOf(state: State, ordinal: number): number[] {
    const others: number[] = [];
    const { cas } = this.#operations[ordinal]!;
    const next = this.#effort.byIds ? this.#nextChange(state, ordinal) : undefined;
    for (const other of this.#pending) {
      if (other === ordinal || state.modes[this.#slotOf[other]!] === Mode.done) continue;
      const one = this.#operations[other]!;
      if (this.#effort.byIds && isNumbered(one) && (other !== next || (cas !== 0 && one.cas > cas))) continue;
      // What the item cannot show now changes nothing that would let it.
      if (isAnswerOnly(one) && !mayShow(one, state.item) && !this.#mayBeGone(one, state.item)) continue;
      if (this.#isLaterTwin(state, other)) continue;
      others.push(other);
    }
    return others;
  }

  /** One that does the same and ends earlier is under way too: whatever comes of this one now comes of that one. */
  #isLaterTwin({ modes }: State, ordinal: number): boolean {
    const kind = this.#kinds[ordinal];
    if (kind === undefined) return false;
    const mode = modes[this.#slotOf[ordinal]!];
    const { toNs } = this.#operations[ordinal]!;
    return this.#pending.some((other) => {
      if (other === ordinal || this.#kinds[other] !== kind || modes[this.#slotOf[other]!] !== mode)
        return false;
      const end = this.#operations[other]!.toNs;
      return end < toNs || (end === toNs && other < ordinal);
    });
  }

  /** A read under way shows a version that was replaced: with ids that grow it does not come again. */
  #isDead({ item, modes, greatest }: State): boolean {
    for (const other of this.#pending) {
      if (modes[this.#slotOf[other]!] !== Mode.todo) continue;
      const one = this.#operations[other]!;
      if (one.cas !== 0 && isFinding(one) && one.cas <= greatest && one.cas !== item.cas) return true;
    }
    return false;
  }

  /** The operation finds nothing, and the item may be lost just before. */
  #mayBeGone({ status, toNs }: Operation, { mayExpireNs }: Item): boolean {
    return status !== Status.ok && (this.#effort.losesEarly || toNs >= mayExpireNs);
  }

  /** The change under way with the smallest CAS id: it is the next of them to be executed. */
  #nextChange(state: State, except: number): number | undefined {
    let next: number | undefined;
    for (const other of this.#pending) {
      if (other === except || state.modes[this.#slotOf[other]!] === Mode.done) continue;
      const one = this.#operations[other]!;
      if (isNumbered(one) && (next === undefined || one.cas < this.#operations[next]!.cas)) next = other;
    }
    return next;
  }

  /** Its turn has come, as far as CAS ids tell. */
  #isInOrder(state: State, ordinal: number): boolean {
    if (!this.#effort.byIds) return true;
    const operation = this.#operations[ordinal]!;
    const { cas } = operation;
    if (cas === 0) return true;
    if (isNumbered(operation) && cas <= state.greatest) return false;
    const next = this.#nextChange(state, ordinal);
    return next === undefined || this.#operations[next]!.cas > cas;
  }

  #advance(state: State, ordinal: number, { item, step }: Successor): State {
    const { modes, cost, trail } = state;
    const { cas } = this.#operations[ordinal]!;
    const next: State = {
      item,
      modes: modes.slice(),
      greatest: isFinding(this.#operations[ordinal]!) ? state.greatest : Math.max(state.greatest, cas),
      cost: cost + costs[step]!,
      trail: { previous: trail, ordinal, step, item, before: state.item },
    };
    next.modes[this.#slotOf[ordinal]!] = Mode.done;
    if (item.value !== UNKNOWN) this.#classifier.had.add(item.value);
    if (this.#isOverwriting[ordinal] === true)
      for (const other of this.#pending)
        if (
          this.#isOverwriting[other] === true &&
          next.modes[this.#slotOf[other]!] === Mode.todo &&
          !(this.#effort.byIds && isNumbered(this.#operations[other]!))
        )
          next.modes[this.#slotOf[other]!] = Mode.may;
    if (item !== state.item)
      for (const other of this.#pending)
        if (next.modes[this.#slotOf[other]!] === Mode.todo) this.#answer(next, other);
    return next;
  }

  /** One state of those that are alike, and none where another allows all that it does, at no more cost. */
  #reduce(): void {
    const byItem = new Map<string, State[]>();
    for (const state of this.#states) {
      const name = itemName(state.item);
      const alike = byItem.get(name);
      if (alike === undefined) {
        byItem.set(name, [state]);
        continue;
      }
      if (alike.length >= MAX_ALIKE) {
        this.#isTruncated = true;
        continue;
      }
      if (alike.some((other) => allows(other, state))) continue;
      byItem.set(name, [...alike.filter((other) => !allows(state, other)), state]);
    }
    let states = [...byItem.values()].flat();
    if (states.length > this.#effort.states) {
      states = states.toSorted((a, b) => a.cost - b.cost).slice(0, this.#effort.states);
      this.#isTruncated = true;
    }
    this.#states = states;
  }

  // ---- Answers that cannot be.

  #fail(ordinal: number, isTruncated: boolean): void {
    const operation = this.#operations[ordinal]!;
    const slot = this.#slotOf[ordinal]!;
    const items = this.#states.map(({ item }) => item);
    const isUndecided = isTruncated && !this.#classifier.isCertain(ordinal, items);
    const verdict = isUndecided ? undefined : this.#classifier.classify(ordinal, items);
    if (verdict === undefined) this.#undecided.push(ordinal);
    else this.#wrong.push({ ordinal, ...verdict });
    const next: State[] = [];
    for (const state of this.#states) {
      const without = { ...state, modes: state.modes.slice(), cost: state.cost + COST_OF_WRONG };
      without.modes[slot] = Mode.done;
      next.push(without);
      // Its answer is wrong: it did nothing, or what a correct server does, or what it said.
      for (const successor of this.#machine.natural(state.item, operation, ordinal))
        next.push(this.#advance(without, ordinal, successor));
      const claimed =
        verdict?.kind === 'resurrected' && isHit(operation)
          ? this.#machine.believed(operation)
          : this.#machine.forced(state.item, operation, ordinal);
      if (claimed !== undefined)
        next.push(this.#advance(without, ordinal, { item: claimed, step: Step.none }));
    }
    this.#states = next;
  }
}

/** Its success leaves nothing of what was there, whatever that was. */
function overwrites({ family, ending, status, hasCas }: Operation): boolean {
  if (family === 'flush') return true;
  return family === 'set' && !hasCas && (ending === Ending.open || status === Status.ok);
}

/** Operations of one kind do the same; undefined: it makes a version that can be told from others. */
function kindOf(operation: Operation): string | undefined {
  const { family, ending, status, value, flags, mayLiveNs, delta, initial, tokens, result } = operation;
  if (operation.cas !== 0 || (mayLiveNs !== Infinity && status === Status.ok) || isFinding(operation))
    return undefined;
  const asked = `${family} ${value} ${flags} ${delta} ${initial} ${operation.mayCreate} ${operation.hasCas}`;
  return `${asked} ${tokens?.join(',')} ${ending} ${status} ${result}`;
}

/** The CAS id that it told can be that of its own version alone: of those that a restart may repeat nobody knows. */
function isOwn({ cas, fromNs }: Operation, ordinal: number, about: Circumstances): boolean {
  if (cas === 0) return true;
  const { madeBy, toldNs, repeated } = about;
  return !repeated.has(cas) && madeBy.get(cas) === ordinal && (toldNs.get(cas) ?? Infinity) >= fromNs;
}

function nameOf({ item, modes }: State): string {
  return `${itemName(item)} ${modes.join('')}`;
}

/** Whatever the second state can still explain, the first one can, and it needs no more losses. */
function allows(a: State, b: State): boolean {
  if (a.cost > b.cost || a.greatest > b.greatest) return false;
  for (let slot = 0; slot < a.modes.length; slot++) {
    const [one, other] = [a.modes[slot]!, b.modes[slot] ?? Mode.todo];
    if (one !== other && one !== Mode.may) return false;
  }
  return true;
}
