// The oracle against brute force that was written apart from it, on random histories of all operations: what some order
// allows is never called wrong, and what none allows always is. ORACLE_RUNS says how many (`npm run proof oracle`), and
// ORACLE_SEED where they begin.

import { expect, test } from 'vitest';
import { glance, isSound } from '../../diff/glance.ts';
import { Operations } from '../../diff/gather.ts';
import { neverThere, prefilled, Step } from '../../diff/item.ts';
import { circumstancesOf } from '../../diff/keys.ts';
import { explain } from '../../diff/search.ts';
import { isFlush } from '../../protocol/semantics.ts';
import { Random } from '../../synth/laws/random.ts';
import { isLegal } from '../support/brute.ts';
import { explained, passes } from '../support/explained.ts';
import { cutOff, mutate, randomHistory, rowsOf, settleTokens, type Played } from '../support/histories.ts';

const RUNS = Number(process.env['ORACLE_RUNS'] ?? 2_500);
const SEED = Number(process.env['ORACLE_SEED'] ?? 1);
const clock = { speed: 1, recordedAtSeconds: 1_700_000_000 };

type Initial = { value: string; flags: number } | null;

interface Said {
  /** The search finds no order. */
  wrong: boolean;
  undecided: boolean;
  /** An answer has not even the form of one: it is wrong without a history. */
  isMisshapen: boolean;
}

function shuffled<T>(all: readonly T[], random: Random): T[] {
  return all
    .map((one) => ({ one, at: random.float() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ one }) => one);
}

function said(steps: readonly Played[], initial: Initial, mayRestart: boolean): Said {
  const { batch, results } = rowsOf(steps);
  const operations = new Operations(clock);
  let isMisshapen = false;
  for (let row = 0; row < batch.count; row++) {
    if (isFlush(batch.opcode[row]!)) {
      operations.addFlush('0 0', batch, row, results, row);
      continue;
    }
    const seen = glance(batch, row, results, row);
    if (typeof seen !== 'string' && !isSound(seen) && seen.class === 'violation' && seen.kind !== 'closed')
      isMisshapen = true;
    operations.add(0, batch, row, results, row, isSound(seen), seen === 'suspect', false);
  }
  const { operations: all } = operations.of(0, '0 0', 'recording');
  const about = circumstancesOf({ hidesValues: false, hidesNumbers: false }, operations, all, {
    isShort: false,
    mayRestart,
  });
  const item =
    initial === null ? neverThere : prefilled(operations.values.number(initial.value), initial.flags);
  const { wrong, undecided } = explain(all, item, about);
  return {
    wrong: wrong.length > 0 || isMisshapen,
    undecided: undecided.length > 0,
    isMisshapen,
  };
}

test('what some order allows is never called wrong, and what none allows always is', () => {
  const counts = { legal: 0, illegal: 0, passed: 0, shuffled: 0 };
  for (let run = 0; run < RUNS; run++) {
    const random = new Random(SEED * 1_000_003 + run);
    const restarts = random.chance(0.2);
    const { steps, initial } = randomHistory(random, restarts);
    if (random.chance(0.15)) cutOff(steps, random);
    const changed: string[] = [];
    for (let times = random.pick([0, 1, 1, 1, 2]); times > 0; times--)
      changed.push(mutate(steps, random) ?? '');
    if (!settleTokens(steps)) continue;
    const isRight = isLegal(steps, initial, restarts);
    const { wrong, undecided, isMisshapen } = said(steps, initial, restarts);
    const about = (): string =>
      `seed ${SEED} run ${run}${restarts ? ', may restart' : ''}: ${changed.join(', ')} ${JSON.stringify({ initial, steps }, (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value), 1)}`;
    if (isRight) counts.legal++;
    else counts.illegal++;
    expect(undecided, about()).toBe(false);
    expect(wrong, about()).toBe(!isRight);
    if (isMisshapen) continue;
    // The first look may send anything on to the search, and must not let pass what that refuses; nor where requests left in
    // another order than the trace has them.
    for (const order of [steps, shuffled(steps, random)]) {
      if (!passes(order, initial)) continue;
      expect(isRight, about()).toBe(true);
      if (order === steps) counts.passed++;
      else counts.shuffled++;
    }
  }
  expect(counts.illegal).toBeGreaterThan(RUNS / 20);
  expect(counts.legal).toBeGreaterThan(RUNS / 20);
  expect(counts.passed).toBeGreaterThan(RUNS / 200);
  expect(counts.shuffled).toBeGreaterThan(RUNS / 200);
});

test('a loss is certain only where all orders were tried', () => {
  let doubtful = 0;
  for (let run = 0; run < 3; run++) {
    const random = new Random(SEED * 1009 + run);
    const steps: Played[] = [];
    let value: bigint | undefined;
    // Ever so many requests under way at once, executed one after the other; nothing is lost, and nothing is told of ids.
    for (let point = 0; point < 120; point++) {
      const op = random.pick(['delete', 'add', 'incr', 'incr'] as const);
      const isStored = op === 'add' && value === undefined;
      const status = isStored || (op !== 'add' && value !== undefined) ? 0 : op === 'add' ? 2 : 1;
      if (isStored) value = 9n;
      else if (op === 'delete') value = undefined;
      else if (op === 'incr' && value !== undefined) value++;
      const result = op === 'incr' && status === 0 ? { result: value! } : {};
      const from = Math.max(0, point - random.int(25)) / 1000;
      const to = (point + 1 + random.int(25)) / 1000;
      steps.push({
        op,
        from,
        to,
        recordedTo: to,
        connection: point,
        quiet: false,
        status,
        ttl: 0,
        ...(op === 'add' ? { value: '9', flags: 0 } : {}),
        ...(op === 'incr' ? { delta: 1n, initial: 0n } : {}),
        ...result,
        token: 0,
        recordedToken: 0,
        recorded: { status, silent: false, cas: 0, ...result },
      });
    }
    steps.sort((a, b) => a.from - b.from);
    const { order, isWhole } = explained(steps);
    const isLost = order.some(({ step }) => step === Step.evicted);
    if (isLost) expect(isWhole).toBe(false);
    if (isLost) doubtful++;
  }
  expect(doubtful).toBeGreaterThan(0);
});
