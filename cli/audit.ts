// `memtape audit`: a recording judged by itself, without a replay.

import { basename, join } from 'node:path';
import { Option, type Command } from 'commander';
import { given } from '../config/given.ts';
import { parseCount, parseDuration } from '../config/units.ts';
import { mergeTraces } from '../convert/merge.ts';
import { auditTrace, type AuditTraceOptions } from '../library/audit.ts';
import type { DistributionName, NamedServer } from '../protocol/distribution.ts';
import { exitCodes } from '../report/report.ts';
import { auditExpressions } from '../report/threshold.ts';
import { formatHostPort } from '../trace/address.ts';
import { TraceReader } from '../trace/file.ts';
import type { TenantMode } from '../trace/survey.ts';
import { CliError, Verdict } from './error.ts';
import { expandFiles } from './file.ts';
import { expectKind } from './kind.ts';
import { checkOutputs, outputOptions, printReport, type OutputOptions } from './output.ts';
import { Progress } from './progress.ts';
import { liveOptions } from './recording.ts';
import { addThreshold, placesOptions } from './replay.ts';
import type { Shell } from './shell.ts';
import { parseTenants } from './target.ts';
import type { WatchOptions } from './watch.ts';

interface Options extends OutputOptions, WatchOptions {
  tenants: TenantMode;
  backends?: NamedServer[];
  backendsRoute?: DistributionName;
  minCoverage?: number;
  timeout: number;
  from?: number;
  to?: number;
  threshold: readonly { expression: string }[];
  examples: number;
  trigger?: 'violation';
}

const examples = `
Examples:
  memtape audit capture.tape
  memtape audit capture.tape --html report.html --junit report.xml
  memtape audit monday.tape tuesday.tape                       one recording in two files
  memtape audit capture.tape --backends mc1:11211,mc2:11211    of a proxy: which backend is it?
  memtape audit --interface eth0 --duration 10m --metrics :9150
  memtape audit --listen 127.0.0.1:11311 --upstream 127.0.0.1:11211 --trigger violation -o wrong.tape
  memtape audit capture.tape --threshold 'violations == 0' --threshold 'consistency > 99.99%'

What the recording does not show is not known: what a key held before, and requests that the capture lacks. Whatever is gone
may have been evicted. docs/auditing.md says what can be seen this way, and what only a replay shows.`;

export function auditCommand(command: Command, shell: Shell): void {
  placesOptions(outputOptions(liveOptions(command, shell), shell), 'recorded servers')
    .option('--window <time>', 'live: judge so much at a time', parseDuration, 10_000)
    .addOption(
      new Option('--trigger <what>', 'live: keep the traces of the windows around a violation').choices([
        'violation',
      ]),
    )
    .option('-o, --output <file>', 'with --trigger: their names, which carry the times', shell.path)
    .option('--metrics <address>', 'live: serve metrics for Prometheus, for instance on :9150')
    .option(
      '--threshold <expr>',
      'what passes, for instance "consistency > 99.99%" (repeatable; default: violations == 0, judged > 90%)',
      addThreshold,
      [],
    )
    .option(
      '--tenants <mode>',
      'whether users share their keys: auto (what the trace shows), isolated, shared',
      parseTenants,
      'auto',
    )
    .option('--timeout <time>', 'a request that had no answer for so long is unanswered', parseDuration, 1000)
    .option('--from <time>', "only requests from this time of the trace's on", parseDuration)
    .option('--to <time>', 'only requests before this time', parseDuration)
    .option('--examples <n>', 'examples of each finding in the report', (text) => parseCount(text, 0), 10)
    .option('--quiet', 'no progress')
    .addHelpText('after', examples)
    .action(async (traces: string[], options: Options) =>
      auditOnce(shell, expandFiles(traces.map(shell.path)), options),
    );
}

async function auditOnce(shell: Shell, paths: readonly string[], options: Options): Promise<void> {
  const source = sourceOf(paths, options);
  checkOutputs(options, paths);
  if (source === 'live') return auditLive(shell, options);
  for (const path of paths) expectKind(path, 'trace');
  const folder = shell.temporaryFolder();
  try {
    const [first] = paths;
    const path = paths.length === 1 ? first! : join(folder, 'merged.tape');
    if (paths.length > 1) await mergeTraces(paths, path);
    const report = await judge(shell, path, options);
    const name = paths.length === 1 ? basename(first!) : `${basename(first!)} and ${paths.length - 1} more`;
    throw new Verdict(await printReport(shell, { name, report }, options, exitCodes[report.verdict]));
  } finally {
    shell.remove(folder);
  }
}

/** @throws CliError */
function sourceOf(paths: readonly string[], options: Options): 'files' | 'live' {
  const isProxy = options.listen.length > 0 || options.upstream.length > 0;
  if ([isProxy, paths.length > 0, options.interface !== undefined].filter(Boolean).length !== 1)
    throw new CliError(
      'expected one of: traces, --interface, or --listen with --upstream; see memtape audit --help',
      2,
    );
  if ((options.trigger === undefined) !== (options.output === undefined))
    throw new CliError('expected --trigger violation and --output together, got one of them', 2);
  if (paths.length === 0) return 'live';
  const only = (['trigger', 'metrics', 'duration'] as const).find((name) => options[name] !== undefined);
  if (only !== undefined) throw new CliError(`--${only} expects --interface or --listen`, 2);
  return 'files';
}

async function auditLive(shell: Shell, options: Options): Promise<void> {
  const { watch } = await import('./watch.ts');
  const { thresholds = auditExpressions, ...judging } = auditOptionsOf(options);
  const report = await watch(shell, options, judging, thresholds);
  const name = options.interface ?? options.listen.join(', ');
  throw new Verdict(await printReport(shell, { name, report }, options, exitCodes[report.verdict]));
}

async function judge(
  shell: Shell,
  path: string,
  options: Options,
): Promise<Awaited<ReturnType<typeof auditTrace>>> {
  const { exchangeCount } = await counted(path);
  const progress = new Progress(shell, exchangeCount, {
    label: 'judging',
    unit: 'exchanges',
    quiet: options.quiet === true,
  });
  try {
    return await auditTrace(path, {
      ...auditOptionsOf(options),
      onProgress: (done) => progress.update(done, done),
    });
  } finally {
    progress.stop();
  }
}

async function counted(path: string): Promise<{ exchangeCount: number }> {
  const trace = await TraceReader.open(path);
  await trace.close();
  return trace;
}

/** What of a judgement's options an audit has; times in milliseconds. */
export function auditOptionsOf(
  options: Pick<
    Options,
    | 'tenants'
    | 'examples'
    | 'timeout'
    | 'from'
    | 'to'
    | 'backends'
    | 'backendsRoute'
    | 'minCoverage'
    | 'threshold'
  >,
): AuditTraceOptions {
  const {
    tenants,
    examples: most,
    timeout,
    from,
    to,
    backends,
    backendsRoute,
    minCoverage,
    threshold,
  } = options;
  return {
    tenants,
    examples: most,
    timeoutMs: timeout,
    ...(threshold.length === 0 ? {} : { thresholds: threshold.map(({ expression }) => expression) }),
    ...(from === undefined ? {} : { fromNs: from * 1e6 }),
    ...(to === undefined ? {} : { toNs: to * 1e6 }),
    ...(backends === undefined
      ? {}
      : { backends: backends.map(({ host, port }) => formatHostPort(host, port)) }),
    ...given({ distribution: backendsRoute, minCoverage }),
  };
}
