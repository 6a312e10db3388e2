// A replay from plain options to its report, as `replay` and `gate` run it: a trace, or one made out of a model, or of what
// happens to it; targets, or an embedded server; and a baseline beside. judging.ts judges it.

import { basename, join } from 'node:path';
import { given } from '../config/given.ts';
import type { Cluster } from '../embedded/cluster.ts';
import { replayToJudge, type Judgeable } from '../library/replayed.ts';
import type { Drill } from '../replayer/drill.ts';
import type { Permission } from '../replayer/gate.ts';
import { replay, type ReplayOptions, type ReplayProgress } from '../replayer/replay.ts';
import type { Split } from '../replayer/tail.ts';
import type { NamedReport } from '../report/shape.ts';
import type { Model } from '../synth/model/model.ts';
import type { Shard } from '../trace/shard.ts';
import type { Source } from '../trace/source.ts';
import {
  asBaseline,
  besides,
  judge,
  judgeReplayed,
  judgingOf,
  writeHlog,
  type JudgeOptions,
} from './judging.ts';
import { checkDescriptors, needsOf } from './needs.ts';
import type { MetricsServer } from './metrics.ts';
import { Place, type Replacing } from './place.ts';
import { Progress } from './progress.ts';
import type { Shell } from './shell.ts';
import { isModel, type SynthOptions } from './source.ts';
import { isSpread, targetsOf, type TargetOptions } from './target.ts';
import { formatDuration, plural } from './text.ts';
import { renamed } from './whole.ts';

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

/** Loaded where a model, or a scenario, is asked for. */
const models = async (): Promise<typeof import('./model.ts')> => import('./model.ts');

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
    ...given({ name, server }),
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
  return { ...options, ...given({ rate }) };
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
    ...given({ split }),
    ...(shard === undefined ? {} : { shard: { ...shard, run } }),
    ...given({ pipeline, loops: loop }),
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
