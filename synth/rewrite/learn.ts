// What an exchange of the recording tells of its key: the version that is there after it, given the one before.

import { uint32 } from '../../protocol/header.ts';
import {
  Effect,
  counterText,
  effectOfRefusal,
  expiryAt,
  flagsAt,
  isStore,
  silentStatus,
  wasThere,
} from '../../protocol/semantics.ts';
import { Status } from '../../protocol/status.ts';
import { Outcome, RowFlag } from '../../trace/batch.ts';
import { tokenOf } from '../../trace/token.ts';
import { Version, expiresAt, unknown, type State } from './item.ts';
import type { Payloads } from './payload.ts';
import type { Row } from './row.ts';

/** A value that is kept, or undefined where there is no room for more. */
type Keep = (value: Buffer) => Buffer | undefined;

export interface LearnOptions {
  payloads: Payloads;
  /** Unix time of the trace's start, seconds. */
  startSeconds: number;
  keep: Keep;
}

/** An exchange of unknown success. */
export function isOpen(outcome: number): boolean {
  return outcome === Outcome.unanswered || outcome === Outcome.gap || outcome === Outcome.indeterminate;
}

/** The expiry in the request's extras; 0 where it has none. */
export function expiryOf(row: Pick<Row, 'opcode' | 'extras'>): number {
  return expiryAt(row.opcode, row.extras, 0, row.extras.length);
}

/** @param row as it was recorded, answer and request @param before what was there */
export function learn(before: State, row: Row, options: LearnOptions): State {
  const { family, outcome } = row;
  if (outcome === Outcome.conditional || (row.flags & RowFlag.ambiguous) !== 0) return before;
  const isFinding = family === 'get' || family === 'gat' || family === 'touch';
  if (isOpen(outcome)) return isFinding ? before : unknown;
  const isSilent = outcome === Outcome.silent;
  const status = isSilent ? silentStatus(row.opcode) : row.status;
  if (status === Status.ok) return succeeded(before, row, isSilent, options);
  if (family === undefined) return before;
  if (status === Status.tooLarge || status === Status.outOfMemory)
    return effectOfRefusal(family) === Effect.remove ? undefined : before;
  const hasCas = (row.casHigh | row.casLow) !== 0;
  const isThere = wasThere(row.opcode, hasCas, status);
  if (isThere === undefined) return before;
  return isThere ? (before ?? unknown) : undefined;
}

function succeeded(before: State, row: Row, isSilent: boolean, options: LearnOptions): State {
  const { payloads, startSeconds, keep } = options;
  const { family, ns, answerValue } = row;
  const cas = isSilent ? 0 : tokenOf(row.answerCasHigh, row.answerCasLow);
  const until = expiresAt(expiryOf(row), ns, startSeconds);
  switch (family) {
    case 'get':
      return read(before, row, cas, before?.expiresNs ?? Infinity, keep);
    case 'gat':
      return read(before, row, cas, until, keep).until(until);
    case 'touch':
      return before?.until(until) ?? new Version(undefined, flagsOf(row), until, ns, cas);
    case 'set':
    case 'add':
    case 'replace':
      return new Version(keep(row.value), storedFlags(row), until, ns, cas);
    case 'append':
    case 'prepend': {
      const value = joined(before, row, payloads);
      const { flags = 0, expiresNs = Infinity } = before ?? {};
      return new Version(value === undefined ? undefined : keep(value), flags, expiresNs, ns, cas);
    }
    case 'incr':
    case 'decr': {
      const { flags = 0, expiresNs = until } = before ?? {};
      const length = before?.value === undefined ? 0 : payloads.length(before.value);
      const value =
        answerValue.length === 8
          ? payloads.counter(counterText(answerValue.readBigUInt64BE(0), length, false))
          : undefined;
      return new Version(value, flags, expiresNs, ns, cas);
    }
    case 'delete':
      return undefined;
    default:
      return before;
  }
}

/** The version that was read: the one that is known, or another. */
function read(before: State, row: Row, cas: number, expiresNs: number, keep: Keep): Version {
  const flags = flagsOf(row);
  if (before !== undefined && before !== unknown) {
    // It was executed before the change that made this one.
    if (cas !== 0 && before.cas !== 0 && cas < before.cas) return before;
    const isSame =
      before.flags === flags &&
      (before.cas === 0 || cas === 0 || before.goesBy(cas)) &&
      before.value !== undefined &&
      before.value.equals(row.answerValue);
    if (isSame) {
      if (before.cas === 0) before.cas = cas;
      return before;
    }
    if (before.value === undefined && before.goesBy(cas) && keep(row.answerValue) === undefined)
      return before;
  }
  return new Version(
    keep(row.answerValue),
    flags,
    before === unknown ? Infinity : expiresNs,
    before?.sinceNs === undefined || before === unknown ? row.ns : before.sinceNs,
    cas,
  );
}

/** What APPEND and PREPEND make; undefined where that is not known. */
export function joined(before: State, row: Row, payloads: Payloads): Buffer | undefined {
  if (before?.value === undefined) return undefined;
  return row.family === 'append'
    ? payloads.joined(before.value, row.value)
    : payloads.joined(row.value, before.value);
}

/** The flags that an answer tells. */
export function flagsOf({ answerExtras }: Pick<Row, 'answerExtras'>): number {
  return answerExtras.length >= 4 ? uint32(answerExtras, 0) : 0;
}

/** The flags that a store brings. */
export function storedFlags({ family, extras }: Pick<Row, 'family' | 'extras'>): number {
  return isStore(family) && extras.length >= 4 ? flagsAt(extras, 0) : 0;
}
