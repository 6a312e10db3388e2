// Models as people write them: what can be, and what is said of what cannot.

import { expect, test } from 'vitest';
import { ConfigError } from '../../config/error.ts';
import { ArrivalStream } from '../../synth/laws/arrivals.ts';
import { Permutation } from '../../synth/laws/hash.ts';
import { builtinModels } from '../../synth/model/builtin.ts';
import { checkModel, parseModel } from '../../synth/model/model.ts';
import { alias, normalQuantile, normalShare, quantileOf, type Numbers } from '../../synth/laws/numbers.ts';
import { ranksOf } from '../../synth/laws/popularity.ts';
import { Random } from '../../synth/laws/random.ts';

const good = `format: memtape-model/1
tenants:
  - keys: {space: 100}
    arrivals: {rate: 1k}
`;

test('the least that a model says', () => {
  expect(parseModel(good, 'm.yaml').tenants[0]!.arrivals).toEqual({ rate: 1000 });
});

test.each([
  [
    '    mix: {get: 0.9, set: 0.3}',
    /m\.yaml:5:5: tenants\[0\]\.mix: expected shares that sum to 1, got 1\.2/,
  ],
  ['    mix: {gte: 1}', /m\.yaml:5:11: unknown field "gte"; did you mean get\?/],
  ['    popularity: {kind: zipf, alpha: -1}', /m\.yaml:5:30: .*alpha: expected at least 0, got -1/],
  ['    popularity: {kind: zipff, alpha: 1}', /m\.yaml:5:18: .*kind/],
  ['    popularity: {kind: few, keys: 200}', /200 keys from rank 0 do not fit in a space of 100/],
  ['    multiget: {share: 1, keys: 500}', /expected 1 to 100 of the 100 keys there are, got 500/],
  ['    ttl: [{ttl: 1h, share: 0.5}]', /tenants\[0\]\.ttl: expected shares that sum to 1, got 0\.5/],
  ['    ttl: 300', /expected a duration/],
  ['    values: {size: {kind: gpd, scale: -1, shape: 0}}', /m\.yaml:5:32: .*scale/],
  [
    '    events: [{kind: shift, at: 20s, by: 1}]\nduration: 10s',
    /expected a time within the 10 s of the run, got 20 s/,
  ],
  [
    '    mix: {get: -0.1, set: 1.1}',
    /mix\.get: expected at least 0, got -0\.1\n.*mix\.set: expected at most 1, got 1\.1/,
  ],
  ['    popularity: {kind: zipf, alpha: 9}', /m\.yaml:5:30: .*alpha: expected at most 5, got 9/],
  ['    popularity: {kind: zipf}', /alpha: expected number, got nothing/],
  ['    popularity: {alpha: 1}', /kind: expected one of uniform, zipf, zipf-mandelbrot, .*got nothing/],
  ['    popularity: {kind: zipff}', /got "zipff"; did you mean zipf\?/],
  ['    popularity: {kind: uniform, alpha: 1}', /unknown field "alpha"; there are kind$/],
  [
    '    popularity: {kind: buckets, buckets: [[200, 1]]}',
    /buckets of 200 keys do not fit in a space of 100/,
  ],
  ['    popularity: {kind: scan, from: 500}', /rank 500 is not in a space of 100/],
  ['    popularity: {kind: latest, alpha: 1, new: {st: 1}}', /unknown field "st"; did you mean set\?/],
  ['    absent: 1.5', /m\.yaml:5:5: .*absent: expected at most 1, got 1\.5/],
  ['    onMiss: sets', /expected one of none, set, add, got "sets"; did you mean set\?/],
  ['    ttl: -5s', /expected a duration such as/],
  ['    values: {size: -5}', /m\.yaml:5:14: .*expected 0 to 1048064 bytes of a value, got -5/],
  ['    values: {size: 2MB}', /size/],
  ['    values: {size: {kind: normal, mean: 2000000, deviation: 1}}', /got 2000000 in the middle/],
  ['    values: {size: {kind: ranges, ranges: [[10, 1, 1]]}}', /expected from up to, got 10 and 1/],
  ['    values: {size: {kind: quantiles, values: [9, 3]}}', /expected quantiles that rise, got 9 before 3/],
  ['    values: {sizes: 5}', /unknown field "sizes"; did you mean size\?/],
  ['    maxValue: 5GB', /maxValue: expected at most 1048064 bytes, got 5000000000/],
  ['    connections: {count: 0}', /count: expected above 0, got 0/],
  ['    connections: {count: 1, assignment: roundrobin}', /did you mean round-robin\?/],
  ['    pipeline: 0', /pipeline: expected 1 to 10000 requests together, got 0/],
  ['    streams: [{name: a, from: 5s, to: 2s}]', /expected an end after the beginning/],
  ['    events: [{kind: flsh, at: 1s}]', /expected one of ttl, .*flush, got "flsh"; did you mean flush\?/],
  ['    events: [{kind: herd, at: 1s, clients: 10, key: 500}]', /key: expected a rank below 100, got 500/],
  ['duration: 0s', /m\.yaml:5:1: duration: expected a time above 0s/],
  ['start: hot', /expected one of cold, warm, got "hot"/],
  ['requests: 0.5', /requests: expected a whole number, got 0\.5/],
  ['    arivals: {rate: 1}', /unknown field "arivals"; did you mean arrivals\?/],
])('%s', (text, message) => {
  expect(() => parseModel(`${good}${text}\n`, 'm.yaml')).toThrow(message);
  expect(() => parseModel(`${good}${text}\n`, 'm.yaml')).toThrow(ConfigError);
});

function withArrivals(arrivals: string): string {
  return good.replace('{rate: 1k}', arrivals);
}

test.each([
  ['{space: 0}', /m\.yaml:3:12: .*space: expected above 0, got 0/],
  ['{space: 1.5}', /space: expected a whole number, got 1\.5/],
  ['{space: 100, resident: 200}', /resident: expected at most the 100 keys there are, got 200/],
  ['{space: 100, length: 300}', /length: expected 1 to 250 bytes of a key, got 300/],
  ["{space: 100, prefix: 'a b'}", /prefix: expected printable ASCII without spaces, got "a b"/],
])('keys: %s', (keys, message) => {
  expect(() => parseModel(good.replace('{space: 100}', keys), 'm.yaml')).toThrow(message);
});

test('a negative rate, no rate, and a curve that goes back', () => {
  expect(() => parseModel(withArrivals('{rate: -5}'), 'm.yaml')).toThrow(/rate/);
  expect(() => parseModel(withArrivals('{}'), 'm.yaml')).toThrow(
    /expected one of rate, curve and counts, got none/,
  );
  const back = '{curve: [{at: 2s, rate: 1}, {at: 1s, rate: 2}]}';
  expect(() => parseModel(withArrivals('{curve: [{at: 0s, rate: 0}]}'), 'm.yaml')).toThrow(/a rate above 0/);
  const both = '{rate: 5, curve: [{at: 0s, rate: 1}]}';
  expect(() => parseModel(withArrivals(both), 'm.yaml')).toThrow(/got rate and curve/);
  expect(() => parseModel(withArrivals('{rate: 5, every: 1s}'), 'm.yaml')).toThrow(
    /expected counts beside it/,
  );
  expect(() => parseModel(withArrivals(back), 'm.yaml')).toThrow(/expected each point after the one before/);
});

test('all models that come with memtape can be', () => {
  for (const model of builtinModels.values()) expect(checkModel(model).about).toBeTruthy();
});

/** Mean over evenly spaced quantiles. */
function meanOf(numbers: Numbers): number {
  const quantile = quantileOf(numbers);
  let sum = 0;
  for (let n = 0; n < 200_000; n++) sum += quantile((n + 0.5) / 200_000);
  return sum / 200_000;
}

test.each<[string, Numbers, number]>([
  ['ETC keys', { kind: 'gev', location: 30.7984, scale: 8.20449, shape: 0.078688, min: 1, max: 250 }, 36.2],
  ['a tail from 15 on', { kind: 'gpd', location: 0, scale: 214.476, shape: 0.348238, from: 15 }, 352],
  ['lognormal', { kind: 'lognormal', mean: 300, sigma: 0.5 }, 300],
  ['exponential', { kind: 'exponential', mean: 7 }, 7],
  [
    'weights',
    {
      kind: 'weights',
      values: [
        [1, 3],
        [5, 1],
      ],
    },
    2,
  ],
  [
    'ranges',
    {
      kind: 'ranges',
      ranges: [
        [0, 10, 1],
        [10, 20, 3],
      ],
    },
    12.5,
  ],
  ['quantiles', { kind: 'quantiles', values: [0, 1, 4] }, 1.5],
])('the mean of %s', (_name, numbers, mean) => {
  expect(Math.abs(meanOf(numbers) / mean - 1)).toBeLessThan(0.01);
});

test('normal quantiles and shares undo each other', () => {
  for (let u = 0.001; u < 1; u += 0.01) expect(normalShare(normalQuantile(u))).toBeCloseTo(u, 6);
});

test('an alias table draws by weight, and a permutation is one', () => {
  const pick = alias([1, 0, 3, 6]);
  const counts = [0, 0, 0, 0];
  for (let n = 0; n < 10_000; n++) counts[pick((n + 0.5) / 10_000)]!++;
  expect(counts).toEqual([1000, 0, 3000, 6000]);
  for (const n of [1, 2, 3, 10, 1000, 4097])
    expect(new Set(Array.from({ length: n }, (_, rank) => new Permutation(n, 5).at(rank))).size).toBe(n);
});

test.each([
  [{ kind: 'exponential' }, 1],
  [{ kind: 'constant' }, 0],
  [{ kind: 'gpd', shape: 0.154971 }, 1.45],
  [{ kind: 'h2', cv2: 5 }, 5],
  [{ kind: 'lognormal', sigma: 0.5 }, Math.exp(0.25) - 1],
] as const)('gaps %j keep the rate, and vary as they should', (gaps, cv2) => {
  const stream = new ArrivalStream({ rate: 1000, gaps }, new Random(3));
  let [last, sum, squares] = [0, 0, 0];
  const count = 200_000;
  for (let n = 0; n < count; n++) {
    const next = stream.next();
    sum += next - last;
    squares += (next - last) ** 2;
    last = next;
  }
  const mean = sum / count;
  expect(Math.abs(mean / 1e6 - 1)).toBeLessThan(0.03);
  expect(Math.abs(squares / count / mean ** 2 - 1 - cv2)).toBeLessThan(0.15 * cv2 + 0.01);
});

test('a rate that changes is followed, bursts keep the mean', () => {
  const curve = [
    { at: 0, rate: 0 },
    { at: 1000, rate: 0 },
    { at: 1001, rate: 2000 },
    { at: 3000, rate: 2000 },
  ];
  const stream = new ArrivalStream({ curve }, new Random(1));
  const times = Array.from({ length: 2000 }, () => stream.next());
  expect(times[0]).toBeGreaterThan(0.99e9);
  expect(times.at(-1)).toBeLessThan(2.2e9);
  const bursts = new ArrivalStream(
    { rate: 1000, gaps: { kind: 'mmpp', factor: 10, burst: 20, calm: 180 } },
    new Random(2),
  );
  let last = 0;
  for (let n = 0; n < 100_000; n++) last = bursts.next();
  expect(Math.abs(last / 1e9 / 100 - 1)).toBeLessThan(0.15);
});

test('a normal popularity is around its center, and stays in its space', () => {
  const random = new Random(9);
  const ranks = ranksOf({ kind: 'normal', center: 0.3, deviation: 0.1 }, 1000);
  const drawn = Array.from({ length: 20_000 }, () => ranks(random));
  expect(drawn.reduce((sum, rank) => sum + rank, 0) / drawn.length).toBeCloseTo(300, -1);
  const near = drawn.filter((rank) => rank >= 200 && rank < 400).length;
  expect(near / drawn.length).toBeCloseTo(0.683, 1);
  const wide = ranksOf({ kind: 'normal', center: 0.9, deviation: 0.9 }, 10);
  const places = new Set(Array.from({ length: 2000 }, () => wide(random)));
  expect([...places].toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test('Zipf–Mandelbrot flattens the head', () => {
  const random = new Random(9);
  const ranks = ranksOf({ kind: 'zipf-mandelbrot', alpha: 1, q: 50 }, 1000);
  const counts = new Float64Array(1000);
  for (let n = 0; n < 300_000; n++) counts[ranks(random)]!++;
  // Weights of 1 / (51) and 1 / (151).
  expect(counts[0]! / counts[100]!).toBeCloseTo(151 / 51, 0);
});
