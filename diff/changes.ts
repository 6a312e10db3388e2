// From an exchange and what became of it in the replay to the change that it made to its key.

import { MAX_RELATIVE_SECONDS } from '../protocol/expiry.ts';
import { uint32 } from '../protocol/header.ts';
import { opcodeInfo } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import { NEVER, RowFlag, type Batch } from '../trace/batch.ts';
import { Result, type ResultBatch } from '../trace/results.ts';
import type { Answer } from './answer.ts';
import type { Change } from './history.ts';

/**
 * The change of a row; undefined where it cannot have changed the key.
 * @param speed of the replay, by which expiries were scaled
 * @param keepsValues what was stored matters, and not only that something was
 */
export function changeOf(
  batch: Batch,
  row: number,
  results: ResultBatch,
  resultRow: number,
  answer: Answer | undefined,
  speed: number,
  keepsValues: boolean,
): Change | undefined {
  const info = opcodeInfo(batch.opcode[row]!);
  if (info === undefined || results.result[resultRow] === Result.skipped) return undefined;
  if ((batch.flags[row]! & RowFlag.unsafe) !== 0) return undefined;
  const { family } = info;
  const answered = answer !== undefined;
  const isOk = answered && answer.status === Status.ok;
  const refused = answered && !isOk;
  const fromNs = results.sentNs[resultRow]!;
  const answeredNs = results.answeredNs[resultRow]!;
  const change: Change = {
    index: batch.firstIndex + row,
    connection: batch.connection[row]!,
    family,
    fromNs,
    toNs: answered && answeredNs !== NEVER ? answeredNs : Infinity,
    definite: isOk,
    removes: false,
    value: undefined,
    flags: 0,
    operand: '',
    delta: 0n,
    initial: undefined,
    ttl: 0,
    livesNs: 0,
    recordedFromNs: batch.requestNs[row]!,
    recordedToNs: batch.answerNs[row] === NEVER ? Infinity : batch.answerNs[row]!,
  };
  const extras = batch.extras(row);
  switch (family) {
    case 'set':
    case 'add':
    case 'replace':
      // A SET that is too large, or finds no memory, takes the old item with it.
      if (refused)
        return family === 'set' && (answer.status === Status.tooLarge || answer.status === Status.outOfMemory)
          ? { ...change, removes: true, definite: true }
          : undefined;
      if (extras.length < 8) return undefined;
      return {
        ...change,
        value: keepsValues ? latin1(batch.value(row)) : '',
        flags: uint32(extras, 0),
        ttl: ttlOf(uint32(extras, 4)),
        livesNs: lifeOf(uint32(extras, 4), speed),
      };
    case 'append':
    case 'prepend':
      return refused ? undefined : { ...change, operand: keepsValues ? latin1(batch.value(row)) : '' };
    case 'delete':
      if (answered && answer.status === Status.notFound) return { ...change, removes: true, definite: true };
      return refused ? undefined : { ...change, removes: true };
    case 'incr':
    case 'decr': {
      if (refused || extras.length < 20) return undefined;
      const delta = extras.readBigUInt64BE(0);
      const expiry = extras.readUInt32BE(16);
      return {
        ...change,
        delta: family === 'incr' ? delta : -delta,
        initial: expiry === 0xffffffff ? undefined : extras.readBigUInt64BE(8),
        value: isOk && answer.value.length === 8 ? answer.value.readBigUInt64BE(0).toString() : undefined,
        ttl: expiry === 0xffffffff ? 0 : ttlOf(expiry),
        livesNs: expiry === 0xffffffff ? 0 : lifeOf(expiry, speed),
      };
    }
    case 'touch':
    case 'gat': {
      if (refused || extras.length < 4) return undefined;
      const expiry = uint32(extras, 0);
      // Nothing but the expiry: it neither writes nor supersedes.
      return {
        ...change,
        definite: false,
        family: 'touch',
        ttl: ttlOf(expiry),
        livesNs: lifeOf(expiry, speed),
      };
    }
    default:
      return undefined;
  }
}

export function initialChange(value: Buffer, flags: number): Change {
  return {
    index: -1,
    connection: -1,
    family: 'initial',
    fromNs: -Infinity,
    toNs: -Infinity,
    definite: true,
    removes: false,
    value: latin1(value),
    flags,
    operand: '',
    delta: 0n,
    initial: undefined,
    ttl: 0,
    livesNs: 0,
    recordedFromNs: -Infinity,
    recordedToNs: -Infinity,
  };
}

/** Absolute times are rare, and what they mean depends on both clocks: 1 says that there is an expiry. */
function ttlOf(expiry: number): number {
  return expiry > MAX_RELATIVE_SECONDS ? 1 : expiry;
}

/** A relative expiry as the replayer scales it, ns; 0 for an absolute one, which depends on both clocks. */
function lifeOf(expiry: number, speed: number): number {
  if (expiry === 0 || expiry > MAX_RELATIVE_SECONDS) return 0;
  return Math.max(1, Math.round(expiry / speed)) * 1e9;
}

function latin1(data: Buffer): string {
  return data.toString('latin1');
}
