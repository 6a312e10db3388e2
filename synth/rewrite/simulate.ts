// What a request of the rewritten trace is answered, by a cache without limits that holds what its earlier requests left.

import { applyDelta } from '../../protocol/counter.ts';
import { DO_NOT_CREATE } from '../../protocol/expiry.ts';
import { uint32 } from '../../protocol/header.ts';
import { Status } from '../../protocol/status.ts';
import { Version, expiresAt, unknown, type State } from './item.ts';
import { expiryOf, joined, type LearnOptions } from './learn.ts';
import type { Row } from './row.ts';

export interface SimulateOptions extends LearnOptions {
  /** An item takes this much at most, bytes. */
  maxItemBytes: number;
}

/** The answer, and what is there after it. */
export interface Simulated {
  /** Undefined: what is there is not known, so the answer is not. */
  status: number | undefined;
  /** What is read, or the result of a counter. */
  value: Buffer | undefined;
  flags: number;
  state: State;
}

/** memcached's sizes: item header, CAS id, terminators; stored flags. */
const ITEM_BYTES = 48 + 8 + 3;
const FLAGS_BYTES = 4;

function answer(status: number | undefined, state: State, value?: Buffer, flags = 0): Simulated {
  return { status, value, flags, state };
}

/** @param cas the version that the request names, as tokenOf(); 0: none */
export function simulate(before: State, row: Row, cas: number, options: SimulateOptions): Simulated {
  const { family, ns, extras } = row;
  const { payloads, startSeconds, keep } = options;
  const isThere = before !== undefined && before.expiresNs > ns;
  const there = isThere ? before : undefined;
  const until = expiresAt(expiryOf(row), ns, startSeconds);
  const isUnknown = before === unknown;
  switch (family) {
    case 'get':
    case 'gat': {
      if (isUnknown) return answer(undefined, before);
      // What has run out stays as it is, so that a reader leaves no trace.
      if (there === undefined) return answer(Status.notFound, family === 'get' ? before : undefined);
      const after = family === 'get' ? there : there.until(until);
      return answer(there.value === undefined ? undefined : Status.ok, after, there.value, there.flags);
    }
    case 'touch':
      if (isUnknown) return answer(undefined, before);
      if (there === undefined) return answer(Status.notFound, undefined);
      return answer(Status.ok, there.until(until), undefined, there.flags);
    case 'set':
    case 'add':
    case 'replace': {
      const flags = extras.length >= 4 ? uint32(extras, 0) : 0;
      const bytes =
        ITEM_BYTES + (flags === 0 ? 0 : FLAGS_BYTES) + row.key.length + payloads.length(row.value);
      if (bytes > options.maxItemBytes) return answer(Status.tooLarge, family === 'set' ? undefined : before);
      const isPlain = family === 'set' && cas === 0;
      if (isUnknown && !isPlain) return answer(undefined, unknown);
      // A CAS id makes a CAS of each of them.
      if (cas !== 0) {
        if (there === undefined) return answer(Status.notFound, undefined);
        if (!there.goesBy(cas)) return answer(Status.exists, there);
      } else if (family === 'add' && there !== undefined) return answer(Status.exists, there);
      else if (family === 'replace' && there === undefined) return answer(Status.notFound, undefined);
      return answer(Status.ok, new Version(keep(row.value), flags, until, ns));
    }
    case 'append':
    case 'prepend': {
      if (isUnknown) return answer(undefined, unknown);
      if (there === undefined) return answer(Status.notStored, undefined);
      if (cas !== 0 && !there.goesBy(cas)) return answer(Status.exists, there);
      const value = joined(there, row, payloads);
      const bytes = ITEM_BYTES + FLAGS_BYTES + row.key.length + (value?.length ?? 0);
      if (bytes > options.maxItemBytes) return answer(Status.notStored, there);
      const kept = value === undefined ? undefined : keep(value);
      return answer(Status.ok, new Version(kept, there.flags, there.expiresNs, ns));
    }
    case 'delete':
      if (isUnknown) return answer(undefined, cas === 0 ? undefined : unknown);
      if (there === undefined) return answer(Status.notFound, undefined);
      if (cas !== 0 && !there.goesBy(cas)) return answer(Status.exists, there);
      return answer(Status.ok, undefined);
    case 'incr':
    case 'decr':
      return count(there, isUnknown, row, cas, until, options);
    default:
      return answer(undefined, before);
  }
}

function count(
  there: State,
  isUnknown: boolean,
  row: Row,
  cas: number,
  until: number,
  { payloads }: SimulateOptions,
): Simulated {
  const { extras, ns, family } = row;
  const counted = (state: State, result: bigint): Simulated => {
    if (payloads.hidesCounters) return answer(Status.ok, state);
    const value = Buffer.alloc(8);
    value.writeBigUInt64BE(result);
    return answer(Status.ok, state, value);
  };
  if (isUnknown || extras.length < 20) return answer(undefined, unknown);
  const initial = extras.readBigUInt64BE(8);
  if (there === undefined) {
    if (uint32(extras, 16) === DO_NOT_CREATE) return answer(Status.notFound, undefined);
    return counted(new Version(payloads.counter(initial), 0, until, ns), initial);
  }
  if (there.value === undefined) return answer(undefined, unknown);
  const number = payloads.number(there.value);
  if (number === undefined) return answer(Status.nonNumeric, there);
  if (cas !== 0 && !there.goesBy(cas)) return answer(Status.exists, there);
  const result = applyDelta(number, extras.readBigUInt64BE(0), family === 'incr');
  const next = new Version(payloads.counter(result), there.flags, there.expiresNs, ns);
  return counted(next, result);
}
