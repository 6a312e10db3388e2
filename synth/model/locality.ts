// Which key comes next, where that depends on which came before: streams of object numbers, as models ask for them.

import { z } from 'zod';
import { expectedSchema } from '../references/expected.ts';
import { HazardStream } from '../references/hazard.ts';
import type { HazardModel } from '../references/hazardmodel.ts';
import { mixSchema, type Mix } from '../laws/mix.ts';
import { RenewalStream, type Counts, type RenewalModel } from '../references/renewal.ts';
import { StackStream, type StackModel } from '../references/stack.ts';
import { resizeOf, storesSchema, type Resize } from './resize.ts';

/** Pairs of sizes that are kept of each level. */
export const MAX_SIZES = 128;
/** Multiples of it, taken modulo one, are spread as evenly as can be. */
const GOLDEN = 0.6180339887498949;

const amount = z.number().min(0);
const edges = z.array(amount).min(2).max(1000);

const renewalSchema: z.ZodType<RenewalModel> = z.strictObject({
  kind: z.literal('renewal'),
  references: z.number().int().positive(),
  objects: z.number().int().positive(),
  phases: z.number().int().positive().max(1000),
  births: z.array(amount).max(100_000),
  edges,
  levels: z
    .array(
      z.strictObject({
        counts: z.array(z.tuple([amount, amount])).max(100_000),
        lives: z.array(z.tuple([amount, amount, amount])).max(100_000),
        gaps: z.array(amount).max(1000),
      }),
    )
    .max(200),
});

const counts = z
  .array(z.tuple([amount, amount]))
  .min(1)
  .max(100_000);
const byPhase = z.array(amount).max(1000);
const byBin = z.array(amount).max(256);

const hazardSchema: z.ZodType<HazardModel> = z.strictObject({
  kind: z.literal('hazard'),
  references: z.number().int().positive(),
  objects: z.number().int().positive(),
  births: z.array(z.number().int().min(0)).max(100_000),
  edges: byBin,
  alive: byBin,
  levels: z
    .array(z.strictObject({ counts, births: byPhase, again: byPhase, hazards: byBin }))
    .min(1)
    .max(200),
  depths: z.array(byBin).min(1).max(1000),
});

const stackSchema: z.ZodType<StackModel> = z.strictObject({
  kind: z.literal('stack'),
  references: z.number().int().positive(),
  objects: z.number().int().positive(),
  edges,
  phases: z.array(z.strictObject({ births: amount, depths: z.array(amount).max(1000) })).max(1000),
});

const sort = z.number().int().min(0).max(2);
const objectSchema = z.union([
  z.tuple([amount, amount, sort]),
  z.tuple([amount, amount, sort, z.number().int().min(0)]),
]);
export type LocalObject = z.output<typeof objectSchema>;

/** What is known of the objects of each level, and of what is done to them. */
const levelled = {
  objects: z
    .array(z.array(objectSchema).max(MAX_SIZES))
    .optional()
    .describe(
      'bytes of key and value, sort (0 a value, 1 a counter, 2 a list), and, where it is their own, expiry in seconds, of the objects of each level',
    ),
  stores: z
    .array(z.array(storesSchema).length(3))
    .max(200)
    .optional()
    .describe('of each level, and of objects of each sort; null: they keep their sizes'),
  mixes: z
    .array(z.array(z.array(mixSchema).length(3)).max(200))
    .min(1)
    .max(100)
    .optional()
    .describe('of each even part of the stream, and of each level: what is done to objects of each sort'),
};
const expected = expectedSchema.optional();

export const localitySchema = z
  .discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('independent') }),
    z.strictObject({
      kind: z.literal('hazard'),
      model: hazardSchema.describe('as `synth fit` writes it'),
      ...levelled,
      expected,
    }),
    z.strictObject({
      kind: z.literal('renewal'),
      model: renewalSchema.describe('as `synth fit --method renewal` writes it'),
      ...levelled,
      expected,
    }),
    z.strictObject({ kind: z.literal('stack'), model: stackSchema, expected }),
  ])
  .describe('whether which key comes next depends on which came before; default: independent');
export type Locality = z.output<typeof localitySchema>;

export interface LocalStream {
  /** The number of an object, from 0 in the order of their births. */
  next(): number;
  /** How popular the last one is among all, 0 to 1; undefined: not known. */
  popularity(): number | undefined;
  /** What the last one is, at its birth; undefined: as the model says of all. */
  sizes(): LocalObject | undefined;
  /** The last one's level, as `resizes` and `mixes` count them. */
  level(): number;
  /** By level and sort, how objects that are stored again change their size; undefined: not at all. */
  resizes: readonly (readonly (readonly (Resize | undefined)[] | undefined)[])[] | undefined;
  /** What the last one is: 0 a value, 1 a counter, 2 a list. */
  sortOfLast(): number;
  /** What is done to each sort of a level, in each part of the stream; undefined: the model's own mix. */
  mixes: readonly (readonly (readonly Mix[])[])[] | undefined;
  /** The part that the stream is in. */
  epoch(): number;
}

/**
 * Undefined where each request is drawn by itself.
 * @throws RangeError for a model whose numbers do not agree
 */
export function localityOf(locality: Locality | undefined, seed: number): LocalStream | undefined {
  if (locality === undefined || locality.kind === 'independent') return undefined;
  if (locality.kind === 'stack') {
    const stack = new StackStream(locality.model, { seed, length: Infinity });
    return {
      next: () => stack.next() % locality.model.objects,
      popularity: () => undefined,
      sizes: () => undefined,
      level: () => 0,
      resizes: undefined,
      sortOfLast: () => 0,
      mixes: undefined,
      epoch: () => 0,
    };
  }
  const stream = leveledStream(locality, seed);
  const shares = popularityOfLevels(locality.model);
  const { objects, mixes, stores } = locality;
  const resizes = stores?.map((sorts) =>
    sorts.map((laws) => laws?.map((law) => (law === null ? undefined : resizeOf(law)))),
  );
  const { references } = locality.model;
  const epochs = mixes?.length ?? 1;
  let place = -1;
  const born = new Uint32Array(locality.model.levels.length);
  let sorts = new Uint8Array(1024);
  let at = 0;
  let last: LocalObject | undefined;
  return {
    next: () => {
      // After the stream that was learnt the same objects come again, each as popular as it was.
      place++;
      at = stream.next() % locality.model.objects;
      if (objects !== undefined && stream.isNew) {
        last = spread(objects[stream.level] ?? [], born[stream.level]!++);
        if (at >= sorts.length) {
          const grown = new Uint8Array(Math.max(at + 1, sorts.length * 2));
          grown.set(sorts);
          sorts = grown;
        }
        sorts[at] = last?.[2] ?? 0;
      }
      return at;
    },
    popularity: () => shares[stream.level],
    sizes: () => last,
    level: () => stream.level,
    resizes,
    sortOfLast: () => sorts[at] ?? 0,
    mixes,
    epoch: () => Math.floor(((place % references) * epochs) / references),
  };
}

/** Objects of levels, whatever makes them. */
interface LeveledStream {
  next(): number;
  /** Of the last one: it is its first time; and its level. */
  isNew: boolean;
  level: number;
}

function leveledStream(
  locality: Extract<Locality, { kind: 'hazard' | 'renewal' }>,
  seed: number,
): LeveledStream {
  const options = { seed, length: Infinity };
  return locality.kind === 'hazard'
    ? new HazardStream(locality.model, options)
    : new RenewalStream(locality.model, options);
}

/** Of few, one after the other; of a table of quantiles, all over it. */
function spread<Item>(items: readonly Item[], turn: number): Item | undefined {
  if (items.length < MAX_SIZES) return items[turn % Math.max(1, items.length)];
  return items[Math.floor(((turn * GOLDEN) % 1) * items.length)];
}

/** Of each level, in the middle of it: the share of objects that are less popular. */
function popularityOfLevels({
  levels,
  objects,
}: {
  levels: { counts: Counts }[];
  objects: number;
}): number[] {
  const own = levels.map(({ counts }) => counts.reduce((sum, [of]) => sum + of, 0));
  const mean = levels.map(
    ({ counts }, n) => counts.reduce((sum, [, references]) => sum + references, 0) / Math.max(1, own[n]!),
  );
  return levels.map((_level, n) => {
    const below = own.reduce((sum, count, other) => sum + (mean[other]! < mean[n]! ? count : 0), 0);
    return Math.min(1, (below + own[n]! / 2) / objects);
  });
}
