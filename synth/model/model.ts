// The model of a workload: what a YAML document may say, and what of it cannot be.

import { z } from 'zod';
import { ConfigError } from '../../config/error.ts';
import { duration, readYaml, size } from '../../config/yaml.ts';
import { arrivalsSchema } from '../laws/arrivals.ts';
import { localityOf, localitySchema } from './locality.ts';
import { mixSchema } from '../laws/mix.ts';
import { numbersSchema, quantileOf, type Numbers } from '../laws/numbers.ts';
import { popularitySchema, ranksOf } from '../laws/popularity.ts';

/** memcached's limit of an item is 1 MiB, its header and key included. */
export const MAX_VALUE = 1024 * 1024 - 512;

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
    .max(1)
    .optional()
    .describe('this share of the requests is for keys that nobody asks for again'),
  absent: share
    .optional()
    .describe('this share of the reads is for keys that nobody stores: they miss, and nothing follows'),
  onMiss: z.enum(['none', 'set', 'add']).optional().describe('what follows a read that misses; default: set'),
  refills: share.optional().describe('of the misses, those that it follows; default 1'),
  refillDelay: duration.optional().describe('how long until then, on average; default: at once'),
  refillDelays: numbersSchema.optional().describe('instead: ms, as a distribution'),
  multiget: batchSchema.optional().describe('reads of several keys at once'),
  pipeline: numbersSchema.optional().describe('requests that leave together; default 1'),
  quiet: share
    .optional()
    .describe('of the changes: sent quietly (SETQ and the like), each with a NOOP behind it'),
};

const streamSchema = z.strictObject({ name: z.string().min(1), ...streamFields });

const eventSchema = z.discriminatedUnion('kind', [
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
      refillDelay: duration
        .optional()
        .describe('how long after their misses they store it again, on average; default: as the stream does'),
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
    resident: z
      .number()
      .int()
      .min(0)
      .optional()
      .describe(
        'start: warm: only so many are there from the beginning, the most popular (of latest: the newest)',
      ),
    prefix: z
      .string()
      .max(100)
      .regex(/^[\x21-\x7e]*$/, 'expected printable ASCII without spaces')
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
  present: share
    .optional()
    .describe(
      'of the keys that are read first, those that are there; default: 1 of a warm start, 0 of a cold',
    ),
  counters: z
    .strictObject({
      initial: z
        .number()
        .int()
        .min(0)
        .max(Number.MAX_SAFE_INTEGER)
        .describe('where there was none; in a warm start they are there with it'),
      delta: numbersSchema.optional().describe('by which they are counted; default 1'),
    })
    .optional()
    .describe('default: from 0, by 1, and none is there before it is counted'),
  pieces: numbersSchema.optional().describe('bytes of what is appended and prepended; default 16'),
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

const modelSchema = z
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
  if (model.duration === 0) complain(['duration'], 'expected a time above 0s');
  const names = new Set<string>();
  for (const [n, tenant] of model.tenants.entries()) {
    const at: PropertyKey[] = ['tenants', n];
    const { name = '', keys, values, ttl, events = [] } = tenant;
    if (names.has(name))
      complain([...at, 'name'], `expected a name for each tenant, got ${JSON.stringify(name)} twice`);
    names.add(name);
    if (keys.resident !== undefined && keys.resident > keys.space)
      complain(
        [...at, 'keys', 'resident'],
        `expected at most the ${keys.space} keys there are, got ${keys.resident}`,
      );
    if (keys.length !== undefined) usual([...at, 'keys', 'length'], keys.length, 1, 250, 'bytes of a key');
    if (values !== undefined) usual([...at, 'values', 'size'], values.size, 0, MAX_VALUE, 'bytes of a value');
    if (tenant.maxValue !== undefined && tenant.maxValue > MAX_VALUE)
      complain([...at, 'maxValue'], `expected at most ${MAX_VALUE} bytes, got ${tenant.maxValue}`);
    const { counters, pieces } = tenant;
    if (counters?.delta !== undefined) tried([...at, 'counters', 'delta'], () => quantileOf(counters.delta!));
    if (pieces !== undefined) tried([...at, 'pieces'], () => quantileOf(pieces));
    if (Array.isArray(ttl))
      sumOne(
        [...at, 'ttl'],
        ttl.map((one) => one.share),
      );
    for (const [e, event] of events.entries()) {
      if (event.kind === 'herd' && event.key !== undefined && event.key >= keys.space)
        complain([...at, 'events', e, 'key'], `expected a rank below ${keys.space}, got ${event.key}`);
      if (model.duration !== undefined && event.at > model.duration)
        complain(
          [...at, 'events', e, 'at'],
          `expected a time within the ${model.duration / 1000} s of the run, got ${event.at / 1000} s`,
        );
    }
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
      if (stream.refillDelays !== undefined)
        tried([...path, 'refillDelays'], () => quantileOf(stream.refillDelays!));
      if (popularity !== undefined) tried([...path, 'popularity'], () => ranksOf(popularity, keys.space));
      if (from >= to) complain([...path, 'to'], 'expected an end after the beginning');
      if (multiget !== undefined)
        usual(
          [...path, 'multiget', 'keys'],
          multiget.keys,
          1,
          keys.space,
          `of the ${keys.space} keys there are`,
        );
      if (stream.pipeline !== undefined)
        usual([...path, 'pipeline'], stream.pipeline, 1, 10_000, 'requests together');
      if (arrivals !== undefined) {
        const { rate, curve, counts } = arrivals;
        const said = Object.entries({ rate, curve, counts }).flatMap(([name, one]) =>
          one === undefined ? [] : [name],
        );
        if (said.length !== 1)
          complain(
            [...path, 'arrivals'],
            `expected one of rate, curve and counts, got ${said.join(' and ') || 'none'}`,
          );
        if (arrivals.every !== undefined && counts === undefined)
          complain([...path, 'arrivals', 'every'], 'expected counts beside it');
        if (curve?.every((point) => point.rate === 0) === true)
          complain([...path, 'arrivals', 'curve'], 'expected a rate above 0 at one of its points');
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

  /** Numbers can be drawn, and the one in the middle is possible. */
  function usual(path: PropertyKey[], numbers: Numbers, least: number, most: number, what: string): void {
    tried(path, () => {
      const middle = quantileOf(numbers)(0.5);
      if (middle < least || middle > most)
        throw new RangeError(
          `expected ${least} to ${most} ${what}, got ${Number(middle.toFixed(2))}${typeof numbers === 'number' ? '' : ' in the middle'}`,
        );
    });
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
