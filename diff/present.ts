// What targets held before the replay, since it was set there: by target, by whose keys it is among, and by key.

import type { PresentKey } from '../trace/survey.ts';

/** What a key held. */
export type HeldKey = Pick<PresentKey, 'value' | 'flags'>;

export class Present {
  /** By target and tenant's space. The keys are the survey's own: there may be millions. */
  readonly #places = new Map<string, Map<string, HeldKey>>();

  /** @param space number of the tenant whose keys it is among */
  add(target: number, space: number, key: string, held: HeldKey): void {
    const place = `${target} ${space}`;
    let keys = this.#places.get(place);
    if (keys === undefined) this.#places.set(place, (keys = new Map()));
    keys.set(key, held);
  }

  /** Undefined where nothing was set. @param key latin1 */
  of(target: number, space: number, key: string): HeldKey | undefined {
    return this.#places.get(`${target} ${space}`)?.get(key);
  }
}
