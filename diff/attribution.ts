// What failures share: every value of every factor is weighed against the exchanges, or the keys, that passed. Keys count
// once where the factor belongs to the key (its server, tenant, prefix, partition), so that one hot key is no
// pattern. A value is named only if chance does not explain it, after correcting for the number of values looked at.

import type { DistributionName, NamedServer } from '../protocol/distribution.ts';
import { partitions } from './partitions.ts';
import { count, type Tally } from './tally.ts';
import { chiSquaredTail, entropyOf } from './statistics.ts';

export const factors = [
  'server',
  'tenant',
  'opcode',
  'partition',
  'connection',
  'prefix',
  'size',
  'phase',
] as const;
export type Factor = (typeof factors)[number];

/**
 * What failed: wrong answers, keys that were not there, stores that found no room; what was answered last before the
 * server hung up, which may have been the reason, while what was under way then is nobody's fault; and what took much
 * longer than most.
 */
export const failureClasses = ['violations', 'hang-ups', 'lost', 'capacity', 'slow'] as const;
export type FailureClass = (typeof failureClasses)[number];

/** Whether a factor tells where something fails, and not what. */
export function isPlace(factor: Factor): boolean {
  return factor === 'server' || factor === 'tenant' || factor === 'partition';
}

/** Whether a factor tells who asked, for what, or when: which of the servers failed is still to be asked. */
export function isCircumstance(factor: Factor): boolean {
  return factor !== 'server' && factor !== 'partition';
}

export interface Culprit {
  factor: Factor;
  value: string;
  of: FailureClass;
  /** Among the exchanges with this value of another factor only. */
  within?: string;
  /** Failing exchanges (or keys, where the factor belongs to the key) with this value. */
  failures: number;
  /** All of them with this value. */
  total: number;
  /** All failures, whatever their value, and all exchanges or keys. */
  allFailures: number;
  all: number;
  /** The first of its failures, since the replay's start. */
  sinceSeconds: number;
  unit: 'exchanges' | 'keys';
  /** How many times as often they fail as all do. */
  lift: number;
  /** Chance of as much without a cause, times the number of values looked at. */
  p: number;
  /** The share of the uncertainty about who fails that this value takes away, 0 to 1. */
  explained: number;
}

/** One exchange, as far as factors go. */
export interface Observed {
  failed: boolean;
  /** What the failure counts as: less than 1, and more than 0, where one event fails several; 1 by default. */
  weight?: number;
  server: string;
  tenant: string;
  opcode: string;
  connection: number;
  /** latin1; empty: none. */
  key: string;
  valueBytes: number;
  /** 0 to 1: when in the run. */
  moment: number;
  /** Since the replay's start. */
  atSeconds: number;
}

export interface KeyCounts {
  server: string;
  tenant: string;
  /** latin1 */
  key: string;
  /** Exchanges of it, and failing ones. */
  total: number;
  failures: number;
  /** The weight of one of its failures; 1 by default. */
  weight?: number;
  /** When its first failure was, since the replay's start. */
  sinceSeconds: number;
}

/** Weight 0: it did not fail. */
type KeyRecord = Required<KeyCounts>;

/** Values of a factor, and what is counted of them. */
type Candidates = readonly (readonly [Factor, Culprit['unit'], Tally])[];

/** Keys held for comparison; of those that fail, as many again. */
const MAX_KEYS = 100_000;
const PHASES = 10;
const MIN_FAILURES = 3;
const MAX_P = 1e-3;
const MIN_LIFT = 1.3;
/** A culprit must explain at least this share of what is uncertain about who fails. */
const MIN_EXPLAINED = 0.02;

export class Attribution {
  readonly #exchanges: Record<'opcode' | 'connection' | 'phase' | 'size', Tally> = {
    opcode: new Map(),
    connection: new Map(),
    phase: new Map(),
    size: new Map(),
  };
  readonly #keys = new Map<string, KeyRecord>();
  readonly #isMost: boolean;
  #passing = 0;
  #failing = 0;
  #anyFailed = false;

  /** @param keysFail where a key counts as failing: where it failed at all, or most times */
  constructor(keysFail: 'at all' | 'mostly' = 'at all') {
    this.#isMost = keysFail === 'mostly';
  }

  add(seen: Observed): void {
    const { failed, key, server, tenant, atSeconds } = seen;
    const weight = failed ? (seen.weight ?? 1) : 0;
    if (failed) this.#anyFailed = true;
    count(this.#exchanges.connection, String(seen.connection), weight, atSeconds);
    count(this.#exchanges.phase, phaseOf(seen.moment), weight, atSeconds);
    count(this.#exchanges.size, sizeClass(seen.valueBytes), weight, atSeconds);
    // What has no key comes behind others, and fails with them.
    if (key === '') return;
    count(this.#exchanges.opcode, seen.opcode, weight, atSeconds);
    const failures = failed ? 1 : 0;
    this.addKey({ server, tenant, key, total: 1, failures, weight, sinceSeconds: atSeconds });
  }

  /** Exchanges of one key, `failures` of which failed, the first of them at `sinceSeconds`. */
  addKey({ server, tenant, key, total, failures, weight: each = 1, sinceSeconds }: KeyCounts): void {
    const failed = failures > 0;
    const weight = failed ? Math.min(1, failures * each) : 0;
    if (failed) this.#anyFailed = true;
    const name = `${server} ${tenant} ${key}`;
    const known = this.#keys.get(name);
    if (known === undefined) {
      if (failed ? this.#failing >= MAX_KEYS : this.#passing >= MAX_KEYS) return;
      if (failed) this.#failing++;
      else this.#passing++;
      this.#keys.set(name, {
        server,
        tenant,
        key,
        weight,
        sinceSeconds: failed ? sinceSeconds : Infinity,
        total,
        failures,
      });
      return;
    }
    known.total += total;
    if (!failed) return;
    known.failures += failures;
    known.sinceSeconds = Math.min(known.sinceSeconds, sinceSeconds);
    const failedBefore = known.weight > 0;
    known.weight = Math.min(1, known.weight + weight);
    if (failedBefore) return;
    this.#passing--;
    this.#failing++;
  }

  /** The values that explain the failures, the best first; of one factor the best only. */
  culprits(
    of: FailureClass,
    backends: readonly NamedServer[] = [],
    distribution?: DistributionName,
  ): Culprit[] {
    // Where nothing failed, nobody did.
    if (!this.#anyFailed) return [];
    const keys = [...this.#keys.values()];
    if (this.#isMost) for (const key of keys) key.weight = 2 * key.failures > key.total ? 1 : 0;
    const names = distinct(keys);
    const { known, guessed } = partitions(names, backends, distribution);
    const told: Candidates = [
      ['opcode', 'exchanges', this.#exchanges.opcode],
      ['connection', 'exchanges', this.#exchanges.connection],
      ['phase', 'exchanges', this.#exchanges.phase],
      ['server', 'keys', tallyOf(keys, ({ server }) => server)],
      ['tenant', 'keys', tallyOf(keys, ({ tenant }) => tenant)],
      ['prefix', 'keys', tallyOf(names, ({ key }) => prefixOf(key))],
      ['size', 'exchanges', this.#exchanges.size],
      ...known.map(partition),
    ];
    // Half of the chance of a false name is for the thousand values of ways to spread keys that are only guessed, so
    // that they do not hide the few that are known.
    const named = [...candidates(of, told, 1 / 2), ...candidates(of, guessed.map(partition), 1 / 2)]
      .filter(
        ({ explained, p, lift, failures }) =>
          explained >= MIN_EXPLAINED && p <= MAX_P && lift >= MIN_LIFT && failures >= MIN_FAILURES,
      )
      // What explains as much as another is told by the factor that is nearer to hand.
      .toSorted(
        (a, b) =>
          b.explained - a.explained ||
          factors.indexOf(a.factor) - factors.indexOf(b.factor) ||
          a.value.localeCompare(b.value),
      );
    const best = new Map<Factor, Culprit>();
    for (const culprit of named) if (!best.has(culprit.factor)) best.set(culprit.factor, culprit);
    return [...best.values()];
  }
}

/** The tally of a way to spread keys, as a candidate. */
function partition(tally: Tally): Candidates[number] {
  return ['partition', 'keys', tally];
}

/** A key on several servers, or of several tenants, counts once where only its name matters. */
function distinct(keys: readonly KeyRecord[]): KeyRecord[] {
  const byName = new Map<string, KeyRecord>();
  for (const key of keys) {
    const known = byName.get(key.key);
    if (known === undefined) byName.set(key.key, { ...key });
    else {
      known.weight = Math.max(known.weight, key.weight);
      known.sinceSeconds = Math.min(known.sinceSeconds, key.sinceSeconds);
    }
  }
  return [...byName.values()];
}

/** The value of a factor that isCircumstance. */
export function valueOf(seen: Observed, factor: Factor): string {
  const { opcode, key, valueBytes, moment, tenant, connection } = seen;
  if (factor === 'tenant') return tenant;
  if (factor === 'connection') return String(connection);
  if (factor === 'opcode') return opcode;
  if (factor === 'phase') return phaseOf(moment);
  return factor === 'prefix' ? prefixOf(key) : sizeClass(valueBytes);
}

function tallyOf(keys: readonly KeyRecord[], value: (key: KeyRecord) => string): Tally {
  const tally: Tally = new Map();
  for (const key of keys) count(tally, value(key), key.weight, key.sinceSeconds);
  return tally;
}

/** @param chance the share of the chance of a false name that these may use up together */
function candidates(of: FailureClass, tallies: Candidates, chance: number): Culprit[] {
  const looks = tallies.reduce((sum, [, , tally]) => sum + tally.size, 0) / chance;
  return tallies.flatMap(([factor, unit, tally]) =>
    Array.from(weigh(tally), (weighed): Culprit => ({
      factor,
      of,
      unit,
      ...weighed,
      p: Math.min(1, weighed.p * looks),
    })),
  );
}

type Weighed = Omit<Culprit, 'factor' | 'of' | 'unit' | 'within'>;

/** Each value against all others: a likelihood ratio over the table of two by two, of failures as they weigh. */
function weigh(tally: Tally): Weighed[] {
  let [failures, all, weight] = [0, 0, 0];
  for (const entry of tally.values()) {
    failures += entry.failed;
    all += entry.total;
    weight += entry.weight;
  }
  const passes = all - failures;
  if (failures === 0 || passes === 0 || tally.size < 2) return [];
  const total = passes + weight;
  const uncertain = entropyOf(weight, passes);
  return Array.from(tally, ([value, entry]) => {
    const passed = entry.total - entry.failed;
    const of = passed + entry.weight;
    const left =
      (of * entropyOf(entry.weight, passed) +
        (total - of) * entropyOf(weight - entry.weight, passes - passed)) /
      total;
    const gained = uncertain - left;
    const lift = entry.weight / of / (weight / total);
    return {
      value,
      failures: entry.failed,
      total: entry.total,
      allFailures: failures,
      all,
      sinceSeconds: entry.sinceSeconds,
      lift: lift > 1 ? lift : 0,
      // The likelihood ratio statistic is distributed as chi-squared with one degree of freedom.
      p: chiSquaredTail(2 * total * gained),
      explained: gained / uncertain,
    };
  });
}

/** What stands before the first separator or number: `user` of `user:17`. */
function prefixOf(key: string): string {
  return /^[^\d:/|.#_-]*/.exec(key)![0].slice(0, 32);
}

/** `1 kB to 2 kB` and the like: powers of two. */
function sizeClass(bytes: number): string {
  if (bytes === 0) return 'none';
  const power = Math.floor(Math.log2(bytes));
  return `${2 ** power} to ${2 ** (power + 1) - 1} bytes`;
}

function phaseOf(moment: number): string {
  const tenth = Math.min(PHASES - 1, Math.floor(moment * PHASES));
  return `${tenth * 10}% to ${(tenth + 1) * 10}% of the run`;
}
