// What a gate is going to do: each run as the options of a replay, after everything was checked that can be checked without
// a target, with how long it should take.

import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { given } from '../config/given.ts';
import { ConfigError } from '../config/error.ts';
import { nearest } from '../config/nearest.ts';
import type { Written } from '../config/yaml.ts';
import type { NamedServer } from '../protocol/distribution.ts';
import { parseDrills, type Drill } from '../replayer/drillfile.ts';
import { createSchedule } from '../replayer/schedule.ts';
import { createRoute, parseTarget } from '../replayer/target.ts';
import {
  auditExpressions,
  defaultThresholds,
  needsBaseline,
  parseThreshold,
  type Threshold,
} from '../report/threshold.ts';
import { extentOf } from '../synth/generate/generator.ts';
import { checkScenario } from '../synth/scenarios/scenario.ts';
import { meanRate } from '../synth/model/transform.ts';
import { TraceReader } from '../trace/file.ts';
import type { EmbeddedOptions } from './embedded.ts';
import { readSmall } from './file.ts';
import { withDefaults, type Gate, type GateRun, type TargetEntry } from './gatefile.ts';
import { checkOutputs, outputKinds, type OutputOptions } from './output.ts';
import { checkPlace, type PlaceOptions } from './place.ts';
import { assertResultsOf } from './judging.ts';
import { fixedRateOf, type RunOptions } from './replaying.ts';
import { modelOf, rateOfPlan } from './model.ts';
import { isModel } from './source.ts';
import type { Shell } from './shell.ts';
import { targetsOf, type TargetOptions } from './target.ts';

export interface Plan {
  name: string;
  /** A trace's path, a model's, or a model's name. */
  source: string;
  /** The trace is judged by itself: nothing is sent. */
  isAudit: boolean;
  options: RunOptions;
  /** The servers to start for it; undefined where it has targets. */
  embedded: EmbeddedOptions | undefined;
  /** Those of its thresholds that end it early. */
  aborting: readonly Threshold[];
  /** Exchanges, about. */
  exchanges: number;
  /** About; null at max speed. */
  seconds: number | null;
}

const TIMEOUT_MS = 1000;
const EXAMPLES = 10;

/**
 * The runs of a gate file, checked.
 * @param file its path: the paths in it are relative to its folder
 * @param only names of runs; empty: all
 * @throws ConfigError with the line of what is wrong
 */
export async function planGate(
  shell: Shell,
  gate: Written<Gate>,
  file: string,
  only: readonly string[],
): Promise<Plan[]> {
  const names = gate.value.runs.map(({ name }) => name);
  for (const name of only)
    if (!names.includes(name)) {
      const meant = nearest(name, names);
      const hint = meant === undefined ? `there are ${names.join(', ')}` : `did you mean ${meant}?`;
      throw new ConfigError(`${file} has no run ${JSON.stringify(name)}; ${hint}`);
    }
  const plans: Plan[] = [];
  for (const [index, run] of gate.value.runs.entries())
    if (only.length === 0 || only.includes(run.name))
      plans.push(await new Planner(shell, gate, dirname(resolve(file)), index).plan(run));
  return plans;
}

/** Where the reports of a gate go: as the command line says, else as its file does. @throws ConfigError */
export function outputsOf(
  gate: Written<Gate>,
  file: string,
  given: OutputOptions,
  plans: readonly Plan[],
): OutputOptions {
  const outputs = { ...given };
  for (const kind of outputKinds) {
    const own = given[kind];
    const path = own ?? gate.value.outputs?.[kind];
    if (path === undefined) continue;
    const isApart = (kind === 'json' && path === '-') || (kind === 'markdown' && path === 'auto');
    outputs[kind] = isApart || own !== undefined ? path : resolve(dirname(resolve(file)), path);
  }
  const where = (kind: (typeof outputKinds)[number]): string =>
    given[kind] === undefined ? `${gate.at(['outputs', kind])}: outputs.${kind}` : `--${kind}`;
  const results = plans.flatMap(({ name, options }): [string, PlaceOptions][] =>
    options.results === undefined
      ? []
      : [[options.results, { option: `results of ${name}`, replacing: 'results' }]],
  );
  const inputs = plans.flatMap(({ source, options }) =>
    [source, options.expect].filter((path) => path !== undefined),
  );
  checkOutputs(outputs, [file, ...inputs], results, where);
  return outputs;
}

class Planner {
  readonly #shell: Shell;
  readonly #gate: Written<Gate>;
  readonly #folder: string;
  readonly #index: number;

  constructor(shell: Shell, gate: Written<Gate>, folder: string, index: number) {
    this.#shell = shell;
    this.#gate = gate;
    this.#folder = folder;
    this.#index = index;
  }

  async plan(written: GateRun): Promise<Plan> {
    const run = withDefaults(this.#gate.value.defaults, written);
    const { name, embedded } = run;
    const { entry, place } = this.#targetOf(run);
    const options: RunOptions = {
      ...this.#targetOptions(run, entry, place),
      ...this.#judging(run, entry),
      ...this.#pacing(run),
      ...this.#modelling(run),
      ...this.#files(run),
    };
    await this.#check(place, () => assertRoute(this.#shell, options));
    const isAudit = run.audit !== undefined;
    const isEmbedded = entry === undefined && !isAudit;
    const plan = {
      name,
      isAudit,
      options,
      embedded: isEmbedded ? (embedded ?? {}) : undefined,
      aborting: (run.thresholds ?? []).filter(({ aborts }) => aborts).map(({ threshold }) => threshold),
    };
    return { ...plan, ...(await this.#source(run, options)) };
  }

  #targetOf(run: GateRun): {
    entry: (Pick<TargetEntry, 'address'> & Partial<TargetEntry>) | undefined;
    place: PropertyKey[];
  } {
    const { target } = run;
    const own = this.#placeOf('target');
    if (target === undefined) return { entry: undefined, place: own };
    const { targets = {} } = this.#gate.value;
    if (typeof target !== 'string') return { entry: { address: target }, place: own };
    const named = targets[target];
    if (named !== undefined) return { entry: named, place: ['targets', target] };
    return { entry: { address: target.split(',').map((part) => part.trim()) }, place: own };
  }

  #targetOptions(
    { tenants = 'auto', embedded }: GateRun,
    entry: (Pick<TargetEntry, 'address'> & Partial<TargetEntry>) | undefined,
    place: PropertyKey[],
  ): TargetOptions {
    // Keys of a model have one server only: among several embedded ones the key decides.
    const spread = embedded?.proxy !== true && (embedded?.backends ?? 1) > 1;
    if (entry === undefined) return { tenants, ...(spread ? { route: { name: 'ketama' } } : {}) };
    const { address, route, tls = false, auth, maskKey } = entry;
    const secure = typeof tls === 'boolean' ? {} : tls;
    const variable = auth !== undefined && 'env' in auth ? auth.env : undefined;
    if (variable !== undefined && (this.#shell.env[variable] ?? '') === '')
      throw new ConfigError(
        `${this.#gate.at([...place, 'auth', 'env'])}: the environment has no ${variable}, which should hold user:password`,
      );
    return {
      tenants,
      target: address,
      ...(route === undefined
        ? {}
        : { route: route.file === undefined ? route : { ...route, file: this.#path(route.file) } }),
      ...(auth !== undefined && 'file' in auth ? { authFile: this.#path(auth.file) } : {}),
      ...given({ authVariable: variable }),
      ...(maskKey === undefined ? {} : { maskKeyFile: this.#path(maskKey) }),
      ...(tls === false ? {} : { tls: true as const }),
      ...(secure.ca === undefined ? {} : { tlsCa: this.#path(secure.ca) }),
      ...(secure.cert === undefined ? {} : { tlsCert: this.#path(secure.cert) }),
      ...(secure.key === undefined ? {} : { tlsKey: this.#path(secure.key) }),
      ...(secure.serverName === undefined ? {} : { tlsServerName: secure.serverName }),
      ...(secure.insecure === true ? { tlsInsecure: true as const } : {}),
    };
  }

  #judging(
    run: GateRun,
    entry: Partial<TargetEntry> | undefined,
  ): Pick<RunOptions, 'threshold' | 'examples' | 'backends' | 'backendsRoute' | 'minCoverage' | 'maxLag'> {
    const { thresholds, examples = EXAMPLES, minCoverage, maxLag } = run;
    const hasBaseline = run.baseline !== undefined || run.expect !== undefined;
    for (const { threshold } of thresholds ?? [])
      if (needsBaseline(threshold) && !hasBaseline)
        throw this.#wrong(
          this.#placeOf('thresholds'),
          new ConfigError(`${threshold.expression}: expected a baseline (baseline or expect), got none`),
        );
    const backends = run.backends ?? entry?.backends;
    const backendsRoute = run.backendsRoute ?? entry?.backendsRoute;
    return {
      threshold:
        thresholds?.map(({ threshold }) => threshold) ??
        (run.audit === undefined ? defaultThresholds(hasBaseline) : auditExpressions.map(parseThreshold)),
      examples,
      ...(backends === undefined
        ? {}
        : { backends: backends.map((address): NamedServer => parseTarget(address)) }),
      ...given({ backendsRoute, minCoverage, maxLag }),
    };
  }

  #pacing(
    run: GateRun,
  ): Pick<
    RunOptions,
    | 'speed'
    | 'order'
    | 'prefill'
    | 'timeout'
    | 'workers'
    | 'allow'
    | 'flushBefore'
    | 'rate'
    | 'split'
    | 'pipeline'
    | 'loop'
    | 'from'
    | 'to'
  > {
    const { speed = 1, order = 'key', prefill = 'auto', timeout = TIMEOUT_MS, workers = 1, allow = [] } = run;
    const { rate, split, pipeline, loop, from, to, flushBefore } = run;
    if (flushBefore === true && run.target === undefined)
      throw this.#wrong(
        this.#placeOf('flushBefore'),
        new ConfigError('flushBefore empties what target names: expected a target, got none'),
      );
    return {
      speed,
      order,
      prefill,
      timeout,
      workers,
      allow,
      ...(flushBefore === true ? { flushBefore } : {}),
      ...given({ rate, split, pipeline, loop, from, to }),
    };
  }

  /** How long and how many is said of models; defaults may say it where a run has a trace. */
  #modelling({
    trace,
    seed,
    duration,
    requests,
    scenarios = [],
  }: GateRun): Pick<RunOptions, 'seed' | 'duration' | 'requests' | 'scenario'> {
    return {
      scenario: scenarios,
      ...given({ seed }),
      ...(duration === undefined || trace !== undefined ? {} : { duration }),
      ...(requests === undefined || trace !== undefined ? {} : { requests }),
    };
  }

  #files(run: GateRun): Pick<RunOptions, 'drills' | 'baseline' | 'expect' | 'results' | 'replacing'> {
    const { drills, baseline, expect, results } = run;
    if (results !== undefined) {
      const inputs = [run.trace, run.model, expect].flatMap((path) =>
        path === undefined ? [] : [this.#path(path)],
      );
      checkPlace(this.#path(results), { option: this.#at('results'), replacing: 'results', inputs });
    }
    return {
      ...(drills === undefined ? {} : { drills: this.#drills(drills) }),
      ...given({ baseline }),
      ...(expect === undefined ? {} : { expect: this.#path(expect) }),
      ...(results === undefined ? {} : { results: this.#path(results), replacing: 'results' as const }),
    };
  }

  #drills(drills: string | readonly Drill[]): readonly Drill[] {
    if (typeof drills !== 'string') return drills;
    const path = this.#path(drills);
    try {
      return parseDrills(readSmall(path, 'the drills').toString(), path);
    } catch (error) {
      throw this.#wrong(this.#placeOf('drills'), error);
    }
  }

  /** Where it comes from, and how much of it there is. */
  async #source(
    { trace, model, audit, expect }: GateRun,
    options: RunOptions,
  ): Promise<Pick<Plan, 'source' | 'exchanges' | 'seconds'>> {
    if (audit !== undefined) {
      const source = this.#path(audit);
      const { exchanges } = await this.#check(this.#placeOf('audit'), async () => ofTrace(source, options));
      return { source, exchanges, seconds: null };
    }
    if (trace === undefined) {
      const name = model!;
      const source = /[/.]/.test(name) || existsSync(this.#path(name)) ? this.#path(name) : name;
      return { source, ...(await this.#check(this.#placeOf('model'), () => ofModel(source, options))) };
    }
    const source = this.#path(trace);
    const size = await this.#check(this.#placeOf('trace'), async () => ofTrace(source, options));
    const isRewritten = options.scenario.length > 0;
    if (isRewritten)
      await this.#check(this.#placeOf('scenarios'), () => options.scenario.forEach(checkScenario));
    // What results of a trace with scenarios are of is known when it is made.
    if (expect !== undefined && !isRewritten)
      await this.#check(this.#placeOf('expect'), async () => assertResultsOf(this.#path(expect), source));
    return { source, ...size };
  }

  #path(path: string): string {
    return resolve(this.#folder, path);
  }

  /** Where the field stands: in the run, or else in the defaults. */
  #placeOf(field: string): PropertyKey[] {
    const run = this.#gate.value.runs[this.#index]!;
    return field in run ? ['runs', this.#index, field] : ['defaults', field];
  }

  #at(field: string): string {
    return this.#gate.at(this.#placeOf(field));
  }

  #wrong(place: PropertyKey[], cause: unknown): ConfigError {
    return new ConfigError(`${this.#gate.at(place)}: ${(cause as Error).message}`, { cause });
  }

  async #check<T>(place: PropertyKey[], work: () => T | Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.#wrong(place, error);
    }
  }
}

type Amount = Pick<Plan, 'exchanges' | 'seconds'>;

/** @throws TraceError, ConfigError */
async function ofTrace(path: string, options: RunOptions): Promise<Amount> {
  const trace = await TraceReader.open(path);
  try {
    if (trace.exchangeCount === 0) throw new ConfigError(`${path}: expected exchanges to replay, got none`);
    const { from = 0, to = Infinity, loop = 1 } = options;
    const wholeMs = trace.blocks.reduce((last, { toNs }) => Math.max(last, toNs), 0) / 1e6;
    const lengthMs = Math.max(0, Math.min(to, wholeMs) - from);
    if (from > wholeMs)
      throw new ConfigError(`${path}: no exchange from ${from} ms on: it is ${Math.round(wholeMs)} ms long`);
    const part = wholeMs === 0 ? 1 : lengthMs / wholeMs;
    const exchanges = Math.max(1, Math.round(trace.exchangeCount * part)) * loop;
    return paced(exchanges, (lengthMs / 1000) * loop, options);
  } finally {
    await trace.close();
  }
}

/** @throws CliError, ConfigError */
function ofModel(name: string, options: RunOptions): Amount {
  const { rate, ...asked } = options;
  const own = rate === undefined ? undefined : (fixedRateOf(options) ?? rateOfPlan(name, rate.plan, asked));
  const model = modelOf(name, { ...asked, ...given({ rate: own }) });
  if (!isModel(name)) throw new ConfigError(`${name}: expected a name that ends with .yaml`);
  const { requests, durationMs } = extentOf(model, {
    ...(options.requests === undefined ? {} : { requests: options.requests }),
    ...(options.duration === undefined ? {} : { durationMs: options.duration }),
  });
  const perSecond = meanRate(model);
  const exchanges = Math.round(Math.min(requests, (perSecond * durationMs) / 1000)) * (options.loop ?? 1);
  return paced(exchanges, exchanges / perSecond, { ...asked, ...given({ rate }) });
}

/** @param seconds at the recorded speed */
function paced(
  exchanges: number,
  seconds: number,
  { speed, rate }: Pick<RunOptions, 'speed' | 'rate'>,
): Amount {
  if (rate !== undefined) {
    const schedule = createSchedule({
      kind: 'rate',
      plan: rate.plan,
      recordedRate: exchanges / Math.max(seconds, 1e-9),
    });
    return { exchanges, seconds: schedule.dueNs(exchanges - 1, 0) / 1e9 };
  }
  return { exchanges, seconds: speed === 'max' ? null : seconds / speed };
}

/** Reads what the options of a target name. @throws CliError, ReplayError */
function assertRoute(shell: Shell, options: RunOptions): void {
  const { route = 'index', routeMap } = targetsOf(shell, options);
  const targets = (options.target ?? []).map((address) => parseTarget(address));
  // How many servers the trace has is known when it is replayed; any other route says now whether it can be.
  if (targets.length > 0 && route !== 'index') createRoute(route, targets, 1, routeMap);
}
