// One operation on one key as the oracle sees it: what was asked, what was answered, and the interval in which the server
// executed it, from the sending of the request to the first byte of its answer.

import type { Family } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import type { UntestableKind } from './verdict.ts';

/** How an operation ended. */
export const Ending = {
  /** It was answered, or is proven silent: what it answered is evidence. */
  known: 0,
  /** Nobody knows whether it was executed: its connection ended, or nothing proved its silence. */
  open: 1,
} as const;
export type Ending = (typeof Ending)[keyof typeof Ending];

/** The number of a value that is not known. */
export const UNKNOWN = -1;

export interface Operation {
  /** Index of the exchange in the replay; -1: it belongs to none. */
  index: number;
  connection: number;
  opcode: number;
  family: Family;
  ending: Ending;
  /** ns since the replay's start; toNs is Infinity where there is no end. */
  fromNs: number;
  toNs: number;
  /** What the answer says, or its silence means; of an open one without meaning. */
  status: number;
  silent: boolean;
  /** Number of the value that was read; UNKNOWN where the answer has none. */
  read: number;
  /** Flags that were read; UNKNOWN where the answer has none. */
  readFlags: number;
  /** CAS id in the answer; 0: none. */
  cas: number;
  /** Result of a counter; undefined where the answer has none. */
  result: bigint | undefined;
  /** Number of the request's value; UNKNOWN where it has none. */
  value: number;
  flags: number;
  /** An item that gets this operation's expiry may be gone so long after its execution, ns, and must be so long after. */
  mayLiveNs: number;
  mustDieNs: number;
  delta: bigint;
  initial: bigint;
  mayCreate: boolean;
  /** The request names a version. */
  hasCas: boolean;
  /** CAS ids of the target of which one was sent; undefined: it is not known which. */
  tokens: readonly number[] | undefined;
  /** The recording does not know the request's value: bytes derived from the key were sent for it. */
  isMadeUp: boolean;
  /** Another operation that may change the key was under way at the same time. */
  isContended: boolean;
  /** The recording has another answer, or none. */
  differs: boolean;
  /** There is a verdict on it that needs no history. */
  isJudged: boolean;
  /** Why the recording has no answer to compare with. */
  unrecorded: UntestableKind | undefined;
  /** The same in the recording: -1 where it does not know the answer. */
  recordedStatus: number;
  recordedFromNs: number;
  recordedToNs: number;
}

const SLOTS = 1 << 13;

/** Numbers of values that stand in one heap, by their place modulo the number of slots. */
class Places {
  heap: Buffer | undefined;
  readonly #at = new Int32Array(SLOTS).fill(UNKNOWN);
  readonly #lengths = new Int32Array(SLOTS);
  readonly #numbers = new Int32Array(SLOTS);

  begin(heap: Buffer): void {
    this.heap = heap;
    this.#at.fill(UNKNOWN);
  }

  /** UNKNOWN where nobody put one there. */
  get(at: number, length: number): number {
    const slot = Math.imul(at, 0x9e3779b1) >>> 19;
    return this.#at[slot] === at && this.#lengths[slot] === length ? this.#numbers[slot]! : UNKNOWN;
  }

  put(at: number, length: number, number: number): void {
    const slot = Math.imul(at, 0x9e3779b1) >>> 19;
    this.#at[slot] = at;
    this.#lengths[slot] = length;
    this.#numbers[slot] = number;
  }
}

/** Distinct values by number, so that two of them are compared as numbers. latin1. */
export class Values {
  readonly #numbers = new Map<string, number>();
  readonly #texts: string[] = [];
  /** Of the heap that was looked at last, and of the one before: a block of a trace, and one of results. */
  #last = new Places();
  #before = new Places();

  /** The number of heap[at, at + length). A block holds a string once: what stands in it is looked at once. */
  of(heap: Buffer, at: number, length: number): number {
    if (this.#last.heap !== heap) {
      [this.#last, this.#before] = [this.#before, this.#last];
      if (this.#last.heap !== heap) this.#last.begin(heap);
    }
    const places = this.#last;
    const known = places.get(at, length);
    if (known !== UNKNOWN) return known;
    const number = this.number(heap.toString('latin1', at, at + length));
    places.put(at, length, number);
    return number;
  }

  number(text: string): number {
    let known = this.#numbers.get(text);
    if (known === undefined) {
      known = this.#texts.length;
      this.#numbers.set(text, known);
      this.#texts.push(text);
    }
    return known;
  }

  text(number: number): string {
    return this.#texts[number]!;
  }
}

/** It looks for the item, and at most changes its expiry. */
export function isFinding({ family }: Pick<Operation, 'family'>): boolean {
  return family === 'get' || family === 'gat' || family === 'touch';
}

/** A change that was answered with the id of the version that it made. */
export function isNumbered(operation: Operation): boolean {
  return operation.cas !== 0 && !isFinding(operation);
}

/** It tells of the item, and changes nothing. */
export function isAnswerOnly({ family, status }: Operation): boolean {
  if (family === 'get') return true;
  if (status === Status.tooLarge || status === Status.outOfMemory) return family !== 'set';
  return status !== Status.ok;
}

/** Changes that came one after the other have ids that grow: those of memcached do. */
export function areIdsInOrder(operations: readonly Operation[]): boolean {
  const changes = operations.filter(isNumbered);
  if (changes.length === 0 || new Set(changes.map(({ cas }) => cas)).size < changes.length) return false;
  const byEnd = changes.toSorted((a, b) => a.toNs - b.toNs);
  let ended = 0;
  let greatest = 0;
  for (const { fromNs, cas } of changes) {
    while (ended < byEnd.length && byEnd[ended]!.toNs < fromNs)
      greatest = Math.max(greatest, byEnd[ended++]!.cas);
    if (cas <= greatest) return false;
  }
  return true;
}
