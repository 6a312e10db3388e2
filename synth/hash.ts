// Numbers that follow from others: what belongs to a key (its size, its expiry, its bytes) is computed from the seed and
// the key each time, and stored nowhere.

/** Mixes 32 bits, every one of them into every other (the finalizer of MurmurHash3). */
export function mix(word: number): number {
  let h = word | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** 32 bits of a seed, a number up to 2^53, and what it is asked for. */
export function hash(seed: number, id: number, field: number): number {
  const low = id % 0x1_0000_0000;
  const high = (id - low) / 0x1_0000_0000;
  return mix(mix(mix(seed ^ Math.imul(field, 0x9e3779b1)) ^ low) ^ high);
}

/** The same, in (0, 1). */
export function unit(seed: number, id: number, field: number): number {
  return (hash(seed, id, field) + 0.5) / 0x1_0000_0000;
}

const ROUNDS = 4;

/**
 * A permutation of [0, n): four rounds of Feistel on the next even number of bits, walked until it is in range. So that
 * popular keys are not neighbours.
 */
export class Permutation {
  readonly #n: number;
  readonly #seed: number;
  readonly #half: number;

  /** @param n up to 2^52 */
  constructor(n: number, seed: number) {
    this.#n = n;
    this.#seed = seed;
    let bits = 1;
    while (2 ** (2 * bits) < n) bits++;
    this.#half = 2 ** bits;
  }

  at(rank: number): number {
    let at = rank;
    do {
      let right = at % this.#half;
      let left = (at - right) / this.#half;
      for (let round = 0; round < ROUNDS; round++) {
        const next = (left ^ (mix(right ^ mix(this.#seed + round)) % this.#half)) >>> 0;
        left = right;
        right = next;
      }
      at = left * this.#half + right;
    } while (at >= this.#n);
    return at;
  }
}

/** In [0, 1), of a name, the same each time. */
export function unitOf(seed: number, name: string): number {
  let h = seed | 0;
  for (let at = 0; at < name.length; at++) h = Math.imul(h ^ name.charCodeAt(at), 0x01000193);
  return mix(h) / 0x1_0000_0000;
}
