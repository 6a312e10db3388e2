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
export const expiryOffset = Int8Array.from({ length: 256 }, (_, opcode) => {
  switch (opcodeInfo(opcode)?.family) {
    case 'set':
    case 'add':
    case 'replace':
      return 4;
    case 'incr':
    case 'decr':
      return 16;
    case 'touch':
    case 'gat':
      return 0;
    default:
      return -1;
  }
});
