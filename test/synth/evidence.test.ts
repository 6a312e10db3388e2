// Which way to make references a fit chooses, what it says of it, and what it doubts.

import { expect, test } from 'vitest';
import { sampleOf } from '../../synth/references/census.ts';
import { renderEvidence } from '../../synth/fit/claims.ts';
import { chooseLocality, streamOf } from '../../synth/fit/evidence.ts';
import { methods } from '../../synth/references/expected.ts';
import { checkModel } from '../../synth/model/model.ts';
import { dense } from '../../synth/fidelity/mrc.ts';
import { Random, Zipf } from '../../synth/laws/random.ts';

function zipf(length: number, seed: number): Uint32Array {
  const random = new Random(seed);
  const law = new Zipf(500, 0.8);
  return dense(
    Array.from({ length }, () => law.sample(random)),
    length,
  );
}

/** Each object twice, the second time after so many others, in the same order. */
function pairs(length: number, apart: number): Uint32Array {
  const ids: number[] = [];
  for (let n = 0; ids.length < length; n++) {
    ids.push(n);
    if (n >= apart) ids.push(n - apart);
  }
  return dense(ids.slice(0, length), length);
}

test.each([
  ['popular keys', zipf(10_000, 1)],
  ['pairs', pairs(10_000, 200)],
])('what is chosen is the nearest of hazard and renewal, and says how near it is: %s', (_, references) => {
  const { locality, expected } = chooseLocality(sampleOf([references]));
  const { candidates, fitted, halves } = expected;
  expect(candidates.map(({ method }) => method)).toEqual([...methods, 'independent']);
  expect(fitted!.lru).toBeLessThan(0.02);
  expect(halves!.lru).toBeLessThan(0.05);
  const errorOf = (wanted: string): number => candidates.find(({ method }) => method === wanted)!.lru;
  const other = locality.kind === 'hazard' ? 'renewal' : 'hazard';
  expect(errorOf(locality.kind)).toBeLessThan(errorOf(other) + 0.02);
});

test.each(methods)('the method can be chosen: %s', (method) => {
  const { locality, expected } = chooseLocality(sampleOf([zipf(4_000, 2)]), method);
  expect(locality.kind).toBe(method);
  expect(streamOf(locality, 1).next()).toBe(0);
  const model = checkModel({
    format: 'memtape-model/1',
    tenants: [{ keys: { space: 500 }, arrivals: { rate: 1000 }, locality: { ...locality, expected } }],
  });
  expect(renderEvidence(model)).toMatch(new RegExp(`${method} \\(this model\\) +[.\\d]+`));
});

test.each([
  [Uint32Array.from({ length: 10 }, (_, n) => n % 3), /10 references are too few/],
  [new Uint32Array(5_000), /one key only/],
  [Uint32Array.from({ length: 5_000 }, (_, n) => n), /No key comes twice/],
])('what a trace says nothing of is doubted', (references, doubt) => {
  const { expected } = chooseLocality(sampleOf([references]));
  expect(expected.doubts.join('\n')).toMatch(doubt);
});

test('a trace that changes is told to', () => {
  const references = dense(
    [...zipf(5_000, 3), ...Array.from({ length: 5_000 }, (_, n) => 10_000 + n)],
    10_000,
  );
  const { expected } = chooseLocality(sampleOf([references]));
  expect(expected.doubts.join('\n')).toMatch(
    /The traffic changes: the two halves of the trace are 0\.\d+ apart/,
  );
});
