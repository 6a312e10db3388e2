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
  const high = Math.floor(id / 0x1_0000_0000);
  const low = id - high * 0x1_0000_0000;
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
  readonly #half: number;
  readonly #keys: readonly number[];

  /** @param n up to 2^52 */
  constructor(n: number, seed: number) {
    this.#n = n;
    this.#keys = Array.from({ length: ROUNDS }, (_, round) => mix(seed + round));
    let bits = 1;
    while (2 ** (2 * bits) < n) bits++;
    this.#half = 2 ** bits;
  }

  at(rank: number): number {
    // Halves of 26 bits at most, and a power of two.
    const half = this.#half;
    let at = rank;
    do {
      let left = Math.floor(at / half);
      let right = at - left * half;
      for (const key of this.#keys) {
        const next = left ^ (mix(right ^ key) & (half - 1));
        left = right;
        right = next;
      }
      at = left * half + right;
    } while (at >= this.#n);
    return at;
  }

  /** The rank whose number it is: the rounds backwards. */
  rankOf(number: number): number {
    const half = this.#half;
    let at = number;
    do {
      let left = Math.floor(at / half);
      let right = at - left * half;
      for (let round = ROUNDS - 1; round >= 0; round--) {
        const before = right ^ (mix(left ^ this.#keys[round]!) & (half - 1));
        right = left;
        left = before;
      }
      at = left * half + right;
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
