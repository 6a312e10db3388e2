// The closing blocks of results that are parts of one replay (of threads, or of machines) as the one that it would have had.

import type { Account, ResultsEnd } from './meta.ts';

export function togetherEnds(ends: readonly ResultsEnd[]): ResultsEnd {
  const most = (read: (end: ResultsEnd) => number): number => Math.max(...ends.map(read));
  const total = (read: (end: ResultsEnd) => number): number => ends.reduce((sum, end) => sum + read(end), 0);
  const outages = ends.flatMap((end) => end.outages ?? []);
  const drills = ends.flatMap((end) => end.drills ?? []);
  return {
    durationNs: most(({ durationNs }) => durationNs),
    aborted: ends.find(({ aborted }) => aborted !== null)?.aborted ?? null,
    prefilled: total(({ prefilled }) => prefilled),
    prefillFailed: total(({ prefillFailed }) => prefillFailed),
    leftover: ends.some(({ leftover }) => leftover === null) ? null : total(({ leftover }) => leftover!),
    orphans: ends.flatMap(({ orphans }) => orphans).toSorted((a, b) => a.atNs - b.atNs),
    orphanCount: total(({ orphanCount }) => orphanCount),
    incidents: ends.flatMap(({ incidents }) => incidents).toSorted((a, b) => a.atNs - b.atNs),
    incidentCount: total(({ incidentCount }) => incidentCount),
    ...(outages.length === 0 ? {} : { outages: outages.toSorted((a, b) => a.fromNs - b.fromNs) }),
    eventLoopDelayNs: {
      p50: most(({ eventLoopDelayNs }) => eventLoopDelayNs.p50),
      p99: most(({ eventLoopDelayNs }) => eventLoopDelayNs.p99),
      max: most(({ eventLoopDelayNs }) => eventLoopDelayNs.max),
    },
    ...(drills.length === 0 ? {} : { drills: drills.toSorted((a, b) => a.atSeconds - b.atSeconds) }),
    ...accountsOf(ends.map(({ accounts }) => accounts)),
  };
}

type Stats = Readonly<Record<string, string>>;

/** What counts up as long as a server runs, and whatever is asked of it. */
const counting = ['uptime', 'cmd_get', 'cmd_set', 'cmd_touch', 'cmd_flush'];

/** Each part has asked a target before it began and when it was done: the first and the last of these accounts are the replay's. */
function accountsOf(all: readonly (readonly Account[] | undefined)[]): Pick<ResultsEnd, 'accounts'> {
  const byTarget = new Map<number, Account[]>();
  for (const accounts of all)
    for (const account of accounts ?? [])
      byTarget.set(account.target, [...(byTarget.get(account.target) ?? []), account]);
  const accounts = [...byTarget]
    // What one part could not ask, nobody knows.
    .filter(([, told]) => told.length === all.length)
    .toSorted(([a], [b]) => a - b)
    .map(([target, told]): Account => {
      const after = told.map((account) => account.after);
      return {
        target,
        before: told.map((account) => account.before).toSorted(byAge)[0]!,
        after: after.includes(null) ? null : (after as Account['before'][]).toSorted(byAge).at(-1)!,
        asked: {
          sets: told.reduce((sum, { asked }) => sum + asked.sets, 0),
          gets: told.reduce((sum, { asked }) => sum + asked.gets, 0),
        },
      };
    });
  return accounts.length === 0 ? {} : { accounts };
}

/** Of accounts of one target: by its clock, and within a second by what it has counted. */
function byAge(a: Stats, b: Stats): number {
  const difference = number(a['time']) - number(b['time']);
  return difference !== 0 ? difference : counted(a) - counted(b);
}

function counted(stats: Stats): number {
  return counting.reduce((sum, name) => sum + number(stats[name]), 0);
}

function number(text: string | undefined): number {
  const value = Number(text ?? 0);
  return Number.isFinite(value) ? value : 0;
}
