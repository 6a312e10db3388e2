// When it began: the break in the rate of failures, and not the first stray one.

import { seconds } from './example.ts';
import { entropyOf } from './statistics.ts';
import type { Bin } from './timeline.ts';

/** Failures before the break may be this part of all: strays. */
const MAX_STRAY = 0.1;
/** The rate after the break is so many times that before. */
const MIN_RISE = 4;

/**
 * The time at which failures began to be frequent, in seconds; undefined where their rate does not break.
 * @param places bins of each place, equally many
 */
export function onsetOf(places: readonly (readonly Bin[])[], binNs: number): number | undefined {
  const length = places[0]?.length ?? 0;
  const failed = new Float64Array(length);
  const all = new Float64Array(length);
  for (const bins of places)
    for (const [n, { requests, violations }] of bins.entries()) {
      failed[n]! += violations;
      // What could not be sent failed, and was no request.
      all[n]! += Math.max(requests, violations);
    }
  const failures = failed.reduce((sum, n) => sum + n, 0);
  const total = all.reduce((sum, n) => sum + n, 0);
  if (failures === 0) return undefined;
  let [before, passed] = [0, 0];
  let best = { apart: Infinity, bin: -1, before: 0, passed: 0 };
  for (let bin = 1; bin < length; bin++) {
    before += failed[bin - 1]!;
    passed += all[bin - 1]!;
    const [after, rest] = [failures - before, total - passed];
    if (passed === 0 || rest <= 0) continue;
    const apart =
      passed * entropyOf(before, passed - before) + rest * entropyOf(after, Math.max(0, rest - after));
    if (apart < best.apart) best = { apart, bin, before, passed };
  }
  if (best.bin < 0 || best.before > MAX_STRAY * failures) return undefined;
  const [early, late] = [best.before / best.passed, (failures - best.before) / (total - best.passed)];
  return late >= MIN_RISE * early ? seconds(best.bin * binNs) : undefined;
}
