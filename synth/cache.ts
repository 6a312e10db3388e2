// What a cache without limits would hold: it gives each generated request the answer that is expected of it. Open
// addressing in typed arrays, so that memory is some 50 bytes for each key that was asked for.

const EMPTY = -1;
const MAX_KEYS = 1 << 26;

export class KeyTable {
  #keys = new Float64Array(1024).fill(EMPTY);
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
  /** Of a locality that was learnt: its level. */
  level = new Uint8Array(1024);
  /** Seconds that it lives when it is stored, and one more; 0: as the model says of all. */
  ttl = new Uint32Array(1024);
  #used = 0;
  /** The last `at` made a new entry. */
  isNew = false;

  get size(): number {
    return this.#used;
  }

  /** The entry of a key, made where there is none; it moves when others are made. @throws RangeError past 2^26 keys */
  at(key: number): number {
    if (this.#used * 5 > this.#keys.length * 3) this.#grow();
    const mask = this.#keys.length - 1;
    let at = slot(key) & mask;
    for (;;) {
      const found = this.#keys[at]!;
      if (found === key) {
        this.isNew = false;
        return at;
      }
      if (found === EMPTY) {
        if (this.#used === MAX_KEYS)
          throw new RangeError(
            `a workload may touch ${MAX_KEYS} keys; make the key space or the duration smaller`,
          );
        this.#keys[at] = key;
        this.#used++;
        this.isNew = true;
        return at;
      }
      at = (at + 1) & mask;
    }
  }

  /** Everything is gone. */
  flush(): void {
    this.expiresNs.fill(0);
  }

  #grow(): void {
    const old = {
      keys: this.#keys,
      expiresNs: this.expiresNs,
      count: this.count,
      version: this.version,
      cas: this.cas,
      bytes: this.bytes,
      base: this.base,
      keyBytes: this.keyBytes,
      level: this.level,
      ttl: this.ttl,
    };
    const capacity = old.keys.length * 2;
    this.#keys = new Float64Array(capacity).fill(EMPTY);
    this.expiresNs = new Float64Array(capacity);
    this.count = new Float64Array(capacity);
    this.version = new Uint32Array(capacity);
    this.cas = new Uint32Array(capacity);
    this.bytes = new Uint32Array(capacity);
    this.base = new Uint32Array(capacity);
    this.keyBytes = new Uint8Array(capacity);
    this.level = new Uint8Array(capacity);
    this.ttl = new Uint32Array(capacity);
    const mask = capacity - 1;
    for (const [from, key] of old.keys.entries()) {
      if (key === EMPTY) continue;
      let to = slot(key) & mask;
      while (this.#keys[to] !== EMPTY) to = (to + 1) & mask;
      this.#keys[to] = key;
      this.expiresNs[to] = old.expiresNs[from]!;
      this.count[to] = old.count[from]!;
      this.version[to] = old.version[from]!;
      this.cas[to] = old.cas[from]!;
      this.bytes[to] = old.bytes[from]!;
      this.base[to] = old.base[from]!;
      this.keyBytes[to] = old.keyBytes[from]!;
      this.level[to] = old.level[from]!;
      this.ttl[to] = old.ttl[from]!;
    }
  }
}

function slot(key: number): number {
  const low = key % 0x1_0000_0000;
  const h = Math.imul(low ^ Math.imul((key - low) / 0x1_0000_0000, 0x85ebca6b), 0x9e3779b1);
  return (h ^ (h >>> 15)) >>> 0;
}
