// The answer to a STAT under way: its frames, which together are one value of the request's row.

import type { Batch } from '../trace/batch.ts';

/** Kept of one answer; what a server says beyond is dropped. */
const MAX_BYTES = 4 * 1024 * 1024;
const FIRST_BYTES = 4096;

export class Statistics {
  /** No byte of it is missing. */
  isWhole = true;
  #frames = 0;
  #data = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #length = 0;

  /** Bytes of memory. */
  get reserved(): number {
    return this.#data.length;
  }

  /** One frame: data[at, end). */
  push(data: Buffer, at: number, end: number): void {
    const length = this.#length + end - at;
    if (length > MAX_BYTES) return;
    if (length > this.#data.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(length, this.#data.length * 2));
      this.#data.copy(grown, 0, 0, this.#length);
      this.#data = grown;
    }
    data.copy(this.#data, this.#length, at, end);
    this.#length = length;
    this.#frames++;
  }

  /** All frames, headers included, become the value of the answer; of a single one, the answer is that. */
  put(batch: Batch, row: number): void {
    if (this.#frames <= 1) return;
    const at = batch.allocate(this.#length);
    this.#data.copy(batch.heap, at, 0, this.#length);
    batch.frames[row] = this.#frames;
    batch.answerKeyLength[row] = 0;
    batch.answerValueAt[row] = at;
    batch.answerValueLength[row] = this.#length;
  }
}
