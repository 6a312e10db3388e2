// A quick way to an order that explains a key's answers: depth first, one item at a time. It keeps to the order of each
// connection's requests, and of CAS ids where these grow, as memcached's do; of the requests that may come next the likeliest
// is tried first, and where nothing fits it goes back to the last choice. What it finds explains all answers. Where it finds
// nothing, that means nothing: the search decides.

import { itemName, mayShow, type Executed, type Explanation } from './explanation.ts';
import { Machine, Step, costs, type Circumstances, type Item, type Successor } from './item.ts';
import { Ending, isAnswerOnly, isNumbered, type Operation } from './operation.ts';

/** Requests that are tried at most: so many, and so many for each operation. */
const LEAST_STEPS = 2000;
const STEPS_EACH = 20;

export interface SeekOptions {
  /** CAS ids of changes that came one after the other grow. */
  byIds: boolean;
  /** An item may be lost on the way. */
  loses: boolean;
  /** Tries so many times less than it might. */
  haste: number;
}

interface Choice extends Successor {
  ordinal: number;
  /** Those with less are tried first. */
  rank: number;
}

/** Where one of several requests was taken. */
interface Fork {
  item: Item;
  choices: Choice[];
  /** What had been executed. */
  executed: number;
  cost: number;
}

/**
 * @param operations in the order of their beginnings
 * @returns what it found, if anything, and how many requests were tried
 */
export function seek(
  operations: readonly Operation[],
  initial: Item,
  about: Circumstances,
  options: SeekOptions,
): { found: Explanation | undefined; work: number } {
  const seeker = new Seeker(operations, initial, about, options);
  const found = seeker.run(LEAST_STEPS + (STEPS_EACH * operations.length) / options.haste);
  return { found, work: seeker.work };
}

class Seeker {
  readonly #operations: readonly Operation[];
  readonly #machine: Machine;
  readonly #loses: boolean;
  readonly #byIds: boolean;
  /** Ordinals of each connection's operations, and how many from the first on are done. */
  readonly #connections: number[][] = [];
  readonly #heads: number[] = [];
  readonly #connectionOf: Int32Array;
  readonly #done: Uint8Array;
  /** Known operations by end, and how many from the first on are done; likewise changes by id. */
  readonly #ends: number[];
  #ended = 0;
  readonly #numbered: number[];
  #counted = 0;
  #item: Item;
  #cost = 0;
  readonly #executed: Executed[] = [];
  readonly #forks: Fork[] = [];
  /** What was tried in vain, by the operations that were done and the item. */
  readonly #seen = new Set<string>();
  #hashHigh = 0;
  #hashLow = 0;
  work = 0;

  constructor(
    operations: readonly Operation[],
    initial: Item,
    about: Circumstances,
    { byIds, loses }: SeekOptions,
  ) {
    this.#operations = operations;
    this.#loses = loses;
    this.#byIds = byIds;
    this.#item = initial;
    this.#machine = new Machine(about);
    this.#machine.bornNs = (ordinal) => operations[ordinal]?.fromNs ?? -Infinity;
    this.#done = new Uint8Array(operations.length);
    this.#connectionOf = new Int32Array(operations.length);
    const places = new Map<number, number>();
    for (const [ordinal, { connection }] of operations.entries()) {
      let place = places.get(connection);
      if (place === undefined) {
        place = places.size;
        places.set(connection, place);
        this.#connections.push([]);
        this.#heads.push(0);
      }
      this.#connections[place]!.push(ordinal);
      this.#connectionOf[ordinal] = place;
    }
    this.#ends = [...operations.keys()]
      .filter((ordinal) => operations[ordinal]!.ending === Ending.known)
      .toSorted((a, b) => operations[a]!.toNs - operations[b]!.toNs || a - b);
    this.#numbered = byIds
      ? [...operations.keys()]
          .filter((ordinal) => isNumbered(operations[ordinal]!))
          .toSorted((a, b) => operations[a]!.cas - operations[b]!.cas)
      : [];
  }

  run(most: number): Explanation | undefined {
    for (;;) {
      this.#settle();
      if (this.#ended === this.#ends.length)
        return {
          order: this.#executed,
          wrong: [],
          undecided: [],
          cost: this.#cost,
          isWhole: this.#cost < costs[Step.evicted]!,
          work: this.work,
        };
      const name = `${this.#hashHigh} ${this.#hashLow} ${itemName(this.#item)}`;
      if (!this.#seen.has(name)) {
        this.#seen.add(name);
        const choices = this.#choices();
        if (choices.length > 0)
          this.#forks.push({ item: this.#item, choices, executed: this.#executed.length, cost: this.#cost });
      }
      if (this.work > most || !this.#goOn()) return undefined;
    }
  }

  /** Takes the next choice, of the last fork that has one left. */
  #goOn(): boolean {
    for (let fork = this.#forks.at(-1); fork !== undefined; fork = this.#forks.at(-1)) {
      while (this.#executed.length > fork.executed) this.#undo();
      const choice = fork.choices.pop();
      if (choice === undefined) {
        this.#forks.pop();
        continue;
      }
      this.#item = fork.item;
      this.#cost = fork.cost + costs[choice.step]!;
      this.#do(choice);
      return true;
    }
    return false;
  }

  /** Until when an operation must have begun to be the next one: all others that are left end later. */
  get #limitNs(): number {
    const ordinal = this.#ends[this.#ended];
    return ordinal === undefined ? Infinity : this.#operations[ordinal]!.toNs;
  }

  /** What only tells of the item is executed as soon as the item gives its answer: waiting cannot help. */
  #settle(): void {
    for (const [place, all] of this.#connections.entries())
      for (;;) {
        const ordinal = all[this.#heads[place]!];
        if (ordinal === undefined) break;
        const operation = this.#operations[ordinal]!;
        if (operation.fromNs > this.#limitNs || operation.ending === Ending.open) break;
        if (!isAnswerOnly(operation) || !mayShow(operation, this.#item)) break;
        this.work++;
        const [first] = this.#machine.after(this.#item, operation, ordinal);
        if (first === undefined || first.item !== this.#item || first.step !== Step.none) break;
        this.#do({ ...first, ordinal });
      }
  }

  /** The likeliest stands last. */
  #choices(): Choice[] {
    const choices: Choice[] = [];
    const limitNs = this.#limitNs;
    const next = this.#numbered[this.#counted];
    for (const [place, all] of this.#connections.entries())
      for (let at = this.#heads[place]!; at < all.length; at++) {
        const ordinal = all[at]!;
        if (this.#done[ordinal] === 1) continue;
        const operation = this.#operations[ordinal]!;
        if (operation.fromNs > limitNs) break;
        if (!this.#byIds || !isNumbered(operation) || ordinal === next)
          this.#add(ordinal, operation, choices);
        // Nobody knows whether it was executed: what its connection sent later need not wait for it.
        if (operation.ending !== Ending.open) break;
      }
    return choices.toSorted((a, b) => b.rank - a.rank);
  }

  #add(ordinal: number, operation: Operation, into: Choice[]): void {
    if (isAnswerOnly(operation) && !this.#loses && !mayShow(operation, this.#item)) {
      // It may have expired.
      if (operation.toNs < this.#item.mayExpireNs) return;
    }
    this.work++;
    for (const { item, step } of this.#machine.after(this.#item, operation, ordinal)) {
      const cost = costs[step]!;
      if (cost >= costs[Step.evicted]! && !this.#loses) continue;
      // Rather without a loss.
      into.push({ ordinal, item, step, rank: cost * 4 + this.#patience(operation) });
    }
  }

  /** How long it can wait: the change with the next id cannot, nor what stands before it; what nobody saw can longest. */
  #patience(operation: Operation): number {
    if (operation.ending === Ending.open) return 3;
    if (this.#byIds && isNumbered(operation)) return 0;
    const next = this.#numbered[this.#counted];
    if (next !== undefined && this.#operations[next]!.connection === operation.connection) return 1;
    return 2 - 1 / (1 + operation.toNs);
  }

  #do({ ordinal, item, step }: Pick<Choice, 'ordinal' | 'item' | 'step'>): void {
    this.#executed.push({ ordinal, step, before: this.#item, item });
    this.#item = item;
    this.#mark(ordinal, 1);
    this.#skipDone(this.#connectionOf[ordinal]!);
  }

  #undo(): void {
    const { ordinal } = this.#executed.pop()!;
    this.#mark(ordinal, 0);
    const { toNs, cas } = this.#operations[ordinal]!;
    const place = this.#connectionOf[ordinal]!;
    const all = this.#connections[place]!;
    while (this.#heads[place]! > 0 && all[this.#heads[place]! - 1]! >= ordinal) this.#heads[place]!--;
    while (this.#ended > 0 && this.#operations[this.#ends[this.#ended - 1]!]!.toNs >= toNs) this.#ended--;
    if (this.#byIds && isNumbered(this.#operations[ordinal]!))
      while (this.#counted > 0 && this.#operations[this.#numbered[this.#counted - 1]!]!.cas >= cas)
        this.#counted--;
    this.#skipDone(place);
  }

  /** Moves on to the first of each list that is not done. */
  #skipDone(place: number): void {
    const all = this.#connections[place]!;
    while (this.#heads[place]! < all.length && this.#done[all[this.#heads[place]!]!] === 1)
      this.#heads[place]!++;
    while (this.#ended < this.#ends.length && this.#done[this.#ends[this.#ended]!] === 1) this.#ended++;
    while (this.#counted < this.#numbered.length && this.#done[this.#numbered[this.#counted]!] === 1)
      this.#counted++;
  }

  #mark(ordinal: number, done: 0 | 1): void {
    this.#done[ordinal] = done;
    // Each operation's own bits: sets of them are alike where these are.
    const high = Math.imul(ordinal + 1, 0x9e3779b1);
    const low = Math.imul(ordinal + 1, 0x85ebca77) ^ 0x27d4eb2f;
    this.#hashHigh ^= Math.imul(high ^ (high >>> 15), 0x2c1b3c6d);
    this.#hashLow ^= Math.imul(low ^ (low >>> 13), 0x297a2d39);
  }
}
