// Which kind of violation an answer is that no state of its key gives.

import { isCounter, isStore } from '../protocol/semantics.ts';
import { Status } from '../protocol/status.ts';
import { Absence, Presence, type Circumstances, type Item, type Machine } from './item.ts';
import { Ending, UNKNOWN, isFinding, type Operation } from './operation.ts';
import type { ViolationKind } from './verdict.ts';

interface Cause {
  kind: ViolationKind;
  why: string;
}

export class Classifier {
  readonly #operations: readonly Operation[];
  readonly #machine: Machine;
  readonly #about: Circumstances;
  /** Numbers of the values that the key had in some way of seeing things. */
  readonly had = new Set<number>();
  /** By number of a value: when a store of it was sent first. */
  #sentNs: Map<number, number> | undefined;
  /** Every value that the key has is one that a request carries. */
  #isPlain: boolean | undefined;

  constructor(operations: readonly Operation[], machine: Machine, about: Circumstances) {
    this.#operations = operations;
    this.#machine = machine;
    this.#about = about;
  }

  /** Whatever the order: the value was never the key's. */
  isCertain(ordinal: number, items: readonly Item[]): boolean {
    const operation = this.#operations[ordinal]!;
    if (!isHit(operation) || operation.family === 'touch' || this.#about.hidesJoined) return false;
    this.#isPlain ??= this.#operations.every(
      (other) => isStore(other.family) || plainFamilies.has(other.family),
    );
    return (
      this.#isPlain &&
      !this.#sentFrom(operation.read, Infinity) &&
      items.every(({ value, presence }) => value !== UNKNOWN || presence === Presence.absent)
    );
  }

  /** Which kind of violation the answer is, where none of the items gives it. */
  classify(ordinal: number, items: readonly Item[]): Cause {
    const operation = this.#operations[ordinal]!;
    const { family, status, hasCas } = operation;
    if (isHit(operation)) return this.#classifyRead(operation, items);
    if (this.#isIdWrong(operation, ordinal, items))
      return { kind: 'cas', why: 'it changed the item, and its CAS id is that of another version' };
    const there = items.filter(({ presence }) => presence !== Presence.absent);
    const gone = items.filter(({ presence }) => presence === Presence.absent);
    if (
      isCounter(family) &&
      status === Status.ok &&
      there.length > 0 &&
      !this.#isTokenWrong(operation, ordinal, there)
    )
      return { kind: 'counter', why: 'no value that the counter can have had gives this result' };
    if (isCounter(family))
      if (status === Status.nonNumeric && there.length > 0)
        return { kind: 'wrong-status', why: 'every value that the key can have had is a number' };
    if (hasCas && there.length > 0)
      return status === Status.ok
        ? { kind: 'cas', why: 'it succeeded, and the version that it names had been replaced before' }
        : { kind: 'cas', why: 'it failed, and nothing can have replaced the version that it names' };
    if (
      gone.length > 0 &&
      (status === Status.ok || status === Status.exists || status === Status.nonNumeric)
    ) {
      if (gone.some(({ absence }) => absence === Absence.lost || absence === Absence.expired))
        return { kind: 'resurrected', why: 'the key was gone, nothing stored it again, and it was there' };
      return {
        kind: isCounter(family) ? 'counter' : 'wrong-status',
        why: 'the key cannot be present: nothing stored it, or it was removed before',
      };
    }
    return { kind: 'wrong-status', why: 'no state in which the key can be gives this answer' };
  }

  /** But for the CAS id that it was answered with, the item gives the answer. */
  #isIdWrong(operation: Operation, ordinal: number, items: readonly Item[]): boolean {
    if (operation.status !== Status.ok || operation.cas === 0) return false;
    const without = { ...operation, cas: 0 };
    return items.some((item) => this.#machine.after(item, without, ordinal).length > 0);
  }

  /** But for the version that it names, the item gives the answer. */
  #isTokenWrong(operation: Operation, ordinal: number, items: readonly Item[]): boolean {
    if (!operation.hasCas) return false;
    const without = { ...operation, hasCas: false, tokens: undefined };
    return items.some((item) => this.#machine.after(item, without, ordinal).length > 0);
  }

  #classifyRead(operation: Operation, items: readonly Item[]): Cause {
    const { read, fromNs, family } = operation;
    const there = items.filter(({ presence }) => presence !== Presence.absent);
    const shown = family === 'touch' ? there : there.filter((item) => this.#machine.shows(item, read));
    if (shown.length > 0) {
      if (shown.every(({ mustExpireNs }) => mustExpireNs < fromNs))
        return { kind: 'stale-value', why: 'the value was to expire, and should have been gone for long' };
      if (shown.every(({ flags }) => flags !== UNKNOWN && flags !== operation.readFlags))
        return { kind: 'wrong-flags', why: 'the value is right, and nothing stored it with these flags' };
      return { kind: 'cas', why: 'the value is right, and the CAS id is that of another version' };
    }
    const wasLost = items.some(
      ({ presence, absence }) =>
        presence === Presence.absent && (absence === Absence.lost || absence === Absence.expired),
    );
    const isKnown = family === 'touch' || this.had.has(read);
    if (wasLost && isKnown)
      return { kind: 'resurrected', why: 'the key was gone, nothing stored it again, and it was there' };
    if (family === 'touch')
      return { kind: 'wrong-status', why: 'the key cannot be present: nothing stored it, or it was removed' };
    if (isKnown || this.#sentFrom(read, fromNs))
      return { kind: 'stale-value', why: 'the value was replaced or removed before this request was sent' };
    return { kind: 'wrong-value', why: 'nothing that this replay did gives the key this value' };
  }

  /** A store of the value had been sent by then: of a value that the search did not come by. */
  #sentFrom(read: number, fromNs: number): boolean {
    if (this.#sentNs === undefined) {
      this.#sentNs = new Map();
      for (const other of this.#operations)
        if (isStore(other.family) && wasDone(other) && !this.#sentNs.has(other.value))
          this.#sentNs.set(other.value, other.fromNs);
    }
    return (this.#sentNs.get(read) ?? Infinity) < fromNs;
  }
}

const plainFamilies: ReadonlySet<Operation['family']> = new Set(['get', 'delete', 'flush', 'touch', 'gat']);

function wasDone({ ending, status }: Operation): boolean {
  return ending === Ending.open || status === Status.ok;
}

/** It was found: a value or flags were read. */
export function isHit(operation: Operation): boolean {
  return operation.ending === Ending.known && operation.status === Status.ok && isFinding(operation);
}
