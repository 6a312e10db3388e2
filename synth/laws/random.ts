// Seeded randomness: the same seed and stream give the same numbers on every machine, so that a workload can be made again.
// The generator is xoshiro128** 1.1 by Blackman and Vigna, seeded through SplitMix64, as its authors advise
// (https://prng.di.unimi.it, public domain). Not for secrets.

const MASK = 0xffffffffffffffffn;

/** SplitMix64: one step of a 64-bit sequence, whose every seed is a good one. Returns 64-bit outputs. */
function splitmix(seed: bigint): () => bigint {
  let state = seed & MASK;
  return () => {
    state = (state + 0x9e3779b97f4a7c15n) & MASK;
    let z = state;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK;
    return z ^ (z >> 31n);
  };
}

export class Random {
  readonly #state = new Int32Array(4);

  /** Streams of one seed are independent of each other: one for each client, say. */
  constructor(seed: number | bigint, stream = 0) {
    // Multiplied apart, so that (seed 1, stream 0) and (seed 0, stream 1) do not begin alike.
    const next = splitmix(splitmix(BigInt(seed))() + BigInt(stream) * 0xd1342543de82ef95n);
    for (let i = 0; i < 4; i += 2) {
      const word = next();
      this.#state[i] = Number(word & 0xffffffffn);
      this.#state[i + 1] = Number(word >> 32n);
    }
  }

  /** The generator at a given state of four words, not all zero. */
  static fromState(words: readonly [number, number, number, number]): Random {
    const random = new Random(0);
    random.#state.set(words);
    return random;
  }

  /** Uniform in [0, 2^32). */
  uint32(): number {
    return this.#next() >>> 0;
  }

  /** Uniform in [0, 1), with 53 bits. */
  float(): number {
    const high = this.#next() >>> 5;
    const low = this.#next() >>> 6;
    return (high * 0x4000000 + low) / 0x20000000000000;
  }

  // Signed words: loads of unsigned ones would go through floating-point numbers.
  #next(): number {
    const state = this.#state;
    const s0 = state[0]!;
    const s1 = state[1]!;
    const s2 = state[2]! ^ s0;
    const s3 = state[3]! ^ s1;
    const scrambled = Math.imul(s1, 5);
    state[0] = s0 ^ s3;
    state[1] = s1 ^ s2;
    state[2] = s2 ^ (s1 << 9);
    state[3] = (s3 << 11) | (s3 >>> 21);
    return Math.imul((scrambled << 7) | (scrambled >>> 25), 9);
  }

  /** A whole number in [0, n), each equally likely; n from 1 to 2^32. */
  int(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 0x100000000)
      throw new RangeError(`expected a whole number from 1 to 2^32, got ${n}`);
    // Numbers past the last whole multiple of n would favour the small ones.
    const limit = 0x100000000 - (0x100000000 % n);
    for (;;) {
      const word = this.uint32();
      if (word < limit) return word % n;
    }
  }

  /** True with this probability. */
  chance(probability: number): boolean {
    return this.float() < probability;
  }

  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new RangeError('nothing to pick from');
    return items[this.int(items.length)]!;
  }
}

/** Draws an index by how many there are of each, and counts it down. @param total of them */
export function takeOne(random: Random, numbers: Uint32Array | Float64Array, total: number): number {
  let rest = random.int(total);
  let at = 0;
  while (rest >= numbers[at]!) rest -= numbers[at++]!;
  numbers[at]!--;
  return at;
}

/** Draws from an exponential distribution with a mean of one. */
export function exponential(random: Random): number {
  return -Math.log(1 - random.float());
}

/** A number for a name: streams of randomness are told apart by what they are for. */
export function named(name: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

/** Uniform numbers of which each 256, or so many, are spread evenly, in random order: shares come out as they were asked for. */
export class Stratified {
  readonly #random: Random;
  readonly #order: Uint8Array;
  #at: number;

  /** @param strata up to 256 */
  constructor(random: Random, strata = 256) {
    this.#random = random;
    this.#order = Uint8Array.from({ length: strata }, (_, n) => n);
    this.#at = strata;
  }

  /** In [0, 1). */
  float(): number {
    if (this.#at === this.#order.length) this.#shuffle();
    return (this.#order[this.#at++]! + this.#random.float()) / this.#order.length;
  }

  #shuffle(): void {
    for (let i = this.#order.length - 1; i > 0; i--) {
      const j = Math.floor(this.#random.float() * (i + 1));
      const other = this.#order[i]!;
      this.#order[i] = this.#order[j]!;
      this.#order[j] = other;
    }
    this.#at = 0;
  }
}

/**
 * Ranks by Zipf's law: rank k of n (from 0) has a weight of 1 / (k + 1)^exponent. Rejection-inversion after Hörmann and
 * Derflinger, "Rejection-inversion to generate variates from monotone discrete distributions" (1996): constant time and
 * memory whatever n is.
 */
export class Zipf {
  readonly #n: number;
  readonly #exponent: number;
  readonly #first: number;
  readonly #last: number;
  readonly #shortcut: number;

  constructor(n: number, exponent: number) {
    if (!Number.isInteger(n) || n < 1) throw new RangeError(`expected a whole number of ranks, got ${n}`);
    if (!(exponent > 0)) throw new RangeError(`expected an exponent above 0, got ${exponent}`);
    this.#n = n;
    this.#exponent = exponent;
    this.#first = this.#integral(1.5) - 1;
    this.#last = this.#integral(n + 0.5);
    this.#shortcut = 2 - this.#inverse(this.#integral(2.5) - this.#weight(2));
  }

  /** A rank in [0, n); 0 is the most likely. */
  sample(random: Random): number {
    for (;;) {
      const u = this.#last + random.float() * (this.#first - this.#last);
      const x = this.#inverse(u);
      const k = Math.min(Math.max(Math.floor(x + 0.5), 1), this.#n);
      if (k - x <= this.#shortcut || u >= this.#integral(k + 0.5) - this.#weight(k)) return k - 1;
    }
  }

  #weight(x: number): number {
    return Math.exp(-this.#exponent * Math.log(x));
  }

  /** The weight's integral, zero at 1; where the exponent is near 1, (e^t - 1) / t tends to 1. */
  #integral(x: number): number {
    const log = Math.log(x);
    const t = (1 - this.#exponent) * log;
    return log * (Math.abs(t) > 1e-8 ? Math.expm1(t) / t : 1 + t / 2);
  }

  #inverse(y: number): number {
    // Rounding can take it past -1, where the logarithm has no value.
    const t = Math.max(y * (1 - this.#exponent), -1);
    return Math.exp(y * (Math.abs(t) > 1e-8 ? Math.log1p(t) / t : 1 - t / 2));
  }
}
