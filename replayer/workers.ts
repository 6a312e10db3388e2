// Several engines at once, each on a thread of its own with its part of the connections. They keep one order among them
// (share.ts), start together, and leave parts of the results, which are put together at the end.

import { rmSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { togetherEnds } from '../trace/ends.ts';
import { TraceError, type TraceErrorCode } from '../trace/error.ts';
import { ResultsReader, ResultsWriter } from '../trace/file.ts';
import type { ResultsEnd } from '../trace/meta.ts';
import { ResultBatch, SkipReason } from '../trace/results.ts';
import { nothingDone, type EngineProgress } from './engine.ts';
import type { Done, Work } from './run.ts';
import { createShared, type SharedMemory } from './share.ts';

export interface WorkerTask {
  work: Work;
  worker: number;
  shared: SharedMemory;
}

/** To a worker. */
export type Command = { start: number } | { abort: true };

/** From a worker. `start` is wanted once it has something to send. */
export type News =
  | { ready: true }
  | { progress: EngineProgress }
  | { end: ResultsEnd }
  | { failed: { code: TraceErrorCode | undefined; message: string } };

/** @throws TraceError of the trace or the results file */
export async function runWorkers(
  work: Work,
  count: number,
  onProgress: (progress: EngineProgress) => void,
  signal: AbortSignal | undefined,
  onBegin?: (delayMs: number) => void,
  begin: () => Promise<number> = async () => performance.now() + work.leadMs,
): Promise<Done> {
  const shared = createShared(count);
  const parts = Array.from({ length: count }, (_, n) => `${work.results}.part${n}`);
  const file = import.meta.url.endsWith('.ts') ? '../dist/replayer/worker.js' : './worker.js';
  const threads = parts.map((results, worker) => {
    const task: WorkerTask = { work: { ...work, results }, worker, shared };
    return new Worker(new URL(file, import.meta.url), { workerData: task, name: `memtape ${worker}` });
  });
  // All workers read the same clock: milliseconds of Unix time, with their fraction.
  const start = async (): Promise<void> => {
    const atMs = await begin();
    command({ start: performance.timeOrigin + atMs });
    onBegin?.(atMs - performance.now());
  };
  const command = (order: Command): void => {
    for (const thread of threads) thread.postMessage(order, []);
  };
  const abort = (): void => command({ abort: true });
  signal?.addEventListener('abort', abort);
  const progress = threads.map(() => nothingDone);
  let ready = 0;
  try {
    const ends = await Promise.all(
      threads.map(
        async (thread, n) =>
          new Promise<ResultsEnd>((resolve, reject) => {
            const fail = (error: Error): void => {
              // The others wait for what this one will not do.
              abort();
              reject(error);
            };
            thread.on('message', (news: News) => {
              if ('ready' in news) {
                if (++ready === count) start().catch(fail);
              } else if ('progress' in news) {
                progress[n] = news.progress;
                onProgress(progressOf(progress));
              } else if ('end' in news) resolve(news.end);
              else {
                const { code, message } = news.failed;
                fail(code === undefined ? new Error(message) : new TraceError(code, message));
              }
            });
            thread.on('error', fail);
            thread.on('exit', () => fail(new Error(`worker ${n} ended before its work did`)));
            if (signal?.aborted === true) abort();
          }),
      ),
    );
    return { end: togetherEnds(ends), finish: async (end) => merge(work, parts, end) };
  } catch (error) {
    for (const part of parts) rmSync(part, { force: true });
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
    await Promise.all(threads.map(async (thread) => thread.terminate()));
  }
}

function progressOf(all: readonly EngineProgress[]): EngineProgress {
  return all.reduce((total, one) => ({
    done: total.done + one.done,
    sent: total.sent + one.sent,
    answered: total.answered + one.answered,
    differ: total.differ + one.differ,
    failed: total.failed + one.failed,
    positionNs: Math.max(total.positionNs, one.positionNs),
    lagNs: Math.max(total.lagNs, one.lagNs),
  }));
}

const MERGED_ROWS = 65_536;
const MERGED_BYTES = 8 * 1024 * 1024;

/** One results file of the parts: of each row, what the worker says that it was. */
async function merge(work: Work, parts: readonly string[], end: ResultsEnd): Promise<void> {
  const readers: ResultsReader[] = [];
  try {
    for (const part of parts) readers.push(await ResultsReader.open(part));
    const writer = await ResultsWriter.create(work.results, work.meta);
    try {
      await mergeInto(writer, readers);
      await writer.finish(end);
    } catch (error) {
      await writer.abort();
      throw error;
    }
  } finally {
    for (const reader of readers) await reader.close();
    for (const part of parts) rmSync(part, { force: true });
  }
}

async function mergeInto(writer: ResultsWriter, readers: readonly ResultsReader[]): Promise<void> {
  const rows = readers.map((reader) => new Rows(reader));
  const merged = new ResultBatch(MERGED_ROWS);
  for (;;) {
    await Promise.all(rows.map(async (one) => one.fill()));
    const live = rows.filter(({ left }) => left > 0);
    if (live.length === 0) break;
    const count = Math.min(...live.map(({ left }) => left), MERGED_ROWS - merged.count);
    for (let n = 0; n < count; n++) {
      // Only a run that was stopped has rows that are nobody's.
      const owner = live.find((one) => one.reason(n) !== SkipReason.elsewhere);
      if (owner === undefined) merged.skip(SkipReason.aborted);
      else owner.copy(n, merged);
    }
    for (const one of live) one.skip(count);
    if (merged.count < MERGED_ROWS && merged.heapLength < MERGED_BYTES) continue;
    writer.append(merged);
    await writer.drained();
    merged.clear();
  }
  if (merged.count > 0) writer.append(merged);
}

/** The rows of a part, one block after the other. */
class Rows {
  readonly #batches: AsyncIterator<ResultBatch>;
  #batch: ResultBatch | undefined;
  #row = 0;

  constructor(reader: ResultsReader) {
    this.#batches = reader.batches()[Symbol.asyncIterator]();
  }

  /** Rows of the block that are left; 0 at the end. */
  get left(): number {
    return this.#batch === undefined ? 0 : this.#batch.count - this.#row;
  }

  async fill(): Promise<void> {
    while (this.left === 0) {
      const next = await this.#batches.next();
      if (next.done === true) {
        this.#batch = undefined;
        return;
      }
      this.#batch = next.value;
      this.#row = 0;
    }
  }

  reason(n: number): number {
    return this.#batch!.reason[this.#row + n]!;
  }

  copy(n: number, to: ResultBatch): void {
    to.take(this.#batch!, this.#row + n);
  }

  skip(count: number): void {
    this.#row += count;
  }
}
