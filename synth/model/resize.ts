// How the sizes of values change with each store of a key, as a model says it and as it is drawn: kept, drawn anew, or varied
// around the key's own.

import { z } from 'zod';
import { unit } from '../laws/hash.ts';
import { numbersSchema, quantileOf } from '../laws/numbers.ts';

/** Of what is drawn for a key, that of its n-th version; the others are small. */
const VERSIONS = 16;

const lawSchema = z
  .strictObject({
    kept: z.number().min(0).max(1).describe('share of the stores that keep the size of the one before'),
    sizes: numbersSchema.optional().describe('bytes, of the others'),
    factors: numbersSchema.optional().describe('or times the size that the key had first'),
  })
  .describe('how a key that is stored again changes its size')
  .nullable();
export type StoreLaw = NonNullable<z.output<typeof lawSchema>>;
/** Of SETs, ADDs and REPLACEs. */
export const storesSchema = z.array(lawSchema).length(3).nullable();
export type StoreLaws = z.output<typeof storesSchema>;

/** The size of a store: what the key has, had first, and which of its stores it is. @param times as large as all others */
export type Resize = (
  bytes: number,
  base: number,
  seed: number,
  key: number,
  version: number,
  times: number,
) => number;

/** @throws RangeError where nothing can be drawn */
export function resizeOf({ kept, sizes, factors }: StoreLaw): Resize {
  const size = sizes === undefined ? undefined : quantileOf(sizes);
  const factor = factors === undefined ? undefined : quantileOf(factors);
  return (bytes, base, seed, key, version, times) => {
    const u = unit(seed, key, VERSIONS + version);
    if (u < kept) return bytes;
    const rest = (u - kept) / (1 - kept);
    if (size !== undefined) return Math.round(size(rest) * times);
    return factor === undefined ? bytes : Math.round(base * factor(rest) * times);
  };
}

/** Stores are told apart by what they are: an ADD may carry what a SET does not. */
export const storing = ['set', 'add', 'replace'] as const;
