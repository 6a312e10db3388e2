// The judgement of a replay from plain options: of one that has just ended, or of the files of one; beside a baseline; and
// where the latencies go as an HDR log.

import { given } from '../config/given.ts';
import { compare } from '../diff/compare.ts';
import type { DiffOptions } from '../diff/diff.ts';
import { diffOf, withFiles, type DiffOfResults, type Judgeable } from '../library/replayed.ts';
import type { DistributionName, NamedServer } from '../protocol/distribution.ts';
import { makeReport, type ReportInput } from '../report/report.ts';
import type { Report } from '../report/shape.ts';
import { needsBaseline, type Threshold } from '../report/threshold.ts';
import { ResultsReader, hashFile } from '../trace/file.ts';
import type { ResultsMeta } from '../trace/meta.ts';
import { hashSource, type Source } from '../trace/source.ts';
import { CliError } from './error.ts';
import { writePlace, type PlaceOptions } from './place.ts';
import { Progress } from './progress.ts';
import type { Shell } from './shell.ts';
import { isModel } from './source.ts';

/** What a judgement of a replay is asked for. */
export interface JudgeOptions {
  backends?: NamedServer[];
  backendsRoute?: DistributionName;
  minCoverage?: number;
  /** Milliseconds. */
  maxLag?: number;
  /** Without any: defaultThresholds(), with the baseline's where there is one. */
  threshold: readonly Threshold[];
  examples: number;
  /** Where the latencies go as an HDR log. */
  hlog?: string;
  quiet?: true;
}

/** A judged replay, and what its report is made from. */
export interface Judged {
  report: Report;
  input: ReportInput;
}

/** The report of the one with the other as its baseline. */
export function besides(judged: Judged, baseline: Judged, noise?: Judged): Report {
  const changes = compare(baseline.input.diff, judged.input.diff, noise?.input.diff);
  return makeReport({ ...judged.input, baseline: { report: baseline.report, changes } });
}

/** How `--hlog` is written. */
export const hlogPlace: PlaceOptions = { option: '--hlog', replacing: 'reports' };

/** @throws CliError */
export async function writeHlog(shell: Shell, { input }: Judged, { hlog }: JudgeOptions): Promise<void> {
  if (hlog === undefined) return;
  const { renderHlog } = await import('../report/hlog.ts');
  await writePlace(shell, hlog, renderHlog(input.diff, input.meta.startTime), hlogPlace);
}

/** What is asked of a baseline: nothing that only what stands beside one has. */
export function asBaseline(options: JudgeOptions): JudgeOptions {
  return { ...options, threshold: options.threshold.filter((one) => !needsBaseline(one)) };
}

/**
 * A threshold of a baseline that there is not could never be passed.
 * @param how to have one: `--baseline or --expect`
 * @throws CliError
 */
export function assertBaseline(threshold: readonly Threshold[], hasBaseline: boolean, how: string): void {
  const asking = threshold.find(needsBaseline);
  if (asking !== undefined && !hasBaseline)
    throw new CliError(`${asking.expression}: expected a baseline (${how}), got none`, 2);
}

/** @throws TraceError, CliError */
export async function assertResultsOf(path: string, trace: string): Promise<void> {
  const results = await ResultsReader.open(path);
  try {
    if ((await hashFile(trace)) !== results.meta.trace)
      throw new CliError(`${path} was made from another trace than ${trace}`, 2);
  } finally {
    await results.close();
  }
}

export function judgingOf({ examples, backends, backendsRoute }: JudgeOptions): DiffOptions {
  return {
    examples,
    ...given({ backends, distribution: backendsRoute }),
  };
}

function judgedOf(of: DiffOfResults, { threshold, minCoverage, maxLag }: JudgeOptions): Judged {
  const input: ReportInput = {
    ...of,
    ...(threshold.length > 0 ? { thresholds: threshold } : {}),
    ...given({ minCoverage }),
    ...(maxLag === undefined ? {} : { maxLagMicros: maxLag * 1000 }),
  };
  return { report: makeReport(input), input };
}

export async function judgeReplayed(
  shell: Shell,
  replayed: Judgeable,
  results: string,
  options: JudgeOptions,
): Promise<Judged> {
  const progress = judging(shell, replayed.survey.exchanges, options);
  try {
    return judgedOf(await replayed.judge(results, (done) => progress.update(done, done)), options);
  } finally {
    progress.stop();
  }
}

function judging(shell: Shell, exchanges: number, { quiet }: JudgeOptions): Progress {
  return new Progress(shell, exchanges, { label: 'judging', unit: 'exchanges', quiet: quiet === true });
}

/**
 * What was replayed.
 * @param replayed the trace, or the name of the model
 * @throws CliError, ConfigError
 */
export async function sourceOfResults(replayed: Source, meta: ResultsMeta, results: string): Promise<Source> {
  const isName = typeof replayed === 'string' && isModel(replayed);
  return isName ? (await import('./model.ts')).sourceAgain(replayed, meta, results) : replayed;
}

/**
 * @param replayed the trace, or the name of the model, as the results say that it was asked for
 * @throws CliError where the results are of another trace · TraceError of either file
 */
export async function judge(
  shell: Shell,
  replayed: Source,
  resultsPath: string,
  options: JudgeOptions,
): Promise<Judged> {
  const sourceOf = async (meta: ResultsMeta): Promise<Source> => sourceOfResults(replayed, meta, resultsPath);
  return withFiles(sourceOf, resultsPath, async (files) => {
    const { source, trace, results } = files;
    const progress = judging(shell, trace.exchangeCount, options);
    try {
      if ((await hashSource(source)) !== results.meta.trace)
        throw new CliError(
          typeof source === 'string'
            ? `${resultsPath} was made from another trace than ${source}`
            : `${resultsPath} was made from other traffic than the model ${source.name} makes now: it, or memtape, has changed since`,
          2,
        );
      const onProgress = (done: number): void => progress.update(done, done);
      return judgedOf(await diffOf(files, { ...judgingOf(options), onProgress }), options);
    } finally {
      progress.stop();
    }
  });
}
