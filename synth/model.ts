// The model of a workload: what a YAML document may say, and what of it cannot be.

import { z } from 'zod';
import { ConfigError } from '../config/error.ts';
import { duration, readYaml, size } from '../config/yaml.ts';
import { arrivalsSchema } from './arrivals.ts';
import { localityOf, localitySchema } from './locality.ts';
import { mixSchema } from './mix.ts';
import { numbersSchema, quantileOf } from './numbers.ts';
import { popularitySchema, ranksOf } from './popularity.ts';

const share = z.number().min(0).max(1);

const ttlSchema = z
  .union([
    duration,
    z
      .array(z.strictObject({ ttl: duration, share }))
      .min(1)
      .describe('each with its share, together 1'),
  ])
  .describe('how long items live; 0s: for ever');

const batchSchema = z.strictObject({
  share: share.describe('of the reads'),
  keys: numbersSchema.describe('how many at once'),
});

const streamFields = {
  arrivals: arrivalsSchema.optional(),
  from: duration.optional().describe('active from here'),
  to: duration.optional().describe('to here'),
  mix: mixSchema.optional().describe('default: reads only'),
  popularity: popularitySchema.optional().describe('default: zipf of .99'),
  locality: localitySchema.optional(),
  oneHit: z
    .number()
    .min(0)
    .lt(1)
    .optional()
    .describe('this share of the requests is for keys that nobody asks for again'),
  onMiss: z.enum(['none', 'set', 'add']).optional().describe('what follows a read that misses; default: set'),
  refillDelay: duration.optional().describe('how long until then, on average; default: at once'),
  multiget: batchSchema.optional().describe('reads of several keys at once'),
  pipeline: numbersSchema.optional().describe('requests that leave together; default 1'),
  quiet: share
    .optional()
    .describe('of the changes: sent quietly (SETQ and the like), each with a NOOP behind it'),
};

const streamSchema = z.strictObject({ name: z.string().min(1), ...streamFields });

export const eventSchema = z.discriminatedUnion('kind', [
  z
    .strictObject({ kind: z.literal('ttl'), at: duration, for: duration, ttl: duration.optional() })
    .describe('what is stored in this time lives so long, or, without ttl, until its end'),
  z
    .strictObject({ kind: z.literal('sizes'), at: duration, factor: z.number().positive() })
    .describe('values stored from here on are so many times as large'),
  z
    .strictObject({ kind: z.literal('shift'), at: duration, by: z.number().int() })
    .describe('from here on, the keys of rank r are those that were at r + by'),
  z
    .strictObject({ kind: z.literal('version'), at: duration, share })
    .describe(
      'from here on this share of the connections, those of earlier events among them, asks for keys of a new version',
    ),
  z
    .strictObject({
      kind: z.literal('retries'),
      at: duration,
      for: duration,
      share,
      times: z.number().int().positive().max(100),
      after: duration,
    })
    .describe('in this time, a share of the requests is sent again, so often, each time after so long'),
  z
    .strictObject({
      kind: z.literal('reconnect'),
      at: duration,
      share: share.optional(),
      down: duration,
      jitter: duration.optional(),
    })
    .describe('connections end, and come back after the down time and up to the jitter'),
  z
    .strictObject({ kind: z.literal('churn'), at: duration, for: duration, lifetime: duration })
    .describe('in this time, connections live so long'),
  z
    .strictObject({
      kind: z.literal('herd'),
      at: duration,
      key: z.number().int().min(0).optional(),
      clients: z.number().int().positive().max(100_000),
      refillDelay: duration.optional(),
      delete: z.boolean().optional(),
    })
    .describe('a key is deleted, and all these clients ask for it at once'),
  z
    .strictObject({ kind: z.literal('flush'), at: duration })
    .describe('FLUSH; a replay sends it with --allow flush'),
]);
export type ModelEvent = z.output<typeof eventSchema>;

const tenantSchema = z.strictObject({
  name: z.string().max(250).optional().describe('SASL user; default: none'),
  keys: z.strictObject({
    space: z.number().int().positive().max(1e12).describe('how many there are'),
    prefix: z
      .string()
      .max(100)
      .regex(/^[\x21-\x7e]*$/)
      .optional(),
    length: numbersSchema.optional().describe('bytes, 1 to 250'),
  }),
  values: z
    .strictObject({
      size: numbersSchema.describe('bytes; a key keeps its size'),
      correlation: z
        .number()
        .min(-1)
        .max(1)
        .optional()
        .describe('of size and popularity: 1: the popular are large'),
      bytes: z.enum(['random', 'text']).optional(),
      compressible: share.optional().describe('this share of each value repeats itself'),
    })
    .optional(),
  maxValue: size.optional().describe('values are not larger; default 1MB less the item header'),
  ttl: ttlSchema.optional(),
  flags: z.number().int().min(0).max(0xffffffff).optional(),
  connections: z
    .strictObject({
      count: z.number().int().positive().max(100_000),
      lifetime: duration.optional().describe('on average; default: all of the run'),
      assignment: z.enum(['random', 'round-robin', 'by-key']).optional(),
    })
    .optional(),
  ...streamFields,
  streams: z.array(streamSchema).optional().describe('more requests on the same keys'),
  events: z.array(eventSchema).optional(),
});

export const modelSchema = z
  .strictObject({
    format: z.literal('memtape-model/1'),
    name: z.string().optional(),
    about: z.string().optional().describe('where the figures come from, and what is assumed'),
    seed: z.number().int().min(0).max(0xffffffff).optional().describe('default 1'),
    duration: duration.optional().describe('default 10s'),
    requests: z.number().int().positive().max(1e12).optional().describe('ends it earlier'),
    start: z
      .enum(['cold', 'warm'])
      .optional()
      .describe('warm: what is read is there from the beginning; default: cold'),
    latency: duration.optional().describe('what a client waits for an answer, about; default 200us'),
    drills: z
      .array(
        z.strictObject({
          at: duration,
          run: z.string(),
          name: z.string().optional(),
          server: z.string().optional(),
        }),
      )
      .optional()
      .describe('commands that a replay runs meanwhile'),
    tenants: z.array(tenantSchema).min(1).max(1000),
  })
  .describe('a workload');

export type Model = z.output<typeof modelSchema>;
export type ModelInput = z.input<typeof modelSchema>;
export type Tenant = Model['tenants'][number];
export type StreamModel = Omit<z.output<typeof streamSchema>, 'name'>;

/** Shares may be rounded in the sources that they are from. */
const TOLERANCE = 0.015;

/**
 * Reads a model and checks that it can be.
 * @throws ConfigError with the line, what was expected and what was got
 */
export function parseModel(text: string, path: string): Model {
  return readYaml(text, path, checkedSchema);
}

/** A model from code. @throws ConfigError */
export function checkModel(model: ModelInput): Model {
  const parsed = checkedSchema.safeParse(model);
  if (parsed.success) return parsed.data;
  const [first] = parsed.error.issues;
  throw new ConfigError(`${first!.path.join('.')}: ${first!.message}`);
}

/** A model that was changed. @throws ConfigError where it cannot be any more */
export function assertPossible(model: Model): Model {
  const [first] = mistakesOf(model);
  if (first !== undefined) throw new ConfigError(`${first.path.join('.')}: ${first.message}`);
  return model;
}

const checkedSchema: z.ZodType<Model, ModelInput> = modelSchema.superRefine((model, context) => {
  for (const { path, message } of mistakesOf(model)) context.addIssue({ code: 'custom', path, message });
});

interface Mistake {
  path: PropertyKey[];
  message: string;
}

/** What of a model that is well-formed cannot be. */
function mistakesOf(model: Model): Mistake[] {
  const mistakes: Mistake[] = [];
  const complain = (path: PropertyKey[], message: string): void => void mistakes.push({ path, message });
  const tried = (path: PropertyKey[], attempt: () => unknown): void => {
    try {
      attempt();
    } catch (error) {
      complain(path, (error as Error).message);
    }
  };
  const names = new Set<string>();
  for (const [n, tenant] of model.tenants.entries()) {
    const at: PropertyKey[] = ['tenants', n];
    const { name = '', keys, values, ttl, events = [] } = tenant;
    if (names.has(name))
      complain([...at, 'name'], `expected a name for each tenant, got ${JSON.stringify(name)} twice`);
    names.add(name);
    if (keys.length !== undefined) tried([...at, 'keys', 'length'], () => quantileOf(keys.length!));
    if (values !== undefined) tried([...at, 'values', 'size'], () => quantileOf(values.size));
    if (Array.isArray(ttl))
      sumOne(
        [...at, 'ttl'],
        ttl.map((one) => one.share),
      );
    for (const [e, event] of events.entries())
      if (model.duration !== undefined && event.at > model.duration)
        complain(
          [...at, 'events', e, 'at'],
          `expected a time within the ${model.duration / 1000} s of the run, got ${event.at / 1000} s`,
        );
    const streams: [PropertyKey[], StreamModel][] = [
      [at, tenant],
      ...(tenant.streams ?? []).map((stream, s): [PropertyKey[], StreamModel] => [
        [...at, 'streams', s],
        stream,
      ]),
    ];
    for (const [path, stream] of streams) {
      const { mix, popularity, locality, arrivals, from = 0, to = Infinity, multiget } = stream;
      if (mix !== undefined) sumOne([...path, 'mix'], Object.values(mix));
      if (locality !== undefined) tried([...path, 'locality'], () => localityOf(locality, 1));
      if (popularity !== undefined) tried([...path, 'popularity'], () => ranksOf(popularity, keys.space));
      if (from >= to) complain([...path, 'to'], 'expected an end after the beginning');
      if (multiget !== undefined) {
        tried([...path, 'multiget', 'keys'], () => quantileOf(multiget.keys));
        if (typeof multiget.keys === 'number' && multiget.keys > keys.space)
          complain(
            [...path, 'multiget', 'keys'],
            `expected at most the ${keys.space} keys there are, got ${multiget.keys}`,
          );
      }
      if (arrivals !== undefined) {
        const { rate, curve, counts } = arrivals;
        if ([rate, curve, counts].filter((one) => one !== undefined).length !== 1)
          complain([...path, 'arrivals'], 'expected a rate or a curve, or counts');
        if (counts?.every((count) => count === 0) === true)
          complain([...path, 'arrivals', 'counts'], 'expected a count above 0');
      }
      const times = arrivals?.curve?.map((point) => point.at) ?? [];
      if (times.some((time, i) => i > 0 && time <= times[i - 1]!))
        complain([...path, 'arrivals', 'curve'], 'expected each point after the one before');
    }
    if (tenant.arrivals === undefined && (tenant.streams ?? []).length === 0)
      complain([...at], 'expected arrivals, with a rate or a curve');
  }

  function sumOne(path: PropertyKey[], shares: readonly (number | undefined)[]): void {
    const sum = shares.reduce<number>((total, one) => total + (one ?? 0), 0);
    if (Math.abs(sum - 1) > TOLERANCE)
      complain(path, `expected shares that sum to 1, got ${Number(sum.toFixed(4))}`);
  }
  return mistakes;
}

/** The JSON Schema of models. */
export function modelJsonSchema(): object {
  return z.toJSONSchema(modelSchema, { io: 'input', unrepresentable: 'any' });
}
