// How long items are to live, as stores say it.

import { MAX_RELATIVE_SECONDS } from '../../protocol/expiry.ts';
import { expiryAt } from '../../protocol/semantics.ts';
import type { Batch } from '../../trace/batch.ts';
import type { ModelInput } from '../model/model.ts';
import { round, tableOf } from '../laws/table.ts';

const MOST = 10_000;
const LISTED = 20;
const PARTS = 100;
/** From so many of the stores on that repeat their key's expiry, it is the key's. */
const OWN = 0.9;

/** The expiry that a row's request asks for, as it stands there; 0 where the operation has none. */
export function expiryIn(batch: Batch, row: number): number {
  return expiryAt(batch.opcode[row]!, batch.heap, batch.extrasAt[row]!, batch.extrasLength[row]!);
}

/** Seconds from a moment on, as a request's expiry has it; without the moment an absolute one is as long as can be. */
export function secondsOf(expiry: number, unixNs: number | undefined): number {
  if (expiry <= MAX_RELATIVE_SECONDS) return expiry;
  return unixNs === undefined ? MAX_RELATIVE_SECONDS : Math.max(1, expiry - Math.floor(unixNs / 1e9));
}

export class Lifetimes {
  readonly #seconds = new Map<number, number>();
  #again = 0;
  #same = 0;

  /** @param before of the key's last store; undefined: none is known */
  add(seconds: number, before: number | undefined): void {
    if (this.#seconds.size < MOST || this.#seconds.has(seconds))
      this.#seconds.set(seconds, (this.#seconds.get(seconds) ?? 0) + 1);
    if (before === undefined) return;
    this.#again++;
    if (before === seconds) this.#same++;
  }

  /** Whether an expiry belongs to its key. */
  get isOwn(): boolean {
    return this.#seconds.size > 1 && this.#again > 0 && this.#same > OWN * this.#again;
  }

  model(): Pick<ModelInput['tenants'][number], 'ttl'> {
    const all = [...this.#seconds].toSorted((a, b) => b[1] - a[1]);
    const total = all.reduce((sum, [, n]) => sum + n, 0);
    if (total === 0 || (all.length === 1 && all[0]![0] === 0)) return {};
    return {
      ttl:
        all.length <= LISTED
          ? all.map(([seconds, n]) => ({ ttl: `${seconds}s`, share: round(n / total, 6) }))
          : quantiles(all),
    };
  }
}

/** Each with an even share. */
function quantiles(tally: readonly (readonly [number, number])[]): { ttl: string; share: number }[] {
  const sample = tally.flatMap(([seconds, n]) => Array<number>(Math.min(n, 20)).fill(seconds));
  const { values } = tableOf(sample, 0, PARTS - 1);
  return values.map((seconds) => ({ ttl: `${seconds}s`, share: 1 / PARTS }));
}
