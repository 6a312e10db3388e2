// What a fit knows of each key of a tenant, in typed columns, and which requests were for which. Past a bound, half of the
// keys are forgotten, by their hash, with all their requests; the most popular stay, or chance would decide what
// they weigh (SHARDS, after Waldspurger et al., FAST 2015). What stays stands for what went.

import { Sequence } from './gather.ts';
import { mix } from '../laws/hash.ts';

/** Keys that are never forgotten; of each, past the bound, how often which distance was is kept, and not each reference. */
const PINNED = 1000;
/** Bins of a doubling of distances, and doublings. */
const FINE = 4;
const BINS = 40 * FINE;
/** Above what is done to a key, in a number below 256. */
const DONE = 128;

const columns = {
  count: Uint32Array,
  /** Bytes of the value, as it was stored or read last, and first; NONE: not known. */
  bytes: Uint32Array,
  firstBytes: Uint32Array,
  keyBytes: Uint8Array,
  /** 0 a value, 1 a counter, 2 a list. */
  sort: Uint8Array,
  /** Until when a cache without limits would have it, ns; 0: it does not. */
  untilNs: Float64Array,
  /** Of its last store, seconds; NONE: not known. */
  ttl: Uint32Array,
  missedNs: Float64Array,
  hitNs: Float64Array,
  /** Reads since the last store, and misses that no store followed yet. */
  misses: Uint32Array,
  hits: Uint32Array,
  owed: Uint32Array,
} as const;
type Name = keyof typeof columns;
type Columns = { [Column in Name]: InstanceType<(typeof columns)[Column]> };
const names = Object.keys(columns) as Name[];

/** Of a size that is not known. */
export const NONE = 0xffffffff;

function made(length: number): Columns {
  return Object.fromEntries(names.map((name) => [name, new columns[name](length)])) as unknown as Columns;
}

export class Keys {
  data: Columns = made(1024);
  #ids = new Map<string, number>();
  /** Those that are pinned come first. */
  #pinned = 0;
  /** One key in so many is kept. */
  share = 1;
  #references = new Sequence((length) => new Uint32Array(length));
  /** Of each reference, what was done: a number below 256. */
  #done = new Sequence((length) => new Uint8Array(length));
  /** Places of the references among all that there were; all of them, until some are forgotten. */
  #places: Sequence<Float64Array> | undefined;
  /** References, those that were forgotten among them. */
  seen = 0;
  #pins: Pins | undefined;

  get size(): number {
    return this.#ids.size;
  }

  get kept(): number {
    return this.#references.length;
  }

  /** -1: the key is forgotten. A new one has nothing in its columns. */
  idOf(key: string): number {
    const id = this.#ids.get(key);
    if (id !== undefined) return id;
    if (this.share > 1 && !isKept(key, this.share)) return -1;
    const next = this.#ids.size;
    this.#ids.set(key, next);
    if (next === this.data.count.length) this.#grow();
    this.data.keyBytes[next] = Math.min(255, key.length);
    this.data.bytes[next] = NONE;
    this.data.firstBytes[next] = NONE;
    this.data.ttl[next] = NONE;
    return next;
  }

  /** A reference to a key; of one that is forgotten, only that it was. */
  refer(id: number, done: number): void {
    const place = this.seen++;
    if (id < 0) return;
    this.data.count[id]!++;
    if (this.#pins !== undefined && id < this.#pinned) {
      this.#pins.add(id, done, place);
      return;
    }
    this.#references.push(id);
    this.#done.push(done);
    this.#places?.push(place);
  }

  /** How many keys one stands for. */
  weight(id: number): number {
    return id < this.#pinned ? 1 : this.share;
  }

  /** What is known of the references of the most popular, where they are not kept themselves. */
  get pins(): Pins | undefined {
    return this.#pins;
  }

  /** Goes through the references that are kept. */
  each(visit: (id: number, done: number, place: number) => void): void {
    const done = this.#done.all();
    const places = this.#places?.all();
    let at = 0;
    for (const [n, chunk] of this.#references.all().entries())
      for (let i = 0; i < chunk.length; i++, at++) visit(chunk[i]!, done[n]![i]!, places?.[n]![i] ?? at);
  }

  /** Forgets half of the keys that may be. Returns the new numbers of all; -1: forgotten. */
  halve(): Int32Array {
    const { size } = this;
    const { count } = this.data;
    const known = [...this.#ids];
    if (this.#pinned === 0) {
      known.sort(([, a], [, b]) => count[b]! - count[a]!);
      this.#pinned = Math.min(PINNED, size >> 1);
    }
    this.share *= 2;
    const renumbered = new Int32Array(size).fill(-1);
    this.#ids = new Map();
    for (const [n, [key, id]] of known.entries()) {
      if (n >= this.#pinned && !isKept(key, this.share)) continue;
      renumbered[id] = this.#ids.size;
      this.#ids.set(key, this.#ids.size);
    }
    const old = this.data;
    this.data = made(Math.max(1024, this.#ids.size));
    for (let id = 0; id < size; id++) {
      const to = renumbered[id]!;
      if (to >= 0) for (const name of names) this.data[name][to] = old[name][id]!;
    }
    const pins = this.#pins ?? new Pins(this.#pinned);
    this.#rewrite(renumbered, this.#pins === undefined ? pins : undefined);
    this.#pins = pins;
    return renumbered;
  }

  #rewrite(renumbered: Int32Array, pins: Pins | undefined): void {
    const references = new Sequence((length) => new Uint32Array(length));
    const done = new Sequence((length) => new Uint8Array(length));
    const places = new Sequence((length) => new Float64Array(length));
    this.each((id, what, place) => {
      const to = renumbered[id]!;
      if (to < 0) return;
      if (pins !== undefined && to < this.#pinned) {
        pins.add(to, what, place);
        return;
      }
      references.push(to);
      done.push(what);
      places.push(place);
    });
    this.#references = references;
    this.#done = done;
    this.#places = places;
  }

  #grow(): void {
    const old = this.data;
    this.data = made(old.count.length * 2);
    for (const name of names) this.data[name].set(old[name]);
  }
}

/** Of each of some keys: where it was referenced first and last, at which distances, and what was done. */
export class Pins {
  readonly size: number;
  readonly firstAt: Float64Array;
  readonly lastAt: Float64Array;
  readonly #gaps: Uint32Array;
  readonly #done: Uint32Array;

  constructor(size: number) {
    this.size = size;
    this.firstAt = new Float64Array(size).fill(-1);
    this.lastAt = new Float64Array(size);
    this.#gaps = new Uint32Array(size * BINS);
    this.#done = new Uint32Array(size * DONE);
  }

  add(id: number, done: number, place: number): void {
    this.#done[id * DONE + done]!++;
    if (this.firstAt[id] === -1) this.firstAt[id] = place;
    else {
      const bin = Math.floor(FINE * Math.log2(place - this.lastAt[id]!));
      this.#gaps[id * BINS + Math.min(BINS - 1, bin)]!++;
    }
    this.lastAt[id] = place;
  }

  /** Distances, each about the middle of a bin, and how often they were. */
  eachGap(id: number, visit: (gap: number, times: number) => void): void {
    for (let bin = 0; bin < BINS; bin++) {
      const times = this.#gaps[id * BINS + bin]!;
      if (times > 0) visit(Math.max(1, Math.floor(2 ** ((bin + 0.5) / FINE))), times);
    }
  }

  eachDone(id: number, visit: (done: number, times: number) => void): void {
    for (let done = 0; done < DONE; done++) {
      const times = this.#done[id * DONE + done]!;
      if (times > 0) visit(done, times);
    }
  }
}

/** Not by the hash of `--sample`: of a trace that was sampled, that would keep all keys. */
function isKept(key: string, share: number): boolean {
  let hash = 0x5bd1e995;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
  return mix(hash) % share === 0;
}
