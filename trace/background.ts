// Traces read and results written on threads of their own: decoding and encoding a block takes tens of milliseconds, in
// which a replay would send nothing.

import { Worker } from 'node:worker_threads';
import { Batch, byteColumns, shortColumns, timeColumns, wordColumns } from './batch.ts';
import { TraceError, type TraceErrorCode } from './error.ts';
import type { ResultsEnd, ResultsMeta } from './meta.ts';
import {
  ResultBatch,
  resultByteColumns,
  resultShortColumns,
  resultTimeColumns,
  resultWordColumns,
} from './results.ts';
import type { Source } from './source.ts';
import type { SurveyedStretch } from './survey.ts';
import type { ViewOptions } from './view.ts';

/** What a thread is for. */
export type Task =
  | { kind: 'read'; source: Source; view: ViewOptions; survey: SurveyedStretch }
  | { kind: 'write'; path: string; meta: ResultsMeta };

/** To the thread. */
export type Order =
  | { want: true }
  | { results: ResultParts }
  /** To be encoded and thrown away: code that has run before runs faster. */
  | { trial: ResultParts }
  | { finish: ResultsEnd }
  | { abort: true };

/** From the thread. */
export type Report =
  | { batch: BatchParts }
  | { end: true }
  | { written: true }
  | { failed: { code: TraceErrorCode | undefined; message: string } };

export type BatchParts = Pick<
  Batch,
  | 'firstIndex'
  | 'count'
  | 'connections'
  | 'heapLength'
  | 'capacity'
  | 'keyCount'
  | ColumnOf<typeof batchColumns>
> & { heap: Uint8Array };
export type ResultParts = Pick<
  ResultBatch,
  'count' | 'heapLength' | 'capacity' | ColumnOf<typeof resultColumns>
> & { heap: Uint8Array };
type ColumnOf<T extends readonly string[]> = T[number];

const batchColumns = [...byteColumns, ...shortColumns, ...wordColumns, ...timeColumns] as const;
const resultColumns = [
  ...resultByteColumns,
  ...resultShortColumns,
  ...resultWordColumns,
  ...resultTimeColumns,
] as const;

/** Batches on their way or waiting. */
const AHEAD = 2;
/** Blocks of results that wait for the thread. */
const MAX_PENDING = 4;
const TRIALS = 8;
const TRIAL_ROWS = 8_192;
const RESULT_ROWS = 65_536;
const RESULT_BYTES = 8 * 1024 * 1024;
/** At the beginning: nearly all answers agree, and leave no bytes. */
const HEAP_BYTES = 64 * 1024;

/** Takes the batch apart for another thread; it is of no use here any more. */
export function giveBatch(batch: Batch): { parts: BatchParts; transfer: ArrayBuffer[] } {
  const heap = own(batch.heap.subarray(0, batch.heapLength));
  const { firstIndex, count, connections, heapLength, capacity, keyCount } = batch;
  const parts = { firstIndex, count, connections, heapLength, capacity, keyCount, heap } as BatchParts;
  const transfer = new Set([heap.buffer]);
  for (const name of batchColumns) {
    Object.assign(parts, { [name]: batch[name] });
    transfer.add(batch[name].buffer as ArrayBuffer);
  }
  return { parts, transfer: [...transfer] };
}

function takeBatch(parts: BatchParts): Batch {
  const { heap } = parts;
  return Object.assign(new Batch(0, 0), parts, {
    heap: Buffer.from(heap.buffer, heap.byteOffset, heap.byteLength),
  });
}

function giveResults(results: ResultBatch): { parts: ResultParts; transfer: ArrayBuffer[] } {
  const heap = own(results.heap.subarray(0, results.heapLength));
  const { count, heapLength, capacity } = results;
  const parts = { count, heapLength, capacity, heap } as ResultParts;
  const transfer = [heap.buffer];
  for (const name of resultColumns) {
    Object.assign(parts, { [name]: results[name] });
    transfer.push(results[name].buffer as ArrayBuffer);
  }
  return { parts, transfer };
}

export function takeResults(parts: ResultParts): ResultBatch {
  const { heap } = parts;
  return Object.assign(new ResultBatch(0, 0), parts, {
    firstIndex: 0,
    heap: Buffer.from(heap.buffer, heap.byteOffset, heap.byteLength),
  });
}

/** The bytes in memory that can be given away: not a piece of Node's pool, nor a small part of something large. */
function own(bytes: Buffer): Uint8Array<ArrayBuffer> {
  const isOwn = bytes.buffer instanceof ArrayBuffer && bytes.length * 2 >= bytes.buffer.byteLength;
  if (isOwn && bytes.length > Buffer.poolSize)
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  return new Uint8Array(bytes);
}

function start(task: Task): Worker {
  // From the sources, as tests run them, the build's thread is used: threads do not read TypeScript.
  const file = import.meta.url.endsWith('.ts') ? '../dist/trace/thread.js' : './thread.js';
  return new Worker(new URL(file, import.meta.url), { workerData: task, name: `memtape ${task.kind}` });
}

function post(worker: Worker, order: Order, transfer: ArrayBuffer[] = []): void {
  worker.postMessage(order, transfer);
}

function errorOf({ code, message }: { code: TraceErrorCode | undefined; message: string }): Error {
  return code === undefined ? new Error(message) : new TraceError(code, message);
}

/** As TraceView.batches, decoded or made on another thread. @throws TraceError CHECKSUM, BROKEN */
export async function* readBatches(
  source: Source,
  view: ViewOptions,
  survey: SurveyedStretch,
): AsyncGenerator<Batch> {
  const { exchanges, firstIndex, lastNs } = survey;
  const worker = start({ kind: 'read', source, view, survey: { exchanges, firstIndex, lastNs } });
  const reports: Report[] = [];
  let wake: (() => void) | undefined;
  const push = (report: Report): void => {
    reports.push(report);
    wake?.();
  };
  worker.on('message', push);
  worker.on('error', (error: Error) => push({ failed: { code: undefined, message: error.message } }));
  const gone = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  worker.once('exit', () => push({ end: true }));
  const order = (): void => post(worker, { want: true });
  for (let n = 0; n < AHEAD; n++) order();
  try {
    for (;;) {
      const report = reports.shift();
      if (report === undefined) {
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      if ('failed' in report) throw errorOf(report.failed);
      if ('end' in report) return;
      if (!('batch' in report)) continue;
      order();
      yield takeBatch(report.batch);
    }
  } finally {
    post(worker, { abort: true });
    await gone;
  }
}

/** As ResultsWriter, encoding on another thread. */
export class BackgroundResults {
  readonly #worker: Worker;
  readonly #gone: Promise<void>;
  #batch = new ResultBatch(RESULT_ROWS, HEAP_BYTES);
  #pending = 0;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  #ended = false;

  constructor(path: string, meta: ResultsMeta) {
    this.#worker = start({ kind: 'write', path, meta });
    this.#worker.on('message', (report: Report) => {
      if ('written' in report) this.#pending--;
      else if ('failed' in report) this.#error ??= errorOf(report.failed);
      else if ('end' in report) this.#ended = true;
      this.#wake?.();
    });
    this.#worker.on('error', (error: Error) => {
      this.#error ??= error;
      this.#wake?.();
    });
    this.#gone = new Promise((resolve) => this.#worker.once('exit', () => resolve()));
    for (let n = 0; n < TRIALS; n++) {
      const trial = new ResultBatch(TRIAL_ROWS);
      trial.count = TRIAL_ROWS;
      trial.intendedNs.fill(n);
      trial.sentNs.fill(n);
      this.#batch.append(trial);
      this.#give((parts) => ({ trial: parts }));
    }
  }

  /** Takes the batch's rows; the batch is the caller's again at once. @throws TraceError WRITE */
  append(results: ResultBatch): void {
    if (this.#error !== undefined) throw this.#error;
    const isFull = this.#batch.count + results.count > RESULT_ROWS || this.#batch.heapLength >= RESULT_BYTES;
    if (isFull) this.#send();
    this.#batch.append(results);
  }

  #send(): void {
    if (this.#batch.count === 0) return;
    this.#pending++;
    this.#give((parts) => ({ results: parts }));
  }

  #give(order: (parts: ResultParts) => Order): void {
    const { parts, transfer } = giveResults(this.#batch);
    post(this.#worker, order(parts), transfer);
    this.#batch = new ResultBatch(RESULT_ROWS, HEAP_BYTES);
  }

  /** Resolves when few enough blocks wait. @throws TraceError WRITE */
  async drained(): Promise<void> {
    while (this.#pending > MAX_PENDING && this.#error === undefined) await this.#news();
    if (this.#error !== undefined) throw this.#error;
  }

  async #news(): Promise<void> {
    await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  /** Writes what is left, the closing block and the index. @throws TraceError WRITE */
  async finish(end: ResultsEnd): Promise<void> {
    this.#send();
    await this.#close({ finish: end });
    if (this.#error !== undefined) throw this.#error;
  }

  /** Closes the file without its end; it is readable up to here. */
  async abort(): Promise<void> {
    this.#send();
    await this.#close({ abort: true });
  }

  async #close(order: Order): Promise<void> {
    post(this.#worker, order);
    while (!this.#ended && this.#error === undefined) await this.#news();
    await this.#gone;
  }
}
