// Differences that are legal, each named by what the order that explains them needed: an eviction, an expiry, another order
// than the recorded one. What follows from a loss or an expiry is counted under it, until something is stored anew.

import { isRead } from '../protocol/opcode.ts';
import { isCounter, wasThere } from '../protocol/semantics.ts';
import { Status, statusLabel } from '../protocol/status.ts';
import { Absence, Presence, Step, type Item } from './item.ts';
import { UNKNOWN, type Operation } from './operation.ts';
import type { Executed } from './explanation.ts';
import type { DriftKind, Verdict } from './verdict.ts';

/** An operation that differs, or of which the recording has no answer, and what is to be said of it. */
export interface Named {
  ordinal: number;
  /** `match`: the recording has no answer, and this one is as it must be. */
  verdict: Verdict | 'match';
}

/** A step of the order in which a key was lost. */
export interface Loss {
  /** Of the operation that showed it. */
  ordinal: number;
  /** Before the item could have expired by itself, ns; negative: after. */
  spareNs: number;
}

type Cause = DriftKind | undefined;

/** They are many, and alike. */
const plain: Readonly<Record<DriftKind, Verdict>> = {
  lost: drift('lost', 'the key was present in the recording, and is not on the target'),
  found: drift('found', 'present, while it was absent in the recording'),
  raced: drift('raced', 'another order of requests that were under way at the same time'),
  temporal: drift('temporal', 'it had expired, or was about to, here or in the recording'),
  capacity: drift('capacity', 'one of the two servers had no room'),
  unexplained: drift('unexplained', 'what the key held before this replay is not known'),
};

/**
 * @param hides what was read cannot be compared, since the trace does not hold what it was made from
 * @param isSkipped an operation on which there is a verdict already
 */
export function nameDrift(
  operations: readonly Operation[],
  order: readonly Executed[],
  hides: boolean,
  isSkipped: (ordinal: number) => boolean,
): { named: Named[]; losses: Loss[] } {
  const named: Named[] = [];
  const losses: Loss[] = [];
  const races = new Races(operations);
  const expiry = new RecordedExpiry(operations);
  /** Versions, by what made them, that the recording does not know. */
  const madeUp = new Set<number>();
  let cause: Cause;
  for (const { ordinal, step, before, item } of order) {
    const operation = operations[ordinal]!;
    if (isSkipped(ordinal)) continue;
    if (step === Step.evicted) {
      losses.push({ ordinal, spareNs: before.mayExpireNs - operation.toNs });
      cause = 'lost';
    } else if (step === Step.expired) cause = 'temporal';
    else if (step === Step.noRoom) cause = 'capacity';
    const own = step === Step.none && isRoomless(operation) ? 'capacity' : cause;
    if (!operation.differs) {
      // The key is again as it was in the recording, as far as this tells.
      if (step === Step.none && showsTheItem(operation)) cause = undefined;
    } else {
      const verdict =
        (madeUp.has(before.by) ? nameOfMadeUp(operation) : undefined) ??
        nameOf(operation, before, own, hides, races, expiry);
      if (verdict !== 'match' && verdict.class === 'drift' && verdict.kind !== 'unexplained')
        cause = verdict.kind;
      named.push({ ordinal, verdict });
    }
    if (item.by === ordinal && (operation.isMadeUp || (goesOn(operation) && madeUp.has(before.by))))
      madeUp.add(ordinal);
    if (renews(operation, item)) cause = undefined;
  }
  return { named, losses };
}

/** The new version is made from the old one. */
function goesOn({ family }: Operation): boolean {
  return family === 'append' || family === 'prepend' || isCounter(family);
}

/** What follows from a value that the recording does not know: here it is another one, and this replay made the answer from it. */
function nameOfMadeUp({ opcode, family, status, recordedStatus }: Operation): Verdict | 'match' | undefined {
  if (isCounter(family)) return hidden;
  return isRead[opcode] === 1 && status === recordedStatus ? 'match' : undefined;
}

function nameOf(
  operation: Operation,
  before: Item,
  cause: Cause,
  hides: boolean,
  races: Races,
  expiry: RecordedExpiry,
): Verdict | 'match' {
  if (operation.unrecorded !== undefined)
    return isTold(operation, before)
      ? 'match'
      : {
          class: 'untestable',
          kind: operation.unrecorded,
          why: 'the recording has no answer, and what the key held is not known',
        };
  const { status, recordedStatus } = operation;
  if (isRoomless(operation))
    return drift(
      'capacity',
      isNoRoom(status)
        ? `the target answers ${statusLabel(status)}`
        : 'the target had the room that the recorded server lacked',
    );
  if (hides && status === Status.ok && before.value === UNKNOWN && before.presence === Presence.present)
    return hidden;
  if (cause !== undefined) return plain[cause];
  const isHere = before.presence === Presence.present;
  const wasHere = wasPresent(operation, recordedStatus);
  if (before.presence === Presence.unknown) {
    // Nothing was stored here yet, and in the recording something was: by another connection, where there is one.
    if (races.hasOthers(operation)) return plain.raced;
    const isLost = wasHere && (!wasPresent(operation, status) || beginsAnew(operation));
    return isLost ? plain.lost : plain.unexplained;
  }
  if (!isHere && before.absence === Absence.expired) return plain.temporal;
  if (isHere && !wasHere && expiry.wasNear(operation)) return plain.temporal;
  if (races.isOpen(operation)) return plain.raced;
  if (!isHere && before.absence === Absence.lost) return plain.lost;
  if (isHere && !wasHere) return plain.found;
  if (!isHere && before.absence === Absence.removed)
    return drift('raced', 'removed by a request of this replay');
  if (races.hasOthers(operation)) return plain.raced;
  return drift('unexplained', 'the recording had another state of the key, and nothing in it tells why');
}

const hidden: Verdict = {
  class: 'untestable',
  kind: 'masked',
  why: 'the value was made from others that the trace does not hold',
};

function drift(kind: DriftKind, why: string): Verdict {
  return { class: 'drift', kind, why };
}

function isNoRoom(status: number): boolean {
  return status === Status.tooLarge || status === Status.outOfMemory;
}

function isRoomless({ status, recordedStatus }: Operation): boolean {
  return isNoRoom(status) !== isNoRoom(recordedStatus) && recordedStatus >= 0;
}

/** The answer follows from what this replay did, and is not only one that cannot be refuted. */
function isTold({ family, status, hasCas }: Operation, before: Item): boolean {
  if (family === 'set' && !hasCas) return true;
  if (before.presence === Presence.unknown) return false;
  return status !== Status.ok || before.presence === Presence.absent || before.value !== UNKNOWN;
}

/** The answer says that the key was there; that of a counter says so unless it began anew. */
function wasPresent({ opcode, family, hasCas }: Operation, status: number): boolean {
  return wasThere(opcode, hasCas, status) ?? (isCounter(family) && status === Status.ok);
}

/** A counter that was not there. */
function beginsAnew({ family, result, initial, mayCreate }: Operation): boolean {
  return isCounter(family) && mayCreate && result === initial;
}

/** A read that agrees shows the item; so does what found it gone. */
function showsTheItem({ opcode, status }: Operation): boolean {
  return isRead[opcode] === 1 || status === Status.notFound;
}

/** Whatever was there before, the key is now as in the recording. */
function renews({ family, status, hasCas, recordedStatus }: Operation, item: Item): boolean {
  if (family === 'flush') return true;
  if (status !== Status.ok || recordedStatus !== Status.ok) return false;
  return (family === 'set' && !hasCas) || (family === 'delete' && item.presence === Presence.absent);
}

/** Operations of other connections that change the key, and when. */
class Races {
  readonly #changes: readonly Operation[];
  readonly #connections: ReadonlySet<number>;
  /** By end, here and in the recording: the running greatest, over changes in the order of their beginnings. */
  readonly #here: Spans;
  readonly #there: Spans;

  constructor(operations: readonly Operation[]) {
    this.#changes = operations.filter(({ family }) => family !== 'get');
    this.#connections = new Set(this.#changes.map(({ connection }) => connection));
    this.#here = new Spans(this.#changes, ({ fromNs, toNs }) => [fromNs, toNs]);
    this.#there = new Spans(this.#changes, ({ recordedFromNs, recordedToNs }) => [
      recordedFromNs,
      recordedToNs,
    ]);
  }

  /** Another connection changes the key too. */
  hasOthers({ connection }: Operation): boolean {
    return this.#connections.size > (this.#connections.has(connection) ? 1 : 0);
  }

  /** A change by another connection was under way at the same time, here or in the recording. */
  isOpen(operation: Operation): boolean {
    if (!this.hasOthers(operation)) return false;
    const { fromNs, toNs, recordedFromNs, recordedToNs } = operation;
    return (
      this.#here.overlaps(operation, fromNs, toNs) ||
      this.#there.overlaps(operation, recordedFromNs, recordedToNs)
    );
  }
}

/** Intervals that are asked which of them overlap another one. */
class Spans {
  readonly #sorted: { operation: Operation; from: number; to: number }[];
  readonly #latestEnd: Float64Array;

  constructor(operations: readonly Operation[], span: (operation: Operation) => [from: number, to: number]) {
    this.#sorted = operations
      .map((operation) => {
        const [from, to] = span(operation);
        return { operation, from, to };
      })
      .toSorted((a, b) => a.from - b.from);
    this.#latestEnd = new Float64Array(this.#sorted.length);
    let latest = -Infinity;
    for (const [n, { to }] of this.#sorted.entries()) this.#latestEnd[n] = latest = Math.max(latest, to);
  }

  /** One of another connection overlaps the interval. */
  overlaps(self: Operation, fromNs: number, toNs: number): boolean {
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#sorted[middle]!.from > toNs) high = middle;
      else low = middle + 1;
    }
    for (let n = low - 1; n >= 0 && this.#latestEnd[n]! >= fromNs; n--) {
      const { operation, to } = this.#sorted[n]!;
      if (to >= fromNs && operation.connection !== self.connection) return true;
    }
    return false;
  }
}

/** Expiries that operations set in the recording. */
class RecordedExpiry {
  readonly #setters: readonly { operation: Operation; fromNs: number; lifeNs: number }[];

  constructor(operations: readonly Operation[]) {
    this.#setters = operations
      .filter(({ mayLiveNs, recordedStatus }) => mayLiveNs !== Infinity && recordedStatus === Status.ok)
      .map((operation) => ({
        operation,
        fromNs: operation.recordedFromNs,
        lifeNs: operation.mayLiveNs,
      }));
  }

  /** What the key had in the recording may have expired by then. */
  wasNear(self: Operation): boolean {
    return this.#setters.some(
      ({ operation, fromNs, lifeNs }) =>
        operation !== self && fromNs < self.recordedToNs && self.recordedToNs - fromNs >= lifeNs,
    );
  }
}
