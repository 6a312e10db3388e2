// What the formats of cache research know of a request: when, who, which key, what, how large, for how long. Here is how
// an exchange of a trace reads as one.

import { DO_NOT_CREATE, MAX_RELATIVE_SECONDS } from '../protocol/expiry.ts';
import { families, opcodeInfo, type Family } from '../protocol/opcode.ts';
import { uint32 } from '../protocol/header.ts';
import { MAX_KEY_BYTES } from '../protocol/semantics.ts';
import { Status } from '../protocol/status.ts';
import { Outcome, type Batch } from '../trace/batch.ts';
import { namesVersion } from '../trace/token.ts';

/** The operations of Twitter's traces. */
export const operations = [
  'get',
  'gets',
  'set',
  'add',
  'replace',
  'cas',
  'append',
  'prepend',
  'delete',
  'incr',
  'decr',
] as const;
export type Operation = (typeof operations)[number];

/** The largest value that is made for a request: memcached stores 1 MiB unless told otherwise. */
export const MAX_VALUE_BYTES = 64 * 1024 * 1024;

const folded: Partial<Record<Family, Operation>> = {
  get: 'get',
  gat: 'get',
  set: 'set',
  add: 'add',
  replace: 'replace',
  append: 'append',
  prepend: 'prepend',
  delete: 'delete',
  incr: 'incr',
  decr: 'decr',
};

/** The operation of a row; undefined for what is no operation on a key, or on one that memcached refuses. */
export function operationOf(batch: Batch, row: number): Operation | undefined {
  // Nobody sent it.
  if (batch.outcome[row] === Outcome.conditional) return undefined;
  const operation = folded[opcodeInfo(batch.opcode[row]!)?.family ?? 'noop'];
  const keyLength = batch.keyLength[row]!;
  if (operation === undefined || keyLength === 0 || keyLength > MAX_KEY_BYTES) return undefined;
  const isConditional = namesVersion(batch, row);
  return operation === 'set' && isConditional ? 'cas' : operation;
}

/** Bytes of the value that the row stores, or that its answer brings; 0 without one. */
export function sizeOf(batch: Batch, row: number, operation: Operation): number {
  if (operation !== 'get') return batch.valueLength[row]!;
  const isHit = batch.outcome[row] === Outcome.answered && batch.status[row] === Status.ok;
  return isHit ? batch.answerValueLength[row]! : 0;
}

/** -1: it expires at once. */
const EXPIRED = -1;

/**
 * The time to live of a row's item in seconds; 0 where it has none, or the request sets none.
 * @param second Unix time of the request
 */
export function ttlOf(batch: Batch, row: number, operation: Operation, second: number): number {
  const at = expiryAt(operation);
  if (at < 0 || batch.extrasLength[row]! < at + 4) return 0;
  const expiry = uint32(batch.heap, batch.extrasAt[row]! + at);
  if (at === COUNTER_EXPIRY && expiry === DO_NOT_CREATE) return 0;
  if (expiry >= 0x80000000) return EXPIRED;
  if (expiry <= MAX_RELATIVE_SECONDS) return expiry;
  return expiry > second ? expiry - second : EXPIRED;
}

/** The expiry to send for a time to live. The inverse of ttlOf, but for a counter without one: it is not created. */
export function expiryOf(ttl: number, operation: Operation, second: number): number {
  if (ttl === 0 && expiryAt(operation) === COUNTER_EXPIRY) return DO_NOT_CREATE;
  if (ttl === EXPIRED) return 0xfffffffe;
  if (ttl <= MAX_RELATIVE_SECONDS) return ttl;
  // Beyond the year 2038 there is no time to name: it does not expire.
  return second + ttl < 0x80000000 ? second + ttl : 0;
}

const COUNTER_EXPIRY = 16;
/** Where the expiry stands in the extras; -1 where there is none. */
function expiryAt(operation: Operation): number {
  if (operation === 'gets') return families.get.expiryAt;
  // CAS is a SET that names a version.
  return families[operation === 'cas' ? 'set' : operation].expiryAt;
}
