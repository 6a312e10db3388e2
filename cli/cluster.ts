// `memtape cluster`: a replay by many machines. What each of its commands needs is loaded when that is asked for.

import { Command, InvalidArgumentError } from 'commander';
import { parseCount, parseRate } from '../config/units.ts';
import type { PlanCommandOptions } from './clusterplan.ts';
import type { Shell } from './shell.ts';
import { synthOptions } from './source.ts';

const examples = `
Examples:
  memtape cluster plan capture.tape --rate 1M                  how many workers does that take?`;

const planExamples = `
Examples:
  memtape cluster plan capture.tape --rate 1M
  memtape cluster plan etc --rate 10M --measured 80k           with a rate that was measured elsewhere
  memtape cluster plan capture.tape --rate 200k --targets 5 --json`;

export function clusterCommand(command: Command, shell: Shell): void {
  // Its subcommands have options of the same names.
  command.enablePositionalOptions().addHelpText('after', examples);
  command.addCommand(planCommand(shell));
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
