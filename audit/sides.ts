// A recording judged by itself: it stands on both sides, as what was sent and as what was answered. What only a difference
// from a recording can show, a recording alone cannot; what contradicts the rest of it is wrong here as there.

import { Placed } from '../diff/answer.ts';
import { rank } from '../diff/gather.ts';
import { isOfItem, misfit, noCas, noKey, noRoom, type Glance } from '../diff/glance.ts';
import type { Circumstances } from '../diff/item.ts';
import { isFinding, type Operation } from '../diff/operation.ts';
import { Sides, type Doubt, type Replay } from '../diff/sides.ts';
import type { Stretch } from '../diff/join.ts';
import type { Verdict } from '../diff/verdict.ts';
import { isQuiet, opcodeInfo } from '../protocol/opcode.ts';
import { isCounter, isPossible, isQuit, shapeOf } from '../protocol/semantics.ts';
import { Status, statusLabel } from '../protocol/status.ts';
import { ConnectionEnd, NEVER, Outcome, RowFlag, type Batch } from '../trace/batch.ts';
import { Result, SkipReason, type ResultBatch } from '../trace/results.ts';
import type { Survey } from '../trace/survey.ts';
import { namesVersion } from '../trace/token.ts';
import type { TraceView } from '../trace/view.ts';
import { Observed } from './observed.ts';

const untestable = (kind: (Verdict & { class: 'untestable' })['kind'], why: string): Verdict => ({
  class: 'untestable',
  kind,
  why,
});

const ambiguous = untestable(
  'ambiguous',
  'several requests under way had the same opcode and opaque: which of them was answered is a guess',
);
const lost = untestable('gap', 'the capture lacks bytes here: what was answered is not known');
const unproven = untestable('unproven', 'nothing proved the silence of a quiet request');
const excused = untestable('unrecorded', 'its connection had sent something after which servers hang up');
const impatient = untestable(
  'unrecorded',
  'its connection, or the recording, ended soon after it was sent, and it had no answer yet',
);
const lossy = untestable('gap', 'a request that the capture lacks may have changed the key');
const cut = untestable('gap', 'the capture lacks a value that was stored under the key');
const hidden = untestable('masked', 'the trace hides what a counter left');
const unseen = untestable(
  'unseen',
  'a request that is not in the recording stored this version: its CAS id is a new one',
);

const closed: Verdict = {
  class: 'violation',
  kind: 'closed',
  why: 'the server closed the connection before it answered',
};
const closedBehind: Verdict = { ...closed, why: `${closed.why}, and had not answered a request before it` };
const unanswered: Verdict = { class: 'violation', kind: 'unanswered', why: 'no answer in time' };
const unansweredBehind: Verdict = {
  ...unanswered,
  why: 'no answer in time, and none to a request before it',
};

export interface Circumspection {
  /** From when on every request that may still act is in the recording, ns. */
  beginsNs: number;
  /** By server: its answers have CAS ids. */
  tellsIds: readonly boolean[];
  /** A request that had no answer for so long had none, ns. */
  patienceNs: number;
  /** The capture lacks bytes of what was sent. */
  isLossy: boolean;
}

export class RecordingSides extends Sides {
  override readonly isAlone = true;
  readonly #about: Circumspection;
  readonly #answer = new Placed();

  constructor(trace: TraceView, replay: Replay, survey: Survey, about: Circumspection) {
    super(trace, replay, survey);
    this.#about = about;
  }

  override async *join(): AsyncGenerator<Stretch & { results: ResultBatch }> {
    const observed = new Observed(this.survey, this.#about.beginsNs, this.hidesNumbers);
    for await (const batch of this.trace.batches())
      yield { batch, row: 0, results: observed.of(batch), resultRow: 0, rows: batch.count };
  }

  override glance(batch: Batch, row: number, results: ResultBatch, resultRow: number): Glance {
    const opcode = batch.opcode[row]!;
    switch (batch.outcome[row]) {
      case Outcome.unanswered:
        if (isQuit(opcode)) return 'match';
        if (results.result[resultRow] === Result.indeterminate) return excused;
        return this.#unanswered(batch, row, results.reason[resultRow]!);
      case Outcome.gap:
        return lost;
      case Outcome.indeterminate:
        return isQuit(opcode) ? 'match' : unproven;
      default:
    }
    if (isQuit(opcode)) return 'match';
    const flags = batch.flags[row]!;
    if ((flags & RowFlag.ambiguous) !== 0) return ambiguous;
    if ((flags & RowFlag.answerUnknown) !== 0) return lost;
    // The trace has hidden what the counter was answered.
    if (batch.outcome[row] === Outcome.answered && results.result[resultRow] === Result.silent) return 'same';
    const answer = this.#answer;
    answer.recorded(batch, row);
    const wrong = misfit(batch, row, answer, true);
    if (wrong !== undefined) return wrong;
    if (lacksKey(opcode, answer)) return noKey;
    if (batch.keyLength[row] === 0 || !isOfItem(opcode)) return 'match';
    const { status } = answer;
    if (status === Status.outOfMemory) return noRoom;
    if (this.#about.tellsIds[results.target[resultRow]!] === true && lacksId(batch, row, answer))
      return noCas;
    if (isPossible(opcode, namesVersion(batch, row), status)) return 'same';
    // It refused the request as a whole, which says nothing of the key.
    if (refusals.has(status)) return 'match';
    return {
      class: 'violation',
      kind: 'wrong-status',
      why: `no answer to this operation: ${statusLabel(status)}`,
    };
  }

  /** Whose fault it was that it had no answer. @param reason behind: its connection had a request before it without one */
  #unanswered(batch: Batch, row: number, reason: number): Verdict {
    const { end, closeNs } = this.survey.connections[batch.connection[row]!]!;
    const untilNs = closeNs === NEVER ? this.survey.lastNs : closeNs;
    const waitedNs = untilNs - batch.requestEndNs[row]!;
    if (isQuiet[batch.opcode[row]!] === 1) return unproven;
    const isBehind = reason === SkipReason.behind;
    // Who reset a connection is not recorded: clients that end do so too, with answers on their way.
    if (closeNs !== NEVER && end === ConnectionEnd.server) return isBehind ? closedBehind : closed;
    if (waitedNs < this.#about.patienceNs) return impatient;
    return isBehind ? unansweredBehind : unanswered;
  }

  override doubts(operations: readonly Operation[], about: Circumstances): Doubt {
    const strangers = new Unseen(operations, about);
    // A counter that got shorter is padded, and no number any more: its value is hidden where those of numbers are not.
    const hidesPadding = this.hidesValues && operations.some(({ family }) => isCounter(family));
    let cutFromNs = Infinity;
    for (const { isMadeUp, fromNs } of operations) if (isMadeUp) cutFromNs = Math.min(cutFromNs, fromNs);
    return ({ ordinal }) => {
      const operation = operations[ordinal]!;
      if (cutFromNs <= operation.toNs) return cut;
      if (hidesPadding && isFinding(operation)) return hidden;
      if (strangers.has(operation)) return unseen;
      // A version that the recording knows does not come back because of requests that it lacks.
      return this.#about.isLossy && !about.madeBy.has(operation.cas) ? lossy : undefined;
    };
  }
}

/** A hit of GETK and its like names the key. */
function lacksKey(opcode: number, { silent, status, keyLength }: Placed): boolean {
  return !silent && status === Status.ok && keyLength === 0 && shapeOf(opcode, status)?.key === true;
}

/** A success of an operation that is answered with the version's id. */
function lacksId(batch: Batch, row: number, { silent, status }: Placed): boolean {
  return (
    !silent &&
    status === Status.ok &&
    (batch.answerCasHigh[row]! | batch.answerCasLow[row]!) === 0 &&
    opcodeInfo(batch.opcode[row]!)?.tellsCas === true
  );
}

/** Whole requests are refused with these. */
const refusals: ReadonlySet<number> = new Set([
  Status.invalid,
  Status.authFailed,
  Status.authContinue,
  Status.unknownCommand,
]);

/** Versions of a key that no request of the recording made: their CAS ids are new, and higher than all before. */
class Unseen {
  readonly #operations: readonly Operation[];
  readonly #about: Circumstances;
  /** Made when somebody asks: ends of the operations that told an id, in their order, and the greatest id up to each. */
  #told: { endsNs: number[]; greatest: number[] } | undefined;

  constructor(operations: readonly Operation[], about: Circumstances) {
    this.#operations = operations;
    this.#about = about;
  }

  /** It shows such a version. */
  has(operation: Operation): boolean {
    const { cas, fromNs } = operation;
    if (cas === 0 || !isFinding(operation) || this.#about.madeBy.has(cas)) return false;
    const { endsNs, greatest } = (this.#told ??= this.#look());
    const before = rank(endsNs, fromNs);
    return before === 0 || greatest[before - 1]! <= cas;
  }

  #look(): { endsNs: number[]; greatest: number[] } {
    const endsNs: number[] = [];
    const greatest: number[] = [];
    const told = this.#operations.filter(({ cas }) => cas !== 0).toSorted((a, b) => a.toNs - b.toNs);
    for (const { cas, toNs } of told) {
      endsNs.push(toNs);
      greatest.push(Math.max(greatest.at(-1) ?? 0, cas));
    }
    return { endsNs, greatest };
  }
}
