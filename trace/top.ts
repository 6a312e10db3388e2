// The most frequent byte strings of many, in bounded memory (Misra and Gries): exact while there are few enough; beyond
// that all counts are lowered together now and then, and what is left of none is forgotten. So a count is never too high,
// and too low by `missing` at most.

const LIMIT = 1 << 16;
/** How many stay when there are too many. */
const KEPT = 1 << 14;

export class Top {
  readonly #limit: number;
  readonly #kept: number;
  /** By the string as latin1. */
  #counts = new Map<string, number>();
  /** Counts are too low by this at most. */
  missing = 0;

  constructor(limit = LIMIT, kept = KEPT) {
    this.#limit = limit;
    this.#kept = kept;
  }

  add(name: string, count: number): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + count);
    if (this.#counts.size > this.#limit) this.#lower();
  }

  /** The most frequent first; of equal ones, the lesser string. */
  first(n: number): { name: string; count: number }[] {
    return Array.from(this.#counts, ([name, count]) => ({ name, count }))
      .toSorted((a, b) => b.count - a.count || (a.name < b.name ? -1 : 1))
      .slice(0, n);
  }

  #lower(): void {
    const by = Float64Array.from(this.#counts.values())
      .toSorted()
      .at(-this.#kept - 1)!;
    this.missing += by;
    const left = Array.from(this.#counts, ([name, count]) => [name, count - by] as const);
    this.#counts = new Map(left.filter(([, count]) => count > 0));
  }
}
