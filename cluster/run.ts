// Who runs a replay by many workers: files a flow of shards and a merge, chooses one attempt at each shard once all are ready,
// has them start at one moment, hears how they go on, and gives up who is heard no more. Nobody is replaced once the attempts are
// chosen, since a shard that is sent twice would be no replay.

import { randomBytes } from 'node:crypto';
import { FlowProducer, Queue, QueueEvents, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { version } from '../trace/version.ts';
import { Depot } from './depot.ts';
import { ClusterError } from './error.ts';
import {
  ALIVE_SECONDS,
  KEPT_SECONDS,
  PREFIX,
  keys,
  mergeQueue,
  shardQueue,
  type ModelJob,
  type News,
  type Order,
  type ShardJob,
  type SharedOptions,
  type TraceJob,
} from './job.ts';
import { checkRedis, openRedis, placeOf } from './redis.ts';
import { Shards, type ShardState } from './shards.ts';

export interface RunOptions {
  redis: URL;
  run: string;
  workers: number;
  source: TraceJob | ModelJob;
  options: SharedOptions;
  /** A folder of this run's own: results are put there. */
  folder: string;
  /** Where workers fetch and hand in. Default: the address that this machine has towards Redis, and a free port. */
  listen?: { host: string; port: number };
  /** How long workers are waited for, ms. */
  waitMs: number;
  /** A worker that was not heard of for so long is lost, ms. */
  silenceMs: number;
  signal: AbortSignal;
  onProgress?: (shards: readonly ShardState[]) => void;
  onEvent?: (text: string) => void;
}

export interface RunResult {
  /** The shards that handed results in. */
  results: string[];
  /** By number: what became of the others. */
  lost: Map<number, string>;
  shards: readonly ShardState[];
}

/** News are waited for so long at a time; where no answer comes in the second, Redis is away. */
const BLOCK_MS = 250;
const LATE_MS = 2_000;
const BEAT_MS = 3_000;
/** From the order to start until the start. */
const LEAD_MS = 500;
/** A shard that has not begun so long after the start never will. */
const BEGIN_MS = 10_000;
/** After an interrupt, for results of what was done. */
const ENDING_MS = 30_000;
/** Redis may be away for so long, before anything was sent. */
const AWAY_MS = 30_000;

/** @throws ClusterError · Error where the depot's address cannot be listened on */
export async function runCluster(options: RunOptions): Promise<RunResult> {
  await checkRedis(options.redis);
  const run = new Run(options);
  try {
    return await run.finish();
  } finally {
    await run.close();
  }
}

type Heard = Awaited<ReturnType<Redis['xread']>>;

class Run {
  readonly #options: RunOptions;
  readonly #redis: Redis;
  readonly #hearing: Redis;
  readonly #queueing: Redis;
  readonly #shards: Shards;
  readonly #token = randomBytes(24).toString('hex');
  readonly #beating: NodeJS.Timeout;
  #depot: Depot | undefined;
  #url = '';
  #merging: Worker | undefined;
  #events: QueueEvents | undefined;
  #flow: FlowProducer | undefined;
  #queue: Queue | undefined;
  #isCommitted = false;
  #isStarted = false;
  #endBy = Infinity;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#redis = openRedis(options.redis);
    this.#hearing = openRedis(options.redis);
    this.#queueing = openRedis(options.redis);
    this.#shards = new Shards(options.workers, options.silenceMs);
    this.#beating = setInterval(() => void this.#beat(), BEAT_MS);
  }

  async finish(): Promise<RunResult> {
    const { run, workers, folder, source } = this.#options;
    await this.#beat();
    await this.#redis.set(keys.begun(run), version, 'EX', KEPT_SECONDS);
    const host = this.#options.listen?.host ?? (await ownAddress(this.#redis));
    this.#depot = await Depot.start({
      host,
      port: this.#options.listen?.port ?? 0,
      token: this.#token,
      trace: source.kind === 'trace' ? source : undefined,
      folder,
      takes: (index, attempt) => this.#isCommitted && this.#shards.takes(index, attempt),
      onResults: (index, path) => this.#shards.hasResults(index, path),
    });
    this.#url = this.#depot.url(host);
    await this.#file();
    const deadline = performance.now() + this.#options.waitMs;
    await this.#follow(deadline);
    const all = this.#shards.all;
    const lost = new Map(
      all.flatMap(({ index, lost: why }) => (why === undefined ? [] : [[index, why] as const])),
    );
    this.#options.onEvent?.(
      `${all.filter(({ results }) => results !== undefined).length} of ${workers} shards handed their results in`,
    );
    return {
      results: all.flatMap(({ results }) => (results === undefined ? [] : [results])),
      lost,
      shards: all,
    };
  }

  /** A flow: the merge waits for the shards. */
  async #file(): Promise<void> {
    const { run, workers } = this.#options;
    const connection = this.#queueing;
    this.#queue = new Queue(shardQueue(version), { connection, prefix: PREFIX });
    this.#flow = new FlowProducer({ connection, prefix: PREFIX });
    this.#events = new QueueEvents(shardQueue(version), { connection, prefix: PREFIX });
    // Whether Redis is away is seen where it is asked.
    this.#queue.on('error', () => undefined);
    this.#flow.on('error', () => undefined);
    this.#events.on('error', () => undefined);
    this.#events.on('failed', ({ jobId, failedReason }) => {
      const [, index, job] = /-(\d+)-(\d+)$/.exec(jobId) ?? [];
      if (jobId === `${run}-${index}-${job}`) this.#shards.failed(Number(index), Number(job), failedReason);
    });
    await this.#events.waitUntilReady();
    await this.#flow.add({
      name: 'merge',
      queueName: mergeQueue(run),
      data: { run },
      opts: { removeOnComplete: true, removeOnFail: true },
      children: Array.from({ length: workers }, (_, n) => ({
        name: 'shard',
        queueName: shardQueue(version),
        data: this.#job(n + 1),
        opts: { ...jobOptions, jobId: `${run}-${n + 1}-1`, ignoreDependencyOnFailure: true },
      })),
    });
    // It is ours to merge: what there is, once all shards have ended.
    this.#merging = new Worker(mergeQueue(run), async () => this.#shards.ended, {
      connection,
      prefix: PREFIX,
      maxStalledCount: 0,
    });
    this.#merging.on('error', () => undefined);
  }

  #job(index: number): ShardJob {
    const { run, workers, source, options } = this.#options;
    return {
      format: 'memtape-shard/1',
      run,
      index,
      of: workers,
      source,
      options,
      url: this.#url,
      token: this.#token,
    };
  }

  /** Hears the news and gives the orders, until all shards have ended. @throws ClusterError */
  async #follow(deadline: number): Promise<void> {
    const { run, signal, onProgress } = this.#options;
    const interrupted = (): void => {
      this.#endBy = performance.now() + ENDING_MS;
      this.#order({ kind: 'abort', why: 'the run was interrupted' }).catch(() => undefined);
    };
    signal.addEventListener('abort', interrupted, { once: true });
    if (signal.aborted) interrupted();
    let last = '0';
    let awaySince: number | undefined;
    const hear = (): Promise<Heard> => {
      const heard = this.#hearing.xread('BLOCK', BLOCK_MS, 'STREAMS', keys.news(run), last);
      // Nobody waits for the last one.
      heard.catch(() => undefined);
      return heard;
    };
    let hearing = hear();
    try {
      while (!this.#shards.hasEnded) {
        const read = await within(hearing, LATE_MS);
        if (read === 'late') {
          awaySince ??= performance.now();
          this.#whileAway(performance.now() - awaySince);
        } else {
          if (awaySince !== undefined) await this.#back();
          awaySince = undefined;
          for (const [id, fields] of read?.[0]?.[1] ?? []) {
            last = id;
            this.#hear(JSON.parse(fields[1]!) as News);
          }
          hearing = hear();
          await this.#decide(deadline);
        }
        onProgress?.(this.#shards.all);
        if (performance.now() > this.#endBy)
          this.#shards.giveUp('handed in nothing after the run was interrupted');
        if (signal.aborted && !this.#isCommitted) return;
      }
    } finally {
      signal.removeEventListener('abort', interrupted);
    }
  }

  #hear(news: News): void {
    const { index } = news;
    if (news.kind !== 'failed') {
      this.#shards.hear(news);
      return;
    }
    // One that was replaced, or not chosen, has no part in this run.
    if (!this.#shards.isCurrent(index, news.attempt)) return;
    const why = `failed ${this.#shards.lastHeard(index)}: ${news.why}`;
    if (this.#isStarted || (this.#isCommitted && news.isCrash)) this.#shards.lose(index, why);
    else if (news.isCrash) this.#shards.failed(index, this.#shards.all[index - 1]!.jobs, news.why);
    // Others would fail in the same way.
    else throw new ClusterError(news.code === 2 ? 'USAGE' : 'WORKERS', `worker ${news.host}: ${news.why}`);
  }

  async #decide(deadline: number): Promise<void> {
    const { run, workers, onEvent } = this.#options;
    const shards = this.#shards;
    // Where Redis is away just now, that is seen at the next look.
    if (!this.#isStarted && (await within(this.#redis.exists(keys.begun(run)), LATE_MS)) === 0)
      throw new ClusterError(
        'LOST',
        `Redis at ${placeOf(this.#options.redis)} lost what the run had put there (was it restarted without persistence?): nothing was replayed, run it again`,
      );
    if (!this.#isCommitted) {
      for (const shard of shards.dead()) await this.#replace(shard);
      if (shards.areReady) {
        this.#isCommitted = true;
        await this.#order({ kind: 'commit', attempts: shards.commit() });
        onEvent?.(`${workers} workers are ready`);
      } else if (performance.now() > deadline && shards.all.some(({ state }) => state === 'waiting'))
        throw await this.#tooFew();
      return;
    }
    for (const { index } of shards.silent()) {
      shards.lose(index, `was last heard of ${shards.lastHeard(index)}, and handed nothing in`);
      onEvent?.(`shard ${index}/${workers} is lost: its worker is heard no more`);
    }
    if (!this.#isStarted && shards.all.some(({ lost }) => lost !== undefined)) {
      await this.#order({ kind: 'abort', why: 'a shard was lost before the start' });
      this.#isStarted = true;
    }
    if (this.#isStarted && shards.waitInVain(BEGIN_MS).length > 0) {
      for (const { index } of shards.waitInVain(BEGIN_MS))
        shards.lose(index, 'did not begin: Redis lost the order to start');
      await this.#order({ kind: 'abort', why: 'shards did not begin' });
    }
    if (this.#isStarted || !shards.arePrepared) return;
    const time = await within(this.#redis.time(), LATE_MS);
    if (time === 'late') return;
    const [seconds, micros] = time;
    const unixMs = Number(seconds) * 1000 + Number(micros) / 1000 + LEAD_MS;
    await this.#order({ kind: 'start', unixMs });
    this.#isStarted = true;
    shards.started(LEAD_MS);
  }

  /** Nobody has sent anything: another worker takes the shard. */
  async #replace(shard: ShardState): Promise<void> {
    const { run, onEvent } = this.#options;
    onEvent?.(`shard ${shard.index} is handed out again: ${shard.trouble ?? 'its worker is heard no more'}`);
    this.#shards.again(shard);
    await this.#queue!.add('shard', this.#job(shard.index), {
      ...jobOptions,
      jobId: `${run}-${shard.index}-${shard.jobs}`,
    });
  }

  /** @returns the error that says who there is */
  async #tooFew(): Promise<ClusterError> {
    const { workers, redis } = this.#options;
    const came = this.#shards.all.filter(({ state }) => state !== 'waiting').length;
    const others = await this.#others();
    const older = others.length === 0 ? '' : `; workers of another version are there: ${others.join(', ')}`;
    return new ClusterError(
      'WORKERS',
      `${came} of ${workers} workers came: start more of them (memtape cluster worker --redis ${placeOf(redis)}, memtape ${version}), or ask for --workers ${Math.max(1, came)}${older}`,
    );
  }

  async #others(): Promise<string[]> {
    const found: string[] = [];
    for await (const names of this.#redis.scanStream({ match: keys.workers, count: 100 }) as AsyncIterable<
      string[]
    >)
      for (const name of names) {
        const told = JSON.parse((await this.#redis.get(name)) ?? '{}') as { host?: string; version?: string };
        if (told.version !== undefined && told.version !== version)
          found.push(`${told.host} (${told.version})`);
      }
    return found;
  }

  #whileAway(forMs: number): void {
    if (!this.#isStarted && forMs > AWAY_MS)
      throw new ClusterError(
        'REDIS',
        `Redis at ${placeOf(this.#options.redis)} was away for ${AWAY_MS / 1000} s before the start: nothing was replayed`,
      );
    // Workers need it no more once they have started; what they hand in comes by another way.
    this.#shards.forgive();
  }

  async #back(): Promise<void> {
    await this.#beat();
    this.#shards.forgive();
  }

  async #order(order: Order): Promise<void> {
    const key = keys.orders(this.#options.run);
    const given = this.#redis
      .multi()
      .xadd(key, '*', 'order', JSON.stringify(order))
      .expire(key, KEPT_SECONDS)
      .exec()
      .catch(() => null);
    // Where Redis is away, it is given once it is back.
    await within(given, LATE_MS);
  }

  async #beat(): Promise<void> {
    const { run } = this.#options;
    if (this.#redis.status !== 'ready' && this.#depot !== undefined) return;
    await this.#redis.set(keys.alive(run), '1', 'EX', ALIVE_SECONDS).catch(() => undefined);
  }

  async close(): Promise<void> {
    const { run } = this.#options;
    clearInterval(this.#beating);
    const tidy = async (): Promise<void> => {
      await this.#order({ kind: 'abort', why: 'the run is over' });
      // Workers that come late find nothing of it.
      for (const shard of this.#shards.all)
        for (let n = 1; n <= shard.jobs; n++)
          await this.#queue?.remove(`${run}-${shard.index}-${n}`).catch(() => undefined);
      await this.#merging?.close(!this.#shards.hasEnded);
      const merge = new Queue(mergeQueue(run), { connection: this.#queueing, prefix: PREFIX });
      await merge.obliterate({ force: true }).catch(() => undefined);
      await merge.close();
      await this.#events?.close();
      await this.#queue?.close();
      await this.#flow?.close();
      await this.#redis.del(keys.alive(run), keys.begun(run), keys.news(run));
      await this.#redis.expire(keys.orders(run), ALIVE_SECONDS * 4);
    };
    // Redis may be away: what is left there goes by itself.
    await within(
      tidy().catch(() => undefined),
      5_000,
    );
    await this.#depot?.stop();
    for (const client of [this.#redis, this.#hearing, this.#queueing]) client.disconnect();
  }
}

/** A job that fails is not done again: the run files another one, where that is right. */
const jobOptions = { attempts: 1, removeOnComplete: true, removeOnFail: true } as const;

/** The address of this machine as Redis sees it, and so, likely, as workers do. */
async function ownAddress(redis: Redis): Promise<string> {
  await redis.ping();
  const { localAddress } = (redis as unknown as { stream: { localAddress?: string } }).stream;
  return localAddress ?? '127.0.0.1';
}

async function within<T>(work: Promise<T>, ms: number): Promise<T | 'late'> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => (timer = setTimeout(() => resolve('late'), ms)));
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
