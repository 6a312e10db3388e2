// The parts of the replayer that decide: expiry, gates, targets and routes, tokens, the order on a key.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { replayedExpiry } from '../../replayer/expiry.ts';
import { createGate, type Permission } from '../../replayer/gate.ts';
import { KeyOrder } from '../../replayer/order.ts';
import { createRoute, parseTarget } from '../../replayer/target.ts';
import { TokenMap } from '../../replayer/tokens.ts';
import { NEVER, RowFlag } from '../../trace/batch.ts';
import { SkipReason, skipReasonNames } from '../../trace/results.ts';
import { tokenOf } from '../../trace/token.ts';
import { batchOf, type ExchangeInit } from '../support/tape.ts';

describe('expiry', () => {
  const recordedAt = 1_700_000_000;
  const now = 1_800_000_000;
  test.each([
    ['none', 0, 10, 0],
    ['relative, at the recorded speed', 60, 1, 60],
    ['relative, faster', 60, 10, 6],
    ['relative, slower', 60, 0.5, 120],
    ['never less than a second', 3, 100, 1],
    ['absolute becomes what was left', recordedAt + 600, 1, 600],
    ['absolute, faster', recordedAt + 600, 10, 60],
    ['absolute and far away stays absolute', recordedAt + 10_000_000, 1, now + 10_000_000],
    ['absolute and past stays past', recordedAt - 5, 1, 2_592_001],
    ['the year 2106', 0xffffffff, 10, 0xffffffff],
  ])('%s', (_name, expiry, speed, expected) =>
    expect(replayedExpiry(expiry, speed, recordedAt, now)).toBe(expected),
  );
});

describe('gates', () => {
  const rows: [ExchangeInit, keyof typeof SkipReason, Permission?][] = [
    [{ op: 'get', key: 'k' }, 'none'],
    [{ op: 'quit' }, 'none'],
    [{ op: 'flush' }, 'gated', 'flush'],
    [{ op: 'flushq' }, 'gated', 'flush'],
    [{ op: 'stat' }, 'none'],
    [{ op: 'stat', key: 'items' }, 'none'],
    [{ op: 'stat', key: 'reset' }, 'gated', 'stat'],
    [{ op: 'stat', key: 'detail on' }, 'gated', 'stat'],
    [{ op: 'stat', key: 'sizes_enable' }, 'gated', 'stat'],
    [{ op: 'sasl-auth', key: 'PLAIN' }, 'auth'],
    [{ op: 'sasl-list' }, 'auth'],
    [{ op: 'get', key: 'k', flags: RowFlag.unsafe }, 'unsafe'],
    [{ op: 'get', key: 'k'.repeat(20_000) }, 'unsafe'],
  ];
  test.each(
    rows.map(
      ([init, reason, permission]) =>
        [`${init.op} ${(init.key ?? '').slice(0, 20)}`, init, reason, permission] as const,
    ),
  )('%s', (_name, init, reason, permission) => {
    const batch = batchOf([init]);
    expect(skipReasonNames[createGate(new Set())(batch, 0)]).toBe(reason);
    if (permission !== undefined)
      expect(skipReasonNames[createGate(new Set([permission]))(batch, 0)]).toBe('none');
  });

  test('an opcode that memcached does not know, with and without a body', () => {
    const batch = batchOf([{ op: 'noop' }, { op: 'get', key: 'k' }]);
    batch.opcode.fill(0x77, 0, 2);
    expect([0, 1].map((row) => createGate(new Set())(batch, row))).toEqual([
      SkipReason.none,
      SkipReason.unsafe,
    ]);
  });
});

describe('targets and routes', () => {
  test.each([
    ['host', 'host:11211'],
    ['host:1', 'host:1'],
    ['10.0.0.1:11212', '10.0.0.1:11212'],
    ['[::1]:5', '[::1]:5'],
    ['[::1]', '[::1]:11211'],
  ])('%s', (text, address) => expect(parseTarget(text).address).toBe(address));

  test.each(['', ':1', 'a b', 'host:0', 'host:70000', '::1', 'host:1:2', 'http://host'])(
    '"%s" is none',
    (text) => expect(() => parseTarget(text)).toThrow(/expected/),
  );

  test('single wants one target, index one for each server', () => {
    const targets = ['a:1', 'b:2', 'c:3'].map(parseTarget);
    expect(createRoute('single', targets.slice(0, 1), 3).ofServer(2)).toBe(0);
    expect(createRoute('index', targets, 3).ofServer(2)).toBe(2);
    expect(() => createRoute('single', targets, 3)).toThrow(/--route index/);
    expect(() => createRoute('index', targets.slice(0, 2), 3)).toThrow(/expects a target for each of the 3/);
  });
});

test('tokens: only those that requests name are kept', () => {
  const map = new TokenMap(new Set([tokenOf(1, 7)]));
  expect([map.isNeeded(tokenOf(1, 7)), map.isNeeded(tokenOf(1, 8))]).toEqual([true, false]);
});

describe('the order on a key', () => {
  interface Op {
    request: number;
    finish: number;
    mutates: boolean;
  }
  const op = fc.record({ gap: fc.nat(3), lasts: fc.integer({ min: -1, max: 12 }), mutates: fc.boolean() });
  const ops = fc.array(op, { maxLength: 30 }).map((list): Op[] => {
    let now = 0;
    return list.map(({ gap, lasts, mutates }) => {
      now += gap;
      return { request: now, finish: lasts < 0 ? NEVER : now + lasts, mutates };
    });
  });

  /** A CAS id for what has one: as of a server that executed each somewhere between its request and its answer. */
  const executed = (all: readonly Op[], moments: readonly number[]): number[] => {
    const at = all.map(({ request, finish }, n) =>
      finish === NEVER ? Infinity : request + moments[n % moments.length]! * (finish - request),
    );
    let version = 0;
    const cas = all.map(() => 0);
    for (const n of at.map((_, index) => index).toSorted((x, y) => at[x]! - at[y]!)) {
      if (all[n]!.finish === NEVER) continue;
      if (all[n]!.mutates) version++;
      cas[n] = version;
    }
    return cas;
  };

  const precedes = (all: readonly Op[], cas: readonly number[], a: number, b: number): boolean =>
    cas[a] !== 0 &&
    cas[b] !== 0 &&
    (cas[a]! < cas[b]! || (cas[a] === cas[b] && all[a]!.mutates && !all[b]!.mutates));

  /** The latest time at which it can have been executed. */
  const executedBy = (all: readonly Op[], cas: readonly number[], n: number): number =>
    Math.min(
      all[n]!.finish,
      ...all.flatMap(({ finish }, m) => (finish !== NEVER && precedes(all, cas, n, m) ? [finish] : [])),
    );

  /** The slow, obvious rule. */
  const mayGo = (all: readonly Op[], cas: readonly number[], n: number, done: ReadonlySet<number>): boolean =>
    all.every((other, m) => {
      if (m === n || other.finish === NEVER || done.has(m)) return true;
      const { request, finish, mutates } = all[n]!;
      if (m < n && other.finish < request) return false;
      if (finish === NEVER || !(mutates || other.mutates)) return true;
      const [mine, its] = [executedBy(all, cas, n), executedBy(all, cas, m)];
      return !(its < mine || (its === mine && precedes(all, cas, m, n)));
    });

  const moments = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 30 });

  test.each([
    ['by the time of the answers', false],
    ['by CAS ids', true],
  ])(
    '%s: the same as the rule, whatever is sent and completed when; and somebody may always go',
    (_name, hasCas) => {
      fc.assert(
        fc.property(ops, moments, fc.infiniteStream(fc.nat(1000)), (all, when, choices) => {
          const order = new KeyOrder<number>(() => undefined);
          const key = order.key('k');
          const cas = hasCas ? executed(all, when) : all.map(() => 0);
          const nodes = all.map(({ request, finish, mutates }, n) => {
            const node = order.load(key, n, request, finish, finish, mutates, cas[n]!);
            return { node, required: key.ranked };
          });
          const sent = new Set<number>();
          const done = new Set<number>();
          const ready = (n: number): boolean =>
            key.done >= nodes[n]!.required && !order.isHeld(key, nodes[n]!.node);
          while (done.size < all.length) {
            const waiting = all.map((_op, n) => n).filter((n) => !sent.has(n));
            for (const n of waiting) expect(ready(n)).toBe(mayGo(all, cas, n, done));
            const able = waiting.filter(ready);
            const open = [...sent].filter((n) => !done.has(n));
            expect(able.length + open.length).toBeGreaterThan(0);
            const pick = choices.next().value as number;
            const n = pick % (able.length + open.length);
            if (n < able.length) sent.add(able[n]!);
            else {
              const complete = open[n - able.length]!;
              order.complete(key, nodes[complete]!.node);
              done.add(complete);
            }
          }
          expect(order.size).toBe(all.length === 0 ? 1 : 0);
        }),
      );
    },
  );

  test('requests of one connection do not wait for each other; one that was pipelined goes by the time', () => {
    const order = new KeyOrder<string>(() => undefined);
    const key = order.key('k');
    const first = order.load(key, 'a', 0, 10, 10, true, 2);
    const same = order.load(key, 'a', 1, 11, 11, true, 3);
    const other = order.load(key, 'b', 2, 9, 9, true, 4);
    // By the CAS ids, the two of a were executed by 9, when the other was answered.
    expect([order.isHeld(key, same), order.isHeld(key, other)]).toEqual([false, true]);
    order.pipelined(other);
    // What it told of the others stays true; it goes by the time of its answer.
    expect([order.isHeld(key, first), order.isHeld(key, other)]).toEqual([false, false]);
    order.complete(key, other);
    expect([order.isHeld(key, first), order.isHeld(key, same)]).toEqual([false, false]);
  });
});
