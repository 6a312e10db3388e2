// Keys of further tenants, or of another version of an application: the same key with a name in front.

import { createHash } from 'node:crypto';
import { MAX_KEY_BYTES } from '../protocol/semantics.ts';

/** `name:key`; of a key that is too long for a name in front, the end becomes a hash. */
export function renamedKey(key: Buffer, name: string): Buffer {
  const long = Buffer.concat([Buffer.from(`${name}:`), key]);
  if (long.length <= MAX_KEY_BYTES) return long;
  const tail = createHash('sha256').update(key).digest('hex').slice(0, 16);
  return Buffer.concat([long.subarray(0, MAX_KEY_BYTES - tail.length), Buffer.from(tail)]);
}
