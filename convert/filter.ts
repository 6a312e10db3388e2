// Which exchanges of a trace are wanted: what `memtape cat` shows and `memtape filter` keeps.

import { NEVER, Outcome, type Batch, type Connection } from '../trace/batch.ts';
import { isSampled } from '../trace/sample.ts';

/** All that is given must hold; what is not given lets everything through. */
export interface Filter {
  /** Matches the key as latin1; a request without a key has the empty one. */
  key?: RegExp;
  opcode?: ReadonlySet<number>;
  connection?: number;
  /** SASL user; empty: nobody. */
  tenant?: string;
  /** Address of the server, or its host alone. */
  server?: string;
  /** The status of the answer: what was answered with another, or not at all, is left out. */
  status?: ReadonlySet<number>;
  /** What took so long from the request's last byte to the answer's first at least, ns. */
  slowerNs?: number;
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
  const { key, opcode, tenant, server, status, slowerNs, sample, rows, fromNs, toNs } = filter;
  if (rows !== undefined && rows[batch.firstIndex + row] !== 1) return false;
  if (opcode !== undefined && !opcode.has(batch.opcode[row]!)) return false;
  if (filter.connection !== undefined && batch.connection[row] !== filter.connection) return false;
  if (fromNs !== undefined && batch.requestNs[row]! < fromNs) return false;
  if (toNs !== undefined && batch.requestNs[row]! > toNs) return false;
  if (tenant !== undefined && (connection?.tenant ?? '') !== tenant) return false;
  if (server !== undefined && !isServer(connection?.server ?? '', server)) return false;
  if (status !== undefined && !(batch.outcome[row] === Outcome.answered && status.has(batch.status[row]!)))
    return false;
  if (slowerNs !== undefined && !(tookNs(batch, row) >= slowerNs)) return false;
  if (sample !== undefined && batch.keyLength[row]! > 0) {
    const at = batch.keyAt[row]!;
    if (!isSampled(batch.heap, at, at + batch.keyLength[row]!, sample)) return false;
  }
  return key === undefined || key.test(batch.key(row).toString('latin1'));
}

function isServer(address: string, wanted: string): boolean {
  return address === wanted || address.slice(0, address.lastIndexOf(':')) === wanted;
}

/** From the request's last byte to the answer's first; -1: it has no answer. */
function tookNs(batch: Batch, row: number): number {
  return batch.answerNs[row] === NEVER ? -1 : batch.answerNs[row]! - batch.requestEndNs[row]!;
}

/** Everything passes. */
export function isOpen(filter: Filter): boolean {
  return Object.values(filter).every((condition) => condition === undefined);
}
