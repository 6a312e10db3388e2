// What is shown of a finding: both answers in words, and of long values the stretch around the first difference.

import { opcodeInfo } from '../protocol/opcode.ts';
import { isCounter } from '../protocol/semantics.ts';
import { Status, statusLabel } from '../protocol/status.ts';
import type { Answer } from './answer.ts';
import type { CopiedAnswer } from './suspect.ts';
import type { Example } from './verdict.ts';

/** Bytes of a value shown in an example. */
const SHOWN_BYTES = 64;

const counts = (opcode: number): boolean => isCounter(opcodeInfo(opcode)?.family);

export function describe(answer: CopiedAnswer | Answer, opcode: number): Record<string, unknown> {
  const { status, silent, extras, value } = answer;
  const told: Record<string, unknown> = { status: statusLabel(status) };
  if (silent) told['silent'] = true;
  if (extras.length === 4) told['flags'] = extras.readUInt32BE(0);
  if (value.length === 0 || status !== Status.ok) return told;
  if (counts(opcode) && value.length === 8) return { ...told, value: value.readBigUInt64BE(0).toString() };
  const bytes = 'valueLength' in answer ? answer.valueLength : value.length;
  return { ...told, bytes, value: shown(value, 0) };
}

/** Both sides; of long values the stretch around the first difference. */
export function contrast(
  expected: CopiedAnswer | undefined,
  actual: CopiedAnswer,
  opcode: number,
): Pick<Example, 'expected' | 'actual'> {
  if (expected === undefined) return { expected: {}, actual: describe(actual, opcode) };
  const sides = { expected: describe(expected, opcode), actual: describe(actual, opcode) };
  if (counts(opcode)) return sides;
  if (sides.expected['value'] === undefined || sides.actual['value'] === undefined) return sides;
  let at = 0;
  while (at < expected.value.length && expected.value[at] === actual.value[at]) at++;
  const from = at < SHOWN_BYTES / 2 ? 0 : at - 8;
  for (const [side, { value }] of [
    [sides.expected, expected],
    [sides.actual, actual],
  ] as const) {
    side['value'] = shown(value, from);
    // Values may be alike, where flags or the status are not.
    if (at < Math.max(expected.value.length, actual.value.length)) side['differsAt'] = at;
  }
  return sides;
}

function shown(value: Buffer, from: number): string {
  const part = value.subarray(from, from + SHOWN_BYTES).toString('latin1');
  return `${from > 0 ? '…' : ''}${part}${from + SHOWN_BYTES < value.length ? '…' : ''}`;
}

export function seconds(ns: number): number {
  return Math.round(ns / 1000) / 1e6;
}
