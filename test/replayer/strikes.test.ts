// Requests without an answer: what they cost is bounded by how many time-outs come in a row, and not by their number.

import { describe, expect, test } from 'vitest';
import { harmless, harms } from '../../fixtures/harms.ts';
import { startHostile } from '../../fixtures/hostile.ts';
import { startServer } from '../../embedded/server.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { encodeResponse } from '../../protocol/frame.ts';
import { Patience } from '../../replayer/patience.ts';
import { Random } from '../../synth/laws/random.ts';
import { Stalls } from '../../replayer/stalls.ts';
import { Strikes } from '../../replayer/strikes.ts';
import type { Report } from '../../report/shape.ts';
import { replayed, type Run } from '../support/replay.ts';
import type { ExchangeInit } from '../support/tape.ts';
import { startScripted, type Script } from '../support/target.ts';

const TIMEOUT_MS = 100;
const missed = { status: 1 };

function reads(count: number, keyOf: (n: number) => string): ExchangeInit[] {
  return Array.from({ length: count }, (_, n) => ({ op: 'get', key: keyOf(n), status: 1 }));
}

async function against(script: Script, exchanges: ExchangeInit[]): Promise<Report> {
  const target = await startScripted(script);
  try {
    return await replayed(exchanges, { targets: [target.address], timeoutMs: TIMEOUT_MS, speed: 'max' });
  } finally {
    await target.stop();
  }
}

const timeouts = ({ incidents }: Report): number =>
  incidents.examples.filter(({ note }) => note.startsWith('no answer within')).length;
const unanswered = ({ findings }: Report): number =>
  findings.find(({ kind }) => kind === 'unanswered')?.count ?? 0;

test.concurrent('no answers but to NOOPs: a few time-outs, and no more for more requests', async () => {
  const report = await against(
    () => undefined,
    reads(200, () => 'one'),
  );
  expect(timeouts(report)).toBeGreaterThan(0);
  expect(timeouts(report)).toBeLessThan(8);
  expect(report.exchanges.matched).toBe(0);
  expect(report.verdict).toBe('fail');
});

test.concurrent.each<[string, Script]>([
  ['wrong opaques', ({ opaque }) => ({ ...missed, opaque: opaque + 1 })],
  ['a NOOP in the place of each answer', ({ opaque }) => ({ opcode: 10, opaque: opaque ^ 0xffff })],
])('%s: a NOOP tells what a time-out would tell, of each request', async (_name, script) => {
  const report = await against(
    script,
    reads(200, () => 'one'),
  );
  expect([unanswered(report), timeouts(report)]).toEqual([200, 0]);
  expect(report.exchanges.matched).toBe(0);
  expect(report.verdict).toBe('fail');
});

test.concurrent('a backend that takes requests and is silent, behind a proxy that answers for the others', async () => {
  const report = await against(
    ({ key }) => (key[0] === 0x62 ? undefined : missed),
    reads(300, (n) => (n % 3 === 0 ? `b${n}` : `a${n}`)),
  );
  expect(timeouts(report)).toBeGreaterThan(0);
  expect(timeouts(report)).toBeLessThan(8);
  expect(report.verdict).toBe('fail');
});

test.concurrent('a request without an answer now and then: what comes later is sent', async () => {
  // On another connection answers come all the time: the target is not down.
  const exchanges = Array.from({ length: 200 }, (_, n): ExchangeInit => {
    const key = n % 60 === 10 ? 'silent' : 'key';
    return { op: 'get', key, status: 1, connection: n % 2, at: n * 5000 };
  });
  const target = await startScripted(({ key }) => (key.toString() === 'silent' ? undefined : missed));
  const report = await replayed(exchanges, { targets: [target.address], timeoutMs: TIMEOUT_MS });
  await target.stop();
  // What has no answer later is told by a NOOP.
  expect([timeouts(report), unanswered(report)]).toEqual([1, 4]);
  const told = report.findings.flatMap(({ examples }) => examples.map(({ why }) => why));
  expect(told).not.toContain('the target could not be reached');
});

test.concurrent.each<[string, Partial<Run>]>([
  ['as fast as it goes', { speed: 'max' }],
  ['by a schedule', {}],
])(
  'every second request has an answer, on ten connections, %s: they do not wait one after the other',
  async (_, run) => {
    // Each connection waits for all others: one time-out for each would be a hundred, one after the other.
    const exchanges = Array.from({ length: 400 }, (__, n): ExchangeInit => {
      return { op: n % 2 === 0 ? 'set' : 'get', key: 'one', connection: n % 10, at: n * 1000, status: n % 2 };
    });
    const target = await startScripted((_request, _socket, number) =>
      number % 2 === 0 ? missed : undefined,
    );
    try {
      const report = await replayed(exchanges, { targets: [target.address], timeoutMs: TIMEOUT_MS, ...run });
      expect(timeouts(report)).toBeGreaterThan(1);
      expect(timeouts(report)).toBeLessThan(12);
      expect(report.verdict).toBe('fail');
    } finally {
      await target.stop();
    }
  },
);

describe('time-outs hold up a run', () => {
  const timeout = 100;
  /** Time-outs of so many requests, with so much time between them. @returns the rests, in time-outs */
  function rests(count: number, between: number, isBehind = true, answers = 0): number[] {
    const stalls = new Stalls();
    const all: number[] = [];
    let now = 0;
    for (let n = 0; n < count; n++) {
      const sent = now + between;
      now = sent + timeout;
      const rest = stalls.unanswered(sent, now, timeout, (n + 1) * answers, 0.1, () => isBehind);
      all.push(rest / timeout);
      now += rest;
    }
    return all;
  }

  test.each([
    ['on end', rests(6, 1), [0, 1, 2, 4, 8, 16]],
    ['on end, and the run is not behind', rests(4, 1, false), [0, 0, 0, 0]],
    [
      'four times as long between them, full of answers',
      rests(6, 4 * timeout, true, 3000),
      [0, 0, 0, 0, 0, 0],
    ],
    ['half as long between them, full of answers', rests(6, timeout / 2, true, 500), [0, 0, 0, 0, 1, 2]],
    ['four times as long between them, with a few answers', rests(5, 4 * timeout, true, 30), [0, 1, 2, 4, 8]],
  ])('%s', (_name, seen, expected) => {
    expect(seen).toEqual(expected);
  });

  test('at once: they are one', () => {
    const stalls = new Stalls();
    const rested = Array.from({ length: 20 }, () =>
      stalls.unanswered(0, timeout, timeout, 0, 0.1, () => true),
    );
    expect(new Set(rested)).toEqual(new Set([0]));
  });
});

/** Reads on ten connections at once; one in so many has no answer, or comes late. */
async function losing(share: number, lateMs?: number): Promise<{ report: Report; seconds: number }> {
  const random = new Random(7);
  const target = await startScripted(({ opcode, opaque }, socket) => {
    if (opcode === Opcode.noop || !random.chance(share)) return missed;
    const late = encodeResponse({ opcode, opaque, ...missed });
    if (lateMs !== undefined) setTimeout(() => socket.writable && socket.write(late), lateMs);
    return undefined;
  });
  const exchanges = Array.from({ length: 1000 }, (_, n): ExchangeInit => ({
    op: 'get',
    key: `key${n}`,
    status: 1,
    connection: n % 10,
    at: n * 100,
    answeredAt: n * 100 + 50,
  }));
  const from = performance.now();
  try {
    const run = { targets: [target.address], timeoutMs: 1000, speed: 'max', pipeline: 1 } as const;
    const report = await replayed(exchanges, run);
    return { report, seconds: (performance.now() - from) / 1000 };
  } finally {
    await target.stop();
  }
}

describe('requests that have no answer, where others and NOOPs have', () => {
  test.each([
    // How many there are depends on how many others come meanwhile: a busy machine has fewer.
    [0.03, 300],
    [0.5, 10],
  ])('a share of %d: what is asked is found, by few time-outs', async (share, asked) => {
    const { report } = await losing(share);
    expect(timeouts(report)).toBeGreaterThan(0);
    // Those that were under way together, when the first timed out.
    expect(timeouts(report)).toBeLessThanOrEqual(10);
    expect(report.exchanges.sent).toBeGreaterThanOrEqual(asked);
    expect(report.verdict).toBe('fail');
    expect(unanswered(report)).toBeGreaterThan(share * report.exchanges.sent * 0.5);
    expect(unanswered(report) + report.exchanges.matched).toBe(report.exchanges.sent);
  });

  test('late answers, in time: each is waited for', async () => {
    const { report } = await losing(0.02, 150);
    expect(report.exchanges.matched + unanswered(report)).toBe(1000);
    expect(unanswered(report)).toBe(0);
  });
});

test('patience: shorter with each proof, and none where a proof was wrong', () => {
  const patience = new Patience();
  patience.proved();
  expect(patience.ns).toBe(Infinity);
  patience.timedOut(1e9);
  expect(patience.ns).toBe(250e6);
  for (let n = 0; n < 20; n++) patience.proved();
  expect(patience.ns).toBe(4e6);
  patience.timedOut(1e9);
  expect(patience.ns).toBe(4e6);
  patience.refuted();
  patience.timedOut(1e9);
  expect(patience.ns).toBe(Infinity);
});

test('rests grow while nothing gets better, and end with answers', () => {
  const strikes = new Strikes(2, 8);
  const rests: number[] = [];
  let nowNs = 0;
  for (let n = 0; n < 7; n++) {
    const sentNs = nowNs;
    nowNs += 10;
    if (strikes.timedOut(sentNs, nowNs, 10)) rests.push((strikes.restsUntilNs - nowNs) / 10);
    nowNs = Math.max(nowNs, strikes.restsUntilNs);
  }
  expect(rests).toEqual([1, 2, 4, 8, 16, 16]);
  // What was under way at the last time-out tells nothing new.
  expect(strikes.timedOut(0, nowNs, 10)).toBe(false);
  for (let n = 0; n < 8; n++) strikes.answered();
  expect(strikes.timedOut(nowNs, nowNs + 10, 10)).toBe(false);
});

test.concurrent.each(Object.keys(harms).filter((_, n) => n % 9 === 1))(
  'a target that means harm after 50 requests, %s: the run ends, and says so',
  async (name) => {
    const server = await startServer();
    const target = await startHostile(server.address, harms[name]!, 50);
    try {
      const report = await replayed(
        reads(400, (n) => `key${n}`),
        {
          targets: [target.address],
          timeoutMs: TIMEOUT_MS,
          speed: 'max',
          prefill: 'none',
        },
      );
      expect(report.exchanges.total).toBe(400);
      if (!harmless.has(name)) expect(report.verdict).toBe('fail');
    } finally {
      await target.stop();
      await server.stop();
    }
  },
);

const breaking = ['random bytes', 'an HTTP error', 'the connection closed at once'];

describe('every connection breaks', () => {
  test.concurrent.each(breaking)(
    '%s: it costs a time-out, and not a connection for each request',
    async (name) => {
      const server = await startServer();
      const target = await startHostile(server.address, harms[name]!, 50);
      try {
        const report = await replayed(
          reads(10_000, (n) => `key${n}`),
          { targets: [target.address], timeoutMs: 300, speed: 'max', prefill: 'none' },
        );
        expect(report.exchanges.total).toBe(10_000);
        expect(report.verdict).toBe('fail');
        expect(target.connections()).toBeLessThan(4000);
      } finally {
        await target.stop();
        await server.stop();
      }
    },
  );
});

test.each([
  [0, false],
  [3, true],
])('an answer among %i that fit no request: the second time-out in a row: %j', (strays, isInRow) => {
  const strikes = new Strikes(2, 1);
  strikes.timedOut(0, 10, 5);
  for (let n = 0; n < strays; n++) strikes.strayed();
  strikes.answered();
  expect(strikes.timedOut(20, 30, 5)).toBe(isInRow);
});
