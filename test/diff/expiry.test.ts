// Which versions of a key may have expired, and which must have.

import { describe, expect, test } from 'vitest';
import { KeyHistory, type Change } from '../../diff/history.ts';

const SECOND = 1e9;
const MARGIN = 1.5 * SECOND;

/** Changes one after the other, each of a tenth of a second. */
function historyOf(...changes: (Partial<Change> & Pick<Change, 'family'> & { at: number })[]): KeyHistory {
  const history = new KeyHistory(false);
  for (const [index, { at, ttl = 0, ...more }] of changes.entries())
    history.add({
      index,
      connection: 0,
      fromNs: at * SECOND,
      toNs: (at + 0.1) * SECOND,
      definite: more.family !== 'touch',
      removes: false,
      value: undefined,
      flags: 0,
      operand: '',
      delta: 0n,
      initial: undefined,
      ttl,
      livesNs: ttl * SECOND,
      recordedFromNs: at * SECOND,
      recordedToNs: (at + 0.1) * SECOND,
      ...more,
    });
  return history;
}

const brief = { family: 'set', at: 0, ttl: 1, value: 'brief' } as const;
const lasting = { family: 'set', at: 1, value: 'lasting' } as const;

describe('a key that is gone may have expired', () => {
  const rows: [string, KeyHistory, boolean][] = [
    ['its version was to', historyOf(brief), true],
    ['nothing was to', historyOf(lasting), false],
    ['the version that was to was replaced', historyOf(brief, lasting), false],
    ['it was replaced perhaps', historyOf(brief, { ...lasting, definite: false }), true],
    ['it was removed', historyOf(brief, { family: 'delete', at: 1, removes: true }), false],
    [
      'what is appended to keeps its expiry',
      historyOf(brief, { family: 'append', at: 1, operand: 'x' }),
      true,
    ],
    ['a touch gave it one', historyOf(lasting, { family: 'touch', at: 2, ttl: 1 }), true],
    ['a touch gave it one that is far off', historyOf(lasting, { family: 'touch', at: 2, ttl: 60 }), false],
  ];
  test.each(rows)('%s', (_name, history, expected) => {
    const at = { index: 99, fromNs: 4 * SECOND, toNs: 4.1 * SECOND };
    expect(history.mayHaveExpired(at, MARGIN)).toBe(expected);
  });
});

describe('a value must have expired', () => {
  const rows: [string, KeyHistory, boolean][] = [
    ['its only version did', historyOf(brief), true],
    ['another version of the same value lives', historyOf(brief, { ...lasting, value: 'brief' }), false],
    ['who prolonged it did so for a second', historyOf(brief, { family: 'touch', at: 0.5, ttl: 1 }), true],
    ['who prolonged it did so for an hour', historyOf(brief, { family: 'touch', at: 0.5, ttl: 3600 }), false],
    ['who prolonged it did so for ever', historyOf(brief, { family: 'touch', at: 0.5 }), false],
  ];
  test.each(rows)('%s', (_name, history, expected) => {
    expect(history.hasExpired('brief', 9 * SECOND, MARGIN)).toBe(expected);
  });
});
