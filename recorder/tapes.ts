// The trace files of one recording: a single one, or one after the other (`rotate`), each a trace of its own: its times
// begin at zero and its connections at number zero, whatever was open before is known as open before.

import { readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { NEVER, type Batch } from '../trace/batch.ts';
import { FileKind, kindOfFile } from '../trace/block.ts';
import { TraceWriter } from '../trace/file.ts';
import { captureSince, type Capture, type TraceMeta } from '../trace/meta.ts';
import { Claim, checkOutput } from './claim.ts';

export interface Rotation {
  /** A file is followed by the next at this many bytes … */
  bytes?: number;
  /** … or once it spans this much of the source's time. */
  ns?: number;
  /**
   * So many files stay at most, the traces of earlier recordings under this name included; the oldest go. Whatever else
   * has such a name stays. Default: all.
   */
  keep?: number;
  /** A file is finished. */
  onFile?: (path: string) => void;
}

/** What a file's end says, counted from the recording's beginning. */
export interface Counted {
  capture: Capture;
  casRequests: number;
  notes?: string[];
}

interface Tape {
  path: string;
  claim: Claim;
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
  /** The claim on the only file. */
  readonly #claim: Claim | undefined;
  /** Files of this name on the disk, the oldest first. */
  readonly #kept: string[] = [];

  /**
   * @param path of the only file, or of those that `rotate` names by the time at which each begins:
   *   live-20261130T034500Z.tape
   * @param meta of the recording as a whole
   * @param overwrite whether a file that is there may be replaced
   * @throws RecorderError BAD_OUTPUT
   */
  constructor(
    path: string,
    rotation: Rotation | undefined,
    meta: () => TraceMeta,
    counted: () => Counted,
    overwrite: boolean,
  ) {
    this.#path = path;
    this.#rotation = rotation;
    this.#meta = meta;
    this.#counted = counted;
    if (rotation === undefined) this.#claim = Claim.take(path, overwrite);
    else {
      checkOutput(path, true);
      if (rotation.keep !== undefined) this.#kept.push(...rotatedFiles(path));
    }
  }

  /** Bytes in all files together. */
  get bytesWritten(): number {
    return this.#finishedBytes + (this.#tape?.writer.bytesWritten ?? 0);
  }

  /** The file is full, or old, at this time of the source. */
  isDue(nowNs: number): boolean {
    if (this.#tape === undefined || this.#rotation === undefined) return false;
    const { bytes = Infinity, ns = Infinity } = this.#rotation;
    return this.#tape.writer.bytesWritten >= bytes || nowNs - this.#tape.baseNs >= ns;
  }

  /** There is a file to append to. `begin`: asked where one is made; rows to come are not from before. @throws TraceError WRITE · RecorderError */
  async ready(begin: () => number): Promise<void> {
    if (this.#tape !== undefined) return;
    const isFirst = this.#made++ === 0;
    const baseNs = isFirst ? 0 : begin();
    const meta = this.#meta();
    const startNs = BigInt(meta.startNs) + BigInt(Math.round(baseNs));
    const claim = this.#claim ?? claimFree(this.#path, timeName(startNs));
    const { path } = claim;
    claim.check();
    this.#tape = {
      path,
      claim,
      writer: await TraceWriter.create(path, { ...meta, startNs: startNs.toString() }),
      view: isFirst ? undefined : new View(baseNs),
      baseNs,
      before: structuredClone(this.#counted()),
      rows: 0,
    };
    if (isFirst) this.#tape.before = { capture: captureSince(), casRequests: 0 };
    claim.use();
    this.files.push(path);
    this.#kept.push(path);
    await this.#tidy(this.#rotation?.keep ?? Infinity);
  }

  /** The oldest go. One that cannot be deleted stays: that is no reason to stop recording. */
  async #tidy(keep: number): Promise<void> {
    while (this.#kept.length > keep) await rm(this.#kept.shift()!, { force: true }).catch(() => undefined);
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

  /** Finishes the file; what comes goes to the next. A file that got no rows goes away. @throws TraceError WRITE · RecorderError */
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
      tape.claim.check();
      this.#finishedBytes += tape.writer.bytesWritten;
      this.#rotation?.onFile?.(tape.path);
      return;
    }
    tape.claim.remove();
    this.files.pop();
    this.#kept.pop();
  }

  /** The recording is over, and every file finished. */
  close(): void {
    this.#claim?.release();
  }

  /** Closes the file without its end: it is readable up to its last block. */
  async abort(): Promise<void> {
    await this.#tape?.writer.abort();
    this.close();
  }
}

/** live.tape, 20261130T034500Z → live-20261130T034500Z.tape */
function named(path: string, name: string): string {
  const match = /^(.*?)(\.[^./]*)?$/.exec(path)!;
  return `${match[1]}-${name}${match[2] ?? ''}`;
}

/** A time as names of files have it: they sort by it. */
export function timeName(ns: bigint): string {
  return new Date(Number(ns / 1_000_000n)).toISOString().replaceAll(/[-:]|\.\d+/g, '');
}

/** Takes the first path that is free: live-NAME.tape, live-NAME-2.tape, … @throws RecorderError BAD_OUTPUT */
export function claimFree(path: string, name: string): Claim {
  for (let number = 1; ; number++) {
    const candidate = named(path, number === 1 ? name : `${name}-${number}`);
    if (checkOutput(candidate, true) === undefined) return Claim.take(candidate, false);
  }
}

/**
 * What earlier recordings have left under these names, the oldest first: files, and no links, that have a name which
 * `claimFree` gives and begin as traces do.
 */
function rotatedFiles(path: string): string[] {
  const folder = dirname(path);
  const [before, after] = named(basename(path), '\0').split('\0') as [string, string];
  return readdirSync(folder, { withFileTypes: true })
    .filter(
      (entry) =>
        entry.isFile() &&
        entry.name.startsWith(before) &&
        entry.name.endsWith(after) &&
        /^\d{8}T\d{6}Z(-\d+)?$/.test(entry.name.slice(before.length, entry.name.length - after.length)),
    )
    .map(({ name }) => name)
    .toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }))
    .map((name) => join(folder, name))
    .filter((file) => kindOfFile(file) === FileKind.trace);
}
