// Scenarios: what happens to a workload one day. Each is a pure transform, of a model or of a recorded trace, with parameters
// and times, and they compose: NAME, or NAME:PARAMETER=VALUE,….

import { z } from 'zod';
import { ConfigError } from '../../config/error.ts';
import { nearest } from '../../config/nearest.ts';
import { assertPossible, type Model } from '../model/model.ts';
import { rewriteTrace, type RewriteOptions, type Rewritten } from '../rewrite/rewrite.ts';
import type { Context, Stage } from '../rewrite/stage.ts';
import { backendRestart, connectionChurn, retryStorm, slowNode } from './clients.ts';
import {
  casConflict,
  counterContention,
  deployColdCache,
  flushAll,
  invalidationStorm,
  poisonSizes,
  sizeShift,
  thunderingHerd,
  ttlAvalanche,
} from './contents.ts';
import { at, begin, scenario, type Scenario } from './define.ts';
import {
  diurnal,
  hotKey,
  multigetIncast,
  pipelineFlood,
  popularityShift,
  scan,
  tenantSurge,
  writeBurst,
} from './demand.ts';

const incident = scenario(
  'incident',
  'two large tenants sign up, a server is slow, backends run out of memory and restart',
  { at, run: z.string().optional(), server: z.string().optional() },
  {
    model: (model, parameters, total) =>
      incidentOf(parameters, total).reduce((changed, text) => applyScenario(changed, text, total), model),
    trace: (context, parameters, total) =>
      incidentOf(parameters, total).flatMap((text) => stagesOf(context, text, total)),
  },
);

function incidentOf(
  {
    at: given,
    run,
    server,
  }: { at?: number | undefined; run?: string | undefined; server?: string | undefined },
  total: number,
): string[] {
  const from = begin(given, total);
  const drill = `${run === undefined ? '' : `,run=${run}`}${server === undefined ? '' : `,server=${server}`}`;
  return [
    `tenantSurge:at=${from / 2}ms,count=2,ramp=${from / 2}ms,weight=0.5,cold=0.3`,
    `slowNode:at=${from}ms,for=${from}ms`,
    `backendRestart:at=${from * 2}ms,share=0.3${drill}`,
  ];
}

const scenarios = new Map<string, Scenario>(
  [
    tenantSurge,
    hotKey,
    thunderingHerd,
    ttlAvalanche,
    backendRestart,
    slowNode,
    connectionChurn,
    deployColdCache,
    retryStorm,
    scan,
    sizeShift,
    popularityShift,
    diurnal,
    writeBurst,
    invalidationStorm,
    multigetIncast,
    counterContention,
    casConflict,
    poisonSizes,
    pipelineFlood,
    flushAll,
    incident,
  ].map((one) => [one.name, one]),
);

/** Names, what they do, and their parameters. */
export function listScenarios(): { name: string; about: string; parameters: string[] }[] {
  return Array.from(scenarios.values(), ({ name, about, parameters }) => ({
    name,
    about,
    parameters: Object.keys(parameters.shape),
  }));
}

/**
 * Applies one to a model: `hotKey:share=0.3,at=10s`.
 * @param totalMs length of the run
 * @throws ConfigError with the nearest name, or what was expected of a parameter
 */
export function applyScenario(model: Model, text: string, totalMs: number): Model {
  const { known, parameters } = parseScenario(text);
  return assertPossible({ ...known.onModel(model, parameters, totalMs), duration: totalMs });
}

/** @throws ConfigError as applyScenario(), before anything is read */
export function checkScenario(text: string): void {
  parseScenario(text);
}

/**
 * Writes a recorded trace as it would be had they happened, one after the other. What the requests then get is the
 * answer of a cache without limits that begins with what the trace shows to have been there; the same seed makes the same
 * bytes.
 * @throws ConfigError as applyScenario(), or where the trace lacks what one is about · TraceError of either file
 */
export async function applyToTrace(
  input: string,
  output: string,
  texts: readonly string[],
  options: Omit<RewriteOptions, 'name'> = {},
): Promise<Rewritten> {
  for (const text of texts) checkScenario(text);
  return rewriteTrace(
    input,
    output,
    (context) => texts.flatMap((text) => stagesOf(context, text, context.totalMs)),
    { ...options, name: texts.join(' ') },
  );
}

function stagesOf(context: Context, text: string, totalMs: number): Stage[] {
  const { known, parameters } = parseScenario(text);
  return known.onTrace(context, parameters, totalMs);
}

function parseScenario(text: string): { known: Scenario; parameters: never } {
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
  if (parsed.success) return { known, parameters: parsed.data as never };
  const [issue] = parsed.error.issues;
  throw new ConfigError(
    issue!.code === 'unrecognized_keys'
      ? `${name}: unknown parameter ${JSON.stringify(issue.keys[0])}; there are ${Object.keys(known.parameters.shape).join(', ')}`
      : `${name}: ${issue!.path.join('.')}: ${issue!.message}`,
  );
}
