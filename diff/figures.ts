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

export function addFigures(to: Figures, from: Readonly<Figures>): void {
  to.exchanges += from.exchanges;
  to.reads += from.reads;
  to.hits += from.hits;
  to.recordedReads += from.recordedReads;
  to.recordedHits += from.recordedHits;
  to.drift += from.drift;
  to.violations += from.violations;
}

/** What exchanges of one target, one tenant and one operation have in common. */
export interface Combination extends Figures {
  target: number;
  tenant: string;
  opcode: number;
}

const OPCODES = 256;

/** Figures by target, tenant and operation together: an exchange is counted once, and told to all three at the end. */
export class Combinations {
  /** In the order of first sight. */
  readonly all: Combination[] = [];
  readonly #tenants: readonly string[];
  readonly #tenantOf: Uint32Array;
  readonly #targets: number;
  /** By tenant, target and opcode. */
  readonly #cells: (Combination | undefined)[][];

  /** @param tenantOf by connection @param targets how many there are */
  constructor(tenantOf: readonly string[], targets: number) {
    this.#tenants = [...new Set(tenantOf)];
    const numbers = new Map(Array.from(this.#tenants, (name, n) => [name, n]));
    this.#tenantOf = Uint32Array.from(tenantOf, (name) => numbers.get(name)!);
    this.#targets = targets;
    this.#cells = Array.from({ length: this.#tenants.length * targets }, () => []);
  }

  /** Undefined where there is no such target or connection. */
  of(target: number, connection: number, opcode: number): Combination | undefined {
    const tenant = this.#tenantOf[connection];
    if (tenant === undefined || target >= this.#targets) return undefined;
    const cells = this.#cells[tenant * this.#targets + target]!;
    return cells[opcode] ?? this.#begin(cells, target, tenant, opcode);
  }

  #begin(cells: (Combination | undefined)[], target: number, tenant: number, opcode: number): Combination {
    while (cells.length < OPCODES) cells.push(undefined);
    const cell = { ...emptyFigures(), target, tenant: this.#tenants[tenant]!, opcode };
    this.all.push(cell);
    cells[opcode] = cell;
    return cell;
  }
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
