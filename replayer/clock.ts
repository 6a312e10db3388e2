// The clock of a replay: nanoseconds since some fixed moment, without allocating.

export interface Clock {
  nowNs(): number;
}

export const systemClock: Clock = { nowNs: () => performance.now() * 1e6 };
