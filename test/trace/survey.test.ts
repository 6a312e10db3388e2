// What a trace reveals of the time before it: which keys were there, and with which value.

import { expect, test } from 'vitest';
import { counterExtras } from '../../protocol/frame.ts';
import { Outcome } from '../../trace/batch.ts';
import { surveyTrace } from '../../trace/survey.ts';
import { Distinct } from '../../trace/distinct.ts';
import { batchOf, connectionOf, type ExchangeInit } from '../support/tape.ts';

async function survey(exchanges: ExchangeInit[]) {
  const batch = batchOf(exchanges);
  // As a reader numbers them.
  const numbers = new Map<string, number>();
  for (let row = 0; row < batch.count; row++) {
    const key = batch.key(row).toString();
    if (!numbers.has(key)) numbers.set(key, numbers.size);
    batch.keyId[row] = numbers.get(key)!;
  }
  batch.keyCount = numbers.size;
  const only = async function* () {
    yield batch;
  };
  return surveyTrace(only());
}

const number = (value: bigint): Buffer => {
  const data = Buffer.alloc(8);
  data.writeBigUInt64BE(value);
  return data;
};
const k = { key: 'k' };
const cases: [string, ExchangeInit[], string | undefined | null][] = [
  ['a hit', [{ op: 'get', ...k, answer: 'v' }], 'v'],
  ['a miss', [{ op: 'get', ...k, status: 1 }], null],
  ['a silent miss', [{ op: 'getkq', ...k, outcome: Outcome.silent }], null],
  [
    'a store',
    [
      { op: 'set', ...k, value: 'v' },
      { op: 'get', ...k, answer: 'v' },
    ],
    null,
  ],
  ['ADD that finds it', [{ op: 'add', ...k, status: 2 }], undefined],
  [
    'ADD that finds it, and a later hit',
    [
      { op: 'add', ...k, status: 2 },
      { op: 'get', ...k, answer: 'v' },
    ],
    'v',
  ],
  ['ADD that does not', [{ op: 'add', ...k }], null],
  [
    'REPLACE',
    [
      { op: 'replace', ...k },
      { op: 'get', ...k, answer: 'new' },
    ],
    undefined,
  ],
  ['DELETE', [{ op: 'delete', ...k }], undefined],
  ['DELETE of nothing', [{ op: 'delete', ...k, status: 1 }], null],
  ['TOUCH', [{ op: 'touch', ...k, answerExtras: Buffer.alloc(4) }], undefined],
  [
    'APPEND, and what it made',
    [
      { op: 'append', ...k, value: 'b' },
      { op: 'get', ...k, answer: 'ab' },
    ],
    'a',
  ],
  [
    'PREPEND and APPEND',
    [
      { op: 'prepend', ...k, value: '<' },
      { op: 'append', ...k, value: '>' },
      { op: 'get', ...k, answer: '<a>' },
    ],
    'a',
  ],
  [
    'APPEND that does not fit what follows',
    [
      { op: 'append', ...k, value: 'b' },
      { op: 'get', ...k, answer: 'zz' },
    ],
    undefined,
  ],
  ['INCR', [{ op: 'incr', ...k, extras: counterExtras(5n, 0n, 0), answer: number(12n) }], '7'],
  ['DECR', [{ op: 'decr', ...k, extras: counterExtras(5n, 0n, 0), answer: number(7n) }], '12'],
  ['INCR that creates', [{ op: 'incr', ...k, extras: counterExtras(5n, 9n, 0), answer: number(9n) }], null],
  [
    'a hit while the same value is being stored',
    [
      { op: 'get', ...k, answer: 'v', at: 0, answeredAt: 200 },
      { op: 'set', ...k, value: 'v', at: 100, connection: 1 },
    ],
    null,
  ],
  [
    'a hit while another value is being stored',
    [
      { op: 'get', ...k, answer: 'v', at: 0, answeredAt: 200 },
      { op: 'set', ...k, value: 'w', at: 100, connection: 1 },
    ],
    'v',
  ],
  [
    'INCR while the counter is being created',
    [
      {
        op: 'incr',
        ...k,
        extras: counterExtras(1n, 0n, 0),
        answer: number(1n),
        answerCas: 9n,
        answeredAt: 200,
      },
      {
        op: 'incr',
        ...k,
        extras: counterExtras(1n, 0n, 0),
        answer: number(0n),
        answerCas: 8n,
        at: 100,
        connection: 1,
      },
    ],
    null,
  ],
  [
    'INCR while another is executed before it',
    [
      {
        op: 'incr',
        ...k,
        extras: counterExtras(1n, 0n, 0),
        answer: number(6n),
        answerCas: 9n,
        answeredAt: 200,
      },
      {
        op: 'incr',
        ...k,
        extras: counterExtras(1n, 0n, 0),
        answer: number(5n),
        answerCas: 8n,
        at: 100,
        connection: 1,
      },
    ],
    '4',
  ],
  [
    'REPLACE of what is being stored',
    [
      { op: 'replace', ...k, value: 'v', answerCas: 9n, answeredAt: 200 },
      { op: 'set', ...k, value: 'w', at: 100, answerCas: 7n, connection: 1 },
    ],
    null,
  ],
  [
    'a hit while an ADD stores what is changed at once',
    [
      { op: 'get', ...k, answer: 'v+', at: 0, answeredAt: 200 },
      { op: 'add', ...k, value: 'v', at: 100, connection: 1 },
    ],
    null,
  ],
  [
    'a hit, a DELETE and an ADD at once',
    [
      { op: 'get', ...k, answer: 'u', at: 0, answeredAt: 300 },
      { op: 'delete', ...k, at: 100, connection: 1 },
      { op: 'add', ...k, value: 'v', at: 150, connection: 1 },
    ],
    'u',
  ],
  [
    'a store of which nothing is known',
    [
      { op: 'set', ...k, outcome: Outcome.gap },
      { op: 'get', ...k, answer: 'v' },
    ],
    null,
  ],
];

/** The value; undefined: present with a placeholder; null: not said to be present. */
test.each(cases)('%s', async (_name, exchanges, expected) => {
  const { present, others } = await survey(exchanges);
  if (expected === null) expect([present, others]).toEqual([[], [{ server: 0, tenant: '', keys: ['k'] }]]);
  else {
    expect(others).toEqual([]);
    expect(present).toMatchObject([{ server: 0, key: 'k', placeholder: expected === undefined }]);
    if (expected !== undefined) expect(present[0]!.value.toString()).toBe(expected);
  }
});

test('servers, connections and tokens', async () => {
  const batch = batchOf(
    [
      { op: 'get', key: 'a', connection: 0, answer: 'x' },
      { op: 'set', key: 'a', connection: 1, cas: 0x1_0000_0002n },
      { op: 'noop', connection: 1 },
    ],
    [connectionOf(0, 's:1'), connectionOf(1, 's:2')],
  );
  const only = async function* () {
    yield batch;
  };
  const { servers, connections, tokens, exchanges } = await surveyTrace(only());
  expect([servers, exchanges]).toEqual([['s:1', 's:2'], 3]);
  expect(connections.map(({ exchanges: count, serverIndex }) => [count, serverIndex])).toEqual([
    [1, 0],
    [2, 1],
  ]);
  expect(tokens).toEqual([new Set(), new Set([0x1_0000_0002])]);
});

test('distinct keys: exact while they are few, and near when they are many', () => {
  const few = new Distinct(1000);
  const many = new Distinct(1000);
  for (let n = 0; n < 50_000; n++) {
    const key = Buffer.from(`key:${n}`);
    if (n < 900) for (let twice = 0; twice < 2; twice++) few.add(key, 0, key.length);
    many.add(key, 0, key.length);
  }
  expect([few.count, few.exact]).toEqual([900, true]);
  expect(many.exact).toBe(false);
  expect(Math.abs(many.count - 50_000)).toBeLessThan(10_000);
});
