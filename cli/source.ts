// What a command is given for traffic: a trace, or a model by its name or its file. Who only replays a trace needs nothing of
// models, which model.ts has.

import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { parseCount, parseDuration } from '../config/units.ts';
import { builtinModels } from '../synth/model/builtin.ts';
import { expectKind, missing } from './kind.ts';
import type { Shell } from './shell.ts';

export interface SynthOptions {
  seed?: number;
  duration?: number;
  requests?: number;
  rate?: number;
  scenario: string[];
}

/** The options that say how a model is made into traffic; `replay` has them too. */
export function synthOptions(command: Command): Command {
  return command
    .option('--seed <n>', 'other draws of the same model, or scenario', (text) => parseCount(text, 0))
    .option('--duration <time>', 'how long (of a model; default: what it says, else 10s)', parseDuration)
    .option('--requests <n>', 'how many at most (of a model)', (text) => parseCount(text))
    .option(
      '--scenario <name...>',
      'what happens meanwhile, see docs/scenarios.md (repeatable)',
      (text: string, before: string[]) => [...before, text],
      [],
    );
}

/** Whether the argument names a model and not a trace. */
export function isModel(name: string): boolean {
  return /\.ya?ml$/.test(name) || (builtinModels.has(name) && !existsSync(name));
}

/** What is asked for by name: a model that comes with memtape, or a path. */
export function sourcePath(shell: Pick<Shell, 'path'>, name: string): string {
  const path = shell.path(name);
  return builtinModels.has(name) && !existsSync(path) ? name : path;
}

/** A trace, a model file, or the name of a model. @throws CliError where it is none of them */
export function checkSource(source: string): void {
  if (builtinModels.has(source) && !existsSync(source)) return;
  if (!existsSync(source)) throw missing(source, builtinModels.keys());
  expectKind(source, 'trace', 'model');
}
