// A replay and its verdict in one, for the proofs.

import { diff, type Diff, type DiffOptions } from '../diff/diff.ts';
import { replay, type ReplayOptions } from '../replayer/replay.ts';
import { ResultsReader } from '../trace/file.ts';
import type { ResultsEnd } from '../trace/meta.ts';
import { openSource } from '../trace/source.ts';

/** @throws ReplayError · TraceError */
export async function judged(
  run: ReplayOptions,
  options: Omit<DiffOptions, 'survey'> = {},
): Promise<{ diff: Diff; end: ResultsEnd; judgedMs: number }> {
  const { survey, end } = await replay(run);
  const trace = await openSource(run.trace);
  const results = await ResultsReader.open(run.results);
  try {
    const began = performance.now();
    const judgement = await diff(trace, results, { ...options, survey });
    return { diff: judgement, end, judgedMs: performance.now() - began };
  } finally {
    await trace.close();
    await results.close();
  }
}
