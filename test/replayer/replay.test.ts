// Replays against targets that answer well, badly or not at all: what is sent, in which order, and that the run ends
// with a verdict on every exchange.

import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { startServer } from '../../embedded/server.ts';
import { counterExtras, encodeResponse, expiryExtras, storeExtras } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { Outcome, RowFlag } from '../../trace/batch.ts';
import { startMemcached } from '../support/memcached.ts';
import { kindsOf, replayed, type Run } from '../support/replay.ts';
import { batchOf, connectionOf, temporary, writeTape, type ExchangeInit } from '../support/tape.ts';
import { startScripted, type Script } from '../support/target.ts';
import { replay } from '../../replayer/replay.ts';

const ok: Script = ({ opcode }) => (opcode === Opcode.get ? { status: 1 } : {});
const missing = (key: string, more: Partial<ExchangeInit> = {}): ExchangeInit => ({
  op: 'get',
  key,
  status: 1,
  ...more,
});
const stored = (key: string, more: Partial<ExchangeInit> = {}): ExchangeInit => ({
  op: 'set',
  key,
  value: 'v',
  ...more,
});

/** A target that does not answer is given up soon. */
async function against(script: Script, exchanges: ExchangeInit[], run: Partial<Run> = {}) {
  const target = await startScripted(script);
  try {
    const report = await replayed(exchanges, { targets: [target.address], timeoutMs: 250, ...run });
    return { report, target };
  } finally {
    await target.stop();
  }
}

/** Key of each request in the order in which the target got them. */
const keys = (requests: { key: Buffer }[]): string => requests.map(({ key }) => key.toString()).join(' ');

describe('a target that misbehaves: every exchange has a verdict, and the run ends', () => {
  const five = ['a', 'b', 'c', 'd', 'e'].map((key) => missing(key));
  const cases: [string, Script, string[]][] = [
    ['answers', ok, []],
    ['never answers', () => undefined, ['violation closed', 'violation unanswered']],
    ['closes at every request', (_request, socket) => void socket.end(), ['violation closed 5']],
    ['resets at every request', (_request, socket) => void socket.resetAndDestroy(), ['violation closed 5']],
    [
      'half an answer, and then nothing',
      () => Buffer.from('8100000000', 'hex'),
      ['violation closed', 'violation unanswered'],
    ],
    [
      'half-open: it ends its side after an answer, and goes on reading',
      ({ opaque }, socket) => {
        socket.end(encodeResponse({ opcode: Opcode.get, opaque, status: 1 }));
        return undefined;
      },
      ['violation closed'],
    ],
    [
      'a value that is said to be a gigabyte',
      ({ opaque }) => {
        const head = Buffer.alloc(28);
        head[0] = 0x81;
        head[4] = 4;
        head.writeUInt32BE(2 ** 30, 8);
        head.writeUInt32BE(opaque, 12);
        return head;
      },
      ['violation malformed 5'],
    ],
    [
      'a megabyte that trickles',
      ({ opaque }, socket) => {
        const head = Buffer.alloc(28);
        head[0] = 0x81;
        head[4] = 4;
        head.writeUInt32BE(2 ** 20, 8);
        head.writeUInt32BE(opaque, 12);
        const timer = setInterval(() => socket.write(Buffer.alloc(100)), 20);
        socket.once('close', () => clearInterval(timer));
        return head;
      },
      ['violation unanswered'],
    ],
    ['answers with garbage', () => Buffer.alloc(30, 0x41), ['violation malformed 5']],
    [
      'answers with ASCII',
      () => Buffer.from('ERROR Too many open connections\r\n'),
      ['violation malformed 5'],
    ],
    ['answers another opcode', ({ opaque }) => ({ opcode: Opcode.set, opaque }), ['violation malformed 5']],
    [
      'answers with another opaque',
      ({ opaque }) => ({ status: 1, opaque: opaque ^ 0xff00 }),
      // A NOOP behind each tells that it has no answer of its own.
      ['violation orphan 5', 'violation unanswered 5'],
    ],
  ];
  test.each(cases)('%s', async (_name, script, expected) => {
    const { report } = await against(script, five, { speed: 'max' });
    expect(report.exchanges.total).toBe(5);
    const { matched, drift, violations, untestable, skipped } = report.exchanges;
    const orphans = report.violations['orphan'] ?? 0;
    const unreachable = report.skipped['unreachable'] ?? 0;
    expect(matched + drift + violations + untestable + skipped).toBe(5 + orphans + unreachable);
    const kinds = kindsOf(report);
    for (const kind of expected)
      expect(
        kinds.some((found) => found === kind || found.startsWith(`${kind} `)),
        `${kind} in ${kinds.join(', ')}`,
      ).toBe(true);
    expect(report.verdict).toBe(expected.length === 0 ? 'pass' : 'fail');
  });

  test('answers twice', async () => {
    const { report } = await against(({ opaque }) => {
      const answer = Buffer.alloc(24);
      answer[0] = 0x81;
      answer.writeUInt16BE(1, 6);
      answer.writeUInt32BE(opaque, 12);
      return Buffer.concat([answer, answer]);
    }, five);
    expect(report.exchanges.matched).toBe(5);
    expect(report.violations['orphan']).toBeGreaterThanOrEqual(4);
  });

  test('a target that goes away in the middle', async () => {
    const target = await startScripted((_request, _socket, number) => {
      if (number === 20) void target.stop();
      return { status: 1 };
    });
    const report = await replayed(
      Array.from({ length: 60 }, (_, n) => missing(`key${n}`, { at: n * 5000 })),
      { targets: [target.address] },
    );
    expect(report.exchanges.matched).toBeGreaterThanOrEqual(20);
    expect(report.violations['closed']).toBeGreaterThan(30);
    expect(report.verdict).toBe('fail');
    expect(report.incidents.count).toBeGreaterThan(0);
  });

  test('a memcached that is stopped for a while and goes on', async () => {
    const memcached = await startMemcached();
    try {
      const run = replayed(
        Array.from({ length: 200 }, (_, n) => missing(`key${n}`, { at: n * 10_000, connection: n % 3 })),
        { targets: [memcached.address], timeoutMs: 150 },
      );
      await sleep(500);
      memcached.process.kill('SIGSTOP');
      await sleep(700);
      memcached.process.kill('SIGCONT');
      const report = await run;
      expect(report.exchanges.total).toBe(200);
      expect(report.violations['unanswered']).toBeGreaterThan(0);
      expect(report.exchanges.matched).toBeGreaterThan(80);
    } finally {
      await memcached.stop();
    }
  });

  test('nobody listens: the run does not begin', async () => {
    await expect(replayed(five, { targets: ['127.0.0.1:1'] })).rejects.toMatchObject({
      name: 'ReplayError',
      code: 'UNREACHABLE',
      message: /cannot reach 127.0.0.1:1: connection refused/,
    });
  });

  test('the target speaks something else', async () => {
    const target = await startScripted(() => undefined);
    await target.stop();
    const { createServer } = await import('node:net');
    const http = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'.padEnd(60)));
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    const { port } = http.address() as { port: number };
    await expect(replayed(five, { targets: [`127.0.0.1:${port}`] })).rejects.toMatchObject({
      code: 'UNREACHABLE',
    });
    http.close();
  });
});

describe('what is sent', () => {
  test('the recorded servers are refused as targets, unless that is allowed', async () => {
    const server = await startServer();
    const batches = [batchOf([missing('a')], [connectionOf(0, server.address)])];
    await expect(replayed(batches, { targets: [server.address] })).rejects.toMatchObject({
      code: 'RECORDED_TARGET',
    });
    const report = await replayed(batches, {
      targets: [server.address],
      allow: new Set(['recorded-target']),
    });
    expect(report.verdict).toBe('pass');
    await server.stop();
  });

  test('targets that are emptied before: a second replay is as the first, and the recorded servers are never emptied', async () => {
    const server = await startMemcached();
    const exchanges = [missing('a'), stored('a'), missing('b')];
    try {
      const options = { targets: [server.address] };
      expect((await replayed(exchanges, options)).exchanges.matched).toBe(3);
      const again = await replayed(exchanges, options);
      expect([again.prefill.leftover, again.exchanges.matched]).toEqual([1, 2]);
      const clean = await replayed(exchanges, { ...options, flushBefore: true });
      expect([clean.prefill.leftover, clean.exchanges.matched]).toEqual([0, 3]);
      const cleared = await replayed(exchanges, { ...options, clears: true });
      expect([cleared.prefill.leftover, cleared.exchanges.matched]).toEqual([0, 3]);
      const own = [batchOf([stored('c')], [connectionOf(0, server.address)])];
      const allowed = { ...options, allow: new Set(['recorded-target'] as const) };
      await replayed(own, allowed);
      await expect(replayed(own, { ...allowed, flushBefore: true })).rejects.toMatchObject({
        code: 'RECORDED_TARGET',
        message: expect.stringContaining('never sent'),
      });
      expect((await replayed(own, allowed)).prefill.leftover).toBe(1);
    } finally {
      await server.stop();
    }
  });

  test('a target that refuses to be emptied is not replayed to', async () => {
    const refusing = await startMemcached(['-F']);
    try {
      const asked = { targets: [refusing.address], flushBefore: true };
      await expect(replayed([missing('a')], asked)).rejects.toMatchObject({ code: 'FLUSH' });
    } finally {
      await refusing.stop();
    }
  });

  test('a flush, a STAT that changes settings and SASL are not', async () => {
    const { report, target } = await against(ok, [
      stored('a'),
      { op: 'flush' },
      { op: 'stat', key: 'reset' },
      { op: 'sasl-auth', key: 'PLAIN', value: '\0\0\0' },
      missing('b'),
    ]);
    expect(keys(target.requests)).toBe('a b');
    expect(report.skipped).toEqual({ gated: 2, auth: 1 });
    const allowed = await against(ok, [{ op: 'flush' }], { allow: new Set(['flush']) });
    expect(allowed.target.requests.map(({ opcode }) => opcode)).toEqual([Opcode.flush]);
  });

  test('requests of one segment leave in one write, others when they are due', async () => {
    const flags = RowFlag.sharesSegment;
    const { target } = await against(ok, [
      stored('a', { at: 0, answeredAt: 900 }),
      stored('b', { at: 0, answeredAt: 910, flags }),
      stored('c', { at: 0, answeredAt: 920, flags }),
      stored('d', { at: 40_000 }),
    ]);
    expect(keys(target.requests)).toBe('a b c d');
    expect(target.reads.length).toBe(2);
  });

  test('opaques are unique, whatever they were', async () => {
    const { target, report } = await against(
      ok,
      Array.from({ length: 50 }, (_, n) => missing(`k${n}`, { opaque: 0, connection: n % 2 })),
      { speed: 'max' },
    );
    expect(report.exchanges.matched).toBe(50);
    expect(new Set(target.requests.slice(0, 25).map(({ opaque }) => opaque)).size).toBeGreaterThan(12);
  });

  test('quiet requests at the end are proven silent by a NOOP', async () => {
    const server = await startServer();
    const report = await replayed(
      [
        { op: 'setq', key: 'a', value: '1', outcome: Outcome.silent },
        { op: 'getkq', key: 'none', outcome: Outcome.silent },
      ],
      { targets: [server.address], speed: 'max' },
    );
    expect(report.exchanges).toMatchObject({ matched: 2, violations: 0, untestable: 0 });
    await server.stop();
  });

  test('connections: as many as were recorded', async () => {
    const { target } = await against(
      ok,
      Array.from({ length: 12 }, (_, n) => missing(`k${n}`, { connection: n % 4 })),
    );
    // One more reached the target beforehand.
    expect(target.connections).toBe(5);
  });

  test('a TTL shrinks with the schedule, and an absolute one moves to now', async () => {
    const { target } = await against(
      ok,
      [
        stored('a', { extras: storeExtras(7, 100) }),
        stored('b', { extras: storeExtras(7, 1_700_000_600) }),
        stored('c', { extras: storeExtras(7, 0) }),
        { op: 'touch', key: 'd', extras: expiryExtras(50), answerExtras: Buffer.alloc(4) },
        { op: 'incr', key: 'e', extras: counterExtras(1n, 1n, 0xffffffff), status: 1 },
      ],
      { speed: 10 },
    );
    const expiries = target.requests.map(({ extras }) =>
      extras.readUInt32BE(extras.length === 8 ? 4 : extras.length - 4),
    );
    expect([expiries[0], expiries[2], expiries[3], expiries[4]]).toEqual([10, 0, 5, 0xffffffff]);
    expect(expiries[1]).toBe(60);
  });

  test('a CAS token is that of the same version on the target', async () => {
    const { report, target } = await against(
      ({ opcode }) =>
        opcode === Opcode.get ? { value: 'v', extras: Buffer.alloc(4), cas: 4242n } : { cas: 4243n },
      [
        { op: 'get', key: 'a', answer: 'v', answerCas: 17n },
        stored('a', { cas: 17n, answerCas: 18n, at: 10_000 }),
        stored('b', { cas: 99n, at: 20_000 }),
        stored('a', { cas: 18n, at: 30_000 }),
      ],
    );
    expect(target.requests.map(({ cas }) => cas)).toEqual([0n, 4242n, 4243n]);
    expect(report.skipped).toEqual({ 'unmappable-cas': 1 });
  });

  test('what the trace shows to have been there is set before', async () => {
    const server = await startServer();
    const run = { targets: [server.address] };
    const exchanges: ExchangeInit[] = [
      { op: 'get', key: 'value', answer: 'held', answerExtras: Buffer.from([0, 0, 0, 9]) },
      { op: 'append', key: 'list', value: '+end' },
      { op: 'get', key: 'list', answer: 'start+end' },
      {
        op: 'incr',
        key: 'counter',
        extras: counterExtras(5n, 0n, 0),
        answer: Buffer.from('000000000000002a', 'hex'),
      },
      { op: 'delete', key: 'gone' },
      { op: 'get', key: 'gone', status: 1 },
      missing('absent'),
      { op: 'add', key: 'taken', value: 'x', status: 2 },
    ];
    const report = await replayed(exchanges, run);
    expect(report.findings).toEqual([]);
    expect(report.prefill).toEqual({ keys: 5, failed: 0, leftover: 0 });
    expect(report.exchanges).toMatchObject({ matched: exchanges.length, drift: 0, violations: 0 });
    const without = await replayed(exchanges.slice(0, 1), {
      targets: [(await startServer()).address],
      prefill: 'none',
    });
    expect(without.drift).toEqual({ lost: 1 });
    await server.stop();
  });
});

/** Answers requests on slow keys late, everything else at once. */
const slow: Script = ({ opcode, opaque, key }, socket) => {
  if (!key.toString().startsWith('slow')) return opcode === Opcode.get ? { status: 1 } : {};
  setTimeout(() => {
    const answer = Buffer.alloc(24);
    answer[0] = 0x81;
    answer[1] = opcode;
    answer.writeUInt32BE(opaque, 12);
    socket.write(answer);
  }, 100);
  return undefined;
};

describe('order', () => {
  // Connection 0 stores slowly; connection 1 reads the same key once that was answered.
  const two: ExchangeInit[] = [
    stored('slow', { connection: 0, at: 0, answeredAt: 50 }),
    missing('other', { connection: 1, at: 100 }),
    missing('slow', { connection: 1, at: 200 }),
  ];

  test.each([
    ['none', 20],
    ['connection', 20],
    ['key', 90],
  ] as const)('%s: a read after another connection’s store', async (order, leastMs) => {
    const began: Record<string, number> = {};
    const { report } = await against(
      (request, socket, number) => {
        began[`${request.opcode} ${request.key.toString()}`] = performance.now();
        return slow(request, socket, number);
      },
      two,
      { order },
    );
    expect(report.exchanges.total).toBe(3);
    const waited = began['0 slow']! - began['1 slow']!;
    if (order === 'key') expect(waited).toBeGreaterThan(leastMs);
    else expect(waited).toBeLessThan(leastMs);
  });

  test.each([
    ['none', 20],
    ['connection', 90],
  ] as const)('%s: a request after an answer on its own connection', async (order, bound) => {
    const began: Record<string, number> = {};
    await against(
      (request, socket, number) => {
        began[request.key.toString()] = performance.now();
        return slow(request, socket, number);
      },
      [stored('slow', { at: 0, answeredAt: 50 }), stored('next', { at: 200 })],
      { order },
    );
    const waited = began['next']! - began['slow']!;
    if (order === 'none') expect(waited).toBeLessThan(bound);
    else expect(waited).toBeGreaterThan(bound);
  });

  test('of two that raced, the one that was answered first is sent first', async () => {
    const { target } = await against(ok, [
      stored('k', { connection: 0, value: 'late', at: 0, answeredAt: 50_000 }),
      stored('k', { connection: 1, value: 'early', at: 20_000, answeredAt: 30_000 }),
    ]);
    expect(target.requests.map(({ value }) => value.toString())).toEqual(['early', 'late']);
  });

  test('the pace is that of the recording', async () => {
    // Where others keep the processor for longer than the recording's gaps, what is late comes at once: tried again.
    for (let attempt = 1; ; attempt++) {
      const at: number[] = [];
      await against(
        () => {
          at.push(performance.now());
          return { status: 1 };
        },
        [0, 50_000, 100_000].map((time, n) => missing(`k${n}`, { at: time })),
      );
      const [first, second, third] = [at[1]! - at[0]!, at[2]! - at[1]!, at[2]! - at[0]!];
      if (first > 40 && second > 40 && third < 200) break;
      expect(attempt, `${first} and ${second} ms between them`).toBeLessThan(10);
    }
  });
});

test('an interrupted run tells what was done', async () => {
  const server = await startServer();
  const trace = temporary('long.tape');
  await writeTape(trace, [
    batchOf(Array.from({ length: 100 }, (_, n) => missing(`k${n}`, { at: n * 50_000 }))),
  ]);
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 300);
  const { end } = await replay({
    trace,
    results: temporary('x'),
    targets: [server.address],
    signal: controller.signal,
  });
  expect(end.aborted).toBe('interrupted');
  expect(end.durationNs).toBeLessThan(2e9);
  await server.stop();
});

test('many keys and connections at random, at max, in every order: all complete', async () => {
  const server = await startServer();
  const { Random } = await import('../../synth/laws/random.ts');
  for (const order of ['key', 'connection', 'none'] as const) {
    const random = new Random(9);
    const busy = new Map<number, number>();
    const exchanges = Array.from({ length: 4_000 }, (_, n): ExchangeInit => {
      const connection = random.int(40);
      const key = `k${random.int(20)}`;
      const at = n * 2;
      // Answers of one connection come in order.
      const answeredAt = Math.max(busy.get(connection) ?? 0, at + 1 + random.int(400));
      busy.set(connection, answeredAt);
      const flags = random.chance(0.2) ? RowFlag.sharesSegment : 0;
      const op = random.pick(['get', 'set', 'getkq', 'setq', 'noop'] as const);
      if (op === 'noop') return { op, connection, at, answeredAt, flags };
      const outcome = op.endsWith('q') ? Outcome.silent : Outcome.answered;
      return {
        op,
        key,
        value: op.startsWith('set') ? `v${n}` : '',
        connection,
        at,
        answeredAt,
        flags,
        outcome,
        status: op === 'get' ? 1 : 0,
      };
    });
    const report = await replayed(exchanges, {
      targets: [server.address],
      order,
      speed: 'max',
      timeoutMs: 2000,
    });
    expect(report.exchanges).toMatchObject({ total: 4_000, sent: 4_000, violations: 0, untestable: 0 });
  }
  await server.stop();
});
