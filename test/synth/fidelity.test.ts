// Measures of fidelity on streams whose differences are known.

import { expect, test } from 'vitest';
import { drawCurves, drawFidelity, renderFidelity } from '../../synth/fidelity/drawing.ts';
import { compare, curves, type FidelityRow } from '../../synth/fidelity/fidelity.ts';
import { Summarizer, baseline, summarizeReferences, type Summary } from '../../synth/fidelity/summary.ts';
import { Random, Zipf } from '../../synth/laws/random.ts';

interface Traffic {
  requests: number;
  gets: number;
  valueBytes: number;
  /** Requests that arrive at once. */
  batch: number;
}

const usual: Traffic = { requests: 20_000, gets: 0.9, valueBytes: 100, batch: 1 };

/** Poisson arrivals at 1,000 requests/s. */
function traffic(seed: number, changes: Partial<Traffic> = {}): Summary {
  const { requests, gets, valueBytes, batch } = { ...usual, ...changes };
  const random = new Random(seed);
  const zipf = new Zipf(2_000, 0.9);
  const summarizer = new Summarizer();
  let atNs = 5e9;
  for (let i = 0; i < requests; i++) {
    const id = zipf.sample(random);
    const isGet = random.chance(gets);
    if (i % batch === 0) atNs -= Math.log(1 - random.float()) * 1e6 * batch;
    const bytes = isGet ? undefined : valueBytes + random.int(50);
    summarizer.add(id * 1_000_003, isGet ? 'get' : 'set', 10 + (id % 7), bytes, atNs);
  }
  return summarizer.finish();
}

function rowOf(rows: readonly FidelityRow[], metric: string): FidelityRow {
  return rows.find((row) => row.metric.startsWith(metric))!;
}

test('a stream differs from itself in nothing', () => {
  const summary = traffic(1);
  const rows = compare(summary, summary);
  expect(rows).toHaveLength(17);
  expect(rows.filter((row) => row.difference !== 0 || !row.ok)).toEqual([]);
  expect(summary.references).toHaveLength(usual.requests);
});

test('another sample of the same traffic is about as good as the goals', () => {
  const rows = compare(traffic(1), traffic(2));
  expect(rowOf(rows, 'mean of the five').difference).toBeLessThan(0.01);
  expect(rowOf(rows, 'gaps').difference).toBeLessThan(0.03);
  expect(rowOf(rows, 'gaps').a).toBeGreaterThan(950);
  expect(rowOf(rows, 'gaps').a).toBeLessThan(1_050);
  expect(rowOf(rows, 'dispersion at 100 ms').a).toBeGreaterThan(0.7);
  expect(rowOf(rows, 'dispersion at 100 ms').a).toBeLessThan(1.3);
  // Twenty seconds are two windows of ten.
  expect(rowOf(rows, 'dispersion at 10000 ms')).toBeUndefined();
});

test('what differs is off, and no more than that', () => {
  const original = traffic(1);
  const off = (changes: Partial<Traffic>): string[] =>
    compare(original, traffic(1, changes))
      // Arrivals differ by chance, as the requests take other numbers from the seed.
      .filter((row) => row.difference > 0.05 && !row.metric.startsWith('dispersion'))
      .map((row) => row.metric);
  expect(off({ gets: 0.8 })).toEqual(['operations, worst: get']);
  expect(off({ valueBytes: 125 })).toEqual(['value bytes, KS']);
  expect(rowOf(compare(original, traffic(1, { valueBytes: 125 })), 'value bytes').difference).toBeCloseTo(
    0.5,
    1,
  );
  const batched = compare(original, traffic(1, { batch: 20 }));
  expect(rowOf(batched, 'dispersion at 100 ms').b).toBeGreaterThan(10);
  expect(rowOf(batched, 'gaps').ok).toBe(false);
  expect(rowOf(compare(original, traffic(1, { requests: 10_000 })), 'requests').difference).toBe(0.5);
});

test('independent draws keep popularity, and lose locality', () => {
  const ids = Uint32Array.from({ length: 20_000 }, (_, i) => Math.floor(i / 500) * 50 + (i % 50));
  const original = summarizeReferences(ids);
  const rows = compare(original, baseline(original, 1));
  expect(rows.map((row) => row.metric)).toEqual([
    'LRU miss ratios, MAE',
    'FIFO miss ratios, MAE',
    'CLOCK miss ratios, MAE',
    'SIEVE miss ratios, MAE',
    'S3-FIFO miss ratios, MAE',
    'mean of the five, MAE',
    'references per object, KS',
    'one-hit objects',
    'footprint, relative',
    'requests, relative',
  ]);
  expect(rowOf(rows, 'LRU').difference).toBeGreaterThan(0.2);
  expect(rows.slice(6).filter((row) => row.difference !== 0)).toEqual([]);
});

test('the table fits a terminal, and the drawing has a line for each stream and policy', () => {
  const original = traffic(1);
  const independent = baseline(original, 1);
  const table = renderFidelity(compare(original, traffic(2)), compare(original, independent));
  expect(table.split('\n').filter((line) => line.length > 80)).toEqual([]);
  expect(table).toMatch(/^LRU miss ratios, MAE +\.\d{4} +\.\d{4} +\.\d{4} +\.0100 +✓✓? +\.\d{4}$/m);
  const svg = drawCurves(curves(original, traffic(2), independent));
  expect(svg.match(/<polyline/g)).toHaveLength(15);
  expect(svg).not.toContain('NaN');
  const all = drawFidelity(
    original,
    traffic(2),
    curves(original, traffic(2), independent),
    compare(original, traffic(2)),
  );
  // Popularity, sizes of values and keys, gaps and dispersion besides; there are no expiries.
  expect(all.match(/<rect/g)).toHaveLength(10);
  expect(all).not.toMatch(/NaN|Infinity/);
  expect(all).toContain('goal .0300');
});

test('nothing is compared with nothing: no requests are an error', () => {
  const nothing = new Summarizer().finish();
  expect(nothing.footprint).toBe(0);
  expect(() => compare(nothing, traffic(1))).toThrow('expected a footprint');
});
