// Verdicts for callers from code: the report of results that were kept, and of a replay in one go.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { given } from '../config/given.ts';
import { compare } from '../diff/compare.ts';
import type { Diff, DiffOptions } from '../diff/diff.ts';
import type { DistributionName } from '../protocol/distribution.ts';
import type { ReplayOptions } from '../replayer/replay.ts';
import { makeReport, type ReportInput } from '../report/report.ts';
import type { Report } from '../report/shape.ts';
import { needsBaseline, parseThreshold } from '../report/threshold.ts';
import { parseHostPort } from '../trace/address.ts';
import { hashSource, nameOf, type Source } from '../trace/source.ts';
import type { Survey } from '../trace/survey.ts';
import { LibraryError } from './error.ts';
import { diffOf, replayToJudge, withFiles, type DiffOfResults } from './replayed.ts';

export interface JudgeOptions {
  /** What passes: `violations == 0`, `drift.lost < 0.5%`. Default: defaultExpressions, and with a baseline baselineExpressions. */
  thresholds?: readonly string[];
  /** Examples of each kind of finding. Default 10. */
  examples?: number;
  /** What stands behind the targets, `host:port` each: failures are laid to one of them. */
  backends?: readonly string[];
  /** How the keys are spread over them. Default ketama. */
  distribution?: DistributionName;
  /** Exchanges that each target, or each backend through each target, must have answered. */
  minCoverage?: number;
  /** Where memtape sends one request in a hundred later than this, latency is not judged. */
  maxLagMs?: number;
  /** Results of another replay of the trace: the report says what differs. */
  baseline?: string;
  /** As replay() returned it, so that the trace need not be looked over again. */
  survey?: Survey;
}

/**
 * The report of a replay, from its results file. The trace is read a block at a time, once for its survey and once for its rows, and again where something differs.
 * @param trace that was replayed: its path, or what modelTrace() returned
 * @param results that replay() wrote
 * @throws LibraryError OTHER_TRACE where the results are of another trace · ThresholdError · TraceError of any of the
 *   files · Error where a backend is no address
 */
export async function judge(trace: Source, results: string, options: JudgeOptions = {}): Promise<Report> {
  return besideBaseline(trace, await judgeOne(trace, results, options), options);
}

type Input = ReportInput & { diff: Diff };

/** The report, beside that of the baseline where one is asked for. */
async function besideBaseline(trace: Source, judged: Input, options: JudgeOptions): Promise<Report> {
  const { survey: _, ...rest } = options;
  if (rest.baseline === undefined) return makeReport(judged);
  const { thresholds } = rest;
  const own = thresholds?.filter((expression) => !needsBaseline(parseThreshold(expression)));
  const before = await judgeOne(trace, rest.baseline, {
    ...rest,
    ...given({ thresholds: own }),
  });
  const changes = compare(before.diff, judged.diff);
  return makeReport({ ...judged, baseline: { report: makeReport(before), changes } });
}

/**
 * Replays a trace and judges it: replay() and judge() in one. Without `results`, what the replay saw is not kept.
 * @throws ReplayError before anything was sent · and what judge() throws
 */
export async function verify(
  options: Omit<ReplayOptions, 'results'> & { results?: string } & Omit<JudgeOptions, 'survey'>,
): Promise<Report> {
  // A mistake in them is told before the replay, and not after it.
  for (const threshold of options.thresholds ?? []) parseThreshold(threshold);
  const folder = options.results === undefined ? await mkdtemp(join(tmpdir(), 'memtape-')) : undefined;
  const results = options.results ?? join(folder!, 'results');
  try {
    const replayed = await replayToJudge({ ...options, results }, judgingOf(options));
    const judged = inputOf(await replayed.judge(results), options);
    return await besideBaseline(options.trace, judged, options);
  } finally {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  }
}

async function judgeOne(source: Source, resultsPath: string, options: JudgeOptions): Promise<Input> {
  const { survey } = options;
  const judging = { ...judgingOf(options), ...given({ survey }) };
  return withFiles(source, resultsPath, async (files) => {
    if ((await hashSource(source)) !== files.results.meta.trace)
      throw new LibraryError(
        'OTHER_TRACE',
        `${resultsPath} was made from another trace than ${nameOf(source)}`,
      );
    return inputOf(await diffOf(files, judging), options);
  });
}

/** @throws Error where a backend is no address */
function judgingOf({ examples, backends, distribution }: JudgeOptions): DiffOptions {
  return {
    ...given({ examples }),
    ...(backends === undefined
      ? {}
      : { backends: backends.map((address) => parseHostPort(address, DEFAULT_PORT)) }),
    ...given({ distribution }),
  };
}

/** @throws ThresholdError */
function inputOf(judged: DiffOfResults, options: JudgeOptions): Input {
  const { thresholds, minCoverage, maxLagMs } = options;
  return {
    ...judged,
    ...(thresholds === undefined ? {} : { thresholds: thresholds.map(parseThreshold) }),
    ...given({ minCoverage }),
    ...(maxLagMs === undefined ? {} : { maxLagMicros: maxLagMs * 1000 }),
  };
}

const DEFAULT_PORT = 11_211;
