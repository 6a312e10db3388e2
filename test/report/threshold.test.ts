// Thresholds: what can be written, what it means, and what is said of what cannot.

import { describe, expect, test } from 'vitest';
import type { Report } from '../../report/shape.ts';
import {
  defaultThresholds,
  evaluate,
  needsBaseline,
  parseThreshold,
  roleOf,
  unitOf,
} from '../../report/threshold.ts';

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
  baseline: {
    exchanges: { total: 1000, sent: 1000, matched: 999, drift: 1, violations: 0, untestable: 0 },
    drift: { lost: 1 },
    violations: {},
    untestable: {},
    skipped: {},
    servers: [{ address: 'old:1', exchanges: 1000, hitRate: 0.95, drift: 1, violations: 0 }],
    tenants: [],
    operations: [{ operation: 'get', exchanges: 700, hitRate: 0.95, drift: 1, violations: 0 }],
    latencyMicros: { fromIntended: { p99: 900 }, fromSent: {}, recorded: {}, byOperation: {}, byTenant: {} },
    schedule: { achievedRate: 5100, lagMicros: {}, blockedMicros: {}, eventLoopDelayMicros: {} },
    regressions: 2,
    changes: [
      { metric: 'drift.lost', isRegression: true },
      { metric: 'servers.hitRate{server=1}', isRegression: true },
      { metric: 'latency.fromSent.p99', isRegression: false },
    ],
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
  ['baseline.regressions == 0', false, 2],
  ['baseline.regressions{of=drift} == 0', false, 1],
  ['baseline.regressions{of=hitRate} <= 1', true, 1],
  ['baseline.regressions{of=latency} == 0', true, 0],
  ['baseline.violations == 0', true, 0],
  ['baseline.drift.lost < 0.5%', true, 0.001],
  ['baseline.judged > 90%', true, 1],
  ['baseline.servers.hitRate > 0.9', true, 0.95],
  ['baseline.operations.drift{operation=get} < 0.1%', false, 1 / 700],
  ['baseline.latency.fromIntended.p99 < 1ms', true, 900],
  ['baseline.schedule.achievedRate > 5k', true, 5100],
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
  ['baseline.latency.fromSent.p99 < 1ms'],
  ['baseline.servers.hitRate{server=other:1} > 0.1'],
])('without samples it is not passed: %s', (expression) => {
  expect(evaluate(parseThreshold(expression), report)).toEqual({
    expression,
    ok: false,
    value: null,
    evaluated: false,
  });
});

test('without a baseline, nothing of it is passed', () => {
  const { baseline: _, ...alone } = report;
  for (const expression of [
    'baseline.regressions == 0',
    'baseline.violations == 0',
    'baseline.servers.drift < 1%',
  ])
    expect(evaluate(parseThreshold(expression), alone as Report)).toMatchObject({
      ok: false,
      evaluated: false,
    });
  expect(defaultThresholds().some(needsBaseline)).toBe(false);
  expect(defaultThresholds(true).filter(needsBaseline)).toHaveLength(1);
});

describe('what cannot be read', () => {
  test.each([
    ['violations', /expected METRIC/],
    ['violations = 0', /expected METRIC/],
    ['violation == 0', /did you mean violations\?/],
    ['drift.lost < 5ms', /expected a number or a percentage, got the unit "ms"/],
    ['latency.fromIntended.p99 < 2', /expected a time in us, ms or s/],
    [
      'baseline.regressions{of=speed} == 0',
      /expected one of violations, drift, hitRate, latency, got "speed"/,
    ],
    ['baseline.coverage.minimum > 3', /unknown metric/],
    ['untestable{server=a} == 0', /has no label "server"/],
    ['nonsense.of.mine < 3', /there are matched, .*violations, drift, .*latency\.fromSent\.p999/],
  ])('%s', (expression, message) => expect(() => parseThreshold(expression)).toThrow(message));
});

test.each([
  ['judged > 90%', 'evidence', 'percent'],
  [' baseline.untestable < 1%', 'evidence', 'percent'],
  ['coverage.minimum > 10', 'evidence', 'none'],
  ['violations.wrong-value == 0', 'violations', 'none'],
  ['latency.fromIntended.p99{operation=50%} < 2ms', 'latency', 'micros'],
  ['baseline.latency.fromIntended.max < 2ms', 'latency', 'micros'],
  ['latency.recorded.p99 < 2ms', 'time', 'micros'],
  ['schedule.achievedRate > 50k', 'time', 'none'],
  ['schedule.lag.p99 < 1ms', 'time', 'micros'],
  ['servers.hitRate{server=50%:1} > 0.5', 'other', 'none'],
  ['baseline.regressions == 0', 'time', 'none'],
  ['consistency.judged > 5', 'other', 'none'],
])('%s asks about %s, in %s', (expression, role, unit) => {
  const threshold = parseThreshold(expression);
  expect([roleOf(threshold), unitOf(threshold)]).toEqual([role, unit]);
});
