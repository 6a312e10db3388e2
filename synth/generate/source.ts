// A model's traffic as a trace that is in no file: it is made anew each time that it is read, and is the same each time.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Batch } from '../../trace/batch.ts';
import type { TraceMeta } from '../../trace/meta.ts';
import type { Recipe, Trace } from '../../trace/source.ts';
import { ModelGenerator, type GeneratorOptions } from './generator.ts';
import type { Model } from '../model/model.ts';
import { metaOf } from './write.ts';

/** All that decides what is made. */
export interface ModelRecipe {
  /** What the model is called. */
  name: string;
  model: Model;
  options: GeneratorOptions;
}

/**
 * For replay(), on whatever thread: it runs the build, as threads do not read TypeScript.
 * @param asked what made the model out of what is called so; results keep it
 */
export function modelSource(recipe: ModelRecipe, asked: Recipe['asked'] = {}): Recipe {
  const file = import.meta.url.endsWith('.ts') ? '../../dist/synth/generate/source.js' : './source.js';
  return { module: new URL(file, import.meta.url).href, name: recipe.name, recipe, asked };
}

/** @throws ConfigError, RangeError where the model cannot be */
export function open(recipe: ModelRecipe): Trace {
  return new ModelTrace(recipe);
}

/** A batch that somebody uses, or gave back. */
interface Lent {
  isBack: boolean;
}

class ModelTrace implements Trace {
  readonly meta: TraceMeta;
  readonly exchangeCount: number;
  readonly #recipe: ModelRecipe;

  constructor(recipe: ModelRecipe) {
    const generator = generatorOf(recipe);
    this.#recipe = recipe;
    this.meta = metaOf(generator, recipe.name);
    this.exchangeCount = generator.expectedRows;
  }

  async *batches({ toNs = Infinity }: { toNs?: number } = {}): AsyncGenerator<Batch> {
    let lent: Lent = { isBack: false };
    for (const batch of generatorOf(this.#recipe).batches({ keeps: () => !lent.isBack })) {
      const own: Lent = (lent = { isBack: false });
      batch.lease = { users: 1, giveBack: () => void (own.isBack = true) };
      if (batch.count > 0 && batch.requestNs[0]! > toNs) return;
      yield batch;
      // Whoever waits for this thread, a signal among them, has its turn between batches.
      await nextTurn();
    }
  }

  async close(): Promise<void> {
    // Nothing is open.
  }
}

function generatorOf({ model, options }: ModelRecipe): ModelGenerator {
  return new ModelGenerator(model, options);
}
