// What several traces say of their privacy, as one: they must agree. Tokens and values, masked keys and clear ones cannot
// stand in one trace, and no label would be true of both.

import type { TraceMeta } from '../trace/meta.ts';
import { ConvertError } from './error.ts';

export interface Labelled {
  path: string;
  privacy: TraceMeta['privacy'];
}

/** @throws ConvertError DISAGREE */
export function commonPrivacy(traces: readonly Labelled[]): TraceMeta['privacy'] {
  const [first, ...others] = traces as readonly [Labelled, ...Labelled[]];
  for (const other of others) {
    for (const part of ['values', 'keys', 'numbers', 'prefix'] as const) {
      if (first.privacy[part] === other.privacy[part]) continue;
      throw new ConvertError(
        'DISAGREE',
        `expected traces of one privacy; ${first.path} has ${describe(first.privacy)}, ${other.path} has ${describe(other.privacy)}`,
      );
    }
  }
  return first.privacy;
}

function describe({ values, keys, numbers, prefix }: TraceMeta['privacy']): string {
  const more = [
    ...(numbers === undefined ? [] : [`numbers ${numbers}`]),
    ...(prefix === undefined ? [] : [`a prefix of ${prefix}`]),
  ];
  return [`values ${values}`, `keys ${keys}`, ...more].join(', ');
}
