// HDR logs: what is read back by the histogram's own reader is what was written, whatever tenants are called.

import { HistogramLogReader, build, listTags, type Histogram } from 'hdr-histogram-js';
import { expect, test } from 'vitest';
import type { Diff } from '../../diff/diff.ts';
import { renderHlog } from '../../report/hlog.ts';
import { keys } from '../support/hostile.ts';

function histogramOf(...micros: number[]): Histogram {
  const histogram = build();
  for (const value of micros) histogram.recordValue(value);
  return histogram;
}

test('every tag is read back, with its percentiles and its time', () => {
  const names = [...keys, 'alice', 'a,b c\nd', '\uD800', ''];
  const latency = {
    fromIntended: histogramOf(100, 200, 90_000),
    fromSent: histogramOf(50, 60),
    recorded: build(),
    byOperation: new Map([['get', histogramOf(70, 80_000)]]),
    byTenant: new Map(names.map((name, n) => [name, histogramOf(n + 1)])),
  } satisfies Diff['latency'];
  const text = renderHlog({ latency, replayedNs: 2.5e9 }, '2026-01-02T03:04:05.678Z');
  expect(
    text
      .trim()
      .split('\n')
      .every((line) => /^(#|"|(Tag=[^,\s]+,)?0\.000,2\.500,)/.test(line)),
  ).toBe(true);
  const whole = new HistogramLogReader(text).nextIntervalHistogram();
  expect([whole?.totalCount, whole?.getValueAtPercentile(99), whole?.startTimeStampMsec]).toEqual([
    3,
    latency.fromIntended.getValueAtPercentile(99),
    Date.parse('2026-01-02T03:04:05.678Z'),
  ]);
  const tags = listTags(text);
  expect(tags).toHaveLength(3 + names.length);
  expect(tags).toContain('operation=get');
  expect(tags).not.toContain('recorded');
});
