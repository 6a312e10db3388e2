// What the machines of a run tell each other, and where: jobs in a queue of BullMQ, which hands out shards; and in two streams
// of Redis what the run orders and what workers tell. Nothing in them is secret but the token of the run itself.

import type { ReplayOptions } from '../replayer/replay.ts';
import type { Recipe } from '../trace/source.ts';

/** Before everything that is kept in Redis. */
export const PREFIX = 'memtape';

/** Workers of another version never see a job: its rule of division, or its results, might be others. */
export function shardQueue(version: string): string {
  return `shards-${version}`;
}

export function mergeQueue(run: string): string {
  return `merge-${run}`;
}

export const keys = {
  /** There as long as whoever runs it is. */
  alive: (run: string): string => `${PREFIX}:run:${run}:alive`,
  /** Set once: where it is gone, Redis lost its data. */
  begun: (run: string): string => `${PREFIX}:run:${run}:begun`,
  orders: (run: string): string => `${PREFIX}:run:${run}:orders`,
  news: (run: string): string => `${PREFIX}:run:${run}:news`,
  worker: (id: string): string => `${PREFIX}:worker:${id}`,
  workers: `${PREFIX}:worker:*`,
} as const;

/** How long who runs a run, or a worker, is taken to be there since it last said so, s. */
export const ALIVE_SECONDS = 15;
/** What is left of a run that was killed goes by itself, s. */
export const KEPT_SECONDS = 86_400;

/** What of a replay's options machines are told: plain data, and no secret. */
export type SharedOptions = Pick<
  ReplayOptions,
  | 'targets'
  | 'route'
  | 'routeMap'
  | 'tenants'
  | 'speed'
  | 'rate'
  | 'fromNs'
  | 'toNs'
  | 'loops'
  | 'order'
  | 'prefill'
  | 'timeoutMs'
  | 'split'
  | 'pipeline'
  | 'workers'
  | 'drills'
> & { allow: string[] };

export interface TraceJob {
  kind: 'trace';
  name: string;
  /** Where it is on the machine of the run, and perhaps on others that share its folders. */
  path: string;
  bytes: number;
  /** SHA-256, hexadecimal. */
  sum: string;
}

export interface ModelJob {
  kind: 'model';
  recipe: Omit<Recipe, 'module'>;
}

export interface ShardJob {
  format: 'memtape-shard/1';
  run: string;
  index: number;
  of: number;
  source: TraceJob | ModelJob;
  options: SharedOptions;
  /** Where traces are fetched and results handed in, and what lets a worker do that. */
  url: string;
  token: string;
}

/** To all workers of a run, in its order. */
export type Order =
  /** By shard: the attempt that is to replay it, and none other. From here on nobody is replaced. */
  | { kind: 'commit'; attempts: Record<string, string> }
  /** By the clock of Redis. */
  | { kind: 'start'; unixMs: number }
  | { kind: 'abort'; why: string };

/** What one attempt at a shard tells. Each message is a sign of life. */
export type News = { index: number; attempt: string; host: string } & (
  | { kind: 'working'; phase: string; done: number; total: number }
  /** The trace is there, and was looked over: nothing was sent so far. */
  | { kind: 'ready' }
  /** The targets are filled: it can start. */
  | { kind: 'prepared'; uncertaintyMs: number; wallMs: number }
  | { kind: 'begun'; unixMs: number; monotonicMs: number }
  | {
      kind: 'replaying';
      done: number;
      total: number;
      sent: number;
      differ: number;
      failed: number;
      positionNs: number;
      lagNs: number;
    }
  /** Its results were handed in. */
  | { kind: 'done' }
  /** `code`: the exit code that it would have had by itself. `isCrash`: another worker may do better. */
  | { kind: 'failed'; why: string; code: number; isCrash: boolean }
);
