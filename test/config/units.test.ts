import { describe, expect, test } from 'vitest';

import { ConfigError } from '../../config/error.ts';
import { parseCount, parseDuration, parseRate, parseSize } from '../../config/units.ts';

test.each([
  ['4096', 4_096],
  ['64MB', 64_000_000],
  ['64mb', 64_000_000],
  ['1GiB', 1_073_741_824],
  ['1.5 KiB', 1_536],
  ['10k', 10_000],
  ['7B', 7],
])('size %s', (text, bytes) => expect(parseSize(text)).toBe(bytes));

test.each([
  ['30s', 30_000],
  ['500ms', 500],
  ['10m', 600_000],
  ['2h', 7_200_000],
  ['1.5s', 1_500],
])('duration %s', (text, ms) => expect(parseDuration(text)).toBe(ms));

test.each([
  ['50k', 50_000],
  ['1.5M', 1_500_000],
  ['200', 200],
  ['200/s', 200],
])('rate %s', (text, rate) => expect(parseRate(text)).toBe(rate));

test.each([
  ['1', 1, 1],
  ['0', 0, 0],
  ['65535', 0, 65_535],
])('count %s of at least %d', (text, least, count) => expect(parseCount(text, least)).toBe(count));

describe('what is no number of that kind', () => {
  const cases: [name: string, parse: (text: string) => number, text: string, message: RegExp][] = [
    ['a word for a size', parseSize, 'big', /^expected a size such as 64MB, 1GiB or 4096, got "big"$/],
    ['an unknown unit', parseSize, '3XB', /got "3XB"/],
    ['a negative size', parseSize, '-1', /got "-1"/],
    ['nothing', parseSize, '', /got ""/],
    ['a name that objects have', parseSize, '1constructor', /got "1constructor"/],
    ['a duration without a unit', parseDuration, '30', /^expected a duration .* got "30"$/],
    ['a rate of nothing', parseRate, '0', /^expected a rate above 0, got "0"$/],
    ['a rate with a unit of time', parseRate, '50k/h', /got "50k\/h"/],
    ['half a count', parseCount, '1.5', /^expected a whole number of at least 1, got "1.5"$/],
    ['a count too small', parseCount, '0', /got "0"/],
    ['a count past all numbers', parseCount, '9'.repeat(30), /got "9+"/],
  ];
  test.each(cases)('%s', (_, parse, text, message) => {
    let thrown: unknown;
    try {
      parse(text);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(ConfigError);
    expect(thrown).toMatchObject({ message: expect.stringMatching(message) as string });
  });
});
