// What memcached makes of an expiry in a request, and where in the request it stands.

import { opcodeInfo } from './opcode.ts';

/** Seconds: above 30 days memcached takes an expiry for an absolute Unix time. */
export const MAX_RELATIVE_SECONDS = 60 * 60 * 24 * 30;

/** The expiry with which INCR and DECR do not create. */
export const DO_NOT_CREATE = 0xffffffff;

/** When an item of this expiry is gone that is stored at this Unix time, in Unix seconds; Infinity: never. */
export function expiresAt(expiry: number, nowSeconds: number): number {
  if (expiry === 0) return Infinity;
  return expiry <= MAX_RELATIVE_SECONDS ? nowSeconds + expiry : expiry;
}

/** Where in the request's extras the expiry stands, by opcode; -1 where there is none. */
export const expiryOffset = Int8Array.from(
  { length: 256 },
  (_, opcode) => opcodeInfo(opcode)?.expiryAt ?? -1,
);

/** memcached's clock ticks in seconds, and so an expiry is sharp to about this much. */
const MARGIN_NS = 1.5e9;
/** An absolute time is sharp to the clocks of two machines besides. */
const ABSOLUTE_MARGIN_NS = 3e9;

/** How long an item lives that is stored with an expiry. */
export interface Lifetime {
  /** It may be gone so long after it was stored, ns. */
  mayLiveNs: number;
  /** And must be gone so long after. */
  mustDieNs: number;
}

const forEver: Lifetime = { mayLiveNs: Infinity, mustDieNs: Infinity };

/**
 * The lifetime of an item in a replay.
 * @param expiry as recorded, in seconds: relative up to 30 days, else a Unix time
 * @param speed by which the replay divides expiries
 * @param recordedAtSeconds Unix time of the recorded request
 */
export function lifetimeOf(expiry: number, speed: number, recordedAtSeconds: number): Lifetime {
  if (expiry === 0) return forEver;
  // The year 2038 and later: a server may read it as a negative number.
  if (expiry >= 0x80000000) return { mayLiveNs: 0, mustDieNs: Infinity };
  const isAbsolute = expiry > MAX_RELATIVE_SECONDS;
  const left = isAbsolute ? expiry - recordedAtSeconds : expiry;
  if (left <= 0) return { mayLiveNs: 0, mustDieNs: MARGIN_NS };
  const marginNs = isAbsolute ? ABSOLUTE_MARGIN_NS : MARGIN_NS;
  const lifeNs = Math.max(1, Math.round(left / speed)) * 1e9;
  return { mayLiveNs: Math.max(0, lifeNs - marginNs), mustDieNs: lifeNs + marginNs };
}
