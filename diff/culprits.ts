// Further passes, where something failed: what do failures share that passes do not?

import type { DistributionName, NamedServer } from '../protocol/distribution.ts';
import { isRead, opcodeInfo, opcodeName } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import { Outcome, type Batch } from '../trace/batch.ts';
import { Result, SkipReason, type ResultBatch } from '../trace/results.ts';
import {
  Attribution,
  failureClasses,
  isCircumstance,
  isPlace,
  valueOf,
  type Culprit,
  type Factor,
  type FailureClass,
  type Observed,
} from './attribution.ts';
import { seconds } from './example.ts';
import { HangUps } from './hangups.ts';
import type { Ledger } from './ledger.ts';
import type { Sides } from './sides.ts';
import { onsetOf } from './onset.ts';
import type { ItemNumbers } from './numbers.ts';
import type { Slowness } from './slowness.ts';
import type { ViolationKind } from './verdict.ts';
import { namesVersion } from '../trace/token.ts';

/** Of hang-ups, what explains less of who fails than this is chance: they fall on what is frequent. */
const WEAK = 0.1;
/** The same of what is no server. */
const WEAK_CIRCUMSTANCE = 0.3;
/** Of who is slow, what explains less is chance. */
const SLOW_EXPLAINED = 0.3;

const connectionKinds: readonly ViolationKind[] = [
  'closed',
  'unanswered',
  'orphan',
  'wrong-key',
  'malformed',
];

export class Culprits {
  readonly #sides: Sides;
  readonly #ledger: Ledger;
  readonly #slowness: Slowness;
  readonly #numbers: ItemNumbers;
  readonly #behind: { backends?: readonly NamedServer[]; distribution?: DistributionName };

  /** @param behind what stands behind the targets, where that is known */
  constructor(
    sides: Sides,
    ledger: Ledger,
    slowness: Slowness,
    numbers: ItemNumbers,
    behind: { backends?: readonly NamedServer[]; distribution?: DistributionName },
  ) {
    this.#sides = sides;
    this.#ledger = ledger;
    this.#slowness = slowness;
    this.#numbers = numbers;
    this.#behind = behind;
  }

  /** The best explanation first. */
  async all(): Promise<Culprit[]> {
    const found: Culprit[] = [];
    const slow = new Attribution('mostly');
    const isSlow = this.#slowness.tell(slow, this.#numbers, this.#sides);
    const hasFailed = this.#failed().size > 0;
    if (!hasFailed && !isSlow) return found;
    const { backends, distribution } = this.#behind;
    const all = { ...(hasFailed ? await this.#weigh(() => true) : noneFailed()), slow };
    const named = new Map(
      failureClasses.map((of) => [of, all[of].culprits(of, backends, distribution)] as const),
    );
    // A moment, a connection or a tenant that is slow is no news; a server that is nearly always slow is.
    named.set(
      'slow',
      named
        .get('slow')!
        .filter((culprit) => !isCircumstance(culprit.factor) && culprit.explained >= SLOW_EXPLAINED),
    );
    // A server that hangs up after some request fails whatever is under way then: the better explanation stands, that of
    // a place is better than any other, and a weak one is none.
    named.set(
      'hang-ups',
      named.get('hang-ups')!.filter((culprit) => !isWeak(culprit)),
    );
    if (this.#isMostlyClosed())
      named.set(
        'violations',
        named.get('violations')!.filter((culprit) => !isCircumstance(culprit.factor) || !isWeak(culprit)),
      );
    if (worth(named.get('hang-ups')!) < worth(named.get('violations')!)) named.delete('hang-ups');
    else named.delete('violations');
    for (const [of, culprits] of named) {
      const [first] = culprits;
      // What is asked for, and when, is no place: among its like, is it one place that fails?
      const among =
        first === undefined || !isCircumstance(first.factor)
          ? []
          : Array.from(await this.#placesWithin(of, first.factor, first.value), (place) => ({
              ...place,
              within: `${first.factor} ${first.value}`,
            }));
      const others = culprits.filter(({ factor }) => among.every((place) => place.factor !== factor));
      // A stable sort: of the same sort, the better explanation stays first.
      const serversFirst = of === 'violations' && this.#isOfConnections();
      const placesFirst = serversFirst || (first !== undefined && isCircumstance(first.factor));
      const rank = ({ factor }: Culprit): number =>
        Number(placesFirst && isPlace(factor)) + Number(serversFirst && !isCircumstance(factor));
      const ordered = others.toSorted((a, b) => rank(b) - rank(a));
      found.push(...among, ...ordered);
    }
    return this.#sinceTheBreak(found);
  }

  /** How exchanges failed, where somebody may be to blame. */
  #failed(): Set<FailureClass> {
    const classes = new Set(this.#ledger.failed.values());
    if (this.#isLossAccountedFor) classes.delete('lost');
    return classes;
  }

  /** By what its server says that it evicted: nobody is to blame. */
  get #isLossAccountedFor(): boolean {
    return this.#ledger.diff.accounts.every(({ kind }) => kind === 'exact');
  }

  /** Most of what failed is of connections and framing, and hardly of what was asked, or by whom: the server comes first. */
  #isOfConnections(): boolean {
    const kinds = this.#ledger.findings.counts('violation');
    const all = Object.values(kinds).reduce((sum, count) => sum + count, 0);
    const own = connectionKinds.reduce((sum, kind) => sum + (kinds[kind] ?? 0), 0);
    return 2 * own > all;
  }

  /** A stray failure long before the rate of failures breaks is not when it began. */
  #sinceTheBreak(found: readonly Culprit[]): Culprit[] {
    const { timeline } = this.#ledger.diff;
    const onset = onsetOf(timeline.targets, timeline.binNs);
    if (onset === undefined) return [...found];
    return found.map((culprit) =>
      culprit.of === 'violations' && 2 * culprit.failures > culprit.allFailures
        ? { ...culprit, sinceSeconds: Math.max(culprit.sinceSeconds, onset) }
        : culprit,
    );
  }

  #isMostlyClosed(): boolean {
    const kinds = this.#ledger.findings.counts('violation');
    const all = Object.values(kinds).reduce((sum, count) => sum + count, 0);
    return (kinds['closed'] ?? 0) >= 0.9 * all;
  }

  /** The places that fail, among the exchanges with this value of a factor. */
  async #placesWithin(of: FailureClass, factor: Factor, value: string): Promise<Culprit[]> {
    const { backends, distribution } = this.#behind;
    const alike = await this.#weigh((seen) => valueOf(seen, factor) === value);
    return alike[of].culprits(of, backends, distribution).filter((culprit) => isPlace(culprit.factor));
  }

  async #weigh(takes: (seen: Observed) => boolean): Promise<Record<FailureClass, Attribution>> {
    const all = noneFailed();
    // What passed is of use beside what failed.
    const classes = this.#failed();
    const hangUps = new HangUps(
      this.#sides.replay.end?.incidents ?? [],
      this.#ledger.cutOff,
      all['hang-ups'],
    );
    for await (const { batch, row, results, resultRow, rows } of this.#sides.join()) {
      if (results === undefined) continue;
      for (let n = 0; n < rows; n++) {
        const at = row + n;
        const of = resultRow + n;
        const how = this.#ledger.failed.get(batch.firstIndex + at);
        // What only stood behind a failure, or was not even sent, says nothing of its cause.
        if (results.result[of] === Result.skipped || results.reason[of] === SkipReason.behind) continue;
        const seen = this.#observed(batch, at, results, of, how !== undefined);
        if (results.result[of] === Result.closed)
          seen.weight = hangUps.weightOf(seen.connection, results.target[of]!);
        if (!takes(seen)) continue;
        hangUps.see(seen, results.target[of]!, results.sentNs[of]!, results.answeredNs[of]!);
        if (how !== undefined) {
          if (classes.has(how)) all[how].add(seen);
          continue;
        }
        if (classes.has('violations')) all.violations.add(seen);
        // Only what was there can get lost, only what is stored finds no room.
        if (classes.has('lost') && wasThere(batch, at)) all.lost.add(seen);
        if (classes.has('capacity') && batch.valueLength[at]! > 0) all.capacity.add(seen);
      }
    }
    hangUps.end();
    return all;
  }

  #observed(batch: Batch, row: number, results: ResultBatch, resultRow: number, failed: boolean): Observed {
    const connection = batch.connection[row]!;
    return {
      failed,
      server: this.#sides.address(results.target[resultRow]!),
      tenant: this.#sides.survey.connections[connection]?.tenant ?? '',
      opcode: opcodeName(batch.opcode[row]!),
      connection,
      key: batch.key(row).toString('latin1'),
      valueBytes: Math.max(batch.valueLength[row]!, batch.answerValueLength[row]!),
      moment: Math.max(0, results.intendedNs[resultRow]!) / Math.max(1, this.#ledger.diff.replayedNs),
      atSeconds: seconds(results.sentNs[resultRow]!),
    };
  }
}

function noneFailed(): Record<FailureClass, Attribution> {
  return {
    violations: new Attribution(),
    'hang-ups': new Attribution(),
    lost: new Attribution(),
    capacity: new Attribution(),
    slow: new Attribution('mostly'),
  };
}

/** The recording shows that the key was there: its absence would have been told, or made a counter begin anew. */
function wasThere(batch: Batch, row: number): boolean {
  const info = opcodeInfo(batch.opcode[row]!);
  if (info === undefined) return false;
  if (batch.outcome[row] === Outcome.silent)
    return info.quiet && info.needsItem && !isRead[batch.opcode[row]!];
  if (batch.outcome[row] !== Outcome.answered) return false;
  if (batch.status[row] === Status.exists) return true;
  return batch.status[row] === Status.ok && (namesVersion(batch, row) || info.needsItem);
}

function isWeak({ factor, explained }: Culprit): boolean {
  return explained < (isCircumstance(factor) ? WEAK_CIRCUMSTANCE : WEAK);
}

/**
 * Of the best of them: that of a place is better than any other. The tenant of what was answered last is that of the
 * connection, and says no more than that it hung up.
 */
function worth(culprits: readonly Culprit[]): number {
  return culprits.reduce((best, { of, factor, explained }) => {
    const isTelling = isPlace(factor) && !(of === 'hang-ups' && factor === 'tenant');
    return Math.max(best, Number(isTelling) + explained);
  }, -1);
}
