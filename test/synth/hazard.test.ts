// Streams by hazard: what they keep exactly, whatever they were learned from; that recency and popularity both survive; and
// that a seed gives the same stream on every machine.

import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HazardStream } from '../../synth/references/hazard.ts';
import { fitHazard, fitHazardSample } from '../../synth/references/hazardfit.ts';
import type { HazardModel } from '../../synth/references/hazardmodel.ts';
import { MarkedList } from '../../synth/references/marked.ts';
import { dense, logSizes, missRatios, type Policy } from '../../synth/fidelity/mrc.ts';
import { Random, Zipf } from '../../synth/laws/random.ts';
import { WorkingSet } from '../../synth/references/workingset.ts';

/** Objects that are popular for a while, runs of ids that come again in the same order, bursts, and objects asked for once. */
function mixed(length: number, seed: number): Uint32Array {
  const random = new Random(seed);
  const zipf = new Zipf(600, 0.9);
  const ids: number[] = [];
  let fresh = 10_000_000;
  while (ids.length < length) {
    const part = Math.floor((ids.length * 8) / length);
    const kind = random.float();
    if (kind < 0.01) {
      const from = 1_000_000 + 400 * random.int(3);
      for (let n = 0; n < 300; n++) ids.push(from + n);
    } else if (kind < 0.05) ids.push(fresh++);
    else if (kind < 0.2) {
      const id = 5_000 * part + zipf.sample(random);
      for (let n = random.int(5); n >= 0; n--) ids.push(id);
    } else ids.push(5_000 * part + zipf.sample(random));
  }
  return dense(ids.slice(0, length), length);
}

function taken(stream: { next(): number }, length: number): Uint32Array {
  return Uint32Array.from({ length }, () => stream.next());
}

function counts(references: Iterable<number>): number[] {
  const byId = new Map<number, number>();
  for (const id of references) byId.set(id, (byId.get(id) ?? 0) + 1);
  return [...byId.values()].toSorted((a, b) => a - b);
}

function error(policy: Policy, a: Uint32Array, b: Uint32Array): number {
  const sizes = logSizes(counts(a).length);
  const other = missRatios(policy, b, sizes);
  const errors = missRatios(policy, a, sizes).map((ratio, i) => Math.abs(ratio - other[i]!));
  return errors.reduce((sum, each) => sum + each, 0) / errors.length;
}

const original = mixed(40_000, 5);
const model = fitHazard([original]);

test('counts of every object, footprint and length are exact, and ids are in the order of births', () => {
  const streams = fc.array(fc.nat(30), { minLength: 1, maxLength: 300 });
  fc.assert(
    fc.property(streams, fc.nat(), fc.integer({ min: 1, max: 30 }), (ids, seed, phases) => {
      const references = dense(ids, ids.length);
      const learned = fitHazard([references.subarray(0, 7), references.subarray(7)], { phases });
      const again = taken(new HazardStream(learned, { seed }), ids.length);
      expect(counts(again)).toEqual(counts(ids));
      expect(dense(again, again.length)).toEqual(again);
    }),
    { numRuns: 300 },
  );
});

test.each([5, 6, 7])('recency and popularity survive together: stream %i', (seed) => {
  const references = mixed(40_000, seed);
  const made = taken(new HazardStream(fitHazard([references]), { seed }), references.length);
  expect(error('lru', references, made)).toBeLessThan(0.015);
  for (const policy of ['fifo', 'clock', 'sieve', 's3fifo'] as const)
    expect(error(policy, references, made)).toBeLessThan(0.04);
  expect(counts(made)).toEqual(counts(references));
});

test('a seed gives the same stream, also from a file, and a shorter one is its beginning', () => {
  const whole = taken(new HazardStream(model, { seed: 7 }), 40_000);
  const stored = JSON.parse(JSON.stringify(model)) as HazardModel;
  const short = new HazardStream(stored, { seed: 7, length: 1_500 });
  const buffer = { into: new Uint32Array(2_000) };
  expect(short.fill(buffer.into)).toBe(1_500);
  expect(short.fill(buffer.into)).toBe(0);
  expect(() => short.next()).toThrow('ends after 1500');
  expect(buffer.into.subarray(0, 1_500)).toEqual(whole.subarray(0, 1_500));
  expect(taken(new HazardStream(model, { seed: 8 }), 40_000)).not.toEqual(whole);
});

const byHand: HazardModel = {
  kind: 'hazard',
  references: 4_050,
  objects: 90,
  births: [30, 0, 3, 7, 25, 25, 0, 0],
  edges: [1, 2, 10, 40],
  alive: [1, 8, 20, 10],
  levels: [
    { counts: [[50, 50]], births: [0, 0, 50, 0], again: [0, 0, 0, 0], hazards: [0, 0, 0, 0] },
    {
      counts: [[40, 4_000]],
      births: [30, 10, 0, 0],
      again: [990, 990, 990, 990],
      hazards: [0.1, 0.02, 0.03, 0.01],
    },
  ],
  depths: [
    [200, 300, 490, 0],
    [200, 300, 490, 0],
    [200, 300, 400, 90],
    [200, 300, 400, 90],
  ],
};

test('the stream of a model written by hand is the same on every machine', () => {
  const made = taken(new HazardStream(byHand, { seed: 1 }), 4_050);
  expect(counts(made)).toEqual([...Array<number>(50).fill(1), ...Array<number>(40).fill(100)]);
  const digest = createHash('sha256').update(Array.from(made).join()).digest('hex').slice(0, 16);
  expect(digest).toBe('4c90adf459b38191');
});

test('a longer stream goes on by laps: new objects, of the same popularity at the same place', () => {
  const laps = taken(new HazardStream(model, { seed: 3, length: Infinity }), 120_000);
  const [first, second, third] = [0, 1, 2].map((lap) => laps.subarray(lap * 40_000, (lap + 1) * 40_000));
  expect(second).not.toEqual(first!.map((id) => id + model.objects));
  for (const lap of [second!, third!]) {
    expect(counts(lap)).toEqual(counts(first!));
    expect(error('lru', original, dense(lap, lap.length))).toBeLessThan(0.015);
  }
  const folded = laps.map((id) => id % model.objects);
  expect(Math.max(...folded)).toBe(model.objects - 1);
});

test('a model of a sample of the keys has the footprint, the references and the curve of all', () => {
  // No key is so hot that it matters whether it is in the sample.
  const drawn = new Random(9);
  const zipf = new Zipf(8_000, 0.4);
  const references = dense(
    Array.from({ length: 200_000 }, (_, n) => zipf.sample(drawn) + 4_000 * Math.floor(n / 40_000)),
    200_000,
  );
  const share = 4;
  const random = new Random(3);
  const kept = new Map<number, number>();
  const chosen = new Map<number, boolean>();
  const sample: [number, number][] = [];
  for (const [place, id] of references.entries()) {
    if (!chosen.has(id)) chosen.set(id, random.int(share) === 0);
    if (chosen.get(id) !== true) continue;
    if (!kept.has(id)) kept.set(id, kept.size);
    sample.push([kept.get(id)!, place]);
  }
  const learned = fitHazardSample({
    each: (visit) => sample.forEach(([id, place]) => visit(id, place)),
    total: references.length,
    weight: () => share,
    known: {
      size: 0,
      counts: [],
      firstAt: new Float64Array(),
      lastAt: new Float64Array(),
      eachGap: () => undefined,
    },
  });
  expect(learned.objects).toBe(share * kept.size);
  expect(learned.references).toBe(share * sample.length);
  const made = taken(new HazardStream(learned, { seed: 1 }), learned.references);
  // What the sample itself says of caches so many times as large.
  const ids = Uint32Array.from(sample, ([id]) => id);
  const sizes = logSizes(kept.size).filter((size) => size > 8);
  const told = missRatios('lru', ids, sizes);
  const scaled = missRatios(
    'lru',
    made,
    sizes.map((size) => size * share),
  );
  const errors = told.map((ratio, n) => Math.abs(ratio - scaled[n]!));
  expect(errors.reduce((sum, each) => sum + each, 0) / errors.length).toBeLessThan(0.05);
});

test('a list with marks knows the bin of each object, as a slow list does', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(40), { maxLength: 300 }),
      fc.uniqueArray(fc.integer({ min: 2, max: 60 })),
      (ids, cuts) => {
        const edges = [1, ...cuts.toSorted((a, b) => a - b)];
        const bins: number[] = [];
        const list = new MarkedList(edges, (object, from, to) => {
          expect(bins[object]).toBe(from);
          bins[object] = to;
        });
        const order: number[] = [];
        for (const id of dense(ids, ids.length)) {
          const at = order.indexOf(id);
          if (at < 0) list.push(id);
          else {
            list.touch(id);
            order.splice(at, 1);
          }
          bins[id] = 0;
          order.unshift(id);
          for (const [depth, object] of order.entries())
            expect(list.bins[object]).toBe(edges.findLastIndex((edge) => edge <= depth + 1));
          expect([...list.bins.subarray(0, bins.length)]).toEqual(bins);
        }
      },
    ),
    { numRuns: 150 },
  );
});

test('a working set is as large as windows are, and its length is the inverse', () => {
  const references = mixed(20_000, 2);
  const set = new WorkingSet(references.length);
  const lastAt = new Map<number, number>();
  for (const [place, id] of references.entries()) {
    const before = lastAt.get(id);
    if (before !== undefined) set.add(place - before, 1);
    lastAt.set(id, place);
  }
  set.close(references.length);
  for (const length of [1, 10, 100, 1000]) {
    let distinct = 0;
    let windows = 0;
    for (let from = 0; from + length < references.length; from += 97, windows++)
      distinct += new Set(references.subarray(from, from + length)).size;
    expect(set.size(length) / (distinct / windows)).toBeGreaterThan(0.85);
    expect(set.size(length) / (distinct / windows)).toBeLessThan(1.15);
    expect(set.length(set.size(length)) / length).toBeCloseTo(1, 1);
  }
});

function refused(change: Partial<HazardModel>): string {
  try {
    void new HazardStream({ ...byHand, ...change }, { seed: 1 });
    return '';
  } catch (caught) {
    return (caught as Error).message;
  }
}

test('models and streams that cannot be are refused', () => {
  expect(() => fitHazard([])).toThrow('got none');
  expect(() => fitHazard([Uint32Array.of(0, 2)])).toThrow('expected dense ids, got none of 1');
  expect(() => new HazardStream(model, { seed: 1, length: -1 })).toThrow('expected a length');
  expect(refused({ references: 5 })).toContain('5 references, got');
  expect(refused({ edges: [2, 3, 4, 5] })).toContain('ascend from 1');
  expect(refused({ edges: [] })).toContain('bins');
  expect(refused({ births: [90, 0, 0] })).toContain('parts of births');
  expect(refused({ alive: [1] })).toContain('each of 4 bins');
  expect(refused({ levels: [] })).toContain('got 0 counted');
  expect(refused({ births: [31, 0, 3, 7, 25, 25, 0, 0] })).toContain('91 born');
  expect(refused({})).toBe('');
});
