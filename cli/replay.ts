// `memtape replay` and `memtape diff`: a verdict on a target, from a trace and what the target answers.

import { basename } from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { given } from '../config/given.ts';
import { parseCount, parseDuration, parseRate } from '../config/units.ts';
import { distributionNames, type NamedServer } from '../protocol/distribution.ts';
import { permissions } from '../replayer/gate.ts';
import type { Drill } from '../replayer/drill.ts';
import type { ReplayOptions } from '../replayer/replay.ts';
import { parseRatePlan } from '../replayer/schedule.ts';
import { splits } from '../replayer/tail.ts';
import { parseTarget } from '../replayer/target.ts';
import { exitCodes } from '../report/report.ts';
import { parseThreshold, type Threshold } from '../report/threshold.ts';
import { CliError, Verdict } from './error.ts';
import { readSmall } from './file.ts';
import { expectKind } from './kind.ts';
import { addPermission, paceOptions, parseSpeed } from './pace.ts';
import { checkOutputs, outputOptions, printReport, type OutputOptions } from './output.ts';
import { forceOption, replacing, type PlaceOptions } from './place.ts';
import {
  asBaseline,
  assertBaseline,
  assertResultsOf,
  besides,
  hlogPlace,
  judge,
  writeHlog,
  type JudgeOptions,
} from './judging.ts';
import { runReplay, type RunOptions } from './replaying.ts';
import { checkShard, parseRun, parseShardOption } from './shard.ts';
import type { Shell } from './shell.ts';
import { INTERRUPTED, onInterrupt } from './signal.ts';
import { checkSource, isModel, sourcePath, synthOptions } from './source.ts';
import { parseTargets, targetOptions } from './target.ts';

interface DiffOptions extends JudgeOptions, OutputOptions {
  noise?: string;
}

interface ReplayCommandOptions extends Omit<RunOptions, 'drills'>, OutputOptions {
  drill?: string;
  force?: true;
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
  memtape replay capture.tape --target staging:11211 --scenario hotKey --scenario retryStorm:share=0.2
  memtape replay capture.tape --target staging:11211 --auth-file users.txt --tls-ca ca.pem
  memtape replay capture.tape --target staging:11211 --threshold 'violations == 0' --threshold 'drift.lost < 0.5%' --json report.json
  memtape replay capture.tape --target staging:11211 --shard 2/8 --run monday --results 2.results
  memtape replay capture.tape --target staging:11211 --html report.html --junit report.xml --markdown auto`;

const diffExamples = `
Examples:
  memtape diff capture.tape run.results
  memtape diff capture.tape last-release.results this-release.results --noise last-release-again.results
  memtape diff capture.tape run.results --threshold 'drift.lost < 0.5%' --json -
  memtape diff etc run.results                                 of \`memtape replay etc --results run.results\``;

/** What is sent of a trace, when, and in which order. */
export function sendingOptions(command: Command): Command {
  return paceOptions(synthOptions(command))
    .option('--speed <n|max>', 'times the recorded speed', parseSpeed, 1)
    .option(
      '--rate <plan>',
      'requests a second instead: 50k, "10k..100k over 60s", "10k..100k in 5 steps over 60s"',
      parseRatePlanOption,
    )
    .addOption(
      new Option(
        '--split <mode>',
        'recorded: a request whose bytes came in parts leaves in two writes, as far apart',
      )
        .choices(splits)
        .default('whole'),
    )
    .option('--loop <n>', 'replay it so many times in a row', (text) => parseCount(text))
    .option('--from <time>', "only requests from this time of the trace's on", parseDuration)
    .option('--to <time>', 'only requests before this time', parseDuration)
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
    );
}

export function replayCommand(command: Command, shell: Shell): void {
  sendingOptions(targetOptions(command, shell))
    .option('--baseline <address,…>', 'send the same to these targets too, and show both', parseTargets)
    .option('--expect <results>', 'results of an earlier replay of the trace: show what differs', shell.path)
    .option(
      '--drill <file>',
      'commands that run meanwhile, a YAML list of {at, run, server}: who noticed, and recovered?',
      shell.path,
    )
    .option(
      '--flush-before',
      'empty every --target (and --baseline) by FLUSH before the replay; the servers of the recording are never emptied',
    )
    .option('--workers <n>', 'threads that share the connections', parseWorkers, 1)
    .option(
      '--shard <i/n>',
      'only the i-th of n parts, divided by key; memtape report makes one report of all',
      parseShardOption,
    )
    .option('--run <name>', 'with --shard: what the parts of one replay have in common', parseRun)
    .option('--results <file>', 'keep what the replay saw', shell.path)
    .option(...forceOption)
    .option('--metrics <address>', 'serve metrics for Prometheus meanwhile, for instance on :9150');
  hlogOption(reportOptions(command, shell), shell)
    .addHelpText('after', replayExamples)
    .action(async (trace: string, options: ReplayCommandOptions) => replayOnce(shell, trace, options));
}

export function diffCommand(command: Command, shell: Shell): void {
  command.option(
    '--noise <results>',
    'another run of the baseline: what differs no more than these two is no news',
    shell.path,
  );
  hlogOption(reportOptions(command, shell), shell)
    .addHelpText('after', diffExamples)
    .action(async (trace: string, results: string, candidate: string | undefined, options: DiffOptions) =>
      diffOnce(shell, trace, [results, candidate], options),
    );
}

async function diffOnce(
  shell: Shell,
  name: string,
  [given, other]: [results: string, candidate: string | undefined],
  options: DiffOptions,
): Promise<void> {
  const trace = sourcePath(shell, name);
  const results = shell.path(given);
  const candidate = other === undefined ? undefined : shell.path(other);
  const { noise } = options;
  const inputs = [results, candidate, noise].filter((path) => path !== undefined);
  assertBaseline(options.threshold, candidate !== undefined, 'two results files');
  checkOutputs(options, [trace, ...inputs], hlogOf(options, [trace, ...inputs]));
  checkSource(trace);
  for (const path of inputs) expectKind(path, 'results');
  const first = await judge(shell, trace, results, candidate === undefined ? options : asBaseline(options));
  let { report } = first;
  if (candidate === undefined) await writeHlog(shell, first, options);
  if (candidate !== undefined) {
    const before = noise === undefined ? undefined : await judge(shell, trace, noise, asBaseline(options));
    const second = await judge(shell, trace, candidate, options);
    report = besides(second, first, before);
    await writeHlog(shell, second, options);
  }
  const named = { name: basename(candidate ?? results), report };
  throw new Verdict(await printReport(shell, named, options, exitCodes[report.verdict]));
}

/** What stands behind whom, and how much of it must have been reached. @param who `targets` */
export function placesOptions(command: Command, who: string): Command {
  return command
    .option(
      '--backends <address,…>',
      `what stands behind the ${who}, as the ring of their proxy names it: failures are laid to one of them`,
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
      `exchanges that each of the ${who}, or each of --backends through each of them, must answer (else exit 3)`,
      (text) => parseCount(text, 0),
    );
}

export function reportOptions(command: Command, shell: Shell): Command {
  return placesOptions(outputOptions(command, shell), 'targets')
    .option(
      '--threshold <expr>',
      'what passes, for instance "drift.lost < 0.5%" (repeatable; default: violations == 0, judged > 90%, drift.lost < 5%, and with a baseline baseline.regressions == 0)',
      addThreshold,
      [],
    )
    .option(
      '--max-lag <time>',
      'where memtape sends 1% of the requests later than this, latency is not judged (exit 4; default 5ms where a threshold asks for latency)',
      parseDuration,
    )
    .option('--examples <n>', 'examples of each finding in the report', (text) => parseCount(text, 0), 10)
    .option('--quiet', 'no progress');
}

async function replayOnce(shell: Shell, name: string, options: ReplayCommandOptions): Promise<void> {
  if (options.rate !== undefined && options.speed !== 1)
    throw new CliError('expected --speed or --rate, got both', 2);
  if (options.baseline !== undefined && options.expect !== undefined)
    throw new CliError('expected --baseline or --expect, got both', 2);
  if (options.flushBefore === true && options.target === undefined)
    throw new CliError('--flush-before empties what --target names: expected a --target, got none', 2);
  const hasBaseline = options.baseline !== undefined || options.expect !== undefined;
  assertBaseline(options.threshold, hasBaseline, '--baseline or --expect');
  checkShard(options);
  const { drill, force, ...rest } = options;
  const source = sourcePath(shell, name);
  await checkReplay(source, options);
  const interrupt = onInterrupt(shell);
  try {
    const drills = drill === undefined ? undefined : await readDrills(drill);
    const named = await runReplay(
      shell,
      source,
      { ...rest, replacing: replacing(force), ...given({ drills }) },
      interrupt.signal,
    );
    const code = interrupt.signal.aborted ? INTERRUPTED : exitCodes[named.report.verdict];
    throw new Verdict(await printReport(shell, named, options, code));
  } finally {
    interrupt.ignore();
  }
}

function hlogOption(command: Command, shell: Shell): Command {
  return command.option(
    '--hlog <file>',
    'write the latencies as an HDR log (HdrHistogram), in microseconds',
    shell.path,
  );
}

/** The place of --hlog, where it is asked for. */
function hlogOf({ hlog }: JudgeOptions, inputs: readonly string[]): [string, PlaceOptions][] {
  return hlog === undefined ? [] : [[hlog, { ...hlogPlace, inputs }]];
}

/** @throws ConfigError, CliError */
async function readDrills(path: string): Promise<Drill[]> {
  const { parseDrills } = await import('../replayer/drillfile.ts');
  return parseDrills(readSmall(path, 'the drills').toString(), path);
}

/** What can be known to go wrong before anything is sent. @throws CliError */
async function checkReplay(source: string, options: ReplayCommandOptions): Promise<void> {
  const { drill, expect, results, force, scenario } = options;
  const inputs = [source, drill, expect].filter((path) => path !== undefined);
  checkOutputs(options, inputs, [
    ...hlogOf(options, inputs),
    ...(results === undefined
      ? []
      : [[results, { option: '--results', replacing: replacing(force), inputs }] as [string, PlaceOptions]]),
  ]);
  if (expect !== undefined) expectKind(expect, 'results');
  if (drill !== undefined) expectKind(drill, 'drills');
  checkSource(source);
  // What results of a trace with scenarios are of is known when it is made.
  if (expect !== undefined && !isModel(source) && scenario.length === 0)
    await assertResultsOf(expect, source);
}

export function parseRatePlanOption(text: string): NonNullable<ReplayOptions['rate']> {
  return { plan: parseRatePlan(text, parseRate, parseDuration), text };
}

export function parseBackends(text: string): NamedServer[] {
  return parseTargets(text).map((address) => parseTarget(address));
}

/** Each has memory and a thread of its own. */
export const MAX_WORKERS = 64;

export function parseWorkers(text: string): number {
  const workers = parseCount(text);
  if (workers <= MAX_WORKERS) return workers;
  throw new InvalidArgumentError(`expected at most ${MAX_WORKERS} workers`);
}

export function addThreshold(text: string, before: Threshold[]): Threshold[] {
  try {
    return [...before, parseThreshold(text)];
  } catch (cause) {
    throw new InvalidArgumentError((cause as Error).message);
  }
}
