// What a fit says of the model of a trace's references: how near each way to make them came, and where it is not to be trusted.

import { z } from 'zod';

/** Ways to make references. The last one loses who is popular, and is there to be asked for. */
export const methods = ['hazard', 'renewal', 'stack'] as const;
export type Method = (typeof methods)[number];

const amount = z.number().min(0);
const errorSchema = z.strictObject({
  lru: amount.describe('of miss ratios in LRU caches of any size, on average (MAE)'),
  five: amount.describe('the same of LRU, FIFO, CLOCK, SIEVE and S3-FIFO'),
  popularity: amount.describe('of references per object (Kolmogorov and Smirnov)'),
});
export type LocalityError = z.output<typeof errorSchema>;

export const expectedSchema = z
  .strictObject({
    candidates: z
      .array(errorSchema.extend({ method: z.enum([...methods, 'independent']) }))
      .max(10)
      .describe('fitted to the first half of the trace, compared with the second; independent draws beside'),
    halves: errorSchema.optional().describe('how far the halves are from each other'),
    fitted: errorSchema.optional().describe('of this model, compared with the trace that it was fitted to'),
    doubts: z.array(z.string().max(400)).max(50).describe('where the model is not to be trusted'),
  })
  .describe('what `synth fit` found');
export type Expected = z.output<typeof expectedSchema>;
