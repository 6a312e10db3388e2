// The reports of one window after another as one: of a recording that is judged while it goes on. Counts add up; of shares the
// reads behind them; latencies are those of the last window, since percentiles do not add up. Memory does not grow with time.

import { breaksOf } from '../audit/breaks.ts';
import type { Finding } from '../diff/verdict.ts';
import { consistencyOf, evaluated } from './report.ts';
import type { Consistency, GroupReport, Report } from './shape.ts';
import type { Threshold } from './threshold.ts';

/** Windows in the timeline; twice as long each where there are more. */
const MAX_WINDOWS = 240;

export interface RollingOptions {
  thresholds: readonly Threshold[];
  /** Examples of each kind of finding. */
  examples: number;
  minCoverage?: number;
  windowSeconds: number;
}

type Series = Report['timeline']['servers'][number];

export class Rolling {
  readonly #options: RollingOptions;
  #sum: Report | undefined;
  /** Violations of the window that the attribution is of. */
  #worst = 0;
  /** Windows that were judged; of those that could not be, the exchanges; and how many could not even be read. */
  #windows = 0;
  #unjudged = 0;
  #unread = 0;
  /** By what failures shared: since when. */
  readonly #since = new Map<string, number>();
  /** Windows in each bin of the timeline, and in the last of them so far. */
  #perBin = 1;
  #inLast = 0;

  constructor(options: RollingOptions) {
    this.#options = options;
  }

  /** @param atSeconds when the window began, since the first one did */
  add(report: Report, atSeconds: number): void {
    this.#windows++;
    const one = later(report, atSeconds);
    for (const culprit of one.attribution) {
      const name = nameOf(culprit);
      if (!this.#since.has(name) && this.#since.size < MAX_NAMES) this.#since.set(name, culprit.sinceSeconds);
    }
    const before = this.#sum;
    this.#sum =
      before === undefined
        ? { ...one, timeline: { ...one.timeline, servers: [] } }
        : this.#added(before, one, atSeconds);
    if (before === undefined) this.#worst = one.exchanges.violations;
    this.#extend(this.#sum.timeline, one.timeline);
  }

  /**
   * A window could not be judged: what it holds counts as sent, and as untestable, so that it weighs against `judged`.
   * @param exchanges undefined: it could not even be read; it is taken to hold as many as the others do on average
   */
  lose(exchanges: number | undefined): void {
    if (exchanges === undefined) this.#unread++;
    else this.#unjudged += exchanges;
  }

  /** All windows together; undefined where none was judged. */
  get report(): Report | undefined {
    if (this.#sum === undefined) return undefined;
    const mean = Math.max(1, Math.round(this.#sum.exchanges.sent / this.#windows));
    const sum = withUnjudged(this.#sum, this.#unjudged + this.#unread * mean);
    const { timeline, audit } = sum;
    const attribution = Array.from(sum.attribution, (one) => ({
      ...one,
      sinceSeconds: Math.min(one.sinceSeconds, this.#since.get(nameOf(one)) ?? Infinity),
    }));
    const servers = timeline.servers.filter(({ address }) => address !== 'other');
    const across = breaksOf(
      servers.map(({ address }) => address),
      servers.map(({ reads, hits }) => reads.map((count, n) => ({ reads: count, hits: hits[n]! }))),
      timeline.binSeconds * 1e9,
    );
    // What broke within a window did so between windows too.
    const breaks = [
      ...audit!.breaks,
      ...across.filter(({ place }) => !audit!.breaks.some((one) => one.place === place)),
    ];
    return evaluated(
      { ...sum, attribution, audit: { ...audit!, breaks } },
      this.#options.thresholds,
      this.#options.minCoverage,
    );
  }

  #added(sum: Report, one: Report, atSeconds: number): Report {
    const isWorse = one.exchanges.violations > this.#worst;
    if (isWorse) this.#worst = one.exchanges.violations;
    const isBlamed = isWorse || sum.attribution.length === 0;
    const seconds = Math.max(sum.schedule.durationSeconds, atSeconds + one.schedule.durationSeconds);
    const exchanges = addedCounts(sum.exchanges, one.exchanges);
    return {
      ...one,
      exchanges,
      drift: addedCounts(sum.drift, one.drift),
      violations: addedCounts(sum.violations, one.violations),
      untestable: addedCounts(sum.untestable, one.untestable),
      skipped: addedCounts(sum.skipped, one.skipped),
      findings: addedFindings(sum.findings, one.findings, this.#options.examples),
      attribution: isBlamed ? one.attribution : sum.attribution,
      servers: byName(sum.servers, one.servers, ({ address }) => address, addedGroup),
      tenants: byName(sum.tenants, one.tenants, ({ tenant }) => tenant, addedGroup),
      operations: byName(sum.operations, one.operations, ({ operation }) => operation, addedGroup),
      schedule: {
        ...one.schedule,
        durationSeconds: seconds,
        recordedSeconds: seconds,
        achievedRate: seconds === 0 ? 0 : Math.round((exchanges.sent / seconds) * 10) / 10,
        targetRate: null,
      },
      coverage: addedCoverage(sum.coverage, one.coverage),
      audit: addedAudit(sum.audit!, one.audit!),
      timeline: sum.timeline,
    };
  }

  /** One bin for each window: how much there was in it, and how long it took. */
  #extend(timeline: Report['timeline'], { servers, latencyMicros }: Report['timeline']): void {
    const isNew = this.#inLast === 0;
    const length = timelineLength(timeline) + (isNew ? 1 : 0);
    for (const { address, requests, reads, hits, drift, violations } of servers) {
      let series = timeline.servers.find((known) => known.address === address);
      if (series === undefined) timeline.servers.push((series = emptySeries(address)));
      const sums = { requests, reads, hits, drift, violations };
      for (const name of seriesNames) {
        while (series[name].length < length) series[name].push(0);
        series[name][length - 1]! += sums[name].reduce((sum, count) => sum + count, 0);
      }
    }
    for (const series of timeline.servers)
      for (const name of seriesNames) while (series[name].length < length) series[name].push(0);
    for (const clock of clocks)
      for (const point of ['p50', 'p99'] as const) {
        const known = timeline.latencyMicros[clock][point];
        if (isNew && length === 1) known.length = 0;
        while (known.length < length) known.push(null);
        const most = latencyMicros[clock][point].reduce<number | null>(
          (worst, micros) => (micros === null ? worst : Math.max(worst ?? 0, micros)),
          known[length - 1]!,
        );
        known[length - 1] = most;
      }
    timeline.lagMicros.p99 = Array.from({ length }, () => null);
    timeline.binSeconds = this.#options.windowSeconds * this.#perBin;
    this.#inLast = (this.#inLast + 1) % this.#perBin;
    if (length >= MAX_WINDOWS && this.#inLast === 0) this.#halve(timeline);
  }

  #halve(timeline: Report['timeline']): void {
    for (const series of timeline.servers)
      for (const name of seriesNames) series[name] = inPairs(series[name], (a, b) => a + b);
    for (const clock of clocks)
      for (const point of ['p50', 'p99'] as const)
        timeline.latencyMicros[clock][point] = inPairs(timeline.latencyMicros[clock][point], (a, b) =>
          a === null && b === null ? null : Math.max(a ?? 0, b ?? 0),
        );
    this.#perBin *= 2;
    timeline.lagMicros.p99 = inPairs(timeline.lagMicros.p99, () => null);
    timeline.binSeconds = this.#options.windowSeconds * this.#perBin;
  }
}

/** What failures shared, of which it is remembered since when. */
const MAX_NAMES = 10_000;

function nameOf({ of, factor, value }: Report['attribution'][number]): string {
  return `${of} ${factor} ${value}`;
}

const clocks = ['fromIntended', 'fromSent', 'recorded'] as const;
const seriesNames = ['requests', 'reads', 'hits', 'drift', 'violations'] as const;

function emptySeries(address: string): Series {
  return { address, requests: [], reads: [], hits: [], drift: [], violations: [] };
}

function timelineLength({ servers }: Report['timeline']): number {
  return servers[0]?.requests.length ?? 0;
}

function inPairs<T>(all: readonly T[], both: (a: T, b: T) => T): T[] {
  return Array.from({ length: Math.ceil(all.length / 2) }, (_, n) =>
    2 * n + 1 < all.length ? both(all[2 * n]!, all[2 * n + 1]!) : all[2 * n]!,
  );
}

/** As told from the beginning of the first window. */
function later(report: Report, bySeconds: number): Report {
  const { findings, attribution, audit } = report;
  return {
    ...report,
    findings: Array.from(findings, (finding) => ({
      ...finding,
      examples: Array.from(finding.examples, (one) => ({ ...one, atSeconds: one.atSeconds + bySeconds })),
    })),
    attribution: Array.from(attribution, (one) => ({ ...one, sinceSeconds: one.sinceSeconds + bySeconds })),
    ...(audit === undefined
      ? {}
      : {
          audit: {
            ...audit,
            breaks: Array.from(audit.breaks, (one) => ({ ...one, atSeconds: one.atSeconds + bySeconds })),
          },
        }),
  };
}

function withUnjudged(sum: Report, count: number): Report {
  if (count === 0) return sum;
  const { exchanges, findings } = sum;
  const finding: Finding = { class: 'untestable', kind: 'unjudged', count, examples: [] };
  return {
    ...sum,
    exchanges: {
      ...exchanges,
      total: exchanges.total + count,
      sent: exchanges.sent + count,
      untestable: exchanges.untestable + count,
    },
    untestable: addedCounts(sum.untestable, { unjudged: count }),
    findings: addedFindings(findings, [finding], 0),
  };
}

function addedCounts<Counts extends Record<string, number>>(a: Counts, b: Counts): Counts {
  const sum: Record<string, number> = { ...a };
  for (const [name, count] of Object.entries(b)) sum[name] = (sum[name] ?? 0) + count;
  return sum as Counts;
}

function addedFindings(a: readonly Finding[], b: readonly Finding[], most: number): Finding[] {
  const sum = [...a];
  for (const finding of b) {
    const at = sum.findIndex((known) => known.class === finding.class && known.kind === finding.kind);
    const known = sum[at];
    if (known === undefined) sum.push(finding);
    else
      sum[at] = {
        ...known,
        count: known.count + finding.count,
        examples: [...known.examples, ...finding.examples].slice(0, most),
      };
  }
  const order = { violation: 0, drift: 1, untestable: 2 };
  return sum.toSorted((x, y) => order[x.class] - order[y.class] || y.count - x.count);
}

/** Those of one name together. @param add two of them */
function byName<One>(
  a: readonly One[],
  b: readonly One[],
  nameOfOne: (one: One) => string,
  add: (a: One, b: One) => Partial<One>,
): One[] {
  const sum = new Map(Array.from(a, (one) => [nameOfOne(one), one]));
  for (const one of b) {
    const known = sum.get(nameOfOne(one));
    sum.set(nameOfOne(one), known === undefined ? one : { ...one, ...add(known, one) });
  }
  return [...sum.values()];
}

function addedGroup(a: GroupReport, b: GroupReport): GroupReport {
  const reads = a.reads + b.reads;
  const hitRate = (rate: 'hitRate' | 'recordedHitRate'): number | null =>
    reads === 0 ? null : ((a[rate] ?? 0) * a.reads + (b[rate] ?? 0) * b.reads) / reads;
  return {
    exchanges: a.exchanges + b.exchanges,
    reads,
    hitRate: hitRate('hitRate'),
    recordedHitRate: hitRate('recordedHitRate'),
    drift: a.drift + b.drift,
    violations: a.violations + b.violations,
  };
}

function addedCoverage(a: Report['coverage'], b: Report['coverage']): Report['coverage'] {
  const { minimum } = b;
  const cells = [...a.cells];
  for (const cell of b.cells) {
    const at = cells.findIndex(({ target, backend }) => target === cell.target && backend === cell.backend);
    const exchanges = (cells[at]?.exchanges ?? 0) + cell.exchanges;
    const sum = { ...cell, exchanges, covered: exchanges >= minimum };
    if (at < 0) cells.push(sum);
    else cells[at] = sum;
  }
  return { minimum, backends: cells.length, covered: cells.filter(({ covered }) => covered).length, cells };
}

function addedAudit(
  a: NonNullable<Report['audit']>,
  b: NonNullable<Report['audit']>,
): NonNullable<Report['audit']> {
  return {
    confidence: a.confidence,
    all: addedConsistency(a.all, b.all),
    servers: byName(a.servers, b.servers, ({ server }) => server, addedConsistency),
    partitions: byName(a.partitions, b.partitions, ({ partition }) => partition, addedConsistency),
    tenants: byName(a.tenants, b.tenants, ({ tenant }) => tenant, addedConsistency),
    breaks: [...a.breaks, ...b.breaks].slice(0, MAX_BREAKS),
    isLossy: a.isLossy || b.isLossy,
    beginsSeconds: a.beginsSeconds,
  };
}

const MAX_BREAKS = 100;

function addedConsistency(a: Consistency, b: Consistency): Consistency {
  return consistencyOf({
    reads: a.reads + b.reads,
    judged: a.judged + b.judged,
    wrong: a.wrong + b.wrong,
  });
}
