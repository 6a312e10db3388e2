// The latest versions of all keys, in one ring: what came last on a key is known as long as not too much came on others since.

import { grown } from '../trace/batch.ts';
import { NONE } from './held.ts';
import type { Version } from './overlap.ts';

const SLOTS = 1 << 16;
const FEW = 1 << 10;
/** Versions of one key that are looked back at. */
const MAX_BACK = 16;

export class RecentVersions {
  #count = 0;
  #capacity = 0;
  #previous!: Float64Array;
  #cas!: Float64Array;
  #fromNs!: Float64Array;
  #toNs!: Float64Array;
  #madeNs!: Float64Array;
  #readFromNs!: Float64Array;
  #readToNs!: Float64Array;
  #high!: Int32Array;
  #low!: Int32Array;
  #length!: Uint32Array;
  #flags!: Uint32Array;
  #number!: Float64Array;
  #mayLiveNs!: Float64Array;
  #mustDieNs!: Float64Array;

  constructor() {
    this.#reserve(FEW);
  }

  #reserve(slots: number): void {
    this.#capacity = slots;
    this.#previous = grown(this.#previous, new Float64Array(slots));
    this.#cas = grown(this.#cas, new Float64Array(slots));
    this.#fromNs = grown(this.#fromNs, new Float64Array(slots));
    this.#toNs = grown(this.#toNs, new Float64Array(slots));
    this.#madeNs = grown(this.#madeNs, new Float64Array(slots));
    this.#readFromNs = grown(this.#readFromNs, new Float64Array(slots));
    this.#readToNs = grown(this.#readToNs, new Float64Array(slots));
    this.#high = grown(this.#high, new Int32Array(slots));
    this.#low = grown(this.#low, new Int32Array(slots));
    this.#length = grown(this.#length, new Uint32Array(slots));
    this.#flags = grown(this.#flags, new Uint32Array(slots));
    this.#number = grown(this.#number, new Float64Array(slots));
    this.#mayLiveNs = grown(this.#mayLiveNs, new Float64Array(slots));
    this.#mustDieNs = grown(this.#mustDieNs, new Float64Array(slots));
  }

  /**
   * A version was made. Returns its place, for whoever looks for it again.
   * @param previous place of the version of the key before it; negative: there is none that may change places with it
   * @param madeNs when the store is taken to have been executed
   */
  add(
    previous: number,
    madeNs: number,
    version: Omit<Version, 'isMade' | 'readFromNs' | 'readToNs' | 'index'>,
  ): number {
    const at = this.#count % SLOTS;
    if (at === this.#capacity) this.#reserve(2 * at);
    this.#previous[at] = previous;
    this.#madeNs[at] = madeNs;
    this.#cas[at] = version.cas;
    this.#fromNs[at] = version.fromNs;
    this.#toNs[at] = version.toNs;
    this.#readFromNs[at] = -Infinity;
    this.#readToNs[at] = Infinity;
    this.#high[at] = version.high;
    this.#low[at] = version.low;
    this.#length[at] = version.length;
    this.#flags[at] = version.flags;
    this.#number[at] = version.number;
    this.#mayLiveNs[at] = version.expiry.mayLiveNs;
    this.#mustDieNs[at] = version.expiry.mustDieNs;
    return this.#count++;
  }

  /** A read saw the version at this place, and its id. */
  saw(place: number, cas: number, fromNs: number, toNs: number): void {
    if (!this.#isHeld(place)) return;
    const at = place % SLOTS;
    this.#cas[at] = cas;
    if (fromNs > this.#readFromNs[at]!) this.#readFromNs[at] = fromNs;
    if (toNs < this.#readToNs[at]!) this.#readToNs[at] = toNs;
  }

  /** The version at this place, behind those before it that may change places with it; and when the first of them was made. */
  upTo(place: number): { versions: Version[]; firstNs: number } | undefined {
    const versions: Version[] = [];
    let firstNs = 0;
    for (let next = place; this.#isHeld(next) && versions.length < MAX_BACK;) {
      const at = next % SLOTS;
      versions.unshift(this.#version(at));
      firstNs = this.#madeNs[at]!;
      // Where its id is not known, what is before it cannot be told from it.
      next = this.#cas[at] === 0 ? NONE : this.#previous[at]!;
    }
    return versions.length === 0 ? undefined : { versions, firstNs };
  }

  #isHeld(place: number): boolean {
    return place >= 0 && this.#count - place <= SLOTS;
  }

  #version(at: number): Version {
    return {
      cas: this.#cas[at]!,
      fromNs: this.#fromNs[at]!,
      toNs: this.#toNs[at]!,
      readFromNs: this.#readFromNs[at]!,
      readToNs: this.#readToNs[at]!,
      high: this.#high[at]!,
      low: this.#low[at]!,
      length: this.#length[at]!,
      flags: this.#flags[at]!,
      number: this.#number[at]!,
      expiry: { mayLiveNs: this.#mayLiveNs[at]!, mustDieNs: this.#mustDieNs[at]! },
      isMade: true,
      index: 0,
    };
  }
}
