// CAS ids as evidence. A server that gives each version an id of its own is found out by the ids that it tells; a server,
// or a proxy, whose ids say nothing is not to be called wrong for it. What they say is taken from the recording: ids that it
// shows on two versions, or that change by themselves, mark none.

import { mutates, opcodeInfo } from '../protocol/opcode.ts';
import { isCounter } from '../protocol/semantics.ts';
import { Status } from '../protocol/status.ts';
import type { Batch } from '../trace/batch.ts';
import type { ResultBatch } from '../trace/results.ts';
import { namesVersion, tokenOf } from '../trace/token.ts';
import { UNKNOWN, isFinding, type Operation, type Values } from './operation.ts';

/**
 * Whose CAS ids say which version is which: the recording's, and the replay's where they are alike · the replay's own, since
 * the recording has none · nobody's, since the recording has the same for all.
 */
export type WhoseIds = 'recording' | 'replay' | 'nobody';

/** By opcode: 1: it makes a version, unless it fails. */
const makes = mutates.map((changes, opcode) => {
  const family = opcodeInfo(opcode)?.family;
  return changes === 1 && family !== undefined && !isFinding({ family }) ? 1 : 0;
});

/** Whether the CAS ids in answers tell versions apart at all. */
export class Telling {
  readonly #recorded = new Ids();
  readonly #replayed = new Ids();
  #isNamed = false;

  get ids(): WhoseIds {
    // A recording of one id may be one of one version. Requests that name it take it for that.
    const isOfOne = this.#isNamed && this.#recorded.first !== 0 && this.#recorded.changes <= 1;
    if (this.#recorded.areSeveral || isOfOne) return 'recording';
    return this.#recorded.first === 0 || this.#replayed.areSeveral ? 'replay' : 'nobody';
  }

  see(batch: Batch, row: number, results: ResultBatch, resultRow: number): void {
    if (this.#recorded.areSeveral) return;
    if (batch.status[row] === Status.ok)
      this.#recorded.see(batch.answerCasHigh[row]!, batch.answerCasLow[row]!, batch.opcode[row]!);
    if (results.status[resultRow] === Status.ok)
      this.#replayed.see(results.casHigh[resultRow]!, results.casLow[resultRow]!, batch.opcode[row]!);
    this.#isNamed ||= namesVersion(batch, row);
  }
}

/** The CAS ids that answers told. */
class Ids {
  /** 0: none so far. */
  first = 0;
  areSeveral = false;
  /** Answers to changes that told the first. */
  changes = 0;

  see(high: number, low: number, opcode: number): void {
    const cas = tokenOf(high, low);
    if (cas === 0) return;
    if (this.first === 0) this.first = cas;
    else if (this.first !== cas) this.areSeveral = true;
    if (makes[opcode] === 1) this.changes++;
  }
}

/**
 * A read beside an INCR or DECR may tell the id of the new version with the old value: memcached gives the id to the item that
 * it replaces as well, and an answer that holds that item may be written after that. The id says nothing of what was read then.
 */
export function forgetEarlyIds(operations: readonly Operation[], values: Values): void {
  const counts = new Map<number, Operation>();
  for (const one of operations) {
    if (one.result === undefined || one.cas === 0 || !isCounter(one.family)) continue;
    const other = counts.get(one.cas);
    if (other !== undefined && !forgetLateId(other, one) && forgetLateId(one, other)) continue;
    counts.set(one.cas, one);
  }
  if (counts.size === 0) return;
  for (const one of operations) {
    if (one.read === UNKNOWN) continue;
    const made = counts.get(one.cas);
    if (made === undefined || made.fromNs > one.toNs || one.fromNs > made.toNs) continue;
    if (values.text(one.read).trimEnd() !== made.result!.toString()) one.cas = 0;
  }
}

/**
 * An INCR or DECR that created the counter is answered with the id that the item has by then: memcached lets others count on
 * it between the two, in place. Then the id is that of their version, and is forgotten here.
 * @returns whether it was
 */
function forgetLateId(created: Operation, counted: Operation): boolean {
  if (!created.mayCreate || created.result !== created.initial) return false;
  if (counted.fromNs > created.toNs || created.fromNs > counted.toNs) return false;
  created.cas = 0;
  return true;
}

/** What the recording tells of one operation's version. */
export interface RecordedVersion {
  /** Recorded CAS id; 0: none. */
  cas: number;
  /** Recorded CAS id that the request names; 0: none. */
  token: number;
  /** Number of the value that it goes with; negative: not known. */
  value: number;
  /** It made the version. */
  makes: boolean;
  /** It may have changed the item, whatever it was answered. */
  mayChange: boolean;
  fromNs: number;
  toNs: number;
}

/** Recorded ids that mark no version of the key. @param all operations on the key, in the order of their beginnings */
export function meaninglessIds(all: readonly RecordedVersion[]): Set<number> {
  const meaningless = sharedIds(all);
  const named = new Set(all.map(({ token }) => token));
  for (const [before, after] of ownChanges(all)) {
    if (meaningless.has(before) || meaningless.has(after)) continue;
    // One of the two is wrong: hardly that which a client took for the version's.
    meaningless.add(named.has(before) && !named.has(after) ? after : before);
  }
  return meaningless;
}

/** Ids that several versions have. */
function sharedIds(all: readonly RecordedVersion[]): Set<number> {
  const shared = new Set<number>();
  const values = new Map<number, number>();
  const made = new Set<number>();
  /** By id: when the first answer that told it was over. */
  const toldNs = new Map<number, number>();
  for (const { cas, value, makes, fromNs, toNs } of all) {
    if (cas === 0) continue;
    const before = toldNs.get(cas) ?? Infinity;
    if (makes && (made.has(cas) || before < fromNs)) shared.add(cas);
    if (makes) made.add(cas);
    toldNs.set(cas, Math.min(before, toNs));
    if (value < 0) continue;
    const known = values.get(cas);
    if (known !== undefined && known !== value) shared.add(cas);
    values.set(cas, value);
  }
  return shared;
}

/** Pairs of ids, the earlier first, of which the recording tells both of one version: nothing can have changed it between. */
function ownChanges(all: readonly RecordedVersion[]): [before: number, after: number][] {
  const pairs: [before: number, after: number][] = [];
  // Of the version that is there; 0: not told since the latest change. Its value; negative: not known.
  let told = 0;
  let held = UNKNOWN;
  let changedUntilNs = -Infinity;
  for (const [n, { cas, value, makes, mayChange, fromNs, toNs }] of all.entries()) {
    if (mayChange) {
      const isAlone = makes && fromNs > changedUntilNs;
      told = isAlone ? cas : 0;
      held = isAlone ? value : UNKNOWN;
      changedUntilNs = Math.max(changedUntilNs, toNs);
      continue;
    }
    if (cas === 0 || cas === told || fromNs <= changedUntilNs || changesMeanwhile(all, n, toNs)) continue;
    // Another value was stored by a request that this replay did not send.
    const isSame = held < 0 || value < 0 || held === value;
    if (told !== 0 && isSame) pairs.push([told, cas]);
    told = cas;
    held = value;
  }
  return pairs;
}

/** A change began while the n-th operation was under way. */
function changesMeanwhile(all: readonly RecordedVersion[], n: number, toNs: number): boolean {
  for (let later = n + 1; later < all.length && all[later]!.fromNs <= toNs; later++)
    if (all[later]!.mayChange) return true;
  return false;
}
