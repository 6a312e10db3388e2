// What a cache without limits would hold: it gives each generated request the answer that is expected of it. Keys have
// dense numbers in the order in which they were first asked for, and columns by that number. Small keys, the popular
// ones among them, find their number at a place of their own; others by an open hash. Memory is some 60 bytes for each key
// that was asked for.

import { grown } from '../../trace/batch.ts';

const MAX_KEYS = 1 << 26;
/** Keys below this have a place of their own, 4 bytes each. */
const MAX_DIRECT = 1 << 22;

export class KeyTable {
  /** By key: its number + 1; 0: nothing. */
  readonly #direct: Int32Array;
  /** By hash: number of the key + 1; 0: nothing. At most three of five places are taken. */
  #places = new Int32Array(2048);
  #keys = new Float64Array(1024);
  /** When the item is gone, ns; 0: it is not there. */
  expiresNs = new Float64Array(1024);
  /** A counter's value; how many pieces were appended to others. */
  count = new Float64Array(1024);
  /** How often it was stored. */
  version = new Uint32Array(1024);
  cas = new Uint32Array(1024);
  /** Bytes of the value, and those that the key was drawn with. */
  bytes = new Uint32Array(1024);
  base = new Uint32Array(1024);
  /** Bytes of the key, where it has been told them; else 0. */
  keyBytes = new Uint8Array(1024);
  /** Number of the key in the batch that mentioned it last. */
  local = new Uint32Array(1024);
  /** Of a locality that was learnt: its level. */
  level = new Uint8Array(1024);
  /** Seconds that it lives when it is stored, and one more; 0: as the model says of all. */
  ttl = new Uint32Array(1024);
  #used = 0;
  /** Of them, those that are found by hash. */
  #hashed = 0;
  /** The last `at` made a new entry. */
  isNew = false;

  /** @param keys there may be as small ones: [0, keys) */
  constructor(keys: number) {
    this.#direct = new Int32Array(Math.min(keys, MAX_DIRECT));
  }

  /** The number of a key; one that is new has zeros in all columns. @throws RangeError past 2^26 keys */
  at(key: number): number {
    if (key < this.#direct.length) {
      const known = this.#direct[key]!;
      this.isNew = known === 0;
      return known === 0 ? (this.#direct[key] = this.#add(key) + 1) - 1 : known - 1;
    }
    const places = this.#places;
    const mask = places.length - 1;
    let place = slot(key) & mask;
    for (;;) {
      const found = places[place]! - 1;
      if (found === -1) break;
      if (this.#keys[found] === key) {
        this.isNew = false;
        return found;
      }
      place = (place + 1) & mask;
    }
    this.isNew = true;
    const at = this.#add(key);
    places[place] = at + 1;
    if (++this.#hashed * 5 > places.length * 3) this.#rehash();
    return at;
  }

  #add(key: number): number {
    if (this.#used === MAX_KEYS)
      throw new RangeError(
        `a workload may touch ${MAX_KEYS} keys; make the key space or the duration smaller`,
      );
    const at = this.#used++;
    if (at === this.#keys.length) this.#grow();
    this.#keys[at] = key;
    return at;
  }

  /** Everything is gone. */
  flush(): void {
    this.expiresNs.fill(0);
  }

  #grow(): void {
    const capacity = this.#keys.length * 2;
    this.#keys = grown(this.#keys, new Float64Array(capacity));
    this.expiresNs = grown(this.expiresNs, new Float64Array(capacity));
    this.count = grown(this.count, new Float64Array(capacity));
    this.version = grown(this.version, new Uint32Array(capacity));
    this.cas = grown(this.cas, new Uint32Array(capacity));
    this.bytes = grown(this.bytes, new Uint32Array(capacity));
    this.base = grown(this.base, new Uint32Array(capacity));
    this.keyBytes = grown(this.keyBytes, new Uint8Array(capacity));
    this.level = grown(this.level, new Uint8Array(capacity));
    this.ttl = grown(this.ttl, new Uint32Array(capacity));
    this.local = grown(this.local, new Uint32Array(capacity));
  }

  #rehash(): void {
    const places = new Int32Array(this.#places.length * 2);
    const mask = places.length - 1;
    for (let at = 0; at < this.#used; at++) {
      const key = this.#keys[at]!;
      if (key < this.#direct.length) continue;
      let place = slot(key) & mask;
      while (places[place] !== 0) place = (place + 1) & mask;
      places[place] = at + 1;
    }
    this.#places = places;
  }
}

function slot(key: number): number {
  const high = Math.floor(key / 0x1_0000_0000);
  const low = key - high * 0x1_0000_0000;
  const h = Math.imul(low ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1);
  return (h ^ (h >>> 15)) >>> 0;
}
