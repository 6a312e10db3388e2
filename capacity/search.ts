// The search for the highest rate that holds: rates that grow until one does not hold, then rates between, and the edge
// again. It knows rates and outcomes, and nothing of targets.

/**
 * `holds`: everything that was asked for was so · `fails`: the target did not keep to it · `void`: we were too slow ourselves to
 * say · `thin`: there was too little to judge by
 */
export type Outcome = 'holds' | 'fails' | 'void' | 'thin';

/** One step: so many requests a second for a while, and what came of it. */
export interface Tried {
  rate: number;
  outcome: Outcome;
  /** It failed in a way that is no chance: an answer was wrong. */
  isSure: boolean;
}

export interface SearchOptions {
  /** The first rate, requests a second. */
  start: number;
  /** No rate above this is tried. */
  max: number;
  /** From one rate to the next, until one does not hold. */
  growth: number;
  /** The rate that holds and the one that does not are at last no further apart: 0.03 for 3%. */
  precision: number;
  /** How often the rate that holds is tried before it is told. */
  repeats: number;
}

export interface Found {
  /** The highest rate that holds; null: none does. */
  ceiling: number | null;
  /** The lowest rate that does not; null: none was found up to the highest that may be tried. */
  above: number | null;
  /** What that one was. */
  limit: Outcome | null;
}

/** What is tried at most at one rate before the majority counts. */
const VOTES = 3;
/** Rates below the first one are tried down to this part of it. */
const LOWEST_PART = 1 / 256;
/** Steps at most: a target whose answers are chance has no edge. */
export const MOST_STEPS = 60;

export class Search {
  readonly #options: SearchOptions;
  readonly #try: (rate: number) => Promise<Tried>;
  readonly #tried: Tried[] = [];

  constructor(options: SearchOptions, attempt: (rate: number) => Promise<Tried>) {
    this.#options = options;
    this.#try = attempt;
  }

  /** Ends early, with what is known by then, where there is too little to judge by. */
  async run(): Promise<void> {
    for (
      let rate: number | undefined = Math.min(this.#options.start, this.#options.max);
      rate !== undefined;
    ) {
      const outcome = await this.#vote(rate);
      if (outcome === 'thin' || this.#tried.length >= MOST_STEPS) break;
      rate = this.#next();
    }
  }

  /** The rate to try after those that were; undefined: the search is over. */
  #next(): number | undefined {
    const { max, growth, precision, start } = this.#options;
    const { ceiling, above } = this.found;
    if (above === null) {
      if (ceiling! < max) return Math.min(max, round(ceiling! * growth));
      return this.#unsure(ceiling!);
    }
    if (ceiling === null) {
      const lower = round(above / growth ** 2);
      return lower < start * LOWEST_PART || lower >= above ? undefined : lower;
    }
    if (above > ceiling * (1 + precision)) {
      const between = round(Math.sqrt(ceiling * above));
      if (between > ceiling && between < above) return between;
    }
    return this.#unsure(ceiling) ?? this.#unsure(above);
  }

  /** The rate, as long as it was not tried as often as what is told has to be. */
  #unsure(rate: number): number | undefined {
    const here = this.#tried.filter((one) => one.rate === rate);
    if (here.some(({ isSure, outcome }) => isSure && outcome === 'fails')) return undefined;
    const times = here.filter(({ outcome }) => outcome !== 'void').length;
    const { repeats } = this.#options;
    return times < repeats && here.length < 2 * repeats ? rate : undefined;
  }

  /** Tries a rate; what fails by chance, or for our own fault, is tried again. */
  async #vote(rate: number): Promise<Outcome> {
    for (let votes = 1; ; votes++) {
      const tried = await this.#try(rate);
      this.#tried.push(tried);
      if (
        tried.outcome === 'thin' ||
        (tried.isSure && tried.outcome === 'fails') ||
        this.#tried.length >= MOST_STEPS
      )
        break;
      const { held, failed } = this.#votesAt(rate);
      if (votes >= VOTES || held > failed || failed > Math.max(1, held)) break;
    }
    return this.#outcomeOf(rate);
  }

  #votesAt(rate: number): { held: number; failed: number } {
    const here = this.#tried.filter((one) => one.rate === rate);
    const of = (wanted: Outcome): number => here.filter(({ outcome }) => outcome === wanted).length;
    return { held: of('holds'), failed: of('fails') };
  }

  /** What most tries at a rate came to. One that is void says nothing, so it counts only where there is no other. */
  #outcomeOf(rate: number): Outcome {
    const here = this.#tried.filter((one) => one.rate === rate);
    if (here.some(({ outcome, isSure }) => isSure && outcome === 'fails')) return 'fails';
    if (here.some(({ outcome }) => outcome === 'thin')) return 'thin';
    const { held, failed } = this.#votesAt(rate);
    if (held > failed) return 'holds';
    return failed > 0 ? 'fails' : 'void';
  }

  /** What is known so far. */
  get found(): Found {
    const rates = [...new Set(this.#tried.map(({ rate }) => rate))].toSorted((a, b) => a - b);
    const above = rates.find((rate) => this.#outcomeOf(rate) !== 'holds');
    const held = rates.filter((rate) => above === undefined || rate < above);
    return {
      ceiling: held.at(-1) ?? null,
      above: above ?? null,
      limit: above === undefined ? null : this.#outcomeOf(above),
    };
  }
}

/** Three digits: a rate is nothing more exact. */
function round(rate: number): number {
  return Number(rate.toPrecision(3));
}
