// What follows from requests, and what was planned: tasks in columns, of which a task is the number of its row. What comes
// after the same short while as everything else comes in the order of its times by itself, and waits in a ring; the rest
// is in an agenda.

import { grown } from '../../trace/batch.ts';
import { Agenda } from './agenda.ts';

/** What follows from a request (refill: of a read that missed; refillAgain: of one that hit), or was planned. */
export const TaskKind = { refill: 0, refillAgain: 1, cas: 2, again: 3, read: 4, flush: 5 } as const;
export type TaskKind = (typeof TaskKind)[keyof typeof TaskKind];

export class Tasks {
  /** Columns; the caller of `put` and `soon` fills them, the caller of `take` reads them before it puts more. */
  kind = new Uint8Array(0);
  /** Number of the stream. */
  stream = new Uint32Array(0);
  /** -1: any of the tenant's. */
  connection = new Int32Array(0);
  sort = new Uint8Array(0);
  /** Of the key. */
  id = new Float64Array(0);
  /** refill, refillAgain, cas: number of the key in its table. */
  entry = new Uint32Array(0);
  /** cas: the version that was read. read: how long after a miss the key is stored again, µs + 1; 0: as the stream does. */
  token = new Uint32Array(0);
  /** again: number of the operation. */
  operation = new Uint8Array(0);

  readonly #free: number[] = [];
  readonly #later = new Agenda<number>();
  #ring = new Int32Array(64);
  #ringNs = new Float64Array(64);
  #first = 0;
  #waiting = 0;

  get nextNs(): number {
    const laterNs = this.#later.nextNs;
    return this.#waiting === 0 ? laterNs : Math.min(laterNs, this.#ringNs[this.#first]!);
  }

  /** A task at any time. Returns its row, whose columns hold anything. */
  put(ns: number): number {
    const task = this.#task();
    this.#later.put(ns, task);
    return task;
  }

  /** A task at a time that is never before those of earlier calls. Returns its row, whose columns hold anything. */
  soon(ns: number): number {
    if (this.#waiting === this.#ring.length) this.#widen();
    const task = this.#task();
    const at = (this.#first + this.#waiting++) & (this.#ring.length - 1);
    this.#ring[at] = task;
    this.#ringNs[at] = ns;
    return task;
  }

  /** Takes the earliest off; its columns stay until the next task is put. Returns its row; -1: there is none. */
  take(): number {
    const isLater = this.#waiting === 0 || this.#later.nextNs <= this.#ringNs[this.#first]!;
    let task = -1;
    if (isLater) task = this.#later.take() ?? -1;
    else {
      task = this.#ring[this.#first]!;
      this.#first = (this.#first + 1) & (this.#ring.length - 1);
      this.#waiting--;
    }
    if (task >= 0) this.#free.push(task);
    return task;
  }

  #task(): number {
    if (this.#free.length === 0) this.#grow();
    return this.#free.pop()!;
  }

  #grow(): void {
    const before = this.kind.length;
    const rows = Math.max(64, before * 2);
    this.kind = grown(this.kind, new Uint8Array(rows));
    this.stream = grown(this.stream, new Uint32Array(rows));
    this.connection = grown(this.connection, new Int32Array(rows));
    this.sort = grown(this.sort, new Uint8Array(rows));
    this.id = grown(this.id, new Float64Array(rows));
    this.entry = grown(this.entry, new Uint32Array(rows));
    this.token = grown(this.token, new Uint32Array(rows));
    this.operation = grown(this.operation, new Uint8Array(rows));
    for (let task = rows - 1; task >= before; task--) this.#free.push(task);
  }

  #widen(): void {
    const { length } = this.#ring;
    const ring = new Int32Array(length * 2);
    const ringNs = new Float64Array(length * 2);
    for (let n = 0; n < length; n++) {
      const at = (this.#first + n) & (length - 1);
      ring[n] = this.#ring[at]!;
      ringNs[n] = this.#ringNs[at]!;
    }
    this.#ring = ring;
    this.#ringNs = ringNs;
    this.#first = 0;
  }
}
