// How many distinct byte strings there are, in bounded memory: exact up to a limit, and beyond it an estimate from a
// sample of the hashes that is halved whenever it is full (Wegman's adaptive sampling).

const LIMIT = 1 << 22;

export class Distinct {
  readonly #limit: number;
  #hashes = new Set<number>();
  /** A hash is kept where this divides it. */
  #share = 1;

  constructor(limit = LIMIT) {
    this.#limit = limit;
  }

  add(data: Uint8Array, start: number, end: number): void {
    const hash = hash52(data, start, end);
    if (hash % this.#share !== 0) return;
    this.#hashes.add(hash);
    while (this.#hashes.size > this.#limit) {
      this.#share *= 2;
      this.#hashes = new Set([...this.#hashes].filter((kept) => kept % this.#share === 0));
    }
  }

  get count(): number {
    return this.#hashes.size * this.#share;
  }

  get exact(): boolean {
    return this.#share === 1;
  }
}

// Two multiplicative hashes of 26 bits each, with other constants; collisions begin to show at some ten million keys.
function hash52(data: Uint8Array, start: number, end: number): number {
  let a = 0x811c9dc5;
  let b = 0x9e3779b9;
  for (let at = start; at < end; at++) {
    a = Math.imul(a ^ data[at]!, 0x01000193);
    b = Math.imul(b + data[at]!, 0x85ebca6b);
    b ^= b >>> 13;
  }
  a = Math.imul(a ^ (a >>> 16), 0xc2b2ae35);
  b = Math.imul(b ^ (b >>> 15), 0x27d4eb2f);
  return ((a >>> 6) & 0x3ffffff) * 0x4000000 + ((b >>> 6) & 0x3ffffff);
}
