// Requests that came in parts leave in parts: where they are cut, how far apart the two writes are, that nothing comes in
// between, and that a server which mixes up partial bodies is found.

import { createServer, type AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { FrameDecoder } from '../../protocol/decoder.ts';
import { encodeResponse, readFrame, storeExtras } from '../../protocol/frame.ts';
import { HEADER_BYTES, Magic, bodyLengthAt } from '../../protocol/header.ts';
import { Opcode, isQuiet } from '../../protocol/opcode.ts';
import { Random } from '../../synth/laws/random.ts';
import { Outcome, RowFlag } from '../../trace/batch.ts';
import { startMemcached } from '../support/memcached.ts';
import { kindsOf, replayed, type Run } from '../support/replay.ts';
import type { ExchangeInit } from '../support/tape.ts';

const stops: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

interface Reads {
  address: string;
  /** Of the last connection: when bytes came, ms, and which. */
  reads: { at: number; data: Buffer }[];
}

/** Stores what comes. @param forgets the server takes what one read has of a body for all of it */
async function startReader(forgets = false): Promise<Reads> {
  const items = new Map<string, Buffer>();
  const server = createServer((socket) => {
    reader.reads = [];
    const decoder = new FrameDecoder(
      {
        frame: (data, at, end) => {
          const { opcode, opaque, key, value } = readFrame(data, at, end);
          const name = key.toString('latin1');
          const hit = items.get(name);
          if (value.length > 0) items.set(name, Buffer.from(value));
          if (isQuiet[opcode] === 1) return;
          const isHit = opcode === Opcode.get && hit !== undefined;
          socket.write(
            isHit
              ? encodeResponse({ opcode, opaque, extras: Buffer.alloc(4), value: hit })
              : encodeResponse({ opcode, opaque, status: opcode === Opcode.get ? 1 : 0 }),
          );
        },
      },
      { magic: Magic.request },
    );
    let swallow = 0;
    socket.on('error', () => undefined);
    socket.on('data', (data: Buffer) => {
      reader.reads.push({ at: performance.now(), data: Buffer.from(data) });
      const bytes = data.subarray(Math.min(swallow, data.length));
      swallow -= data.length - bytes.length;
      const missing = forgets && bytes.length > 0 ? HEADER_BYTES + bodyLengthAt(bytes, 0) - bytes.length : 0;
      if (missing > 0) swallow = missing;
      decoder.push(missing > 0 ? Buffer.concat([bytes, Buffer.alloc(missing)]) : bytes, 0);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stops.push(() => void server.close());
  const reader: Reads = { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, reads: [] };
  return reader;
}

const value = 'v'.repeat(100);

describe('where a request is cut', () => {
  const cases: [string, ExchangeInit, number[]][] = [
    ['half of the value', { op: 'set', key: 'key', value }, [24 + 8 + 3 + 50, 50]],
    ['before a value of one byte', { op: 'set', key: 'key', value: 'v' }, [24 + 8 + 3, 1]],
    ['within the key of what has no value', { op: 'get', key: 'absent', status: 1 }, [24 + 3, 3]],
    ['nowhere, where there is no body', { op: 'noop' }, [24]],
  ];
  for (const speed of [1, 'max'] as const)
    test.each(cases)(`%s, at ${speed}`, async (_name, row, lengths) => {
      const reader = await startReader();
      const exchanges = [{ ...row, at: 0, endAt: 3000, answeredAt: 4000 }];
      const report = await replayed(exchanges, { targets: [reader.address], split: 'recorded', speed });
      expect([report.verdict, reader.reads.map(({ data }) => data.length)]).toEqual(['pass', lengths]);
      await replayed(exchanges, { targets: [reader.address], speed });
      expect(reader.reads.map(({ data }) => data.length)).toEqual([lengths.reduce((sum, n) => sum + n)]);
    });
});

test.each([
  [1, 400],
  [2, 200],
])(
  'the two parts are as far apart as recorded, at %i×, and nothing comes in between',
  async (speed, apart) => {
    const reader = await startReader();
    const exchanges: ExchangeInit[] = [
      { op: 'setq', key: 'a', value: '1', at: 0, outcome: Outcome.silent, answeredAt: 450_000 },
      {
        op: 'set',
        key: 'key',
        value,
        at: 0,
        flags: RowFlag.sharesSegment,
        endAt: 400_000,
        answeredAt: 450_000,
      },
      { op: 'get', key: 'x', status: 1, at: 0, flags: RowFlag.sharesSegment, answeredAt: 460_000 },
      { op: 'setq', key: 'b', value: '1', at: 10_000, outcome: Outcome.silent, answeredAt: 700_000 },
    ];
    // A time-out shorter than the distance is counted from the second part.
    const run: Run = {
      targets: [reader.address],
      split: 'recorded',
      order: 'none',
      speed,
      timeoutMs: 300 / speed,
    };
    const report = await replayed(exchanges, run);
    expect([report.verdict, report.exchanges.matched, report.incidents.count]).toEqual(['pass', 4, 0]);
    const [first, second] = reader.reads;
    expect(first!.data.length).toBe(24 + 8 + 1 + 1 + (24 + 8 + 3 + 50));
    expect(second!.data.subarray(0, 50).toString()).toBe(value.slice(50));
    // The reader may be late for either of them.
    expect(second!.at - first!.at).toBeGreaterThan(apart / 2);
    expect(second!.at - first!.at).toBeLessThan(apart * 1.5);
  },
);

test.each([1, 'max'] as const)('a server that mixes up partial bodies is found, at %s', async (speed) => {
  const exchanges: ExchangeInit[] = [
    { op: 'set', key: 'k', value, at: 0, endAt: 2000, answeredAt: 3000 },
    { op: 'get', key: 'k', answer: value, at: 10_000 },
  ];
  const { address } = await startReader(true);
  expect((await replayed(exchanges, { targets: [address], speed })).verdict).toBe('pass');
  const report = await replayed(exchanges, { targets: [address], speed, split: 'recorded' });
  expect(kindsOf(report)).toEqual(['violation wrong-value 1']);
});

test('memcached: everything matches, in every order, at every speed, with workers', async () => {
  const random = new Random(3);
  const busy = new Map<number, number>();
  const values = new Map<string, string>();
  const exchanges = Array.from({ length: 1500 }, (_, n): ExchangeInit => {
    const connection = n % 15;
    const at = n * 40;
    const endAt = at + random.pick([0, 0, 5, 20] as const);
    const answeredAt = Math.max(busy.get(connection) ?? 0, endAt + 5);
    busy.set(connection, answeredAt);
    const key = `key:${connection}:${random.int(4)}`;
    const common = { connection, at, endAt, answeredAt, key };
    const op = random.pick(['get', 'set', 'setq', 'noop'] as const);
    const text = `${n} `.repeat(1 + random.int(30));
    if (op === 'noop') return { ...common, op, key: '' };
    if (op !== 'get') {
      values.set(key, text);
      const outcome = op === 'set' ? Outcome.answered : Outcome.silent;
      return { ...common, op, value: text, extras: storeExtras(0, 0), outcome };
    }
    const answer = values.get(key);
    return { ...common, op, ...(answer === undefined ? { status: 1 } : { answer }) };
  });
  for (const [order, speed, workers] of [
    ['none', 1, 1],
    ['connection', 'max', 1],
    ['key', 'max', 1],
    ['key', 20, 1],
    ['key', 1, 2],
  ] as const) {
    const server = await startMemcached();
    stops.push(async () => server.stop());
    const timeoutMs = 5000;
    const run = { targets: [server.address], order, speed, workers, timeoutMs, split: 'recorded' } as const;
    const report = await replayed(exchanges, run);
    expect([report.verdict, report.exchanges.matched, report.incidents.count]).toEqual(['pass', 1500, 0]);
  }
});
