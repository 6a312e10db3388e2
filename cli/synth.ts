// `memtape synth`: traffic out of models, models out of traffic, and how near the two are.

import { existsSync, readFileSync } from 'node:fs';
import { Command } from 'commander';
import { stringify } from 'yaml';
import { nearest } from '../config/nearest.ts';
import { parseCount, parseDuration, parseRate } from '../config/units.ts';
import { builtinModels } from '../synth/builtin.ts';
import { DEFAULT_MS, ModelGenerator } from '../synth/generator.ts';
import { checkModel, modelJsonSchema, parseModel, type Model } from '../synth/model.ts';
import { applyScenario, listScenarios } from '../synth/scenario.ts';
import { atRate } from '../synth/transform.ts';
import { writeTrace } from '../synth/write.ts';
import { CliError } from './error.ts';
import { Progress } from './progress.ts';
import { formatCount, plural } from './text.ts';

export interface SynthOptions {
  seed?: number;
  duration?: number;
  requests?: number;
  rate?: number;
  scenario: string[];
}

interface WriteOptions extends SynthOptions {
  output: string;
  quiet?: true;
}

const examples = `
Examples:
  memtape synth list                                        the models that come with it
  memtape synth list --scenarios                            what may happen to them
  memtape synth etc -o surge.tape --scenario tenantSurge:count=3 --scenario hotKey
  memtape synth etc -o etc.tape --duration 10s
  memtape synth model.yaml -o big.tape --rate 50k --seed 7
  memtape synth show etc > mine.yaml                        a model to begin with
  memtape synth schema > model.schema.json                  for an editor
  memtape replay etc --rate 50k --target staging:11211      without a file in between`;

export function synthCommand(): Command {
  const command = new Command('synth')
    .description('Make a trace out of a model of a workload.')
    .argument('[model]', 'a model file, or one of `synth list`')
    .option('-o, --output <file>', 'the trace to write')
    .option('--quiet', 'no progress')
    .addHelpText('after', examples)
    .action(async (name: string | undefined, options: WriteOptions) => {
      if (name === undefined)
        throw new CliError('expected a model: a file, or one of `memtape synth list`', 2);
      if (options.output === undefined) throw new CliError('expected -o FILE, where the trace is written', 2);
      await write(name, options);
    });
  synthOptions(command).option('--rate <rate>', 'requests a second, on average', parseRate);
  command.addCommand(
    new Command('list')
      .description('The models that come with memtape.')
      .option('--json', 'print JSON')
      .option('--scenarios', 'the scenarios instead, with their parameters')
      .action(({ json, scenarios }: { json?: true; scenarios?: true }) => {
        if (scenarios === true)
          listAll(
            listScenarios().map(({ name, about, parameters }) => ({
              name,
              about: `${about} (${parameters.join(', ')})`,
            })),
            json === true,
          );
        else
          listAll(
            Array.from(builtinModels, ([name, { about = '' }]) => ({ name, about })),
            json === true,
          );
      }),
  );
  command.addCommand(
    new Command('show')
      .description('A model as YAML.')
      .argument('<model>', 'a model file, or one of `synth list`')
      .action((name: string) => {
        process.stdout.write(stringify(builtinModels.get(name) ?? readModel(name)));
      }),
  );
  command.addCommand(
    new Command('schema').description('The JSON Schema of model files.').action(() => {
      process.stdout.write(`${JSON.stringify(modelJsonSchema(), null, 2)}\n`);
    }),
  );
  return command;
}

/** The options that say how a model is made into traffic; `replay` has them too. */
export function synthOptions(command: Command): Command {
  return command
    .option('--seed <n>', 'other draws of the same model', (text) => parseCount(text, 0))
    .option('--duration <time>', 'how long (of a model; default: what it says, else 10s)', parseDuration)
    .option('--requests <n>', 'how many at most (of a model)', (text) => parseCount(text))
    .option(
      '--scenario <name>',
      'what happens meanwhile, see docs/scenarios.md (of a model; repeatable)',
      (text: string, before: string[]) => [...before, text],
      [],
    );
}

/** Whether the argument names a model and not a trace. */
export function isModel(name: string): boolean {
  return /\.ya?ml$/.test(name) || (builtinModels.has(name) && !existsSync(name));
}

/** @throws CliError, ConfigError */
export function readModel(name: string): Model {
  const builtin = existsSync(name) ? undefined : builtinModels.get(name);
  if (builtin !== undefined) return checkModel(builtin);
  let text: string;
  try {
    text = readFileSync(name, 'utf8');
  } catch (cause) {
    const meant = nearest(name, builtinModels.keys());
    const hint =
      meant === undefined
        ? '; `memtape synth list` has the models that come with it'
        : `; did you mean ${meant}?`;
    throw new CliError(`cannot read the model ${name}: ${(cause as Error).message}${hint}`, 2, { cause });
  }
  return parseModel(text, name);
}

/** A model as it is asked for. @throws CliError, ConfigError */
export function modelOf(name: string, options: SynthOptions): Model {
  const { rate } = options;
  let model = readModel(name);
  if (rate !== undefined) model = atRate(model, rate);
  const totalMs = options.duration ?? model.duration ?? DEFAULT_MS;
  for (const scenario of options.scenario) model = applyScenario(model, scenario, totalMs);
  return model;
}

/** Writes a model's traffic as a trace. @throws CliError, ConfigError, TraceError */
export async function generate(
  name: string,
  path: string,
  options: SynthOptions & { quiet?: true },
): Promise<ModelGenerator> {
  const model = modelOf(name, options);
  const generator = new ModelGenerator(model, {
    ...(options.seed === undefined ? {} : { seed: options.seed }),
    ...(options.duration === undefined ? {} : { durationMs: options.duration }),
    ...(options.requests === undefined ? {} : { requests: options.requests }),
  });
  const progress = new Progress(generator.expected, {
    label: 'generating',
    unit: 'requests',
    quiet: options.quiet === true,
  });
  try {
    await writeTrace(generator, path, model.name ?? name, (requests) => progress.update(requests, requests));
  } finally {
    progress.stop();
  }
  return generator;
}

async function write(name: string, options: WriteOptions): Promise<void> {
  const { requests, rows } = await generate(name, options.output, options);
  process.stderr.write(
    `${plural(requests, 'request')}${rows > requests ? ` (and ${formatCount(rows - requests)} that only a miss would make necessary)` : ''} in ${options.output}\n`,
  );
}

function listAll(all: readonly { name: string; about: string }[], json: boolean): void {
  if (json) {
    process.stdout.write(`${JSON.stringify(all, null, 2)}\n`);
    return;
  }
  const width = Math.max(...all.map(({ name }) => name.length));
  for (const { name, about } of all) process.stdout.write(`${name.padEnd(width)}  ${about}\n`);
}
