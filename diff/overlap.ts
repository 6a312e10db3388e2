// Stores and reads of a key that were under way at once, and were executed in another order than the trace has them: servers
// that count CAS ids up tell in which. What is looked at is the versions of the key in the order of their ids: each is made
// at a moment of its store's interval, after the version before it and after the beginning of every read that saw that one,
// and before the end of every read that sees it. The earliest such moments exist, or there are none.

import type { Lifetime } from '../protocol/expiry.ts';

/** Bound on the versions that are kept open of one key; beyond it the older half is settled. */
const MAX_VERSIONS = 32;

/** A version of a key, and what is known of when it was there. Times are ns since the replay's start. */
export interface Version {
  /** The target's CAS id; 0: nobody has told it yet, which is so of the first at most. */
  cas: number;
  /** Interval of the store that made it. */
  fromNs: number;
  toNs: number;
  /** The latest beginning and the earliest end of the reads that saw it. */
  readFromNs: number;
  readToNs: number;
  /** Sketch of the value. */
  high: number;
  low: number;
  length: number;
  flags: number;
  /** The number that the value is, once its store has been seen. */
  number: number;
  expiry: Lifetime;
  /** The store has been seen, and not only a read. */
  isMade: boolean;
  /** Index of the exchange that told of it first. */
  index: number;
}

/** What a read found, or a store brings. */
export type Content = Pick<Version, 'high' | 'low' | 'length' | 'flags' | 'number'>;

export class Overlap {
  /** By their ids; the first was there, or made, at `firstNs`. */
  readonly #versions: Version[];
  #firstNs: number;

  /** @param versions in the order of their ids; at least one · @param index of the exchange that is seen next */
  constructor(versions: Version[], firstNs: number, index: number) {
    for (const version of versions) version.index = index;
    this.#versions = versions;
    this.#firstNs = firstNs;
  }

  /** The version with the greatest id so far. */
  get latest(): Version {
    return this.#versions.at(-1)!;
  }

  /** @param index of the exchange @returns false where no order has room for it */
  store(
    cas: number,
    fromNs: number,
    toNs: number,
    content: Content,
    expiry: Lifetime,
    index: number,
  ): boolean {
    const version = this.#versionOf(cas, content, false, index);
    if (version === undefined || (version.isMade && !this.#isTakenForFirst(version))) return false;
    version.isMade = true;
    version.fromNs = fromNs;
    version.toNs = toNs;
    version.number = content.number;
    version.expiry = expiry;
    return this.#versions.length <= MAX_VERSIONS || this.#settle(MAX_VERSIONS / 2);
  }

  /** @param index of the exchange @returns false where no order has room for it */
  read(cas: number, fromNs: number, toNs: number, content: Content, index: number): boolean {
    const version = this.#versionOf(cas, content, true, index);
    if (version === undefined) return false;
    if (fromNs > version.readFromNs) version.readFromNs = fromNs;
    if (toNs < version.readToNs) version.readToNs = toNs;
    return true;
  }

  /**
   * Settles versions that were replaced by one of which an exchange before this index told.
   * @returns false where no order has room for one of them
   */
  forget(index: number): boolean {
    const versions = this.#versions;
    let old = 0;
    while (old + 1 < versions.length && versions[old + 1]!.isMade && versions[old + 1]!.index < index) old++;
    return old === 0 || this.#settle(old);
  }

  /** The version that is there after all that was seen, and the moment at which it was made; undefined: no order explains it. */
  close(): { version: Version; madeNs: number } | undefined {
    if (!this.#settle(this.#versions.length - 1)) return undefined;
    const version = this.#versions[0]!;
    const isRead = version.readToNs >= this.#firstNs;
    return isRead && this.#lives(version, this.#firstNs) ? { version, madeNs: this.#firstNs } : undefined;
  }

  /** Reads had seen the version, and seemed to tell the id of what was there before the replay: that one has another. */
  #isTakenForFirst(version: Version): boolean {
    const versions = this.#versions;
    if (version !== versions[0] || version.fromNs !== -Infinity) return false;
    versions.unshift({ ...version, cas: 0, readFromNs: -Infinity, readToNs: Infinity });
    return true;
  }

  /** The version with the id, which has the content; undefined where it has another, or is older than all that are open. */
  #versionOf(cas: number, content: Content, isRead: boolean, index: number): Version | undefined {
    const versions = this.#versions;
    let at = versions.length;
    while (at > 0 && versions[at - 1]!.cas > cas) at--;
    const known = versions[at - 1];
    if (known === undefined) return undefined;
    if (isRead && known.cas === 0 && isSame(known, content)) known.cas = cas;
    if (known.cas === cas) return isSame(known, content) ? known : undefined;
    const made: Version = {
      ...content,
      cas,
      fromNs: -Infinity,
      toNs: Infinity,
      readFromNs: -Infinity,
      readToNs: Infinity,
      expiry: { mayLiveNs: Infinity, mustDieNs: Infinity },
      isMade: false,
      index,
    };
    versions.splice(at, 0, made);
    return made;
  }

  /** Finds the moments of so many versions behind the first, and forgets those before the last of them. */
  #settle(count: number): boolean {
    const versions = this.#versions;
    let madeNs = this.#firstNs;
    for (let n = 0; n < count; n++) {
      const version = versions[n]!;
      const next = versions[n + 1]!;
      if (!next.isMade || version.readToNs < madeNs || !this.#lives(version, madeNs)) return false;
      madeNs = Math.max(madeNs, next.fromNs, version.readFromNs);
      if (madeNs > next.toNs) return false;
    }
    versions.splice(0, count);
    this.#firstNs = madeNs;
    return true;
  }

  /** Whoever saw it may have done so before it was gone. */
  #lives({ expiry, readFromNs }: Version, madeNs: number): boolean {
    return expiry.mustDieNs === Infinity || readFromNs <= madeNs + expiry.mustDieNs;
  }
}

function isSame(version: Version, { high, low, length, flags }: Content): boolean {
  return version.high === high && version.low === low && version.length === length && version.flags === flags;
}
