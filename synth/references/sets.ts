// Sets of numbers that change all the time: who is where.

import { grown } from '../../trace/batch.ts';

/** Numbers in any order, from which one at a place, or a given one, can be taken. A number is in one set of a kind at most. */
export class Sets {
  readonly #sets: number[][];
  #places: Uint32Array = new Uint32Array(1024);

  constructor(count: number) {
    this.#sets = Array.from({ length: count }, () => []);
  }

  of(set: number): readonly number[] {
    return this.#sets[set]!;
  }

  add(set: number, member: number): void {
    if (member >= this.#places.length) {
      this.#places = grown(this.#places, new Uint32Array(Math.max(member + 1, this.#places.length * 2)));
    }
    this.#places[member] = this.#sets[set]!.push(member) - 1;
  }

  remove(set: number, member: number): void {
    const members = this.#sets[set]!;
    const last = members.pop()!;
    if (last === member) return;
    const place = this.#places[member]!;
    members[place] = last;
    this.#places[last] = place;
  }

  clear(): void {
    for (const members of this.#sets) members.length = 0;
  }
}
