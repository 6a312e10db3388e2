// What is still to come, the earliest first; of one time, in the order in which it was put. Tasks live in columns, and a
// task is the number of its row there. What follows a request after the same short while as after every other comes in the
// order of its times by itself, and waits in a ring; the rest is a heap.

import { grown } from '../trace/batch.ts';

/** What follows from a request (refill: of a read that missed; refillAgain: of one that hit), or was planned. */
export const TaskKind = { refill: 0, refillAgain: 1, cas: 2, again: 3, read: 4, flush: 5 } as const;
export type TaskKind = (typeof TaskKind)[keyof typeof TaskKind];

export class Agenda {
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

  #ns = new Float64Array(0);
  #turn = new Float64Array(0);
  #turns = 0;
  #free: number[] = [];

  #ring = new Int32Array(64);
  #first = 0;
  #waiting = 0;
  readonly #heap: number[] = [];

  get nextNs(): number {
    const task = this.#next();
    return task === -1 ? Infinity : this.#ns[task]!;
  }

  /** A task at any time. Returns its row, whose columns hold anything. */
  put(ns: number): number {
    const task = this.#task(ns);
    const heap = this.#heap;
    let at = heap.length;
    heap.push(task);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(task, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = task;
    return task;
  }

  /** A task at a time that is never before those of earlier calls. Returns its row, whose columns hold anything. */
  soon(ns: number): number {
    if (this.#waiting === this.#ring.length) this.#widen();
    const task = this.#task(ns);
    this.#ring[(this.#first + this.#waiting++) & (this.#ring.length - 1)] = task;
    return task;
  }

  /** Takes the earliest off; its columns stay until the next task is put. Returns its row; -1: there is none. */
  take(): number {
    const task = this.#next();
    if (task === -1) return -1;
    if (this.#waiting > 0 && this.#ring[this.#first] === task) {
      this.#first = (this.#first + 1) & (this.#ring.length - 1);
      this.#waiting--;
    } else this.#sink();
    this.#free.push(task);
    return task;
  }

  #next(): number {
    const heaped = this.#heap.length > 0 ? this.#heap[0]! : -1;
    if (this.#waiting === 0) return heaped;
    const ringed = this.#ring[this.#first]!;
    return heaped !== -1 && this.#isBefore(heaped, ringed) ? heaped : ringed;
  }

  #isBefore(a: number, b: number): boolean {
    const [nsA, nsB] = [this.#ns[a]!, this.#ns[b]!];
    return nsA < nsB || (nsA === nsB && this.#turn[a]! < this.#turn[b]!);
  }

  /** Takes the first of the heap off. */
  #sink(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!this.#isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }

  #task(ns: number): number {
    if (this.#free.length === 0) this.#grow();
    const task = this.#free.pop()!;
    this.#ns[task] = ns;
    this.#turn[task] = this.#turns++;
    return task;
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
    this.#ns = grown(this.#ns, new Float64Array(rows));
    this.#turn = grown(this.#turn, new Float64Array(rows));
    for (let task = rows - 1; task >= before; task--) this.#free.push(task);
  }

  #widen(): void {
    const { length } = this.#ring;
    const wider = new Int32Array(length * 2);
    for (let n = 0; n < length; n++) wider[n] = this.#ring[(this.#first + n) & (length - 1)]!;
    this.#ring = wider;
    this.#first = 0;
  }
}
