// CAS tokens as numbers: they fit a double exactly up to 2^53, and servers count from 1.

import type { Batch } from './batch.ts';

export function tokenOf(high: number, low: number): number {
  return high * 0x1_0000_0000 + low;
}

/** The request names a version. */
export function namesVersion(batch: Batch, row: number): boolean {
  return (batch.casHigh[row]! | batch.casLow[row]!) !== 0;
}
