// The one item under a key as the oracle imagines it, and what an operation with a given answer makes of it. An answer that
// the item cannot give leaves no successor; where a correct server had a choice there are several.

import { applyDelta, parseCounter, readsPastItsEnd } from '../protocol/counter.ts';
import { Effect, counterTexts, effectOfRefusal } from '../protocol/semantics.ts';
import { Status } from '../protocol/status.ts';
import { Ending, UNKNOWN, type Operation, type Values } from './operation.ts';

/** Why an item is absent. */
export const Absence = {
  /** It was not there from the beginning. */
  never: 0,
  /** It was evicted, or the server lost it. */
  lost: 1,
  expired: 2,
  /** A request of this replay removed it. */
  removed: 3,
} as const;
export type Absence = (typeof Absence)[keyof typeof Absence];

export const Presence = { absent: 0, present: 1, unknown: 2 } as const;
export type Presence = (typeof Presence)[keyof typeof Presence];

/** A CAS id that a read told of a version whose own answer told none; a chain, the latest first. */
export interface ToldId {
  cas: number;
  by: number;
  previous: ToldId | undefined;
  /** Of the whole chain. */
  hash: number;
}

function chained(cas: number, by: number, previous: ToldId | undefined): ToldId {
  const hash = Math.imul(Math.imul((previous?.hash ?? 0) ^ by, 0x01000193) ^ (cas | 0), 0x85ebca6b);
  return { cas, by, previous, hash: hash ^ (hash >>> 15) };
}

/** Immutable. */
export interface Item {
  presence: Presence;
  /** Number of its value; UNKNOWN. */
  value: number;
  /** The value is digits, and spaces may stand behind them: how long the item was before is not known. */
  isLoose: boolean;
  /** UNKNOWN where nothing told them. */
  flags: number;
  /** CAS id; 0: nothing told it. */
  cas: number;
  /** It may be gone from here on, and must be gone from there on; ns since the replay's start. */
  mayExpireNs: number;
  mustExpireNs: number;
  /** Ordinal of the operation that made this version; -1: it was there before. */
  by: number;
  absence: Absence;
  /** Ids of this version and those before it that reads told. */
  told: ToldId | undefined;
}

/** What happened inside the server besides the operation. */
export const Step = {
  none: 0,
  /** The item was evicted, or lost, just before. */
  evicted: 1,
  expired: 2,
  /** The server had no room for the result, and kept the item. */
  noRoom: 3,
} as const;
export type Step = (typeof Step)[keyof typeof Step];

/** What a step costs: of all explanations that one stands which needs the fewest losses. */
export const costs: readonly number[] = [0, 1000, 1, 1000];

export interface Successor {
  item: Item;
  step: Step;
}

const absent = (absence: Absence): Item => ({
  presence: Presence.absent,
  value: UNKNOWN,
  isLoose: false,
  flags: UNKNOWN,
  cas: 0,
  mayExpireNs: Infinity,
  mustExpireNs: Infinity,
  by: -1,
  absence,
  told: undefined,
});

/** What is left of an item that is gone: the ids that its versions had. */
function leaves(item: Item, nothing: Item): Item {
  return item.told === undefined ? nothing : { ...nothing, told: item.told };
}

const neverThere = absent(Absence.never);
const lost = absent(Absence.lost);
const expired = absent(Absence.expired);
const removed = absent(Absence.removed);

/** What others may have stored before the replay, with any expiry. */
export const unknownItem: Item = { ...neverThere, presence: Presence.unknown, mayExpireNs: -Infinity };
export { neverThere };

/** A value that was set before the replay. */
export function prefilled(value: number, flags: number): Item {
  return { ...neverThere, presence: Presence.present, value, flags };
}

/** What the oracle must know besides the item. */
export interface Circumstances {
  values: Values;
  /** Results of concatenations, or of counters, are not in the trace. */
  hidesJoined: boolean;
  hidesNumbers: boolean;
  /** The target showed that it ran out of memory: an APPEND may find no room, and the item stays. */
  isShort: boolean;
  /** CAS id -> end of the first operation that told it, ns. */
  toldNs: ReadonlyMap<number, number>;
  /** The target may have restarted meanwhile. */
  mayRestart: boolean;
  /**
   * CAS ids that stand in more than one request or answer, and may be those of several versions: a server that restarts counts
   * from 1 again, and has lost all by then. Empty where the target is known not to have restarted: no two versions share one.
   */
  repeated: ReadonlySet<number>;
  /** CAS id -> ordinal of the operation whose answer gave it to the version that it made. */
  madeBy: ReadonlyMap<number, number>;
}

const nothing: readonly Successor[] = [];
/** Ids that are looked at for whether one was another version's: of operations that overlap there are few. */
const MAX_TOLD = 256;
/** From this size on a concatenation may pass the item limit, whose value is not known. */
const LARGE_BYTES = 500_000;

/** Whether the item's version may be the one that the request names, and whether it may be another. */
interface Agreement {
  agrees: boolean;
  differs: boolean;
}
const plain: Agreement = { agrees: true, differs: false };
const either: Agreement = { agrees: true, differs: true };

export class Machine {
  readonly #about: Circumstances;

  constructor(about: Circumstances) {
    this.#about = about;
  }

  /** The states in which the item can be after the operation has given its answer; `ordinal` is the operation's. */
  after(item: Item, operation: Operation, ordinal: number): readonly Successor[] {
    if (!this.#about.mayRestart) return this.#after(item, operation, ordinal);
    const all = this.#after(this.#withNamed(item, operation), operation, ordinal);
    if (item.told === undefined) return all;
    const sure = all.map((successor) => this.#withoutOldIds(successor, ordinal));
    if (operation.status !== Status.ok || item.presence === Presence.absent) return sure;
    // It may have found nothing: what was there had been lost before.
    const lostBefore = gone({ ...item, told: undefined }, operation).flatMap(({ item: left, step }) =>
      this.#after(left, operation, ordinal).map(({ item: next }) => ({ item: next, step })),
    );
    return [...sure, ...lostBefore];
  }

  /** Where a request succeeds that names a version, the version has the id that was named. */
  #withNamed(item: Item, { hasCas, tokens, status }: Operation): Item {
    if (!hasCas || status !== Status.ok || tokens?.length !== 1) return item;
    if (item.cas !== 0 || item.presence !== Presence.present) return item;
    const [token = 0] = tokens;
    return this.#about.repeated.has(token) && this.#mayBe(item, token)
      ? { ...item, cas: token, told: chained(token, item.by, item.told) }
      : item;
  }

  /** What was lost, perhaps in a restart, takes its ids with it, and what is not there may miss a restart. */
  #withoutOldIds({ item, step }: Successor, ordinal: number): Successor {
    if (item.presence === Presence.absent) return { item: { ...item, told: undefined }, step };
    if (step !== Step.evicted && step !== Step.expired) return { item, step };
    return { item: { ...item, told: this.#toldOf(item, ordinal, undefined) }, step };
  }

  /** Ids that may not come again before the item is lost. */
  #toldOf({ cas }: Pick<Item, 'cas'>, ordinal: number, previous: ToldId | undefined): ToldId | undefined {
    return cas !== 0 && this.#about.repeated.has(cas) ? chained(cas, ordinal, previous) : previous;
  }

  #after(item: Item, operation: Operation, ordinal: number): readonly Successor[] {
    if (operation.ending === Ending.open) return this.#open(item, operation, ordinal);
    const { family, status } = operation;
    if (status === Status.tooLarge || status === Status.outOfMemory)
      return effectOfRefusal(family) === Effect.remove
        ? [{ item: leaves(item, removed), step: Step.none }]
        : same(item);
    switch (family) {
      case 'get':
      case 'gat':
      case 'touch':
        return status === Status.ok ? this.#found(item, operation) : gone(item, operation);
      case 'set':
      case 'add':
      case 'replace':
        return this.#stored(item, operation, ordinal);
      case 'append':
      case 'prepend':
        return this.#joined(item, operation, ordinal);
      case 'delete':
        return this.#deleted(item, operation);
      case 'incr':
      case 'decr':
        return this.#counted(item, operation, ordinal);
      case 'flush':
        return [{ item: leaves(item, removed), step: Step.none }];
      default:
        return same(item);
    }
  }

  /** What a correct server makes of the item, whatever the answer said. */
  natural(item: Item, operation: Operation, ordinal: number): readonly Successor[] {
    return this.#open(item, { ...operation, result: undefined, cas: 0 }, ordinal);
  }

  /** What the operation claims to have done, whether or not the item allows it. */
  forced(item: Item, operation: Operation, ordinal: number): Item | undefined {
    if (operation.ending !== Ending.known || operation.status !== Status.ok) return undefined;
    switch (operation.family) {
      case 'set':
      case 'add':
      case 'replace':
        return this.#version(item, operation, ordinal, { cas: 0 });
      case 'delete':
        return leaves(item, removed);
      case 'append':
      case 'prepend':
        return { ...this.#concatenation(item, operation, ordinal), cas: 0 };
      case 'incr':
      case 'decr':
        if (operation.result === undefined) return undefined;
        return {
          ...this.#counter(item, operation, ordinal, operation.result.toString()),
          isLoose: true,
          cas: 0,
        };
      default:
        return undefined;
    }
  }

  /** The item as a read showed it. */
  believed(operation: Operation): Item {
    return {
      ...neverThere,
      presence: Presence.present,
      value: operation.read,
      flags: operation.readFlags,
      cas: operation.cas,
    };
  }

  /** Whether a read of this item shows the value. */
  shows(item: Item, read: number): boolean {
    if (item.value === read) return true;
    const { values } = this.#about;
    return item.isLoose && values.text(read).trimEnd() === values.text(item.value);
  }

  #found(item: Item, operation: Operation): readonly Successor[] {
    if (!isThere(item, operation)) return nothing;
    const { read, readFlags, family } = operation;
    const seen = { ...item, presence: Presence.present };
    let isNew = item.presence !== Presence.present;
    if (family !== 'touch') {
      if (item.value === UNKNOWN) {
        if (!this.#about.hidesJoined) {
          seen.value = read;
          isNew = true;
        }
      } else if (item.value !== read) {
        if (!this.shows(item, read)) return nothing;
        seen.value = read;
        seen.isLoose = false;
        isNew = true;
      } else if (item.isLoose) {
        seen.isLoose = false;
        isNew = true;
      }
    }
    if (readFlags !== UNKNOWN && item.flags !== readFlags) {
      if (item.flags !== UNKNOWN) return nothing;
      seen.flags = readFlags;
      isNew = true;
    }
    if (operation.cas !== 0 && operation.cas !== item.cas) {
      if (item.cas !== 0 || !this.#mayBe(item, operation.cas)) return nothing;
      seen.cas = operation.cas;
      seen.told = chained(operation.cas, item.by, item.told);
      isNew = true;
    }
    if (family !== 'get') {
      seen.mayExpireNs = operation.fromNs + operation.mayLiveNs;
      seen.mustExpireNs = operation.toNs + operation.mustDieNs;
      isNew = true;
    }
    return [{ item: isNew ? seen : item, step: Step.none }];
  }

  /** Can the version, whose id nothing told so far, have this one? */
  #mayBe(item: Item, cas: number): boolean {
    const { toldNs, madeBy } = this.#about;
    const maker = this.#about.repeated.has(cas) ? undefined : madeBy.get(cas);
    if (maker !== undefined) return maker === item.by;
    if (isOfAnother(item, cas)) return false;
    return item.by < 0 || this.#about.mayRestart || (toldNs.get(cas) ?? Infinity) >= this.bornNs(item.by);
  }

  /** A new version has an id that no other version had. */
  #isFresh(item: Item, { cas, fromNs }: Operation, ordinal: number): boolean {
    if (cas === 0) return true;
    const { toldNs, madeBy, repeated } = this.#about;
    if (repeated.has(cas)) {
      return cas !== item.cas && !isOfAnother(item, cas);
    }
    return cas !== item.cas && madeBy.get(cas) === ordinal && (toldNs.get(cas) ?? Infinity) >= fromNs;
  }

  /** When the operation with this ordinal was sent; the search sets it. */
  bornNs: (ordinal: number) => number = () => -Infinity;

  #agreement(item: Item, { hasCas, tokens }: Operation): Agreement {
    if (!hasCas) return plain;
    if (tokens === undefined) return either;
    if (item.cas !== 0) {
      const agrees = tokens.includes(item.cas);
      return { agrees, differs: !agrees || tokens.length > 1 };
    }
    if (item.presence === Presence.unknown || item.by < 0) return either;
    return { agrees: tokens.some((token) => this.#mayBe(item, token)), differs: true };
  }

  #version(item: Item, operation: Operation, ordinal: number, more: Partial<Item> = {}): Item {
    return {
      presence: Presence.present,
      value: operation.value,
      isLoose: false,
      flags: operation.flags,
      cas: operation.cas,
      mayExpireNs: operation.fromNs + operation.mayLiveNs,
      mustExpireNs: operation.toNs + operation.mustDieNs,
      by: ordinal,
      absence: Absence.never,
      told: this.#toldOf(operation, ordinal, item.told),
      ...more,
    };
  }

  #stored(item: Item, operation: Operation, ordinal: number): readonly Successor[] {
    const { family, status, hasCas } = operation;
    const { agrees, differs } = this.#agreement(item, operation);
    switch (status) {
      case Status.ok: {
        if (!this.#isFresh(item, operation, ordinal)) return nothing;
        const next = this.#version(item, operation, ordinal);
        if (hasCas) return isThere(item, operation) && agrees ? [{ item: next, step: Step.none }] : nothing;
        if (family === 'set') return [{ item: next, step: Step.none }];
        if (family === 'replace')
          return isThere(item, operation) ? [{ item: next, step: Step.none }] : nothing;
        return gone(item, operation).map(({ step }) => ({ item: next, step }));
      }
      case Status.exists:
        if (hasCas) return isThere(item, operation) && differs ? present(item) : nothing;
        return family === 'add' && isThere(item, operation) ? present(item) : nothing;
      case Status.notFound:
        return hasCas || family === 'replace' ? gone(item, operation) : nothing;
      default:
        return nothing;
    }
  }

  #concatenation(item: Item, operation: Operation, ordinal: number): Item {
    const { values, hidesJoined } = this.#about;
    const isHidden = hidesJoined || item.value === UNKNOWN || operation.value === UNKNOWN;
    const texts = isHidden ? ['', ''] : [values.text(item.value), values.text(operation.value)];
    const joined = operation.family === 'append' ? `${texts[0]}${texts[1]}` : `${texts[1]}${texts[0]}`;
    return {
      ...item,
      presence: Presence.present,
      value: isHidden || (item.isLoose && operation.family === 'append') ? UNKNOWN : values.number(joined),
      cas: operation.cas,
      by: ordinal,
      told: this.#toldOf(operation, ordinal, item.told),
    };
  }

  #joined(item: Item, operation: Operation, ordinal: number): readonly Successor[] {
    const { agrees, differs } = this.#agreement(item, operation);
    switch (operation.status) {
      case Status.ok:
        if (!isThere(item, operation) || !agrees || !this.#isFresh(item, operation, ordinal)) return nothing;
        return [{ item: this.#concatenation(item, operation, ordinal), step: Step.none }];
      case Status.exists:
        return operation.hasCas && isThere(item, operation) && differs ? present(item) : nothing;
      case Status.notStored: {
        const absences = gone(item, operation);
        if (item.presence !== Presence.present || !this.#mayLackRoom(item, operation)) return absences;
        return [...absences, { item, step: Step.noRoom }];
      }
      default:
        return nothing;
    }
  }

  #mayLackRoom(item: Item, operation: Operation): boolean {
    const { values, isShort } = this.#about;
    if (isShort || item.value === UNKNOWN || operation.value === UNKNOWN) return true;
    return values.text(item.value).length + values.text(operation.value).length >= LARGE_BYTES;
  }

  #deleted(item: Item, operation: Operation): readonly Successor[] {
    const { agrees, differs } = this.#agreement(item, operation);
    switch (operation.status) {
      case Status.ok:
        return isThere(item, operation) && agrees
          ? [{ item: leaves(item, removed), step: Step.none }]
          : nothing;
      case Status.exists:
        return operation.hasCas && isThere(item, operation) && differs ? present(item) : nothing;
      case Status.notFound:
        return gone(item, operation);
      default:
        return nothing;
    }
  }

  #counter(item: Item, operation: Operation, ordinal: number, text: string): Item {
    const { values, hidesNumbers } = this.#about;
    return {
      ...item,
      presence: Presence.present,
      value: hidesNumbers ? UNKNOWN : values.number(text),
      isLoose: false,
      cas: operation.cas,
      by: ordinal,
      told: this.#toldOf(operation, ordinal, item.told),
    };
  }

  #created(item: Item, operation: Operation, ordinal: number): Item {
    const { values, hidesNumbers } = this.#about;
    const value = hidesNumbers ? UNKNOWN : values.number(operation.initial.toString());
    return this.#version(item, operation, ordinal, { value, flags: 0 });
  }

  #counted(item: Item, operation: Operation, ordinal: number): readonly Successor[] {
    const { status, mayCreate, result, initial, isContended, hasCas } = operation;
    const { hidesNumbers } = this.#about;
    const { agrees, differs } = this.#agreement(item, operation);
    switch (status) {
      case Status.ok: {
        const found: Successor[] = [];
        if (!this.#isFresh(item, operation, ordinal)) return nothing;
        if (mayCreate && (result === undefined || hidesNumbers || result === initial))
          for (const { step } of gone(item, operation))
            found.push({ item: this.#created(item, operation, ordinal), step });
        if (isThere(item, operation) && agrees)
          for (const next of this.#sums(item, operation, ordinal))
            found.push({ item: next, step: Step.none });
        return found;
      }
      case Status.notFound:
        return mayCreate ? nothing : gone(item, operation);
      case Status.exists:
        // An empty value is refused before the CAS id is looked at, and what is no number after it.
        return hasCas && isThere(item, operation) && differs && !this.#isEmpty(item)
          ? present(item)
          : nothing;
      case Status.nonNumeric: {
        const isRefused = this.#mayBeNoNumber(item) && (agrees || this.#isEmpty(item));
        return isThere(item, operation) && isRefused ? present(item) : nothing;
      }
      case Status.notStored:
        return isContended ? same(item) : nothing;
      default:
        return nothing;
    }
  }

  #isEmpty({ value }: Item): boolean {
    return value !== UNKNOWN && this.#about.values.text(value) === '';
  }

  /** It is none, or the server may find it to be none in the memory behind it. */
  #mayBeNoNumber(item: Item): boolean {
    return this.#numberOf(item) === undefined || this.#readsPast(item);
  }

  #readsPast({ value }: Item): boolean {
    if (value === UNKNOWN) return false;
    const bytes = Buffer.from(this.#about.values.text(value), 'latin1');
    return readsPastItsEnd(bytes, bytes.length);
  }

  /** Undefined: it is no number, or the value is not known. */
  #numberOf(item: Item): bigint | undefined {
    if (item.value === UNKNOWN) return undefined;
    const bytes = Buffer.from(this.#about.values.text(item.value), 'latin1');
    return parseCounter(bytes, bytes.length);
  }

  /** The item after the counter has counted; nothing where it cannot have given this result. */
  #sums(item: Item, operation: Operation, ordinal: number): Item[] {
    const { result, delta, family } = operation;
    if (item.value === UNKNOWN) {
      if (result === undefined)
        return [{ ...item, presence: Presence.present, cas: operation.cas, by: ordinal }];
      return [{ ...this.#counter(item, operation, ordinal, result.toString()), isLoose: true }];
    }
    const before = this.#numberOf(item);
    if (before === undefined) {
      // White space alone: the digits are those of whatever stands behind it in memory.
      if (!this.#readsPast(item)) return [];
      if (result === undefined)
        return [{ ...item, presence: Presence.present, value: UNKNOWN, cas: operation.cas, by: ordinal }];
      const { length } = this.#about.values.text(item.value);
      return counterTexts(result, length).map((text) => this.#counter(item, operation, ordinal, text));
    }
    const sum = applyDelta(before, delta, family === 'incr');
    if (result !== undefined && result !== sum) return [];
    if (item.isLoose) return [{ ...this.#counter(item, operation, ordinal, sum.toString()), isLoose: true }];
    const { length } = this.#about.values.text(item.value);
    return counterTexts(sum, length).map((text) => this.#counter(item, operation, ordinal, text));
  }

  /** An operation of which nobody knows the answer: what a correct server makes of the item, if it ran at all. */
  #open(item: Item, operation: Operation, ordinal: number): readonly Successor[] {
    const { family, mayCreate } = operation;
    const one = (next: Item): readonly Successor[] => [{ item: next, step: Step.none }];
    const there = isThere(item, operation);
    const { agrees } = this.#agreement(item, operation);
    switch (family) {
      case 'set':
      case 'add':
      case 'replace': {
        if (family === 'add' && !operation.hasCas)
          return gone(item, operation).map((left) => ({
            item: this.#version(left.item, operation, ordinal),
            step: left.step,
          }));
        const may = operation.hasCas ? there && agrees : family === 'set' || there;
        return may ? one(this.#version(item, operation, ordinal)) : nothing;
      }
      case 'append':
      case 'prepend':
        return there && agrees ? one(this.#concatenation(item, operation, ordinal)) : nothing;
      case 'delete':
        return there && agrees ? one(leaves(item, removed)) : nothing;
      case 'flush':
        return one(leaves(item, removed));
      case 'incr':
      case 'decr': {
        const all: Successor[] = [];
        if (there && agrees)
          for (const next of this.#sums(item, operation, ordinal)) all.push({ item: next, step: Step.none });
        if (mayCreate)
          for (const { step } of gone(item, operation))
            all.push({ item: this.#created(item, operation, ordinal), step });
        return all;
      }
      case 'touch':
      case 'gat':
        if (!there) return nothing;
        return one({
          ...item,
          presence: Presence.present,
          mayExpireNs: Math.min(item.mayExpireNs, operation.fromNs + operation.mayLiveNs),
          mustExpireNs: Infinity,
        });
      default:
        return nothing;
    }
  }
}

/** The id was told of a version that the item had before. */
function isOfAnother({ told, by }: Item, cas: number): boolean {
  for (let n = 0; told !== undefined && n < MAX_TOLD; n++, told = told.previous)
    if (told.cas === cas && told.by !== by) return true;
  return false;
}

const same = (item: Item): readonly Successor[] => [{ item, step: Step.none }];

/** It is there, for sure now. */
function present(item: Item): readonly Successor[] {
  return same(item.presence === Presence.present ? item : { ...item, presence: Presence.present });
}

/** Can the operation find the item? */
function isThere(item: Item, { fromNs }: Operation): boolean {
  return item.presence !== Presence.absent && item.mustExpireNs >= fromNs;
}

/** Absence is always legal: the item was evicted, unless it may just have expired. */
function gone(item: Item, { toNs }: Operation): readonly Successor[] {
  if (item.presence === Presence.absent) return same(item);
  if (item.presence === Presence.unknown) return [{ item: leaves(item, neverThere), step: Step.none }];
  if (toNs >= item.mayExpireNs) return [{ item: leaves(item, expired), step: Step.expired }];
  return [{ item: leaves(item, lost), step: Step.evicted }];
}
