// Caches of one size that evict by FIFO, CLOCK, SIEVE or S3-FIFO, simulated over dense object ids: what an eviction
// policy's miss-ratio curve is measured with. Queues are intrusive lists in typed arrays, one entry for each id, so that
// a reference allocates nothing.

/** A queue of ids; an id is in one queue of a simulation at most, so queues share their links. */
class Queue {
  head = NONE;
  tail = NONE;
  length = 0;
  readonly #newer: Int32Array;
  readonly #older: Int32Array;

  constructor(newer: Int32Array, older: Int32Array) {
    this.#newer = newer;
    this.#older = older;
  }

  newerThan(id: number): number {
    return this.#newer[id]!;
  }

  push(id: number): void {
    this.#newer[id] = NONE;
    this.#older[id] = this.head;
    if (this.head === NONE) this.tail = id;
    else this.#newer[this.head] = id;
    this.head = id;
    this.length++;
  }

  remove(id: number): void {
    const newer = this.#newer[id]!;
    const older = this.#older[id]!;
    if (newer === NONE) this.head = older;
    else this.#older[newer] = older;
    if (older === NONE) this.tail = newer;
    else this.#newer[older] = newer;
    this.length--;
  }
}

const NONE = -1;

/** Counts the misses of a cache of so many objects; ids are below `footprint`. */
export type Simulation = (references: Uint32Array, footprint: number, size: number) => number;

export function fifo(references: Uint32Array, footprint: number, size: number): number {
  const ring = new Int32Array(size).fill(NONE);
  const cached = new Uint8Array(footprint);
  let hand = 0;
  let misses = 0;
  for (let i = 0; i < references.length; i++) {
    const id = references[i]!;
    if (cached[id] === 1) continue;
    misses++;
    const victim = ring[hand]!;
    if (victim !== NONE) cached[victim] = 0;
    ring[hand] = id;
    cached[id] = 1;
    hand = hand + 1 === size ? 0 : hand + 1;
  }
  return misses;
}

/** One bit for each object: the hand clears it where it is set, and evicts where it is not. */
export function clock(references: Uint32Array, footprint: number, size: number): number {
  const ring = new Int32Array(size).fill(NONE);
  /** 0 out, 1 in, 2 in and referenced since the hand came by. */
  const state = new Uint8Array(footprint);
  let hand = 0;
  let misses = 0;
  for (let i = 0; i < references.length; i++) {
    const id = references[i]!;
    if (state[id] !== 0) {
      state[id] = 2;
      continue;
    }
    misses++;
    for (;;) {
      const victim = ring[hand]!;
      if (victim === NONE) break;
      if (--state[victim]! === 0) break;
      hand = hand + 1 === size ? 0 : hand + 1;
    }
    ring[hand] = id;
    state[id] = 1;
    hand = hand + 1 === size ? 0 : hand + 1;
  }
  return misses;
}

/** SIEVE (Zhang et al., NSDI 2024): as CLOCK, but new objects enter at the head, and the hand does not wait for them. */
export function sieve(references: Uint32Array, footprint: number, size: number): number {
  const queue = new Queue(new Int32Array(footprint), new Int32Array(footprint));
  const state = new Uint8Array(footprint);
  let hand = NONE;
  let misses = 0;
  for (let i = 0; i < references.length; i++) {
    const id = references[i]!;
    if (state[id] !== 0) {
      state[id] = 2;
      continue;
    }
    misses++;
    if (queue.length === size) {
      if (hand === NONE) hand = queue.tail;
      while (--state[hand]! !== 0) {
        hand = queue.newerThan(hand);
        if (hand === NONE) hand = queue.tail;
      }
      const victim = hand;
      hand = queue.newerThan(victim);
      queue.remove(victim);
    }
    queue.push(id);
    state[id] = 1;
  }
  return misses;
}

const OUT = 0;
const SMALL = 1;
const MAIN = 2;
const GHOST = 3;

/**
 * S3-FIFO, Algorithm 1 of Yang et al. (SOSP 2023): a small queue of a tenth, a main queue, and a ghost queue of as many
 * ids as the main one has; frequencies up to 3, cleared when an object moves on.
 */
export function s3fifo(references: Uint32Array, footprint: number, size: number): number {
  const newer = new Int32Array(footprint);
  const older = new Int32Array(footprint);
  const small = new Queue(newer, older);
  const main = new Queue(newer, older);
  const ghost = new Queue(newer, older);
  const place = new Uint8Array(footprint);
  const frequency = new Uint8Array(footprint);
  const mainSize = size * 0.9;

  function evictSmall(): void {
    while (small.length > 0) {
      const id = small.tail;
      small.remove(id);
      if (frequency[id]! > 1) {
        if (main.length >= mainSize) evictMain();
        place[id] = MAIN;
        frequency[id] = 0;
        main.push(id);
        continue;
      }
      if (ghost.length > 0 && ghost.length + 1 > mainSize) {
        const forgotten = ghost.tail;
        place[forgotten] = OUT;
        ghost.remove(forgotten);
      }
      place[id] = GHOST;
      ghost.push(id);
      return;
    }
  }

  function evictMain(): void {
    while (main.length > 0) {
      const id = main.tail;
      main.remove(id);
      const left = frequency[id]!;
      if (left === 0) {
        place[id] = OUT;
        return;
      }
      frequency[id] = left - 1;
      main.push(id);
    }
  }

  let misses = 0;
  for (let i = 0; i < references.length; i++) {
    const id = references[i]!;
    const where = place[id]!;
    if (where === SMALL || where === MAIN) {
      if (frequency[id]! < 3) frequency[id]!++;
      continue;
    }
    misses++;
    while (small.length + main.length >= size) {
      if (small.length >= size * 0.1) evictSmall();
      else evictMain();
    }
    // What made room may have made the ghost forget the object.
    const remembered = place[id] === GHOST;
    if (remembered) ghost.remove(id);
    frequency[id] = 0;
    place[id] = remembered ? MAIN : SMALL;
    (remembered ? main : small).push(id);
  }
  return misses;
}
