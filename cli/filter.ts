// `memtape filter`: traces merged by time, and what of them is wanted, as one trace.

import { Command } from 'commander';
import { mergeTraces } from '../convert/merge.ts';
import { CliError } from './error.ts';
import { isSameFile } from './file.ts';
import { addFilterOptions, filterOf, type FilterOptions } from './filtering.ts';
import { Progress } from './progress.ts';
import { formatBytes, plural } from './text.ts';
import { writeWhole } from './whole.ts';

interface Options extends FilterOptions {
  output: string;
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

export function filterCommand(): Command {
  const command = new Command('filter')
    .description('Merge traces by time, and keep the exchanges that are wanted.')
    .argument('<files...>', 'traces')
    .requiredOption('-o, --output <file>', 'the trace to write');
  return addFilterOptions(command)
    .option('--quiet', 'no progress')
    .addHelpText('after', examples)
    .action(async (files: string[], options: Options) => filter(files, options));
}

async function filter(files: readonly string[], options: Options): Promise<void> {
  const { output, limit } = options;
  const same = files.find((file) => isSameFile(file, output));
  if (same !== undefined)
    throw new CliError(`${same}: the output would overwrite it; choose another --output`, 2);
  if (files.length > 1 && options.connection !== undefined)
    throw new CliError(`--connection expects one trace, got ${files.length}: each numbers its own`, 2);
  const progress = new Progress(0, { label: 'filtering', unit: 'exchanges', quiet: options.quiet === true });
  try {
    const merged = await writeWhole(output, async (check) =>
      mergeTraces(files, output, {
        filter: filterOf(options),
        limit,
        onProgress: (read, kept) => {
          check();
          progress.update(read, read, `${plural(kept, 'exchange')} kept`);
        },
      }),
    );
    progress.stop();
    for (const file of merged.truncated)
      process.stderr.write(`memtape: ${file} was cut; what is before the cut was taken\n`);
    process.stdout.write(
      `${output}: ${plural(merged.exchanges, 'exchange')} on ${plural(merged.connections, 'connection')}, ${formatBytes(merged.fileBytes)}\n`,
    );
  } finally {
    progress.stop();
  }
}
