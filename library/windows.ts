// A recording that is judged window by window while it goes on: each window is a trace of its own, judged on another thread,
// and let go. What a key held at a window's beginning is not known in it; memory and disk do not grow with time.

import { copyFileSync, rmSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { given } from '../config/given.ts';
import { Rolling } from '../report/rolling.ts';
import type { Report } from '../report/shape.ts';
import { parseThreshold } from '../report/threshold.ts';
import { claimFree, timeName } from '../recorder/tapes.ts';
import { TraceReader } from '../trace/file.ts';
import type { AuditTraceOptions } from './audit.ts';
import type { Judgement, Judging } from './judging.ts';

/** Windows that may wait to be judged; with more, the oldest is let go unjudged. */
const MAX_WAITING = 6;

export interface WindowsOptions {
  thresholds: readonly string[];
  windowSeconds: number;
  judging: Omit<AuditTraceOptions, 'thresholds' | 'onProgress'>;
  /** Where windows with a violation are kept, with the one before and the one after: their names carry the times. */
  keep?: string;
  /** A window was judged, and all of them so far together. */
  onWindow: (window: Report, all: Report) => void;
  /** Windows that could not be judged: so many so far, and why. */
  onLost: (count: number, why: string) => void;
  onKept?: (path: string) => void;
}

interface Window {
  path: string;
  startNs: bigint;
}

export class Windows {
  readonly #options: WindowsOptions;
  /** Started when there is something to judge, and anew after one that ended. */
  #worker: Worker | undefined;
  readonly #rolling: Rolling;
  readonly #waiting: string[] = [];
  #isBusy = false;
  #firstNs: bigint | undefined;
  #lost = 0;
  #losing: Promise<void> = Promise.resolve();
  #wake: (() => void) | undefined;
  /** The window before, which goes as soon as the one after it is judged. */
  #before: Window | undefined;
  #keepsNext = false;
  /** The last window that was kept. */
  #saved: string | undefined;

  /** @throws ThresholdError */
  constructor(options: WindowsOptions) {
    this.#options = options;
    const { thresholds, windowSeconds, judging } = options;
    const { examples = 10, minCoverage } = judging;
    this.#rolling = new Rolling({
      thresholds: thresholds.map(parseThreshold),
      examples,
      windowSeconds,
      ...given({ minCoverage }),
    });
  }

  /** A window is whole: a trace, which is this object's from now on. */
  add(path: string): void {
    this.#waiting.push(path);
    if (this.#waiting.length > MAX_WAITING)
      this.#losing = this.#lose(this.#waiting.shift()!, 'judging is slower than recording', this.#losing);
    this.#next();
  }

  /** All windows together, once all of them are judged; undefined where none was. */
  async close(): Promise<Report | undefined> {
    while (this.#isBusy || this.#waiting.length > 0)
      await new Promise<void>((resolve) => (this.#wake = resolve));
    await this.#losing;
    await this.#worker?.terminate();
    if (this.#before !== undefined) rmSync(this.#before.path, { force: true });
    return this.#rolling.report;
  }

  /** How many were let go unjudged. */
  get lost(): number {
    return this.#lost;
  }

  async #lose(path: string, why: string, before?: Promise<void>): Promise<void> {
    await before;
    this.#rolling.lose(await exchangesIn(path));
    rmSync(path, { force: true });
    this.#options.onLost(++this.#lost, why);
  }

  #next(): void {
    if (this.#isBusy) return;
    const path = this.#waiting.shift();
    if (path === undefined) {
      this.#wake?.();
      return;
    }
    this.#isBusy = true;
    this.#judge(path)
      .catch((error: unknown) => this.#lose(path, (error as Error).message))
      .finally(() => {
        this.#isBusy = false;
        this.#next();
      });
  }

  async #judge(path: string): Promise<void> {
    const trace = await TraceReader.open(path);
    await trace.close();
    const window: Window = { path, startNs: BigInt(trace.meta.startNs) };
    this.#firstNs ??= window.startNs;
    const answer = await this.#ask({ path, options: this.#options.judging });
    if ('error' in answer) throw new Error(answer.error);
    const { report } = answer;
    this.#rolling.add(report, Number(window.startNs - this.#firstNs) / 1e9);
    this.#keep(window, report.exchanges.violations > 0);
    this.#options.onWindow(report, this.#rolling.report!);
  }

  #ask(order: Judging): Promise<Judgement> {
    return new Promise((resolve, reject) => {
      const worker = (this.#worker ??= start());
      const settled = (): void => {
        worker.off('message', onAnswer).off('error', onError).off('exit', onExit);
      };
      const onAnswer = (answer: Judgement): void => {
        settled();
        resolve(answer);
      };
      const onError = (error: Error): void => {
        settled();
        this.#worker = undefined;
        reject(error);
      };
      const onExit = (): void => onError(new Error('the thread that judges ended'));
      worker.on('message', onAnswer).on('error', onError).on('exit', onExit);
      worker.postMessage(order, []);
    });
  }

  /** Keeps what is around a violation, and lets the window before go. */
  #keep(window: Window, isWrong: boolean): void {
    const before = this.#before;
    if (isWrong && before !== undefined) this.#save(before);
    if (isWrong || this.#keepsNext) this.#save(window);
    this.#keepsNext = isWrong;
    if (before !== undefined) rmSync(before.path, { force: true });
    this.#before = window;
  }

  #save({ path, startNs }: Window): void {
    const { keep, onKept } = this.#options;
    if (keep === undefined || this.#saved === path) return;
    const claim = claimFree(keep, timeName(startNs));
    copyFileSync(path, claim.path);
    claim.use();
    claim.release();
    this.#saved = path;
    onKept?.(claim.path);
  }
}

/** Undefined where it cannot be read. */
async function exchangesIn(path: string): Promise<number | undefined> {
  try {
    const trace = await TraceReader.open(path);
    await trace.close();
    return trace.exchangeCount;
  } catch {
    return undefined;
  }
}

function start(): Worker {
  // From the sources, as tests run them, the build's thread is used: threads do not read TypeScript.
  const file = import.meta.url.endsWith('.ts') ? '../dist/library/judging.js' : './judging.js';
  return new Worker(new URL(file, import.meta.url), { name: 'memtape judging' });
}
