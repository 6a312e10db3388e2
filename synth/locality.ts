// Which key comes next, where that depends on which came before.

import type { StreamModel } from './model.ts';

/** Numbers of keys, one after the other; undefined where each is drawn by itself. */
export function localityOf(locality: StreamModel['locality'], seed: number): (() => number) | undefined {
  void seed;
  if (locality === undefined || locality.kind === 'independent') return undefined;
  return undefined;
}
