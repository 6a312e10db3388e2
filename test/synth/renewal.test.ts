// Streams made of a model: what they keep exactly, whatever they were learned from; that locality survives; and that a
// seed gives the same stream on every machine.

import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Bins, binOf, logEdges } from '../../synth/laws/bins.ts';
import { fitRenewal } from '../../synth/references/renewalfit.ts';
import { dense, logSizes, missRatios } from '../../synth/fidelity/mrc.ts';
import { Random, Zipf } from '../../synth/laws/random.ts';
import { RenewalStream, type RenewalModel } from '../../synth/references/renewal.ts';
import { StackStream, fitStack } from '../../synth/references/stack.ts';
import { Urgency, Wheel } from '../../synth/references/wheel.ts';

/** Zipf's law over objects that are each asked for in a tenth of the stream only. */
function drifting(length: number): Uint32Array {
  const random = new Random(4);
  const zipf = new Zipf(400, 0.8);
  const ids = Array.from({ length }, (_, i) => zipf.sample(random) + 400 * Math.floor((i * 10) / length));
  return dense(ids, length);
}

function taken(stream: { next(): number }, length: number): Uint32Array {
  return Uint32Array.from({ length }, () => stream.next());
}

/** References of each object, sorted. */
function counts(references: Iterable<number>): number[] {
  const byId = new Map<number, number>();
  for (const id of references) byId.set(id, (byId.get(id) ?? 0) + 1);
  return [...byId.values()].toSorted((a, b) => a - b);
}

function error(policy: 'lru' | 'sieve', a: Uint32Array, b: Uint32Array): number {
  const sizes = logSizes(counts(a).length);
  const other = missRatios(policy, b, sizes);
  const errors = missRatios(policy, a, sizes).map((ratio, i) => Math.abs(ratio - other[i]!));
  return errors.reduce((sum, each) => sum + each, 0) / errors.length;
}

const original = drifting(30_000);
const model = fitRenewal([original]);

test('counts of every object, footprint and length are exact, and ids are in the order of births', () => {
  const streams = fc.array(fc.nat(30), { minLength: 1, maxLength: 200 });
  fc.assert(
    fc.property(streams, fc.nat(), (ids, seed) => {
      const references = dense(ids, ids.length);
      const learned = fitRenewal([references.subarray(0, 7), references.subarray(7)], { rounds: 1 });
      const again = taken(new RenewalStream(learned, { seed }), ids.length);
      expect(counts(again)).toEqual(counts(ids));
      expect(dense(again, again.length)).toEqual(again);
    }),
    { numRuns: 150 },
  );
});

test('locality survives: miss ratios are close, while those of a shuffled stream are not', () => {
  const made = taken(new RenewalStream(model, { seed: 1 }), original.length);
  const shuffled = original.slice();
  const random = new Random(2);
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = random.int(i + 1);
    [shuffled[i], shuffled[j]] = [shuffled[j]!, shuffled[i]!];
  }
  expect(error('lru', original, made)).toBeLessThan(0.03);
  expect(error('sieve', original, made)).toBeLessThan(0.05);
  expect(error('lru', original, shuffled)).toBeGreaterThan(0.2);
});

test('a seed gives the same stream, also from a file, and a shorter one is its beginning', () => {
  const whole = taken(new RenewalStream(model, { seed: 7 }), 30_000);
  const stored = JSON.parse(JSON.stringify(model)) as RenewalModel;
  const buffer = { into: new Uint32Array(2_000) };
  const short = new RenewalStream(stored, { seed: 7, length: 1_500 });
  expect(short.fill(buffer.into)).toBe(1_500);
  expect(short.fill(buffer.into)).toBe(0);
  expect(() => short.next()).toThrow('ends after 1500');
  expect(buffer.into.subarray(0, 1_500)).toEqual(whole.subarray(0, 1_500));
  expect(taken(new RenewalStream(model, { seed: 8 }), 30_000)).not.toEqual(whole);
});

test('the stream of a model written by hand is the same on every machine', () => {
  const level = {
    counts: [[40, 4_000]],
    lives: [
      [0, 1, 30],
      [1, 3, 10],
    ],
    gaps: [3, 2, 1, 1, 5],
  };
  const once = { counts: [[50, 50]], lives: [[2, 2, 50]], gaps: [] };
  const byHand = {
    kind: 'renewal',
    references: 4_050,
    objects: 90,
    phases: 4,
    births: [30, 0, 3, 7, 25, 25, 0, 0],
    edges: [1, 2, 10, 40, 90, 200],
    levels: [once, level],
  } as RenewalModel;
  const made = taken(new RenewalStream(byHand, { seed: 1 }), 4_050);
  expect(counts(made)).toEqual([...Array<number>(50).fill(1), ...Array<number>(40).fill(100)]);
  const digest = createHash('sha256').update(Array.from(made).join()).digest('hex').slice(0, 16);
  expect(digest).toBe('c56a350f2b0385c5');
});

test('a longer stream goes on by laps: new objects, of the same popularity at the same place', () => {
  const laps = taken(new RenewalStream(model, { seed: 3, length: Infinity }), 90_000);
  const [first, second, third] = [0, 1, 2].map((lap) => laps.subarray(lap * 30_000, (lap + 1) * 30_000));
  expect(second).not.toEqual(first!.map((id) => id + model.objects));
  for (const lap of [second!, third!]) expect(counts(lap)).toEqual(counts(first!));
  const folded = laps.map((id) => id % model.objects);
  expect(counts(folded)).toEqual(counts(first!).map((count) => count * 3));
});

test('models and streams that cannot be are refused', () => {
  const once = {
    *[Symbol.iterator]() {
      yield* [original].splice(0, times++ === 0 ? 1 : 0);
    },
  };
  let times = 0;
  expect(() => fitRenewal(once)).toThrow('expected the same 30000 references again, got 0');
  expect(() => fitRenewal([])).toThrow('got none');
  expect(() => fitRenewal([Uint32Array.of(0, 2)])).toThrow('expected dense ids, got none of 1');
  expect(() => new RenewalStream({ ...model, references: 5 }, { seed: 1 })).toThrow('5 references, got');
  expect(() => new RenewalStream({ ...model, phases: 3 }, { seed: 1 })).toThrow('within 3 phases');
  expect(() => new RenewalStream({ ...model, births: [1] }, { seed: 1 })).toThrow('agree with the lives');
  expect(() => new RenewalStream(model, { seed: 1, length: -1 })).toThrow('expected a length');
  expect(() => new RenewalStream({ ...model, edges: [1, 2] }, { seed: 1 })).toThrow('expected 1 weights');
  expect(() => fitStack([])).toThrow('got none');
});

test('an LRU stack keeps the curve of LRU and the footprint, not popularity', () => {
  const stack = fitStack([original]);
  const made = taken(new StackStream(stack, { seed: 1 }), original.length);
  expect(error('lru', original, made)).toBeLessThan(0.005);
  expect(counts(made)).toHaveLength(model.objects);
  expect(counts(made).at(-1)).not.toBe(counts(original).at(-1));
  const buffer = { into: new Uint32Array(70_000) };
  expect(new StackStream(stack, { seed: 1, length: 65_000 }).fill(buffer.into)).toBe(65_000);
  expect(buffer.into.subarray(0, 30_000)).toEqual(made);
});

test('bins: edges rise to past the maximum, values fall between them, and draws follow the weights', () => {
  const edges = logEdges(1_000, 20);
  expect(edges).toHaveLength(21);
  expect(edges.at(-1)).toBeGreaterThan(1_000);
  for (let value = 1; value <= 1_000; value++) {
    const bin = binOf(edges, value);
    expect(edges[bin]! <= value && value < edges[bin + 1]!).toBe(true);
  }
  const bins = new Bins([1, 2, 4, 8], [1, 0, 3]);
  const drawn = Array.from({ length: 400 }, (_, i) => bins.at(i / 400));
  expect(counts(drawn)).toEqual([75, 75, 75, 75, 100]);
});

test('the wheel hands over what is due, in any order of adding, and the first of all when asked', () => {
  const dues = fc.array(fc.integer({ min: 0, max: 5_000 }), { minLength: 1, maxLength: 2_000 });
  fc.assert(
    fc.property(dues, fc.constantFrom(1, 10_000), (positions, reach) => {
      const wheel = new Wheel(reach);
      for (const [slot, due] of positions.entries()) wheel.add(slot, due);
      const urgency = new Urgency();
      for (let now = 0; now < 2_500; now++)
        wheel.turn(now, (slot) => {
          expect(positions[slot]).toBe(now);
          urgency.setDeadline(slot, -slot);
          urgency.add(slot);
        });
      const early = positions.flatMap((due, slot) => (due < 2_500 ? [slot] : []));
      for (const slot of early.toReversed()) expect(urgency.take()).toBe(slot);
      expect(urgency.deadline).toBe(Infinity);
      const late = positions.filter((due) => due >= 2_500).toSorted((a, b) => a - b);
      expect(wheel.length).toBe(late.length);
      for (const due of late) expect(positions[wheel.takeFirst()]).toBe(due);
    }),
    { numRuns: 20 },
  );
});
