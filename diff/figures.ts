// Counts of exchanges that have something in common: a target, a tenant, an operation.

export interface Figures {
  exchanges: number;
  reads: number;
  hits: number;
  recordedReads: number;
  recordedHits: number;
  drift: number;
  violations: number;
}

export function emptyFigures(): Figures {
  return { exchanges: 0, reads: 0, hits: 0, recordedReads: 0, recordedHits: 0, drift: 0, violations: 0 };
}

/** Figures by name, made as names come up. */
export class FiguresByName {
  readonly #all = new Map<string, Figures>();

  of(name: string): Figures {
    let figures = this.#all.get(name);
    if (figures === undefined) this.#all.set(name, (figures = emptyFigures()));
    return figures;
  }

  get all(): ReadonlyMap<string, Readonly<Figures>> {
    return this.#all;
  }
}
