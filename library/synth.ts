// Synthesized traffic for callers from code: a model becomes a trace, or exchanges one at a time.

import { nearest } from '../config/nearest.ts';
import { builtinModels } from '../synth/model/builtin.ts';
import { DEFAULT_MS, ModelGenerator, type GeneratorOptions } from '../synth/generate/generator.ts';
import { checkModel, type Model, type ModelInput } from '../synth/model/model.ts';
import { applyScenario } from '../synth/scenarios/scenario.ts';
import { modelSource } from '../synth/generate/source.ts';
import { atRate } from '../synth/model/transform.ts';
import { writeTrace } from '../synth/generate/write.ts';
import type { Recipe } from '../trace/source.ts';
import { LibraryError } from './error.ts';
import { Connections, exchangeAt, type Exchange } from './exchange.ts';

/** `seed`, `durationMs` and `requests` (at most) are the model's own unless they are said. */
export interface SynthOptions extends GeneratorOptions {
  /** Requests a second, on average. Default: the model's. */
  rate?: number;
  /** What happens meanwhile, `hotKey:share=0.3,at=10s` each, one after the other. */
  scenarios?: readonly string[];
}

export interface Synthesized {
  requests: number;
  /** With those that only a miss would make necessary. */
  exchanges: number;
}

/**
 * Writes a model's traffic as a trace; the same seed makes the same trace.
 * @param model the name of one that comes with memtape (`memtape synth list`), or a model (parseModel() reads one)
 * @throws LibraryError UNKNOWN_MODEL · ConfigError where the model, or a scenario, cannot be · TraceError WRITE ·
 *   RangeError where it touches too many keys
 */
export async function synth(
  model: string | ModelInput,
  output: string,
  options: SynthOptions = {},
): Promise<Synthesized> {
  const generator = generatorOf(model, options);
  const name = typeof model === 'string' ? model : (model.name ?? 'of a program');
  await writeTrace(generator, output, name);
  return { requests: generator.requests, exchanges: generator.rows };
}

/**
 * The same exchanges, made as they are asked for, without a file. Outcome `conditional`: sent only where the target
 * misses.
 * @throws as synth(), TraceError apart; the model's errors at once
 */
export function synthesize(
  model: string | ModelInput,
  options: SynthOptions = {},
): Generator<Exchange, void, void> {
  return walk(generatorOf(model, options));
}

/**
 * A model's traffic as replay(), verify() and judge() take it: made as it is read, on whatever thread, without a file.
 * @throws as synth(), TraceError apart
 */
export function modelTrace(model: string | ModelInput, options: SynthOptions = {}): Recipe {
  const { rate: _rate, scenarios: _scenarios, ...rest } = options;
  const changed = changedModel(model, options);
  return modelSource({ name: changed.name ?? 'of a program', model: changed, options: rest });
}

function* walk(generator: ModelGenerator): Generator<Exchange, void, void> {
  const connections = new Connections();
  for (const batch of generator.batches()) {
    connections.meet(batch);
    for (let row = 0; row < batch.count; row++) yield exchangeAt(batch, row, connections.of(batch, row));
  }
}

function generatorOf(input: string | ModelInput, options: SynthOptions): ModelGenerator {
  const { rate: _rate, scenarios: _scenarios, ...rest } = options;
  return new ModelGenerator(changedModel(input, options), rest);
}

/** The model as the options change it. */
function changedModel(input: string | ModelInput, options: SynthOptions): Model {
  const { rate, scenarios = [] } = options;
  let model = typeof input === 'string' ? builtinNamed(input) : checkModel(input);
  if (rate !== undefined) model = atRate(model, rate);
  const totalMs = options.durationMs ?? model.duration ?? DEFAULT_MS;
  for (const scenario of scenarios) model = applyScenario(model, scenario, totalMs);
  return model;
}

function builtinNamed(name: string): Model {
  const known = builtinModels.get(name);
  if (known !== undefined) return checkModel(known);
  const meant = nearest(name, builtinModels.keys());
  throw new LibraryError(
    'UNKNOWN_MODEL',
    `no model is called ${JSON.stringify(name)}; ${meant === undefined ? `there are ${[...builtinModels.keys()].join(', ')}` : `did you mean ${meant}?`}`,
  );
}
