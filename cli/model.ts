// Models and scenarios on the command line: what a model is changed into, and the trace that it, or a recorded one with what
// happens to it, is made into.

import { existsSync } from 'node:fs';
import { z } from 'zod';
import { given } from '../config/given.ts';
import { requestsWithin, type RatePlan } from '../replayer/schedule.ts';
import { builtinModels } from '../synth/model/builtin.ts';
import { DEFAULT_MS, ModelGenerator, extentOf, type GeneratorOptions } from '../synth/generate/generator.ts';
import { checkModel, parseModel, type Model } from '../synth/model/model.ts';
import { applyScenario, applyToTrace } from '../synth/scenarios/scenario.ts';
import type { Rewritten } from '../synth/rewrite/rewrite.ts';
import { modelSource } from '../synth/generate/source.ts';
import { atRate } from '../synth/model/transform.ts';
import { writeTrace } from '../synth/generate/write.ts';
import type { ResultsMeta } from '../trace/meta.ts';
import type { Recipe } from '../trace/source.ts';
import { CliError } from './error.ts';
import { readSmall } from './file.ts';
import { expectKind, missing } from './kind.ts';
import { Progress } from './progress.ts';
import type { Shell } from './shell.ts';
import type { SynthOptions } from './source.ts';

/** @throws CliError, ConfigError */
export function readModel(name: string): Model {
  const isThere = existsSync(name);
  const builtin = isThere ? undefined : builtinModels.get(name);
  if (builtin !== undefined) return checkModel(builtin);
  if (isThere) expectKind(name, 'model');
  if (!isThere)
    throw missing(name, builtinModels.keys(), '`memtape synth list` has the models that come with it');
  return parseModel(readSmall(name, 'the model').toString(), name);
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

/**
 * The rate at which a model is to make its traffic, so that a replay by this plan lasts as long as the model: its own mean over
 * that time. Undefined: the model ends after a number of requests, and has no time.
 * @throws CliError, ConfigError
 */
export function rateOfPlan(
  name: string,
  plan: RatePlan,
  options: Omit<SynthOptions, 'rate'>,
): number | undefined {
  const { durationMs } = extentOf(readModel(name), generatorOptions(options));
  if (durationMs === Infinity) return undefined;
  const seconds = durationMs / 1000;
  return requestsWithin(plan, seconds) / seconds;
}

/** A model's traffic, made as it is replayed; and the model. @throws CliError, ConfigError */
export function sourceOf(name: string, options: SynthOptions): { source: Recipe; model: Model } {
  const model = modelOf(name, options);
  const asked = askedSchema.parse(options);
  const source = modelSource({ name: model.name ?? name, model, options: generatorOptions(options) }, asked);
  return { source, model };
}

/** As results tell of what was asked for; they may be anybody's. */
const askedSchema = z.object({
  seed: z.number().optional(),
  duration: z.number().optional(),
  requests: z.number().optional(),
  rate: z.number().positive().optional(),
  scenario: z.array(z.string()).default([]),
});

/** The traffic that was replayed, made again. @param results the path of its results @throws CliError, ConfigError */
export function sourceAgain(name: string, { asked }: ResultsMeta, results: string): Recipe {
  const parsed = askedSchema.safeParse(asked);
  if (!parsed.success)
    throw new CliError(`${results} was made from a trace file, and not from the model ${name}`, 2);
  const { seed, duration, requests, rate, scenario } = parsed.data;
  return sourceOf(name, {
    ...given({ seed, duration, requests, rate }),
    scenario,
  }).source;
}

function generatorOptions({
  seed,
  duration,
  requests,
}: Pick<SynthOptions, 'seed' | 'duration' | 'requests'>): GeneratorOptions {
  return {
    ...given({ seed, durationMs: duration, requests }),
  };
}

/**
 * Writes a model's traffic as a trace.
 * @param check ends the work, where it throws
 * @throws CliError, ConfigError, TraceError
 */
export async function generate(
  shell: Shell,
  name: string,
  path: string,
  options: SynthOptions & { quiet?: true },
  check?: () => void,
): Promise<ModelGenerator> {
  const model = modelOf(name, options);
  const generator = new ModelGenerator(model, generatorOptions(options));
  const progress = new Progress(shell, generator.expected, {
    label: 'generating',
    unit: 'requests',
    quiet: options.quiet === true,
  });
  try {
    await writeTrace(generator, path, model.name ?? name, {
      onProgress: (requests) => {
        check?.();
        progress.update(requests, requests);
      },
    });
  } finally {
    progress.stop();
  }
  return generator;
}

/**
 * Writes a recorded trace as it would be with what happens to it.
 * @param check ends the work, where it throws
 * @throws CliError, ConfigError, TraceError
 */
export async function rewrite(
  shell: Shell,
  source: string,
  path: string,
  { scenario, seed, duration, requests, quiet }: SynthOptions & { quiet?: true },
  check?: () => void,
): Promise<Rewritten> {
  for (const [option, value] of Object.entries({ duration, requests }))
    if (value !== undefined)
      throw new CliError(`${source} is a trace, and --${option} is of a model: expected one or the other`, 2);
  const progress = new Progress(shell, 0, { label: 'rewriting', unit: 'exchanges', quiet: quiet === true });
  try {
    return await applyToTrace(source, path, scenario, {
      ...given({ seed }),
      onProgress: (read) => {
        check?.();
        progress.update(read, read);
      },
    });
  } finally {
    progress.stop();
  }
}
