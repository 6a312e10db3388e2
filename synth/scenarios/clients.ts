// Scenarios of connections: what breaks, is slow, or is sent again.

import { z } from 'zod';
import { given } from '../../config/given.ts';
import { duration } from '../../config/yaml.ts';
import type { Model } from '../model/model.ts';
import { RepeatStage } from '../rewrite/repeat.ts';
import { ChurnStage, RestartStage } from '../rewrite/split.ts';
import { at, begin, count, scenario, share, span, withEvents } from './define.ts';

interface Drill {
  at: number;
  name: string;
  run: string;
  server?: string;
}

function withDrill(model: Model, drill: Drill): Model {
  return { ...model, drills: [...(model.drills ?? []), drill] };
}

function restartDrill(from: number, run: string, server: string | undefined): Drill {
  return { at: from, name: 'restart the backend', run, ...given({ server }) };
}

/** The process runs a fifth of the time. */
function slowDrill(from: number, length: number, pid: number): Drill {
  const turns = Math.ceil(length / 50);
  const run = `for i in $(seq ${turns}); do kill -STOP ${pid}; sleep 0.04; kill -CONT ${pid}; sleep 0.01; done`;
  return { at: from, name: 'a slow server', run };
}

export const backendRestart = scenario(
  'backendRestart',
  'connections break, and come back with jitter; a drill restarts the backend',
  {
    at,
    down: duration.optional(),
    jitter: duration.optional(),
    share: share.optional(),
    run: z.string().optional(),
    server: z.string().optional(),
  },
  {
    model: (model, { at: given, down = 500, jitter = 1000, share: part = 1, run, server }, total) => {
      const from = begin(given, total);
      const changed = withEvents(model, { kind: 'reconnect', at: from, down, jitter, share: part });
      return run === undefined ? changed : withDrill(changed, restartDrill(from, run, server));
    },
    trace: (context, { at: given, down = 500, jitter = 1000, share: part = 1, run, server }, total) => {
      const from = begin(given, total);
      if (run !== undefined) context.drills.push(restartDrill(from, run, server));
      // A server of the recording: its connections alone. Any other name is for the drill.
      const only = context.facts.survey.servers.find((address) => address === server);
      return [new RestartStage(context, { at: from, down, jitter, share: part, server: only })];
    },
  },
);

export const slowNode = scenario(
  'slowNode',
  'a server is stopped in short stretches by a drill, as one that is starved; its clients ask again',
  {
    at,
    for: duration.optional(),
    pid: count.optional(),
    retries: count.max(100).optional(),
    after: duration.optional(),
    share: share.optional(),
  },
  {
    model: (model, { at: given, for: length, pid, retries = 1, after = 50, share: part = 0.1 }, total) => {
      const [from, long] = [begin(given, total), span(length, total)];
      const changed = withEvents(model, {
        kind: 'retries',
        at: from,
        for: long,
        share: part,
        times: retries,
        after,
      });
      return pid === undefined ? changed : withDrill(changed, slowDrill(from, long, pid));
    },
    trace: (context, { at: given, for: length, pid, retries = 1, after = 50, share: part = 0.1 }, total) => {
      const [from, long] = [begin(given, total), span(length, total)];
      if (pid !== undefined) context.drills.push(slowDrill(from, long, pid));
      return [new RepeatStage(context, { at: from, length: long, share: part, times: retries, after })];
    },
  },
);

export const connectionChurn = scenario(
  'connectionChurn',
  'connections live briefly, and are opened again and again',
  { at, for: duration.optional(), lifetime: duration.optional() },
  {
    model: (model, { at: given, for: length, lifetime = 100 }, total) =>
      withEvents(model, { kind: 'churn', at: begin(given, total), for: span(length, total), lifetime }),
    trace: (context, { at: given, for: length, lifetime = 100 }, total) => [
      new ChurnStage(context, { at: begin(given, total), length: span(length, total), lifetime }),
    ],
  },
);

export const retryStorm = scenario(
  'retryStorm',
  'time-outs are too short, and requests are sent again',
  {
    at,
    for: duration.optional(),
    share: share.optional(),
    retries: count.max(100).optional(),
    after: duration.optional(),
  },
  {
    model: (model, { at: given, for: length, share: part = 0.5, retries = 3, after = 20 }, total) =>
      withEvents(model, {
        kind: 'retries',
        at: begin(given, total),
        for: span(length, total),
        share: part,
        times: retries,
        after,
      }),
    trace: (context, { at: given, for: length, share: part = 0.5, retries = 3, after = 20 }, total) => [
      new RepeatStage(context, {
        at: begin(given, total),
        length: span(length, total),
        share: part,
        times: retries,
        after,
      }),
    ],
  },
);
