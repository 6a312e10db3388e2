// Bytes compared where they stand.

/** Below this a loop is faster than a call into native code. */
const SHORT = 24;

/** Whether a[aAt, aAt + length) are the bytes of b[bAt, bAt + length). */
export function sameBytes(a: Buffer, aAt: number, b: Buffer, bAt: number, length: number): boolean {
  if (length > SHORT) return a.compare(b, bAt, bAt + length, aAt, aAt + length) === 0;
  for (let i = 0; i < length; i++) if (a[aAt + i] !== b[bAt + i]) return false;
  return true;
}
