// What a tenant's streams share: its keys with their sizes, and what a cache without limits has under them; what becomes of
// them at times (events); and its connections.

import { MAX_RELATIVE_SECONDS } from '../../protocol/expiry.ts';
import { KeyTable } from './cache.ts';
import { Content, keyLength, widthOf, writeKey } from './content.ts';
import { Permutation, hash, unit } from '../laws/hash.ts';
import type { LocalObject } from '../model/locality.ts';
import { MAX_VALUE, type ModelEvent, type Tenant } from '../model/model.ts';
import { alias, normalQuantile, normalShare, quantileOf, type Quantile } from '../laws/numbers.ts';
import { ORDER, type ConnectionPool } from './pool.ts';
import { named, type Random } from '../laws/random.ts';
import type { Resize } from '../model/resize.ts';

/** When every generated trace begins: 2026-01-01T00:00:00Z, ns. */
export const START_NS = 1_767_225_600n * 1_000_000_000n;
const START_SECONDS = Number(START_NS / 1_000_000_000n);
/** Keys of one version of the application are this far from those of the next; there are two. */
const VERSION_STEP = 2 ** 44;
/** In the table: keys that nobody stores, and those asked for once, are past those of so many versions. */
const ABSENT_VERSION = 32;
const ONCE_VERSION = 64;
/**
 * Sorts of keys, as localities number them too: values, counters, lists that are appended to; those asked for once, and
 * those that nobody stores.
 */
export const Sort = { value: 0, counter: 1, list: 2, once: 3, absent: 4 } as const;
export type Sort = (typeof Sort)[keyof typeof Sort];
/** Of those that hold something. */
const SORTS = 4;
/** In keys: of the first version of the application, and of the next. */
const sortLetters = [Buffer.from('kclox'), Buffer.from('KCLOX')] as const;
/** Pieces that a list has at either end before it is stored anew, and their bytes where the model says nothing. */
export const MAX_PIECES = 30;
const PIECE_BYTES = 16;
/** In the count of a list: this much for each that was prepended. */
export const PREPENDED = 64;
/** Lengths of keys are drawn from a table of 2^14 quantiles. */
const LENGTH_SHIFT = 18;
const LENGTHS = 2 ** (32 - LENGTH_SHIFT);

/** The size of the largest piece, bytes. */
const MAX_PIECE = 65_536;

/** What is drawn from the seed for a key; pool.ts draws 3. */
const Field = { size: 1, length: 2, present: 4, piece: 5 } as const;

/** What else is known of a key when it is first asked for, where the locality tells. */
export interface KeyTraits {
  /** How popular it is among all, 0 to 1. */
  readonly popularity: number | undefined;
  /** Its level of popularity. */
  readonly level: number;
  /** Bytes of key and value, and what else it is. */
  readonly object: LocalObject | undefined;
}

export class Space {
  /** Among the spaces of the model. */
  readonly number: number;
  readonly tenant: Tenant;
  readonly name: string;
  readonly seed: number;
  readonly table: KeyTable;
  readonly pool: ConnectionPool;
  readonly events: readonly ModelEvent[];
  /** How many keys there are. */
  readonly size: number;
  readonly flags: number;
  /** What counters begin at; undefined: at 0, and none is there from the beginning. */
  readonly counter: number | undefined;
  readonly #delta: Quantile | undefined;
  readonly #piece: Quantile | undefined;
  readonly #prefix: Buffer;
  readonly #width: number;
  readonly #content: Content;
  /** By the first bits of a hash. */
  readonly #keyLengths: Uint8Array | undefined;
  readonly #valueSize: Quantile;
  readonly #maxValue: number;
  readonly #ttlOf: (random: Random) => number;
  readonly #permutation: Permutation;
  /** Keys that were asked for once. */
  #once = 0;

  /** @param seed of the model */
  constructor(number: number, tenant: Tenant, seed: number, pool: ConnectionPool) {
    const { name = '', keys, values, counters, pieces, ttl, events = [] } = tenant;
    this.number = number;
    this.tenant = tenant;
    this.name = name;
    this.seed = spaceSeed(seed, name);
    this.pool = pool;
    this.events = events;
    this.size = keys.space;
    this.table = new KeyTable(keys.space * SORTS);
    this.flags = tenant.flags ?? 0;
    this.counter = counters?.initial;
    this.#delta = counters?.delta === undefined ? undefined : quantileOf(counters.delta);
    this.#piece = pieces === undefined ? undefined : quantileOf(pieces);
    this.#prefix = Buffer.from(keys.prefix ?? (name === '' ? '' : `${name}:`));
    this.#width = widthOf(keys.space);
    this.#maxValue = Math.min(MAX_VALUE, tenant.maxValue ?? MAX_VALUE);
    this.#content = new Content(values?.bytes ?? 'random', values?.compressible ?? 0);
    this.#keyLengths = keys.length === undefined ? undefined : lengthsOf(quantileOf(keys.length));
    this.#valueSize = values === undefined ? () => 100 : quantileOf(values.size);
    this.#ttlOf = ttlOf(ttl);
    this.#permutation = new Permutation(keys.space, this.seed);
  }

  /** A key that nobody asked for, and nobody asks for again. */
  onceOnly(): number {
    return -1 - this.#once++;
  }

  /** A key as a connection asks for it, which may be of a newer version of the application. */
  versioned(id: number, version: number): number {
    return id < 0 ? id : id + version * VERSION_STEP;
  }

  /** The version of the application that is behind a connection. */
  versionAt(ns: number, connection: number): number {
    for (const event of this.events)
      if (
        event.kind === 'version' &&
        ns >= event.at * 1e6 &&
        unit(this.seed, connection, ORDER) < event.share
      )
        return 1;
    return 0;
  }

  /** Rank of the key that is asked for instead, where popularity shifted. */
  shifted(rank: number, ns: number): number {
    let at = rank;
    for (const event of this.events)
      if (event.kind === 'shift' && ns >= event.at * 1e6)
        at = (((at + event.by) % this.size) + this.size) % this.size;
    return at;
  }

  /** Number of a key in the table. @throws RangeError past its keys */
  entryOf(sort: Sort, id: number, traits: KeyTraits): number {
    const { table } = this;
    const isAbsent = sort === Sort.absent;
    const number =
      id < 0 ? -2 - id + VERSION_STEP * ONCE_VERSION : isAbsent ? id + VERSION_STEP * ABSENT_VERSION : id;
    const entry = table.at(number * SORTS + (isAbsent ? 0 : sort));
    if (!table.isNew) return entry;
    if (sort === Sort.counter) table.count[entry] = this.counter ?? 0;
    const { object } = traits;
    if (object === undefined || id < 0) table.base[entry] = this.#sizeOf(id, traits.popularity);
    else {
      const [key, value, , seconds] = object;
      table.keyBytes[entry] = Math.min(250, key);
      table.base[entry] = Math.min(this.#maxValue, value);
      if (seconds !== undefined) table.ttl[entry] = seconds + 1;
    }
    table.bytes[entry] = table.base[entry]!;
    table.level[entry] = traits.level;
    return entry;
  }

  /** One of so many keys. @param share of all */
  isAmong(share: number, id: number): boolean {
    return share >= 1 || unit(this.seed, Math.abs(id), Field.present) < share;
  }

  #sizeOf(id: number, popularity: number | undefined): number {
    let u = unit(this.seed, Math.abs(id), Field.size);
    const correlation = this.tenant.values?.correlation ?? 0;
    if (correlation !== 0 && id >= 0) {
      // A Gaussian copula: what is popular has a high rank in size, as far as they are correlated.
      const rank = (id % VERSION_STEP) % this.size;
      const share = popularity ?? 1 - (rank + 0.5) / this.size;
      const popular = normalQuantile(Math.min(1 - 1e-6, Math.max(1e-6, share)));
      u = normalShare(correlation * popular + Math.sqrt(1 - correlation * correlation) * normalQuantile(u));
    }
    return Math.min(this.#maxValue, Math.max(0, Math.round(this.#valueSize(u))));
  }

  /** The value is another one from now on. @param resize how its size changes; undefined: not at all */
  renew(entry: number, id: number, ns: number, resize: Resize | undefined): void {
    const { table } = this;
    const version = table.version[entry]!++;
    const base = table.base[entry]!;
    const factor = this.#factorAt(ns);
    const bytes =
      resize === undefined || version === 0
        ? Math.round(base * factor)
        : resize(table.bytes[entry]!, base, this.seed, id, version, factor);
    table.bytes[entry] = Math.min(this.#maxValue, bytes);
    table.count[entry] = 0;
  }

  /** By how much a counter is counted. */
  delta(random: Random): number {
    return this.#delta === undefined ? 1 : Math.max(0, Math.round(this.#delta(random.float())));
  }

  #factorAt(ns: number): number {
    let factor = 1;
    for (const event of this.events)
      if (event.kind === 'sizes' && ns >= event.at * 1e6) factor *= event.factor;
    return factor;
  }

  // ---- Expiries, ms; 0: none.

  /** The time to live of an item that is stored. */
  ttlAt(ns: number, entry: number, random: Random): number {
    for (const event of this.events)
      if (event.kind === 'ttl' && ns >= event.at * 1e6 && ns < (event.at + event.for) * 1e6)
        return event.ttl ?? Math.max(1000, event.at + event.for - ns / 1e6);
    const own = this.table.ttl[entry]!;
    return own > 0 ? (own - 1) * 1000 : this.#ttlOf(random);
  }

  /** As the model says of all, whatever happens. */
  ttl(random: Random): number {
    return this.#ttlOf(random);
  }

  // ---- Bytes.

  keyLength(entry: number, id: number): number {
    return keyLength(this.#prefix, this.#widthOf(id), this.#wantedLength(entry, id));
  }

  /** Returns how many bytes it is. */
  writeKey(to: Buffer, at: number, entry: number, sort: Sort, id: number): number {
    const letters = sortLetters[id < VERSION_STEP ? 0 : 1];
    const rank = rankOf(id);
    // Those asked for once are numbered as they come; so are those beyond the space, of a locality that was learnt.
    const number = this.#isKnown(id) ? this.#permutation.at(rank) : rank;
    const letter = letters[id < 0 ? Sort.once : sort]!;
    return writeKey(to, at, this.#prefix, letter, number, this.#widthOf(id), this.#wantedLength(entry, id));
  }

  #isKnown(id: number): boolean {
    return id >= 0 && rankOf(id) < this.size;
  }

  #widthOf(id: number): number {
    return this.#isKnown(id) ? this.#width : Math.max(this.#width, widthOf(rankOf(id) + 1));
  }

  #wantedLength(entry: number, id: number): number {
    const told = this.table.keyBytes[entry]!;
    if (told > 0) return told;
    return this.#keyLengths === undefined
      ? 0
      : this.#keyLengths[hash(this.seed, Math.abs(id), Field.length) >>> LENGTH_SHIFT]!;
  }

  /** Bytes of the value. */
  lengthOf(entry: number, sort: Sort, id: number): number {
    const { table } = this;
    if (sort === Sort.value || sort === Sort.once) return table.bytes[entry]!;
    const count = table.count[entry]!;
    if (sort === Sort.counter) return String(count).length;
    const version = table.version[entry]!;
    const [before, after] = piecesOf(count);
    let length = table.bytes[entry]!;
    for (let n = 1; n <= before; n++) length += this.pieceLength(id, prependedPiece(version, n));
    for (let n = 1; n <= after; n++) length += this.pieceLength(id, appendedPiece(version, n));
    return length;
  }

  writeValue(to: Buffer, at: number, entry: number, sort: Sort, id: number): void {
    const { table } = this;
    const count = table.count[entry]!;
    if (sort === Sort.counter) {
      to.write(String(count), at, 'latin1');
      return;
    }
    const version = table.version[entry]!;
    const [before, after] = sort === Sort.list ? piecesOf(count) : [0, 0];
    let next = at;
    for (let n = before; n > 0; n--) next += this.writePiece(to, next, id, prependedPiece(version, n));
    const bytes = table.bytes[entry]!;
    this.#content.write(to, next, bytes, Math.abs(id) * SORTS + sort, version);
    next += bytes;
    for (let n = 1; n <= after; n++) next += this.writePiece(to, next, id, appendedPiece(version, n));
  }

  pieceLength(id: number, version: number): number {
    if (this.#piece === undefined) return PIECE_BYTES;
    const u = unit(this.seed ^ version, Math.abs(id) * SORTS + Sort.list, Field.piece);
    return Math.max(0, Math.min(MAX_PIECE, Math.round(this.#piece(u))));
  }

  /** Returns how many bytes it is. */
  writePiece(to: Buffer, at: number, id: number, version: number): number {
    const bytes = this.pieceLength(id, version);
    this.#content.write(to, at, bytes, Math.abs(id) * SORTS + Sort.list, version);
    return bytes;
  }
}

/** What a tenant's keys are numbered and sized by. */
export function spaceSeed(seed: number, tenant: string): number {
  return hash(seed, named(tenant), 0);
}

/** Pieces at a list's beginning, and at its end. */
export function piecesOf(count: number): [before: number, after: number] {
  return [Math.floor(count / PREPENDED), count % PREPENDED];
}

/** The version that the nth piece at a list's end has, and at its beginning. */
export function appendedPiece(version: number, n: number): number {
  return version * 64 + n;
}

export function prependedPiece(version: number, n: number): number {
  return version * 64 + MAX_PIECES + n;
}

/** When an item that is stored now is gone, ns. */
export function expires(ns: number, ttlMs: number): number {
  return ttlMs === 0 ? Infinity : ns + Math.max(1, Math.round(ttlMs / 1000)) * 1e9;
}

/** An expiry as it stands in a request: seconds from now, or since 1970. */
export function expiryOf(ttlMs: number, ns: number): number {
  if (ttlMs === 0) return 0;
  const seconds = Math.max(1, Math.round(ttlMs / 1000));
  return seconds <= MAX_RELATIVE_SECONDS ? seconds : START_SECONDS + Math.floor(ns / 1e9) + seconds;
}

/** Rank of a key in its version of the application; of those asked for once, their number. */
function rankOf(id: number): number {
  return id < 0 ? -1 - id : id < VERSION_STEP ? id : id % VERSION_STEP;
}

function lengthsOf(quantile: Quantile): Uint8Array {
  return Uint8Array.from({ length: LENGTHS }, (_, n) =>
    Math.min(250, Math.max(1, Math.round(quantile((n + 0.5) / LENGTHS)))),
  );
}

function ttlOf(ttl: Tenant['ttl']): (random: Random) => number {
  if (ttl === undefined) return () => 0;
  if (typeof ttl === 'number') return () => ttl;
  const pick = alias(ttl.map((one) => one.share));
  return (random) => ttl[pick(random.float())]!.ttl;
}
