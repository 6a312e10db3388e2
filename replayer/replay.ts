// A replay from beginning to end: look the trace over, reach and fill the targets, run, and leave a results file.

import { hashFile, ResultsWriter, TraceReader } from '../trace/file.ts';
import type { ResultsEnd, ResultsMeta } from '../trace/meta.ts';
import { surveyTrace, type PresentKey, type Survey } from '../trace/survey.ts';
import { version } from '../trace/version.ts';
import { Engine, type EngineProgress, type Order } from './engine.ts';
import { ReplayError } from './error.ts';
import { createGate, type Permission } from './gate.ts';
import { prefill, type Prefilled } from './prefill.ts';
import { createRoute, parseTarget, type Route, type RouteName, type Target } from './target.ts';

export interface ReplayOptions {
  trace: string;
  /** The results file to write. */
  results: string;
  /** `host:port` each. */
  targets: readonly string[];
  /** Default: single where there is one target, else index. */
  route?: RouteName;
  /** Times the recorded speed. Default 1. */
  speed?: number | 'max';
  /** Default key. */
  order?: Order;
  /** Default auto. */
  prefill?: 'auto' | 'none';
  /** How long an answer is waited for. Default 1000. */
  timeoutMs?: number;
  /** Outstanding requests a connection at most, where faster than recorded. Default 64. */
  pipeline?: number;
  allow?: ReadonlySet<Permission>;
  onProgress?: (progress: ReplayProgress) => void;
  signal?: AbortSignal;
}

export interface ReplayProgress extends Readonly<EngineProgress> {
  phase: 'reading' | 'replaying';
  total: number;
}

export interface Replayed {
  survey: Survey;
  end: ResultsEnd;
}

const PROGRESS_MS = 100;

/**
 * Replays a trace.
 * @throws ReplayError before anything was sent · TraceError of the trace or the results file
 */
export async function replay(options: ReplayOptions): Promise<Replayed> {
  const { timeoutMs = 1000, onProgress, signal } = options;
  const trace = await TraceReader.open(options.trace);
  try {
    const total = trace.exchangeCount;
    if (total === 0)
      throw new ReplayError('EMPTY_TRACE', `${options.trace}: expected exchanges to replay, got none`);
    const survey = await surveyTrace(trace.batches(), (done) =>
      onProgress?.({ phase: 'reading', total, done, sent: 0, answered: 0, differ: 0 }),
    );
    const targets = options.targets.map(parseTarget);
    const routeName = options.route ?? (targets.length === 1 ? 'single' : 'index');
    const route = createRoute(routeName, targets.length, survey.servers.length);
    if (options.allow?.has('recorded-target') !== true) refuseRecorded(targets, survey);
    const wanted = options.prefill ?? 'auto';
    const filled = await fill(targets, survey, route, wanted === 'auto', timeoutMs);
    const meta: ResultsMeta = {
      format: 'memtape-results/1',
      writer: `memtape ${version}`,
      trace: await hashFile(options.trace),
      startTime: new Date().toISOString(),
      speed: options.speed ?? 1,
      order: options.order ?? 'key',
      route: routeName,
      prefill: wanted,
      targets: targets.map(({ address }) => address),
      timeoutMs,
    };
    const writer = await ResultsWriter.create(options.results, meta);
    const engine = new Engine({
      survey,
      targets,
      route,
      gate: createGate(options.allow ?? new Set()),
      speed: meta.speed,
      order: meta.order,
      timeoutMs,
      pipeline: options.pipeline ?? 64,
      recordedAtSeconds: Number(BigInt(trace.meta.startNs) / 1_000_000n) / 1000,
      sink: writer,
      ...(signal === undefined ? {} : { signal }),
    });
    const timer = setInterval(
      () => onProgress?.({ phase: 'replaying', total, ...engine.progress }),
      PROGRESS_MS,
    );
    let end: ResultsEnd;
    try {
      end = await engine.run(trace.batches());
    } catch (error) {
      await writer.abort();
      throw error;
    } finally {
      clearInterval(timer);
    }
    end.prefilled = wanted === 'auto' ? survey.present.length - filled.failed : 0;
    end.prefillFailed = filled.failed;
    end.leftover = wanted === 'auto' ? filled.leftover : null;
    await writer.finish(end);
    return { survey, end };
  } finally {
    await trace.close();
  }
}

async function fill(
  targets: readonly Target[],
  survey: Survey,
  route: Route,
  isWanted: boolean,
  timeoutMs: number,
): Promise<Prefilled> {
  const parts = targets.map((): { keys: PresentKey[]; others: string[] } => ({ keys: [], others: [] }));
  if (isWanted) {
    for (const present of survey.present) parts[route(present.server)]!.keys.push(present);
    for (const [server, others] of survey.others.entries()) {
      const part = parts[route(server)]!;
      part.others = part.others.concat(others);
    }
  }
  const filled = await Promise.all(
    targets.map(async (target, n) => {
      const { keys, others } = parts[n]!;
      const set = new Set(keys.map(({ key }) => key));
      // With several recorded servers on one target, one may have held what another lacked.
      return prefill(target, { keys, others: others.filter((key) => !set.has(key)) }, timeoutMs);
    }),
  );
  return {
    failed: filled.reduce((sum, { failed }) => sum + failed, 0),
    leftover: filled.reduce((sum, { leftover }) => sum + leftover, 0),
  };
}

function refuseRecorded(targets: readonly Target[], survey: Survey): void {
  const recorded = targets.find(({ address }) => survey.servers.includes(address));
  if (recorded !== undefined)
    throw new ReplayError(
      'RECORDED_TARGET',
      `the trace was recorded from ${recorded.address}: a replay there could change production data; ` +
        'choose another --target, or say --allow recorded-target',
    );
}
