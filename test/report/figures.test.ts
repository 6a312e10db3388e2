// Figures that stand beside each other agree: shares add up, and no percentile is above the longest.

import { expect, test } from 'vitest';
import { contrast } from '../../diff/example.ts';
import { Samples } from '../../diff/samples.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { shares } from '../../report/format.ts';
import { percentiles } from '../../report/report.ts';
import { Random } from '../../synth/laws/random.ts';

test('shares of all parts add up to 100%', () => {
  const random = new Random(7);
  for (let run = 0; run < 2000; run++) {
    const parts = Array.from({ length: 5 }, () =>
      random.chance(0.4) ? 0 : Math.floor(10 ** (random.float() * 7)),
    );
    const sum = shares(parts).reduce((all, text) => all + Math.round(Number.parseFloat(text) * 100), 0);
    expect(sum, String(parts)).toBe(parts.every((part) => part === 0) ? Number.NaN : 10_000);
  }
  expect(shares([1, 1, 1])).toEqual(['33.34%', '33.33%', '33.33%']);
});

test('no percentile is above the longest, and none below the one before', () => {
  const random = new Random(8);
  for (let run = 0; run < 200; run++) {
    const samples = new Samples();
    const most = 10 ** (1 + random.float() * 7);
    let longest = 0;
    for (let n = 0; n < 50 + run; n++) {
      const micros = Math.floor(random.float() * most);
      longest = Math.max(longest, micros);
      samples.record(micros);
    }
    const { p50 = 0, p90 = 0, p99 = 0, p999 = 0, max = 0 } = percentiles(samples.histogram());
    expect([p50, p90, p99, p999, max]).toEqual([p50, p90, p99, p999, max].toSorted((a, b) => a - b));
    expect(max).toBe(Math.max(longest, 0));
  }
});

const answer = (value: string, flags: number) => {
  const extras = Buffer.alloc(4);
  extras.writeUInt32BE(flags);
  const bytes = Buffer.from(value);
  return {
    status: 0,
    silent: false,
    frames: 1,
    extras,
    key: Buffer.alloc(0),
    value: bytes,
    valueLength: bytes.length,
  };
};

const sides = (a: string, b: string) => contrast(answer(a, 1), answer(b, 2), Opcode.get).actual['differsAt'];

test('where two values differ is told only where they do', () => {
  expect([sides('abc', 'abc'), sides('abc', 'abd'), sides('abc', 'abcd'), sides('abcd', 'abc')]).toEqual([
    undefined,
    2,
    3,
    3,
  ]);
});
