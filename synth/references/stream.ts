// What streams of references have in common: a length, an end, and buffers that are filled.

export abstract class ReferenceStream {
  readonly #length: number;
  #position = 0;

  /** @throws RangeError for a length that is not from 0. Infinity is an endless stream. */
  constructor(length: number) {
    if (!(length >= 0)) throw new RangeError(`expected a length from 0, got ${length}`);
    this.#length = length;
  }

  /** Writes the stream's next references. Returns how many: fewer than fit only at the end of the stream. */
  fill(into: Uint32Array): number {
    const count = Math.min(into.length, this.#length - this.#position);
    for (let i = 0; i < count; i++) into[i] = this.draw(this.#position++);
    return count;
  }

  /** @throws RangeError past the end of the stream. */
  next(): number {
    if (this.#position >= this.#length)
      throw new RangeError(`the stream ends after ${this.#length} references`);
    return this.draw(this.#position++);
  }

  /** The object's id at this position; each position is asked for once, in order, from 0. */
  protected abstract draw(position: number): number;
}
