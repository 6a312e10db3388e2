// The flight recorder: the last minutes of a recording, in slices on the disk of which the oldest is deleted as a new one
// begins, put together into a trace of their own when somebody asks or when errors come in a burst.

import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Status } from '../protocol/status.ts';
import { Outcome, type Batch } from '../trace/batch.ts';
import { TraceReader, TraceWriter } from '../trace/file.ts';
import type { TraceMeta } from '../trace/meta.ts';
import { Claim } from './claim.ts';
import { View, claimFree, timeName, type Counted } from './tapes.ts';

export interface RingOptions {
  /** How much of the source's time is kept. */
  ns: number;
  /** Also written when this many answers with an error status came within so many nanoseconds. */
  trigger?: { errors: number; withinNs: number };
}

const SLICES = 10;
const SLICE_NAME = /^slice-\d+\.tape$/;

interface Slice {
  path: string;
  writer: TraceWriter;
  fromNs: number;
  toNs: number;
  rows: number;
}

/** Answers that a healthy cache gives all the time. */
const ordinary = new Set<number>([Status.ok, Status.notFound, Status.exists, Status.notStored]);

export class Ring {
  /** Traces written so far. */
  readonly files: string[] = [];
  /** Called when a burst of errors asks for a trace. */
  onTrigger: (() => void) | undefined;
  readonly #path: string;
  readonly #folder: string;
  readonly #options: RingOptions;
  readonly #meta: () => TraceMeta;
  readonly #counted: () => Counted;
  readonly #claim: Claim;
  /** The latest time that is known, of the source or of the clock. */
  #nowNs = -Infinity;
  readonly #slices: Slice[] = [];
  readonly #errorNs: Float64Array;
  #errors = 0;
  #quietUntilNs = -Infinity;
  #made = 0;
  #open: Slice | undefined;
  /** Slices that are being read stay until they have been. */
  #reading = 0;
  #pruneNs = -Infinity;

  /** @throws RecorderError BAD_OUTPUT */
  constructor(
    path: string,
    options: RingOptions,
    meta: () => TraceMeta,
    counted: () => Counted,
    overwrite: boolean,
  ) {
    this.#claim = Claim.take(path, overwrite);
    this.#path = path;
    this.#folder = `${path}.ring`;
    this.#options = options;
    this.#meta = meta;
    this.#counted = counted;
    this.#errorNs = new Float64Array(options.trigger?.errors ?? 1).fill(-Infinity);
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    // What a recording that died has left.
    for (const name of readdirSync(this.#folder)) if (SLICE_NAME.test(name)) rmSync(join(this.#folder, name));
  }

  get bytesWritten(): number {
    return this.#slices.reduce((sum, slice) => sum + slice.writer.bytesWritten, 0);
  }

  /** Whatever is older than the ring goes as the time goes on, whether or not anything comes. */
  async tick(nowNs: number): Promise<void> {
    this.#nowNs = Math.max(this.#nowNs, nowNs);
    await this.#prune(this.#nowNs);
  }

  isDue(nowNs: number): boolean {
    return this.#open !== undefined && nowNs - this.#open.fromNs >= this.#options.ns / SLICES;
  }

  /** @throws TraceError WRITE */
  async ready(begin: () => number): Promise<void> {
    if (this.#open !== undefined) return;
    const oldestNs = begin();
    const path = join(this.#folder, `slice-${this.#made++}.tape`);
    const writer = await TraceWriter.create(path, this.#meta());
    this.#open = { path, writer, fromNs: oldestNs, toNs: oldestNs, rows: 0 };
    this.#slices.push(this.#open);
    await this.#prune(oldestNs);
  }

  append(batch: Batch): void {
    const slice = this.#open!;
    batch.firstIndex = slice.rows;
    slice.rows += batch.count;
    if (batch.count > 0) slice.toNs = batch.requestNs[batch.count - 1]!;
    if (this.#options.trigger !== undefined) this.#watch(batch, this.#options.trigger);
    slice.writer.append(batch);
  }

  async drained(): Promise<void> {
    await this.#open?.writer.drained();
  }

  async flush(): Promise<void> {
    await this.#open?.writer.flush();
  }

  /** The open slice is whole. @throws TraceError WRITE */
  async next(): Promise<void> {
    const slice = this.#open;
    this.#open = undefined;
    await slice?.writer.finish(this.#counted());
  }

  async abort(): Promise<void> {
    await this.#open?.writer.abort();
    this.close();
  }

  close(): void {
    this.#claim.release();
  }

  /**
   * Writes what the slices hold of the ring's time, which must be whole, to a trace: to the recording's own path if it is
   * the last. Returns its path, undefined where there is nothing to write.
   * @throws TraceError · RecorderError
   */
  async write(isLast: boolean): Promise<string | undefined> {
    const slices = this.#slices.filter((slice) => slice !== this.#open && slice.rows > 0);
    const newestNs = slices.at(-1)?.toNs;
    if (newestNs === undefined) return undefined;
    const cutNs = Math.max(newestNs, this.#nowNs) - this.#options.ns;
    if (newestNs < cutNs) return undefined;
    const startNs = BigInt(this.#meta().startNs) + BigInt(Math.round(newestNs));
    const claim = isLast ? this.#claim : claimFree(this.#path, timeName(startNs));
    this.#reading++;
    try {
      claim.check();
      claim.use();
      await this.#join(claim.path, slices, cutNs);
    } finally {
      this.#reading--;
    }
    await this.#prune(this.#pruneNs);
    if (!isLast) this.files.push(claim.path);
    return claim.path;
  }

  /** The slices go. */
  async remove(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #join(path: string, slices: readonly Slice[], cutNs: number): Promise<void> {
    const meta = this.#meta();
    let writer: TraceWriter | undefined;
    let view: View | undefined;
    let rows = 0;
    try {
      for (const slice of slices) {
        if (slice.toNs < cutNs) continue;
        const trace = await TraceReader.open(slice.path, { values: 'as they stand' });
        try {
          for await (const batch of trace.batches()) {
            let from = 0;
            while (from < batch.count && batch.requestNs[from]! < cutNs) from++;
            if (from === batch.count) continue;
            const part = from === 0 ? batch : batch.slice(from, batch.count);
            if (writer === undefined || view === undefined) {
              const baseNs = part.requestNs[0]!;
              view = new View(baseNs);
              const startNs = (BigInt(meta.startNs) + BigInt(Math.round(baseNs))).toString();
              writer = await TraceWriter.create(path, { ...meta, startNs });
            }
            view.apply(part);
            part.firstIndex = rows;
            rows += part.count;
            writer.append(part);
            await writer.drained();
          }
        } finally {
          await trace.close();
        }
      }
      await writer?.finish(structuredClone(this.#counted()));
    } catch (error) {
      await writer?.abort();
      throw error;
    }
  }

  async #prune(nowNs: number): Promise<void> {
    this.#pruneNs = Math.max(this.#pruneNs, nowNs);
    while (this.#reading === 0 && this.#slices.length > 0 && this.#slices[0] !== this.#open) {
      if (this.#slices[0]!.toNs >= this.#pruneNs - this.#options.ns) return;
      await rm(this.#slices.shift()!.path, { force: true });
    }
  }

  #watch(batch: Batch, { errors, withinNs }: { errors: number; withinNs: number }): void {
    for (let row = 0; row < batch.count; row++) {
      if (batch.outcome[row] !== Outcome.answered || ordinary.has(batch.status[row]!)) continue;
      const ns = batch.answerNs[row]!;
      const place = this.#errors++ % errors;
      this.#errorNs[place] = ns;
      // The one after it in the circle is the oldest of the last so many.
      const oldest = this.#errorNs[(place + 1) % errors]!;
      if (ns - oldest > withinNs || ns < this.#quietUntilNs) continue;
      this.#quietUntilNs = ns + this.#options.ns;
      this.onTrigger?.();
    }
  }
}
