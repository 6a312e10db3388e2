// Further passes, where something failed: what do failures share that passes do not?

import type { DistributionName, NamedServer } from '../protocol/distribution.ts';
import { isRead, opcodeInfo, opcodeName, type Family } from '../protocol/opcode.ts';
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
import { Slowness } from './slowness.ts';
import type { ViolationKind } from './verdict.ts';
import { namesVersion } from '../trace/token.ts';

/** Of hang-ups, what explains less of who fails than this is chance: they fall on what is frequent. */
const WEAK = 0.1;
/** The same of what is no server. */
const WEAK_CIRCUMSTANCE = 0.3;
/** An answer is slow from so long on, and so many times what a quarter of all take at most; it is asked who is slow where so many of a hundred are. */
const SLOW_MICROS = 3000;
const SLOW_TIMES = 4;
const SLOW_PERCENT = 2;
const SLOW_EXPLAINED = 0.3;

const connectionKinds: readonly ViolationKind[] = [
  'closed',
  'unanswered',
  'orphan',
  'wrong-key',
  'malformed',
];

/** Operations that say, one way or another, whether they found the key. */
const finding: ReadonlySet<Family> = new Set([
  'get',
  'gat',
  'touch',
  'delete',
  'replace',
  'append',
  'prepend',
  'incr',
  'decr',
]);

export class Culprits {
  readonly #sides: Sides;
  readonly #ledger: Ledger;
  readonly #behind: { backends?: readonly NamedServer[]; distribution?: DistributionName };

  /** @param behind what stands behind the targets, where that is known */
  constructor(
    sides: Sides,
    ledger: Ledger,
    behind: { backends?: readonly NamedServer[]; distribution?: DistributionName },
  ) {
    this.#sides = sides;
    this.#ledger = ledger;
    this.#behind = behind;
  }

  /** The best explanation first. */
  async all(): Promise<Culprit[]> {
    const found: Culprit[] = [];
    const slowNs = this.#slowFromNs();
    if (this.#ledger.failed.size === 0 && slowNs === Infinity) return found;
    const { backends, distribution } = this.#behind;
    const all = await this.#weigh(() => true, slowNs);
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

  /** What takes so long is slow; Infinity where too few do to say who. */
  #slowFromNs(): number {
    const { fromSent } = this.#ledger.diff.latency;
    const slow = Math.max(SLOW_MICROS, SLOW_TIMES * fromSent.getValueAtPercentile(25));
    return fromSent.getValueAtPercentile(100 - SLOW_PERCENT) >= slow ? slow * 1000 : Infinity;
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

  /** @param slowNs from so long on an answer is slow; by default nobody asks */
  async #weigh(
    takes: (seen: Observed) => boolean,
    slowNs = Infinity,
  ): Promise<Record<FailureClass, Attribution>> {
    const all = {
      violations: new Attribution(),
      'hang-ups': new Attribution(),
      lost: new Attribution(),
      capacity: new Attribution(),
      slow: new Attribution('mostly'),
    };
    // What passed is of use beside what failed.
    const classes = new Set(this.#ledger.failed.values());
    if (this.#isLossAccountedFor) classes.delete('lost');
    const hangUps = new HangUps(
      this.#sides.replay.end?.incidents ?? [],
      this.#ledger.cutOff,
      all['hang-ups'],
    );
    const { connections } = this.#sides.survey;
    const slowness = new Slowness(
      all.slow,
      (target) => this.#sides.address(target),
      (connection) => connections[connection]?.tenant ?? '',
    );
    const hasFailed = classes.size > 0;
    for await (const { batch, row, results, resultRow, rows } of this.#sides.join()) {
      if (results === undefined) continue;
      for (let n = 0; n < rows; n++) {
        const at = row + n;
        const of = resultRow + n;
        if (slowNs !== Infinity && results.result[of] === Result.answered) {
          const sentNs = results.sentNs[of]!;
          slowness.add(batch, at, results.target[of]!, results.answeredNs[of]! - sentNs >= slowNs, sentNs);
        }
        if (!hasFailed) continue;
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
    slowness.end();
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

/** The recording shows that the key was there: its absence would have been told, or made a counter begin anew. */
function wasThere(batch: Batch, row: number): boolean {
  const { family, quiet } = opcodeInfo(batch.opcode[row]!) ?? {};
  if (family === undefined) return false;
  if (batch.outcome[row] === Outcome.silent)
    return quiet === true && finding.has(family) && !isRead[batch.opcode[row]!];
  if (batch.outcome[row] !== Outcome.answered) return false;
  if (batch.status[row] === Status.exists) return true;
  return batch.status[row] === Status.ok && (namesVersion(batch, row) || finding.has(family));
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
