// One engine at work: on the main thread where it is the only one, else on a worker's.

import { BackgroundResults, readBatches } from '../trace/background.ts';
import { ResultsWriter } from '../trace/file.ts';
import type { ResultsEnd, ResultsMeta } from '../trace/meta.ts';
import { openSource, type Source } from '../trace/source.ts';
import type { Survey, SurveyedStretch } from '../trace/survey.ts';
import { TraceView, type ViewOptions } from '../trace/view.ts';
import { Engine, type EngineOptions, type EngineProgress } from './engine.ts';
import { createGate, type Permission } from './gate.ts';
import { rehearse } from './rehearsal.ts';
import { createSchedule, type ScheduleSpec } from './schedule.ts';
import type { Split } from './tail.ts';
import { createRoute, type Credentials, type RouteMap, type RouteName, type Target } from './target.ts';
import type { Sink } from './window.ts';

/** Everything that an engine is made from: plain data, so that threads can be told. */
export interface Work {
  trace: Source;
  /** The results file to write. */
  results: string;
  meta: ResultsMeta;
  view: ViewOptions;
  survey: Pick<Survey, 'connections' | 'tokens' | 'tenants' | 'servers'> & SurveyedStretch;
  targets: readonly Target[];
  route: RouteName;
  routeMap: RouteMap;
  schedule: ScheduleSpec;
  allow: readonly Permission[];
  timeoutMs: number;
  split: Split;
  pipeline: number;
  leadMs: number;
  recordedAtSeconds: number;
  /** By recorded tenant; empty: the targets ask for none. */
  credentials: ReadonlyMap<string, Credentials>;
  /** The trace is long enough for reading and writing on threads of their own. */
  isLong: boolean;
  /** It has a schedule to keep, and is long enough for a rehearsal. */
  rehearses: boolean;
}

export interface Done {
  end: ResultsEnd;
  /** Closes the results file. @throws TraceError WRITE */
  finish: (end: ResultsEnd) => Promise<void>;
}

const PROGRESS_MS = 100;

/** What an engine has of the others, and of those who listen to it. */
type Among = Pick<EngineOptions, 'share' | 'begin' | 'onBegin' | 'listener'>;

/** @throws TraceError of the trace or the results file */
export async function run(
  work: Work,
  onProgress: (progress: EngineProgress) => void,
  signal: AbortSignal | undefined,
  among: Among = {},
): Promise<Done> {
  const writer = work.isLong
    ? new BackgroundResults(work.results, work.meta)
    : await ResultsWriter.create(work.results, work.meta);
  try {
    const end = await runInto(writer, work, onProgress, signal, among);
    return { end, finish: async (all) => writer.finish(all) };
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

async function runInto(
  sink: Sink,
  work: Work,
  onProgress: (progress: EngineProgress) => void,
  signal: AbortSignal | undefined,
  among: Among,
): Promise<ResultsEnd> {
  const { meta, survey, targets, credentials, isLong } = work;
  const options: EngineOptions = {
    ...work,
    ...among,
    route: createRoute(work.route, targets, survey.servers.length, work.routeMap),
    schedule: createSchedule(work.schedule),
    gate: createGate(new Set(work.allow)),
    order: meta.order,
    sink,
    ...(credentials.size === 0 ? {} : { credentialsOf: (tenant) => credentials.get(tenant) }),
    ...(signal === undefined ? {} : { signal }),
  };
  const trace = isLong && !work.rehearses ? undefined : await openSource(work.trace);
  try {
    const view = trace === undefined ? undefined : new TraceView(trace, work.view);
    view?.adopt(survey);
    if (work.rehearses) await rehearse(options, view!.batches());
    const engine = new Engine(options);
    const tell = (): void => {
      onProgress({ ...engine.progress });
      engine.progress.lagNs = 0;
    };
    const timer = setInterval(tell, PROGRESS_MS);
    try {
      return await engine.run(isLong ? readBatches(work.trace, work.view, survey) : view!.batches());
    } finally {
      clearInterval(timer);
      tell();
    }
  } finally {
    await trace?.close();
  }
}
