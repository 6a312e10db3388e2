// CAS tokens on a target that gives out none: what would name a version must not become a plain store.

import { expect, test } from 'vitest';
import { TokenMap } from '../../replayer/tokens.ts';
import { startMemcached } from '../support/memcached.ts';
import { replayed } from '../support/replay.ts';
import type { ExchangeInit } from '../support/tape.ts';

test.each([
  ['both sides have an id', 17, 4242, { high: 0, low: 4242 }],
  ['the target answered none', 17, 0, undefined],
  ['the recorded server answered none', 0, 4242, undefined],
] as const)('%s', (_name, recorded, live, found) => {
  const tokens = new TokenMap(new Set([0, 17]));
  expect(tokens.learn(0, recorded, 0, live)).toBe(found !== undefined);
  expect(tokens.find(0, recorded)).toEqual(found);
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
    expect([report.verdict, report.exchanges.matched]).toEqual(['pass', 3]);
  } finally {
    await server.stop();
  }
});
