// A replay and its verdict in one, for the proofs.

import type { Diff, DiffOptions } from '../diff/diff.ts';
import { diffOf, withFiles } from '../library/replayed.ts';
import { replay, type ReplayOptions } from '../replayer/replay.ts';
import type { ResultsEnd } from '../trace/meta.ts';

/** @throws ReplayError · TraceError */
export async function judged(
  run: ReplayOptions,
  options: Omit<DiffOptions, 'survey'> = {},
): Promise<{ diff: Diff; end: ResultsEnd; judgedMs: number }> {
  const { survey, end } = await replay(run);
  return withFiles(run.trace, run.results, async (files) => {
    const began = performance.now();
    const judgement = await diffOf(files, { ...options, survey });
    return { diff: judgement.diff, end, judgedMs: performance.now() - began };
  });
}
