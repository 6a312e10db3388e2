// Several workers: one order among them, one results file of their parts, and an end whatever happens to one.

import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test, vi } from 'vitest';
import { startServer } from '../../embedded/server.ts';
import { replay } from '../../replayer/replay.ts';
import { Share, Told, createShared } from '../../replayer/share.ts';
import { Random } from '../../synth/laws/random.ts';
import { Outcome, RowFlag } from '../../trace/batch.ts';
import { startMemcached } from '../support/memcached.ts';
import { kindsOf, replayed } from '../support/replay.ts';
import { batchOf, temporary, writeTape, type ExchangeInit } from '../support/tape.ts';

/** Forty connections take turns on a few keys; every answer depends on the exchange before it, on another connection. */
function chained(count: number): ExchangeInit[] {
  const values = new Map<string, string>();
  let version = 1n;
  return Array.from({ length: count }, (_, n): ExchangeInit => {
    const key = `k${n % 5}`;
    const common = { key, connection: (n * 7) % 40, at: n * 20, answeredAt: n * 20 + 10 };
    if (n % 3 !== 1) {
      values.set(key, `v${n}`);
      return { ...common, op: 'set', value: `v${n}`, answerCas: ++version };
    }
    const answer = values.get(key);
    return { ...common, op: 'get', ...(answer === undefined ? { status: 1 } : { answer }) };
  });
}

/** The same, 5 ms apart. */
function slowed(exchanges: readonly ExchangeInit[]): ExchangeInit[] {
  return Array.from(exchanges, (one, n) => ({ ...one, at: n * 5_000, answeredAt: n * 5_000 + 10 }));
}

/** Exchanges of each run: what one waits for was done by another worker, so that each costs a message between threads. */
const COUNT = Number(process.env['WORKER_EXCHANGES'] ?? 400);

test.each([
  [2, 1],
  [2, 'max'],
  [3, 20],
  [5, 1],
  [5, 'max'],
] as const)('%i workers keep one order, at %s', async (workers, speed) => {
  const server = await startMemcached();
  const { address } = server;
  const report = await replayed(chained(COUNT), { targets: [address], workers, speed, timeoutMs: 3000 });
  await server.stop();
  expect([report.verdict, report.exchanges.matched, kindsOf(report)]).toEqual(['pass', COUNT, []]);
});

test('CAS tokens that one worker learned are of use to the others', async () => {
  const server = await startMemcached();
  const { address } = server;
  const exchanges = Array.from({ length: 300 }, (_, n): ExchangeInit[] => {
    const at = n * 400;
    const key = `k${n % 7}`;
    return [
      { op: 'set', key, value: `a${n}`, connection: 0, at, answerCas: BigInt(2 * n + 1) },
      { op: 'get', key, answer: `a${n}`, connection: 1, at: at + 100, answerCas: BigInt(2 * n + 1) },
      {
        op: 'set',
        key,
        value: 'b',
        cas: BigInt(2 * n + 1),
        connection: 2,
        at: at + 200,
        answerCas: BigInt(2 * n + 2),
      },
      { op: 'set', key, value: 'c', cas: BigInt(2 * n + 1), connection: 3, at: at + 300, status: 2 },
    ];
  }).flat();
  const report = await replayed(exchanges, { targets: [address], workers: 4, speed: 'max', timeoutMs: 3000 });
  await server.stop();
  expect([report.verdict, report.exchanges.matched]).toEqual(['pass', exchanges.length]);
});

test('random traces, quiet requests among them: all complete, and nothing is wrong', async () => {
  const server = await startServer();
  for (const [seed, speed] of [
    [1, 5],
    [2, 'max'],
  ] as const) {
    const random = new Random(seed);
    const busy = new Map<number, number>();
    const exchanges = Array.from({ length: COUNT }, (_, n): ExchangeInit => {
      const connection = random.int(23);
      const at = n * 2;
      const answeredAt = Math.max(busy.get(connection) ?? 0, at + 1 + random.int(400));
      busy.set(connection, answeredAt);
      const op = random.pick(['get', 'set', 'getkq', 'setq', 'noop'] as const);
      if (op === 'noop') return { op, connection, at, answeredAt };
      const outcome = op.endsWith('q') ? Outcome.silent : Outcome.answered;
      const value = op.startsWith('set') ? `v${n}` : '';
      const key = `${seed} ${random.int(20)}`.replace(' ', '-');
      return { op, key, value, connection, at, answeredAt, outcome, status: op === 'get' ? 1 : 0 };
    });
    const run = { targets: [server.address], workers: 3, speed, timeoutMs: 3000 };
    const { exchanges: counts } = await replayed(exchanges, run);
    expect(counts).toMatchObject({ total: COUNT, sent: COUNT, violations: 0, untestable: 0 });
  }
  await server.stop();
});

test('a read of several keys that raced with a store of one of them: all workers see one order, and the run ends', async () => {
  const server = await startMemcached();
  // The read was executed before the store, whose CAS id is higher, and its answer left after that of the store. CAS ids
  // do not count of what is pipelined; a worker that did not know that of another's rows waited for what waited for it.
  const exchanges = Array.from({ length: 60 }, (_, n): ExchangeInit[] => {
    const at = n * 1000;
    const cas = BigInt(2 * n + 1);
    const reads = { connection: n % 2, at: at + 100, answeredAt: at + 226 };
    const behind = { ...reads, flags: RowFlag.sharesSegment };
    const connection = 1 - (n % 2);
    const store = { op: 'set', key: `k${n}`, connection } as const;
    const hit = { answerKey: `k${n}`, answer: 'a', answerCas: cas };
    return [
      { ...store, value: 'a', at, answeredAt: at + 10, answerCas: cas },
      { op: 'getkq', key: `none${n}`, outcome: Outcome.silent, ...reads },
      { op: 'getkq', key: `k${n}`, ...hit, ...behind },
      { op: 'noop', ...behind },
      { ...store, value: 'b', at: at + 157, answeredAt: at + 197, answerCas: cas + 1n },
    ];
  }).flat();
  for (const [workers, order] of [
    [2, 'key'],
    [3, 'key'],
    [2, 'connection'],
    [2, 'none'],
  ] as const) {
    const run = { targets: [server.address], workers, order, timeoutMs: 1000, speed: 'max' } as const;
    const report = await replayed(exchanges, run);
    expect([report.exchanges.sent, report.violations, report.incidents.count]).toEqual([300, {}, 0]);
  }
  await server.stop();
});

test('interrupted: what was done is in the results, and no part is left', async () => {
  const server = await startServer();
  const [trace, results] = [temporary('long.tape'), temporary('long.results')];
  await writeTape(trace, [batchOf(slowed(chained(2_000)))]);
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 700);
  const { end } = await replay({
    trace,
    results,
    targets: [server.address],
    workers: 3,
    signal: controller.signal,
  });
  await server.stop();
  expect(end.aborted).toBe('interrupted');
  expect([0, 1, 2].map((n) => existsSync(`${results}.part${n}`))).toEqual([false, false, false]);
  expect(existsSync(results)).toBe(true);
});

test('a target that goes away, with several workers: the run ends', async () => {
  const server = await startServer();
  const run = replayed(slowed(chained(400)), { targets: [server.address], workers: 3 });
  await vi.waitUntil(() => server.counters.requests > 60, 20_000);
  await server.stop();
  const report = await run;
  expect(report.exchanges.total).toBe(400);
  expect(report.violations['closed']).toBeGreaterThan(50);
});

describe('what workers tell each other', () => {
  test('arrives in order, once, even where the reader is far behind', () => {
    const memory = createShared(2);
    const [writer, reader] = [new Share(memory, 0), new Share(memory, 1)];
    const heard: number[] = [];
    const nothing = { complete: () => undefined, token: () => undefined };
    const events = { ...nothing, complete: (index: number) => void heard.push(index) };
    const count = 700_000;
    for (let n = 0; n < count; n++) {
      writer.tell(Told.complete, n);
      if (n % 300_000 === 0) reader.hear(events);
    }
    for (let n = 0; n < 10 && heard.length < count; n++) {
      reader.hear(events);
      writer.hear(nothing);
    }
    expect(heard.length).toBe(count);
    expect(heard.every((index, n) => index === n)).toBe(true);
  });

  test('is seen by another thread', async () => {
    const memory = createShared(2);
    const script = `
      const { workerData, parentPort } = require('node:worker_threads');
      import(workerData.module).then(({ Share, Told }) => {
        const share = new Share(workerData.memory, 1);
        for (let n = 0; n < 100000; n++) share.tell(Told.token, n, n, 1, 2, 3);
        parentPort.postMessage('done');
      });`;
    const module = new URL('../../dist/replayer/share.js', import.meta.url).href;
    const worker = new Worker(script, { eval: true, workerData: { memory, module } });
    const share = new Share(memory, 0);
    const seen: number[] = [];
    const events = {
      complete: () => undefined,
      token: (server: number, high: number) => void seen.push(server - high),
    };
    while (seen.length < 100_000) {
      share.hear(events);
      await sleep(1);
    }
    await worker.terminate();
    expect(seen.every((difference) => difference === 0)).toBe(true);
  });
});
