// What a request of the rewritten trace is answered, by a cache without limits that holds what its earlier requests left.

import { applyDelta } from '../../protocol/counter.ts';
import {
  Effect,
  counterText,
  decide,
  decideCounter,
  effectOfRefusal,
  itemBytes,
  readExtras,
  type Found,
} from '../../protocol/semantics.ts';
import { Status } from '../../protocol/status.ts';
import { Version, expiresAt, unknown, type State } from './item.ts';
import { expiryOf, joined, storedFlags, type LearnOptions } from './learn.ts';
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

function answer(status: number | undefined, state: State, value?: Buffer, flags = 0): Simulated {
  return { status, value, flags, state };
}

/** @param cas the version that the request names, as tokenOf(); 0: none */
export function simulate(before: State, row: Row, cas: number, options: SimulateOptions): Simulated {
  const { family, ns } = row;
  const { startSeconds, keep } = options;
  const there = before !== undefined && before.expiresNs > ns ? before : undefined;
  const found = find(there, cas);
  const until = expiresAt(expiryOf(row), ns, startSeconds);
  const isUnknown = before === unknown;
  switch (family) {
    case 'get':
    case 'gat':
    case 'touch': {
      if (isUnknown) return answer(undefined, before);
      const { status, effect } = decide(family, found);
      // What has run out stays as it is, so that a reader leaves no trace.
      if (there === undefined) return answer(status, family === 'get' ? before : undefined);
      const after = effect === Effect.touch ? there.until(until) : there;
      if (family === 'touch') return answer(status, after, undefined, there.flags);
      return answer(there.value === undefined ? undefined : status, after, there.value, there.flags);
    }
    case 'set':
    case 'add':
    case 'replace': {
      const flags = storedFlags(row);
      if (isTooLarge(row, flags, options)) {
        const isRemoved = effectOfRefusal(family) === Effect.remove;
        return answer(Status.tooLarge, isRemoved ? undefined : before);
      }
      const isPlain = family === 'set' && cas === 0;
      if (isUnknown && !isPlain) return answer(undefined, unknown);
      const { status, effect } = decide(family, found);
      if (effect !== Effect.store) return answer(status, there);
      return answer(status, new Version(keep(row.value), flags, until, ns));
    }
    case 'append':
    case 'prepend':
      if (isUnknown) return answer(undefined, unknown);
      return concatenate(there, found, row, options);
    case 'delete': {
      if (isUnknown) return answer(undefined, cas === 0 ? undefined : unknown);
      const { status, effect } = decide(family, found);
      return answer(status, effect === Effect.remove ? undefined : there);
    }
    case 'incr':
    case 'decr':
      if (isUnknown) return answer(undefined, unknown);
      return count(there, found, row, until, options);
    default:
      return answer(undefined, before);
  }
}

function find(there: State, cas: number): Found {
  return {
    isThere: there !== undefined,
    hasCas: cas !== 0,
    casAgrees: cas === 0 || there?.goesBy(cas) === true,
  };
}

function isTooLarge(
  { key, value }: Row,
  flags: number,
  { payloads, maxItemBytes }: SimulateOptions,
): boolean {
  return itemBytes(key.length, flags, payloads.length(value)) > maxItemBytes;
}

function concatenate(
  there: State,
  found: Found,
  row: Row,
  { payloads, maxItemBytes, keep }: SimulateOptions,
): Simulated {
  const { status, effect } = decide(row.family!, found);
  if (there === undefined || effect !== Effect.concatenate) return answer(status, there);
  const value = joined(there, row, payloads);
  if (itemBytes(row.key.length, there.flags, value?.length ?? 0) > maxItemBytes)
    return answer(Status.notStored, there);
  const kept = value === undefined ? undefined : keep(value);
  return answer(status, new Version(kept, there.flags, there.expiresNs, row.ns));
}

function count(
  there: State,
  found: Found,
  row: Row,
  until: number,
  { payloads }: SimulateOptions,
): Simulated {
  const extras = readExtras(row.opcode, row.extras);
  if (extras === undefined) return answer(undefined, unknown);
  const before = there?.value;
  if (there !== undefined && before === undefined) return answer(undefined, unknown);
  const number = before === undefined ? undefined : payloads.number(before);
  const length = before === undefined ? 0 : payloads.length(before);
  const { status, effect } = decideCounter(found, length === 0, number !== undefined, extras.mayCreate);
  const counted = (result: bigint, flags: number, expiresNs: number): Simulated => {
    const text = counterText(result, length, false);
    const state = new Version(payloads.counter(text), flags, expiresNs, row.ns);
    if (payloads.hidesCounters) return answer(status, state);
    const value = Buffer.alloc(8);
    value.writeBigUInt64BE(result);
    return answer(status, state, value);
  };
  if (effect === Effect.create) return counted(extras.initial, 0, until);
  if (effect !== Effect.count) return answer(status, there);
  const result = applyDelta(number!, extras.delta, row.family === 'incr');
  return counted(result, there!.flags, there!.expiresNs);
}
