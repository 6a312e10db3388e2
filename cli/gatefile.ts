// The gate file: what it may say, what of it contradicts itself, and its runs with the defaults filled in. Values may name
// variables of the environment; secrets come from those or from files.

import { z } from 'zod';
import { nearest } from '../config/nearest.ts';
import { duration, openYaml, type Written } from '../config/yaml.ts';
import { distributionNames } from '../protocol/distribution.ts';
import { drillSchema } from '../replayer/drillfile.ts';
import { permissions } from '../replayer/gate.ts';
import { splits } from '../replayer/tail.ts';
import { parseTarget } from '../replayer/target.ts';
import { assertLive } from '../report/live.ts';
import { parseThreshold, type Threshold } from '../report/threshold.ts';
import { checkFaults } from './embedded.ts';
import { readSmall } from './file.ts';
import { parseSpeed } from './pace.ts';
import { MAX_WORKERS, parseRatePlanOption } from './replay.ts';
import { parseRoute, parseTargets } from './target.ts';

const MAX_RUNS = 100;

/** What a text or number means, with the parser's words where it means nothing. */
function written<T>(parse: (text: string) => T, description: string): z.ZodType<T, string | number> {
  return z
    .union([z.string(), z.number()])
    .transform((given, context) => attempt(context, () => parse(String(given))))
    .meta({ description });
}

function attempt<T>(context: z.RefinementCtx, work: () => T): T {
  try {
    return work();
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message });
    return z.NEVER;
  }
}

/** @throws ReplayError of what is no address */
function addressesOf(given: string | readonly string[]): string[] {
  const all = typeof given === 'string' ? parseTargets(given) : [...given];
  for (const address of all) parseTarget(address);
  return all;
}

function addresses(description: string): z.ZodType<string[], string | string[]> {
  return z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
    .transform((given, context) => attempt(context, () => addressesOf(given)))
    .meta({ description });
}

const path = z.string().min(1);
const count = z.int().positive();

const authSchema = z
  .union([
    z.strictObject({ file: path.describe('lines of user:password') }),
    z.strictObject({
      env: z
        .string()
        .regex(/^\w+$/, 'expected the name of a variable')
        .describe('the variable of the environment that holds such lines'),
    }),
  ])
  .describe('SASL users of the targets');

const tlsSchema = z
  .union([
    z.boolean(),
    z.strictObject({
      ca: path.optional().describe('file: who signed the certificates of the targets'),
      cert: path.optional().describe('file: our certificate'),
      key: path.optional().describe('file: the key of cert'),
      serverName: z.string().min(1).optional().describe('the name in the certificate of the targets'),
      insecure: z.boolean().optional().describe('whatever certificate the targets show'),
    }),
  ])
  .describe('the targets speak TLS');

const targetSchema = z.strictObject({
  address: addresses('HOST:PORT, or the path of a unix socket; several as a list or with commas'),
  route: written(
    parseRoute,
    'who gets what; default: single for one address, else index; of a model ketama',
  ).optional(),
  backends: addresses('what stands behind them: failures are laid to one of these').optional(),
  backendsRoute: z
    .enum(distributionNames)
    .optional()
    .describe('how keys are spread over backends; default: ketama'),
  tls: tlsSchema.optional(),
  auth: authSchema.optional(),
  maskKey: path.optional().describe('file: that of the recording, where its users are masked'),
});
export type TargetEntry = z.output<typeof targetSchema>;

const embeddedSchema = z
  .strictObject({
    backends: count.max(64).optional().describe('how many servers; default 1, with a proxy 4'),
    proxy: z.boolean().optional().describe('a proxy in front of them, with ketama'),
    faults: z.array(z.string()).optional().describe('what is wrong, as serve --fault takes it'),
  })
  .superRefine((embedded, context) => attempt(context, () => checkFaults(embedded)))
  .describe('servers inside memtape as the target');

const thresholdSchema = z
  .union([
    z.string(),
    z.strictObject({
      expression: z.string(),
      abort: z.boolean().optional().describe('end the run as soon as it is crossed'),
    }),
  ])
  .transform((given, context): { threshold: Threshold; aborts: boolean } =>
    attempt(context, () => {
      const { expression, abort = false } = typeof given === 'string' ? { expression: given } : given;
      const threshold = parseThreshold(expression);
      if (abort) assertLive(threshold);
      return { threshold, aborts: abort };
    }),
  );

const runFields = {
  trace: path.optional().describe('file: the trace to replay'),
  model: z.string().min(1).optional().describe('instead of a trace: a model file, or one of synth list'),
  audit: path.optional().describe('instead of both, file: a trace that is judged by itself; nothing is sent'),
  seed: z.int().min(0).optional().describe('of a model, or of scenarios: other draws'),
  duration: duration.optional().describe('of a model: how long; default: what it says, else 10s'),
  requests: count.optional().describe('of a model: how many at most'),
  scenarios: z.array(z.string()).optional().describe('what happens meanwhile'),
  target: z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
    .optional()
    .describe('a name from targets, or addresses; default: the embedded server'),
  embedded: embeddedSchema.optional(),
  speed: written(parseSpeed, 'times the recorded speed, or max; default 1').optional(),
  rate: written(parseRatePlanOption, 'requests a second instead: 50k, 10k..100k over 60s').optional(),
  loop: count.optional().describe('so many times in a row; default 1'),
  from: duration.optional().describe("only requests from this time of the trace's on"),
  to: duration.optional().describe('only requests before this time'),
  order: z.enum(['key', 'connection', 'none']).optional().describe('what a request waits for; default: key'),
  prefill: z
    .enum(['auto', 'none'])
    .optional()
    .describe('set what the trace shows to have been there; default: auto'),
  timeout: duration.optional().describe('how long an answer is waited for; default 1s'),
  split: z
    .enum(splits)
    .optional()
    .describe('recorded: requests that came in parts leave in two; default: whole'),
  pipeline: count.optional().describe('outstanding requests a connection at most; default 64'),
  workers: count.max(MAX_WORKERS).optional().describe('threads that share the connections; default 1'),
  allow: z.array(z.enum(permissions)).optional().describe('do what is refused otherwise'),
  flushBefore: z
    .boolean()
    .optional()
    .describe('empty the target, and the baseline, by FLUSH before; never the servers of the recording'),
  tenants: z
    .enum(['auto', 'isolated', 'shared'])
    .optional()
    .describe('whether users share their keys; default: auto'),
  drills: z
    .union([path, z.array(drillSchema).min(1)])
    .optional()
    .describe('commands that run meanwhile: a list, or a file of such'),
  baseline: addresses('send the same to these addresses too, and show both').optional(),
  expect: path.optional().describe('file: results of an earlier replay of the trace, to show what differs'),
  results: path.optional().describe('file: keep what the replay saw'),
  backends: addresses('as of a target, which it takes the place of').optional(),
  backendsRoute: z.enum(distributionNames).optional().describe('as of a target'),
  minCoverage: z.int().min(0).optional().describe('exchanges that each target or backend must answer'),
  maxLag: duration
    .optional()
    .describe('where memtape sends 1% of the requests later than this, latency is not judged; default 5ms'),
  examples: z.int().min(0).optional().describe('of each finding; default 10'),
  thresholds: z
    .array(thresholdSchema)
    .min(1)
    .optional()
    .describe(
      'what passes; default: violations == 0, judged > 90%, drift.lost < 5%. Those of a run take the place of those of defaults',
    ),
};

const runSchema = z.strictObject({
  name: z.string().min(1).max(100).describe('what reports call it'),
  ...runFields,
});
export type GateRun = z.output<typeof runSchema>;

const wellFormed = z
  .strictObject({
    format: z.literal('memtape-gate/1'),
    defaults: z.strictObject(runFields).optional().describe('for every run that does not say otherwise'),
    targets: z.record(z.string(), targetSchema).optional().describe('by name'),
    runs: z.array(runSchema).min(1).max(MAX_RUNS).describe('one after the other'),
    stopOnFailure: z
      .boolean()
      .optional()
      .describe('no further run after one that did not pass; default: false'),
    outputs: z
      .strictObject({
        json: path.optional().describe('file, or - for standard output'),
        html: path.optional().describe('file'),
        junit: path.optional().describe('file'),
        markdown: path.optional().describe('file; auto: the summary of a GitHub Actions job'),
      })
      .optional()
      .describe('reports of all runs together'),
  })
  .describe('what a release must pass');

export type Gate = z.output<typeof wellFormed>;

/** A run has at most one of each of these. */
const exclusive = [
  ['trace', 'model', 'audit'],
  ['target', 'embedded', 'audit'],
  ['speed', 'rate'],
  ['baseline', 'expect'],
] as const;
const ofModels = ['duration', 'requests'] as const;
const ofReplays = ['speed', 'rate', 'loop', 'order', 'drills', 'baseline', 'expect', 'results'] as const;

/** A run with the defaults where it is silent: what excludes something that it says is no default for it. */
export function withDefaults(defaults: Gate['defaults'], run: GateRun): GateRun {
  const filled: Record<string, unknown> = { ...defaults };
  for (const fields of exclusive)
    if (fields.some((field) => run[field] !== undefined)) for (const field of fields) delete filled[field];
  return { ...filled, ...run };
}

const gateSchema: z.ZodType<Gate> = wellFormed.superRefine((gate, context) => {
  const told = new Set<string>();
  const complain = (place: PropertyKey[], message: string): void => {
    // What is wrong with the defaults is wrong for every run.
    const name = JSON.stringify([place, message]);
    if (!told.has(name)) context.addIssue({ code: 'custom', path: place, message });
    told.add(name);
  };
  const names = new Set<string>();
  for (const fields of exclusive) {
    const [, second] = fields.filter((one) => gate.defaults?.[one] !== undefined);
    if (second !== undefined)
      complain(['defaults', second], `expected ${fields.join(' or ')}, got more than one`);
  }
  for (const [n, run] of gate.runs.entries()) {
    const place = ['runs', n];
    if (names.has(run.name))
      complain([...place, 'name'], `expected a name of its own, got ${run.name} twice`);
    names.add(run.name);
    for (const fields of exclusive) {
      const [, second] = fields.filter((field) => run[field] !== undefined);
      if (second !== undefined)
        complain([...place, second], `expected ${fields.join(' or ')}, got more than one`);
    }
    const { trace, model, audit, target, from = 0, to = Infinity } = withDefaults(gate.defaults, run);
    if (from >= to)
      complain([...place, run.to === undefined ? 'from' : 'to'], 'expected an end after the beginning');
    if (trace === undefined && model === undefined && audit === undefined)
      complain(place, 'expected a trace, a model or an audit, got none');
    if (audit !== undefined)
      for (const field of ofReplays)
        if (run[field] !== undefined)
          complain([...place, field], 'expected a trace or a model with it: an audit sends nothing');
    if (trace !== undefined)
      for (const field of ofModels)
        if (run[field] !== undefined) complain([...place, field], 'expected a model with it, got a trace');
    if (target !== undefined && !(typeof target === 'string' && gate.targets?.[target] !== undefined))
      try {
        complainOfName(target, Object.keys(gate.targets ?? {}));
        addressesOf(target);
      } catch (error) {
        const owner = run.target === undefined ? ['defaults'] : place;
        complain([...owner, 'target'], (error as Error).message);
      }
  }
});

/** A word alone is a name that is not there, and no host. */
function complainOfName(target: string | readonly string[], known: readonly string[]): void {
  if (typeof target !== 'string' || /[:/.,]/.test(target) || target === 'localhost') return;
  const meant = nearest(target, known);
  const there = known.length === 0 ? 'there are none' : `there are ${known.join(', ')}`;
  throw new Error(
    `expected a name from targets, or HOST:PORT, got ${JSON.stringify(target)}; ${meant === undefined ? there : `did you mean ${meant}?`}`,
  );
}

/**
 * Reads a gate file.
 * @param variables of the environment
 * @throws CliError where it cannot be read · ConfigError with the line of each mistake
 */
export function readGate(file: string, variables: NodeJS.ProcessEnv): Written<Gate> {
  const text = readSmall(file, 'the gate file').toString();
  return openYaml(text, file, gateSchema, { values: variables, except: ['run'] });
}

/** The JSON Schema of gate files. */
export function gateJsonSchema(): Record<string, unknown> {
  return {
    title: 'memtape-gate/1',
    ...z.toJSONSchema(wellFormed, { io: 'input', unrepresentable: 'any' }),
  };
}
