#!/usr/bin/env node
// The `memtape` command: its subcommands, and how a failure becomes one line and an exit code.

import { Command, CommanderError } from 'commander';
import { ConfigError } from '../config/error.ts';
import { ConvertError } from '../convert/error.ts';
import { RecorderError } from '../recorder/error.ts';
import { ReplayError } from '../replayer/error.ts';
import { TraceError } from '../trace/error.ts';
import { version } from '../trace/version.ts';
import { catCommand } from './cat.ts';
import { convertCommand } from './convert.ts';
import { coverageCommand } from './coverage.ts';
import { demoCommand } from './demo.ts';
import { CliError, Verdict } from './error.ts';
import { filterCommand } from './filter.ts';
import { gateCommand } from './gate.ts';
import { infoCommand } from './info.ts';
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
  gateCommand,
  coverageCommand,
  synthCommand,
  serveCommand,
  demoCommand,
];

const examples = `
Exit codes:
  0 passed · 1 the gate failed · 2 bad usage, configuration or input · 3 not enough evidence
  4 the harness was too slow for the verdict asked · 5 the target could not be reached, or the run was aborted
  130 interrupted

Start with:
  memtape demo`;

async function main(argv: readonly string[]): Promise<number> {
  const program = new Command('memtape')
    .description(
      'Record memcached binary traffic, replay it at any speed against a target, and know whether the answers are right.',
    )
    .version(version)
    .showHelpAfterError('(try --help)')
    .addHelpText('after', examples);
  for (const command of commands) program.addCommand(command());
  for (const command of [program, ...program.commands]) command.exitOverride();
  try {
    await program.parseAsync(argv);
    return 0;
  } catch (error) {
    return fail(error);
  }
}

function fail(error: unknown): number {
  if (error instanceof Verdict) return error.exitCode;
  if (error instanceof CommanderError) {
    // Help and --version arrive here too, with exit code 0; commander has printed what there is to say.
    return error.exitCode === 0 ? 0 : 2;
  }
  const exitCode = codeOf(error);
  if (exitCode !== undefined) {
    process.stderr.write(`memtape: ${(error as Error).message}\n`);
    return exitCode;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`memtape: this is a defect in memtape, please report it\n${text}\n`);
  return 5;
}

function codeOf(error: unknown): number | undefined {
  if (error instanceof CliError) return error.exitCode;
  if (error instanceof ConfigError) return 2;
  if (error instanceof RecorderError) return 2;
  if (error instanceof ReplayError) return error.code === 'UNREACHABLE' ? 5 : 2;
  if (error instanceof TraceError) return 2;
  if (error instanceof ConvertError) return 2;
  return undefined;
}

// A reader that goes away (`memtape cat … | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

process.exitCode = await main(process.argv);
