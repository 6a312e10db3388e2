// The clock of a replay: nanoseconds since some fixed moment, without allocating.

export interface Clock {
  nowNs(): number;
}

export const systemClock: Clock = { nowNs: () => performance.now() * 1e6 };

/**
 * No nanoseconds, as a number with a fraction is kept. V8 gives a field the kind of the first number in it, and code that was
 * compiled for a field of whole numbers is thrown away when the first time of the clock is put there.
 */
export const ZERO_NS = -0;
