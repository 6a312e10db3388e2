// `memtape replay` and `memtape diff`: a verdict on a target, from a trace and what the target answers.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { compare } from '../diff/compare.ts';
import { diff } from '../diff/diff.ts';
import { startCluster, type Cluster } from '../fixtures/cluster.ts';
import { distributionNames, type DistributionName, type NamedServer } from '../protocol/distribution.ts';
import { parseDrills } from '../replayer/drill.ts';
import { permissions, type Permission } from '../replayer/gate.ts';
import { replay, type Replayed, type ReplayOptions } from '../replayer/replay.ts';
import { parseRatePlan } from '../replayer/schedule.ts';
import { parseTarget } from '../replayer/target.ts';
import { exitCodes, makeReport, type Report, type ReportInput } from '../report/report.ts';
import { parseThreshold, type Threshold } from '../report/threshold.ts';
import { ResultsReader, TraceReader, hashFile } from '../trace/file.ts';
import type { Survey } from '../trace/survey.ts';
import { CliError, Verdict } from './error.ts';
import { generate, isModel, synthOptions, type SynthOptions } from './synth.ts';
import { readSmall } from './file.ts';
import { startMetrics, type MetricsServer } from './metrics.ts';
import { outputOptions, printReport, type OutputOptions } from './output.ts';
import { Progress } from './progress.ts';
import { onInterrupt } from './signal.ts';
import { parseTargets, targetOptions, targetsOf, type TargetOptions } from './target.ts';
import { formatDuration, plural } from './text.ts';
import { parseCount, parseDuration, parseRate } from '../config/units.ts';

interface ReportOptions extends OutputOptions {
  backends?: NamedServer[];
  backendsRoute?: DistributionName;
  minCoverage?: number;
  maxLag?: number;
  threshold: Threshold[];
  examples: number;
  quiet?: true;
}

interface DiffOptions extends ReportOptions {
  noise?: string;
}

interface ReplayCommandOptions extends ReportOptions, TargetOptions, Omit<SynthOptions, 'rate'> {
  speed: number | 'max';
  order: 'key' | 'connection' | 'none';
  prefill: 'auto' | 'none';
  timeout: number;
  pipeline?: number;
  workers: number;
  allow: Permission[];
  results?: string;
  rate?: NonNullable<ReplayOptions['rate']>;
  loop?: number;
  from?: number;
  to?: number;
  metrics?: string;
  baseline?: string[];
  expect?: string;
  drill?: string;
}

const replayExamples = `
Examples:
  memtape replay capture.tape                                  against an embedded server: try a trace anywhere
  memtape replay capture.tape --target staging:11211
  memtape replay capture.tape --target staging:11211 --speed 10 --results run.results
  memtape replay capture.tape --target a:11211,b:11211 --route ketama --speed max
  memtape replay capture.tape --target staging:11211 --rate "10k..100k over 60s" --loop 10
  memtape replay capture.tape --target new:11211 --baseline old:11211 --from 30s --to 90s
  memtape replay capture.tape --target proxy:11211 --backends mc1:11211,mc2:11211 --drill restart.yaml
  memtape replay capture.tape --target staging:11211 --auth-file users.txt --tls-ca ca.pem
  memtape replay capture.tape --target staging:11211 --threshold 'violations == 0' --threshold 'drift.lost < 0.5%' --json report.json
  memtape replay capture.tape --target staging:11211 --html report.html --junit report.xml --markdown auto`;

const diffExamples = `
Examples:
  memtape diff capture.tape run.results
  memtape diff capture.tape last-release.results this-release.results --noise last-release-again.results
  memtape diff capture.tape run.results --threshold 'drift.lost < 0.5%' --json -`;

export function replayCommand(): Command {
  const command = new Command('replay')
    .description('Replay a trace against a target, and judge the answers.')
    .argument('<trace|model>', 'a trace; or a model: a .yaml file, or one of `memtape synth list`');
  synthOptions(targetOptions(command))
    .option('--baseline <address,…>', 'send the same to these targets too, and show both', parseTargets)
    .option('--expect <results>', 'results of an earlier replay of the trace: show what differs')
    .option(
      '--drill <file>',
      'commands that run meanwhile, a YAML list of {at, run, server}: who noticed, and recovered?',
    )
    .option('--speed <n|max>', 'times the recorded speed', parseSpeed, 1)
    .option(
      '--rate <plan>',
      'requests a second instead: 50k, "10k..100k over 60s", "10k..100k in 5 steps over 60s"',
      parseRatePlanOption,
    )
    .option('--loop <n>', 'replay it so many times in a row', (text) => parseCount(text))
    .option('--from <time>', "only requests from this time of the trace's on", parseDuration)
    .option('--to <time>', 'only requests before this time', parseDuration)
    .addOption(
      new Option('--order <order>', 'what a request waits for')
        .choices(['key', 'connection', 'none'])
        .default('key'),
    )
    .addOption(
      new Option('--prefill <mode>', 'set what the trace shows to have been there')
        .choices(['auto', 'none'])
        .default('auto'),
    )
    .option('--timeout <time>', 'how long an answer is waited for', parseDuration, 1000)
    .option(
      '--pipeline <n>',
      'outstanding requests a connection at most, when faster than recorded (default: 64)',
      (text) => parseCount(text),
    )
    .option(
      '--allow <what>',
      `do what is refused otherwise: ${permissions.join(', ')} (repeatable)`,
      addPermission,
      [],
    )
    .option('--workers <n>', 'threads that share the connections', parseWorkers, 1)
    .option('--results <file>', 'keep what the replay saw')
    .option('--metrics <address>', 'serve metrics for Prometheus meanwhile, for instance on :9150');
  return reportOptions(command)
    .addHelpText('after', replayExamples)
    .action(async (trace: string, options: ReplayCommandOptions) => runReplay(trace, options));
}

export function diffCommand(): Command {
  const command = new Command('diff')
    .description('Judge a replay again, from its results file; or two, and what differs between them.')
    .argument('<trace>', 'the trace that was replayed')
    .argument('<results>', 'what the replay saw (replay --results)')
    .argument('[candidate]', 'what a replay of another release saw; the first is then the baseline')
    .option(
      '--noise <results>',
      'another run of the baseline: what differs no more than these two is no news',
    );
  return reportOptions(command)
    .addHelpText('after', diffExamples)
    .action(async (trace: string, results: string, candidate: string | undefined, options: DiffOptions) => {
      const first = await judge(trace, results, options, undefined);
      let { report } = first;
      if (candidate !== undefined) {
        const noise =
          options.noise === undefined ? undefined : await judge(trace, options.noise, options, undefined);
        report = besides(await judge(trace, candidate, options, undefined), first, noise);
      }
      printReport({ name: basename(candidate ?? results), report }, options);
      throw new Verdict(exitCodes[report.verdict]);
    });
}

/** A judged replay, and what its report is made from. */
interface Judged {
  report: Report;
  input: ReportInput;
}

/** The report of the one with the other as its baseline. */
function besides(judged: Judged, baseline: Judged, noise?: Judged): Report {
  const changes = compare(baseline.input.diff, judged.input.diff, noise?.input.diff);
  return makeReport({ ...judged.input, baseline: { report: baseline.report, changes } });
}

function reportOptions(command: Command): Command {
  return outputOptions(command)
    .option(
      '--threshold <expr>',
      'what passes, for instance "drift.lost < 0.5%" (repeatable; default: violations == 0)',
      addThreshold,
      [],
    )
    .option(
      '--backends <address,…>',
      'what stands behind the targets, as the ring of their proxy names it: failures are laid to one of them',
      parseBackends,
    )
    .addOption(
      new Option(
        '--backends-route <route>',
        'how the keys are spread over --backends (default: ketama)',
      ).choices(distributionNames),
    )
    .option(
      '--min-coverage <n>',
      'exchanges that each target, or each of --backends through each target, must answer (else exit 3)',
      (text) => parseCount(text, 0),
    )
    .option(
      '--max-lag <time>',
      'with 1% of requests later than this by our own fault, latency is not judged (exit 4; default 5ms where a threshold asks for latency)',
      parseDuration,
    )
    .option('--examples <n>', 'examples of each finding in the report', (text) => parseCount(text, 0), 10)
    .option('--quiet', 'no progress');
}

async function runReplay(source: string, options: ReplayCommandOptions): Promise<void> {
  if (options.rate !== undefined && options.speed !== 1)
    throw new CliError('expected --speed or --rate, got both', 2);
  if (options.baseline !== undefined && options.expect !== undefined)
    throw new CliError('expected --baseline or --expect, got both', 2);
  const folder = mkdtempSync(join(tmpdir(), 'memtape-'));
  const results = options.results ?? join(folder, 'results');
  const interrupt = onInterrupt();
  let cluster: Cluster | undefined;
  let metrics: MetricsServer | undefined;
  try {
    // A model is made into a trace beforehand, so that making it takes no part in the timing.
    const trace = isModel(source) ? join(folder, 'model.tape') : source;
    if (trace !== source) await generate(source, trace, generating(options));
    let { target } = options;
    if (target === undefined) {
      const servers = await serverCount(trace);
      const backends = options.route?.name === 'index' ? servers : 1;
      cluster = await startCluster({ backends, memoryBytes: 1e9 });
      target = [...cluster.addresses];
      if (options.quiet !== true)
        process.stderr.write(`no --target: an embedded server answers on ${target.join(', ')}\n`);
    }
    if (options.metrics !== undefined) {
      metrics = await startMetrics(options.metrics);
      if (options.quiet !== true) process.stderr.write(`metrics on ${metrics.url}\n`);
    }
    const { signal } = interrupt;
    const { drill } = options;
    const run: ReplayOptions = {
      ...replayOptionsOf(trace, options),
      ...(drill === undefined
        ? {}
        : { drills: parseDrills(readSmall(drill, 'the drills').toString(), drill) }),
      results,
      targets: target,
      signal,
    };
    const beside: ReplayOptions | undefined =
      options.baseline === undefined
        ? undefined
        : { ...run, results: join(folder, 'baseline'), targets: options.baseline };
    const [{ survey }] = await Promise.all([
      withProgress(run, options, metrics),
      beside === undefined ? undefined : replay(beside),
    ]);
    const judged = await judge(trace, results, options, survey);
    const before = beside?.results ?? options.expect;
    const other = before === undefined ? undefined : await judge(trace, before, options, undefined);
    const report = other === undefined ? judged.report : besides(judged, other);
    printReport({ name: basename(trace), report }, options);
    throw new Verdict(interrupt.signal.aborted ? 130 : exitCodes[report.verdict]);
  } finally {
    interrupt.ignore();
    await metrics?.stop();
    await cluster?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A fixed --rate is the model's own; other plans are kept by the schedule. */
function generating({ rate, ...options }: ReplayCommandOptions): SynthOptions & { quiet?: true } {
  const [only, ...more] = rate?.plan ?? [];
  return {
    ...options,
    ...(only !== undefined && more.length === 0 && only.from === only.to ? { rate: only.from } : {}),
  };
}

function replayOptionsOf(
  trace: string,
  options: ReplayCommandOptions,
): Omit<ReplayOptions, 'results' | 'targets'> {
  const { speed, rate, order, prefill, timeout, allow, pipeline, loop, from, to, workers } = options;
  return {
    trace,
    speed,
    order,
    prefill,
    timeoutMs: timeout,
    workers,
    allow: new Set(allow),
    ...targetsOf(options),
    ...(rate === undefined ? {} : { rate }),
    ...(pipeline === undefined ? {} : { pipeline }),
    ...(loop === undefined ? {} : { loops: loop }),
    ...(from === undefined ? {} : { fromNs: from * 1e6 }),
    ...(to === undefined ? {} : { toNs: to * 1e6 }),
  };
}

async function withProgress(
  run: ReplayOptions,
  options: ReplayCommandOptions,
  metrics: MetricsServer | undefined,
): Promise<Replayed> {
  const quiet = options.quiet === true;
  let reading: Progress | undefined;
  let replaying: Progress | undefined;
  try {
    return await replay({
      ...run,
      onProgress: (progress) => {
        const { phase, total, done, sent, differ, failed, positionNs, lagNs } = progress;
        if (phase === 'reading') {
          reading ??= new Progress(total, { label: 'reading', unit: 'exchanges', quiet });
          reading.update(done, done);
          return;
        }
        metrics?.update(progress);
        reading?.stop();
        reading = undefined;
        replaying ??= new Progress(total, { label: 'replaying', unit: 'requests', quiet });
        const late =
          options.speed === 'max'
            ? ''
            : `at ${formatDuration(positionNs / 1e9)}, late ${formatDuration(lagNs / 1e9)}, `;
        const trouble = failed > 0 ? `, ${plural(failed, 'request')} failed` : '';
        replaying.update(done, sent, `${late}${plural(differ, 'answer')} not as recorded${trouble}`);
      },
    });
  } finally {
    reading?.stop();
    replaying?.stop();
  }
}

async function serverCount(path: string): Promise<number> {
  const trace = await TraceReader.open(path);
  try {
    const servers = new Set<string>();
    for await (const batch of trace.batches())
      for (const { server } of batch.connections) servers.add(server);
    return Math.max(1, servers.size);
  } finally {
    await trace.close();
  }
}

async function judge(
  tracePath: string,
  resultsPath: string,
  options: ReportOptions,
  survey: Survey | undefined,
): Promise<Judged> {
  const trace = await TraceReader.open(tracePath);
  try {
    const results = await ResultsReader.open(resultsPath);
    const quiet = options.quiet === true;
    const progress = new Progress(trace.exchangeCount, { label: 'judging', unit: 'exchanges', quiet });
    try {
      if (survey === undefined && (await hashFile(tracePath)) !== results.meta.trace)
        throw new CliError(`${resultsPath} was made from another trace than ${tracePath}`, 2);
      const judged = await diff(trace, results, {
        examples: options.examples,
        onProgress: (done) => progress.update(done, done),
        ...(options.backends === undefined ? {} : { backends: options.backends }),
        ...(options.backendsRoute === undefined ? {} : { distribution: options.backendsRoute }),
        ...(survey === undefined ? {} : { survey }),
      });
      const thresholds =
        options.threshold.length > 0 ? options.threshold : [parseThreshold('violations == 0')];
      const input: ReportInput = {
        diff: judged,
        meta: results.meta,
        end: results.end,
        thresholds,
        ...(options.minCoverage === undefined ? {} : { minCoverage: options.minCoverage }),
        ...(options.maxLag === undefined ? {} : { maxLagMicros: options.maxLag * 1000 }),
      };
      return { report: makeReport(input), input };
    } finally {
      progress.stop();
      await results.close();
    }
  } finally {
    await trace.close();
  }
}

function parseRatePlanOption(text: string): NonNullable<ReplayOptions['rate']> {
  return { plan: parseRatePlan(text, parseRate, parseDuration), text };
}

function parseBackends(text: string): NamedServer[] {
  return parseTargets(text).map((address) => parseTarget(address));
}

/** Each has memory and a thread of its own. */
const MAX_WORKERS = 64;

function parseWorkers(text: string): number {
  const workers = parseCount(text);
  if (workers <= MAX_WORKERS) return workers;
  throw new InvalidArgumentError(`expected at most ${MAX_WORKERS} workers`);
}

function parseSpeed(text: string): number | 'max' {
  if (text === 'max') return 'max';
  const speed = Number(text.replace(/[x×]$/, ''));
  if (Number.isFinite(speed) && speed > 0) return speed;
  throw new InvalidArgumentError('expected a number above 0, or max');
}

function addThreshold(text: string, before: Threshold[]): Threshold[] {
  try {
    return [...before, parseThreshold(text)];
  } catch (cause) {
    throw new InvalidArgumentError((cause as Error).message);
  }
}

function addPermission(text: string, before: Permission[]): Permission[] {
  const permission = permissions.find((known) => known === text);
  if (permission === undefined) throw new InvalidArgumentError(`expected one of ${permissions.join(', ')}`);
  return [...before, permission];
}
