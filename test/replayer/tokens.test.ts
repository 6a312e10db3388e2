// CAS tokens: whose version they name, and what becomes of those that have no counterpart. What would name a version must
// not become a plain store.

import { expect, test } from 'vitest';
import { TokenMap } from '../../replayer/tokens.ts';
import { Outcome } from '../../trace/batch.ts';
import { startMemcached } from '../support/memcached.ts';
import { kindsOf, replayed } from '../support/replay.ts';
import type { ExchangeInit } from '../support/tape.ts';

test("a version is the key's and the id's; the last that was learned counts", () => {
  const tokens = new TokenMap(new Set([17, 18]));
  tokens.learn(17, 1, 0, 4242);
  tokens.learn(17, 2, 1, 4243);
  tokens.learn(17, 1, 0, 4244);
  expect([tokens.find(17, 1), tokens.find(17, 2)]).toMatchObject([
    { high: 0, low: 4244 },
    { high: 1, low: 4243 },
  ]);
  expect([tokens.find(17, 3), tokens.find(18, 1)]).toEqual([undefined, undefined]);
});

test.each([1, 3])('behind a proxy, ids of several servers coincide: %i workers', async (workers) => {
  const server = await startMemcached();
  const keys = Array.from({ length: 40 }, (_, n) => `k${n}`);
  // Each of the servers behind counts its own ids: all keys are at version 1, and then at version 2.
  const exchanges: ExchangeInit[] = [
    ...keys.map((key): ExchangeInit => ({ op: 'set', key, value: `${key} first`, answerCas: 1n })),
    ...keys.map((key): ExchangeInit => ({ op: 'set', key, value: `${key} next`, cas: 1n, answerCas: 2n })),
    ...keys.map((key): ExchangeInit => ({ op: 'set', key, value: 'stale', cas: 1n, status: 2 })),
    ...keys.map((key): ExchangeInit => ({ op: 'delete', key, cas: 2n })),
  ];
  for (const [n, one] of exchanges.entries()) one.connection = n % 7;
  try {
    const report = await replayed(exchanges, { targets: [server.address], workers, speed: 'max' });
    expect([report.verdict, report.exchanges.matched, report.skipped]).toEqual(['pass', 160, {}]);
  } finally {
    await server.stop();
  }
});

test('the recorded server answered no id: what names one is a version that nobody saw', async () => {
  const server = await startMemcached();
  const exchanges: ExchangeInit[] = [
    { op: 'set', key: 'k', value: 'first' },
    { op: 'set', key: 'k', value: 'second', cas: 17n, status: 2 },
  ];
  try {
    const report = await replayed(exchanges, { targets: [server.address] });
    expect(report.skipped).toEqual({ 'unmappable-cas': 1 });
  } finally {
    await server.stop();
  }
});

test('memcached -C: a CAS of which no counterpart is known is not sent, and what it would overwrite stays', async () => {
  const server = await startMemcached(['-C']);
  const exchanges: ExchangeInit[] = [
    { op: 'set', key: 'k', value: 'first', answerCas: 17n },
    { op: 'get', key: 'k', answer: 'first', answerCas: 17n },
    { op: 'set', key: 'k', value: 'stale', cas: 16n, status: 2 },
    { op: 'set', key: 'k', value: 'second', cas: 17n, status: 2 },
    { op: 'get', key: 'k', answer: 'first', answerCas: 17n },
  ];
  try {
    const report = await replayed(exchanges, { targets: [server.address] });
    expect(report.skipped).toEqual({ 'unmappable-cas': 2 });
    // A target that tells no CAS id where the recorded server told one is not as healthy as that.
    expect(kindsOf(report)).toEqual(['violation cas 3']);
  } finally {
    await server.stop();
  }
});

test('what is not sent between quiet requests shifts no answer', async () => {
  const server = await startMemcached();
  const exchanges = Array.from({ length: 20 }, (_, n): ExchangeInit[] => [
    { op: 'setq', key: `k${n}`, value: `v${n}`, outcome: Outcome.silent },
    { op: 'set', key: `k${n}`, value: 'stale', cas: 17n, status: 2 },
    { op: 'getkq', key: `k${n}`, answer: `v${n}`, answerKey: `k${n}` },
    { op: 'set', key: `k${n}`, value: 'stale', cas: 17n, status: 2 },
    { op: 'getkq', key: `none${n}`, outcome: Outcome.silent },
    { op: 'noop' },
  ]).flat();
  try {
    const report = await replayed(exchanges, { targets: [server.address], speed: 'max', order: 'none' });
    expect([report.skipped, kindsOf(report)]).toEqual([{ 'unmappable-cas': 40 }, []]);
  } finally {
    await server.stop();
  }
});
