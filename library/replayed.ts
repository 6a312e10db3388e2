// A replay that is judged while it runs, and one that is judged by the files that it left.

import { diff, LiveDiff, type Diff, type DiffOptions } from '../diff/diff.ts';
import type { JudgementOptions } from '../diff/judgement.ts';
import { replay, type Replayed, type ReplayOptions } from '../replayer/replay.ts';
import { ResultsReader } from '../trace/file.ts';
import type { ResultsEnd, ResultsMeta } from '../trace/meta.ts';
import { openSource, type Source, type Trace } from '../trace/source.ts';

/** What a report is made from. */
export interface DiffOfResults {
  diff: Diff;
  meta: ResultsMeta;
  /** Null where the results file was cut. */
  end: ResultsEnd | null;
}

/** A trace and the results of a replay of it, open. */
export interface OpenFiles {
  source: Source;
  trace: Trace;
  results: ResultsReader;
}

/**
 * Opens what was replayed and the results, has them used, and closes both.
 * @param source that was replayed, or what says so once the results are open
 * @throws TraceError of either file, and what `source` and `use` throw
 */
export async function withFiles<T>(
  source: Source | ((meta: ResultsMeta) => Promise<Source>),
  resultsPath: string,
  use: (files: OpenFiles) => Promise<T>,
): Promise<T> {
  const results = await ResultsReader.open(resultsPath);
  try {
    const replayed = typeof source === 'function' ? await source(results.meta) : source;
    const trace = await openSource(replayed);
    try {
      return await use({ source: replayed, trace, results });
    } finally {
      await trace.close();
    }
  } finally {
    await results.close();
  }
}

/** The judgement of open files, with what a report says of the replay besides. @throws TraceError of either file */
export async function diffOf(
  { trace, results }: Pick<OpenFiles, 'trace' | 'results'>,
  options: DiffOptions = {},
): Promise<DiffOfResults> {
  const judged = await diff(trace, results, options);
  return { diff: judged, meta: results.meta, end: results.end };
}

export interface Judgeable extends Replayed {
  /**
   * Says what the replay is worth. Called once.
   * @param results path of its results file, wherever it is now
   * @throws TraceError of the trace or the results
   */
  judge(results: string, onProgress?: DiffOptions['onProgress']): Promise<DiffOfResults>;
}

/**
 * Replays a trace, whose exchanges are judged as they complete: in the end only those that differ are looked at again.
 * With drills, several workers, or a schedule that leaves no time for it, it is judged from its files, once they are whole.
 * @throws ReplayError before anything was sent · TraceError of the trace or the results file
 */
export async function replayToJudge(
  options: Omit<ReplayOptions, 'observer'>,
  judging: JudgementOptions = {},
): Promise<Judgeable> {
  const { workers = 1, drills = [] } = options;
  const isLive = workers === 1 && drills.length === 0;
  const trace = await reopened(options.trace);
  let live: LiveDiff | undefined;
  const observer: ReplayOptions['observer'] = {
    begin: (survey, meta, beginning) => (live = new LiveDiff(trace, meta, survey, beginning, judging)),
    rows: (batch, results, from, to) => live!.take(batch, results, from, to),
    giveUp: () => (live = undefined),
  };
  const replayed = await replay({ ...options, ...(isLive ? { observer } : {}) });
  const { survey } = replayed;
  return {
    ...replayed,
    judge: async (path, onProgress) => {
      const results = await ResultsReader.open(path);
      try {
        const judged =
          live === undefined
            ? await diff(trace, results, { ...judging, survey, ...(onProgress ? { onProgress } : {}) })
            : await live.close(results);
        return { diff: judged, meta: results.meta, end: results.end };
      } finally {
        await results.close();
      }
    },
  };
}

/** The trace, which is open only while it is read. @throws TraceError as openSource */
async function reopened(source: Source): Promise<Trace> {
  const first = await openSource(source);
  await first.close();
  const { meta, exchangeCount } = first;
  return {
    meta,
    exchangeCount,
    close: async () => undefined,
    async *batches(range) {
      const trace = await openSource(source);
      try {
        yield* trace.batches(range);
      } finally {
        await trace.close();
      }
    },
  };
}
