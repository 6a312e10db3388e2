// What is asked for, and how often.

import { z } from 'zod';

const share = z.number().min(0).max(1);

export const mixOperations = [
  'get',
  'gets',
  'set',
  'add',
  'replace',
  'delete',
  'append',
  'prepend',
  'incr',
  'decr',
  'touch',
  'gat',
  'cas',
  'noop',
] as const;
export type MixOperation = (typeof mixOperations)[number];

export const mixSchema = z
  .strictObject(
    Object.fromEntries(mixOperations.map((name) => [name, share.optional()])) as Record<
      MixOperation,
      z.ZodOptional<typeof share>
    >,
  )
  .describe('shares of requests, together 1; cas: a GET, and a SET with its CAS id');

export type Mix = z.output<typeof mixSchema>;

/** Weights that were rounded are made to sum to one. */
export function normalized(mix: Mix): [MixOperation, number][] {
  const entries = mixOperations.map((name): [MixOperation, number] => [name, mix[name] ?? 0]);
  const sum = entries.reduce((total, [, part]) => total + part, 0);
  return entries.map(([name, part]) => [name, part / sum]);
}
