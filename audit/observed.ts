// A recording in the shape of a replay's results: what its clients sent and what production answered. A request acted at
// some moment between its last byte and the first byte of its answer, as the capture saw both; wherever the capture was taken,
// the way to the server and back only makes that interval longer.

import { MAX_KEY_BYTES, isCounter, isQuit } from '../protocol/semantics.ts';
import { isQuiet, opcodeInfo } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import { NEVER, Outcome, RowFlag, type Batch } from '../trace/batch.ts';
import { Result, ResultBatch, SkipReason } from '../trace/results.ts';
import type { Survey } from '../trace/survey.ts';

/** After these a server hangs up, or may: what its connection sent afterwards need not be answered. */
const fatal: ReadonlySet<number> = new Set([Status.invalid, Status.authFailed, Status.unknownCommand]);

/** What is known of a connection. */
const State = { sound: 0, waits: 1, mayHangUp: 2 } as const;

export class Observed {
  readonly #survey: Survey;
  readonly #beginsNs: number;
  readonly #hidesNumbers: boolean;
  readonly #results = new ResultBatch();
  /** By connection: something was sent on it after which a server may hang up; or it has a request without an answer. */
  readonly #state: Uint8Array;

  /**
   * @param beginsNs from when on every request that may still act is in the recording
   * @param hidesNumbers the trace has no results of counters
   */
  constructor(survey: Survey, beginsNs: number, hidesNumbers: boolean) {
    this.#survey = survey;
    this.#beginsNs = beginsNs;
    this.#hidesNumbers = hidesNumbers;
    this.#state = new Uint8Array(survey.connections.length);
  }

  /** The batch's answers; they stand until the next call. Batches come in the order of the trace, each once. */
  of(batch: Batch): ResultBatch {
    const results = this.#results;
    const { count } = batch;
    results.clear();
    results.reserve(count);
    results.firstIndex = batch.firstIndex;
    results.count = count;
    for (let row = 0; row < count; row++) this.#row(batch, row, results);
    return results;
  }

  #row(batch: Batch, row: number, results: ResultBatch): void {
    const connection = batch.connection[row]!;
    const sentNs = sentOf(batch, row);
    results.target[row] = this.#survey.connections[connection]?.serverIndex ?? 0;
    results.intendedNs[row] = sentNs;
    results.sentNs[row] = sentNs;
    results.answeredNs[row] = batch.answerNs[row]!;
    results.blockedNs[row] = 0;
    results.reason[row] = SkipReason.none;
    results.agrees[row] = 0;
    results.frames[row] = 0;
    results.status[row] = 0;
    results.casHigh[row] = 0;
    results.casLow[row] = 0;
    results.valueLength[row] = 0;
    results.result[row] = this.#result(batch, row, results);
    if (this.#mayHangUp(batch, row)) this.#state[connection] = State.mayHangUp;
  }

  #result(batch: Batch, row: number, results: ResultBatch): Result {
    const outcome = batch.outcome[row];
    if (outcome === Outcome.conditional) {
      results.reason[row] = SkipReason.notNeeded;
      return Result.skipped;
    }
    const { answerNs } = batch;
    if (answerNs[row] !== NEVER && answerNs[row]! < this.#beginsNs) {
      results.reason[row] = SkipReason.early;
      return Result.skipped;
    }
    if (outcome === Outcome.unanswered) {
      const connection = batch.connection[row]!;
      const before = this.#state[connection];
      // Whatever is sent behind such a request need not be answered.
      if (before === State.mayHangUp) return Result.indeterminate;
      if (before === State.waits) results.reason[row] = SkipReason.behind;
      else if (isQuiet[batch.opcode[row]!] === 0) this.#state[connection] = State.waits;
      return Result.closed;
    }
    // Which of several requests was answered is a guess; and what an answer said, where the capture cut it.
    const isGuess = (batch.flags[row]! & (RowFlag.ambiguous | RowFlag.answerUnknown)) !== 0;
    if (isGuess || (outcome !== Outcome.answered && outcome !== Outcome.silent)) return Result.indeterminate;
    if (outcome === Outcome.silent || this.#lacksResult(batch, row)) return Result.silent;
    results.agrees[row] = 1;
    results.frames[row] = batch.frames[row]!;
    results.status[row] = batch.status[row]!;
    results.casHigh[row] = batch.answerCasHigh[row]!;
    results.casLow[row] = batch.answerCasLow[row]!;
    return Result.answered;
  }

  /** It succeeded, and that is all that the trace says: as of a quiet one. */
  #lacksResult(batch: Batch, row: number): boolean {
    return (
      this.#hidesNumbers &&
      batch.status[row] === Status.ok &&
      batch.answerValueLength[row] === 0 &&
      isCounter(opcodeInfo(batch.opcode[row]!)?.family)
    );
  }

  #mayHangUp(batch: Batch, row: number): boolean {
    const opcode = batch.opcode[row]!;
    return (
      isQuit(opcode) ||
      batch.keyLength[row]! > MAX_KEY_BYTES ||
      (batch.flags[row]! & RowFlag.unsafe) !== 0 ||
      opcodeInfo(opcode) === undefined ||
      (batch.outcome[row] === Outcome.answered && fatal.has(batch.status[row]!))
    );
  }
}

/** When a request can have begun to act: memcached removes an item for a store that it refuses before all of that is there. */
function sentOf(batch: Batch, row: number): number {
  const status = batch.status[row];
  const isRefused = status === Status.tooLarge || status === Status.outOfMemory;
  return isRefused ? batch.requestNs[row]! : batch.requestEndNs[row]!;
}
