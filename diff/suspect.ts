// Exchanges whose answer differs from the recorded one, until it is known what this replay did to their keys. They are
// many where requests race: what is kept of them stands in columns, and each value is held once.

import { Status } from '../protocol/status.ts';
import { grown, type Batch } from '../trace/batch.ts';
import type { ResultBatch } from '../trace/results.ts';
import { recordedAnswer, replayedAnswer, type Answer } from './answer.ts';
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

/** The replay found nothing: of what was recorded the beginning is enough. */
function isGone(replayed: Pick<Answer, 'status'>): boolean {
  return replayed.status === Status.notFound;
}

export class Suspects {
  readonly #values: Values;
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
    const replayed = replayedAnswer(batch, row, results, resultRow)!;
    const recorded = recordedAnswer(batch, row);
    if (recorded === undefined) this.#answers[at] = NONE;
    else this.#put(at, recorded, isGone(replayed) ? KEPT_BYTES : Infinity);
    this.#put(at + FIELDS, replayed, Infinity);
  }

  #put(at: number, { status, silent, extras, key, value }: Answer, valueBytes: number): void {
    const answers = this.#answers;
    answers[at] = status;
    answers[at + 1] = silent ? 1 : 0;
    answers[at + 2] = this.#numberOf(extras);
    answers[at + 3] = this.#numberOf(key);
    answers[at + 4] = this.#numberOf(value.length > valueBytes ? value.subarray(0, valueBytes) : value);
    answers[at + 5] = value.length;
  }

  /** Most parts of answers are empty. */
  #numberOf(bytes: Buffer): number {
    return bytes.length === 0 ? NONE : this.#values.number(bytes.toString('latin1'));
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
