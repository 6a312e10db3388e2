// The `key` order: a request on a key waits for every exchange on that key that had finished, in the recording, before
// the request was sent. Exchanges of a key are ranked by the time they finished; what a request waits for is then a
// prefix of the ranks, kept as one number. Everything is computed from the recording as rows are loaded, in trace order.
//
// Where requests on a key were under way at once, and one of them changes it, the one that was answered first is sent
// first: servers answer as they execute, so that is the order that the recorded answers tell of. Both are then under way
// together. A request waits for such a one only if that was answered before anything that shares a segment with the
// waiting request was; so whoever waits, waits for what finished earlier, and the waiting has no cycles.

import { NEVER } from '../trace/batch.ts';

const NONE = -1;

/** One key that has exchanges loaded and not completed. */
export class KeyQueue<Waiter> {
  name = '';
  /** How many keys it was the queue of before. */
  turn = 0;
  /** Exchanges loaded and not completed in the replay. */
  live = 0;
  /** Exchanges that have a rank, and those of them in rank order that are complete. */
  ranked = 0;
  done = 0;
  /** Linked lists of nodes: ranked and not yet in `done`; and without a rank yet, by recorded finish. */
  firstRanked = NONE;
  lastRanked = NONE;
  firstPending = NONE;
  /** Not let go yet, to be sent or skipped; doubly linked, by recorded finish. */
  firstHeld = NONE;
  lastHeld = NONE;
  readonly waiters: Waiter[] = [];
}

export class KeyOrder<Waiter> {
  readonly #keys = new Map<string, KeyQueue<Waiter>>();
  readonly #spare: KeyQueue<Waiter>[] = [];
  readonly #wake: (waiter: Waiter) => void;
  // Nodes, one an exchange: when it finished in the recording, whether it is complete in the replay, who is next.
  #finish = new Float64Array(1024);
  #complete = new Uint8Array(1024);
  #next = new Int32Array(1024);
  /** 1: the exchange changes the key. */
  #mutates = new Uint8Array(1024);
  #nextHeld = new Int32Array(1024);
  #previousHeld = new Int32Array(1024);
  #free = NONE;
  #used = 0;

  constructor(wake: (waiter: Waiter) => void) {
    this.#wake = wake;
  }

  /** The queue of a key, made where there is none. */
  key(name: string): KeyQueue<Waiter> {
    let key = this.#keys.get(name);
    if (key === undefined) {
      key = this.#spare.pop() ?? new KeyQueue();
      key.name = name;
      this.#keys.set(name, key);
    }
    return key;
  }

  /** How many keys are held. */
  get size(): number {
    return this.#keys.size;
  }

  /**
   * An exchange on the key, in trace order. Returns its node; right after, `key.ranked` is how many exchanges must be
   * done before it is sent.
   * @param finishNs when it finished in the recording; NEVER where that is not known, and nobody then waits for it
   */
  load(key: KeyQueue<Waiter>, requestNs: number, finishNs: number, mutates: boolean): number {
    while (key.firstPending !== NONE && this.#finish[key.firstPending]! < requestNs) this.#rank(key);
    const node = this.#take();
    this.#finish[node] = finishNs;
    this.#complete[node] = 0;
    this.#next[node] = NONE;
    this.#mutates[node] = mutates ? 1 : 0;
    key.live++;
    if (finishNs !== NEVER) {
      this.#insert(key, node);
      this.#hold(key, node);
    }
    return node;
  }

  /** Does an exchange that was answered before `beforeNs` have to be sent first? */
  isHeld(key: KeyQueue<Waiter>, mutates: boolean, beforeNs: number): boolean {
    for (let at = key.firstHeld; at !== NONE && this.#finish[at]! < beforeNs; at = this.#nextHeld[at]!)
      if (mutates || this.#mutates[at] === 1) return true;
    return false;
  }

  /** The exchange is about to be sent, or will not be; `finishNs` as it was loaded. */
  letGo(key: KeyQueue<Waiter>, node: number, finishNs: number): void {
    if (finishNs === NEVER) return;
    const next = this.#nextHeld[node]!;
    const previous = this.#previousHeld[node]!;
    if (previous === NONE) key.firstHeld = next;
    else this.#nextHeld[previous] = next;
    if (next === NONE) key.lastHeld = previous;
    else this.#previousHeld[next] = previous;
    this.#wakeAll(key);
  }

  /** The exchange is complete in the replay; `finishNs` as it was loaded. */
  complete(key: KeyQueue<Waiter>, node: number, finishNs: number): void {
    key.live--;
    if (finishNs === NEVER) this.#release(node);
    else this.#complete[node] = 1;
    if (key.firstRanked === node || key.live === 0) this.#advance(key);
    if (key.live === 0) this.#forget(key);
  }

  #rank(key: KeyQueue<Waiter>): void {
    const node = key.firstPending;
    key.firstPending = this.#next[node]!;
    this.#next[node] = NONE;
    key.ranked++;
    if (key.firstRanked === NONE) key.firstRanked = node;
    else this.#next[key.lastRanked] = node;
    key.lastRanked = node;
    if (key.firstRanked === node) this.#advance(key);
  }

  #advance(key: KeyQueue<Waiter>): void {
    const before = key.done;
    while (key.firstRanked !== NONE && this.#complete[key.firstRanked] === 1) {
      const node = key.firstRanked;
      key.firstRanked = this.#next[node]!;
      key.done++;
      this.#release(node);
    }
    if (key.done === before) return;
    this.#wakeAll(key);
  }

  // Sorted from the back: requests come nearly in the order in which they finish.
  #hold(key: KeyQueue<Waiter>, node: number): void {
    const finish = this.#finish[node]!;
    let previous = key.lastHeld;
    while (previous !== NONE && this.#finish[previous]! > finish) previous = this.#previousHeld[previous]!;
    const next = previous === NONE ? key.firstHeld : this.#nextHeld[previous]!;
    this.#previousHeld[node] = previous;
    this.#nextHeld[node] = next;
    if (previous === NONE) key.firstHeld = node;
    else this.#nextHeld[previous] = node;
    if (next === NONE) key.lastHeld = node;
    else this.#previousHeld[next] = node;
  }

  #wakeAll(key: KeyQueue<Waiter>): void {
    if (key.waiters.length === 0) return;
    for (const waiter of key.waiters) this.#wake(waiter);
    key.waiters.length = 0;
  }

  // Few exchanges of one key overlap, so a sorted list does.
  #insert(key: KeyQueue<Waiter>, node: number): void {
    const finish = this.#finish[node]!;
    let before = NONE;
    let at = key.firstPending;
    while (at !== NONE && this.#finish[at]! <= finish) {
      before = at;
      at = this.#next[at]!;
    }
    this.#next[node] = at;
    if (before === NONE) key.firstPending = node;
    else this.#next[before] = node;
  }

  // Nothing of the key is under way: whoever comes next has nothing to wait for.
  #forget(key: KeyQueue<Waiter>): void {
    while (key.firstPending !== NONE) {
      const node = key.firstPending;
      key.firstPending = this.#next[node]!;
      this.#release(node);
    }
    this.#keys.delete(key.name);
    key.name = '';
    key.turn++;
    key.ranked = 0;
    key.done = 0;
    key.lastRanked = NONE;
    if (this.#spare.length < 65_536) this.#spare.push(key);
  }

  #take(): number {
    if (this.#free !== NONE) {
      const node = this.#free;
      this.#free = this.#next[node]!;
      return node;
    }
    if (this.#used === this.#next.length) this.#grow();
    return this.#used++;
  }

  #release(node: number): void {
    this.#next[node] = this.#free;
    this.#free = node;
  }

  #grow(): void {
    const capacity = this.#used * 2;
    const finish = new Float64Array(capacity);
    const complete = new Uint8Array(capacity);
    const next = new Int32Array(capacity);
    const mutates = new Uint8Array(capacity);
    const nextHeld = new Int32Array(capacity);
    const previousHeld = new Int32Array(capacity);
    finish.set(this.#finish);
    complete.set(this.#complete);
    next.set(this.#next);
    mutates.set(this.#mutates);
    nextHeld.set(this.#nextHeld);
    previousHeld.set(this.#previousHeld);
    this.#mutates = mutates;
    this.#nextHeld = nextHeld;
    this.#previousHeld = previousHeld;
    this.#finish = finish;
    this.#complete = complete;
    this.#next = next;
  }
}
