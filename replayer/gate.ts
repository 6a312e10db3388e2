// Which exchanges a replay does not send, and why: operations that would harm the target or end the comparison, secrets
// that it does not have, frames that could smuggle others.

import { HEADER_BYTES } from '../protocol/header.ts';
import { Opcode, isSecret, opcodeInfo } from '../protocol/opcode.ts';
import { RowFlag, type Batch } from '../trace/batch.ts';
import { SkipReason } from '../trace/results.ts';

/** What may be allowed: `flush` empties the target, `stat` lets STAT change its settings. */
export type Permission = 'flush' | 'stat' | 'recorded-target';
export const permissions: readonly Permission[] = ['flush', 'stat', 'recorded-target'];

/** The longest head (header, extras and key) that memcached reads; it resets the connection of a longer one. */
const MAX_HEAD_BYTES = 16_384;

export type Gate = (batch: Batch, row: number) => SkipReason;

export function createGate(allowed: ReadonlySet<Permission>): Gate {
  const flush = allowed.has('flush');
  const stat = allowed.has('stat');
  // One look at the opcode settles nearly every row.
  const special = Uint8Array.from({ length: 256 }, (_, opcode) => {
    const family = opcodeInfo(opcode)?.family;
    if (family === undefined || isSecret[opcode] === 1 || family === 'saslList') return 1;
    return (family === 'flush' && !flush) || (family === 'stat' && !stat) ? 1 : 0;
  });
  return (batch, row) => {
    if (
      (batch.flags[row]! & RowFlag.unsafe) !== 0 ||
      HEADER_BYTES + batch.extrasLength[row]! + batch.keyLength[row]! > MAX_HEAD_BYTES
    )
      return SkipReason.unsafe;
    const opcode = batch.opcode[row]!;
    if (special[opcode] === 0) return SkipReason.none;
    if (opcode === Opcode.saslList || isSecret[opcode] === 1) return SkipReason.auth;
    if (opcode === Opcode.stat)
      return /^(reset|detail|sizes)/.test(batch.key(row).toString('latin1'))
        ? SkipReason.gated
        : SkipReason.none;
    if (opcodeInfo(opcode) === undefined)
      return batch.keyLength[row]! + batch.extrasLength[row]! + batch.valueLength[row]! > 0
        ? SkipReason.unsafe
        : SkipReason.none;
    return SkipReason.gated;
  };
}
