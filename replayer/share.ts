// Between the workers of one replay: each tells the others what is complete, and which CAS tokens it learned, so that the order holds across all of them. Every worker loads the whole trace and computes the same order;
// what the others do to it comes from here. A ring in shared memory for each worker, written by it alone.

export const Told = {
  complete: 0,
  token: 1,
} as const;
export type Told = (typeof Told)[keyof typeof Told];

/** Words of an entry: what, the row or the server, and of a token: the recorded one, its item, replayed high and low. */
const WORDS = 6;
/** More than a window of rows brings forth, for the others to be a window behind. */
const ENTRIES = 1 << 18;

/** What workers share: plain memory, so that it can be handed to threads. */
export interface SharedMemory {
  /** By worker: its entries. */
  entries: SharedArrayBuffer[];
  /** By worker: how many entries it has written; then, by reader and writer, how many were read. */
  counts: SharedArrayBuffer;
}

export function createShared(workers: number): SharedMemory {
  return {
    entries: Array.from(
      { length: workers },
      () => new SharedArrayBuffer(ENTRIES * WORDS * Float64Array.BYTES_PER_ELEMENT),
    ),
    counts: new SharedArrayBuffer((workers + workers * workers) * Int32Array.BYTES_PER_ELEMENT),
  };
}

export interface ShareEvents {
  complete(index: number): void;
  token(server: number, token: number, item: number, high: number, low: number): void;
}

export class Share {
  readonly worker: number;
  readonly workers: number;
  readonly #rings: Float64Array[];
  readonly #counts: Int32Array;
  /** Entries for which the ring has no room yet. */
  readonly #waiting: number[] = [];
  #written = 0;
  readonly #read: number[];

  constructor(memory: SharedMemory, worker: number) {
    this.worker = worker;
    this.workers = memory.entries.length;
    this.#rings = memory.entries.map((buffer) => new Float64Array(buffer));
    this.#counts = new Int32Array(memory.counts);
    this.#read = memory.entries.map(() => 0);
  }

  owns(connection: number): boolean {
    return connection % this.workers === this.worker;
  }

  tell(what: Told, subject: number, a = 0, b = 0, c = 0, d = 0): void {
    if (this.#waiting.length > 0 || !this.#hasRoom()) {
      this.#waiting.push(what, subject, a, b, c, d);
      return;
    }
    this.#write(what, subject, a, b, c, d);
  }

  #write(what: number, subject: number, a: number, b: number, c: number, d: number): void {
    const ring = this.#rings[this.worker]!;
    const at = (this.#written & (ENTRIES - 1)) * WORDS;
    ring[at] = what;
    ring[at + 1] = subject;
    ring[at + 2] = a;
    ring[at + 3] = b;
    ring[at + 4] = c;
    ring[at + 5] = d;
    this.#written = (this.#written + 1) | 0;
    Atomics.store(this.#counts, this.worker, this.#written);
  }

  #hasRoom(): boolean {
    for (let reader = 0; reader < this.workers; reader++) {
      if (reader === this.worker) continue;
      const read = Atomics.load(this.#counts, this.#place(reader, this.worker));
      if (((this.#written - read) | 0) >= ENTRIES) return false;
    }
    return true;
  }

  #place(reader: number, writer: number): number {
    return this.workers + reader * this.workers + writer;
  }

  /** Hands on what the others told since the last time. */
  hear(events: ShareEvents): void {
    for (let at = 0; at < this.#waiting.length;) {
      if (!this.#hasRoom()) {
        this.#waiting.splice(0, at);
        break;
      }
      const [what, subject, a, b, c, d] = this.#waiting.slice(at, at + WORDS) as [
        number,
        number,
        number,
        number,
        number,
        number,
      ];
      this.#write(what, subject, a, b, c, d);
      at += WORDS;
      if (at === this.#waiting.length) this.#waiting.length = 0;
    }
    for (let writer = 0; writer < this.workers; writer++) {
      if (writer === this.worker) continue;
      const written = Atomics.load(this.#counts, writer);
      let read = this.#read[writer]!;
      if (read === written) continue;
      const ring = this.#rings[writer]!;
      for (; read !== written; read = (read + 1) | 0) {
        const at = (read & (ENTRIES - 1)) * WORDS;
        const subject = ring[at + 1]!;
        if (ring[at] === Told.complete) events.complete(subject);
        else events.token(subject, ring[at + 2]!, ring[at + 3]!, ring[at + 4]!, ring[at + 5]!);
      }
      this.#read[writer] = read;
      Atomics.store(this.#counts, this.#place(this.worker, writer), read);
    }
  }
}
