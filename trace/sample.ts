// Sampling by key: a key is kept or not by its hash, so that what is kept has its whole history, on every server, in every
// recording, and whoever samples the sample again keeps the same keys.

import type { Batch } from './batch.ts';

/** Of the key data[start, end), 32 bits. @param seed other seeds make other hashes, which have nothing to do with each other */
export function hashKey(data: Uint8Array, start: number, end: number, seed: number): number {
  let hash = seed;
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ data[at]!, 0x01000193);
  // The low bits of FNV-1a depend on few bits of the key: murmur3's finish spreads them.
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** Where FNV-1a begins. */
const SEED = 0x811c9dc5;

/** Whether one of `share` keys is kept: data[start, end). */
export function isSampled(data: Uint8Array, start: number, end: number, share: number): boolean {
  return hashKey(data, start, end, SEED) % share === 0;
}

/** The batch without the rows of keys that are not kept; rows without a key stay. The batch itself is changed. */
export function sampled(batch: Batch, share: number): Batch {
  let kept = 0;
  for (let row = 0; row < batch.count; row++) {
    const at = batch.keyAt[row]!;
    const length = batch.keyLength[row]!;
    if (length > 0 && !isSampled(batch.heap, at, at + length, share)) continue;
    if (kept !== row) batch.copyRow(row, kept);
    kept++;
  }
  batch.count = kept;
  return batch;
}
