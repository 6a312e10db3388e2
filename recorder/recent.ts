// What was seen lately, by key, in bounded memory: two generations, of which the older is forgotten at once when the
// younger is full. To forget one at a time, a Map would have to look for its oldest entry among those that are gone.

export class Recent<Key, Value> {
  readonly #most: number;
  #young = new Map<Key, Value>();
  #old = new Map<Key, Value>();

  /** @param most entries that are kept; the last half of them always are */
  constructor(most: number) {
    this.#most = Math.max(1, most >>> 1);
  }

  get(key: Key): Value | undefined {
    return this.#young.get(key) ?? this.#old.get(key);
  }

  /** It is among those that are forgotten next. */
  isFading(key: Key): boolean {
    return !this.#young.has(key) && this.#old.has(key);
  }

  set(key: Key, value: Value): void {
    this.#young.set(key, value);
    if (this.#young.size < this.#most) return;
    this.#old = this.#young;
    this.#young = new Map();
  }
}
