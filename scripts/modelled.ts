// Traffic of models for the proofs, made as `memtape replay MODEL` makes it, and the users of its tenants, as the embedded
// proxy and the replayer want to know them.

import { readFileSync } from 'node:fs';
import type { FaultProxyOptions } from '../embedded/proxy.ts';
import type { ReplayOptions } from '../replayer/replay.ts';
import { builtinModels } from '../synth/model/builtin.ts';
import { ModelGenerator } from '../synth/generate/generator.ts';
import { checkModel, parseModel } from '../synth/model/model.ts';
import { applyScenario } from '../synth/scenarios/scenario.ts';
import { atRate } from '../synth/model/transform.ts';
import { writeTrace } from '../synth/generate/write.ts';

export type Users = ReadonlyMap<string, string>;

export interface Modelled {
  seed?: number;
  /** Requests a second, before what scenarios add. */
  rate: number;
  durationMs: number;
  scenarios?: readonly string[];
}

/**
 * Writes a model's traffic.
 * @param name of one that comes with memtape, or a file
 * @returns its tenants, and a password for each
 */
export async function modelled(
  name: string,
  tape: string,
  { rate, durationMs, scenarios = [], ...options }: Modelled,
): Promise<Users> {
  const builtin = builtinModels.get(name);
  const read = builtin === undefined ? parseModel(readFileSync(name, 'utf8'), name) : checkModel(builtin);
  let model = atRate(read, rate);
  for (const scenario of scenarios) model = applyScenario(model, scenario, durationMs);
  await writeTrace(new ModelGenerator(model, { ...options, durationMs }), tape, name);
  // Tenants without a name have no user: then none is asked for.
  const tenants = model.tenants.map((tenant) => tenant.name ?? '');
  return tenants.includes('') ? new Map() : usersOf(...tenants);
}

export function usersOf(...tenants: string[]): Users {
  return new Map(tenants.map((tenant) => [tenant, `secret-of-${tenant}`]));
}

export function credentials(users: Users): {
  proxy: Pick<FaultProxyOptions, 'users'>;
  replay: Pick<ReplayOptions, 'credentialsOf'>;
} {
  if (users.size === 0) return { proxy: {}, replay: {} };
  return {
    proxy: { users },
    replay: { credentialsOf: (tenant) => ({ user: tenant, password: users.get(tenant) ?? '' }) },
  };
}
