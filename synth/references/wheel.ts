// What is due when, and of what is due, what is most urgent. A timing wheel over the positions of a stream. A slot due at position p waits in bucket p modulo the
// wheel's length, which grows with the slots, so that a turn by one position looks at one slot on average. What came due
// waits in a heap by its deadline.

const NONE = -1;
/** Buckets that a wheel begins with at most: 16 MiB. */
const LONGEST = 1 << 22;

export class Wheel {
  #heads: Int32Array;
  /** A bit for each bucket that is not empty. */
  #occupied: Uint32Array;
  /** A bit for each word of those that is not 0. */
  #words: Uint32Array;
  #next = new Int32Array(1 << 10);
  #due = new Float64Array(1 << 10);
  #length = 0;
  #now = -1;
  /** Nothing is due before this position. */
  #earliest = Infinity;

  /** `reach` is how far ahead slots are due at most: to find the first one is fast if the wheel is that long. */
  constructor(reach: number) {
    let length = 1 << 10;
    while (length < Math.min(reach, LONGEST)) length *= 2;
    this.#heads = new Int32Array(length).fill(NONE);
    this.#occupied = new Uint32Array(length / 32);
    this.#words = new Uint32Array(length / 1024);
  }

  get length(): number {
    return this.#length;
  }

  /** Adds a slot that is not in the wheel; due at a position after the last turn's. */
  add(slot: number, due: number): void {
    if (slot >= this.#due.length) this.#growSlots(slot);
    if (this.#length === this.#heads.length) this.#growWheel();
    this.#due[slot] = due;
    this.#link(slot);
    this.#length++;
    if (due < this.#earliest) this.#earliest = due;
  }

  /** Turns to a position, the last one's successor, and hands over the slots due there. */
  turn(now: number, each: (slot: number) => void): void {
    this.#now = now;
    if (this.#earliest > now) return;
    this.#earliest = now + 1;
    for (let slot = this.#take(now); slot !== NONE; slot = this.#take(now)) each(slot);
  }

  /** Takes out a slot that is due first, whenever that is. The wheel must not be empty. */
  takeFirst(): number {
    const { length } = this.#heads;
    let due = Math.max(this.#earliest, this.#now + 1);
    for (const end = due + length; due < end && !this.#holds(due); due++) {
      const bucket = due % length;
      const word = bucket >>> 5;
      if (this.#occupied[word]! >>> (bucket & 31) !== 0) continue;
      // The rest of an empty word is skipped, and the empty words after it.
      due += 31 - (bucket & 31);
      const next = (word + 1) % this.#occupied.length;
      if (this.#words[next >>> 5]! >>> (next & 31) === 0) due += 32 * (32 - (next & 31));
    }
    if (!this.#holds(due)) {
      // One turn without any: those that wait are turns away.
      due = Infinity;
      for (const head of this.#heads)
        for (let slot = head; slot !== NONE; slot = this.#next[slot]!) due = Math.min(due, this.#due[slot]!);
    }
    this.#earliest = due;
    return this.#take(due);
  }

  #link(slot: number): void {
    const bucket = this.#due[slot]! % this.#heads.length;
    this.#next[slot] = this.#heads[bucket]!;
    this.#heads[bucket] = slot;
    this.#occupied[bucket >>> 5]! |= 1 << (bucket & 31);
    this.#words[bucket >>> 10]! |= 1 << ((bucket >>> 5) & 31);
  }

  #holds(due: number): boolean {
    for (let slot = this.#heads[due % this.#heads.length]!; slot !== NONE; slot = this.#next[slot]!)
      if (this.#due[slot] === due) return true;
    return false;
  }

  /** Unlinks a slot that is due then; NONE where there is no such slot. */
  #take(due: number): number {
    const bucket = due % this.#heads.length;
    let before = NONE;
    let slot = this.#heads[bucket]!;
    while (slot !== NONE && this.#due[slot] !== due) {
      before = slot;
      slot = this.#next[slot]!;
    }
    if (slot === NONE) return NONE;
    if (before === NONE) this.#heads[bucket] = this.#next[slot]!;
    else this.#next[before] = this.#next[slot]!;
    if (this.#heads[bucket] === NONE) {
      const word = bucket >>> 5;
      this.#occupied[word]! &= ~(1 << (bucket & 31));
      if (this.#occupied[word] === 0) this.#words[word >>> 5]! &= ~(1 << (word & 31));
    }
    this.#length--;
    return slot;
  }

  #growSlots(slot: number): void {
    const size = Math.max(slot + 1, this.#due.length * 2);
    const due = new Float64Array(size);
    const next = new Int32Array(size);
    due.set(this.#due);
    next.set(this.#next);
    this.#due = due;
    this.#next = next;
  }

  #growWheel(): void {
    const old = this.#heads;
    this.#heads = new Int32Array(old.length * 4).fill(NONE);
    this.#occupied = new Uint32Array(this.#heads.length / 32);
    this.#words = new Uint32Array(this.#heads.length / 1024);
    for (const head of old)
      for (let slot = head; slot !== NONE;) {
        const next = this.#next[slot]!;
        this.#link(slot);
        slot = next;
      }
  }
}

/** Slots by their deadlines, the earliest first. */
export class Urgency {
  readonly #heap: number[] = [];
  #deadlines = new Float64Array(1 << 10);

  /** Keeps the deadline of a slot until it is added. */
  setDeadline(slot: number, deadline: number): void {
    if (slot >= this.#deadlines.length) {
      const deadlines = new Float64Array(Math.max(slot + 1, this.#deadlines.length * 2));
      deadlines.set(this.#deadlines);
      this.#deadlines = deadlines;
    }
    this.#deadlines[slot] = deadline;
  }

  /** The earliest deadline; Infinity where nothing waits. */
  get deadline(): number {
    return this.#heap.length === 0 ? Infinity : this.#deadlines[this.#heap[0]!]!;
  }

  add(slot: number): void {
    const heap = this.#heap;
    const deadline = this.#deadlines[slot]!;
    let at = heap.push(slot) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#deadlines[heap[parent]!]! <= deadline) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = slot;
  }

  /** Takes out the slot with the earliest deadline. Something must be waiting. */
  take(): number {
    const heap = this.#heap;
    const first = heap[0]!;
    const moved = heap.pop()!;
    if (heap.length === 0) return first;
    const deadline = this.#deadlines[moved]!;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#deadlines[heap[child + 1]!]! < this.#deadlines[heap[child]!]!)
        child++;
      if (this.#deadlines[heap[child]!]! >= deadline) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = moved;
    return first;
  }
}
