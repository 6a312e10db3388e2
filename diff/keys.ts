// The second look, at odd keys: everything that this replay did to them, and whether one item explains all of its answers.

import { isFlush } from '../protocol/semantics.ts';
import { Result } from '../trace/results.ts';
import type { Accounts } from './accounts.ts';
import { recordedStatus } from './answer.ts';
import { nameDrift } from './drift.ts';
import { Operations, type ReplayClock } from './gather.ts';
import { isSound } from './glance.ts';
import { neverThere, prefilled, unknownItem, type Circumstances, type Item } from './item.ts';
import type { ItemNumbers } from './numbers.ts';
import { Ending, UNKNOWN, isFinding, type Operation, type Values } from './operation.ts';
import type { Explanation } from './explanation.ts';
import type { Present } from './present.ts';
import { explain } from './search.ts';
import type { Sides } from './sides.ts';
import { Suspects, type CopiedAnswer, type Suspect } from './suspect.ts';
import type { Verdict } from './verdict.ts';
import type { WhoseIds } from './versions.ts';

/** What becomes of the exchanges that the first look left open. */
export interface Settle {
  /** Its answer differs, or the recording has none, and it is as it must be. */
  match: (isRecorded: boolean) => void;
  /** @param differs its answer; else it was counted as recorded */
  tell: (suspect: Suspect, verdict: Verdict, differs: boolean) => void;
}

export interface OddKeys {
  /** Numbers of the keys, and their places among those that are judged together. */
  keys: ReadonlyMap<number, number>;
  numbers: ItemNumbers;
  clock: ReplayClock;
  accounts: Accounts;
  /** What was set before the replay. */
  present: Present;
  /** Keys that were not set held nothing. */
  startsEmpty: boolean;
  /** Every key that was to be set was. */
  isFilled: boolean;
  ids: WhoseIds;
}

/** Work on keys of which not all orders could be tried, after which it is tried less hard. */
const PATIENCE = 200_000;

/** Where all keys have too many requests under way at once, hours of trying would decide no more of them. */
class Patience {
  #spent = 0;

  get haste(): number {
    return (1 + this.#spent / PATIENCE) ** 2;
  }

  spend({ isWhole, work }: Explanation): void {
    if (!isWhole) this.#spent += work;
  }
}

/** On a busy machine memcached's clock ticks late, and what is stored meanwhile expires earlier by as much. */
const LATE_CLOCK_NS = 3e9;

const tooMany: Verdict = {
  class: 'untestable',
  kind: 'undecided',
  why: 'too many requests on the key were under way at once to try all of their orders',
};

const goneMeanwhile: Verdict = {
  class: 'drift',
  kind: 'lost',
  why: 'the key was there before, nothing removed it, and it had not expired',
};

/** Judges some keys, in one pass over trace and results. */
export async function judgeKeys(sides: Sides, odd: OddKeys, settle: Settle): Promise<void> {
  const { keys, numbers, clock } = odd;
  const operations = new Operations(clock);
  const suspects = new Suspects(operations.values);
  for await (const { batch, row, results, resultRow, rows } of sides.join()) {
    if (results === undefined) continue;
    for (let n = 0; n < rows; n++) {
      const [at, of] = [row + n, resultRow + n];
      if (batch.keyLength[at] === 0) {
        if (isFlush(batch.opcode[at]!))
          operations.addFlush(`${results.target[of]} ${sides.spaceOf(batch, at)}`, batch, at, results, of);
        continue;
      }
      if (results.result[of] === Result.skipped) continue;
      const place = keys.get(numbers.of(batch, at, results, of));
      if (place === undefined) continue;
      const seen = sides.glance(batch, at, results, of);
      // Both servers refused it: nothing was executed.
      if (seen === 'match' && results.result[of] === Result.answered) continue;
      const isJudged = seen !== 'same' && seen !== 'suspect';
      const number = operations.add(
        place,
        batch,
        at,
        results,
        of,
        isSound(seen),
        seen === 'suspect',
        isJudged,
      );
      if (seen !== 'suspect') continue;
      // What tells nothing of the key is as good as any answer.
      if (number < 0) settle.match(recordedStatus(batch, at) >= 0);
      else suspects.add(number, batch, at, results, of);
    }
  }
  const patience = new Patience();
  for (const [number, place] of keys)
    judgeKey(sides, odd, operations, suspects, { number, place }, patience, settle);
}

function judgeKey(
  sides: Sides,
  { numbers, accounts, present, startsEmpty, isFilled, ids }: OddKeys,
  all: Operations,
  suspects: Suspects,
  { number, place }: { number: number; place: number },
  patience: Patience,
  settle: Settle,
): void {
  const { target, space, key } = numbers.nameOf(number);
  const { operations, numbers: numberOf } = all.of(place, `${target} ${space}`, ids);
  const held = present.of(target, space, key);
  const about = circumstancesOf(sides, all, operations, {
    isShort: accounts.isShort(target),
    mayRestart: accounts.mayRestart(target),
  });
  const initial: Item =
    held !== undefined && isFilled
      ? prefilled(all.values.number(held.value.toString('latin1')), held.flags)
      : startsEmpty && held === undefined
        ? neverThere
        : unknownItem;
  const explanation = explain(operations, initial, about, patience.haste);
  patience.spend(explanation);
  const { order, wrong, undecided, isWhole } = explanation;
  const settled = new Set<number>();
  const tell = (ordinal: number, verdict: Verdict | 'match'): void => {
    if (settled.has(ordinal)) return;
    settled.add(ordinal);
    const operation = operations[ordinal]!;
    const { index, connection, opcode, fromNs, differs, isJudged } = operation;
    if (isJudged) return;
    const at = numberOf[ordinal]!;
    const isSuspect = suspects.has(at);
    if (verdict === 'match') {
      if (differs) settle.match(!isSuspect || suspects.isRecorded(at));
      return;
    }
    // What is no suspect is as recorded, and wrong all the same.
    const same = (): CopiedAnswer => answerOf(operation, all.values);
    const answers = isSuspect
      ? { recorded: () => suspects.recorded(at), replayed: () => suspects.replayed(at) }
      : { recorded: same, replayed: same };
    settle.tell({ index, connection, target, opcode, key, fromNs, ...answers }, verdict, differs);
  };
  const doubt = sides.doubts(operations, about);
  for (const one of wrong)
    tell(one.ordinal, doubt(one) ?? { class: 'violation', kind: one.kind, why: one.why });
  for (const ordinal of undecided) tell(ordinal, operations[ordinal]!.differs ? tooMany : 'match');
  const hides = about.hidesJoined || about.hidesNumbers;
  const { named, losses } = nameDrift(operations, order, hides, (ordinal) => settled.has(ordinal));
  // Where not all orders were tried, another one may need no loss.
  for (const { ordinal, spareNs } of isWhole ? losses : [])
    if (!accounts.lose(target) && spareNs > LATE_CLOCK_NS)
      tell(ordinal, {
        class: 'violation',
        kind: 'vanished',
        why: 'the key is gone, had not expired, and the target says that it evicted nothing more and did not restart',
      });
  if (sides.isAlone) for (const { ordinal } of losses) tell(ordinal, goneMeanwhile);
  const isDoubtful = !isWhole && !accounts.mayLose(target);
  for (const { ordinal, verdict } of named)
    tell(ordinal, isDoubtful && verdict !== 'match' && verdict.kind === 'lost' ? tooMany : verdict);
  // A store that another one came right after needs no place in the order.
  for (const [ordinal, { differs, ending, status, recordedStatus, unrecorded }] of operations.entries())
    if (differs && ending === Ending.known)
      tell(
        ordinal,
        unrecorded !== undefined || status === recordedStatus
          ? 'match'
          : { class: 'drift', kind: 'raced', why: 'another store came right after it' },
      );
}

export function circumstancesOf(
  { hidesValues, hidesNumbers }: Pick<Sides, 'hidesValues' | 'hidesNumbers'>,
  { values }: Operations,
  operations: readonly Operation[],
  { isShort, mayRestart }: { isShort: boolean; mayRestart: boolean },
): Circumstances {
  const toldNs = new Map<number, number>();
  const madeBy = new Map<number, number>();
  const mentioned = new Set<number>();
  const repeated = new Set<number>();
  const mention = (id: number): void => {
    if (mentioned.has(id)) repeated.add(id);
    mentioned.add(id);
  };
  for (const [ordinal, operation] of operations.entries()) {
    const { cas, toNs, tokens } = operation;
    if (mayRestart && tokens !== undefined) tokens.forEach(mention);
    if (cas === 0) continue;
    if (mayRestart) mention(cas);
    toldNs.set(cas, Math.min(toldNs.get(cas) ?? Infinity, toNs));
    if (!isFinding(operation) && !madeBy.has(cas)) madeBy.set(cas, ordinal);
  }
  return {
    values,
    hidesJoined: hidesValues,
    hidesNumbers: hidesNumbers,
    isShort,
    mayRestart,
    repeated,
    toldNs,
    madeBy,
  };
}

const none = Buffer.alloc(0);

/** What the operation says that it was answered. */
function answerOf(operation: Operation, values: Values): CopiedAnswer {
  const { status, silent, read, readFlags, result } = operation;
  const extras = readFlags === UNKNOWN ? none : Buffer.alloc(4);
  if (readFlags !== UNKNOWN) extras.writeUInt32BE(readFlags);
  const value =
    result === undefined
      ? read === UNKNOWN
        ? none
        : Buffer.from(values.text(read), 'latin1')
      : Buffer.alloc(8);
  if (result !== undefined) value.writeBigUInt64BE(result);
  return { status, silent, extras, key: none, value, valueLength: value.length };
}
