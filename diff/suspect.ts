// Exchanges whose answer differs from the recorded one, until it is known what this replay did to their keys. They are
// many where requests race: what is kept of them stands in columns, and each value is held once.

import { Status } from '../protocol/status.ts';
import { grown, type Batch } from '../trace/batch.ts';
import type { ResultBatch } from '../trace/results.ts';
import { Placed } from './answer.ts';
import type { Values } from './operation.ts';

/** A differing exchange; what was answered is copied out when somebody asks. */
export interface Suspect {
  index: number;
  connection: number;
  target: number;
  opcode: number;
  /** latin1 */
  key: string;
  /** ns since the replay's start. */
  fromNs: number;
  /** Undefined: the recording does not know it. */
  recorded: () => CopiedAnswer | undefined;
  replayed: () => CopiedAnswer;
}

export interface CopiedAnswer {
  status: number;
  silent: boolean;
  extras: Buffer;
  key: Buffer;
  /** Of a hit that became a miss, its beginning only. */
  value: Buffer;
  valueLength: number;
}

/** More of a value than an example shows. */
const KEPT_BYTES = 80;
const NONE = -1;
/** Status, silence, numbers of extras, key and value among all values, length of the value. */
const FIELDS = 6;

export class Suspects {
  readonly #values: Values;
  readonly #placed = new Placed();
  /** By number of the operation: where its answers stand; NONE: it is no suspect. */
  #placeOf = new Int32Array(0);
  /** Of each suspect the recorded answer, and the replayed one; a status of NONE: none. */
  #answers = new Int32Array(0);
  #count = 0;

  constructor(values: Values) {
    this.#values = values;
  }

  /** @param operation its number */
  add(operation: number, batch: Batch, row: number, results: ResultBatch, resultRow: number): void {
    if (operation >= this.#placeOf.length) {
      const known = this.#placeOf.length;
      this.#placeOf = grown(this.#placeOf, new Int32Array(Math.max(1024, operation * 2)));
      this.#placeOf.fill(NONE, known);
    }
    const at = this.#count++ * 2 * FIELDS;
    if (at + 2 * FIELDS > this.#answers.length)
      this.#answers = grown(this.#answers, new Int32Array(Math.max(1024, at) * 2));
    this.#placeOf[operation] = at;
    const answer = this.#placed;
    answer.replayed(batch, row, results, resultRow);
    this.#put(at + FIELDS, answer, Infinity);
    // The replay found nothing: of what was recorded the beginning is enough.
    const keptBytes = answer.status === Status.notFound ? KEPT_BYTES : Infinity;
    if (answer.recorded(batch, row)) this.#put(at, answer, keptBytes);
    else this.#answers[at] = NONE;
  }

  #put(at: number, answer: Placed, valueBytes: number): void {
    const answers = this.#answers;
    const { heap, valueLength } = answer;
    answers[at] = answer.status;
    answers[at + 1] = answer.silent ? 1 : 0;
    answers[at + 2] = this.#numberOf(heap, answer.extrasAt, answer.extrasLength);
    answers[at + 3] = this.#numberOf(heap, answer.keyAt, answer.keyLength);
    answers[at + 4] = this.#numberOf(heap, answer.valueAt, Math.min(valueLength, valueBytes));
    answers[at + 5] = valueLength;
  }

  /** Most parts of answers are empty. */
  #numberOf(heap: Buffer, at: number, length: number): number {
    return length === 0 ? NONE : this.#values.of(heap, at, length);
  }

  #bytesOf(number: number): Buffer {
    return number === NONE ? none : Buffer.from(this.#values.text(number), 'latin1');
  }

  /** Its answer differs, or the recording has none. */
  has(operation: number): boolean {
    return operation < this.#placeOf.length && this.#placeOf[operation] !== NONE;
  }

  isRecorded(operation: number): boolean {
    return this.#answers[this.#placeOf[operation]!] !== NONE;
  }

  /** What the recording has; undefined where it does not know it. */
  recorded(operation: number): CopiedAnswer | undefined {
    const at = this.#placeOf[operation]!;
    return this.isRecorded(operation) ? this.#answer(at) : undefined;
  }

  replayed(operation: number): CopiedAnswer {
    return this.#answer(this.#placeOf[operation]! + FIELDS);
  }

  #answer(at: number): CopiedAnswer {
    const [status, silent, extras, key, value, valueLength] = this.#answers.subarray(at, at + FIELDS);
    return {
      status: status!,
      silent: silent === 1,
      extras: this.#bytesOf(extras!),
      key: this.#bytesOf(key!),
      value: this.#bytesOf(value!),
      valueLength: valueLength!,
    };
  }
}

const none = Buffer.alloc(0);
