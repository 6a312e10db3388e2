// Losses must be accounted for. A target that was asked before and after the replay says how much it evicted, and whether it
// restarted: it may lose that many keys, and no more. A target on which others work, or that cannot be asked, may lose any.

import { opcodeInfo } from '../protocol/opcode.ts';
import type { Batch } from '../trace/batch.ts';
import type { ResultsEnd } from '../trace/meta.ts';
import { Result, type ResultBatch } from '../trace/results.ts';

/** What is known of a target's losses. */
export interface Account {
  /**
   * `exact`: it may lose as many keys as it evicted · `restarted`: it lost all · `shared`: others work on it · `unknown`: it
   * cannot be asked
   */
  kind: 'exact' | 'restarted' | 'shared' | 'unknown';
  /** Keys that it says it evicted; null where it did not say. */
  evicted: number | null;
  /** Losses that the replay saw. */
  lost: number;
}

/** Whatever takes an item that is not to go yet, by the names of STAT. */
const evictions = [
  'evictions',
  'slab_reassign_evictions_nomem',
  'slab_reassign_evictions_samepage',
  'slab_reassign_busy_deletes',
  'extstore_objects_evicted',
];

type Asked = 'sets' | 'gets' | 'deletes' | 'counts' | 'touches' | 'flushes';
type Stats = Readonly<Record<string, string>>;

/** What requests of each sort a target counts, by the names of STAT. */
const counters: Readonly<Record<Asked, readonly string[]>> = {
  sets: ['cmd_set'],
  gets: ['cmd_get'],
  deletes: ['delete_hits', 'delete_misses'],
  counts: ['incr_hits', 'incr_misses', 'decr_hits', 'decr_misses'],
  touches: ['cmd_touch'],
  flushes: ['cmd_flush'],
};

const sorts: Readonly<Partial<Record<string, readonly Asked[]>>> = {
  get: ['gets'],
  // GAT is a get and a touch.
  gat: ['gets', 'touches'],
  touch: ['touches'],
  set: ['sets'],
  add: ['sets'],
  replace: ['sets'],
  append: ['sets'],
  prepend: ['sets'],
  delete: ['deletes'],
  // A counter that is made anew is stored.
  incr: ['counts', 'sets'],
  decr: ['counts', 'sets'],
  flush: ['flushes'],
};
const OPCODES = 256;
const sortsOf = Array.from({ length: OPCODES }, (_, opcode) => sorts[opcodeInfo(opcode)?.family ?? ''] ?? []);

export class Accounts {
  /** Requests that were sent, by target and opcode. */
  readonly #sent: Float64Array;
  readonly #targets: number;
  #told: ResultsEnd['accounts'];
  #accounts: Account[] | undefined;
  readonly #isShort: boolean[];
  readonly #hasMissed: boolean[];
  readonly #hasTenants: boolean;

  /** @param hasTenants whose FLUSH may empty what others stored, or only their own */
  constructor(targets: number, hasTenants = false) {
    this.#hasTenants = hasTenants;
    this.#targets = targets;
    this.#sent = new Float64Array(targets * OPCODES);
    this.#isShort = Array.from({ length: targets }, () => false);
    this.#hasMissed = Array.from({ length: targets }, () => false);
  }

  /** What the targets said, before and after. */
  tell(told: ResultsEnd['accounts']): void {
    this.#told = told;
  }

  /** A row that was sent. */
  see(batch: Batch, row: number, results: ResultBatch, resultRow: number): void {
    const target = results.target[resultRow]!;
    if (target < this.#targets && results.result[resultRow] !== Result.skipped)
      this.#sent[target * OPCODES + batch.opcode[row]!]!++;
  }

  /** The target answered that it has no memory. */
  short(target: number): void {
    if (target < this.#isShort.length) this.#isShort[target] = true;
  }

  /** It ran out of memory, or evicts: a change may have found no room. */
  isShort(target: number): boolean {
    return this.#isShort[target] === true || (this.all[target]?.evicted ?? 0) > 0;
  }

  /** A key that was there in the recording was not there on the target. */
  missed(target: number): void {
    if (target < this.#hasMissed.length) this.#hasMissed[target] = true;
  }

  /** It did, or nothing tells that it did not, and keys are missing: CAS ids then begin anew. */
  mayRestart(target: number): boolean {
    const kind = this.all[target]?.kind ?? 'unknown';
    return kind === 'restarted' || (kind === 'unknown' && this.#hasMissed[target] === true);
  }

  /** By target, once all rows were seen. */
  get all(): Account[] {
    this.#accounts ??= Array.from({ length: this.#targets }, (_, target) =>
      this.#of(target, this.#askedOf(target)),
    );
    return this.#accounts;
  }

  /** What of its counters this replay has moved, with what was done to it before and after. */
  #askedOf(target: number): Record<Asked, number> {
    const told = this.#told?.find((account) => account.target === target);
    const { sets = 0, gets = 0 } = told?.asked ?? {};
    const asked = { sets, gets, deletes: 0, counts: 0, touches: 0, flushes: 0 };
    for (const [opcode, moved] of sortsOf.entries())
      for (const sort of moved) asked[sort] += this.#sent[target * OPCODES + opcode]!;
    return asked;
  }

  #of(target: number, own: Readonly<Record<Asked, number>>): Account {
    const told = this.#told?.find((account) => account.target === target);
    if (told === undefined) return { kind: 'unknown', evicted: null, lost: 0 };
    const { before, after } = told;
    if (after === null || (this.#hasTenants && own.flushes > 0))
      return { kind: 'unknown', evicted: null, lost: 0 };
    if (before['pid'] !== after['pid'] || since(before, after, ['uptime']) < 0)
      return { kind: 'restarted', evicted: null, lost: 0 };
    const evicted = since(before, after, evictions);
    const isShared = Object.entries(counters).some(
      ([sort, names]) => since(before, after, names) > own[sort as Asked],
    );
    return { kind: isShared ? 'shared' : 'exact', evicted, lost: 0 };
  }

  /** Whether it may lose one more, as far as it says. */
  mayLose(target: number): boolean {
    const account = this.all[target];
    return account?.kind !== 'exact' || account.evicted === null || account.lost < account.evicted;
  }

  /** A key was lost. @returns whether its target may have lost it */
  lose(target: number): boolean {
    const account = this.all[target];
    if (account === undefined) return true;
    const may = this.mayLose(target);
    account.lost++;
    return may;
  }
}

/** How much these figures have grown together. */
function since(before: Stats, after: Stats, names: readonly string[]): number {
  return names.reduce((sum, name) => sum + numberOf(after[name]) - numberOf(before[name]), 0);
}

function numberOf(text: string | undefined): number {
  const number = Number(text ?? 0);
  return Number.isFinite(number) ? number : 0;
}
