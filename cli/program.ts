// The tree of commands: which there are, and what the help of the whole says.

import { Command } from 'commander';
import { version } from '../trace/version.ts';
import { catCommand } from './cat.ts';
import { completionCommand } from './completion.ts';
import { convertCommand } from './convert.ts';
import { coverageCommand } from './coverage.ts';
import { demoCommand } from './demo.ts';
import { filterCommand } from './filter.ts';
import { gateCommand } from './gate.ts';
import { infoCommand } from './info.ts';
import { minimizeCommand } from './minimize.ts';
import { manualCommand } from './manual.ts';
import { recordCommand } from './record.ts';
import { diffCommand, replayCommand } from './replay.ts';
import { serveCommand } from './serve.ts';
import { synthCommand } from './synth.ts';

const commands = [
  recordCommand,
  infoCommand,
  catCommand,
  filterCommand,
  convertCommand,
  replayCommand,
  diffCommand,
  minimizeCommand,
  gateCommand,
  coverageCommand,
  synthCommand,
  serveCommand,
  demoCommand,
  completionCommand,
];

const examples = `
Exit codes:
  0 passed · 1 the gate failed · 2 bad usage, configuration or input · 3 not enough evidence
  4 the harness was too slow for the verdict asked · 5 the target could not be reached, or the run was aborted
  130 interrupted

Start with:
  memtape demo`;

/** The command with all its subcommands. Nothing in it ends the process: what commander has to say it throws. */
export function createProgram(): Command {
  const program = new Command('memtape')
    .description(
      'Record memcached binary traffic, replay it at any speed against a target, and know whether the answers are right.',
    )
    .version(version)
    // What follows a command is its own matter.
    .enablePositionalOptions()
    .showHelpAfterError('(try --help)')
    .addHelpText('after', examples);
  for (const command of commands) program.addCommand(command());
  program.addCommand(manualCommand(), { hidden: true });
  override(program);
  return program;
}

function override(command: Command): void {
  command.exitOverride();
  for (const inner of command.commands) override(inner);
}
