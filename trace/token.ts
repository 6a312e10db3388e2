// CAS tokens as numbers: they fit a double exactly up to 2^53, and servers count from 1.

export function tokenOf(high: number, low: number): number {
  return high * 0x1_0000_0000 + low;
}
