// How many distinct objects a window of references holds, on average, by its length: Denning and Schwartz, "Properties of the
// working-set model" (1972). It follows from the distances between an object's references alone.

import { binOf } from '../laws/bins.ts';

/** Edges of the bins of distances are so far apart, as a factor. */
const STEP = 1.1;

export class WorkingSet {
  readonly #edges: number[] = [1];
  readonly #gaps: Float64Array;
  /** At each edge: distinct objects in a window of so many references, the one that ends it among them. */
  #sizes = new Float64Array(0);

  /** @param longest the longest distance */
  constructor(longest: number) {
    for (let edge = 1; edge <= longest;) {
      edge = Math.max(edge + 1, Math.round(edge * STEP));
      this.#edges.push(edge);
    }
    if (this.#edges.length === 1) this.#edges.push(2);
    this.#gaps = new Float64Array(this.#edges.length - 1);
  }

  add(gap: number, times: number): void {
    this.#gaps[binOf(this.#edges, gap)]! += times;
  }

  /**
   * All distances are known.
   * @param references of the stream, those that are their object's first among them
   * @param own of them, those of the objects whose distances were told
   */
  close(references: number, own = references): void {
    const edges = this.#edges;
    this.#sizes = new Float64Array(edges.length);
    let longer = own / references;
    let size = longer;
    for (const [bin, times] of this.#gaps.entries()) {
      this.#sizes[bin] = size;
      const share = times / references;
      size += (edges[bin + 1]! - edges[bin]!) * Math.max(0, longer - share / 2);
      longer -= share;
    }
    this.#sizes[edges.length - 1] = size;
  }

  /** Distinct objects in a window of so many references. */
  size(references: number): number {
    const [edges, sizes] = [this.#edges, this.#sizes];
    const bin = binOf(edges, references);
    const part = (references - edges[bin]!) / (edges[bin + 1]! - edges[bin]!);
    return sizes[bin]! + (sizes[bin + 1]! - sizes[bin]!) * Math.min(1, part);
  }

  /** References in a window that holds so many distinct objects. */
  length(objects: number): number {
    const [edges, sizes] = [this.#edges, this.#sizes];
    const bin = binOf(sizes, objects);
    const step = sizes[bin + 1]! - sizes[bin]!;
    const part = step > 0 ? Math.max(0, (objects - sizes[bin]!) / step) : 0;
    return edges[bin]! + (edges[bin + 1]! - edges[bin]!) * part;
  }
}
