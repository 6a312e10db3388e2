// QUIT and QUITQ: their answer is the end of the connection, by the target. What came before them is proven by it, and
// what comes behind them needs another connection.

import type { Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { startServer } from '../../embedded/server.ts';
import { encodeResponse } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { replay, type ReplayOptions } from '../../replayer/replay.ts';
import { Outcome, RowFlag } from '../../trace/batch.ts';
import { ResultsReader } from '../../trace/file.ts';
import { resultNames } from '../../trace/results.ts';
import { startMemcached } from '../support/memcached.ts';
import { kindsOf, replayed } from '../support/replay.ts';
import { batchOf, temporary, writeTape, type ExchangeInit } from '../support/tape.ts';
import { startScripted, type Script } from '../support/target.ts';

const running: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of running.splice(0)) await one.stop();
});

async function kept<T extends { stop(): Promise<void> }>(starting: Promise<T>): Promise<T> {
  const one = await starting;
  running.push(one);
  return one;
}

/** What became of each row. */
async function resultsOf(
  exchanges: ExchangeInit[],
  run: Partial<ReplayOptions> & Pick<ReplayOptions, 'targets'>,
): Promise<string[]> {
  const [trace, results] = [temporary('quit.tape'), temporary('quit.results')];
  await writeTape(trace, [batchOf(exchanges)]);
  await replay({ trace, results, timeoutMs: 300, ...run });
  const reader = await ResultsReader.open(results);
  const names: string[] = [];
  for await (const batch of reader.batches())
    for (let row = 0; row < batch.count; row++) names.push(resultNames[batch.result[row]!]!);
  await reader.close();
  return names;
}

const quit: ExchangeInit = { op: 'quit' };
const quitq: ExchangeInit = { op: 'quitq', outcome: Outcome.silent };
const quiet: ExchangeInit = { op: 'setq', key: 'k', value: 'v', outcome: Outcome.silent };

describe('what the target does with its side', () => {
  const cases: [string, ExchangeInit, (socket: Socket, answer: Buffer) => void, string, string[]][] = [
    ['answers a QUIT and closes', quit, (socket, bytes) => socket.end(bytes), 'answered', []],
    ['closes at a QUIT', quit, (socket) => socket.end(), 'closed', []],
    ['resets at a QUIT', quit, (socket) => socket.resetAndDestroy(), 'closed', []],
    [
      'answers a QUIT and stays',
      quit,
      (socket, bytes) => socket.write(bytes),
      'unanswered',
      ['violation unanswered 1'],
    ],
    ['stays at a QUIT', quit, () => undefined, 'unanswered', ['violation unanswered 1']],
    ['closes at a QUITQ', quitq, (socket) => socket.end(), 'closed', []],
    ['stays at a QUITQ', quitq, () => undefined, 'unanswered', ['violation unanswered 1']],
  ];
  test.each(cases)('it %s', async (_name, row, act, result, kinds) => {
    const script: Script = ({ opcode, opaque }, socket) => {
      if (opcode !== Opcode.quit && opcode !== Opcode.quitq) return {};
      act(socket, encodeResponse({ opcode, opaque }));
      return undefined;
    };
    const target = await kept(startScripted(script));
    const exchanges = [{ op: 'set', key: 'k', value: 'v' }, row];
    expect(await resultsOf(exchanges, { targets: [target.address] })).toEqual(['answered', result]);
    const again = await kept(startScripted(script));
    const report = await replayed(exchanges, { targets: [again.address], timeoutMs: 300 });
    expect(kindsOf(report)).toEqual(kinds);
  });

  test('a target that does not obey a QUIT is not taken for one that is down', async () => {
    const target = await kept(startScripted(({ opcode }) => (opcode === Opcode.quitq ? undefined : {})));
    const exchanges: ExchangeInit[] = [
      { ...quitq, connection: 0, at: 0 },
      { op: 'set', key: 'k', value: 'v', connection: 1, at: 500_000 },
    ];
    expect(await resultsOf(exchanges, { targets: [target.address] })).toEqual(['unanswered', 'answered']);
  });
});

describe.each(['memcached', 'embedded'] as const)('%s', (kind) => {
  const start = async (): Promise<{ address: string }> =>
    kind === 'memcached' ? kept(startMemcached()) : kept(startServer());

  test.each(['none', 'connection', 'key'] as const)(
    'quiet stores before a QUITQ or a QUIT are proven by the close, order %s',
    async (order) => {
      const { address } = await start();
      for (const speed of [1, 'max'] as const) {
        const exchanges = Array.from({ length: 200 }, (_, n): ExchangeInit[] => {
          const common = { connection: n, at: n * 100, answeredAt: n * 100 + 40 };
          const flags = n % 3 === 0 ? RowFlag.sharesSegment : 0;
          return [
            { ...quiet, ...common, key: `k${n}` },
            { ...(n % 2 === 0 ? quitq : quit), ...common, flags },
          ];
        }).flat();
        const run = { targets: [address], order, speed, timeoutMs: 5000 };
        const names = await resultsOf(exchanges, run);
        for (const [n, name] of names.entries())
          expect([n, name]).toEqual([n, n % 2 === 0 ? 'silent' : n % 4 === 1 ? 'closed' : 'answered']);
        const report = await replayed(exchanges, run);
        expect([report.verdict, report.exchanges.untestable, report.incidents.count]).toEqual(['pass', 0, 0]);
      }
    },
  );

  test.each([1, 'max'] as const)('each turn of a loop has a connection of its own, at %s', async (speed) => {
    const { address } = await start();
    const exchanges: ExchangeInit[] = [
      { op: 'get', key: 'k', answer: 'v' },
      { ...quiet, connection: 1 },
      quit,
      { ...quitq, connection: 1 },
    ];
    const report = await replayed(exchanges, { targets: [address], loops: 25, speed, timeoutMs: 5000 });
    expect(report.exchanges).toMatchObject({ total: 100, sent: 100, violations: 0 });
    expect([report.verdict, report.incidents.count]).toEqual(['pass', 0]);
  });
});

test('what the recorded server dropped behind a QUIT is not done on another connection', async () => {
  const { address } = await kept(startMemcached());
  const flags = RowFlag.sharesSegment;
  const names = await resultsOf(
    [
      { op: 'set', key: 'k', value: 'kept', at: 0 },
      { ...quit, at: 1000 },
      { op: 'set', key: 'k', value: 'dropped', at: 1000, flags, outcome: Outcome.unanswered },
      { op: 'get', key: 'k', answer: 'kept', connection: 1, at: 5000 },
    ],
    { targets: [address], timeoutMs: 5000 },
  );
  expect(names).toEqual(['answered', 'answered', 'closed', 'answered']);
});
