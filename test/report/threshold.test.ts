// Thresholds: what can be written, what it means, and what is said of what cannot.

import { describe, expect, test } from 'vitest';
import type { Report } from '../../report/report.ts';
import { evaluate, parseThreshold } from '../../report/threshold.ts';

const report = {
  exchanges: {
    total: 1000,
    sent: 1000,
    answered: 990,
    matched: 980,
    drift: 15,
    violations: 5,
    untestable: 0,
    skipped: 0,
  },
  drift: { lost: 15 },
  violations: { 'wrong-value': 5 },
  untestable: {},
  servers: [
    {
      address: 'a:1',
      exchanges: 600,
      hitRate: 0.9,
      recordedHitRate: 0.95,
      drift: 10,
      violations: 5,
      lastAnswerSeconds: 1,
    },
    {
      address: 'b:1',
      exchanges: 400,
      hitRate: 0.7,
      recordedHitRate: 0.8,
      drift: 5,
      violations: 0,
      lastAnswerSeconds: 1,
    },
  ],
  tenants: [
    { tenant: 'alice', exchanges: 900, hitRate: 0.9, recordedHitRate: 0.9, drift: 0, violations: 0 },
    { tenant: 'bob', exchanges: 100, hitRate: 0.5, recordedHitRate: 0.9, drift: 15, violations: 5 },
  ],
  operations: [
    { operation: 'get', exchanges: 700, hitRate: 0.8, recordedHitRate: 0.9, drift: 15, violations: 1 },
    { operation: 'set', exchanges: 300, hitRate: null, recordedHitRate: null, drift: 0, violations: 4 },
  ],
  latencyMicros: {
    fromIntended: { p50: 100, p90: 300, p99: 1900, p999: 3000, max: 9000 },
    fromSent: {},
    recorded: {},
    byOperation: { get: { p99: 2500 } },
    byTenant: { alice: { p99: 1700 }, bob: { p99: 2600 } },
  },
  schedule: { achievedRate: 5000, lagMicros: { p99: 80 }, blockedMicros: {}, eventLoopDelayMicros: {} },
} as unknown as Report;

test.each([
  ['violations == 0', false, 5],
  ['violations <= 5', true, 5],
  ['violations.wrong-value < 1', false, 5],
  ['violations.stale-value == 0', true, 0],
  ['drift.lost < 0.5%', false, 0.015],
  ['drift.lost<2%', true, 0.015],
  ['matched >= 98%', true, 0.98],
  ['untestable < 1%', true, 0],
  ['latency.fromIntended.p99 < 2ms', true, 1900],
  ['latency.fromIntended.p99{operation=get} < 2ms', false, 2500],
  ['latency.fromIntended.p99{tenant=alice} < 2ms', true, 1700],
  ['latency.fromIntended.p99{tenant=bob} < 2ms', false, 2600],
  ['latency.fromIntended.max < 0.009s', false, 9000],
  ['servers.hitRate > 0.8', false, 0.7],
  ['servers.hitRate{server=a:1} > 80%', true, 0.9],
  ['servers.violations == 0', false, 5],
  ['servers.violations < 0.9%', true, 5 / 600],
  ['violations{server=b:1} == 0', true, 0],
  ['violations{server=a:1} < 0.5%', false, 5 / 600],
  ['drift{server=b:1} <= 5', true, 5],
  ['violations{tenant=alice} == 0', true, 0],
  ['violations{tenant=bob} < 1%', false, 0.05],
  ['drift{operation=get} <= 15', true, 15],
  ['violations{opcode=set} == 0', false, 4],
  ['tenants.hitRate > 0.8', false, 0.5],
  ['operations.hitRate > 0.7', true, 0.8],
  ['tenants.violations{tenant=alice} == 0', true, 0],
  ['failed == 0', true, 0],
  ['differ < 2.5%', true, 0.02],
  ['schedule.lag.p99 < 100us', true, 80],
  ['schedule.achievedRate > 4k', true, 5000],
])('%s', (expression, ok, value) => {
  expect(evaluate(parseThreshold(expression), report)).toEqual({ expression, ok, value, evaluated: true });
});

test.each([
  ['latency.fromSent.p99 < 1ms'],
  ['latency.fromIntended.p99{operation=gat} < 1ms'],
  ['servers.hitRate{server=c:1} > 0.1'],
  ['violations{tenant=carol} == 0'],
  ['latency.fromIntended.p99{tenant=carol} < 2ms'],
  ['latency.fromIntended.p99{tenant=constructor} < 2ms'],
  ['operations.hitRate{operation=set} > 0.1'],
])('without samples it is not passed: %s', (expression) => {
  expect(evaluate(parseThreshold(expression), report)).toEqual({
    expression,
    ok: false,
    value: null,
    evaluated: false,
  });
});

describe('what cannot be read', () => {
  test.each([
    ['violations', /expected METRIC/],
    ['violations = 0', /expected METRIC/],
    ['violation == 0', /did you mean violations\?/],
    ['drift.lost < 5ms', /expected a number or a percentage, got the unit "ms"/],
    ['latency.fromIntended.p99 < 2', /expected a time in us, ms or s/],
    ['untestable{server=a} == 0', /has no label "server"/],
    ['nonsense.of.mine < 3', /there are matched, .*violations, drift, .*latency\.fromSent\.p999/],
  ])('%s', (expression, message) => expect(() => parseThreshold(expression)).toThrow(message));
});
