// Objects in the order of their last reference, the most recent first, in bins of depth: a list with a mark at the first
// object of each bin. A reference moves one object to the top, and with it one object over each mark above its old place.

import { grown } from '../../trace/batch.ts';

const NONE = -1;

export class MarkedList {
  /** Objects in it. */
  size = 0;
  /** Of each object, the bin in which it lies. */
  bins = new Uint8Array(1024);
  #newer = new Int32Array(1024);
  #older = new Int32Array(1024);
  #newest = NONE;
  #oldest = NONE;
  /** Depths at which bins begin, from 1; and the object that is the first of each bin. */
  readonly #edges: readonly number[];
  readonly #marks: Int32Array;
  #marked = 1;
  readonly #onCross: (object: number, from: number, to: number) => void;

  /**
   * @param edges ascending from 1; bin i begins at edges[i], and there are 256 at most
   * @param onCross hears of each object that got a bin deeper
   */
  constructor(edges: readonly number[], onCross: (object: number, from: number, to: number) => void) {
    this.#edges = edges;
    this.#marks = new Int32Array(edges.length);
    this.#onCross = onCross;
  }

  clear(): void {
    this.size = 0;
    this.#newest = NONE;
    this.#oldest = NONE;
    this.#marked = 1;
  }

  /** A new object; they have the numbers 0, 1, 2… */
  push(object: number): void {
    if (object >= this.bins.length) this.#grow();
    this.#sink(this.#marked - 1);
    this.#putFirst(object);
    this.size++;
    if (this.size !== this.#edges[this.#marked]) return;
    this.#marks[this.#marked] = this.#oldest;
    this.#cross(this.#oldest, this.#marked++);
  }

  /** The object becomes the most recent one. */
  touch(object: number): void {
    if (object === this.#newest) return;
    this.#sink(this.bins[object]!);
    const newer = this.#newer[object]!;
    const older = this.#older[object]!;
    this.#older[newer] = older;
    if (older === NONE) this.#oldest = newer;
    else this.#newer[older] = newer;
    this.#putFirst(object);
  }

  /** Whoever is the last of a bin goes over the mark, from this bin on upwards. */
  #sink(bin: number): void {
    for (let at = bin; at > 0; at--) {
      const last = this.#newer[this.#marks[at]!]!;
      this.#marks[at] = last;
      this.#cross(last, at);
    }
  }

  #cross(object: number, to: number): void {
    this.bins[object] = to;
    this.#onCross(object, to - 1, to);
  }

  #putFirst(object: number): void {
    this.bins[object] = 0;
    this.#newer[object] = NONE;
    this.#older[object] = this.#newest;
    if (this.#newest === NONE) this.#oldest = object;
    else this.#newer[this.#newest] = object;
    this.#newest = object;
  }

  #grow(): void {
    const length = this.bins.length * 2;
    this.bins = grown(this.bins, new Uint8Array(length));
    this.#newer = grown(this.#newer, new Int32Array(length));
    this.#older = grown(this.#older, new Int32Array(length));
  }
}
