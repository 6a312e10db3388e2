// Hundreds of requests on one key under way at once, of connections that send without waiting, as a server executed them:
// an order is found, and quickly. Without that, such keys take minutes, and stay undecided.

import { expect, test } from 'vitest';
import { Random } from '../../synth/random.ts';
import { explained } from '../support/explained.ts';
import { isRead, type Played } from '../support/histories.ts';

const CONNECTIONS = 50;
const EACH = 30;

/** What a server answers that takes the connections' requests by turns, at random. */
function race(seed: number, quiet: number): Played[] {
  const random = new Random(seed);
  const left = Array.from({ length: CONNECTIONS }, () => EACH);
  const steps: Played[] = [];
  let thing: { value: string; id: number } | undefined;
  let lastId = 0;
  for (let at = 1; at <= CONNECTIONS * EACH; at++) {
    let connection = random.int(CONNECTIONS);
    while (left[connection] === 0) connection = (connection + 1) % CONNECTIONS;
    const number = EACH - left[connection]!--;
    const op = random.pick(['get', 'get', 'get', 'set', 'add', 'delete', 'append', 'replace'] as const);
    // Sent long before, in segments of many; answered soon after.
    const from = Math.max(0, Math.min(at - 1, Math.floor(number / 10) * 300)) / 1000;
    const to = (at + random.int(40)) / 1000;
    const isQuiet = random.chance(quiet);
    const step: Played = {
      op,
      from,
      to,
      recordedTo: to,
      connection,
      quiet: isQuiet,
      status: 0,
      ttl: 0,
      flags: 0,
      token: 0,
      recordedToken: 0,
      recorded: { status: 0, silent: false, cas: 0 },
    };
    if (op !== 'get' && op !== 'delete') step.value = `${seed}.${at};`;
    if (op === 'get' || op === 'replace' || op === 'delete') step.status = thing === undefined ? 1 : 0;
    else if (op === 'append') step.status = thing === undefined ? 5 : 0;
    else if (op === 'add') step.status = thing === undefined ? 0 : 2;
    if (step.status === 0) {
      if (op === 'get') step.read = thing!.value;
      else if (op === 'delete') thing = undefined;
      else thing = { value: op === 'append' ? thing!.value + step.value! : step.value!, id: ++lastId };
      if (op === 'get') step.readFlags = 0;
    }
    step.silent = isQuiet && step.status === (isRead(op) ? 1 : 0);
    step.cas = step.status === 0 && !step.silent ? (thing?.id ?? 0) : 0;
    const { status, silent, cas, read, readFlags } = step;
    step.recorded = {
      status,
      silent,
      cas,
      ...(op === 'get' && status === 0 ? { read: read!, readFlags: readFlags! } : {}),
    };
    steps.push(step);
  }
  return steps.toSorted((a, b) => a.from - b.from);
}

test('1,500 requests of 50 connections, of which each change told its id: an order is found at once', () => {
  for (let seed = 1; seed <= 12; seed++) {
    const { wrong, undecided, cost, work } = explained(race(seed, 0));
    expect({ seed, wrong, undecided, cost, work }).toEqual({
      seed,
      wrong: [],
      undecided: [],
      cost: 0,
      work: 0,
    });
  }
});

test('with quiet changes among them some stay undecided, and none is called wrong, with bounded work', () => {
  const { wrong, work, operations } = explained(race(1, 0.02));
  expect(wrong).toEqual([]);
  expect(work).toBeLessThan(1500 * operations);
});
