// A replay from plain options to its report, as `replay` and `gate` run it: a trace, or one made out of a model, or of what
// happens to it; targets,
// or an embedded server; a baseline beside; and the judgement.

import { basename, join } from 'node:path';
import { compare } from '../diff/compare.ts';
import { diff, type DiffOptions } from '../diff/diff.ts';
import type { Cluster } from '../embedded/cluster.ts';
import { replayToJudge, type DiffOfResults, type Judgeable } from '../library/replayed.ts';
import type { DistributionName, NamedServer } from '../protocol/distribution.ts';
import type { Drill } from '../replayer/drill.ts';
import type { Permission } from '../replayer/gate.ts';
import { replay, type ReplayOptions, type ReplayProgress } from '../replayer/replay.ts';
import type { Split } from '../replayer/tail.ts';
import { makeReport, type ReportInput } from '../report/report.ts';
import type { NamedReport, Report } from '../report/shape.ts';
import { needsBaseline, type Threshold } from '../report/threshold.ts';
import type { Model } from '../synth/model/model.ts';
import { NEVER } from '../trace/batch.ts';
import { ResultsReader, TraceReader, hashFile } from '../trace/file.ts';
import type { ResultsMeta } from '../trace/meta.ts';
import type { Shard } from '../trace/shard.ts';
import { hashSource, openSource, type Source } from '../trace/source.ts';
import { openFileLimit, starvedHint } from './descriptors.ts';
import { CliError } from './error.ts';
import type { MetricsServer } from './metrics.ts';
import { Place, writePlace, type PlaceOptions, type Replacing } from './place.ts';
import { Progress } from './progress.ts';
import type { Shell } from './shell.ts';
import { isModel, type SynthOptions } from './source.ts';
import { isSpread, targetsOf, type TargetOptions } from './target.ts';
import { formatDuration, plural } from './text.ts';
import { renamed } from './whole.ts';

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

/** What a replay is asked for; times in milliseconds. */
export interface RunOptions extends JudgeOptions, TargetOptions, Omit<SynthOptions, 'rate'> {
  speed: number | 'max';
  order: 'key' | 'connection' | 'none';
  prefill: 'auto' | 'none';
  timeout: number;
  split?: Split;
  pipeline?: number;
  workers: number;
  allow: readonly Permission[];
  flushBefore?: true;
  results?: string;
  /** Which results that are there may be replaced. Default: none. */
  replacing?: Replacing;
  rate?: NonNullable<ReplayOptions['rate']>;
  loop?: number;
  from?: number;
  to?: number;
  metrics?: string;
  baseline?: string[];
  expect?: string;
  drills?: readonly Drill[];
  /** Only this part of it; and what the parts of one replay have in common. */
  shard?: Shard;
  run?: string;
}

/** Hears of a replay while it sends. */
export type ProgressListener = (progress: ReplayProgress) => void;

/** A judged replay, and what its report is made from. */
export interface Judged {
  report: Report;
  input: ReportInput;
}

/** Loaded where a model, or a scenario, is asked for. */
const models = async (): Promise<typeof import('./model.ts')> => import('./model.ts');

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

/**
 * Replays and judges. What `signal` ends is judged as far as it came.
 * @param source a trace, a model file, or the name of a model
 * @throws CliError, ConfigError · ReplayError before anything was sent · TraceError
 */
export async function runReplay(
  shell: Shell,
  source: string,
  options: RunOptions,
  signal: AbortSignal,
  onProgress?: ProgressListener,
): Promise<NamedReport> {
  const folder = shell.temporaryFolder();
  const { replacing = 'none' } = options;
  const kept =
    options.results === undefined
      ? undefined
      : Place.take(shell, options.results, { option: '--results', replacing, inputs: [source] });
  let cluster: Cluster | undefined;
  let metrics: MetricsServer | undefined;
  try {
    const results = kept?.temporary ?? join(folder, 'results');
    const { trace, drills, isModelled, isTimed } = await trafficOf(shell, source, options, folder);
    let { target } = options;
    if (target === undefined) {
      const needs = isModelled ? { servers: 1, connections: 1 } : await needsOf(source);
      checkDescriptors(needs.connections);
      const backends = options.route?.name === 'index' ? needs.servers : 1;
      const { startCluster } = await import('../embedded/cluster.ts');
      cluster = await startCluster({ backends, memoryBytes: 1e9 });
      target = [...cluster.addresses];
      if (options.quiet !== true)
        shell.stderr.write(`no --target: an embedded server answers on ${target.join(', ')}\n`);
    }
    if (options.metrics !== undefined) {
      const { startMetrics } = await import('./metrics.ts');
      metrics = await startMetrics(options.metrics);
      if (options.quiet !== true) shell.stderr.write(`metrics on ${metrics.url}\n`);
    }
    const spreads = isSpread(isModelled, options);
    if (spreads && options.quiet !== true)
      shell.stderr.write('no --route: the keys of the model are spread over the targets by ketama\n');
    const run: ReplayOptions = {
      ...replayOptionsOf(shell, trace, options, isTimed),
      ...(spreads ? { route: 'ketama' as const } : {}),
      // Of a replay that is divided, one part does to the servers what is done to them.
      ...(drills.length === 0 || (options.shard?.index ?? 1) > 1 ? {} : { drills }),
      results,
      targets: target,
      signal,
    };
    const beside: ReplayOptions | undefined =
      options.baseline === undefined
        ? undefined
        : { ...run, results: join(folder, 'baseline'), targets: options.baseline };
    const [replayed] = await Promise.all([
      withProgress(shell, run, options, metrics, onProgress),
      beside === undefined ? undefined : replay(beside),
    ]);
    const unused = target.length - replayed.survey.servers.length;
    if (!spreads && options.route === undefined && target.length > 1 && unused > 0)
      shell.stderr.write(
        `memtape: without --route each target stands for a recorded server, and ${plural(unused, 'target')} had none to stand for; --route ketama spreads the keys\n`,
      );
    const seen = (await kept?.publish()) ?? results;
    const judged = await judgeReplayed(shell, replayed, seen, options);
    const before = beside?.results ?? options.expect;
    const other = before === undefined ? undefined : await judge(shell, trace, before, asBaseline(options));
    await writeHlog(shell, judged, options);
    return { name: basename(source), report: other === undefined ? judged.report : besides(judged, other) };
  } catch (error) {
    throw kept === undefined ? error : renamed(error, kept);
  } finally {
    await metrics?.stop();
    await cluster?.stop();
    kept?.discard();
    shell.remove(folder);
  }
}

/** What is replayed, as it is asked for. */
export interface Traffic {
  trace: Source;
  drills: Drill[];
  /** A model makes it. */
  isModelled: boolean;
  /** It is made at the rate that is asked for. */
  isTimed: boolean;
}

/** @param folder where a trace with what happens to it is put @throws CliError, ConfigError, TraceError */
export async function trafficOf(
  shell: Shell,
  source: string,
  options: Omit<RunOptions, keyof JudgeOptions> & Pick<JudgeOptions, 'quiet'>,
  folder: string,
): Promise<Traffic> {
  const rate = fixedRateOf(options);
  const made = isModel(source) ? await madeOf(source, options, rate) : undefined;
  // What happens to a trace is worked out beforehand, so that it takes no part in the timing.
  const changed = join(folder, 'changed.tape');
  const rewritten =
    made === undefined && options.scenario.length > 0
      ? await (await models()).rewrite(shell, source, changed, generating(options, undefined))
      : undefined;
  if (options.quiet !== true) for (const note of rewritten?.notes ?? []) shell.stderr.write(`${note}\n`);
  return {
    trace: made?.source ?? (rewritten === undefined ? source : changed),
    drills: [...(options.drills ?? []), ...drillsOf(made?.model.drills), ...drillsOf(rewritten?.drills)],
    isModelled: made !== undefined,
    isTimed: made !== undefined && rate !== undefined,
  };
}

type SendOptions = Parameters<typeof trafficOf>[2];

/** What a model, or a scenario, has done to the servers meanwhile. */
function drillsOf(drills: Model['drills'] = []): Drill[] {
  return drills.map(({ at, run, name, server }) => ({
    at,
    run,
    ...(name === undefined ? {} : { name }),
    ...(server === undefined ? {} : { server }),
  }));
}

/** The traffic of a model, as long as it is asked to be, whatever the rate. */
async function madeOf(
  source: string,
  options: SendOptions,
  fixed: number | undefined,
): Promise<ReturnType<Awaited<ReturnType<typeof models>>['sourceOf']>> {
  const { sourceOf, rateOfPlan } = await models();
  const rate =
    fixed ??
    (options.rate === undefined
      ? undefined
      : rateOfPlan(source, options.rate.plan, generating(options, undefined)));
  return sourceOf(source, generating(options, rate));
}

/** A fixed --rate is the model's own; other plans are kept by the schedule. */
export function fixedRateOf({ rate }: Pick<RunOptions, 'rate'>): number | undefined {
  const [only, ...more] = rate?.plan ?? [];
  return only !== undefined && more.length === 0 && only.from === only.to ? only.from : undefined;
}

function generating({ rate: _rate, ...options }: SendOptions, rate: number | undefined): SynthOptions {
  return { ...options, ...(rate === undefined ? {} : { rate }) };
}

/** @param isInTrace the trace is made at the rate that is asked for */
export function replayOptionsOf(
  shell: Shell,
  trace: Source,
  options: SendOptions,
  isInTrace: boolean,
): Omit<ReplayOptions, 'results' | 'targets'> {
  const {
    speed,
    rate,
    order,
    prefill,
    timeout,
    allow,
    split,
    pipeline,
    loop,
    from,
    to,
    workers,
    flushBefore,
  } = options;
  const { shard, run = '' } = options;
  return {
    trace,
    speed,
    order,
    prefill,
    timeoutMs: timeout,
    workers,
    allow: new Set(allow),
    ...targetsOf(shell, options),
    ...(rate === undefined || isInTrace ? {} : { rate }),
    ...(flushBefore === true ? { flushBefore } : {}),
    ...(split === undefined ? {} : { split }),
    ...(shard === undefined ? {} : { shard: { ...shard, run } }),
    ...(pipeline === undefined ? {} : { pipeline }),
    ...(loop === undefined ? {} : { loops: loop }),
    ...(from === undefined ? {} : { fromNs: from * 1e6 }),
    ...(to === undefined ? {} : { toNs: to * 1e6 }),
  };
}

async function withProgress(
  shell: Shell,
  run: ReplayOptions,
  options: RunOptions,
  metrics: MetricsServer | undefined,
  onProgress: ProgressListener | undefined,
): Promise<Judgeable> {
  const quiet = options.quiet === true;
  let reading: Progress | undefined;
  let replaying: Progress | undefined;
  try {
    const onRun = (progress: ReplayProgress): void => {
      const { phase, total, done, sent, differ, failed, positionNs, lagNs } = progress;
      if (phase === 'reading') {
        const label = typeof run.trace === 'string' ? 'reading' : 'generating';
        reading ??= new Progress(shell, total, { label, unit: 'exchanges', quiet });
        reading.update(done, done);
        return;
      }
      metrics?.update(progress);
      onProgress?.(progress);
      reading?.stop();
      reading = undefined;
      replaying ??= new Progress(shell, total, { label: 'replaying', unit: 'requests', quiet });
      const late =
        options.speed === 'max'
          ? ''
          : `at ${formatDuration(positionNs / 1e9)}, late ${formatDuration(lagNs / 1e9)}, `;
      const trouble = failed > 0 ? `, ${plural(failed, 'request')} failed` : '';
      // What of them is legal is known at the end.
      const other = `${plural(differ, 'answer has', 'answers have')} other bytes than recorded`;
      replaying.update(done, sent, `${late}${other}${trouble}`);
    };
    return await replayToJudge({ ...run, onProgress: onRun }, judgingOf(options));
  } finally {
    reading?.stop();
    replaying?.stop();
  }
}

interface Needs {
  servers: number;
  /** Open at the same time. */
  connections: number;
}

export async function needsOf(path: string): Promise<Needs> {
  const trace = await TraceReader.open(path);
  try {
    const servers = new Set<string>();
    const changes: [atNs: number, by: 1 | -1][] = [];
    for await (const batch of trace.batches())
      for (const { server, openNs, closeNs } of batch.connections) {
        servers.add(server);
        changes.push([openNs === NEVER ? 0 : openNs, 1]);
        if (closeNs !== NEVER) changes.push([closeNs, -1]);
      }
    let connections = 0;
    let open = 0;
    for (const [, by] of changes.toSorted(([a, one], [b, other]) => a - b || other - one))
      connections = Math.max(connections, (open += by));
    return { servers: Math.max(1, servers.size), connections };
  } finally {
    await trace.close();
  }
}

/** A gate's run against servers of its own, or behind a proxy of its own. @throws CliError as checkDescriptors */
export async function checkEmbedded(source: string): Promise<void> {
  if (openFileLimit() < RARELY_ENOUGH && !isModel(source))
    checkDescriptors((await needsOf(source)).connections);
}

/** Below this many open files, connections are counted beforehand. */
const RARELY_ENOUGH = 1024;
/** What a process has open beside its connections. */
const OTHER_FILES = 40;

/** An embedded server that cannot take a connection closes it, which would look like a fault. @throws CliError */
function checkDescriptors(connections: number): void {
  const limit = openFileLimit();
  const needed = 2 * connections + OTHER_FILES;
  if (needed > limit)
    throw new CliError(
      `expected about ${needed} open files to be allowed, for ${plural(connections, 'connection')} to an embedded server, got ${limit}; ${starvedHint}`,
      2,
    );
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

function judgingOf({ examples, backends, backendsRoute }: JudgeOptions): DiffOptions {
  return {
    examples,
    ...(backends === undefined ? {} : { backends }),
    ...(backendsRoute === undefined ? {} : { distribution: backendsRoute }),
  };
}

function judgedOf(of: DiffOfResults, { threshold, minCoverage, maxLag }: JudgeOptions): Judged {
  const input: ReportInput = {
    ...of,
    ...(threshold.length > 0 ? { thresholds: threshold } : {}),
    ...(minCoverage === undefined ? {} : { minCoverage }),
    ...(maxLag === undefined ? {} : { maxLagMicros: maxLag * 1000 }),
  };
  return { report: makeReport(input), input };
}

async function judgeReplayed(
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
  return isName ? (await models()).sourceAgain(replayed, meta, results) : replayed;
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
  const results = await ResultsReader.open(resultsPath);
  try {
    const source = await sourceOfResults(replayed, results.meta, resultsPath);
    const trace = await openSource(source);
    const progress = judging(shell, trace.exchangeCount, options);
    try {
      if ((await hashSource(source)) !== results.meta.trace)
        throw new CliError(
          typeof source === 'string'
            ? `${resultsPath} was made from another trace than ${source}`
            : `${resultsPath} was made from other traffic than the model ${source.name} makes now: it, or memtape, has changed since`,
          2,
        );
      const judged = await diff(trace, results, {
        ...judgingOf(options),
        onProgress: (done) => progress.update(done, done),
      });
      return judgedOf({ diff: judged, meta: results.meta, end: results.end }, options);
    } finally {
      progress.stop();
      await trace.close();
    }
  } finally {
    await results.close();
  }
}
