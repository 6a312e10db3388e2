// `memtape synth`: traffic out of models, models out of traffic, and how near the two are.

import { existsSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { scaleTrace } from '../convert/scale.ts';
import { parseCount, parseRate } from '../config/units.ts';
import { writeYaml } from '../config/yaml.ts';
import { builtinModels } from '../synth/builtin.ts';
import { drawFidelity, legend, renderFidelity } from '../synth/drawing.ts';
import { compare, curves } from '../synth/fidelity.ts';
import { baseline, type Summary as FidelitySummary } from '../synth/summary.ts';
import { fitTrace } from '../synth/fit.ts';
import { ModelGenerator } from '../synth/generator.ts';
import { checkModel, modelJsonSchema } from '../synth/model.ts';
import { listScenarios } from '../synth/scenario.ts';
import { START_NS } from '../synth/space.ts';
import { summarizeBatches } from '../synth/summarize.ts';
import { TraceReader } from '../trace/file.ts';
import { CliError } from './error.ts';
import { incidentCommand } from './incident.ts';
import { generate, isModel, readModel, rewrite, synthOptions, type SynthOptions } from './model.ts';
import { isSameFile } from './file.ts';
import { Progress } from './progress.ts';
import { formatCount, plural } from './text.ts';
import { writeWhole } from './whole.ts';

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
  memtape synth capture.tape -o surge.tape --scenario tenantSurge --scenario backendRestart:down=2s
  memtape synth fit capture.tape -o like-capture.yaml       a model of traffic that was recorded
  memtape synth show etc > mine.yaml                        a model to begin with
  memtape synth schema > model.schema.json                  for an editor
  memtape replay etc --rate 50k --target staging:11211      without a file in between`;

const fitExamples = `
Examples:
  memtape synth fit capture.tape -o like-capture.yaml
  memtape synth like-capture.yaml -o more.tape --duration 10m`;

const scaleExamples = `
Examples:
  memtape synth scale capture.tape -o tenfold.tape --copies 10
  memtape synth scale capture.tape -o slow.tape --stretch 4
  memtape filter capture.tape -o thin.tape --sample 1/16        the other way: one key in sixteen`;

interface ScaleOptions {
  output: string;
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

export function synthCommand(): Command {
  const command = new Command('synth')
    .description('Make a trace out of a model of a workload, or of a trace and what happens to it.')
    // Its subcommands have options of the same names.
    .enablePositionalOptions()
    .argument('[model]', 'a model file, one of `synth list`; or a trace that a --scenario happens to')
    .option('-o, --output <file>', 'the trace to write')
    .option('--quiet', 'no progress')
    .addHelpText('after', examples)
    .action(async (name: string | undefined, options: WriteOptions) => {
      if (name === undefined)
        throw new CliError('expected a model (a file, or one of `memtape synth list`), or a trace', 2);
      if (options.output === undefined) throw new CliError('expected -o FILE, where the trace is written', 2);
      // What is no file can only be the name of a model.
      if (isModel(name) || !existsSync(name)) await write(name, options);
      else await writeWhole(options.output, async (check) => overlay(name, options, check));
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
        process.stdout.write(writeYaml(builtinModels.get(name) ?? readModel(name)));
      }),
  );
  command.addCommand(
    new Command('schema').description('The JSON Schema of model files.').action(() => {
      process.stdout.write(`${JSON.stringify(modelJsonSchema(), null, 2)}\n`);
    }),
  );
  command.addCommand(incidentCommand());
  command.addCommand(
    new Command('fit')
      .description('A model out of a trace: traffic like it, without its keys and values.')
      .argument('<trace>', 'a trace, masked or not')
      .requiredOption('-o, --output <file>', 'the model to write')
      .option('--quiet', 'no progress')
      .addHelpText('after', fitExamples)
      .action(async (trace: string, options: { output: string; quiet?: true }) => fit(trace, options)),
  );
  command.addCommand(
    new Command('scale')
      .description('More of a trace: copies with keys of their own, or its time stretched.')
      .argument('<trace>', 'a trace')
      .requiredOption('-o, --output <file>', 'the trace to write')
      .option(
        '--copies <n>',
        'how often the traffic is there, as of so many tenants',
        (text) => parseCount(text),
        1,
      )
      .option('--stretch <factor>', 'times as long', parseFactor, 1)
      .option('--quiet', 'no progress')
      .addHelpText('after', scaleExamples)
      .action(async (trace: string, options: ScaleOptions) => scale(trace, options)),
  );
  command.addCommand(
    new Command('check')
      .description(
        'How near two traces are, or a model to a trace: miss ratios, popularity, sizes, expiries, times.',
      )
      .argument('<trace>', 'a trace, or a model')
      .argument('<other>', 'a model, or a trace')
      .option('--seed <n>', 'draws of the models', (text) => parseCount(text, 0), 1)
      .option('--svg <file>', 'draw all that is compared')
      .option('--json', 'print JSON')
      .addHelpText('after', checkExamples)
      .action(async (a: string, b: string, options: CheckOptions) => check(a, b, options)),
  );
  return command;
}

async function write(name: string, options: WriteOptions): Promise<void> {
  const { requests, rows } = await writeWhole(options.output, async (check) =>
    generate(name, options.output, options, check),
  );
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

async function fit(path: string, { output, quiet }: { output: string; quiet?: true }): Promise<void> {
  const trace = await TraceReader.open(path);
  const progress = new Progress(trace.exchangeCount, {
    label: 'fitting',
    unit: 'exchanges',
    quiet: quiet === true,
  });
  try {
    const model = await fitTrace(trace.batches(), basename(path), {
      onProgress: (done) => progress.update(done, done),
      startNs: Number(trace.meta.startNs),
    });
    // What is written can be read again.
    checkModel(model);
    writeText(output, writeYaml(model), 'the model');
  } catch (error) {
    if (error instanceof RangeError) throw new CliError(`${path}: ${error.message}`, 2, { cause: error });
    throw error;
  } finally {
    progress.stop();
    await trace.close();
  }
}

async function check(a: string, b: string, { seed, svg, json }: CheckOptions): Promise<void> {
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
    process.stdout.write(`${JSON.stringify({ metrics: rows, independent: beside }, null, 2)}\n`);
  else process.stdout.write(`${renderFidelity(rows, beside)}\n${legend}`);
  if (svg !== undefined)
    writeText(svg, drawFidelity(first, second, curves(first, second, independent), rows), 'the drawing');
}

async function summaryOf(name: string, seed: number, requests?: number): Promise<FidelitySummary> {
  if (!isModel(name)) {
    const trace = await TraceReader.open(name);
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

function writeText(path: string, text: string, what: string): void {
  try {
    writeFileSync(path, text);
  } catch (cause) {
    throw new CliError(`cannot write ${what} to ${path}: ${(cause as Error).message}`, 2, { cause });
  }
}

async function scale(path: string, { output, copies, stretch, quiet }: ScaleOptions): Promise<void> {
  if (isSameFile(path, output))
    throw new CliError(`${path}: the output would overwrite it; choose another --output`, 2);
  const trace = await TraceReader.open(path);
  const total = trace.exchangeCount * copies;
  await trace.close();
  const progress = new Progress(total, { label: 'scaling', unit: 'exchanges', quiet: quiet === true });
  try {
    const { exchanges, connections } = await writeWhole(output, async (check) =>
      scaleTrace(path, output, {
        copies,
        stretch,
        onProgress: (done) => {
          check();
          progress.update(done, done);
        },
      }),
    );
    process.stderr.write(
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
async function overlay(path: string, options: WriteOptions, check: () => void): Promise<void> {
  const { scenario, output } = options;
  if (scenario.length === 0)
    throw new CliError(`${path} is a trace: expected a --scenario that happens to it, or a model`, 2);
  if (options.rate !== undefined)
    throw new CliError(`${path} is a trace, and --rate is of a model: expected one or the other`, 2);
  const { exchanges, recorded, reanswered, notes, drills } = await rewrite(path, output, options, check);
  process.stderr.write(
    `${plural(exchanges, 'exchange')} in ${output}, of ${formatCount(recorded)} recorded; ${plural(reanswered, 'recorded answer')} expected otherwise\n`,
  );
  for (const note of notes) process.stderr.write(`${note}\n`);
  if (drills.length === 0) return;
  const file = output.replace(/(\.tape)?$/, '.drills.yaml');
  const listed = Array.from(drills, ({ at, ...drill }) => ({ at: `${Math.round(at)}ms`, ...drill }));
  writeText(file, writeYaml(listed), 'the drills');
  process.stderr.write(
    `what is done to servers is in ${file}: memtape replay ${output} --drill ${file} --target …\n`,
  );
}
