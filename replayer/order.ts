// The `key` order: a request on a key waits for every exchange on that key that had finished, in the recording, before
// the request was sent. Exchanges of a key are ranked by the time they finished; what a request waits for is then a
// prefix of the ranks, kept as one number. Everything is computed from the recording as rows are loaded, in trace order.
//
// Where requests on a key were under way at once, on several connections, and one of them changes it, they are sent one
// after the other, in the order in which the recorded server executed them, as far as that is known. Each was executed
// by the time it was answered; and CAS ids tell more: a server numbers its changes, and what is read has the number of
// the change that it saw, so what has a lower number was executed by the time anything with a higher one was answered.
// By that time, the latest at which each can have been executed, they are ordered (equal ones by number). CAS ids are
// not used of requests that were pipelined, and those that shared a segment go by the time of the first of them. So
// whoever waits, waits for what was executed earlier, and the waiting has no cycles.

import { NEVER } from '../trace/batch.ts';

const NONE = -1;
/** So much later than an exchange, ns, may one have been answered that was executed before it, to be found. */
const LOOK_NS = 5e6;

/** One key that has exchanges loaded and not completed. */
export class KeyQueue<Waiter> {
  name = '';
  /** Whose key it is, and on which target, as a number. */
  place = 0;
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
  /** Not complete yet; doubly linked, by recorded finish. */
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
  #groupFinish = new Float64Array(1024);
  #complete = new Uint8Array(1024);
  #next = new Int32Array(1024);
  /** 1: the exchange changes the key. */
  #mutates = new Uint8Array(1024);
  /** CAS id of the recorded answer; 0 where it has none, or the request was pipelined. */
  #cas = new Float64Array(1024);
  /** The latest time at which it can have been executed. */
  #by = new Float64Array(1024);
  readonly #owner: Waiter[] = [];
  #nextHeld = new Int32Array(1024);
  #previousHeld = new Int32Array(1024);
  #free = NONE;
  #used = 0;

  constructor(wake: (waiter: Waiter) => void) {
    this.#wake = wake;
  }

  /** The queue of a key, made where there is none; the name tells keys of different places apart. */
  key(name: string, place = 0): KeyQueue<Waiter> {
    let key = this.#keys.get(name);
    if (key === undefined) {
      key = this.#spare.pop() ?? new KeyQueue();
      key.name = name;
      key.place = place;
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
   * @param owner its connection, on which requests are in order by themselves
   * @param finishNs when it finished in the recording; NEVER where that is not known, and nobody then waits for it
   * @param groupFinishNs when the first finished of those that share its segment
   * @param cas of the recorded answer; 0: none
   */
  load(
    key: KeyQueue<Waiter>,
    owner: Waiter,
    requestNs: number,
    finishNs: number,
    groupFinishNs: number,
    mutates: boolean,
    cas: number,
  ): number {
    while (key.firstPending !== NONE && this.#finish[key.firstPending]! < requestNs) this.#rank(key);
    const node = this.#take();
    this.#finish[node] = finishNs;
    this.#groupFinish[node] = groupFinishNs;
    this.#complete[node] = 0;
    this.#next[node] = NONE;
    this.#mutates[node] = mutates ? 1 : 0;
    this.#cas[node] = cas;
    this.#by[node] = finishNs;
    this.#owner[node] = owner;
    key.live++;
    if (finishNs !== NEVER) {
      this.#insert(key, node);
      this.#hold(key, node);
      if (cas !== 0) this.#learn(key, node, requestNs);
    }
    return node;
  }

  /** What the CAS ids of this one, and of those that were under way with it, tell of each other. */
  #learn(key: KeyQueue<Waiter>, node: number, requestNs: number): void {
    const finish = this.#finish[node]!;
    for (let at = key.lastHeld; at !== NONE && this.#finish[at]! >= requestNs; at = this.#previousHeld[at]!) {
      if (at === node || this.#cas[at] === 0) continue;
      if (this.#precedes(at, node)) this.#by[at] = Math.min(this.#by[at]!, finish);
      else if (this.#precedes(node, at)) this.#by[node] = Math.min(this.#by[node]!, this.#finish[at]!);
    }
  }

  /** By their CAS ids, which both have: of a change and a read of the same id, the read is later. */
  #precedes(a: number, b: number): boolean {
    const [first, second] = [this.#cas[a]!, this.#cas[b]!];
    return first < second || (first === second && this.#mutates[a]! > this.#mutates[b]!);
  }

  /** The exchange, loaded before, turns out to be pipelined: another was sent before it was answered. */
  pipelined(node: number): void {
    this.#cas[node] = 0;
    this.#by[node] = this.#finish[node]!;
  }

  /** Must another exchange be complete before this one is sent? */
  isHeld(key: KeyQueue<Waiter>, node: number): boolean {
    // It is itself.
    if (key.firstHeld === key.lastHeld && (key.firstHeld === node || key.firstHeld === NONE)) return false;
    const cas = this.#cas[node]!;
    const mutates = this.#mutates[node]!;
    const owner = this.#owner[node];
    const by = cas === 0 ? this.#groupFinish[node]! : this.#by[node]!;
    const until = by + LOOK_NS;
    for (let at = key.firstHeld; at !== NONE && this.#finish[at]! < until; at = this.#nextHeld[at]!) {
      const other = this.#by[at]!;
      if (other > by || at === node || this.#owner[at] === owner || (mutates | this.#mutates[at]!) === 0)
        continue;
      if (other < by || (cas !== 0 && this.#cas[at] !== 0 && this.#precedes(at, node))) return true;
    }
    return false;
  }

  /** The exchange is complete in the replay. */
  complete(key: KeyQueue<Waiter>, node: number): void {
    key.live--;
    if (this.#finish[node] === NEVER) this.#release(node);
    else {
      this.#complete[node] = 1;
      this.#unhold(key, node);
    }
    if (key.firstRanked === node || key.live === 0) this.#advance(key);
    if (key.live === 0) this.#forget(key);
  }

  #unhold(key: KeyQueue<Waiter>, node: number): void {
    const next = this.#nextHeld[node]!;
    const previous = this.#previousHeld[node]!;
    if (previous === NONE) key.firstHeld = next;
    else this.#nextHeld[previous] = next;
    if (next === NONE) key.lastHeld = previous;
    else this.#previousHeld[next] = previous;
    this.#wakeAll(key);
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
    const groupFinish = new Float64Array(capacity);
    groupFinish.set(this.#groupFinish);
    this.#groupFinish = groupFinish;
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
    const cas = new Float64Array(capacity);
    cas.set(this.#cas);
    this.#cas = cas;
    const by = new Float64Array(capacity);
    by.set(this.#by);
    this.#by = by;
  }
}
