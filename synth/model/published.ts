// What was published of the workloads that come with memtape, as figures that a run can be compared with: the proof of the
// models reads them from here, and a model says in words which of its other figures are assumed.

import type { ModelInput } from './model.ts';

export interface Sizes {
  mean?: number;
  p50?: number;
  p99?: number;
}

/** Shares are of 1. What is left out was not published. */
export interface Published {
  /** Shares of requests, the stores that follow misses among them. GETs of all sorts together; cas: stores with a CAS id. */
  mix: Partial<Record<'get' | 'set' | 'add' | 'cas' | 'delete' | 'incr', number>>;
  /** Reads that miss. */
  misses?: number;
  /** Bytes, over keys. */
  keyBytes?: Sizes;
  valueBytes?: Sizes;
  /** Of the stores, by seconds. */
  ttls?: readonly (readonly [seconds: number, share: number])[];
  /** Exponent of the popularity. */
  alpha?: number;
  /** What the most popular keys have of the requests: this many, or, below 1, this share of all keys. */
  top?: readonly (readonly [keys: number, share: number])[];
  /** Over the length of the trace: requests for a key on average, and keys that are asked for once. */
  trace?: { requests: number; frequency: number; once: number };
  /** Requests a second. */
  rate?: number;
}

export interface BuiltIn {
  model: ModelInput & { name: string };
  published: Published;
}

export type TenantInput = ModelInput['tenants'][number];

/** A workload of one tenant, in the middle of its production. */
export function builtIn(name: string, about: string, tenant: TenantInput, published: Published): BuiltIn {
  return { model: { format: 'memtape-model/1', name, about, start: 'warm', tenants: [tenant] }, published };
}

/** Arrivals that together have these shares of a rate of requests; the rest are what follows from them. */
export function arriving(
  rate: number,
  mix: NonNullable<TenantInput['mix']>,
): Pick<TenantInput, 'mix'> & { arrivals: { rate: number } } {
  const sum = Object.values(mix).reduce<number>((total, share) => total + (share ?? 0), 0);
  const shares = Object.entries(mix).map(([name, share]) => [name, Number(((share ?? 0) / sum).toFixed(5))]);
  return {
    mix: Object.fromEntries(shares) as typeof mix,
    arrivals: { rate: Number((rate * sum).toFixed(2)) },
  };
}
