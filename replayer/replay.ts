// A replay from beginning to end: look the trace over, reach and fill the targets, run, and leave a results file.

import { rmSync } from 'node:fs';
import { isIP } from 'node:net';
import { availableParallelism } from 'node:os';
import { formatHostPort } from '../trace/address.ts';
import { cutTrace } from '../trace/cut.ts';
import type { ResultsEnd, ResultsMeta, Started } from '../trace/meta.ts';
import { hashSource, nameOf, openSource, type Source } from '../trace/source.ts';
import type { Survey, TenantMode } from '../trace/survey.ts';
import { version } from '../trace/version.ts';
import { TraceView } from '../trace/view.ts';
import { Drills, type Drill } from './drill.ts';
import { nothingDone, type EngineProgress, type Order } from './engine.ts';
import { ReplayError } from './error.ts';
import { flush } from './flush.ts';
import type { Permission } from './gate.ts';
import { run, type Done, type Work } from './run.ts';
import { createSchedule, type RatePlan, type ScheduleSpec } from './schedule.ts';
import { setUp, settle } from './setup.ts';
import type { Split } from './tail.ts';
import {
  createRoute,
  parseTarget,
  resolveTarget,
  type Credentials,
  type CredentialsOf,
  type RouteMap,
  type RouteName,
  type Target,
  type TlsOptions,
} from './target.ts';
import type { RowsListener } from './window.ts';
import { runWorkers } from './workers.ts';

export interface ReplayOptions {
  /** The trace's path; or what makes one: modelSource(). */
  trace: Source;
  /** The results file to write. */
  results: string;
  /** `host:port`, or the path of a unix socket, each. */
  targets: readonly string[];
  /** Default: single where there is one target, else index. */
  route?: RouteName;
  /** The rules of route map. */
  routeMap?: RouteMap;
  /** TLS to the targets. */
  tls?: TlsOptions;
  /** Default: none. */
  credentialsOf?: CredentialsOf;
  /** Whether SASL users share their keys. Default: what the trace shows. */
  tenants?: TenantMode;
  /** Times the recorded speed. Default 1. */
  speed?: number | 'max';
  /** Requests a second in place of the recorded times, with what the user called it. */
  rate?: { plan: RatePlan; text: string };
  /** The stretch of the trace to replay, ns since its start, and how often. Default: all of it, once. */
  fromNs?: number;
  toNs?: number;
  loops?: number;
  /** Only this part of it, while others replay the others; they are one run, which has a name. */
  shard?: NonNullable<ResultsMeta['shard']>;
  /** Called before anything is sent to a target, also of what is set beforehand: then the trace has been looked over. */
  admit?: () => Promise<void>;
  /** Called once there is something to send. Resolves with when to begin. Default: at once. */
  begin?: () => Promise<AgreedStart>;
  /** Default key. */
  order?: Order;
  /** Default auto. */
  prefill?: 'auto' | 'none';
  /**
   * Deletes the other keys of the trace from the targets before, so that what an earlier replay left there is no part of this
   * one. Default false: they are asked for.
   */
  clears?: boolean;
  /**
   * Empties the targets by FLUSH before anything is set on them, as every user. The servers of the recording are never
   * emptied, whatever is allowed. Default false.
   */
  flushBefore?: boolean;
  /** How long an answer is waited for. Default 1000. */
  timeoutMs?: number;
  /**
   * recorded: a request whose last byte came later than its first leaves in two writes, so far apart. Default whole.
   */
  split?: Split;
  /** Outstanding requests a connection at most, where faster than recorded. Default 64. */
  pipeline?: number;
  /** Threads that share the connections. Default 1. */
  workers?: number;
  allow?: ReadonlySet<Permission>;
  /** What is done to the targets meanwhile. */
  drills?: readonly Drill[];
  onProgress?: (progress: ReplayProgress) => void;
  /** Hears of rows as they complete, where there is one worker, and as long as no request waits for it. */
  observer?: ReplayObserver;
  signal?: AbortSignal;
}

/** When a replay begins that begins together with others. */
export interface AgreedStart {
  /** On the clock of performance.now(). */
  atMs: number;
  /** The same moment, as all of them know it. */
  started: Started;
}

/** What hears of a replay's rows, in the order of the trace. */
export interface ReplayObserver extends RowsListener {
  /** Before the first row. @param beginning what was found on the targets, and what they would not take */
  begin(survey: Survey, meta: ResultsMeta, beginning: Pick<ResultsEnd, 'leftover' | 'prefillFailed'>): void;
}

export interface ReplayProgress extends Readonly<EngineProgress> {
  phase: 'reading' | 'replaying';
  total: number;
}

export interface Replayed {
  survey: Survey;
  end: ResultsEnd;
}

/** Exchanges from which on threads of their own and a rehearsal pay, which take a second. */
const BACKGROUND_FROM = 20_000;
/** Time for connections to open; in the longer one the threads also come to rest. */
const LEAD_MS = 50;
const LONG_LEAD_MS = 1000;

/**
 * Replays a trace.
 * @throws ReplayError before anything was sent · TraceError of the trace or the results file
 */
export async function replay(options: ReplayOptions): Promise<Replayed> {
  const { timeoutMs = 1000, onProgress, signal, fromNs = 0, toNs = Infinity, loops = 1 } = options;
  const trace = await openSource(options.trace);
  const name = nameOf(options.trace);
  const cut = `${options.results}.cut`;
  let isCut = false;
  try {
    if (trace.exchangeCount === 0)
      throw new ReplayError('EMPTY_TRACE', `${name}: expected exchanges to replay, got none`);
    const { shard } = options;
    const stretch = { fromNs, toNs, loops, ...(shard === undefined ? {} : { shard }) };
    const view = new TraceView(trace, stretch);
    const survey = await view.survey(options.tenants ?? 'auto', (done) =>
      onProgress?.({ phase: 'reading', total: view.exchangeCount, ...nothingDone, done }),
    );
    const total = survey.exchanges;
    // Reading a whole trace for a small part of it is slower than sending that part.
    isCut = shard !== undefined && shard.of > 1 && total > BACKGROUND_FROM;
    // A shard may have no key of it: that is a result like others.
    if (survey.allExchanges === 0)
      throw new ReplayError('EMPTY_TRACE', `${name}: no exchange between --from and --to`);
    const targets = await Promise.all(
      options.targets.map((text) =>
        resolveTarget({ ...parseTarget(text), ...(options.tls ? { tls: options.tls } : {}) }),
      ),
    );
    const routeName = options.route ?? (targets.length === 1 ? 'single' : 'index');
    const route = createRoute(routeName, targets, survey.servers.length, options.routeMap);
    if (options.allow?.has('recorded-target') !== true) refuseRecorded(targets, survey);
    const isLong = total > BACKGROUND_FROM && availableParallelism() > 1;
    if (isCut) await cutTrace(options.trace, stretch, cut);
    await options.admit?.();
    if (options.flushBefore === true) await empty(targets, survey, options.credentialsOf, timeoutMs);
    const wanted = options.prefill ?? 'auto';
    const filled = await setUp(
      targets,
      survey,
      route,
      options.credentialsOf,
      { isFilled: wanted === 'auto', clears: options.clears === true },
      timeoutMs,
    );
    const schedule = scheduleSpecOf(options, survey);
    const meta: ResultsMeta = {
      format: 'memtape-results/1',
      writer: `memtape ${version}`,
      trace: await hashSource(options.trace),
      ...(typeof options.trace === 'string' ? {} : { asked: options.trace.asked }),
      startTime: new Date().toISOString(),
      speed: createSchedule(schedule).name,
      order: options.order ?? 'key',
      route: routeName,
      prefill: wanted,
      targets: targets.map(({ address }) => address),
      timeoutMs,
      tenants: survey.tenants.length > 1 ? 'isolated' : 'shared',
      ...(fromNs > 0 ? { fromNs } : {}),
      ...(toNs < Infinity ? { toNs } : {}),
      ...(loops > 1 ? { loops } : {}),
      ...(options.split === 'recorded' ? { split: options.split } : {}),
      ...rateOf(options),
      ...(shard === undefined ? {} : { shard }),
    };
    const work: Work = {
      trace: isCut ? cut : options.trace,
      results: options.results,
      meta,
      view: isCut ? { loops } : stretch,
      survey: partOf(survey),
      targets,
      route: routeName,
      routeMap: options.routeMap ?? [],
      schedule,
      allow: [...(options.allow ?? [])],
      timeoutMs,
      split: options.split ?? 'whole',
      pipeline: options.pipeline ?? 64,
      leadMs: isLong ? LONG_LEAD_MS : LEAD_MS,
      recordedAtSeconds: Number(BigInt(trace.meta.startNs) / 1_000_000n) / 1000 + fromNs / 1e9,
      credentials: credentialsOf(options, survey),
      isLong,
      rehearses: total > BACKGROUND_FROM && options.speed !== 'max',
    };
    const tell = (progress: EngineProgress): void => onProgress?.({ phase: 'replaying', total, ...progress });
    const { workers = 1, observer } = options;
    const beginning = {
      prefillFailed: filled.failed,
      leftover: wanted === 'auto' ? filled.leftover : null,
    };
    const drills = new Drills(options.drills ?? []);
    let started: Started | undefined;
    const onBegin = (delayMs: number): void => {
      started ??= { unixMs: performance.timeOrigin + performance.now() + delayMs };
      drills.start(delayMs);
    };
    const begin = agreed(options.begin, signal, (at) => (started = at));
    let sink: Done;
    if (workers === 1) observer?.begin(survey, meta, beginning);
    try {
      sink = await (workers > 1
        ? runWorkers(work, workers, tell, signal, onBegin, begin)
        : run(work, tell, signal, {
            onBegin,
            ...(begin ? { begin: async () => (await begin()) * 1e6 } : {}),
            ...(observer ? { listener: observer } : {}),
          }));
    } finally {
      await drills.stop();
    }
    const { end } = sink;
    if (shard !== undefined && started !== undefined) end.started = started;
    if (drills.runs.length > 0) end.drills = drills.runs;
    end.prefilled = wanted === 'auto' ? survey.present.length - filled.failed : 0;
    Object.assign(end, beginning);
    const rested = end.incidents.filter(({ kind }) => kind === 'rest').map(({ target }) => target);
    const accounts = await settle(filled.opened, targets, timeoutMs, new Set(rested));
    if (accounts.length > 0) end.accounts = accounts;
    await sink.finish(end);
    return { survey, end };
  } finally {
    if (isCut) rmSync(cut, { force: true });
    await trace.close();
  }
}

/** @throws ReplayError RECORDED_TARGET, FLUSH, AUTH, UNREACHABLE */
async function empty(
  targets: readonly Target[],
  survey: Survey,
  credentialsOf: CredentialsOf | undefined,
  timeoutMs: number,
): Promise<void> {
  refuseRecorded(targets, survey, 'a flush there would empty production; it is never sent to it');
  // A proxy may keep the keys of each user apart.
  const tenants = new Set(
    survey.connections.map(({ tenant }) => (credentialsOf === undefined ? '' : tenant)),
  );
  for (const tenant of tenants)
    await Promise.all(targets.map(async (target) => flush(target, credentialsOf?.(tenant), timeoutMs)));
}

/** What an engine needs of it: without the values that were present. */
function partOf(survey: Survey): Work['survey'] {
  const part: Survey = { ...survey, present: [], others: [] };
  delete part.members;
  return part;
}

/** When to begin, ms; a run that is stopped waits for nobody. */
function agreed(
  begin: ReplayOptions['begin'],
  signal: AbortSignal | undefined,
  onAgreed: (started: Started) => void,
): (() => Promise<number>) | undefined {
  if (begin === undefined) return undefined;
  const stopped = new Promise<number>((resolve) => {
    const now = (): void => resolve(performance.now());
    if (signal?.aborted === true) now();
    else signal?.addEventListener('abort', now, { once: true });
  });
  return async () =>
    Promise.race([
      stopped,
      begin().then(({ atMs, started }) => {
        onAgreed(started);
        return atMs;
      }),
    ]);
}

function scheduleSpecOf({ speed = 1, rate }: ReplayOptions, survey: Survey): ScheduleSpec {
  if (rate !== undefined) {
    // The rate is that of all shards together.
    const recordedRate = survey.lastNs > 0 ? survey.allExchanges / (survey.lastNs / 1e9) : 0;
    return { kind: 'rate', plan: rate.plan, recordedRate };
  }
  return speed === 'max' ? { kind: 'max' } : { kind: 'recorded', speed };
}

function credentialsOf(options: ReplayOptions, survey: Survey): Map<string, Credentials> {
  const tenants = new Set(survey.connections.map(({ tenant }) => tenant));
  const all = new Map<string, Credentials>();
  for (const tenant of tenants) {
    const known = options.credentialsOf?.(tenant);
    if (known !== undefined) all.set(tenant, known);
  }
  return all;
}

function rateOf({ rate }: ReplayOptions): Pick<ResultsMeta, 'rate' | 'targetRate'> {
  if (rate === undefined) return {};
  const [first, ...more] = rate.plan;
  return { rate: rate.text, ...(more.length === 0 ? { targetRate: first!.from } : {}) };
}

/**
 * @param why it is refused, and what to do
 * @throws ReplayError RECORDED_TARGET where a target is one of the servers that the trace was recorded from
 */
export function refuseRecorded(
  targets: readonly Target[],
  { servers }: Pick<Survey, 'servers'>,
  why = 'a replay there could change production data; choose another --target, or say --allow recorded-target',
): void {
  const recorded = targets.find(({ address, addresses, host, port }) =>
    [
      address,
      ...(addresses ?? [host]).filter((ip) => isIP(ip) !== 0).map((ip) => formatHostPort(ip, port)),
    ].some((known) => servers.includes(known)),
  );
  if (recorded !== undefined)
    throw new ReplayError('RECORDED_TARGET', `the trace was recorded from ${recorded.address}: ${why}`);
}
