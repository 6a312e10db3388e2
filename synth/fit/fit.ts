// A model out of a trace: what of its requests, keys and times a generator needs to make traffic like it. One pass over the
// trace; past a bound memory stays, and keys are sampled.

import { given } from '../../config/given.ts';
import { NEVER, Outcome, RowFlag, type Batch, type Connection } from '../../trace/batch.ts';
import { Reservoir } from './gather.ts';
import { ModelGenerator } from '../generate/generator.ts';
import type { Method } from '../references/expected.ts';
import { checkModel, type ModelInput } from '../model/model.ts';
import { TenantFit } from './tenant.ts';

const MAX_TENANTS = 200;
const SAMPLES = 10_000;
/** Models of more requests are not made to be corrected: it would take minutes. */
const CORRECTED = 2_000_000;
const ROUNDS = 3;
/** References by which ways to make them are compared, of all tenants together, and of one at least. */
const COMPARED = 300_000;
const LEAST_COMPARED = 5_000;
/** Shorter traces say nothing of how traffic changes. */
const SHORT_NS = 10e9;

export interface FitOptions {
  onProgress?: (exchanges: number) => void;
  /** The time of the trace's start, ns since 1970: without it, absolute expiries are as long as can be. */
  startNs?: number;
  /** Keys, and references to them, that are kept in memory: some 150 bytes and 5 (13 where keys are sampled) each. */
  mostKeys?: number;
  mostReferences?: number;
  /** How references are made. Default: the way that comes nearest to a part of the trace that it was not fitted to. */
  method?: Method;
}

/**
 * Fits a model to the exchanges of a trace.
 * @param name what the model is called
 * @throws RangeError where there are no requests · TraceError of the trace
 */
export async function fitTrace(
  batches: AsyncIterable<Batch>,
  name: string,
  { onProgress, startNs, mostKeys = 1_000_000, mostReferences = 8_000_000, method }: FitOptions = {},
): Promise<ModelInput> {
  const tenants = new Map<string, TenantFit>();
  const connections: Connection[] = [];
  const latencies = new Reservoir<number>(SAMPLES);
  let [rows, firstNs, endNs] = [0, NEVER, 0];
  for await (const batch of batches) {
    for (const connection of batch.connections) connections[connection.id] = connection;
    for (let row = 0; row < batch.count; row++) {
      if (batch.outcome[row] === Outcome.conditional) continue;
      const wanted = connections[batch.connection[row]!]?.tenant ?? '';
      // A service of thousands of tenants: those that come late are one.
      const tenant = tenants.has(wanted) || tenants.size < MAX_TENANTS ? wanted : 'others';
      let fit = tenants.get(tenant);
      if (fit === undefined) tenants.set(tenant, (fit = new TenantFit(tenant)));
      if (firstNs === NEVER) firstNs = batch.requestNs[row]!;
      endNs = Math.max(endNs, batch.requestNs[row]! - firstNs);
      // Rows are in the order of their requests, but for what came out of order.
      fit.add(batch, row, endNs, startNs === undefined ? undefined : startNs + batch.requestNs[row]!);
      if (batch.outcome[row] === Outcome.answered)
        latencies.add(batch.answerNs[row]! - batch.requestNs[row]!);
    }
    bound([...tenants.values()], mostKeys, mostReferences);
    rows += batch.count;
    onProgress?.(rows);
  }
  const fits = [...tenants.values()].filter((fit) => fit.requestsSeen > 0);
  if (fits.length === 0) throw new RangeError('expected requests to fit a model to, got none');
  const requests = fits.reduce((sum, fit) => sum + fit.requestsSeen, 0);
  const latencyNs = Math.max(1000, median(latencies.items));
  const model: ModelInput = {
    format: 'memtape-model/1',
    name,
    about: `fitted to ${requests} requests of ${name}`,
    start: fits.some((fit) => fit.isWarm) ? 'warm' : 'cold',
    // The number of requests ends it.
    duration: `${Math.ceil((endNs / 1e6) * 1.1) + 100}ms`,
    requests,
    latency: `${Math.round(latencyNs / 1000)}us`,
    tenants: fits.map((fit) => {
      const own = connections.filter((connection) => connection?.tenant === fit.name);
      return fit.model(...connectionsOf(own, endNs), latencyNs, {
        doubts:
          endNs < SHORT_NS
            ? [
                `The trace lasts ${(endNs / 1e9).toFixed(1)} s: what changes over longer times is not in the model.`,
              ]
            : [],
        compared: Math.max(LEAST_COMPARED, Math.floor(COMPARED / fits.length)),
        ...given({ method }),
      });
    }),
  };
  return requests > CORRECTED ? model : corrected(model, fits);
}

/** With as many refills as there were: a model has other misses, by chance and because it knows no evictions. */
function corrected(model: ModelInput, fits: readonly TenantFit[]): ModelInput {
  const tenants = model.tenants.map((tenant, n) => {
    const { requestsSeen, refills: wanted } = fits[n]!;
    let share = tenant.refills ?? 1;
    const withShare = (): typeof tenant => Object.assign({}, tenant, { refills: Number(share.toFixed(4)) });
    for (let round = 0; round < ROUNDS && tenant.onMiss !== 'none'; round++) {
      const alone = Object.assign({}, model, { requests: requestsSeen, tenants: [withShare()] });
      const made = refillsOf(new ModelGenerator(checkModel(alone)));
      if (made === 0 || Math.abs(made - wanted) < 0.002 * wanted) break;
      share = Math.min(1, Math.max(0.01, (share * wanted) / made));
    }
    return tenant.onMiss === 'none' ? tenant : withShare();
  });
  return { ...model, tenants };
}

function refillsOf(generator: ModelGenerator): number {
  let refills = 0;
  for (const batch of generator.batches())
    for (let row = 0; row < batch.count; row++)
      if ((batch.flags[row]! & RowFlag.refill) !== 0 && batch.outcome[row] !== Outcome.conditional) refills++;
  return refills;
}

/** Keys are forgotten where there are too many, by the tenant that has most of them. */
function bound(fits: readonly TenantFit[], mostKeys: number, mostReferences: number): void {
  for (const [most, of] of [
    [mostKeys, (fit: TenantFit) => fit.keys.size],
    [mostReferences, (fit: TenantFit) => fit.keys.kept],
  ] as const)
    for (;;) {
      const sizes = fits.map(of);
      const all = sizes.reduce((sum, size) => sum + size, 0);
      if (all <= most) break;
      const largest = fits[sizes.indexOf(Math.max(...sizes))]!;
      largest.halve();
      // The popular are never forgotten: where it is they that have the references, no more can go.
      if (fits.reduce((sum, fit) => sum + of(fit), 0) > 0.98 * all) break;
    }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}

/** How many there are at once, on average, and how long they live. */
function connectionsOf(
  connections: readonly Connection[],
  endNs: number,
): [count: number, lifetimeMs: number | undefined] {
  const lives = connections.map(({ openNs, closeNs }) => {
    const from = openNs === NEVER ? 0 : openNs;
    return (closeNs === NEVER ? endNs : Math.min(endNs, closeNs)) - from;
  });
  const total = lives.reduce((sum, life) => sum + Math.max(0, life), 0);
  const count = Math.max(1, Math.round(total / Math.max(1, endNs)));
  return [count, connections.length > 2 * count ? total / connections.length / 1e6 : undefined];
}
