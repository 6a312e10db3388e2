// One step of `memtape capacity`: so many requests a second to the targets, for as long as a step lasts, and the report of it.
// The traffic is a trace, or what a model makes once, of which each step takes as much as it needs; what an earlier step left
// on the targets is deleted before the next one.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { replayToJudge } from '../library/replayed.ts';
import { ReplayError } from '../replayer/error.ts';
import type { ReplayOptions } from '../replayer/replay.ts';
import { compare } from '../diff/compare.ts';
import { makeReport, type ReportInput } from '../report/report.ts';
import type { Report } from '../report/shape.ts';
import type { Threshold } from '../report/threshold.ts';
import { TraceReader } from '../trace/file.ts';

export interface StepOptions {
  trace: string;
  targets: readonly string[];
  /** Options of the replay: order, route, credentials, TLS and the like. */
  replay: Omit<ReplayOptions, 'trace' | 'results' | 'targets' | 'rate' | 'signal'>;
  thresholds: readonly Threshold[];
  stepMs: number;
  warmupMs: number;
  /** For files that are gone afterwards. */
  folder: string;
}

/** Where a trace may be cut so that a step has the requests that it needs: the time of every so many-th one, ns. */
export interface Extent {
  exchanges: number;
  every: number;
  everyNs: readonly number[];
}

/** Times kept of a trace at most. */
const MOST_TIMES = 65_536;

/** @throws TraceError */
export async function extentOf(path: string): Promise<Extent> {
  const trace = await TraceReader.open(path);
  try {
    const everyNs: number[] = [];
    const every = Math.max(1, Math.ceil(trace.exchangeCount / MOST_TIMES));
    let exchanges = 0;
    for await (const batch of trace.batches())
      for (let row = 0; row < batch.count; row++)
        if (exchanges++ % every === 0) everyNs.push(batch.requestNs[row]!);
    return { exchanges, every, everyNs };
  } finally {
    await trace.close();
  }
}

/** The stretch of a trace that has so many requests, and how often it is replayed. */
function stretchOf(
  { exchanges, every, everyNs }: Extent,
  wanted: number,
): Pick<ReplayOptions, 'toNs' | 'loops'> {
  if (wanted >= exchanges) return { loops: Math.ceil(wanted / exchanges) };
  const toNs = everyNs[Math.ceil(wanted / every)];
  return toNs === undefined || toNs <= 0 ? {} : { toNs };
}

/** A step takes as long again and this before it is given up: the target does not keep up. */
const PATIENCE = 1.5;
const PATIENCE_MS = 2000;
/** A target that was asked for too much may take a moment until it is there again. */
const RECOVERY_MS = 1000;
const RECOVERIES = 10;

/** Steps against one cluster. */
export class Steps {
  readonly #options: StepOptions;
  readonly #extent: Extent;
  #done = 0;

  constructor(options: StepOptions, extent: Extent) {
    this.#options = options;
    this.#extent = extent;
  }

  /**
   * What the targets do at a rate.
   * @param results the name of its file
   * @throws ReplayError, TraceError
   */
  async at(rate: number, results: string, signal: AbortSignal): Promise<ReportInput> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#once(rate, results, signal);
      } catch (error) {
        const isOverloaded = error instanceof ReplayError && error.code === 'UNREACHABLE' && this.#done > 0;
        if (!isOverloaded || attempt >= RECOVERIES || signal.aborted) throw error;
        await sleep(RECOVERY_MS);
      }
    }
  }

  async #once(rate: number, name: string, interrupt: AbortSignal): Promise<ReportInput> {
    const { trace, targets, replay, thresholds, stepMs, warmupMs, folder } = this.#options;
    const results = join(folder, name);
    const lasts = stepMs + warmupMs;
    const tooLate = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    try {
      const replayed = await replayToJudge(
        {
          ...replay,
          ...stretchOf(this.#extent, Math.ceil((rate * lasts) / 1000)),
          trace,
          results,
          targets,
          rate: { plan: [{ from: rate, to: rate, seconds: Infinity }], text: String(rate) },
          clears: true,
          signal: AbortSignal.any([interrupt, tooLate.signal]),
          onProgress: ({ phase, total }) => {
            if (phase === 'replaying')
              timer ??= setTimeout(() => tooLate.abort(), (total / rate) * 1000 * PATIENCE + PATIENCE_MS);
          },
        },
        { examples: 1, warmupNs: warmupMs * 1e6 },
      );
      const judged = await replayed.judge(results);
      this.#done++;
      return { ...judged, thresholds };
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The report of a step, beside that of the baseline at the same rate where there is one. */
export function stepReport(input: ReportInput, before: ReportInput | undefined): Report {
  if (before === undefined) return makeReport(input);
  const changes = compare(before.diff, input.diff);
  return makeReport({ ...input, baseline: { report: makeReport({ ...before, thresholds: [] }), changes } });
}
