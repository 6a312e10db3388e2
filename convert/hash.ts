// 64 bits of a key, in two halves: what its derived values begin with, and its object id in formats that have no keys.

export interface Hash64 {
  low: number;
  high: number;
}

/** A hash of data[start, end): two multiplicative hashes whose bits are mixed at the end. It is for keys, not for secrets. */
export function hash64(data: Uint8Array, start = 0, end = data.length): Hash64 {
  let a = 0x243f6a88;
  let b = 0x85a308d3;
  for (let at = start; at < end; at++) {
    a = Math.imul(a ^ data[at]!, 0x9e3779b1);
    b = Math.imul(b ^ data[at]!, 0x5f356495);
    // Multiplication carries upwards only: the high bits come down again.
    a ^= a >>> 15;
    b ^= b >>> 13;
  }
  const low = finish(a ^ Math.imul(b, 0xc2b2ae35), 0x85ebca6b, 0xc2b2ae35);
  const high = finish(b ^ Math.imul(a ^ (end - start), 0x27d4eb2f), 0xcc9e2d51, 0x1b873593);
  return { low: low >>> 0, high: high >>> 0 };
}

function finish(bits: number, first: number, second: number): number {
  let hash = Math.imul(bits ^ (bits >>> 16), first);
  hash = Math.imul(hash ^ (hash >>> 13), second);
  return hash ^ (hash >>> 16);
}
