// Failing and all units by the value of some factor.

export interface Tallied {
  failed: number;
  total: number;
  /** The first failure, since the replay's start. */
  sinceSeconds: number;
}

export type Tally = Map<string, Tallied>;

export function count(tally: Tally, value: string, failed: boolean, atSeconds: number): void {
  let entry = tally.get(value);
  if (entry === undefined) tally.set(value, (entry = { failed: 0, total: 0, sinceSeconds: Infinity }));
  entry.total++;
  if (!failed) return;
  entry.failed++;
  entry.sinceSeconds = Math.min(entry.sinceSeconds, atSeconds);
}
