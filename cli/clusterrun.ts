// `memtape cluster run`: a replay by many workers, and the verdict on all of them together.

import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { SharedOptions, ModelJob, TraceJob } from '../cluster/job.ts';
import { runCluster, type RunResult } from '../cluster/run.ts';
import type { ShardState } from '../cluster/shards.ts';
import { reportOfNothing } from '../report/nothing.ts';
import { exitCodes } from '../report/report.ts';
import type { Report } from '../report/shape.ts';
import { defaultThresholds } from '../report/threshold.ts';
import { parseHostPort } from '../trace/address.ts';
import { hashFile } from '../trace/file.ts';
import type { Source } from '../trace/source.ts';
import { redisOf } from './clusterworker.ts';
import { CliError, Verdict } from './error.ts';
import { checkOutputs, printReport, type OutputOptions } from './output.ts';
import { Place, replacing } from './place.ts';
import { Progress } from './progress.ts';
import { merge } from './report.ts';
import { judge, type JudgeOptions } from './judging.ts';
import { needsOf } from './needs.ts';
import { replayOptionsOf, trafficOf, type RunOptions } from './replaying.ts';
import { checkShard } from './shard.ts';
import type { Shell } from './shell.ts';
import { INTERRUPTED, onInterrupt } from './signal.ts';
import { checkSource, isModel, sourcePath } from './source.ts';
import { isSpread } from './target.ts';
import { formatDuration, plural } from './text.ts';

export interface RunCommandOptions
  extends JudgeOptions, OutputOptions, Omit<RunOptions, keyof JudgeOptions | 'results' | 'replacing'> {
  redis?: string;
  run?: string;
  /** Threads of each worker. */
  threads: number;
  listen?: string;
  wait: number;
  silence: number;
  results?: string;
  force?: true;
}

export async function run(shell: Shell, name: string, options: RunCommandOptions): Promise<void> {
  const { target, rate, speed } = options;
  const redis = redisOf(shell, options.redis);
  if (rate !== undefined && speed !== 1) throw new CliError('expected --speed or --rate, got both', 2);
  if (target === undefined)
    throw new CliError('expected --target: an embedded server would be out of reach for other machines', 2);
  checkShard({ ...options, shard: { index: 1, of: options.workers } });
  const path = sourcePath(shell, name);
  const place = { option: '--results', replacing: replacing(options.force), inputs: [path] };
  checkOutputs(options, [path], options.results === undefined ? [] : [[options.results, place]]);
  checkSource(path);
  if (!isModel(path)) await checkWorkers(path, options.workers);
  const folder = shell.temporaryFolder();
  const kept = options.results === undefined ? undefined : Place.take(shell, options.results, place);
  const interrupt = onInterrupt(shell);
  const runName =
    options.run ??
    `${new Date().toISOString().slice(0, 19).replaceAll(':', '')}-${randomBytes(3).toString('hex')}`;
  const progress = new ClusterProgress(shell, options.quiet === true);
  try {
    const traffic = await trafficOf(shell, path, options, folder);
    const result = await runCluster({
      redis,
      run: runName,
      workers: options.workers,
      source: await jobOf(traffic.trace, path),
      options: sharedOptions(
        shell,
        traffic.trace,
        options,
        traffic.isTimed,
        traffic.isModelled,
        traffic.drills,
      ),
      folder,
      ...(options.listen === undefined ? {} : { listen: parseListen(options.listen) }),
      waitMs: options.wait,
      silenceMs: options.silence,
      signal: interrupt.signal,
      onEvent: (text) => progress.say(text),
      onProgress: (shards) => progress.update(shards),
    });
    progress.stop();
    const merged = kept?.temporary ?? join(folder, 'merged.results');
    const report = await reportOf(shell, traffic.trace, result, merged, kept, options, path);
    const code = interrupt.signal.aborted ? INTERRUPTED : exitCodes[report.verdict];
    throw new Verdict(await printReport(shell, { name: basename(path), report }, options, code));
  } finally {
    progress.stop();
    interrupt.ignore();
    kept?.discard();
    shell.remove(folder);
  }
}

/** Workers of whom some would have nothing to do. @throws CliError */
async function checkWorkers(path: string, workers: number): Promise<void> {
  const { connections } = await needsOf(path);
  if (workers > Math.max(1, connections))
    throw new CliError(
      `expected at most ${Math.max(1, connections)} workers, as many as the trace has connections at once, got ${workers}; memtape synth scale makes more traffic of a trace`,
      2,
    );
}

function parseListen(text: string): { host: string; port: number } {
  try {
    return parseHostPort(text, 0);
  } catch (cause) {
    throw new CliError(`--listen: ${(cause as Error).message}`, 2, { cause });
  }
}

async function jobOf(trace: Source, path: string): Promise<TraceJob | ModelJob> {
  if (typeof trace !== 'string') {
    const { module: _module, ...recipe } = trace;
    return { kind: 'model', recipe };
  }
  return {
    kind: 'trace',
    name: basename(path),
    path: trace,
    bytes: statSync(trace).size,
    sum: await hashFile(trace),
  };
}

function sharedOptions(
  shell: Shell,
  trace: Source,
  options: RunCommandOptions,
  isTimed: boolean,
  isModelled: boolean,
  drills: NonNullable<SharedOptions['drills']>,
): SharedOptions {
  const {
    trace: _trace,
    allow,
    shard: _shard,
    signal: _signal,
    ...rest
  } = replayOptionsOf(shell, trace, { ...options, workers: options.threads }, isTimed) as ReturnType<
    typeof replayOptionsOf
  > & { signal?: AbortSignal };
  const targets = options.target!;
  return {
    ...rest,
    targets,
    allow: [...(allow ?? [])],
    ...(isSpread(isModelled, options) ? { route: 'ketama' as const } : {}),
    ...(drills.length === 0 ? {} : { drills }),
  };
}

async function reportOf(
  shell: Shell,
  trace: Source,
  { results, lost }: RunResult,
  merged: string,
  kept: Place | undefined,
  options: RunCommandOptions,
  path: string,
): Promise<Report> {
  if (results.length === 0) {
    const { speed, rate, order, threshold, target } = options;
    const [why = 'nothing was replayed'] = lost.values();
    return reportOfNothing({
      source: basename(path),
      targets: target!,
      speed,
      rate: rate?.text ?? null,
      order,
      thresholds: threshold.length > 0 ? threshold : defaultThresholds(),
      why: `no shard handed results in: the first ${why}`,
    });
  }
  await merge(shell, trace, results, merged, { lost, ...(options.quiet === true ? { quiet: true } : {}) });
  const { report } = await judge(shell, trace, (await kept?.publish()) ?? merged, options);
  return report;
}

/** All shards in one line: what phase they are in, and how far they are. */
class ClusterProgress {
  readonly #shell: Shell;
  readonly #isQuiet: boolean;
  #bar: Progress | undefined;

  constructor(shell: Shell, isQuiet: boolean) {
    this.#shell = shell;
    this.#isQuiet = isQuiet;
  }

  say(text: string): void {
    if (!this.#isQuiet) this.#shell.stderr.write(`${text}\n`);
  }

  update(shards: readonly ShardState[]): void {
    let [done, total, sent, differ, failed, lagNs] = [0, 0, 0, 0, 0, 0];
    for (const { latest } of shards) {
      if (latest?.kind !== 'replaying') continue;
      done += latest.done;
      total += latest.total;
      sent += latest.sent;
      differ += latest.differ;
      failed += latest.failed;
      lagNs = Math.max(lagNs, latest.lagNs);
    }
    if (total === 0) return;
    this.#bar ??= new Progress(this.#shell, total, {
      label: `replaying, ${plural(shards.length, 'worker')}`,
      unit: 'requests',
      quiet: this.#isQuiet,
    });
    const trouble = failed > 0 ? `, ${plural(failed, 'request')} failed` : '';
    this.#bar.update(
      done,
      sent,
      `late ${formatDuration(lagNs / 1e9)}, ${plural(differ, 'answer')} not as recorded${trouble}`,
    );
  }

  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}
