// `memtape filter`: traces merged by time, and what of them is wanted, as one trace.

import type { Command } from 'commander';
import { mergeTraces } from '../convert/merge.ts';
import { CliError } from './error.ts';
import { addFilterOptions, filterOf, type FilterOptions } from './filtering.ts';
import { expectKind } from './kind.ts';
import { forceOption, replacing } from './place.ts';
import { Progress } from './progress.ts';
import type { Shell } from './shell.ts';
import { formatBytes, plural } from './text.ts';
import { writeWhole } from './whole.ts';

interface Options extends FilterOptions {
  output: string;
  force?: true;
  quiet?: true;
}

const examples = `
Examples:
  memtape filter monday.tape tuesday.tape -o both.tape         one after the other, or woven together: by time
  memtape filter capture.tape -o users.tape --key 'user:*' --opcode get,set
  memtape filter capture.tape -o minute.tape --from 1m --to 2m
  memtape filter capture.tape -o sample.tape --sample 1/16     one key in sixteen, with its whole history

Times of several traces count from the start of the earliest. With --from, the trace that is made begins there.
Traces that were recorded with different --values or --keys cannot be merged.`;

export function filterCommand(command: Command, shell: Shell): void {
  command.requiredOption('-o, --output <file>', 'the trace to write', shell.path).option(...forceOption);
  addFilterOptions(command)
    .option('--quiet', 'no progress')
    .addHelpText('after', examples)
    .action(async (files: string[], options: Options) => filter(shell, files.map(shell.path), options));
}

async function filter(shell: Shell, files: readonly string[], options: Options): Promise<void> {
  const { output, limit = Infinity, force } = options;
  if (files.length > 1 && options.connection !== undefined)
    throw new CliError(`--connection expects one trace, got ${files.length}: each numbers its own`, 2);
  for (const file of files) expectKind(file, 'trace');
  const progress = new Progress(shell, 0, {
    label: 'filtering',
    unit: 'exchanges',
    quiet: options.quiet === true,
  });
  const place = { option: '--output', replacing: replacing(force), inputs: files };
  try {
    const merged = await writeWhole(shell, output, place, async (path, check) =>
      mergeTraces(files, path, {
        filter: filterOf(options),
        limit,
        onProgress: (read, kept) => {
          check();
          progress.update(read, read, `${plural(kept, 'exchange')} kept`);
        },
      }),
    );
    progress.stop();
    if (merged.exchanges === 0) shell.stderr.write('memtape: no exchange matched, so the trace is empty\n');
    for (const file of merged.truncated)
      shell.stderr.write(`memtape: ${file} was cut; what is before the cut was taken\n`);
    shell.stdout.write(
      `${output}: ${plural(merged.exchanges, 'exchange')} on ${plural(merged.connections, 'connection')}, ${formatBytes(merged.fileBytes)}\n`,
    );
  } finally {
    progress.stop();
  }
}
