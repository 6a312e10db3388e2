// A worker of clusters: it takes one shard after the other from the queue, of whatever run. BullMQ hands out and notices who is
// gone; that a job is never done twice does not rest on it (a blocked process loses its lock and may go on), but on the run,
// which chooses one attempt for each shard before anything is sent.

import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Worker, type Job } from 'bullmq';
import { version } from '../trace/version.ts';
import { Attempt } from './attempt.ts';
import { ALIVE_SECONDS, PREFIX, keys, shardQueue, type ShardJob } from './job.ts';
import { checkRedis, openRedis } from './redis.ts';

export interface WorkerOptions {
  redis: URL;
  /** A folder of this worker's own. */
  folder: string;
  /** Module of the process that replays. */
  sender: string;
  /** What only this machine knows of the targets; handed on to that process, and to nobody else. */
  secrets: unknown;
  /** Ends after one shard. */
  once: boolean;
  signal: AbortSignal;
  onEvent: (text: string) => void;
}

/** The lock of a job: renewed every half of it, by a process that has little else to do. */
const LOCK_MS = 10_000;
const STALLED_MS = 3_000;
const BEAT_MS = 3_000;

/** Works until it is stopped. @throws ClusterError of Redis */
export async function runWorker(options: WorkerOptions): Promise<void> {
  const { redis: url, folder, sender, secrets, once, signal, onEvent } = options;
  await checkRedis(url);
  const id = randomBytes(6).toString('hex');
  const host = `${hostname()}-${process.pid}`;
  const [redis, waiting, queueing] = [openRedis(url), openRedis(url), openRedis(url)];
  const copies = join(folder, 'traces');
  mkdirSync(copies, { recursive: true });
  const beat = (): void => {
    if (redis.status === 'ready')
      redis
        .set(keys.worker(id), JSON.stringify({ host, version }), 'EX', ALIVE_SECONDS)
        .catch(() => undefined);
  };
  redis.on('ready', beat);
  const beating = setInterval(beat, BEAT_MS);
  const ended = new AbortController();
  const either = AbortSignal.any([signal, ended.signal]);
  const work = async ({ data }: Job<ShardJob>): Promise<void> => {
    const attempt = randomBytes(16).toString('hex');
    const own = join(folder, attempt);
    mkdirSync(own);
    onEvent(`shard ${data.index}/${data.of} of run ${data.run}`);
    const began = { job: data, attempt, host, redis, waiting, folder: own, copies, sender, secrets, signal };
    try {
      await new Attempt(began).run();
      onEvent(`shard ${data.index}/${data.of} is done`);
    } catch (error) {
      onEvent(`shard ${data.index}/${data.of}: ${(error as Error).message}`);
      throw error;
    } finally {
      if (once) ended.abort();
    }
  };
  const worker = new Worker<ShardJob>(shardQueue(version), work, {
    connection: queueing,
    prefix: PREFIX,
    concurrency: 1,
    lockDuration: LOCK_MS,
    stalledInterval: STALLED_MS,
    // By default a job whose worker died is done again, silently.
    maxStalledCount: 0,
    removeOnComplete: { count: 0 },
    removeOnFail: { count: 0 },
  });
  worker.on('error', () => undefined);
  onEvent('ready: waiting for a run');
  try {
    await new Promise<void>((resolve) => {
      if (either.aborted) resolve();
      else either.addEventListener('abort', () => resolve(), { once: true });
    });
  } finally {
    clearInterval(beating);
    await worker.close();
    await redis.del(keys.worker(id)).catch(() => undefined);
    for (const client of [redis, waiting, queueing]) client.disconnect();
  }
}
