// Objects in the order of their last reference, the most recent first: an LRU stack that answers "how deep is it" and
// "who is that deep" in logarithmic time. Each reference takes the next place of a Fenwick tree and vacates the object's
// last one; where the places run out, the objects move together, so that memory follows the objects, not the references.

/** A Uint32Array of at least this length, with the array's values at its beginning. */
function grown(array: Uint32Array, length: number): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(Math.max(length, array.length * 2));
  larger.set(array);
  return larger;
}

export class Recency {
  /** Of each place, the object that was referenced there last, as id + 1; 0: vacated. */
  #objects = new Uint32Array(1 << 12);
  #tree = new Uint32Array(this.#objects.length + 1);
  /** Of each object, its place + 1; 0: not referenced yet. */
  #places = new Uint32Array(1 << 10);
  #next = 0;
  #live = 0;

  /** Distinct objects referenced so far. */
  get size(): number {
    return this.#live;
  }

  /** References an object. Returns how deep it lay: 1 for the most recent object, 0 for a new one. */
  touch(id: number): number {
    if (this.#next === this.#objects.length) this.#compact();
    if (id >= this.#places.length) this.#places = grown(this.#places, id + 1);
    const place = this.#places[id]!;
    let depth = 0;
    if (place === 0) this.#live++;
    else {
      depth = this.#live - this.#below(place - 1);
      this.#objects[place - 1] = 0;
      this.#add(place, -1);
    }
    this.#objects[this.#next++] = id + 1;
    this.#places[id] = this.#next;
    this.#add(this.#next, 1);
    return depth;
  }

  /** The object at a depth from 1 to `size`. */
  at(depth: number): number {
    let rank = this.#live - depth + 1;
    let place = 0;
    for (let step = this.#objects.length; step > 0; step >>= 1) {
      const count = this.#tree[place + step];
      if (count === undefined || count >= rank) continue;
      place += step;
      rank -= count;
    }
    return this.#objects[place]! - 1;
  }

  /** How many objects lie in the places before this one. */
  #below(place: number): number {
    let sum = 0;
    for (let i = place; i > 0; i &= i - 1) sum += this.#tree[i]!;
    return sum;
  }

  #add(place: number, change: number): void {
    const tree = this.#tree;
    for (let i = place; i < tree.length; i += i & -i) tree[i]! += change;
  }

  /** Moves the objects to the first places, and makes room for as many references again as there are objects. */
  #compact(): void {
    const old = this.#objects;
    // A power of two, for the search in `at`.
    let places = old.length;
    while (places < 4 * this.#live) places *= 2;
    this.#objects = new Uint32Array(places);
    this.#tree = new Uint32Array(places + 1);
    this.#next = 0;
    for (const object of old) {
      if (object === 0) continue;
      this.#objects[this.#next++] = object;
      this.#places[object - 1] = this.#next;
    }
    for (let i = 1; i <= places; i++) {
      if (i <= this.#next) this.#tree[i]! += 1;
      const parent = i + (i & -i);
      if (parent <= places) this.#tree[parent]! += this.#tree[i]!;
    }
  }
}
