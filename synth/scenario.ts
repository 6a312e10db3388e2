// Scenarios: what happens to a workload one day. Each is a pure transform of a model, with parameters and times, and they
// compose: NAME, or NAME:PARAMETER=VALUE,….

import { z } from 'zod';
import { ConfigError } from '../config/error.ts';
import { nearest } from '../config/nearest.ts';
import { duration, rate, size } from '../config/yaml.ts';
import { assertPossible, type Model, type ModelEvent, type StreamModel, type Tenant } from './model.ts';
import { meanRate } from './transform.ts';

const share = z.coerce.number().min(0).max(1);
const count = z.coerce.number().int().positive();
const at = duration.optional();

interface Scenario<Parameters> {
  about: string;
  parameters: z.ZodType<Parameters>;
  /** @param total length of the run, ms */
  apply: (model: Model, parameters: Parameters, total: number) => Model;
}

const scenarios = new Map<string, Scenario<never>>();

function scenario<Shape extends z.ZodRawShape>(
  name: string,
  about: string,
  shape: Shape,
  apply: (model: Model, parameters: z.output<z.ZodObject<Shape>>, total: number) => Model,
): void {
  scenarios.set(name, { about, parameters: z.strictObject(shape), apply } as unknown as Scenario<never>);
}

/** Names, what they do, and their parameters. */
export function listScenarios(): { name: string; about: string; parameters: string[] }[] {
  return Array.from(scenarios, ([name, { about, parameters }]) => ({
    name,
    about,
    parameters: Object.keys((parameters as unknown as z.ZodObject).shape),
  }));
}

/**
 * Applies one: `hotKey:share=0.3,at=10s`.
 * @param totalMs length of the run
 * @throws ConfigError with the nearest name, or what was expected of a parameter
 */
export function applyScenario(model: Model, text: string, totalMs: number): Model {
  const [name = '', settings = ''] = text.split(/:(.*)/s, 2);
  const known = scenarios.get(name);
  if (known === undefined) {
    const meant = nearest(name, scenarios.keys());
    throw new ConfigError(
      `unknown scenario ${JSON.stringify(name)}; ${meant === undefined ? `there are ${[...scenarios.keys()].join(', ')}` : `did you mean ${meant}?`}`,
    );
  }
  const given = Object.fromEntries(
    settings
      .split(',')
      .filter((part) => part !== '')
      .map((part) => part.split(/=(.*)/s, 2) as [string, string]),
  );
  const parsed = known.parameters.safeParse(given);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const names = Object.keys((known.parameters as unknown as z.ZodObject).shape);
    throw new ConfigError(
      issue!.code === 'unrecognized_keys'
        ? `${name}: unknown parameter ${JSON.stringify(issue.keys[0])}; there are ${names.join(', ')}`
        : `${name}: ${issue!.path.join('.')}: ${issue!.message}`,
    );
  }
  return assertPossible({ ...known.apply(model, parsed.data, totalMs), duration: totalMs });
}

/**
 * Of a model that scenarios changed, the tenants and streams that they added, under keys of their own; undefined where
 * they added none.
 */
export function onlyAdded(changed: Model, original: Model): Model | undefined {
  const before = new Map(original.tenants.map((tenant) => [tenant.name ?? '', tenant]));
  const tenants = changed.tenants.flatMap((tenant): Tenant[] => {
    const old = before.get(tenant.name ?? '');
    if (old === undefined) return [tenant];
    const { arrivals, events: _events, locality: _locality, keys, ...rest } = tenant;
    const streams = (tenant.streams ?? []).slice(old.streams?.length ?? 0);
    if (streams.length === 0) return [];
    return [
      {
        ...rest,
        keys: { ...keys, prefix: `${(keys.prefix ?? '').slice(0, 80)}added:` },
        streams: Array.from(streams, (stream) => ({ ...stream, arrivals: stream.arrivals ?? arrivals })),
      },
    ];
  });
  return tenants.length === 0 ? undefined : { ...changed, tenants };
}

// ---- Parts.

/** The time that a scenario begins at where nobody said: a third into the run. */
function begin(given: number | undefined, total: number): number {
  return given ?? total / 3;
}

function span(given: number | undefined, total: number): number {
  return given ?? total / 3;
}

function withStream(model: Model, name: string, stream: StreamModel, of = 0): Model {
  return {
    ...model,
    tenants: model.tenants.map((tenant, n) =>
      n === of ? { ...tenant, streams: [...(tenant.streams ?? []), { name, ...stream }] } : tenant,
    ),
  };
}

function withEvents(model: Model, ...events: ModelEvent[]): Model {
  return {
    ...model,
    tenants: model.tenants.map((tenant) => ({ ...tenant, events: [...(tenant.events ?? []), ...events] })),
  };
}

/** Streams for a time: nothing before, nothing after. */
function during(
  from: number,
  length: number,
  perSecond: number,
): Pick<StreamModel, 'from' | 'to' | 'arrivals'> {
  return { from, to: from + length, arrivals: { rate: perSecond } };
}

function scaledCurve(tenant: Tenant, points: readonly { at: number; factor: number }[]): Tenant {
  const base = meanRate({ format: 'memtape-model/1', tenants: [{ ...tenant, streams: [] }] });
  return {
    ...tenant,
    arrivals: {
      ...(tenant.arrivals?.gaps === undefined ? {} : { gaps: tenant.arrivals.gaps }),
      curve: points.map((point) => ({ at: point.at, rate: base * point.factor })),
    },
  };
}

// ---- The catalogue.

scenario(
  'tenantSurge',
  'new tenants sign up, and their demand grows',
  {
    at,
    count: count.optional(),
    ramp: duration.optional(),
    weight: z.coerce.number().positive().optional(),
    cold: share.optional(),
  },
  (model, parameters, total) => {
    const { count: tenants = 2, ramp = total / 6, weight = 1, cold = 0.1 } = parameters;
    const from = begin(parameters.at, total);
    const perSecond = meanRate(model) * weight;
    const [like] = model.tenants;
    // A surge on top of another one is of other tenants.
    const before = model.tenants.filter(({ name = '' }) => name.startsWith('surge-')).length;
    const added = Array.from({ length: tenants }, (_, n): Tenant => {
      const surge = `surge-${before + n + 1}`;
      const { arrivals: _arrivals, streams: _streams, events: _events, name: _name, ...rest } = like!;
      return {
        ...rest,
        name: surge,
        keys: { ...rest.keys, prefix: `${surge}:` },
        oneHit: cold,
        from,
        arrivals: {
          curve: [
            { at: from, rate: 0 },
            { at: from + ramp, rate: perSecond },
          ],
        },
      };
    });
    return { ...model, tenants: [...model.tenants, ...added] };
  },
);

scenario(
  'hotKey',
  'a few keys are suddenly asked for by everybody, and are forgotten again',
  {
    at,
    share: share.optional(),
    keys: count.optional(),
    rise: duration.optional(),
    halfLife: duration.optional(),
  },
  (model, { at: given, share: part = 0.3, keys = 1, rise = 200, halfLife }, total) => {
    const from = begin(given, total);
    const peak = (meanRate(model) * part) / Math.max(0.01, 1 - part);
    const half = halfLife ?? total / 6;
    const curve = [
      { at: from, rate: 0 },
      { at: from + rise, rate: peak },
    ];
    for (let n = 1; n <= 8; n++) curve.push({ at: from + rise + n * half, rate: peak / 2 ** n });
    return withStream(model, 'hot-key', {
      from,
      arrivals: { curve },
      mix: { get: 1 },
      popularity: {
        kind: 'few',
        keys,
        from: Math.floor(model.tenants[0]!.keys.space / 2) % Math.max(1, model.tenants[0]!.keys.space - keys),
      },
    });
  },
);

scenario(
  'thunderingHerd',
  'a popular key is deleted, and everybody who misses it stores it again',
  {
    at,
    key: z.coerce.number().int().min(0).optional(),
    clients: count.optional(),
    refillDelay: duration.optional(),
    times: count.optional(),
  },
  (model, { at: given, key = 0, clients = 500, refillDelay, times = 1 }, total) =>
    withEvents(
      model,
      ...Array.from({ length: times }, (_, n): ModelEvent => ({
        kind: 'herd',
        at: begin(given, total) + (n * total) / (3 * times),
        key,
        clients,
        ...(refillDelay === undefined ? {} : { refillDelay }),
      })),
    ),
);

scenario(
  'ttlAvalanche',
  'what is stored in a while expires all at once',
  { at, for: duration.optional() },
  (model, { at: given, for: length }, total) => {
    const until = begin(given, total) + span(length, total);
    return withEvents(model, {
      kind: 'ttl',
      at: Math.max(0, until - Math.max(1000, span(length, total))),
      for: Math.max(1000, span(length, total)),
    });
  },
);

scenario(
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
  (model, { at: given, down = 500, jitter = 1000, share: part = 1, run, server }, total) => {
    const from = begin(given, total);
    const changed = withEvents(model, { kind: 'reconnect', at: from, down, jitter, share: part });
    return run === undefined ? changed : withDrill(changed, from, 'restart the backend', run, server);
  },
);

scenario(
  'slowNode',
  'a server is stopped in short stretches by a drill, as one that is starved; its clients ask again',
  {
    at,
    for: duration.optional(),
    pid: count.optional(),
    retries: count.optional(),
    after: duration.optional(),
    share: share.optional(),
  },
  (model, { at: given, for: length, pid, retries = 1, after = 50, share: part = 0.1 }, total) => {
    const [from, long] = [begin(given, total), span(length, total)];
    const changed = withEvents(model, {
      kind: 'retries',
      at: from,
      for: long,
      share: part,
      times: retries,
      after,
    });
    if (pid === undefined) return changed;
    const turns = Math.ceil(long / 50);
    const run = `for i in $(seq ${turns}); do kill -STOP ${pid}; sleep 0.04; kill -CONT ${pid}; sleep 0.01; done`;
    return withDrill(changed, from, 'a slow server', run, undefined);
  },
);

scenario(
  'connectionChurn',
  'connections live briefly, and are opened again and again',
  { at, for: duration.optional(), lifetime: duration.optional() },
  (model, { at: given, for: length, lifetime = 100 }, total) =>
    withEvents(model, { kind: 'churn', at: begin(given, total), for: span(length, total), lifetime }),
);

scenario(
  'deployColdCache',
  'a new version of the application, in waves, with keys of its own',
  { at, waves: count.optional(), every: duration.optional() },
  (model, { at: given, waves = 3, every }, total) => {
    const [from, gap] = [begin(given, total), every ?? total / (2 * waves)];
    return withEvents(
      model,
      ...Array.from({ length: waves }, (_, n): ModelEvent => ({
        kind: 'version',
        at: from + n * gap,
        share: (n + 1) / waves,
      })),
    );
  },
);

scenario(
  'retryStorm',
  'time-outs are too short, and requests are sent again',
  {
    at,
    for: duration.optional(),
    share: share.optional(),
    retries: count.optional(),
    after: duration.optional(),
  },
  (model, { at: given, for: length, share: part = 0.5, retries = 3, after = 20 }, total) =>
    withEvents(model, {
      kind: 'retries',
      at: begin(given, total),
      for: span(length, total),
      share: part,
      times: retries,
      after,
    }),
);

scenario(
  'scan',
  'somebody reads all keys, one after the other',
  { at, for: duration.optional(), rate: rate.optional() },
  (model, { at: given, for: length, rate: perSecond }, total) =>
    withStream(model, 'scan', {
      ...during(begin(given, total), span(length, total), perSecond ?? meanRate(model) / 2),
      mix: { get: 1 },
      popularity: { kind: 'scan' },
    }),
);

scenario(
  'sizeShift',
  'what is stored from some time on is larger, or smaller',
  { at, factor: z.coerce.number().positive().optional() },
  (model, { at: given, factor = 4 }, total) =>
    withEvents(model, { kind: 'sizes', at: begin(given, total), factor }),
);

scenario(
  'popularityShift',
  'other keys are popular from some time on',
  { at, by: z.coerce.number().int().optional(), steps: count.optional() },
  (model, { at: given, by, steps = 1 }, total) =>
    withEvents(
      model,
      ...Array.from({ length: steps }, (_, n): ModelEvent => ({
        kind: 'shift',
        at: begin(given, total) + (n * total) / (3 * steps),
        by: by ?? Math.floor(model.tenants[0]!.keys.space / (2 * steps)),
      })),
    ),
);

scenario(
  'diurnal',
  'the demand of a day, in the time of the run',
  { amplitude: z.coerce.number().gt(1).optional(), period: duration.optional() },
  (model, { amplitude = 1.53, period }, total) => {
    const length = period ?? total;
    // From the quietest to the busiest hour as said, with the mean as it was.
    const swing = (amplitude - 1) / (amplitude + 1);
    const points = Array.from({ length: 25 }, (_, n) => ({
      at: (n * length) / 24,
      factor: 1 - swing * Math.cos((2 * Math.PI * n) / 24),
    }));
    return {
      ...model,
      tenants: model.tenants.map((tenant) => {
        const scaled = scaledCurve(tenant, points);
        return { ...scaled, arrivals: { ...scaled.arrivals, repeats: length } };
      }),
    };
  },
);

scenario(
  'writeBurst',
  'many stores in a short time',
  { at, for: duration.optional(), factor: z.coerce.number().positive().optional() },
  (model, { at: given, for: length, factor = 1 }, total) =>
    withStream(model, 'write-burst', {
      ...during(begin(given, total), span(length, total) / 2, meanRate(model) * factor),
      mix: { set: 1 },
    }),
);

scenario(
  'invalidationStorm',
  'many keys are deleted in a short time, and read again',
  { at, for: duration.optional(), factor: z.coerce.number().positive().optional() },
  (model, { at: given, for: length, factor = 0.5 }, total) =>
    withStream(model, 'invalidations', {
      ...during(begin(given, total), span(length, total) / 2, meanRate(model) * factor),
      mix: { delete: 1 },
    }),
);

scenario(
  'multigetIncast',
  'pages that need many keys at once',
  { at, for: duration.optional(), keys: count.optional(), rate: rate.optional() },
  (model, { at: given, for: length, keys = 100, rate: perSecond }, total) =>
    withStream(model, 'incast', {
      ...during(begin(given, total), span(length, total), perSecond ?? meanRate(model)),
      mix: { get: 1 },
      multiget: { share: 1, keys: Math.min(keys, model.tenants[0]!.keys.space) },
    }),
);

scenario(
  'counterContention',
  'many connections count on few counters',
  { at, for: duration.optional(), keys: count.optional(), rate: rate.optional() },
  (model, { at: given, for: length, keys = 3, rate: perSecond }, total) =>
    withStream(model, 'counters', {
      ...during(begin(given, total), span(length, total), perSecond ?? meanRate(model) / 4),
      mix: { incr: 0.9, decr: 0.1 },
      popularity: { kind: 'few', keys },
    }),
);

scenario(
  'casConflict',
  'many connections change few keys with CAS',
  { at, for: duration.optional(), keys: count.optional(), rate: rate.optional() },
  (model, { at: given, for: length, keys = 3, rate: perSecond }, total) =>
    withStream(model, 'cas', {
      ...during(begin(given, total), span(length, total), perSecond ?? meanRate(model) / 4),
      mix: { cas: 1 },
      popularity: { kind: 'few', keys },
    }),
);

scenario(
  'poisonSizes',
  'keys near 250 bytes and values near 1 MiB',
  { at, for: duration.optional(), rate: rate.optional(), value: size.optional() },
  (model, { at: given, for: length, rate: perSecond = 20, value = 1024 * 1024 - 512 }, total) => ({
    ...model,
    tenants: [
      ...model.tenants,
      {
        name: 'poison',
        keys: { space: 100, prefix: 'poison:', length: { kind: 'uniform', min: 240, max: 250 } },
        values: { size: { kind: 'uniform', min: value / 2, max: value } },
        connections: { count: 4 },
        mix: { get: 0.5, set: 0.5 },
        popularity: { kind: 'uniform' },
        ...during(begin(given, total), span(length, total), perSecond),
      },
    ],
  }),
);

scenario(
  'pipelineFlood',
  'clients that send hundreds of requests before they read an answer',
  { at, for: duration.optional(), depth: count.optional(), rate: rate.optional() },
  (model, { at: given, for: length, depth = 200, rate: perSecond }, total) =>
    withStream(model, 'flood', {
      ...during(begin(given, total), span(length, total), perSecond ?? meanRate(model)),
      mix: { get: 1 },
      onMiss: 'none',
      pipeline: depth,
    }),
);

scenario(
  'flushAll',
  'somebody flushes the cache; a replay sends it with --allow flush',
  { at },
  (model, { at: given }, total) => withEvents(model, { kind: 'flush', at: begin(given, total) }),
);

scenario(
  'incident',
  'two large tenants sign up, a server is slow, backends run out of memory and restart',
  { at, run: z.string().optional(), server: z.string().optional() },
  (model, { at: given, run, server }, total) => {
    const from = begin(given, total);
    const restart = `backendRestart:at=${from * 2}ms,share=0.3${run === undefined ? '' : `,run=${run}`}${server === undefined ? '' : `,server=${server}`}`;
    return [
      `tenantSurge:at=${from / 2}ms,count=2,ramp=${from / 2}ms,weight=0.5,cold=0.3`,
      `slowNode:at=${from}ms,for=${from}ms`,
      restart,
    ].reduce((changed, text) => applyScenario(changed, text, total), model);
  },
);

function withDrill(model: Model, when: number, name: string, run: string, server: string | undefined): Model {
  return {
    ...model,
    drills: [...(model.drills ?? []), { at: when, name, run, ...(server === undefined ? {} : { server }) }],
  };
}
