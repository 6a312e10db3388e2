// One clock for all machines of a run: that of Redis. How far it is from ours is measured by round trips: the answer was
// made at some moment between asking and hearing, so the shortest round trip is off by half its length at most. Ours is the
// monotonic one, which nobody sets, and which all processes of a machine share.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';

export interface ClockOffset {
  /** Redis' Unix time, less our monotonic one, ms. */
  offsetMs: number;
  /** Half of the shortest round trip. */
  uncertaintyMs: number;
  /** What our wall clock shows, less what Redis' does. */
  wallMs: number;
}

const ROUND_TRIPS = 40;
const BETWEEN_MS = 5;

/** The monotonic clock of this machine, ms. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export async function measureClock(redis: Redis, roundTrips = ROUND_TRIPS): Promise<ClockOffset> {
  let best: ClockOffset | undefined;
  for (let n = 0; n < roundTrips; n++) {
    const askedMs = monotonicMs();
    const [seconds, micros] = await redis.time();
    const heardMs = monotonicMs();
    const wallMs = Date.now();
    const theirsMs = Number(seconds) * 1000 + Number(micros) / 1000;
    const uncertaintyMs = (heardMs - askedMs) / 2;
    if (best === undefined || uncertaintyMs < best.uncertaintyMs)
      best = { offsetMs: theirsMs - (askedMs + heardMs) / 2, uncertaintyMs, wallMs: wallMs - theirsMs };
    await sleep(BETWEEN_MS);
  }
  return best!;
}
