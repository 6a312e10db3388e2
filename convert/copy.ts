// Copies rows from batches that were read into a batch that is being made. Within a block a string stands in the heap
// once; so it does in the copy.

import { Batch, copyColumns } from '../trace/batch.ts';

/** Shorter strings cost less to copy again than to remember. */
const MIN_SHARED_BYTES = 16;

export class RowCopier {
  /** What was copied since the last clear(). */
  readonly batch = new Batch(4096, 1 << 20);
  /** By batch, which it does not keep alive: where its strings stand in the copy, by where they stand there. */
  #places = new WeakMap<Batch, Map<number, number>>();

  /** Appends the row and returns its number; its bytes are copied. */
  copy(from: Batch, row: number): number {
    const to = this.batch;
    const at = to.count++;
    to.reserve(to.count);
    copyColumns(from, row, to, at);
    const places = this.#placesOf(from);
    to.extrasAt[at] = this.#bytes(from, places, from.extrasAt[row]!, from.extrasLength[row]!);
    to.keyAt[at] = this.#bytes(from, places, from.keyAt[row]!, from.keyLength[row]!);
    to.valueAt[at] = this.#bytes(from, places, from.valueAt[row]!, from.valueLength[row]!);
    to.answerExtrasAt[at] = this.#bytes(
      from,
      places,
      from.answerExtrasAt[row]!,
      from.answerExtrasLength[row]!,
    );
    to.answerKeyAt[at] = this.#bytes(from, places, from.answerKeyAt[row]!, from.answerKeyLength[row]!);
    to.answerValueAt[at] = this.#bytes(from, places, from.answerValueAt[row]!, from.answerValueLength[row]!);
    return at;
  }

  clear(): void {
    this.batch.clear();
    this.#places = new WeakMap();
  }

  #placesOf(from: Batch): Map<number, number> {
    let places = this.#places.get(from);
    if (places === undefined) this.#places.set(from, (places = new Map()));
    return places;
  }

  #bytes(from: Batch, places: Map<number, number>, at: number, length: number): number {
    if (length === 0) return 0;
    const isShared = length >= MIN_SHARED_BYTES;
    const known = isShared ? places.get(at) : undefined;
    if (known !== undefined) return known;
    const to = this.batch.allocate(length);
    from.heap.copy(this.batch.heap, to, at, at + length);
    if (isShared) places.set(at, to);
    return to;
  }
}
