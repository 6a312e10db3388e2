// `memtape report`: one report of a replay that was divided, from the results of all its shards.

import { basename, join } from 'node:path';
import type { Command } from 'commander';
import { given } from '../config/given.ts';
import { exitCodes } from '../report/report.ts';
import { ResultsReader } from '../trace/file.ts';
import { mergeShards } from '../trace/merged.ts';
import { hashSource, openSource, type Source } from '../trace/source.ts';
import { Verdict } from './error.ts';
import { expandFiles } from './file.ts';
import { expectKind } from './kind.ts';
import { checkOutputs, printReport, type OutputOptions } from './output.ts';
import { Place, forceOption, replacing } from './place.ts';
import { Progress } from './progress.ts';
import { reportOptions } from './replay.ts';
import { judge, sourceOfResults, type JudgeOptions } from './judging.ts';
import type { Shell } from './shell.ts';
import { checkSource, sourcePath } from './source.ts';

interface Options extends JudgeOptions, OutputOptions {
  results?: string;
  force?: true;
}

const examples = `
Examples:
  memtape replay capture.tape --target a:11211 --shard 1/2 --run monday --results 1.results    on one machine
  memtape replay capture.tape --target a:11211 --shard 2/2 --run monday --results 2.results    on another
  memtape report capture.tape 1.results 2.results
  memtape report capture.tape '*.results' --results all.results --html report.html

A shard whose results are missing, or were cut, makes the verdict *aborted* (exit 5): a part that nobody saw has not passed.`;

export function reportCommand(command: Command, shell: Shell): void {
  command
    .option('--results <file>', 'keep the results of all shards as those of one replay', shell.path)
    .option(...forceOption);
  reportOptions(command, shell)
    .addHelpText('after', examples)
    .action(async (trace: string, results: string[], options: Options) =>
      reportShards(shell, trace, expandFiles(results.map(shell.path)), options),
    );
}

async function reportShards(
  shell: Shell,
  name: string,
  paths: readonly string[],
  options: Options,
): Promise<void> {
  const trace = sourcePath(shell, name);
  const inputs = [trace, ...paths];
  const place = { option: '--results', replacing: replacing(options.force), inputs };
  checkOutputs(options, inputs, options.results === undefined ? [] : [[options.results, place]]);
  checkSource(trace);
  for (const path of paths) expectKind(path, 'results');
  const folder = shell.temporaryFolder();
  const kept = options.results === undefined ? undefined : Place.take(shell, options.results, place);
  try {
    const merged = kept?.temporary ?? join(folder, 'merged.results');
    await merge(shell, trace, paths, merged, options);
    const { report } = await judge(shell, trace, (await kept?.publish()) ?? merged, options);
    const named = { name: basename(trace), report };
    throw new Verdict(await printReport(shell, named, options, exitCodes[report.verdict]));
  } finally {
    kept?.discard();
    shell.remove(folder);
  }
}

/**
 * The results of the shards as those of one replay.
 * @param lost as MergeOptions
 * @throws TraceError
 */
export async function merge(
  shell: Shell,
  replayed: Source,
  paths: readonly string[],
  to: string,
  { quiet, lost }: { quiet?: true; lost?: ReadonlyMap<number, string> },
): Promise<void> {
  const first = await ResultsReader.open(paths[0]!);
  await first.close();
  const source = await sourceOfResults(replayed, first.meta, paths[0]!);
  const trace = await openSource(source);
  const progress = new Progress(shell, trace.exchangeCount, {
    label: 'merging',
    unit: 'exchanges',
    quiet: quiet === true,
  });
  try {
    await mergeShards(trace, await hashSource(source), paths, to, {
      ...given({ lost }),
      onProgress: (done) => progress.update(done, done),
    });
  } finally {
    progress.stop();
    await trace.close();
  }
}
