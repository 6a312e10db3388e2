// CAS ids as evidence. A server that gives each version an id of its own is found out by the ids that it tells; a server,
// or a proxy, whose ids say nothing is not to be called wrong for it. What they say is taken from the recording: ids that it
// shows on two versions, or that change by themselves, mark none.

import { Status } from '../protocol/status.ts';
import type { Batch } from '../trace/batch.ts';
import { tokenOf } from '../trace/token.ts';

/**
 * Whose CAS ids say which version is which: the recording's, and the replay's where they are alike · the replay's own, since
 * the recording has none · nobody's, since the recording has the same for all.
 */
export type WhoseIds = 'recording' | 'replay' | 'nobody';

/** Whether the recording's CAS ids tell versions apart at all. */
export class Telling {
  /** The first id that an answer told; 0: none so far. */
  #first = 0;
  #isShown = false;

  get ids(): WhoseIds {
    if (this.#isShown) return 'recording';
    return this.#first === 0 ? 'replay' : 'nobody';
  }

  see(batch: Batch, row: number): void {
    if (this.#isShown || batch.status[row] !== Status.ok) return;
    const cas = tokenOf(batch.answerCasHigh[row]!, batch.answerCasLow[row]!);
    if (cas === 0) return;
    if (this.#first === 0) this.#first = cas;
    else if (this.#first !== cas) this.#isShown = true;
  }
}

/** What the recording tells of one operation's version. */
export interface RecordedVersion {
  /** Recorded CAS id; 0: none. */
  cas: number;
  /** Number of the value that it goes with; negative: not known. */
  value: number;
  /** It made the version. */
  makes: boolean;
  /** It may have changed the item, whatever it was answered. */
  mayChange: boolean;
  fromNs: number;
  toNs: number;
}

/** Recorded ids that mark no version of the key. @param all operations on the key, in the order of their beginnings */
export function meaninglessIds(all: readonly RecordedVersion[]): Set<number> {
  const meaningless = new Set<number>();
  const values = new Map<number, number>();
  const made = new Set<number>();
  // The latest change, and whether another one overlaps it or came after it.
  let maker: RecordedVersion | undefined;
  let changedUntilNs = -Infinity;
  for (const [n, one] of all.entries()) {
    const { cas, value, makes, mayChange, fromNs, toNs } = one;
    if (cas !== 0) {
      if (makes && made.has(cas)) meaningless.add(cas);
      if (makes) made.add(cas);
      if (value >= 0) {
        const known = values.get(cas);
        if (known !== undefined && known !== value) meaningless.add(cas);
        values.set(cas, value);
      }
      // Nothing can have changed it since, and it has another id.
      if (
        !mayChange &&
        maker !== undefined &&
        maker.cas !== 0 &&
        maker.cas !== cas &&
        // Another value was stored by a request that this replay did not send.
        maker.value === value &&
        value >= 0 &&
        fromNs > changedUntilNs &&
        !changesMeanwhile(all, n, toNs)
      )
        meaningless.add(maker.cas);
    }
    if (!mayChange) continue;
    maker = makes && fromNs > changedUntilNs ? one : undefined;
    changedUntilNs = Math.max(changedUntilNs, toNs);
  }
  return meaningless;
}

/** A change began while the n-th operation was under way. */
function changesMeanwhile(all: readonly RecordedVersion[], n: number, toNs: number): boolean {
  for (let later = n + 1; later < all.length && all[later]!.fromNs <= toNs; later++)
    if (all[later]!.mayChange) return true;
  return false;
}
