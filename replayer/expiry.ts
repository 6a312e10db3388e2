// Expiry times in requests: at another speed than the recorded one a TTL shrinks or grows with the schedule, and an
// absolute time moves from the recording's clock to the replay's.

import { MAX_RELATIVE_SECONDS } from '../protocol/expiry.ts';

/**
 * The expiry to send in place of the recorded one. All times in seconds.
 * @param speed of the schedule; 1 where it has none (`max`)
 * @param recordedAt Unix time of the recorded request
 * @param now Unix time of the replay
 */
export function replayedExpiry(expiry: number, speed: number, recordedAt: number, now: number): number {
  // 0 never expires; the upper half is the year 2038 and later, and on a counter 0xffffffff says "do not create".
  if (expiry === 0 || expiry >= 0x80000000) return expiry;
  if (expiry <= MAX_RELATIVE_SECONDS) return speed === 1 ? expiry : Math.max(1, Math.round(expiry / speed));
  const left = expiry - recordedAt;
  // A time in the past: an absolute one that is past on every clock.
  if (left <= 0) return MAX_RELATIVE_SECONDS + 1;
  const scaled = Math.max(1, Math.round(left / speed));
  return scaled <= MAX_RELATIVE_SECONDS ? scaled : Math.round(now) + scaled;
}
