// Thresholds that end a replay: when they are crossed for good, and which cannot be known before the end.

import { expect, test } from 'vitest';
import { assertLive, crossedBy, failedBy } from '../../report/live.ts';
import { parseThreshold } from '../../report/threshold.ts';
import { cleanReport } from '../support/hostile.ts';

const figures = { sent: 2000, failed: 20, differ: 50, lagNs: 3e6 };

test.each<[string, number | undefined]>([
  ['failed < 20', 20],
  ['failed <= 20', undefined],
  ['failed == 0', 20],
  // It may still become so many.
  ['failed == 30', undefined],
  ['failed < 1%', 0.01],
  ['differ < 3%', undefined],
  ['differ < 2%', 0.025],
  ['violations == 0', 20],
  ['sent < 1k', 2000],
  ['schedule.lag.max < 2ms', 3000],
  ['schedule.lag.max < 4ms', undefined],
])('%s', (expression, value) => {
  const threshold = parseThreshold(expression);
  assertLive(threshold);
  expect(crossedBy([threshold], figures)).toEqual(value === undefined ? [] : [{ threshold, value }]);
});

test('a share of few requests says nothing yet', () => {
  expect(crossedBy([parseThreshold('failed < 1%')], { ...figures, sent: 999 })).toEqual([]);
});

test.each([
  ['drift.lost < 1', /expected one of sent, failed, differ/],
  ['violations{server=a:1} == 0', /without a label/],
  ['sent > 100', /expected <, <= or ==/],
])('%s is known at the end only', (expression, message) => {
  expect(() => assertLive(parseThreshold(expression))).toThrow(message);
});

test('what they ended has failed, by what was seen then', () => {
  const report = { ...cleanReport(), verdict: 'aborted' as const };
  const threshold = parseThreshold('violations == 0');
  expect(failedBy(report, [{ threshold, value: 7 }])).toMatchObject({
    verdict: 'fail',
    thresholds: [{ expression: 'violations == 0', value: 7, ok: false, evaluated: true }],
  });
});
