// `memtape capacity`: the highest rate at which every answer is right and the thresholds hold, and why no higher one does.

import { basename, join } from 'node:path';
import { InvalidArgumentError, type Command } from 'commander';
import { given } from '../config/given.ts';
import { makeCapacityReport, capacityExitCode, type CapacityReport } from '../capacity/report.ts';
import { Search, type SearchOptions } from '../capacity/search.ts';
import { capacityExpressions, isSure, judgeStep, measuredOf, type Step } from '../capacity/step.ts';
import { outcomeNames, renderCapacity } from '../capacity/text.ts';
import { parseCount, parseDuration, parseRate } from '../config/units.ts';
import { ReplayError } from '../replayer/error.ts';
import type { Permission } from '../replayer/gate.ts';
import { needsBaseline, parseThreshold, roleOf, type Threshold } from '../report/threshold.ts';
import { micros } from '../report/format.ts';
import { CliError, Verdict } from './error.ts';
import { withHint } from './hint.ts';
import { Steps, extentOf, stepReport, type StepOptions } from './measuring.ts';
import { addPermission, orderOption, timeoutOption } from './pace.ts';
import { checkPlaces, writePlace, type PlaceOptions } from './place.ts';
import { addThreshold, parseWorkers } from './replay.ts';
import { assertBaseline } from './judging.ts';
import type { Shell } from './shell.ts';
import { INTERRUPTED, onInterrupt } from './signal.ts';
import { checkSource, isModel, sourcePath, synthOptions, type SynthOptions } from './source.ts';
import { isSpread, parseTargets, targetOptions, targetsOf, type TargetOptions } from './target.ts';
import { formatCount, safeJson } from './text.ts';

interface CapacityOptions extends TargetOptions, SynthOptions, Omit<SearchOptions, 'growth'> {
  order: 'key' | 'connection' | 'none';
  timeout: number;
  workers: number;
  pipeline?: number;
  allow: readonly Permission[];
  baseline?: string[];
  threshold: Threshold[];
  maxLag?: number;
  step: number;
  warmup: number;
  atLeast?: number;
  json?: string;
  html?: string;
  quiet?: true;
}

const examples = `
Exit codes:
  0 a capacity was found, and it is what --at-least asks for · 1 no rate holds, or less than --at-least
  3 not enough evidence · 4 memtape itself was the limit: the capacity is at least what is told
  5 the targets could not be reached, or were lost · 130 interrupted: what was done is told

Examples:
  memtape capacity capture.tape --target staging:11211
  memtape capacity etc --target staging:11211 --threshold 'latency.fromIntended.p99 < 2ms' --html capacity.html
  memtape capacity capture.tape --target new:11211 --baseline old:11211 --start 10k --json capacity.json
  memtape capacity capture.tape --target proxy:11211 --at-least 50k --workers 4        in CI: fail below 50,000/s`;

export function capacityCommand(command: Command, shell: Shell): void {
  timeoutOption(orderOption(synthOptions(targetOptions(command, shell))))
    .option(
      '--baseline <address,…>',
      'other targets, which get the same rates one after the other',
      parseTargets,
    )
    .option(
      '--threshold <expr>',
      `what has to hold, besides that no answer is wrong (repeatable; default: ${capacityExpressions.join(', ')})`,
      addThreshold,
      [],
    )
    .option('--start <rate>', 'the first rate, requests a second', parseRate, 1000)
    .option('--max <rate>', 'no higher rate is tried', parseRate, 1e6)
    .option('--step <time>', 'how long each rate is kept up', parseDuration, 5000)
    .option('--warmup <time>', 'how long before that, without counting latency', parseDuration, 1000)
    .option('--precision <percent>', 'how near the rates on both sides of the edge are', parsePercent, 0.03)
    .option('--repeats <n>', 'how often the rate that is told has to be tried', (text) => parseCount(text), 3)
    .option('--at-least <rate>', 'fail (exit 1) below this', parseRate)
    .option(
      '--max-lag <time>',
      'a step that does not hold is void where memtape sent 1% of its requests later than this (default: 5ms, or half of what a threshold asks of latency)',
      parseDuration,
    )
    .option('--pipeline <n>', 'outstanding requests a connection at most (default: 64)', (text) =>
      parseCount(text),
    )
    .option('--workers <n>', 'threads that share the connections', parseWorkers, 1)
    .option(
      '--allow <what>',
      'do what is refused otherwise, see `memtape replay --help` (repeatable)',
      addPermission,
      [],
    )
    .option('--json <file>', 'write what was found as JSON; - for standard output', shell.path)
    .option('--html <file>', 'write it as one page that needs nothing else', shell.path)
    .option('--quiet', 'no progress')
    .addHelpText('after', examples)
    .action(async (source: string, options: CapacityOptions) =>
      findCapacity(shell, sourcePath(shell, source), options),
    );
}

async function findCapacity(shell: Shell, source: string, options: CapacityOptions): Promise<void> {
  const { target, baseline, html, json } = options;
  if (target === undefined)
    throw new CliError('expected --target: what an embedded server takes says nothing of a real one', 2);
  if (options.start > options.max)
    throw new CliError(`expected --start to be at most --max, got ${options.start} and ${options.max}`, 2);
  assertBaseline(options.threshold, baseline !== undefined, '--baseline');
  const outputs: [string, PlaceOptions][] = [
    [json, '--json'],
    [html, '--html'],
  ].flatMap(([path, option]): [string, PlaceOptions][] =>
    path === undefined || path === '-'
      ? []
      : [[path, { option: option!, replacing: 'reports', inputs: [source] }]],
  );
  checkPlaces(outputs);
  checkSource(source);
  const interrupt = onInterrupt(shell);
  const folder = shell.temporaryFolder();
  try {
    const report = await search(shell, source, { ...options, target }, folder, interrupt.signal);
    const text = `${safeJson(report, 2)}\n`;
    shell.stdout.write(json === '-' ? text : renderCapacity(report, shell.palette));
    for (const [path, place] of outputs)
      await writePlace(
        shell,
        path,
        place.option === '--json' ? text : (await import('../capacity/page.ts')).renderCapacityPage(report),
        place,
      );
    throw new Verdict(interrupt.signal.aborted ? INTERRUPTED : capacityExitCode(report));
  } finally {
    interrupt.ignore();
    shell.remove(folder);
  }
}

/** From one rate to the next, until one does not hold. */
const GROWTH = 2;

async function search(
  shell: Shell,
  source: string,
  options: CapacityOptions & { target: string[] },
  folder: string,
  signal: AbortSignal,
): Promise<CapacityReport> {
  const { target, baseline, start, max, precision, repeats, order, quiet } = options;
  const thresholds = thresholdsOf(options.threshold);
  const maxLagMicros = maxLagOf(options.maxLag, thresholds);
  const trace = await traceOf(shell, source, options, folder);
  const asked: Omit<StepOptions, 'targets'> = {
    trace,
    thresholds,
    stepMs: options.step,
    warmupMs: options.warmup,
    folder,
    replay: replayOf(shell, source, options),
  };
  const extent = await extentOf(trace);
  if (extent.exchanges === 0) throw new CliError(`${source}: expected exchanges to replay, got none`, 2);
  const candidate = new Steps({ ...asked, targets: target }, extent);
  const other = baseline === undefined ? undefined : new Steps({ ...asked, targets: baseline }, extent);
  const steps: Step[] = [];
  let aborted: string | null = null;
  const attempt = async (rate: number): Promise<Step> => {
    const before = await other?.at(rate, 'baseline', signal);
    const input = await candidate.at(rate, 'results', signal);
    if (signal.aborted) throw new Interrupted();
    const report = stepReport(input, before);
    const step: Step = judgeStep(report, { rate, thresholds, maxLagMicros });
    if (before !== undefined && report.baseline !== undefined) {
      const alone = stepReport({ ...before, thresholds: [] }, undefined);
      const { outcome } = judgeStep(alone, {
        rate,
        thresholds: thresholds.filter((one) => !needsBaseline(one)),
        maxLagMicros,
      });
      step.baseline = { ...measuredOf(alone), outcome, regressions: report.baseline.regressions };
    }
    steps.push(step);
    if (quiet !== true) shell.stderr.write(`${progressOf(step)}\n`);
    return step;
  };
  const settings = { start, max, growth: GROWTH, precision, repeats };
  const finder = new Search(settings, async (rate) => {
    const step = await attempt(rate);
    return { rate, outcome: step.outcome, isSure: isSure(step) };
  });
  try {
    await finder.run();
  } catch (error) {
    const isTold = error instanceof Interrupted || (error instanceof ReplayError && steps.length > 0);
    if (!isTold) throw error;
    aborted =
      error instanceof ReplayError ? `The search ended: ${withHint(error)}.` : 'The search was interrupted.';
  }
  return makeCapacityReport({
    found: finder.found,
    aborted,
    atLeast: options.atLeast ?? null,
    thresholds: thresholds.map(({ expression }) => expression),
    steps,
    settings: {
      ...settings,
      stepSeconds: options.step / 1000,
      warmupSeconds: options.warmup / 1000,
      maxLagMicros,
      order,
    },
    environment: { source: basename(source), targets: target, baseline: baseline ?? [] },
  });
}

class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

/** No answer may be wrong, whatever is asked besides. */
function thresholdsOf(given: readonly Threshold[]): readonly Threshold[] {
  if (given.length === 0) return capacityExpressions.map(parseThreshold);
  const always = parseThreshold('violations == 0');
  return given.some(({ metric }) => metric === 'violations') ? given : [always, ...given];
}

const DEFAULT_MAX_LAG_MICROS = 5000;

/** @param given milliseconds */
function maxLagOf(given: number | undefined, thresholds: readonly Threshold[]): number {
  if (given !== undefined) return given * 1000;
  const limits = thresholds
    .filter((threshold) => roleOf(threshold) === 'latency' && !needsBaseline(threshold))
    .map(({ limit }) => limit / 2);
  return Math.min(DEFAULT_MAX_LAG_MICROS, ...limits);
}

/** Requests that a model is made into; a step that needs more goes round. */
const MODEL_REQUESTS = 200_000;

/** The trace that steps are taken from. */
async function traceOf(
  shell: Shell,
  source: string,
  options: CapacityOptions,
  folder: string,
): Promise<string> {
  const made = join(folder, 'made.tape');
  const isOfModel = isModel(source);
  if (!isOfModel && options.scenario.length === 0) return source;
  const { generate, rewrite } = await import('./model.ts');
  if (!isOfModel) {
    await rewrite(shell, source, made, options);
    return made;
  }
  const { seed, scenario, quiet, duration, requests } = options;
  await generate(shell, source, made, {
    scenario,
    ...(quiet === true ? { quiet } : {}),
    ...given({ seed }),
    ...(duration === undefined ? { duration: MODEL_MS } : { duration }),
    requests: requests ?? MODEL_REQUESTS,
  });
  return made;
}

/** Longer than any number of requests takes. */
const MODEL_MS = 86_400_000;

function replayOf(shell: Shell, source: string, options: CapacityOptions): StepOptions['replay'] {
  const { order, timeout, workers, pipeline, allow } = options;
  return {
    order,
    workers,
    timeoutMs: timeout,
    allow: new Set(allow),
    ...targetsOf(shell, options),
    ...(isSpread(isModel(source), options) ? { route: 'ketama' as const } : {}),
    ...given({ pipeline }),
  };
}

function progressOf({ rate, achievedRate, sent, latencyMicros, outcome, reasons }: Step): string {
  const why = reasons.length === 0 ? '' : ` (${reasons[0]!})`;
  const { p99 } = latencyMicros.fromIntended;
  return `${formatCount(rate)}/s: ${formatCount(sent)} sent, ${formatCount(Math.round(achievedRate))}/s answered, p99 ${micros(p99)}, ${outcomeNames[outcome]}${why}`;
}

function parsePercent(text: string): number {
  const percent = Number(text.replace(/%$/, ''));
  if (Number.isFinite(percent) && percent > 0 && percent <= 50) return percent / 100;
  throw new InvalidArgumentError('expected a percentage above 0 and of at most 50, such as 3%');
}
