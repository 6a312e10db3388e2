// The engine: rows of the trace become due by the schedule, leave in order, and are completed by answers, closes and
// time-outs. One event loop, no allocation per request: rows live in the columns of pages, queues are links between
// them, what is under way is a ring per connection. Each part of that has a room of its own; the engine is the loop
// through them.

import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Batch } from '../trace/batch.ts';
import type { ResultsEnd } from '../trace/meta.ts';
import type { Survey } from '../trace/survey.ts';
import { Attention } from './attention.ts';
import { systemClock, type Clock } from './clock.ts';
import { Completion } from './completion.ts';
import { Course, type EngineProgress } from './course.ts';
import { isOurs } from './dial.ts';
import { Due } from './due.ts';
import { Elsewhere } from './elsewhere.ts';
import type { Gate } from './gate.ts';
import { Loading, type Order } from './loading.ts';
import { Losing } from './losing.ts';
import { KeyOrder } from './order.ts';
import { NONE, rowOf } from './handle.ts';
import { Probes } from './probe.ts';
import { Readiness } from './readiness.ts';
import { Receiving } from './receiving.ts';
import { Roster } from './roster.ts';
import type { Schedule } from './schedule.ts';
import { MAX_OUTSTANDING, Sending } from './sending.ts';
import type { Session, SessionEvents } from './session.ts';
import type { Share } from './share.ts';
import { Silence } from './silence.ts';
import { Slab } from './slab.ts';
import { Tails, type Split } from './tail.ts';
import type { CredentialsOf, Route, Target } from './target.ts';
import { Watch } from './watch.ts';
import { Window, type RowsListener, type Sink } from './window.ts';

export { nothingDone, type EngineProgress } from './course.ts';
export type { Order } from './loading.ts';

/** Before a request that is due this soon, no timer is set: the loop spins. */
const SPIN_NS = 2e6;
/** Timers are whole milliseconds, and a little late. */
const TIMER_SLACK_NS = 1.2e6;
/** A timer is set for this long at most, ms: what else is looked at comes with it. */
const MAX_SLEEP_MS = 5;

/** With so long to the next request, rows that are complete are handed on: so many at once, and so many where there is more time. */
const HANDING_NS = 40_000;
const FEW_ROWS = 8;
const MORE_ROWS = 64;

/** Another worker may complete nothing for some time-outs, and have rows that ours wait for: then they are not stuck. */
const OTHERS_TIMEOUTS = 4;

export interface EngineOptions {
  survey: Pick<Survey, 'connections' | 'tokens' | 'tenants'>;
  targets: readonly Target[];
  route: Route;
  gate: Gate;
  schedule: Schedule;
  /** Default: none. */
  credentialsOf?: CredentialsOf;
  order: Order;
  timeoutMs: number;
  /** Default: whole. */
  split?: Split;
  /** Loud requests under way on one connection at most, where the speed is above the recorded one. */
  pipeline: number;
  /** The first row is due this long after the start, so that connections are open by then. */
  leadMs: number;
  /** Unix time of the trace's start, seconds. */
  recordedAtSeconds: number;
  sink: Sink;
  /** Hears of rows as they complete, in the order of the trace; of one engine only. */
  listener?: RowsListener;
  signal?: AbortSignal;
  clock?: Clock;
  /** With the other workers of the same replay; this one sends what its connections sent. */
  share?: Share;
  /** Called once there is something to send; resolves with when the first row is due, by the clock. */
  begin?: () => Promise<number>;
  /** Told once the start is set. @param delayMs until then */
  onBegin?: (delayMs: number) => void;
}

export class Engine implements SessionEvents {
  readonly progress: EngineProgress;
  readonly #options: EngineOptions;
  readonly #clock: Clock;
  readonly #course: Course;
  readonly #attention = new Attention();
  readonly #window: Window;
  readonly #roster: Roster;
  readonly #elsewhere: Elsewhere | undefined;
  readonly #loading: Loading;
  readonly #due: Due;
  readonly #silence: Silence;
  readonly #sending: Sending;
  readonly #receiving: Receiving;
  readonly #probes: Probes;
  readonly #losing: Losing;
  readonly #watch: Watch;
  #isFlushing = false;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  /** Resolves once as much is loaded as there is room for. */
  #begin: (() => void) | undefined;
  /** Resolves once every row is complete. */
  #resolve: (() => void) | undefined;

  constructor(options: EngineOptions) {
    const { survey, targets, route, schedule, timeoutMs, gate, order, share } = options;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    const attention = this.#attention;
    const course = (this.#course = new Course(schedule, this.#clock));
    this.progress = course.progress;
    const window = (this.#window = new Window(course, options.sink, options.listener));
    const owns = (connection: number): boolean => share?.owns(connection) !== false;
    const roster = (this.#roster = new Roster(options, course, this, owns));
    const keys = new KeyOrder<Session>((session) => attention.touch(session));
    const completion = new Completion(course, keys, attention, share);
    const slab = new Slab(course, options.recordedAtSeconds);
    const silence = (this.#silence = new Silence(course, slab));
    if (share !== undefined) this.#elsewhere = new Elsewhere(share, course, window, roster, completion);
    const loading = { order, route, targets: targets.length, tenants: survey.tenants.length };
    this.#loading = new Loading(loading, course, window, roster, keys, this.#elsewhere);
    this.#due = new Due(course, window, roster, attention, share);
    const readiness = new Readiness(window, keys, silence);
    const pipeline = schedule.isMax || schedule.speed > 1 ? options.pipeline : MAX_OUTSTANDING;
    const rooms = { course, window, roster, attention, readiness, completion, slab, silence };
    const tails =
      options.split === 'recorded'
        ? new Tails(course, window, slab, (session) => this.drained(session))
        : undefined;
    this.#sending = new Sending(rooms, gate, pipeline, tails);
    this.#receiving = new Receiving(course, window, completion, silence, share, (session, sentNs) =>
      this.#losing.unanswered(session, sentNs),
    );
    const probes = (this.#probes = new Probes(course));
    const losing = (this.#losing = new Losing({ ...rooms, receiving: this.#receiving, probes }, timeoutMs));
    this.#watch = new Watch(
      { ...rooms, losing, probes },
      timeoutMs,
      share === undefined ? 1 : OTHERS_TIMEOUTS,
    );
  }

  /** Replays the batches; ends when every row is complete. @throws TraceError of the reader or the sink */
  async run(batches: AsyncIterable<Batch>): Promise<ResultsEnd> {
    const { signal, begin, leadMs, onBegin } = this.#options;
    const course = this.#course;
    const delay = monitorEventLoopDelay({ resolution: 10 });
    delay.enable();
    const abort = (): void => this.#abort();
    signal?.addEventListener('abort', abort);
    const finished = new Promise<void>((resolve) => (this.#resolve = resolve));
    const loaded = new Promise<void>((resolve) => (this.#begin = resolve));
    const loading = this.#load(batches);
    // The clock starts once there is something to send.
    await loaded;
    course.startNs =
      begin === undefined ? this.#clock.nowNs() + (course.isPaced ? leadMs * 1e6 : 0) : await begin();
    course.startSeconds = Date.now() / 1000;
    this.#watch.begin();
    onBegin?.((course.startNs - this.#clock.nowNs()) / 1e6);
    if (signal?.aborted === true) this.#abort();
    this.#tick();
    await finished;
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    this.#roster.closeAll();
    this.#probes.closeAll();
    this.#window.makeRoom();
    await loading;
    signal?.removeEventListener('abort', abort);
    delay.disable();
    if (course.failure !== undefined) throw course.failure;
    const { end } = course;
    end.durationNs = this.#clock.nowNs() - course.startNs;
    end.eventLoopDelayNs = { p50: delay.percentile(50), p99: delay.percentile(99), max: delay.max };
    return end;
  }

  async #load(batches: AsyncIterable<Batch>): Promise<void> {
    try {
      await this.#loading.load(batches, () => {
        if (this.#begin === undefined) {
          if (!this.#course.isPaced) this.#due.arm();
          this.#flush();
        } else if (this.#window.isFull) this.#loaded();
      });
    } catch (error) {
      this.#fail(error as Error);
    }
    this.#window.isAll = true;
    this.#loaded();
    this.#settle();
  }

  #loaded(): void {
    this.#begin?.();
    this.#begin = undefined;
  }

  readonly #tick = (): void => {
    const course = this.#course;
    course.look();
    this.#watch.wake();
    this.#elsewhere?.hear();
    this.#roster.openDue();
    this.#due.arm();
    this.#flush();
    this.#watch.check(this.#flush);
    if (this.#resolve === undefined) return;
    let wait = this.#due.nextNs() - this.#clock.nowNs();
    if (this.#window.isBehind && wait > HANDING_NS) {
      this.#window.handOn(wait > SPIN_NS ? MORE_ROWS : FEW_ROWS);
      this.#settle();
      wait = this.#window.isBehind ? 0 : this.#due.nextNs() - this.#clock.nowNs();
    }
    // Timers are good to a millisecond or so; the last stretch is spun through the event loop.
    // What other workers tell is heard here only, so with them the loop always spins.
    if (wait < SPIN_NS || this.#elsewhere !== undefined) {
      course.expectedTickNs = this.#clock.nowNs();
      this.#immediate = setImmediate(this.#tick);
    } else {
      const sleepMs = Math.min(wait / 1e6 - 1, MAX_SLEEP_MS);
      course.expectedTickNs = this.#clock.nowNs() + sleepMs * 1e6 + TIMER_SLACK_NS;
      this.#timer = setTimeout(this.#tick, sleepMs);
    }
  };

  /** Looks at every session that something happened to, until nothing more happens. */
  readonly #flush = (): void => {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    do {
      for (let session = this.#attention.next(); session !== undefined; session = this.#attention.next())
        this.#sending.pump(session);
    } while (this.#silence.proveWanted());
    this.#silence.isWanted = false;
    this.#isFlushing = false;
    this.#settle();
  };

  /** Ends the run when there is no more. */
  #settle(): void {
    this.#window.settle();
    if (!this.#window.isDone) return;
    this.#resolve?.();
    this.#resolve = undefined;
  }

  /** The run cannot go on, and says nothing of its target. */
  #fail(error: Error): void {
    this.#course.failure ??= error;
    this.#abort();
  }

  #abort(): void {
    const course = this.#course;
    if (course.isAborted) return;
    course.isAborted = true;
    course.end.aborted = 'interrupted';
    course.look();
    this.#elsewhere?.abort();
    // Everything loaded is due at once, and skipped.
    for (const session of this.#roster.sessions) {
      if (session === undefined) continue;
      for (let handle = session.first, n = 0; handle !== NONE; n++) {
        if (n >= session.armed) session.armed++;
        handle = this.#window.of(handle).next[rowOf(handle)]!;
      }
      this.#attention.touch(session);
    }
    this.#window.passAll();
    this.#window.makeRoom();
    this.#flush();
  }

  connected(session: Session): void {
    this.#course.look();
    this.#attention.touch(session);
    this.#flush();
  }

  drained(session: Session): void {
    this.#course.look();
    this.#attention.touch(session);
    this.#flush();
  }

  readBegin(): void {
    this.#course.look();
  }

  response(session: Session, data: Buffer, at: number, end: number): void {
    this.#receiving.response(session, data, at, end);
  }

  readEnd(session: Session): void {
    if (session.armed > 0) this.#attention.touch(session);
    if (session.recorded.rowsLeft === 0) this.#roster.closeIfDue(session);
    this.#course.look();
    this.#flush();
  }

  lost(session: Session, error: Error | undefined, wasOpen: boolean): void {
    this.#course.look();
    this.#roster.open.delete(session);
    if (error !== undefined && isOurs(error)) this.#fail(error);
    this.#losing.lost(session, error, wasOpen);
    // What is due goes to a new connection, or is skipped while the target is down.
    if (session.armed > 0) this.#attention.touch(session);
    this.#flush();
  }
}
