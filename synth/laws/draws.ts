// What is done next, by the shares of a mix.

import { normalized, type Mix, type MixOperation } from './mix.ts';
import { alias } from './numbers.ts';
import { Stratified, type Random } from './random.ts';

export type Shares = readonly (readonly [MixOperation, number])[];

/** What is read less is no part of multi-gets. */
const RARELY = 0.02;
/** Nor what was read so often more than its share. */
const MOST_SURPLUS = 50;
const GOLDEN = 0.6180339887498949;

/** An operation by its share, from one uniform number. */
function pickerOf(shares: Shares): (u: number) => MixOperation {
  const pick = alias(shares.map(([, part]) => part));
  return (u) => shares[pick(u)]![0];
}

/** One after the other, in all as the shares have it. */
export function drawnFrom(shares: Shares, random: Random): () => MixOperation {
  const pick = pickerOf(shares);
  const draws = new Stratified(random);
  return () => pick(draws.float());
}

export function isRead(operation: MixOperation): boolean {
  return operation === 'get' || operation === 'gets';
}

/** Numbers in [0, 1) that are even however few there are: multiples of the golden ratio, modulo one. */
class Even {
  #last: number;

  constructor(first: number) {
    this.#last = first;
  }

  next(): number {
    this.#last = (this.#last + GOLDEN) % 1;
    return this.#last;
  }
}

/** What is done to objects of a level and sort: in all as the mix has it, although multi-gets only read. */
export class Draws {
  readonly #any: (u: number) => MixOperation;
  readonly #unread: ((u: number) => MixOperation) | undefined;
  readonly #reads: number;
  /** Reads beyond their share. */
  #surplus = 0;
  readonly #all: Even;
  readonly #others: Even;

  constructor(mix: Mix, random: Random) {
    const shares = normalized(mix);
    const others = shares.filter(([name]) => !isRead(name));
    this.#any = pickerOf(shares);
    this.#reads = 1 - others.reduce((sum, [, part]) => sum + part, 0);
    this.#unread = this.#reads < 1 - 1e-9 ? pickerOf(others) : undefined;
    this.#all = new Even(random.float());
    this.#others = new Even(random.float());
  }

  draw(): MixOperation {
    const operation = this.#any(this.#all.next());
    if (this.#surplus < 1 || this.#unread === undefined || !isRead(operation)) return operation;
    this.#surplus--;
    return this.#unread(this.#others.next());
  }

  /** Whether it can be read now. */
  read(): boolean {
    if (this.#reads < RARELY || this.#surplus > MOST_SURPLUS) return false;
    this.#surplus += 1 - this.#reads;
    return true;
  }
}
