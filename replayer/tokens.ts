// CAS tokens: a recorded request names a version by the id that the recorded server gave it; the target gave that
// version another id. The map learns the pairs from answers, for those tokens only that some request will name. An id of
// 0 names no version: a server without CAS ids answers it, and a request that carries it is a plain store. Behind a proxy
// each server counts its own ids, and they coincide: a version is the key's and the id's.

import { fnv1a32 } from '../protocol/distribution.ts';
import type { Batch } from '../trace/batch.ts';

interface Pair {
  readonly item: number;
  /** Halves of the target's id. */
  high: number;
  low: number;
  readonly next: Pair | undefined;
}

export class TokenMap {
  readonly #needed: ReadonlySet<number>;
  /** By recorded token: the pairs of all keys that have it. */
  readonly #known = new Map<number, Pair>();

  /** @param needed the tokens that requests of the trace name, on one recorded server */
  constructor(needed: ReadonlySet<number>) {
    this.#needed = needed;
  }

  /** Whether some request names it: only then is there anything to learn. */
  isNeeded(token: number): boolean {
    return this.#needed.has(token);
  }

  /** @param item whose version it is: itemOf() */
  learn(token: number, item: number, high: number, low: number): void {
    const first = this.#known.get(token);
    const known = pairOf(first, item);
    if (known === undefined) this.#known.set(token, { item, high, low, next: first });
    else {
      known.high = high;
      known.low = low;
    }
  }

  /** The target's token for a recorded one; undefined where its version was never seen in this replay. */
  find(token: number, item: number): { readonly high: number; readonly low: number } | undefined {
    return pairOf(this.#known.get(token), item);
  }
}

function pairOf(first: Pair | undefined, item: number): Pair | undefined {
  let pair = first;
  while (pair !== undefined && pair.item !== item) pair = pair.next;
  return pair;
}

/**
 * The row's key, and whose it is, as a number: the key's hash stands for it, since it tells apart only the few keys that
 * have an id in common.
 */
export function itemOf(batch: Batch, row: number, space: number): number {
  return space * 0x1_0000_0000 + fnv1a32(batch.heap, batch.keyAt[row]!, batch.keyLength[row]!);
}
