// The traffic of the benches that compare load generators: 50 connections, one set to ten gets, 100-byte values, keys that are
// there.

export const CONNECTIONS = 50;
export const KEYS = 10_000;
export const VALUE_BYTES = 100;
/** Share of the requests. */
export const SETS = 1 / 11;

const keys = Array.from({ length: KEYS }, (_, n) => Buffer.from(`memtier-${n}`));
const values = Array.from({ length: KEYS }, (_, n) =>
  Buffer.from(`${n}-`.repeat(VALUE_BYTES).slice(0, VALUE_BYTES)),
);

/** As memtier_benchmark names it. */
export function keyOf(n: number): Buffer {
  return keys[n]!;
}

export function valueOf(n: number): Buffer {
  return values[n]!;
}
