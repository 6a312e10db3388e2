// A report as an attacker would like it: keys, values, tenants and addresses that are markup, markers of a CI system, or
// no text at all, and more of everything than a replay of a test makes.

import type { Example } from '../../diff/verdict.ts';
import type { Report } from '../../report/shape.ts';

export const markup = '<script>alert(1)</script>';
/** 250 bytes, each a control character or outside ASCII. */
export const control = Array.from({ length: 250 }, (_, n) =>
  String.fromCharCode(n % 64 < 32 ? n % 32 : 0x7f + (n % 32)),
).join('');
export const keys = [
  markup,
  control,
  '`|**bold**|`[x](javascript:alert(1))',
  'a\\|b\\',
  ']]>&amp;&quot;\'"--></script><!--',
  '"><img src=x onerror=alert(1)>',
  '\n::error::forged',
];

const BINS = 120;
const SERVERS = ['10.0.0.1:11211', '10.0.0.2:11211', `${markup}:1`];

function exampleOf(key: string, index: number): Example {
  const value = `${key}${'v'.repeat(64)}`.slice(0, 64);
  return {
    index,
    connection: 3,
    server: SERVERS[index % SERVERS.length]!,
    opcode: 'get',
    key,
    atSeconds: 1.5 + index,
    expected: { status: '0x00 ok', flags: 0, bytes: 300, value: `…${value}…`, differsAt: 108 },
    actual: {
      status: '0x00 ok',
      flags: 0,
      bytes: 300,
      value: `…${value.slice(0, 8)}\xeb${value.slice(9)}…`,
      differsAt: 108,
    },
    why: 'nothing that this replay did gives the key this value',
  };
}

function bins(of: (n: number) => number): number[] {
  return Array.from({ length: BINS }, (_, n) => of(n));
}

export function hostileReport(): Report {
  const percentiles = { p50: 120, p90: 400, p99: 1900, p999: 30_000, max: 250_000 };
  const latency = { p50: bins((n) => 100 + n), p99: bins((n) => 1000 + 40 * n) };
  const servers = SERVERS.map((address, n) => ({
    address,
    exchanges: 10_000,
    reads: 10,
    hitRate: n === 2 ? null : 0.8,
    recordedHitRate: 0.9,
    drift: 40,
    violations: n === 1 ? 70 : 0,
    lastAnswerSeconds: n === 2 ? null : 59.9,
    losses: { kind: 'unknown' as const, evicted: null, lost: 0 },
  }));
  const exchanges = {
    total: 30_000,
    sent: 29_990,
    answered: 29_990,
    matched: 29_700,
    unrecorded: 0,
    drift: 120,
    violations: 70,
    untestable: 100,
    skipped: 10,
  };
  const tenants = [
    {
      tenant: markup,
      exchanges: 10,
      reads: 10,
      hitRate: 0.5,
      recordedHitRate: null,
      drift: 1,
      violations: 2,
    },
  ];
  const schedule: Report['schedule'] = {
    speed: 2,
    rate: null,
    order: 'key',
    durationSeconds: 60,
    recordedSeconds: 120,
    targetRate: 500,
    achievedRate: 499.8,
    lagMicros: percentiles,
    maxLagMicros: 5000,
    blockedMicros: {},
    eventLoopDelayMicros: { p50: 10, p99: 900, max: 20_000 },
  };
  return {
    format: 'memtape-report/1',
    verdict: 'fail',
    exchanges,
    drift: { lost: 120 },
    violations: { 'wrong-value': 60, counter: 10 },
    untestable: { gap: 100 },
    skipped: { aborted: 10 },
    findings: [
      {
        class: 'violation',
        kind: 'wrong-value',
        count: 60,
        examples: keys.map((key, index) => exampleOf(key, index)),
      },
      {
        class: 'violation',
        kind: 'counter',
        count: 10,
        examples: [
          {
            ...exampleOf('hits', 50),
            opcode: 'incr',
            expected: { status: '0x00 ok', value: '17' },
            actual: { status: '0x00 ok', value: '18' },
          },
        ],
      },
      {
        class: 'drift',
        kind: 'lost',
        count: 120,
        examples: [{ ...exampleOf(markup, 60), actual: { status: '0x01 not found' } }],
      },
      { class: 'untestable', kind: 'gap', count: 100, examples: [] },
    ],
    attribution: [
      {
        factor: 'tenant',
        value: markup,
        of: 'violations',
        within: '`|`',
        failures: 60,
        total: 200,
        allFailures: 70,
        all: 30_000,
        sinceSeconds: 12.5,
        unit: 'exchanges',
        lift: 128.5,
        explained: 0.5,
        p: 1e-9,
      },
    ],
    servers,
    tenants,
    operations: [],
    latencyMicros: {
      fromIntended: percentiles,
      fromSent: percentiles,
      recorded: percentiles,
      byOperation: { get: percentiles, [markup]: {} },
      byTenant: { alice: percentiles, [markup]: {} },
    },
    schedule,
    coverage: {
      minimum: 100,
      backends: 3,
      covered: 2,
      cells: SERVERS.map((backend, n) => ({
        target: 'proxy:11211',
        backend,
        exchanges: n * 5000,
        covered: n > 0,
      })),
    },
    timeline: {
      binSeconds: 0.5,
      latencyMicros: {
        fromIntended: latency,
        fromSent: latency,
        recorded: {
          p50: bins(() => 80),
          p99: bins(() => 900).map((value, n) => (n % 7 === 0 ? null : value)),
        },
      },
      lagMicros: { p99: bins((n) => n) },
      servers: SERVERS.map((address, server) => ({
        address,
        requests: bins(() => (server === 2 ? 0 : 100)),
        reads: bins(() => (server === 2 ? 0 : 80)),
        hits: bins((n) => (server === 2 ? 0 : 40 + (n % 30))),
        drift: bins((n) => (n % 9 === 0 ? 2 : 0)),
        violations: bins((n) => (server === 1 && n > 60 ? 3 : 0)),
      })),
    },
    drills: [
      {
        name: markup,
        run: 'restart; exit 1',
        server: SERVERS[1]!,
        atSeconds: 30,
        tookSeconds: 1.2,
        exitCode: 1,
        output: `${control}\n::error::forged`,
        servers: [
          {
            server: SERVERS[1]!,
            exchanges: 6000,
            errors: 70,
            lost: 12,
            firstErrorSeconds: 0.2,
            recoverySeconds: null,
            recovered: false,
            hitRateBefore: 0.9,
            hitRateAfter: 0.4,
          },
        ],
      },
    ],
    prefill: { keys: 40, failed: 1, leftover: 3 },
    incidents: {
      count: 12,
      examples: [{ connection: 3, server: SERVERS[2]!, atSeconds: 30.4, note: `${markup} reset` }],
    },
    thresholds: [
      { expression: 'violations == 0', value: 70, ok: false, evaluated: true },
      { expression: 'drift.lost < 0.5%', value: 0.004, ok: true, evaluated: true },
      {
        expression: `latency.fromIntended.p99{operation=${markup}} < 2ms`,
        value: null,
        ok: false,
        evaluated: false,
      },
    ],
    baseline: {
      verdict: 'pass',
      exchanges: { ...exchanges, violations: 0 },
      drift: { raced: 3 },
      violations: {},
      untestable: { gap: 100 },
      skipped: {},
      servers,
      tenants,
      operations: [],
      schedule,
      latencyMicros: {
        fromIntended: percentiles,
        fromSent: percentiles,
        recorded: percentiles,
        byOperation: {},
        byTenant: {},
      },
      changes: [
        {
          metric: `servers.hitRate{server=${markup}}`,
          baseline: 0.9,
          candidate: 0.6,
          unit: 'share',
          p: 1e-12,
          isRegression: true,
        },
        {
          metric: 'latency.fromSent.p99',
          baseline: 900,
          candidate: 1900,
          unit: 'micros',
          p: null,
          isRegression: true,
        },
      ],
      regressions: 2,
    },
    environment: {
      version: '0.1.0',
      node: 'v20.19.0',
      trace: 'sha256:00',
      targets: ['proxy:11211'],
      route: 'single',
      startTime: '2026-01-02T03:04:05.678Z',
    },
  };
}

/** Nothing differs, and the default threshold holds. */
export function cleanReport(): Report {
  const { baseline: _, ...report } = hostileReport();
  for (const server of report.servers) Object.assign(server, { drift: 0, violations: 0 });
  const none = bins(() => 0);
  for (const server of report.timeline.servers) Object.assign(server, { drift: none, violations: none });
  return {
    ...report,
    verdict: 'pass',
    exchanges: {
      ...report.exchanges,
      matched: report.exchanges.sent,
      unrecorded: 0,
      drift: 0,
      violations: 0,
      untestable: 0,
    },
    drift: {},
    violations: {},
    untestable: {},
    findings: [],
    attribution: [],
    drills: [],
    coverage: { ...report.coverage, covered: 3 },
    prefill: { keys: 0, failed: 0, leftover: null },
    incidents: { count: 0, examples: [] },
    thresholds: [{ expression: 'violations == 0', value: 0, ok: true, evaluated: true }],
  };
}
