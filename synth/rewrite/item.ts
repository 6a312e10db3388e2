// What is under a key, twice: in the recording, as its answers tell, and in the rewritten trace, as a cache without limits
// would have it. As long as nothing has been changed the two are one and the same version.

import { DO_NOT_CREATE, MAX_RELATIVE_SECONDS } from '../../protocol/expiry.ts';

export class Version {
  /** As the trace holds values; undefined: not known. */
  readonly value: Buffer | undefined;
  readonly flags: number;
  /** When it is gone, ns since the trace's start. */
  readonly expiresNs: number;
  /** When it was stored, last of all. */
  sinceNs: number;
  /** Its CAS id, as tokenOf(), where an exchange told it; else 0. And another that it goes by. */
  cas: number;
  alias = 0;
  /** The exchange that stored it; 0: it was there before the first one. */
  source = 0;

  constructor(value: Buffer | undefined, flags: number, expiresNs: number, sinceNs: number, cas = 0) {
    this.value = value;
    this.flags = flags;
    this.expiresNs = expiresNs;
    this.sinceNs = sinceNs;
    this.cas = cas;
  }

  /** The same value, gone at another time. */
  until(expiresNs: number): Version {
    const other = new Version(this.value, this.flags, expiresNs, this.sinceNs, this.cas);
    other.alias = this.alias;
    other.source = this.source;
    return other;
  }

  goesBy(cas: number): boolean {
    return cas !== 0 && (cas === this.cas || cas === this.alias);
  }

  /** Answers cannot tell the two apart. */
  equals(other: Version): boolean {
    return (
      this.flags === other.flags &&
      (this.expiresNs === other.expiresNs || Math.abs(this.expiresNs - other.expiresNs) <= 1e9) &&
      this.value !== undefined &&
      other.value !== undefined &&
      this.value.equals(other.value)
    );
  }
}

/** Undefined: nothing is there. */
export type State = Version | undefined;

/** Something may have changed it, and no answer told. */
export const unknown: Version = new Version(undefined, 0, Infinity, Infinity);

const TOKENS_KEPT = 8;
/** Of a token: the read that told it finds nothing now. */
export const MISSED = -1;

export class Item {
  recorded: State;
  rewritten: State;
  /** What was last there, in either. */
  last: Version | undefined;
  /** The expiry that it was last stored with, as in a request. */
  expiry = 0;
  /** Bytes of values counted for it. */
  bytes = 0;
  /** CAS ids that reads told in the recording, and what they tell now; those that differ, the latest. */
  #tokens: Map<number, number> | undefined;

  constructor(state: State) {
    this.recorded = state;
    this.rewritten = state;
    this.last = state;
  }

  /** What the recording's answers say is true of the rewritten trace too. */
  get isAsRecorded(): boolean {
    return this.recorded === this.rewritten;
  }

  tell(recorded: number, now: number): void {
    const tokens = (this.#tokens ??= new Map());
    tokens.delete(recorded);
    tokens.set(recorded, now);
    for (const oldest of tokens.keys()) {
      if (tokens.size <= TOKENS_KEPT) return;
      tokens.delete(oldest);
    }
  }

  tokenNow(recorded: number): number {
    return this.#tokens?.get(recorded) ?? recorded;
  }
}

/**
 * When what is stored now with this expiry is gone, ns since the trace's start. memcached's clock ticks in seconds: it
 * lives between a second less and what was said, here half of that.
 * @param startSeconds Unix time of the trace's start
 */
export function expiresAt(expiry: number, ns: number, startSeconds: number): number {
  if (expiry === 0 || expiry === DO_NOT_CREATE || expiry >= 0x80000000) return Infinity;
  if (expiry <= MAX_RELATIVE_SECONDS) return ns + expiry * 1e9 - 0.5e9;
  return (expiry - startSeconds) * 1e9;
}
