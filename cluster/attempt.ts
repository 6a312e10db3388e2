// One attempt of a worker at a shard: fetch the trace, look it over, wait until this attempt is the one that is chosen, fill the
// targets, start when all start, hand the results in. Before it is chosen it sends nothing, and once another is, never will.

import { fork, type ChildProcess } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { measureClock } from './clock.ts';
import { ClusterError } from './error.ts';
import { fetchTrace, handIn } from './fetch.ts';
import { keys, type News, type Order, type ShardJob } from './job.ts';
import { promised } from './promised.ts';
import { RESULTS, type Command, type SenderTask, type Sign } from './sender.ts';

export interface AttemptOptions {
  job: ShardJob;
  attempt: string;
  /** This worker, for people. */
  host: string;
  redis: Redis;
  /** Another connection, which waits for orders. */
  waiting: Redis;
  /** A folder of the attempt's own. */
  folder: string;
  /** Where copies of traces are kept. */
  copies: string;
  /** Module of the process that replays. */
  sender: string;
  secrets: unknown;
  /** The worker is to end. */
  signal: AbortSignal;
}

/** An order is waited for so long at a time, ms. */
const BLOCK_MS = 1_000;
/** Signs of life, ms. */
const SIGN_MS = 1_000;
/** Who runs the run is given up where it was not there for so long, ms. */
const GONE_MS = 20_000;
/** News that are kept. */
const MAX_NEWS = 10_000;

type Told = News extends infer One
  ? One extends News
    ? Omit<One, 'index' | 'attempt' | 'host'>
    : never
  : never;

export class Attempt {
  readonly #options: AttemptOptions;
  readonly #over = new AbortController();
  #child: ChildProcess | undefined;
  #isChosen = false;
  #latest: Told = { kind: 'working', phase: 'fetching', done: 0, total: 0 };

  constructor(options: AttemptOptions) {
    this.#options = options;
  }

  /** @throws ClusterError REFUSED where it is not to be done, or cannot be */
  async run(): Promise<void> {
    const { redis, job, signal } = this.#options;
    if ((await redis.exists(keys.alive(job.run))) === 0)
      throw new ClusterError('REFUSED', `run ${job.run} is over: its shards are replayed no more`);
    const life = setInterval(() => void this.#tell(this.#latest), SIGN_MS);
    const stop = (): void => this.#abort();
    signal.addEventListener('abort', stop);
    try {
      await this.#replay();
    } catch (error) {
      const { code, isCrash } = error instanceof Failure ? error : { code: 2, isCrash: false };
      await this.#tell({ kind: 'failed', why: (error as Error).message, code, isCrash });
      throw new ClusterError('REFUSED', (error as Error).message, { cause: error });
    } finally {
      signal.removeEventListener('abort', stop);
      clearInterval(life);
      this.#over.abort();
      this.#child?.kill('SIGKILL');
      rmSync(this.#options.folder, { recursive: true, force: true });
    }
  }

  async #replay(): Promise<void> {
    const { job, attempt, folder, copies, sender, secrets } = this.#options;
    const { source } = job;
    const over = this.#over.signal;
    const orders = this.#orders();
    let task: SenderTask['source'];
    if (source.kind === 'trace') {
      const copy = join(copies, `${source.sum}.tape`);
      const path = await fetchTrace(source, job, copy, over, (done) => {
        this.#latest = { kind: 'working', phase: 'fetching', done, total: source.bytes };
      });
      task = { kind: 'trace', path };
    } else task = source;
    const child = fork(sender, [], {
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    this.#child = child;
    const signs = this.#signs(child);
    const shard = { index: job.index, of: job.of, run: job.run };
    this.#command({ task: { source: task, shard, options: job.options, folder, secrets } });
    await signs.ready;
    this.#latest = { kind: 'ready' };
    await this.#tell(this.#latest);
    await orders.chosen;
    this.#isChosen = true;
    this.#command({ go: true });
    await Promise.race([signs.prepared, signs.end]);
    const clock = await measureClock(this.#options.redis);
    const { offsetMs, uncertaintyMs, wallMs } = clock;
    this.#latest = { kind: 'prepared', uncertaintyMs, wallMs };
    await this.#tell(this.#latest);
    const unixMs = await Promise.race([orders.start, signs.end]);
    if (typeof unixMs === 'number')
      this.#command({ start: { unixMs, monotonicMs: unixMs - offsetMs, uncertaintyMs } });
    await signs.end;
    const results = join(folder, RESULTS);
    const taken = await handIn(job, job.index, attempt, results, AbortSignal.any([]), GONE_MS);
    if (!taken)
      throw new Failure(`the results of shard ${job.index}/${job.of} were refused: it was given up`, 5);
    await this.#tell({ kind: 'done' });
  }

  #command(command: Command): void {
    if (this.#child?.connected === true) this.#child.send(command);
  }

  /** Ends what goes on: before this attempt was chosen at once, and afterwards with what there is. */
  #abort(): void {
    if (this.#isChosen) this.#command({ abort: true });
    else {
      this.#over.abort();
      this.#child?.kill('SIGKILL');
    }
  }

  #signs(child: ChildProcess): { ready: Promise<void>; prepared: Promise<void>; end: Promise<void> } {
    const waits = { ready: promised(), prepared: promised(), end: promised() };
    const fail = (error: Failure): void => {
      for (const one of Object.values(waits)) one.reject(error);
    };
    child.on('message', (sign: Sign) => {
      if ('ready' in sign) waits.ready.resolve();
      else if ('prepared' in sign) waits.prepared.resolve();
      else if ('end' in sign) waits.end.resolve();
      else if ('failed' in sign) fail(new Failure(sign.failed.why, sign.failed.code));
      else if ('begun' in sign) {
        this.#latest = { kind: 'begun', ...sign.begun };
        void this.#tell(this.#latest);
      } else if (
        sign.progress.phase === 'reading' ||
        this.#latest.kind === 'begun' ||
        this.#latest.kind === 'replaying'
      ) {
        // A replay that waits for the start tells of itself as well, and is prepared and no more.
        const { phase, done, total, sent, differ, failed, positionNs, lagNs } = sign.progress;
        this.#latest =
          phase === 'reading'
            ? { kind: 'working', phase, done, total }
            : { kind: 'replaying', done, total, sent, differ, failed, positionNs, lagNs };
      }
    });
    child.on('error', (error) =>
      fail(new Failure(`its process cannot be started: ${error.message}`, 5, true)),
    );
    child.on('exit', (code, by) => fail(new Failure(`its process ended with ${by ?? code}`, 5, true)));
    return { ready: waits.ready.promise, prepared: waits.prepared.promise, end: waits.end.promise };
  }

  /** Follows the orders of the run, from the first. Where nobody runs it any more, this ends. */
  #orders(): { chosen: Promise<void>; start: Promise<number> } {
    const { waiting, redis, job, attempt } = this.#options;
    const chosen = promised();
    const start = promised<number>();
    const obey = (order: Order): void => {
      if (order.kind === 'commit') {
        if (order.attempts[String(job.index)] === attempt) chosen.resolve();
        else chosen.reject(new Failure(`shard ${job.index}/${job.of} is another worker's`, 2));
      } else if (order.kind === 'start') start.resolve(order.unixMs);
      else {
        chosen.reject(new Failure(order.why, 5));
        this.#abort();
      }
    };
    const follow = async (): Promise<void> => {
      let last = '0';
      let aliveMs = performance.now();
      while (!this.#over.signal.aborted) {
        const read = await waiting.xread('BLOCK', BLOCK_MS, 'STREAMS', keys.orders(job.run), last);
        for (const [id, fields] of read?.[0]?.[1] ?? []) {
          last = id;
          obey(JSON.parse(fields[1]!) as Order);
        }
        if ((await redis.exists(keys.alive(job.run))) === 1) aliveMs = performance.now();
        else if (performance.now() - aliveMs > GONE_MS) {
          chosen.reject(new Failure(`whoever ran ${job.run} is gone`, 5));
          this.#abort();
          return;
        }
      }
    };
    follow().catch(() => this.#abort());
    return { chosen: chosen.promise, start: start.promise };
  }

  async #tell(told: Told): Promise<void> {
    const { redis, job, attempt, host } = this.#options;
    // While Redis is away a sign of life is of no use later on.
    if (redis.status !== 'ready' && told.kind !== 'done' && told.kind !== 'failed') return;
    const news: News = { index: job.index, attempt, host, ...told };
    try {
      await redis.xadd(keys.news(job.run), 'MAXLEN', '~', MAX_NEWS, '*', 'news', JSON.stringify(news));
    } catch {
      // It is told again with the next sign; whoever hears nothing for long gives this attempt up.
    }
  }
}

class Failure extends Error {
  readonly code: number;
  readonly isCrash: boolean;

  constructor(message: string, code: number, isCrash = false) {
    super(message);
    this.code = code;
    this.isCrash = isCrash;
  }
}
