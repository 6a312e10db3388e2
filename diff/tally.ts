// Failing and all units by the value of some factor.

export interface Tallied {
  failed: number;
  total: number;
  /** What the failures count as where one event fails many: at most as much as they are. */
  weight: number;
  /** The first failure, since the replay's start. */
  sinceSeconds: number;
}

export type Tally = Map<string, Tallied>;

export function noneOf(): Tallied {
  return { failed: 0, total: 0, weight: 0, sinceSeconds: Infinity };
}

/** @param weight 0: it did not fail; 1: it failed; between them: it failed together with others, for one reason */
export function count(tally: Tally, value: string, weight: number, atSeconds: number): void {
  let entry = tally.get(value);
  if (entry === undefined) tally.set(value, (entry = noneOf()));
  entry.total++;
  if (weight === 0) return;
  entry.failed++;
  entry.weight += weight;
  entry.sinceSeconds = Math.min(entry.sinceSeconds, atSeconds);
}
