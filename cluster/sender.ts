// A shard's replay in a process of its own: whatever it takes of the processor, the worker beside it, which keeps in touch with
// the queue, is not held up. When the worker is gone, so is this.

import { join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { replay, type AgreedStart, type ReplayOptions, type ReplayProgress } from '../replayer/replay.ts';
import type { Permission } from '../replayer/gate.ts';
import { modelSource, type ModelRecipe } from '../synth/generate/source.ts';
import { monotonicMs } from './clock.ts';
import type { ModelJob, SharedOptions } from './job.ts';
import { promised } from './promised.ts';

export interface SenderTask {
  source: { kind: 'trace'; path: string } | ModelJob;
  shard: NonNullable<ReplayOptions['shard']>;
  options: SharedOptions;
  /** Folder of its own, where `results` is written. */
  folder: string;
  /** What only this machine knows of the targets, as whoever made the process understands it. */
  secrets: unknown;
}

/** To the process. */
export type Command =
  | { task: SenderTask }
  | { go: true }
  | { start: { monotonicMs: number; unixMs: number; uncertaintyMs: number } }
  | { abort: true };

/** From the process. */
export type Sign =
  | { progress: ReplayProgress }
  | { ready: true }
  | { prepared: true }
  | { begun: { unixMs: number; monotonicMs: number } }
  | { end: { aborted: string | null } }
  | { failed: { why: string; code: number } };

export const RESULTS = 'results';

/** What a process needs to be one end of this: its own side of the channel to the worker. */
export interface Channel {
  on(event: 'message', listener: (command: Command) => void): unknown;
  on(event: 'disconnect', listener: () => void): unknown;
  send(sign: Sign): void;
}

/** Requests in this last stretch before the start are spun for, ms: timers are good to one or two. */
const SPIN_MS = 3;

/** Resolves with how the process should end. @param secretsOf what of the options only this machine knows */
export async function runSender(
  channel: Channel,
  secretsOf: (secrets: unknown) => Partial<ReplayOptions>,
  codeOf: (error: unknown) => number,
): Promise<void> {
  const interrupt = new AbortController();
  const orders = {
    task: promised<SenderTask>(),
    go: promised(),
    start: promised<AgreedStart & { monotonicMs: number }>(),
  };
  channel.on('message', (command) => {
    if ('task' in command) orders.task.resolve(command.task);
    else if ('go' in command) orders.go.resolve();
    else if ('abort' in command) interrupt.abort();
    else {
      const { monotonicMs: at, unixMs, uncertaintyMs } = command.start;
      const atMs = at - monotonicMs() + performance.now();
      orders.start.resolve({ atMs, monotonicMs: at, started: { unixMs, uncertaintyMs } });
    }
  });
  // Nobody is left to hand results in, or to stop this.
  channel.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
  try {
    const { source, shard, options, folder, secrets } = await orders.task.promise;
    const { allow, ...plain } = options;
    const { end } = await replay({
      ...plain,
      ...secretsOf(secrets),
      allow: new Set(allow as Permission[]),
      trace: source.kind === 'trace' ? source.path : traceOf(source),
      results: join(folder, RESULTS),
      shard,
      signal: interrupt.signal,
      admit: async () => {
        channel.send({ ready: true });
        await Promise.race([orders.go.promise, aborted(interrupt.signal)]);
      },
      begin: async () => {
        channel.send({ prepared: true });
        const start = await orders.start.promise;
        return begun(channel, start, options.speed === 'max');
      },
      onProgress: throttled((progress) => channel.send({ progress })),
    });
    channel.send({ end: { aborted: end.aborted } });
  } catch (error) {
    channel.send({ failed: { why: (error as Error).message, code: codeOf(error) } });
  }
}

function traceOf({ recipe }: ModelJob): ReplayOptions['trace'] {
  return modelSource(recipe.recipe as ModelRecipe, recipe.asked);
}

/**
 * The start, told where it came about. Who keeps a schedule is told of it beforehand, and others when it is there.
 * @throws never
 */
async function begun(
  channel: Channel,
  start: AgreedStart & { monotonicMs: number },
  waits: boolean,
): Promise<AgreedStart> {
  const seen = arrive(start.atMs).then(() => {
    const nowMs = monotonicMs();
    const unixMs = start.started.unixMs + nowMs - start.monotonicMs;
    start.started.unixMs = unixMs;
    channel.send({ begun: { unixMs, monotonicMs: nowMs } });
  });
  if (waits) await seen;
  return start;
}

async function arrive(atMs: number): Promise<void> {
  const restMs = atMs - performance.now() - SPIN_MS;
  if (restMs > 0) await sleep(restMs);
  while (performance.now() < atMs) await nextTurn();
}

async function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const stop = (): void => reject(new Error('the run ended before it began'));
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}

const TELL_MS = 250;

function throttled(tell: (progress: ReplayProgress) => void): (progress: ReplayProgress) => void {
  let before = -Infinity;
  return (progress) => {
    if (performance.now() - before < TELL_MS) return;
    before = performance.now();
    tell(progress);
  };
}
