// Which exchanges of a trace are wanted: what `memtape cat` shows and `memtape filter` keeps.

import type { Batch, Connection } from '../trace/batch.ts';
import { isSampled } from '../trace/sample.ts';

/** All that is given must hold; what is not given lets everything through. */
export interface Filter {
  /** Of the key as latin1; what has no key has the empty one. */
  key?: RegExp;
  opcode?: ReadonlySet<number>;
  connection?: number;
  /** SASL user; empty: nobody. */
  tenant?: string;
  /** One key in so many, by its hash. Exchanges without a key stay. */
  sample?: number;
  /** By index in the trace: 1 where it is wanted. */
  rows?: Uint8Array;
  /** ns since the trace's start, both inclusive. */
  fromNs?: number;
  toNs?: number;
}

/** Whether the row passes. `connection` is the row's, where the trace tells of it. */
export function passes(filter: Filter, batch: Batch, row: number, connection?: Connection): boolean {
  const { key, opcode, tenant, sample, rows, fromNs, toNs } = filter;
  if (rows !== undefined && rows[batch.firstIndex + row] !== 1) return false;
  if (opcode !== undefined && !opcode.has(batch.opcode[row]!)) return false;
  if (filter.connection !== undefined && batch.connection[row] !== filter.connection) return false;
  if (fromNs !== undefined && batch.requestNs[row]! < fromNs) return false;
  if (toNs !== undefined && batch.requestNs[row]! > toNs) return false;
  if (tenant !== undefined && (connection?.tenant ?? '') !== tenant) return false;
  if (sample !== undefined && batch.keyLength[row]! > 0) {
    const at = batch.keyAt[row]!;
    if (!isSampled(batch.heap, at, at + batch.keyLength[row]!, sample)) return false;
  }
  return key === undefined || key.test(batch.key(row).toString('latin1'));
}

/** Everything passes. */
export function isOpen(filter: Filter): boolean {
  return Object.values(filter).every((condition) => condition === undefined);
}
