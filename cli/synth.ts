// `memtape synth`: traffic out of models, models out of traffic, and how near the two are.

import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { given } from '../config/given.ts';
import { scaleTrace } from '../convert/scale.ts';
import { parseCount, parseRate } from '../config/units.ts';
import { writeYaml } from '../config/yaml.ts';
import { builtinModels } from '../synth/model/builtin.ts';
import { renderEvidence } from '../synth/fit/claims.ts';
import { drawFidelity, legend, renderFidelity } from '../synth/fidelity/drawing.ts';
import { methods, type Method } from '../synth/references/expected.ts';
import { compare, curves } from '../synth/fidelity/fidelity.ts';
import { baseline, type Summary as FidelitySummary } from '../synth/fidelity/summary.ts';
import { fitTrace } from '../synth/fit/fit.ts';
import { ModelGenerator } from '../synth/generate/generator.ts';
import { checkModel, modelJsonSchema } from '../synth/model/model.ts';
import { listScenarios } from '../synth/scenarios/scenario.ts';
import type { Rewritten } from '../synth/rewrite/rewrite.ts';
import { START_NS } from '../synth/generate/space.ts';
import { summarizeBatches } from '../synth/fit/summarize.ts';
import { TraceReader } from '../trace/file.ts';
import { CliError } from './error.ts';
import { incidentCommand } from './incident.ts';
import { generate, readModel, rewrite } from './model.ts';
import { checkSource, isModel, sourcePath, synthOptions, type SynthOptions } from './source.ts';
import { expectKind } from './kind.ts';
import { checkPlace, forceOption, replacing, writePlace, type PlaceOptions } from './place.ts';
import { Progress } from './progress.ts';
import type { Shell } from './shell.ts';
import { formatCount, plural } from './text.ts';
import { writeWhole } from './whole.ts';

interface WriteOptions extends SynthOptions {
  output: string;
  force?: true;
  quiet?: true;
}

const examples = `
Examples:
  memtape synth list                                        the models that come with it
  memtape synth list --scenarios                            what may happen to them
  memtape synth etc -o surge.tape --scenario tenantSurge:count=3 --scenario hotKey
  memtape synth etc -o etc.tape --duration 10s
  memtape synth model.yaml -o big.tape --rate 50k --seed 7
  memtape synth capture.tape -o surge.tape --scenario tenantSurge --scenario backendRestart:down=2s
  memtape synth fit capture.tape -o like-capture.yaml       a model of traffic that was recorded
  memtape synth show etc > mine.yaml                        a model to begin with
  memtape synth schema > model.schema.json                  for an editor
  memtape replay etc --rate 50k --target staging:11211      without a file in between`;

const fitExamples = `
Examples:
  memtape synth fit capture.tape -o like-capture.yaml
  memtape synth fit capture.tape -o like-capture.yaml --method renewal
  memtape synth like-capture.yaml -o more.tape --duration 10m      as long as you like, however long the trace was`;

const scaleExamples = `
Examples:
  memtape synth scale capture.tape -o tenfold.tape --copies 10
  memtape synth scale capture.tape -o slow.tape --stretch 4
  memtape filter capture.tape -o thin.tape --sample 1/16        the other way: one key in sixteen`;

interface ScaleOptions {
  output: string;
  force?: true;
  copies: number;
  stretch: number;
  quiet?: true;
}

const checkExamples = `
Examples:
  memtape synth check capture.tape like-capture.yaml --svg curves.svg
  memtape synth check monday.tape tuesday.tape`;

interface CheckOptions {
  seed: number;
  svg?: string;
  json?: true;
}

export function synthCommand(command: Command, shell: Shell): void {
  command
    // Its subcommands have options of the same names.
    .enablePositionalOptions()
    .option('-o, --output <file>', 'the trace to write', shell.path)
    .option(...forceOption)
    .option('--quiet', 'no progress')
    .addHelpText('after', examples)
    .action(async (name: string | undefined, options: WriteOptions) => {
      if (name === undefined)
        throw new CliError('expected a model (a file, or one of `memtape synth list`), or a trace', 2);
      if (options.output === undefined) throw new CliError('expected -o FILE, where the trace is written', 2);
      const source = sourcePath(shell, name);
      // What is no file can only be the name of a model.
      if (isModel(source) || !existsSync(source)) await write(shell, source, options);
      else await overlay(shell, source, options);
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
            shell,
            listScenarios().map(({ name, about, parameters }) => ({
              name,
              about: `${about} (${parameters.join(', ')})`,
            })),
            json === true,
          );
        else
          listAll(
            shell,
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
        shell.stdout.write(writeYaml(builtinModels.get(name) ?? readModel(shell.path(name))));
      }),
  );
  command.addCommand(
    new Command('schema').description('The JSON Schema of model files.').action(() => {
      shell.stdout.write(`${JSON.stringify(modelJsonSchema(), null, 2)}\n`);
    }),
  );
  command.addCommand(incidentCommand(shell));
  command.addCommand(
    new Command('fit')
      .description('A model out of a trace: traffic like it, without its keys and values.')
      .argument('<trace>', 'a trace, masked or not')
      .requiredOption('-o, --output <file>', 'the model to write', shell.path)
      .option(...forceOption)
      .addOption(
        new Option(
          '--method <name>',
          'how references are made: what is popular and recent by hazard, by renewal, or by an LRU stack (default: what comes nearest to the half of the trace that it was not fitted to)',
        ).choices(methods),
      )
      .option('--quiet', 'no progress')
      .addHelpText('after', fitExamples)
      .action(async (trace: string, options: FitOptions) => fit(shell, shell.path(trace), options)),
  );
  command.addCommand(
    new Command('scale')
      .description('More of a trace: copies with keys of their own, or its time stretched.')
      .argument('<trace>', 'a trace')
      .requiredOption('-o, --output <file>', 'the trace to write', shell.path)
      .option(...forceOption)
      .option(
        '--copies <n>',
        'how often the traffic is there, as of so many tenants',
        (text) => parseCount(text),
        1,
      )
      .option('--stretch <factor>', 'times as long', parseFactor, 1)
      .option('--quiet', 'no progress')
      .addHelpText('after', scaleExamples)
      .action(async (trace: string, options: ScaleOptions) => scale(shell, shell.path(trace), options)),
  );
  command.addCommand(
    new Command('check')
      .description(
        'How near two traces are, or a model to a trace: miss ratios, popularity, sizes, expiries, times.',
      )
      .argument('<trace>', 'a trace, or a model')
      .argument('<other>', 'a model, or a trace')
      .option('--seed <n>', 'draws of the models', (text) => parseCount(text, 0), 1)
      .option('--svg <file>', 'draw all that is compared', shell.path)
      .option('--json', 'print JSON')
      .addHelpText('after', checkExamples)
      .action(async (a: string, b: string, options: CheckOptions) =>
        check(shell, sourcePath(shell, a), sourcePath(shell, b), options),
      ),
  );
}

function placeOf({ force }: { force?: true }, ...inputs: string[]): PlaceOptions {
  return { option: '--output', replacing: replacing(force), inputs };
}

async function write(shell: Shell, name: string, options: WriteOptions): Promise<void> {
  const { requests, rows } = await writeWhole(
    shell,
    options.output,
    placeOf(options, name),
    async (path, check) => generate(shell, name, path, options, check),
  );
  shell.stderr.write(
    `${plural(requests, 'request')}${rows > requests ? ` (and ${formatCount(rows - requests)} that only a miss would make necessary)` : ''} in ${options.output}\n`,
  );
}

function listAll({ stdout }: Shell, all: readonly { name: string; about: string }[], json: boolean): void {
  if (json) {
    stdout.write(`${JSON.stringify(all, null, 2)}\n`);
    return;
  }
  const width = Math.max(...all.map(({ name }) => name.length));
  for (const { name, about } of all) stdout.write(`${name.padEnd(width)}  ${about}\n`);
}

interface FitOptions {
  method?: Method;
  output: string;
  force?: true;
  quiet?: true;
}

async function fit(shell: Shell, path: string, options: FitOptions): Promise<void> {
  const { output, quiet, method } = options;
  expectKind(path, 'trace');
  checkPlace(output, placeOf(options, path));
  const trace = await TraceReader.open(path, { values: 'lengths' });
  const progress = new Progress(shell, trace.exchangeCount, {
    label: 'fitting',
    unit: 'exchanges',
    quiet: quiet === true,
  });
  try {
    const model = await fitTrace(trace.batches(), basename(path), {
      onProgress: (done) => progress.update(done, done),
      startNs: Number(trace.meta.startNs),
      ...given({ method }),
    });
    // What is written can be read again.
    checkModel(model);
    await writePlace(shell, output, writeYaml(model), placeOf(options, path));
    if (quiet !== true) shell.stderr.write(renderEvidence(model));
  } catch (error) {
    if (error instanceof RangeError) throw new CliError(`${path}: ${error.message}`, 2, { cause: error });
    throw error;
  } finally {
    progress.stop();
    await trace.close();
  }
}

async function check(shell: Shell, a: string, b: string, { seed, svg, json }: CheckOptions): Promise<void> {
  const drawing: PlaceOptions = { option: '--svg', replacing: 'reports', inputs: [a, b] };
  if (svg !== undefined) checkPlace(svg, drawing);
  const first = await summaryOf(a, seed);
  const second = await summaryOf(b, seed, first.references.length);
  if (first.references.length === 0 || second.references.length === 0)
    throw new CliError(
      `expected requests with keys in both, got none in ${first.references.length === 0 ? a : b}`,
      2,
    );
  const independent = baseline(first, seed);
  const rows = compare(first, second);
  const beside = compare(first, independent);
  if (json === true)
    shell.stdout.write(`${JSON.stringify({ metrics: rows, independent: beside }, null, 2)}\n`);
  else shell.stdout.write(`${renderFidelity(rows, beside)}\n${legend}${claimsOf(a, b)}`);
  if (svg !== undefined)
    await writePlace(
      shell,
      svg,
      drawFidelity(first, second, curves(first, second, independent), rows),
      drawing,
    );
}

/** What models say of themselves. */
function claimsOf(...names: string[]): string {
  return names
    .filter(isModel)
    .map((name) => renderEvidence(readModel(name)))
    .filter((text) => text !== '')
    .map((text) => `\n${text}`)
    .join('');
}

async function summaryOf(name: string, seed: number, requests?: number): Promise<FidelitySummary> {
  checkSource(name);
  if (!isModel(name)) {
    const trace = await TraceReader.open(name, { values: 'lengths' });
    try {
      return await summarizeBatches(trace.batches(), Number(trace.meta.startNs));
    } finally {
      await trace.close();
    }
  }
  const model = readModel(name);
  return summarizeBatches(
    new ModelGenerator(model, {
      seed,
      ...(model.requests === undefined && requests !== undefined ? { requests } : {}),
    }).batches(),
    Number(START_NS),
  );
}

async function scale(shell: Shell, path: string, options: ScaleOptions): Promise<void> {
  const { output, copies, stretch, quiet } = options;
  expectKind(path, 'trace');
  const trace = await TraceReader.open(path);
  const total = trace.exchangeCount * copies;
  await trace.close();
  const progress = new Progress(shell, total, {
    label: 'scaling',
    unit: 'exchanges',
    quiet: quiet === true,
  });
  try {
    const { exchanges, connections } = await writeWhole(
      shell,
      output,
      placeOf(options, path),
      async (made, check) =>
        scaleTrace(path, made, {
          copies,
          stretch,
          onProgress: (done) => {
            check();
            progress.update(done, done);
          },
        }),
    );
    shell.stderr.write(
      `${plural(exchanges, 'exchange')} on ${plural(connections, 'connection')} in ${output}\n`,
    );
  } finally {
    progress.stop();
  }
}

function parseFactor(text: string): number {
  const factor = Number(text.replace(/[x×]$/, ''));
  if (Number.isFinite(factor) && factor > 0) return factor;
  throw new InvalidArgumentError('expected a number above 0');
}

/** A recorded trace as it would be with what happens to it; what is done to servers goes into a file beside it. */
async function overlay(shell: Shell, path: string, options: WriteOptions): Promise<void> {
  const { scenario, output } = options;
  expectKind(path, 'trace', 'model');
  if (scenario.length === 0)
    throw new CliError(`${path} is a trace: expected a --scenario that happens to it, or a model`, 2);
  if (options.rate !== undefined)
    throw new CliError(`${path} is a trace, and --rate is of a model: expected one or the other`, 2);
  const file = output.replace(/(\.tape)?$/, '.drills.yaml');
  const place = placeOf(options, path);
  const { exchanges, recorded, reanswered, notes, drills } = await writeWhole(
    shell,
    output,
    place,
    async (made, check) => {
      const rewritten = await rewrite(shell, path, made, options, check);
      if (rewritten.drills.length > 0) await writePlace(shell, file, drillsText(rewritten.drills), place);
      return rewritten;
    },
  );
  shell.stderr.write(
    `${plural(exchanges, 'exchange')} in ${output}, of ${formatCount(recorded)} recorded; ${plural(reanswered, 'recorded answer was', 'recorded answers were')} worked out anew\n`,
  );
  for (const note of notes) shell.stderr.write(`${note}\n`);
  if (drills.length === 0) return;
  shell.stderr.write(
    `what is done to servers is in ${file}: memtape replay ${output} --drill ${file} --target …\n`,
  );
}

function drillsText(drills: Rewritten['drills']): string {
  return writeYaml(Array.from(drills, ({ at, ...drill }) => ({ at: `${Math.round(at)}ms`, ...drill })));
}
