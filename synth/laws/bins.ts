// Histograms with logarithmic bins of whole numbers: where a value falls, and how to draw values from the weights. Edges
// are kept in the model as whole numbers, so that drawing does not depend on how an engine rounds a logarithm.

const GUIDES = 64;

/** Edges of so many bins of [1, max], evenly apart in their logarithms; bin i holds edges[i] ≤ value < edges[i + 1]. */
export function logEdges(max: number, bins: number): number[] {
  const edges = [1];
  for (let i = 1; i <= bins; i++)
    edges.push(Math.max(edges[i - 1]! + 1, Math.round(Math.exp((Math.log(max + 1) * i) / bins))));
  return edges;
}

/** The bin of a value from 1; the last one's where it is beyond the edges. */
export function binOf(edges: ArrayLike<number>, value: number): number {
  let low = 0;
  let high = edges.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (edges[middle]! <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Whole weights that add up to about 100,000, for a model's file; what had a weight keeps one. All 0 stay so. */
export function rounded(weights: Float64Array): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return Array.from(weights, (weight) => (weight > 0 ? Math.max(1, Math.round((weight / total) * 1e5)) : 0));
}

/** Values drawn by the weights of bins, evenly within a bin. */
export class Bins {
  readonly #edges: Float64Array;
  readonly #shares: Float64Array;
  /** The bin where each 64th of the probability begins: a draw searches from there. */
  readonly #guides = new Uint16Array(GUIDES);

  /** @throws RangeError where there is not one weight from 0 for each bin, or none above 0. */
  constructor(edges: readonly number[], weights: readonly number[]) {
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    if (weights.length !== edges.length - 1 || !(total > 0) || weights.some((weight) => !(weight >= 0)))
      throw new RangeError(`expected ${edges.length - 1} weights from 0, not all 0, got ${weights.length}`);
    this.#edges = Float64Array.from(edges);
    this.#shares = new Float64Array(edges.length);
    let sum = 0;
    for (const [bin, weight] of weights.entries()) {
      sum += weight;
      this.#shares[bin + 1] = sum / total;
    }
    for (let guide = 0, bin = 0; guide < GUIDES; guide++) {
      while (this.#shares[bin + 1]! <= guide / GUIDES) bin++;
      this.#guides[guide] = bin;
    }
  }

  /** The value at a point of [0, 1) of the distribution. */
  at(point: number): number {
    const shares = this.#shares;
    let bin = this.#guides[Math.floor(point * GUIDES)]!;
    while (shares[bin + 1]! <= point) bin++;
    const low = this.#edges[bin]!;
    const within = (point - shares[bin]!) / (shares[bin + 1]! - shares[bin]!);
    return low + Math.floor(within * (this.#edges[bin + 1]! - low));
  }
}
