// Reference streams by an LRU stack: each reference is to a new object, or to the one that lies as deep in the order of
// recency as a draw says; births and depths change from phase to phase. It keeps LRU's miss-ratio curve nearly exactly,
// but not popularity: who is hot changes all the time. For studies of popular objects, see synth/references/renewal.ts.

import { Bins, binOf, logEdges, rounded } from '../laws/bins.ts';
import { Random } from '../laws/random.ts';
import { Recency } from './recency.ts';
import { ReferenceStream } from './stream.ts';

/** Plain JSON. */
export interface StackModel {
  kind: 'stack';
  references: number;
  objects: number;
  /** Bins of depths: 1 for the object referenced last. */
  edges: number[];
  phases: {
    /** References that are an object's first. */
    births: number;
    /** Weights of the other references' depths, for each bin of `edges`; all 0 where there are none. */
    depths: number[];
  }[];
}

export interface StackOptions {
  seed: number;
  /** References to make; the model's own number where it is not given, Infinity for an endless stream. */
  length?: number;
}

/**
 * Fits a model to references, which are dense ids from 0, in chunks. They are gone through twice: an array of chunks, or
 * an object whose iterator begins anew. Memory follows the distinct objects.
 * @throws RangeError where there are no references.
 */
export function fitStack(
  references: Iterable<Uint32Array>,
  options: { phases?: number; bins?: number } = {},
): StackModel {
  const { phases = 20, bins = 48 } = options;
  let length = 0;
  let objects = 0;
  for (const chunk of references) {
    length += chunk.length;
    for (const id of chunk) objects = Math.max(objects, id + 1);
  }
  if (length === 0) throw new RangeError('expected references, got none');
  const edges = logEdges(objects, bins);
  const births = new Uint32Array(phases);
  const depths = Array.from({ length: phases }, () => new Float64Array(bins));
  const recency = new Recency();
  let at = 0;
  for (const chunk of references)
    for (const id of chunk) {
      const phase = Math.floor((at++ * phases) / length);
      const depth = recency.touch(id);
      if (depth === 0) births[phase]!++;
      else depths[phase]![binOf(edges, depth)]!++;
    }
  return {
    kind: 'stack',
    references: length,
    objects: recency.size,
    edges,
    phases: depths.map((weights, phase) => ({ births: births[phase]!, depths: rounded(weights) })),
  };
}

/**
 * A stream of object ids, numbered in the order of their births. The same model, seed and length give the same stream;
 * each phase has its number of births exactly. A longer stream begins again at the first phase, with its stack as it is.
 */
export class StackStream extends ReferenceStream {
  readonly #model: StackModel;
  readonly #random: Random;
  readonly #depths: (Bins | undefined)[];
  readonly #recency = new Recency();
  #phase = -1;
  #phaseEnd = 0;
  #births = 0;

  /** @throws RangeError for a model without references, or a length that is not from 0. */
  constructor(model: StackModel, options: StackOptions) {
    super(options.length ?? model.references);
    this.#model = model;
    if (!(model.references > 0)) throw new RangeError('expected a model with references');
    this.#random = new Random(options.seed);
    this.#depths = model.phases.map(({ depths }) =>
      depths.some((weight) => weight > 0) ? new Bins(model.edges, depths) : undefined,
    );
  }

  protected override draw(position: number): number {
    while (position === this.#phaseEnd) this.#startPhase(position);
    const left = this.#phaseEnd - position;
    const recency = this.#recency;
    const depths = this.#depths[this.#phase];
    if (recency.size === 0 || depths === undefined || this.#random.int(left) < this.#births) {
      this.#births--;
      const id = recency.size;
      recency.touch(id);
      return id;
    }
    const id = recency.at(Math.min(depths.at(this.#random.float()), recency.size));
    recency.touch(id);
    return id;
  }

  #startPhase(position: number): void {
    const { references, phases } = this.#model;
    this.#phase = (this.#phase + 1) % phases.length;
    const lap = Math.floor(position / references) * references;
    this.#phaseEnd = lap + Math.ceil(((this.#phase + 1) * references) / phases.length);
    this.#births = phases[this.#phase]!.births;
  }
}
