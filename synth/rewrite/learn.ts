// What an exchange of the recording tells of its key: the version that is there after it, given the one before.

import { expiryOffset } from '../../protocol/expiry.ts';
import { uint32 } from '../../protocol/header.ts';
import { Status } from '../../protocol/status.ts';
import { Outcome, RowFlag } from '../../trace/batch.ts';
import { tokenOf } from '../../trace/token.ts';
import { Version, expiresAt, unknown, type State } from './item.ts';
import type { Payloads } from './payload.ts';
import type { Row } from './row.ts';

/** A value that is kept, or undefined where there is no room for more. */
export type Keep = (value: Buffer) => Buffer | undefined;

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
  const at = expiryOffset[row.opcode]!;
  return at >= 0 && at + 4 <= row.extras.length ? uint32(row.extras, at) : 0;
}

/** @param row as it was recorded, answer and request @param before what was there */
export function learn(before: State, row: Row, options: LearnOptions): State {
  const { family, outcome } = row;
  if (outcome === Outcome.conditional || (row.flags & RowFlag.ambiguous) !== 0) return before;
  const isFinding = family === 'get' || family === 'gat' || family === 'touch';
  if (isOpen(outcome)) return isFinding ? before : unknown;
  const isSilent = outcome === Outcome.silent;
  const status = !isSilent ? row.status : row.isRead ? Status.notFound : Status.ok;
  switch (status) {
    case Status.ok:
      return succeeded(before, row, isSilent, options);
    case Status.notFound:
    case Status.notStored:
      return undefined;
    // A refused SET deletes what was there; what else is refused leaves it.
    case Status.tooLarge:
    case Status.outOfMemory:
      return family === 'set' ? undefined : before;
    case Status.exists:
    case Status.nonNumeric:
      return before ?? unknown;
    default:
      return before;
  }
}

function succeeded(before: State, row: Row, isSilent: boolean, options: LearnOptions): State {
  const { payloads, startSeconds, keep } = options;
  const { family, ns } = row;
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
      return new Version(keep(row.value), uint32At(row.extras), until, ns, cas);
    case 'append':
    case 'prepend': {
      const value = joined(before, row, payloads);
      const { flags = 0, expiresNs = Infinity } = before ?? {};
      return new Version(value === undefined ? undefined : keep(value), flags, expiresNs, ns, cas);
    }
    case 'incr':
    case 'decr': {
      const { flags = 0, expiresNs = until } = before ?? {};
      const value =
        row.answerValue.length === 8 ? payloads.counter(row.answerValue.readBigUInt64BE(0)) : undefined;
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

function uint32At(extras: Buffer): number {
  return extras.length >= 4 ? uint32(extras, 0) : 0;
}
