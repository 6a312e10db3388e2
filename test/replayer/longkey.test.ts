// Keys that no server takes: they are sent as they were recorded, and neither set nor asked for beforehand.

import { describe, expect, test } from 'vitest';
import { MAX_KEY_BYTES } from '../../protocol/semantics.ts';
import { RowFlag, Outcome } from '../../trace/batch.ts';
import { startMemcached } from '../support/memcached.ts';
import { kindsOf, replayed } from '../support/replay.ts';
import type { ExchangeInit } from '../support/tape.ts';

const long = 'k'.repeat(MAX_KEY_BYTES + 1);
const refused = { status: 4, answer: 'Invalid arguments' };

const cases: [string, ExchangeInit][] = [
  ['read', { op: 'get', key: long, ...refused }],
  ['stored', { op: 'set', key: long, value: 'v', ...refused }],
  ['said to have been there', { op: 'get', key: long, answer: 'v' }],
];

describe.each([1, 'max'] as const)('a key of 251 bytes, at %s', (speed) => {
  test.each(cases)('%s', async (_name, row) => {
    const server = await startMemcached();
    const flags = RowFlag.sharesSegment;
    const exchanges: ExchangeInit[] = [
      { op: 'set', key: 'a', value: 'v', connection: 0, at: 0 },
      { ...row, connection: 0, at: 1000, answeredAt: 1900 },
      // What was sent behind it had no answer in the recording either.
      { op: 'get', key: 'a', connection: 0, at: 1000, outcome: Outcome.unanswered, flags },
      { op: 'getkq', key: 'a', connection: 0, at: 1000, outcome: Outcome.indeterminate, flags },
      { op: 'get', key: 'a', answer: 'v', connection: 1, at: 3000 },
      { op: 'get', key: 'k'.repeat(MAX_KEY_BYTES), status: 1, connection: 1, at: 4000 },
    ];
    try {
      const report = await replayed(exchanges, { targets: [server.address], speed });
      expect(report.exchanges).toMatchObject({ total: 6, sent: 6, skipped: 0 });
      const wrong = kindsOf(report).filter((kind) => kind.startsWith('violation'));
      expect(wrong).toEqual('status' in row ? [] : [expect.stringContaining('wrong-status')]);
    } finally {
      await server.stop();
    }
  });
});
