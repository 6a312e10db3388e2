// A leak of 1 MB a minute is found in a soak, with steps and without; steps alone are none. The noise is worse than what
// was measured, and a few soaks in a hundred are taken for what they are not.

import { expect, test } from 'vitest';
import { MAX_GROWTH_MEGABYTES, growthOf } from '../../scripts/growth.ts';
import { Random } from '../../synth/laws/random.ts';
import { measured } from '../support/memory.ts';

const SEEDS = Number(process.env['GROWTH_SEEDS'] ?? 100);
const seconds = 30 * 60;
const MAX_WRONG_SHARE = 0.04;

for (const leak of [0, 1])
  for (const steps of [0, 1, 2])
    test(`${leak} MB a minute, ${steps} steps`, () => {
      const wrong: string[] = [];
      for (let seed = 1; seed <= SEEDS; seed++) {
        const random = new Random(seed, steps + leak * 10);
        const course = {
          seconds,
          leak,
          steps: Array.from({ length: steps }, () => ({
            atShare: random.float(),
            megabytes: (random.chance(0.2) ? -1 : 1) * (2 + random.float() * 40),
          })),
        };
        const { megabytes } = growthOf(measured(random, course));
        if (megabytes > MAX_GROWTH_MEGABYTES !== leak > 0)
          wrong.push(`seed ${seed}: ${megabytes.toFixed(1)} MB`);
      }
      expect(wrong.length, wrong.join('\n')).toBeLessThanOrEqual(SEEDS * MAX_WRONG_SHARE);
    });
