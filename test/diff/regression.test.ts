// Regressions: what counts as worse, by how much, and that one moment of a machine that stood still is none.

import { build } from 'hdr-histogram-js';
import { describe, expect, test } from 'vitest';
import { compare } from '../../diff/compare.ts';
import type { Diff } from '../../diff/diff.ts';
import { emptyFigures } from '../../diff/figures.ts';
import { Timeline } from '../../diff/timeline.ts';

interface Told {
  sent?: number;
  drift?: Record<string, number>;
  violations?: Record<string, number>;
  /** Misses of 10,000 reads, by server. */
  misses?: readonly number[];
  /** Keys that got lost. */
  keys?: number;
  /** Microseconds of the n-th answer of 10,000. */
  latency?: (n: number) => number;
}

const ANSWERS = 10_000;

function diffOf({
  sent = 100_000,
  drift = {},
  violations = {},
  misses = [100],
  keys = 0,
  latency,
}: Told): Diff {
  const timeline = new Timeline(1);
  const fromSent = build();
  for (let n = 0; n < ANSWERS; n++) {
    const micros = latency?.(n) ?? 200;
    fromSent.recordValue(micros);
    timeline.latency('fromSent', timeline.index(n * 1e6), micros);
  }
  return {
    sent,
    counts: { drift, violation: violations, untestable: {} },
    accounts: [{ kind: 'unknown', evicted: null, lost: keys }],
    targets: misses.map((missed) => ({ ...emptyFigures(), reads: 10_000, hits: 10_000 - missed })),
    latency: { fromSent },
    timeline,
  } as unknown as Diff;
}

function worse(baseline: Told, candidate: Told): string[] {
  return compare(diffOf(baseline), diffOf(candidate)).flatMap(({ metric, isRegression }) =>
    isRegression ? [metric] : [],
  );
}

describe('shares', () => {
  test.each<[name: string, baseline: Told, candidate: Told, found: string[]]>([
    ['nothing differs', {}, {}, []],
    ['25 times the drift', { drift: { lost: 20 } }, { drift: { lost: 500 } }, ['drift.lost']],
    ['25 times little drift', { drift: { lost: 4 } }, { drift: { lost: 100 } }, ['drift.lost']],
    ['a tenth more', { drift: { lost: 5000 } }, { drift: { lost: 5600 } }, []],
    ['twice as much, and less than a thousandth', { drift: { lost: 60 } }, { drift: { lost: 150 } }, []],
    ['less of it', { drift: { lost: 5000 } }, { drift: { lost: 10 } }, []],
    ['one key that is read often', { drift: { lost: 20 }, keys: 1 }, { drift: { lost: 500 }, keys: 1 }, []],
    [
      'what timing causes',
      { drift: { raced: 20, temporal: 10 } },
      { drift: { raced: 900, temporal: 900 } },
      [],
    ],
    ['more is found than was', {}, { drift: { found: 5000 } }, []],
    ['refused', {}, { drift: { capacity: 900 } }, ['drift.capacity']],
    ['violations', {}, { violations: { 'wrong-value': 30 } }, ['violations.wrong-value']],
    ['fewer violations', { violations: { closed: 300 } }, { violations: { closed: 30 } }, []],
    [
      'a hit rate that fell by 2 points of 99',
      { misses: [100] },
      { misses: [300] },
      ['servers.hitRate{server=1}'],
    ],
    ['a hit rate that fell by half a point', { misses: [100] }, { misses: [150] }, []],
    [
      'one server of two',
      { misses: [100, 100] },
      { misses: [100, 900] },
      ['servers.hitRate{server=2}', 'hitRate'],
    ],
    ['other servers than before', { misses: [100] }, { misses: [900, 900] }, ['hitRate']],
  ])('%s', (_, baseline, candidate, found) => expect(worse(baseline, candidate)).toEqual(found));
});

const steady = (n: number): number => 200 + (n % 50);

describe('latency', () => {
  test.each<[name: string, latency: (n: number) => number, found: string[]]>([
    ['the same', steady, []],
    ['twice as long, and still below half a millisecond more', (n) => steady(n) * 2, []],
    ['2 ms later', (n) => steady(n) + 2000, ['p50', 'p90', 'p99']],
    ['every twentieth 5 ms later', (n) => steady(n) + (n % 20 === 0 ? 5000 : 0), ['p99']],
    ['one stretch of 500 answers', (n) => steady(n) + (n >= 4000 && n < 4500 ? 50_000 : 0), []],
    ['faster', () => 20, []],
  ])('%s', (_, latency, found) =>
    expect(worse({ latency: steady }, { latency })).toEqual(
      found.map((point) => `latency.fromSent.${point}`),
    ),
  );
});
