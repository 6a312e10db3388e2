// The trace files of one recording: a single one, or one after the other (`rotate`), each a trace of its own: its times
// begin at zero and its connections at number zero, whatever was open before is known as open before.

import { unlink } from 'node:fs/promises';
import { NEVER, type Batch } from '../trace/batch.ts';
import { TraceWriter } from '../trace/file.ts';
import { captureSince, type Capture, type TraceMeta } from '../trace/meta.ts';

export interface Rotation {
  /** A file is followed by the next at this many bytes … */
  bytes?: number;
  /** … or once it spans this much of the source's time. */
  ns?: number;
}

/** What a file's end says, counted from the recording's beginning. */
export interface Counted {
  capture: Capture;
  casRequests: number;
  notes?: string[];
}

interface Tape {
  path: string;
  writer: TraceWriter;
  view: View | undefined;
  baseNs: number;
  before: Counted;
  rows: number;
}

/** A stretch of a recording told as one that began there. */
export class View {
  readonly #baseNs: number;
  readonly #ids = new Map<number, number>();

  constructor(baseNs: number) {
    this.#baseNs = baseNs;
  }

  /** Changes the batch in place. Its rows must not be from before the base. */
  apply(batch: Batch): void {
    const base = this.#baseNs;
    for (let row = 0; row < batch.count; row++) {
      batch.requestNs[row]! -= base;
      batch.requestEndNs[row]! -= base;
      if (batch.answerNs[row] !== NEVER) batch.answerNs[row]! -= base;
      batch.connection[row] = this.#id(batch.connection[row]!);
    }
    for (const connection of batch.connections) {
      connection.id = this.#id(connection.id);
      connection.openNs = connection.openNs < base ? NEVER : connection.openNs - base;
      if (connection.closeNs !== NEVER) connection.closeNs = Math.max(0, connection.closeNs - base);
    }
  }

  #id(id: number): number {
    let local = this.#ids.get(id);
    if (local === undefined) this.#ids.set(id, (local = this.#ids.size));
    return local;
  }
}

export class Tapes {
  readonly files: string[] = [];
  readonly #path: string;
  readonly #rotation: Rotation | undefined;
  readonly #meta: () => TraceMeta;
  readonly #counted: () => Counted;
  #tape: Tape | undefined;
  #finishedBytes = 0;
  #made = 0;

  /**
   * @param path of the only file, or of those that `rotate` numbers: live.tape, live-2.tape, live-3.tape
   * @param meta of the recording as a whole
   */
  constructor(path: string, rotation: Rotation | undefined, meta: () => TraceMeta, counted: () => Counted) {
    this.#path = path;
    this.#rotation = rotation;
    this.#meta = meta;
    this.#counted = counted;
  }

  /** Of all files together. */
  get bytesWritten(): number {
    return this.#finishedBytes + (this.#tape?.writer.bytesWritten ?? 0);
  }

  /** The file is full, or old, at this time of the source. */
  isDue(nowNs: number): boolean {
    if (this.#tape === undefined || this.#rotation === undefined) return false;
    const { bytes = Infinity, ns = Infinity } = this.#rotation;
    return this.#tape.writer.bytesWritten >= bytes || nowNs - this.#tape.baseNs >= ns;
  }

  /** There is a file to append to. `oldestNs`: rows to come are not from before. @throws TraceError WRITE */
  async ready(oldestNs: number): Promise<void> {
    if (this.#tape !== undefined) return;
    const isFirst = this.#made++ === 0;
    const baseNs = isFirst ? 0 : oldestNs;
    const path = isFirst ? this.#path : numbered(this.#path, this.#made);
    const meta = this.#meta();
    this.#tape = {
      path,
      writer: await TraceWriter.create(path, {
        ...meta,
        startNs: (BigInt(meta.startNs) + BigInt(Math.round(baseNs))).toString(),
      }),
      view: isFirst ? undefined : new View(baseNs),
      baseNs,
      before: structuredClone(this.#counted()),
      rows: 0,
    };
    if (isFirst) this.#tape.before = { capture: captureSince(), casRequests: 0 };
    this.files.push(path);
  }

  /** @throws TraceError WRITE of an earlier block */
  append(batch: Batch): void {
    const tape = this.#tape!;
    batch.firstIndex = tape.rows;
    tape.rows += batch.count;
    tape.view?.apply(batch);
    tape.writer.append(batch);
  }

  async drained(): Promise<void> {
    await this.#tape?.writer.drained();
  }

  async flush(): Promise<void> {
    await this.#tape?.writer.flush();
  }

  /** Finishes the file; what comes goes to the next. A file that got no rows goes away. @throws TraceError WRITE */
  async next(): Promise<void> {
    const tape = this.#tape;
    if (tape === undefined) return;
    this.#tape = undefined;
    const { capture, casRequests, ...more } = this.#counted();
    await tape.writer.finish({
      capture: captureSince(capture, tape.before.capture),
      casRequests: casRequests - tape.before.casRequests,
      ...more,
    });
    if (tape.rows > 0) {
      this.#finishedBytes += tape.writer.bytesWritten;
      return;
    }
    await unlink(tape.path);
    this.files.pop();
  }

  /** Closes the file without its end: it is readable up to its last block. */
  async abort(): Promise<void> {
    await this.#tape?.writer.abort();
  }
}

/** live.tape, 3 → live-3.tape */
export function numbered(path: string, number: number): string {
  const match = /^(.*?)(\.[^./]*)?$/.exec(path)!;
  return `${match[1]}-${number}${match[2] ?? ''}`;
}
