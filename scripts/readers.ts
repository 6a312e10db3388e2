// All that is done with a trace and with results of its replay, one after the other: what each of them says of a file that
// anybody may have made, and how long it took.

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '../config/error.ts';
import { writeCsv } from '../convert/csv.ts';
import { ConvertError } from '../convert/error.ts';
import { mergeTraces } from '../convert/merge.ts';
import { writeOracle } from '../convert/oracle.ts';
import { writeParquet } from '../convert/parquet.ts';
import { writePcap } from '../convert/pcap.ts';
import { scaleTrace } from '../convert/scale.ts';
import { squeezeTrace } from '../convert/squeeze.ts';
import { LibraryError } from '../library/error.ts';
import { judge } from '../library/judge.ts';
import { openTrace } from '../library/tape.ts';
import { ReplayError } from '../replayer/error.ts';
import { replay } from '../replayer/replay.ts';
import { renderHtml } from '../report/html.ts';
import { renderJunit } from '../report/junit.ts';
import { renderMarkdown } from '../report/markdown.ts';
import { renderText } from '../report/text.ts';
import { summarizeBatches } from '../synth/fit/summarize.ts';
import { fitTrace } from '../synth/fit/fit.ts';
import { TraceError } from '../trace/error.ts';
import { ResultsReader, TraceReader } from '../trace/file.ts';
import { summarise } from '../trace/summary.ts';
import { TraceView } from '../trace/view.ts';

/** What a reader said: `read`, or the code of its error. */
export interface Said {
  reader: string;
  code: string;
  message: string;
  /** Time of the processor, on all threads. */
  ms: number;
}

type Reader = (path: string, folder: string) => Promise<unknown>;

/** Errors that a file may end in; any other is a defect. */
const expected = [TraceError, ConvertError, ConfigError, LibraryError, ReplayError, RangeError];

const opened =
  (use: (trace: TraceReader, output: string) => Promise<unknown>): Reader =>
  async (path, folder) => {
    const trace = await TraceReader.open(path);
    try {
      await use(trace, join(folder, 'output'));
    } finally {
      await trace.close();
    }
  };

/** @param address of a server that takes whatever a replay sends */
export function traceReaders(address: string): Readonly<Record<string, Reader>> {
  return {
    info: opened(async (trace) => JSON.stringify(await summarise(trace))),
    cat: async (path) => {
      const tape = await openTrace(path);
      try {
        for await (const exchange of tape) void exchange.key;
      } finally {
        await tape.close();
      }
    },
    survey: opened(async (trace) => new TraceView(trace).survey('auto')),
    csv: opened(async (trace, output) => writeCsv(trace, output)),
    oracle: opened(async (trace, output) => writeOracle(trace, output)),
    pcap: opened(async (trace, output) => writePcap(trace, output)),
    parquet: opened(async (trace, output) => writeParquet(trace, output)),
    filter: async (path, folder) =>
      readBack(
        await mergeTraces([path], join(folder, 'filtered.tape'), { filter: { fromNs: 1000 } }),
        join(folder, 'filtered.tape'),
      ),
    merge: async (path, folder) =>
      readBack(await mergeTraces([path, path], join(folder, 'merged.tape')), join(folder, 'merged.tape')),
    scale: async (path, folder) => scaleTrace(path, join(folder, 'scaled.tape'), { copies: 2 }),
    squeeze: async (path, folder) => squeezeTrace(path, join(folder, 'squeezed.tape'), 1e6),
    fit: opened(async (trace) => fitTrace(trace.batches(), 'x', { startNs: Number(trace.meta.startNs) })),
    fidelity: opened(async (trace) => summarizeBatches(trace.batches(), Number(trace.meta.startNs))),
    replay: async (path, folder) =>
      replay({
        trace: path,
        results: join(folder, 'run.results'),
        targets: [address],
        speed: 'max',
        timeoutMs: 100,
        signal: AbortSignal.timeout(1500),
      }),
  };
}

async function readBack(merged: { exchanges: number }, path: string): Promise<void> {
  const trace = await TraceReader.open(path);
  try {
    const { exchangeCount } = trace;
    for await (const batch of trace.batches()) void batch.count;
    if (exchangeCount !== merged.exchanges)
      throw new Error(`${merged.exchanges} exchanges written, ${exchangeCount} read`);
  } finally {
    await trace.close();
  }
}

/** @param trace that they may be results of */
export function resultsReaders(trace: string): Readonly<Record<string, Reader>> {
  return {
    rows: async (path) => {
      const results = await ResultsReader.open(path);
      try {
        for await (const batch of results.batches()) void batch.count;
      } finally {
        await results.close();
      }
    },
    report: async (path) => {
      const report = await judge(trace, path, { baseline: path });
      JSON.stringify(report);
      renderText(report);
      renderHtml([{ name: 'run', report }]);
      renderJunit([{ name: 'run', report }]);
      renderMarkdown([{ name: 'run', report }]);
    },
  };
}

/** Holds each reader to the file. Errors that no file should end in come out as the code DEFECT. */
export async function holdTo(
  readers: Readonly<Record<string, Reader>>,
  path: string,
  folder: string,
): Promise<Said[]> {
  const all: Said[] = [];
  for (const [reader, read] of Object.entries(readers)) {
    const from = process.cpuUsage();
    let [code, message] = ['read', ''];
    try {
      await read(path, folder);
    } catch (error) {
      const isOurs = expected.some((kind) => error instanceof kind) && !isInternal(error as Error);
      code = isOurs ? ((error as { code?: string }).code ?? (error as Error).name) : 'DEFECT';
      message = isOurs ? (error as Error).message : ((error as Error).stack ?? String(error));
    }
    const { user, system } = process.cpuUsage(from);
    all.push({ reader, code, message, ms: (user + system) / 1000 });
  }
  for (const name of [
    'output',
    'filtered.tape',
    'merged.tape',
    'scaled.tape',
    'squeezed.tape',
    'run.results',
  ])
    rmSync(join(folder, name), { force: true });
  return all;
}

/** A RangeError of the engine itself, and not a sentence of ours. */
function isInternal(error: Error): boolean {
  return (
    error.name === 'RangeError' &&
    /Invalid (typed )?array|call stack|out of range|string longer|allocation|Map maximum|Set maximum|too big|Invalid time|BigInt/i.test(
      error.message,
    )
  );
}
