// `memtape cluster`: a replay by many machines. What each of its commands needs is loaded when that is asked for.

import { Command, InvalidArgumentError } from 'commander';
import { parseCount, parseDuration, parseRate } from '../config/units.ts';
import { MAX_SHARDS } from '../trace/shard.ts';
import type { PlanCommandOptions } from './clusterplan.ts';
import type { RunCommandOptions } from './clusterrun.ts';
import type { WorkerCommandOptions } from './clusterworker.ts';
import { forceOption } from './place.ts';
import { parseWorkers, reportOptions, sendingOptions } from './replay.ts';
import { parseRun } from './shard.ts';
import type { Shell } from './shell.ts';
import { synthOptions } from './source.ts';
import { placeOptions, secretOptions } from './target.ts';

const examples = `
Examples:
  memtape cluster plan capture.tape --rate 1M                                   how many workers does that take?
  memtape cluster worker --redis redis://queue:6379                             on each machine
  memtape cluster run capture.tape --target mc:11211 --workers 8 --redis redis://queue:6379`;

const runExamples = `
Examples:
  memtape cluster run capture.tape --target a:11211,b:11211 --route ketama --workers 8 --redis redis://queue:6379
  memtape cluster run etc --rate 1M --duration 60s --target mc:11211 --workers 32 --html report.html
                                                     with MEMTAPE_REDIS=rediss://user:password@queue:6380
  memtape cluster run capture.tape --target mc:11211 --workers 4 --speed max --results all.results

Workers fetch the trace from here, and hand their results in here, by HTTP (--listen). Users and passwords of the targets are
the workers' own: memtape cluster worker --auth-file.`;

const workerExamples = `
Examples:
  memtape cluster worker --redis redis://queue:6379
  MEMTAPE_REDIS=redis://:password@queue:6379 memtape cluster worker --auth-file users.txt
  memtape cluster worker --redis redis://queue:6379 --once                      one shard, as a Kubernetes Job wants it`;

const redisOption = [
  '--redis <url>',
  'redis://HOST:6379, or rediss:// for TLS (or MEMTAPE_REDIS, which no list of processes shows)',
] as const;

const planExamples = `
Examples:
  memtape cluster plan capture.tape --rate 1M
  memtape cluster plan etc --rate 10M --measured 80k           with a rate that was measured elsewhere
  memtape cluster plan capture.tape --rate 200k --targets 5 --json`;

export function clusterCommand(command: Command, shell: Shell): void {
  // Its subcommands have options of the same names.
  command.enablePositionalOptions().addHelpText('after', examples);
  command.addCommand(runCommand(shell));
  command.addCommand(workerCommand(shell));
  command.addCommand(planCommand(shell));
}

function runCommand(shell: Shell): Command {
  const command = new Command('run')
    .description('Replay by as many workers, and judge all their answers as those of one replay.')
    .argument('<trace|model>', 'a trace, or a model');
  sendingOptions(
    placeOptions(command, shell, 'where requests go, as workers reach it: HOST:PORT, several with commas'),
  )
    .option(...redisOption)
    .requiredOption('--workers <n>', 'how many of them share it', parseMachines)
    .option('--threads <n>', 'threads of each worker', parseWorkers, 1)
    .option('--run <name>', 'what the run is called (default: the time)', parseRun)
    .option(
      '--listen <address>',
      'where workers fetch the trace and hand results in: HOST:PORT, as they reach it',
    )
    .option('--wait <time>', 'how long workers are waited for', parseDuration, 60_000)
    .option('--silence <time>', 'a worker that was not heard of for so long is lost', parseDuration, 10_000)
    .option('--results <file>', 'keep what the replay saw', shell.path)
    .option(...forceOption);
  return reportOptions(command, shell)
    .addHelpText('after', runExamples)
    .action(async (source: string, options: RunCommandOptions) => {
      const { run } = await import('./clusterrun.ts');
      await run(shell, source, options);
    });
}

function workerCommand(shell: Shell): Command {
  const command = new Command('worker')
    .description('Take shards of runs from the queue and replay them, until it is stopped.')
    .option(...redisOption)
    .option('--once', 'end after one shard')
    .option('--quiet', 'say nothing of what is done');
  return secretOptions(command, shell)
    .addHelpText('after', workerExamples)
    .action(async (options: WorkerCommandOptions) => {
      const { work } = await import('./clusterworker.ts');
      await work(shell, options);
    });
}

/** @throws InvalidArgumentError */
function parseMachines(text: string): number {
  const workers = parseCount(text);
  if (workers <= MAX_SHARDS) return workers;
  throw new InvalidArgumentError(`expected at most ${MAX_SHARDS} workers`);
}

function planCommand(shell: Shell): Command {
  const command = new Command('plan')
    .description('How many workers, connections and bits a second a rate takes, with the arithmetic.')
    .argument('<trace|model>', 'a trace, or a model')
    .requiredOption('--rate <rate>', 'requests a second, of all workers together', parseRate)
    .option(
      '--measured <rate>',
      'what one worker sends as fast as it goes; measured here against an embedded server if absent',
      parseRate,
    )
    .option('--headroom <share>', 'the share of it at which a worker keeps its times', parseHeadroom, 0.5)
    .option('--targets <n>', 'servers that a connection may lead to', (text) => parseCount(text), 1)
    .option('--json', 'print JSON')
    .option('--quiet', 'no progress');
  return synthOptions(command)
    .addHelpText('after', planExamples)
    .action(async (source: string, options: PlanCommandOptions) => {
      const { plan } = await import('./clusterplan.ts');
      await plan(shell, source, options);
    });
}

/** @throws InvalidArgumentError */
function parseHeadroom(text: string): number {
  const share = text.endsWith('%') ? Number(text.slice(0, -1)) / 100 : Number(text);
  if (share > 0 && share <= 1) return share;
  throw new InvalidArgumentError('expected a share above 0 and up to 1, such as 0.5 or 50%');
}
