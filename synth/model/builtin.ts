// The models that come with memtape: workloads that were published. Each says where its figures are from, and what had to
// be assumed because nobody published it.

import { facebookModels } from './facebook.ts';
import { metaModels } from './meta.ts';
import type { ModelInput } from './model.ts';
import type { BuiltIn, Published } from './published.ts';
import { twitterModels } from './twitter.ts';
import { ycsbModels } from './ycsb.ts';

const all: readonly BuiltIn[] = [...facebookModels, ...twitterModels, ...metaModels, ...ycsbModels];

/** By name. */
export const builtinModels: ReadonlyMap<string, ModelInput> = new Map(
  all.map(({ model }) => [model.name, model]),
);

/** What was published of each, by name. */
export const publishedFigures: ReadonlyMap<string, Published> = new Map(
  all.map(({ model, published }) => [model.name, published]),
);
