// Replays for tests: exchanges as words, a target, and the report.

import { diff } from '../../diff/diff.ts';
import type { NamedServer } from '../../protocol/distribution.ts';
import { replay, type ReplayOptions } from '../../replayer/replay.ts';
import { makeReport } from '../../report/report.ts';
import type { Report } from '../../report/shape.ts';
import { parseThreshold } from '../../report/threshold.ts';
import type { Batch } from '../../trace/batch.ts';
import { ResultsReader } from '../../trace/file.ts';
import { openSource, type Source } from '../../trace/source.ts';
import { batchOf, temporary, writeTape, type ExchangeInit } from './tape.ts';

export type Run = Partial<Omit<ReplayOptions, 'targets'>> & { targets: readonly string[] };

/** Writes the exchanges as a trace, replays it, and judges what came back. */
export async function replayed(
  exchanges: readonly ExchangeInit[] | readonly Batch[],
  run: Run,
): Promise<Report> {
  const trace = temporary('test.tape');
  const [first] = exchanges;
  await writeTape(
    trace,
    first !== undefined && 'op' in first ? [batchOf(exchanges as ExchangeInit[])] : (exchanges as Batch[]),
  );
  return replayedTape(trace, run);
}

/** @param backends what stands behind the targets */
export async function replayedTape(
  trace: Source,
  run: Run,
  backends: readonly NamedServer[] = [],
): Promise<Report> {
  const results = temporary('test.results');
  const { survey } = await replay({ trace, results, timeoutMs: 2000, ...run });
  const tape = await openSource(trace);
  const seen = await ResultsReader.open(results);
  try {
    const judged = await diff(tape, seen, { survey, examples: 1000, backends });
    return makeReport({
      diff: judged,
      meta: seen.meta,
      end: seen.end,
      thresholds: [parseThreshold('violations == 0')],
    });
  } finally {
    await tape.close();
    await seen.close();
  }
}

/** `violation wrong-value` and the like, one for each finding, sorted. */
export function kindsOf({ findings }: Report): string[] {
  return findings.map((finding) => `${finding.class} ${finding.kind} ${finding.count}`).toSorted();
}
