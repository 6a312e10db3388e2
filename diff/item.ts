// The one item under a key as the oracle imagines it, and what an operation with a given answer makes of it. An answer that
// the item cannot give leaves no successor; where a correct server had a choice there are several.

import { applyDelta, parseCounter, readsPastItsEnd } from '../protocol/counter.ts';
import {
  Effect,
  counterTexts,
  decide,
  decideCounter,
  effectOfRefusal,
  isCounter,
  makesVersion,
  type Decision,
  type Found,
} from '../protocol/semantics.ts';
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

/** Nobody changes one that others may have seen. */
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

/** An item to be changed before anybody sees it. All are made of the same fields in the same order, as V8 likes it. */
function copyOf(item: Item): Item {
  const { presence, value, isLoose, flags, cas, mayExpireNs, mustExpireNs, by, absence, told } = item;
  return { presence, value, isLoose, flags, cas, mayExpireNs, mustExpireNs, by, absence, told };
}

function withTold(item: Item, told: ToldId | undefined): Item {
  const next = copyOf(item);
  next.told = told;
  return next;
}

/** What is left of an item that is gone: the ids that its versions had. */
function leaves(item: Item, nothing: Item): Item {
  return item.told === undefined ? nothing : withTold(nothing, item.told);
}

const neverThere = absent(Absence.never);
const lost = absent(Absence.lost);
const expired = absent(Absence.expired);
const removed = absent(Absence.removed);

/** What others may have stored before the replay, with any expiry. */
export const unknownItem: Item = copyOf(neverThere);
unknownItem.presence = Presence.unknown;
unknownItem.mayExpireNs = -Infinity;
export { neverThere };

/** A value that was set before the replay. */
export function prefilled(value: number, flags: number): Item {
  const item = copyOf(neverThere);
  item.presence = Presence.present;
  item.value = value;
  item.flags = flags;
  return item;
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
const both = [true, false];
const isOne = [true];
const isNone = [false];
const plain: Agreement = { agrees: true, differs: false };
const either: Agreement = { agrees: true, differs: true };

export class Machine {
  readonly #about: Circumstances;

  constructor(about: Circumstances) {
    this.#about = about;
  }

  /**
   * The states in which the item can be after the operation has given its answer; `ordinal` is the operation's.
   * @param isPlain where one of them needs no loss, the others may be left out
   */
  after(item: Item, operation: Operation, ordinal: number, isPlain = false): readonly Successor[] {
    const all = this.#after(item, operation, ordinal, isPlain);
    if (!this.#about.mayRestart) return all;
    const sure = all.map((successor) => this.#withoutOldIds(successor, ordinal));
    if (item.told === undefined || operation.status !== Status.ok || item.presence === Presence.absent)
      return sure;
    // It may have found nothing: what was there had been lost before.
    const { item: left, step } = gone(withTold(item, undefined), operation);
    const lostBefore = this.#after(left, operation, ordinal, isPlain);
    return [...sure, ...lostBefore.map(({ item: next }) => ({ item: next, step }))];
  }

  /** What was lost, perhaps in a restart, takes its ids with it, and what is not there may miss a restart. */
  #withoutOldIds({ item, step }: Successor, ordinal: number): Successor {
    if (item.told === undefined) return { item, step };
    if (item.presence === Presence.absent) return { item: withTold(item, undefined), step };
    if (step !== Step.evicted && step !== Step.expired) return { item, step };
    return { item: withTold(item, this.#toldOf(item, ordinal, undefined)), step };
  }

  /** Ids that may not come again before the item is lost. */
  #toldOf({ cas }: Pick<Item, 'cas'>, ordinal: number, previous: ToldId | undefined): ToldId | undefined {
    return cas !== 0 && this.#about.repeated.has(cas) ? chained(cas, ordinal, previous) : previous;
  }

  /** Of every way in which the operation can have found the item, what gives its answer. */
  #after(item: Item, operation: Operation, ordinal: number, isPlain: boolean): readonly Successor[] {
    if (operation.ending === Ending.open) return this.#open(item, operation, ordinal);
    const { family, status, isContended } = operation;
    if (status === Status.tooLarge || status === Status.outOfMemory)
      return effectOfRefusal(family) === Effect.remove
        ? [{ item: leaves(item, removed), step: Step.none }]
        : same(item);
    const all = this.#executed(item, operation, ordinal, isPlain);
    if (status !== Status.notStored) return all;
    // Another connection made the counter between two steps of this one.
    if (isCounter(family)) return isContended ? same(item) : nothing;
    const lacksRoom = item.presence === Presence.present && this.#mayLackRoom(item, operation);
    return lacksRoom ? [...all, { item, step: Step.noRoom }] : all;
  }

  #executed(item: Item, operation: Operation, ordinal: number, isPlain = false): Successor[] {
    const { hasCas, family } = operation;
    const into: Successor[] = [];
    // It tells nothing of what was there.
    if ((family === 'set' && !hasCas) || family === 'flush') {
      this.#try(item, { isThere: true, casAgrees: true, hasCas }, operation, ordinal, Step.none, into);
      return into;
    }
    if (isThere(item, operation)) {
      const { agrees, differs } = this.#agreement(item, operation);
      const seen = this.#named(item, operation);
      if (agrees)
        this.#try(seen, { isThere: true, casAgrees: true, hasCas }, operation, ordinal, Step.none, into);
      if (differs)
        this.#try(item, { isThere: true, casAgrees: false, hasCas }, operation, ordinal, Step.none, into);
    }
    if (isPlain && into.length > 0) return into;
    const { item: left, step } = gone(item, operation);
    this.#try(left, { isThere: false, casAgrees: false, hasCas }, operation, ordinal, step, into);
    return into;
  }

  /** Adds what becomes of an item that was found so, where it gives the answer. */
  #try(item: Item, found: Found, operation: Operation, ordinal: number, step: Step, into: Successor[]): void {
    for (const { status, effect } of this.#decisions(item, found, operation))
      if (status === operation.status) this.#do(effect, item, found, operation, ordinal, step, into);
  }

  /** What the server may decide: of a counter whose value is not known, it is not known either. */
  #decisions(item: Item, found: Found, { family, mayCreate }: Operation): readonly Decision[] {
    if (!isCounter(family)) return [decide(family, found)];
    const isEmpty = found.isThere && this.#isEmpty(item);
    const numbers = found.isThere ? this.#numbersOf(item) : isNone;
    return numbers.map((isNumber) => decideCounter(found, isEmpty, isNumber, mayCreate));
  }

  #do(
    effect: Effect,
    item: Item,
    { isThere: wasThere }: Found,
    operation: Operation,
    ordinal: number,
    step: Step,
    into: Successor[],
  ): void {
    if (makesVersion(effect) && !this.#isFresh(item, operation, ordinal)) return;
    switch (effect) {
      case Effect.store:
        into.push({ item: this.#version(item, operation, ordinal), step });
        break;
      case Effect.concatenate:
        into.push({ item: this.#concatenation(item, operation, ordinal), step });
        break;
      case Effect.count:
        for (const next of this.#sums(item, operation, ordinal)) into.push({ item: next, step });
        break;
      case Effect.create:
        if (this.#begins(operation)) into.push({ item: this.#created(item, operation, ordinal), step });
        break;
      case Effect.remove:
        into.push({ item: leaves(item, removed), step });
        break;
      case Effect.touch:
        this.#found(item, operation, into);
        break;
      default:
        if (operation.family === 'get' && wasThere) this.#found(item, operation, into);
        else into.push({ item: wasThere ? present(item) : item, step });
    }
  }

  /** The operation only shows the item as it stands: it leaves it as it is, whatever else might have happened. */
  isShown(item: Item, operation: Operation): boolean {
    const { family, ending, status, fromNs, read, readFlags, cas, hasCas } = operation;
    if (family !== 'get' || hasCas || ending !== Ending.known) return false;
    if (item.presence === Presence.absent) return status === Status.notFound && item.told === undefined;
    return (
      status === Status.ok &&
      item.presence === Presence.present &&
      item.mustExpireNs >= fromNs &&
      !item.isLoose &&
      item.value === read &&
      item.flags === readFlags &&
      item.cas === cas
    );
  }

  /** What a correct server makes of the item, whatever the answer said. */
  natural(item: Item, operation: Operation, ordinal: number): readonly Successor[] {
    return this.#open(
      item,
      { ...operation, result: undefined, cas: 0, read: UNKNOWN, readFlags: UNKNOWN },
      ordinal,
    );
  }

  /** What the operation claims to have done, whether or not the item allows it. */
  forced(item: Item, operation: Operation, ordinal: number): Item | undefined {
    if (operation.ending !== Ending.known || operation.status !== Status.ok) return undefined;
    switch (operation.family) {
      case 'set':
      case 'add':
      case 'replace':
        return withoutId(this.#version(item, operation, ordinal));
      case 'delete':
        return leaves(item, removed);
      case 'append':
      case 'prepend':
        return withoutId(this.#concatenation(item, operation, ordinal));
      case 'incr':
      case 'decr':
        if (operation.result === undefined) return undefined;
        return withoutId(loose(this.#counter(item, operation, ordinal, operation.result.toString())));
      default:
        return undefined;
    }
  }

  /** The item as a read showed it. */
  believed(operation: Operation): Item {
    const item = prefilled(operation.read, operation.readFlags);
    item.cas = operation.cas;
    return item;
  }

  /** Whether a read of this item shows the value. */
  shows(item: Item, read: number): boolean {
    if (item.value === read) return true;
    const { values } = this.#about;
    return item.isLoose && values.text(read).trimEnd() === values.text(item.value);
  }

  /** A read shows the item; what nobody saw of it shows nothing. */
  #found(item: Item, operation: Operation, into: Successor[]): void {
    const { read, readFlags, family } = operation;
    const seen = copyOf(item);
    seen.presence = Presence.present;
    let isNew = item.presence !== Presence.present;
    if (read !== UNKNOWN) {
      if (item.value === UNKNOWN) {
        if (!this.#about.hidesJoined) {
          seen.value = read;
          isNew = true;
        }
      } else if (item.value !== read) {
        if (!this.shows(item, read)) return;
        seen.value = read;
        seen.isLoose = false;
        isNew = true;
      } else if (item.isLoose) {
        seen.isLoose = false;
        isNew = true;
      }
    }
    if (readFlags !== UNKNOWN && item.flags !== readFlags) {
      if (item.flags !== UNKNOWN) return;
      seen.flags = readFlags;
      isNew = true;
    }
    if (operation.cas !== 0 && operation.cas !== item.cas) {
      if (item.cas !== 0 || !this.#mayBe(item, operation.cas)) return;
      seen.cas = operation.cas;
      seen.told = chained(operation.cas, item.by, item.told);
      isNew = true;
    }
    if (family !== 'get') {
      seen.mayExpireNs = operation.fromNs + operation.mayLiveNs;
      seen.mustExpireNs = operation.toNs + operation.mustDieNs;
      isNew = true;
    }
    into.push({ item: isNew ? seen : item, step: Step.none });
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
    return { agrees: tokens.some((token) => this.#mayBe(item, token)), differs: true };
  }

  /** Where a request that names a version finds it, the version has the id that was named. */
  #named(item: Item, { hasCas, tokens }: Operation): Item {
    if (!hasCas || tokens === undefined || item.cas !== 0) return item;
    const possible = tokens.filter((token) => this.#mayBe(item, token));
    if (possible.length !== 1) return item;
    const [cas] = possible as [number];
    const named = withTold(item, chained(cas, item.by, item.told));
    named.cas = cas;
    return named;
  }

  #version(item: Item, operation: Operation, ordinal: number): Item {
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
    };
  }

  #concatenation(item: Item, operation: Operation, ordinal: number): Item {
    const { values, hidesJoined } = this.#about;
    const isHidden = hidesJoined || item.value === UNKNOWN || operation.value === UNKNOWN;
    const texts = isHidden ? ['', ''] : [values.text(item.value), values.text(operation.value)];
    const joined = operation.family === 'append' ? `${texts[0]}${texts[1]}` : `${texts[1]}${texts[0]}`;
    const isUnknown = isHidden || (item.isLoose && operation.family === 'append');
    return this.#changed(item, operation, ordinal, isUnknown ? UNKNOWN : values.number(joined));
  }

  #mayLackRoom(item: Item, operation: Operation): boolean {
    const { values, isShort } = this.#about;
    if (isShort || item.value === UNKNOWN || operation.value === UNKNOWN) return true;
    return values.text(item.value).length + values.text(operation.value).length >= LARGE_BYTES;
  }

  #counter(item: Item, operation: Operation, ordinal: number, text: string): Item {
    const { values, hidesNumbers } = this.#about;
    const next = this.#changed(item, operation, ordinal, hidesNumbers ? UNKNOWN : values.number(text));
    next.isLoose = false;
    return next;
  }

  /** A new version, which keeps flags and expiry. @param value its number */
  #changed(item: Item, operation: Operation, ordinal: number, value: number): Item {
    const next = copyOf(item);
    next.presence = Presence.present;
    next.value = value;
    next.cas = operation.cas;
    next.by = ordinal;
    next.told = this.#toldOf(operation, ordinal, item.told);
    return next;
  }

  /** Its result is its initial value, as far as this can be seen. */
  #begins({ result, initial }: Operation): boolean {
    return result === undefined || this.#about.hidesNumbers || result === initial;
  }

  #created(item: Item, operation: Operation, ordinal: number): Item {
    const { values, hidesNumbers } = this.#about;
    const value = hidesNumbers ? UNKNOWN : values.number(operation.initial.toString());
    const next = this.#version(item, operation, ordinal);
    next.value = value;
    next.flags = 0;
    return next;
  }

  #isEmpty({ value }: Item): boolean {
    return value !== UNKNOWN && this.#about.values.text(value) === '';
  }

  /** Whether its value is a number: what the server may find, which reads on in the memory behind it. */
  #numbersOf(item: Item): readonly boolean[] {
    if (item.value === UNKNOWN || this.#readsPast(item)) return both;
    return this.#numberOf(item) === undefined ? isNone : isOne;
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
      if (result === undefined) return [made(item, item.value, operation, ordinal)];
      return [loose(this.#counter(item, operation, ordinal, result.toString()))];
    }
    const before = this.#numberOf(item);
    if (before === undefined) {
      // White space alone: the digits are those of whatever stands behind it in memory.
      if (!this.#readsPast(item)) return [];
      if (result === undefined) return [made(item, UNKNOWN, operation, ordinal)];
      const { length } = this.#about.values.text(item.value);
      return counterTexts(result, length).map((text) => this.#counter(item, operation, ordinal, text));
    }
    const sum = applyDelta(before, delta, family === 'incr');
    if (result !== undefined && result !== sum) return [];
    if (item.isLoose) return [loose(this.#counter(item, operation, ordinal, sum.toString()))];
    const { length } = this.#about.values.text(item.value);
    return counterTexts(sum, length).map((text) => this.#counter(item, operation, ordinal, text));
  }

  /** An operation of which nobody knows the answer: what a correct server makes of the item, if it ran at all. */
  #open(item: Item, operation: Operation, ordinal: number): readonly Successor[] {
    if (operation.family === 'get') return same(item);
    return this.#executed(item, { ...operation, status: Status.ok }, ordinal);
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
function present(item: Item): Item {
  if (item.presence === Presence.present) return item;
  const next = copyOf(item);
  next.presence = Presence.present;
  return next;
}

/** A version that nobody else has seen yet: how long it was before is not known. */
function loose(item: Item): Item {
  item.isLoose = true;
  return item;
}

/** A version that nobody else has seen yet. */
function withoutId(item: Item): Item {
  item.cas = 0;
  return item;
}

/** A counter that counted on from something that is not known, or to it. */
function made(item: Item, value: number, { cas }: Operation, ordinal: number): Item {
  const next = copyOf(item);
  next.presence = Presence.present;
  next.value = value;
  next.cas = cas;
  next.by = ordinal;
  return next;
}

/** Can the operation find the item? */
function isThere(item: Item, { fromNs }: Operation): boolean {
  return item.presence !== Presence.absent && item.mustExpireNs >= fromNs;
}

/** Absence is always legal: the item was evicted, unless it may just have expired. */
function gone(item: Item, { toNs }: Operation): Successor {
  if (item.presence === Presence.absent) return { item, step: Step.none };
  if (item.presence === Presence.unknown) return { item: leaves(item, neverThere), step: Step.none };
  if (toNs >= item.mayExpireNs) return { item: leaves(item, expired), step: Step.expired };
  return { item: leaves(item, lost), step: Step.evicted };
}
