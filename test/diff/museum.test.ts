// What memcached did wrong before its fixes (docs/verdicts.md, The museum), without memcached: each wrong answer stays found.

import { expect, test } from 'vitest';
import { counterExtras, type FrameInit } from '../../protocol/frame.ts';
import { Status } from '../../protocol/status.ts';
import { kindsOf, replayed } from '../support/replay.ts';
import type { ExchangeInit } from '../support/tape.ts';
import { startScripted } from '../support/target.ts';

const number = (value: bigint): Buffer => {
  const data = Buffer.alloc(8);
  data.writeBigUInt64BE(value);
  return data;
};
const ttl = Buffer.from([0, 0, 0, 100]);
const set = (value: string, answerCas = 0n, more: Partial<ExchangeInit> = {}): ExchangeInit => ({
  op: 'set',
  key: 'k',
  value,
  answerCas,
  ...more,
});
const get = (answer: string, answerCas = 0n): ExchangeInit => ({ op: 'get', key: 'k', answer, answerCas });
const incr = (more: Partial<ExchangeInit>, initial?: bigint): ExchangeInit => ({
  op: 'incr',
  key: 'k',
  extras: counterExtras(1n, initial ?? 0n, initial === undefined ? 0xffff_ffff : 0),
  ...more,
});
const ok = (cas = 0n): Partial<FrameInit> => ({ cas });
const hit = (value: string, cas = 0n): Partial<FrameInit> => ({ value, cas, extras: Buffer.alloc(4) });
const counted = (value: bigint, cas = 0n): Partial<FrameInit> => ({ value: number(value), cas });
const refused: Partial<FrameInit> = { status: Status.nonNumeric };

const cases: [string, ExchangeInit[], (Partial<FrameInit> | undefined)[], string][] = [
  [
    '2009: a counter that counts and keeps its CAS id',
    [set('10', 5n), incr({ answer: number(11n), answerCas: 6n })],
    [ok(50n), counted(11n, 50n)],
    'violation cas 1',
  ],
  [
    '2009: a quiet ADD that fails, and says nothing',
    [set('1'), { op: 'addq', key: 'k', value: '2', status: Status.exists }, get('1')],
    [ok(), undefined, hit('1')],
    'violation stale-value 1',
  ],
  [
    '2009: what a store that failed was to replace',
    [set('old'), set('large', 0n, { status: Status.tooLarge }), { op: 'get', key: 'k', status: 1 }],
    [ok(), { status: Status.tooLarge }, hit('old')],
    'violation stale-value 1',
  ],
  [
    '2009: a quiet store is not known',
    [{ op: 'setq', key: 'k', value: '1' }, get('1')],
    [{ status: Status.unknownCommand }, hit('1')],
    'violation wrong-status 1',
  ],
  [
    '2009: a text counts as 0',
    [set('abc', 5n), incr({ status: Status.nonNumeric })],
    [ok(50n), counted(0n, 51n)],
    'violation counter 1',
  ],
  [
    '2009: a store with a CAS id does not tell the new one',
    [set('1', 5n), set('2', 6n, { cas: 5n })],
    [ok(50n), ok(0n)],
    'violation cas 1',
  ],
  [
    '2011: a counter that tells the id of the version that it replaced',
    [set('9', 5n), incr({ answer: number(10n), answerCas: 6n }), get('10', 6n)],
    [ok(50n), counted(10n, 50n), hit('10', 51n)],
    'violation cas 1',
  ],
  [
    '2011: a text of other than digits counts as 0',
    [set('  x'), incr({ status: Status.nonNumeric })],
    [ok(), counted(1n)],
    'violation counter 1',
  ],
  [
    '2011: two counts, and one result',
    [
      set('1'),
      incr({ answer: number(2n), at: 1000, answeredAt: 1500 }),
      incr({ answer: number(3n), at: 1000, answeredAt: 1500, connection: 1 }),
    ],
    [ok(), counted(2n), counted(2n)],
    'violation counter 1',
  ],
  [
    '2013: the initial value of a counter, and what is behind it in memory',
    [incr({ answer: number(5n) }, 5n), get('5')],
    [counted(5n), hit('5\0\0\0\0')],
    'violation wrong-value 1',
  ],
  [
    '2014: a quiet answer without its key',
    [set('1'), { op: 'gatkq', key: 'k', extras: ttl, answer: '1', answerKey: 'k' }],
    [ok(), hit('1')],
    'violation wrong-key 1',
  ],
  [
    '2014: an empty value that counts',
    [set(''), incr({ status: Status.nonNumeric })],
    [ok(), counted(78n)],
    'violation counter 1',
  ],
  [
    '2016: the last bytes of a large value are those of its end',
    [set('abcdef'), get('abcdef')],
    [ok(), hit('abcd\r\n')],
    'violation wrong-value 1',
  ],
  [
    '2023: no number, while the text that was none is long gone',
    [set('abc'), incr({ status: Status.nonNumeric }), set('5'), incr({ answer: number(6n) })],
    [ok(), refused, ok(), refused],
    'violation wrong-status 1',
  ],
  [
    '2024: another CAS id, and nothing changed the item',
    [set('1', 5n), get('1', 5n), set('2', 6n, { cas: 5n })],
    [ok(50n), hit('1', 51n), { status: Status.exists }],
    'violation cas 1',
  ],
];

test.each(cases)('%s', async (_name, exchanges, script, expected) => {
  const target = await startScripted((_request, _socket, number) => script[number]);
  try {
    const report = await replayed(exchanges, { targets: [target.address] });
    expect(kindsOf(report)).toContain(expected);
    expect(report.verdict).toBe('fail');
  } finally {
    await target.stop();
  }
});
