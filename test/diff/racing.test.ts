// Hundreds of requests on one key under way at once, of connections that send without waiting, as a server executed them:
// an order is found, and quickly. Without that, such keys take minutes, and stay undecided.

import { expect, test } from 'vitest';
import { Random } from '../../synth/laws/random.ts';
import { explained, passes } from '../support/explained.ts';
import { isRead, type Played } from '../support/histories.ts';

const CONNECTIONS = 50;
const EACH = 30;

const bursts = ['get', 'get', 'get', 'set', 'add', 'delete', 'append', 'replace'] as const;
const plain = ['get', 'get', 'get', 'set'] as const;
const additions = ['get', 'get', 'set', 'add', 'add', 'add', 'delete', 'delete', 'delete'] as const;
const stores = ['get', 'get', 'get', 'get', 'get', 'set', 'add', 'replace', 'delete'] as const;
const removals = ['get', 'get', 'get', 'get', 'set', 'set', 'add', 'delete', 'delete'] as const;

interface Traffic {
  /** Share of the requests that are quiet. */
  quiet?: number;
  mix?: readonly Played['op'][];
  /** So many requests at most are executed between the sending of one and its execution; by default they are sent in bursts. */
  waits?: number;
}

/** What a server answers that takes the connections' requests by turns, at random. */
function race(seed: number, { quiet = 0, mix = bursts, waits }: Traffic = {}): Played[] {
  const random = new Random(seed);
  const sentAt = new Float64Array(CONNECTIONS);
  const left = Array.from({ length: CONNECTIONS }, () => EACH);
  const steps: Played[] = [];
  let thing: { value: string; id: number } | undefined;
  let lastId = 0;
  for (let at = 1; at <= CONNECTIONS * EACH; at++) {
    let connection = random.int(CONNECTIONS);
    while (left[connection] === 0) connection = (connection + 1) % CONNECTIONS;
    const number = EACH - left[connection]!--;
    const op = random.pick(mix);
    // Sent long before, in segments of many; answered soon after.
    const sent = waits === undefined ? Math.floor(number / 10) * 300 : at - 1 - random.int(waits);
    sentAt[connection] = Math.max(sentAt[connection]!, Math.min(at - 1, sent));
    const from = sentAt[connection]! / 1000;
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
    const { wrong, undecided, cost, work } = explained(race(seed));
    expect({ seed, wrong, undecided, cost, work }).toEqual({
      seed,
      wrong: [],
      undecided: [],
      cost: 0,
      work: 0,
    });
  }
});

test('where many are removals, each miss finds one: an order is found at once', () => {
  for (let seed = 1; seed <= 12; seed++) {
    const { wrong, undecided, work } = explained(race(seed, { mix: removals, waits: 200 }));
    expect({ seed, wrong, undecided, work }).toEqual({ seed, wrong: [], undecided: [], work: 0 });
  }
});

test('where many are additions that need a removal before each: an order is found at once', () => {
  for (let seed = 1; seed <= 16; seed++) {
    const { wrong, undecided, work } = explained(race(seed, { mix: additions, waits: 100 }));
    expect({ seed, wrong, undecided, work }).toEqual({ seed, wrong: [], undecided: [], work: 0 });
  }
});

test('quiet stores of every sort have the id of a read that showed their value: most keys need no search', () => {
  let searched = 0;
  for (let seed = 1; seed <= 16; seed++) {
    const { wrong, work } = explained(race(seed, { mix: stores, waits: 40, quiet: 0.005 }));
    expect({ seed, wrong }).toEqual({ seed, wrong: [] });
    if (work > 0) searched++;
  }
  expect(searched).toBeLessThanOrEqual(6);
});

test('with quiet changes among them some stay undecided, and none is called wrong, with bounded work', () => {
  const { wrong, work, operations } = explained(race(1, { quiet: 0.02 }));
  expect(wrong).toEqual([]);
  expect(work).toBeLessThan(1500 * operations);
});

test('stores and reads that overtake each other need no search, unless one read what was replaced before', () => {
  for (let seed = 1; seed <= 12; seed++) {
    const random = new Random(seed);
    // Misses before the first store are left out: then something was there, which nobody read.
    const before = { value: 'before', flags: 0 };
    const all = race(seed, { mix: plain, waits: 12 }).filter(({ status }) => status === 0);
    const places = new Map(all.map((step, n) => [step, n + random.int(12)]));
    const inTrace = all.toSorted((a, b) => places.get(a)! - places.get(b)!);
    expect({ seed, passes: passes(inTrace, before) }).toEqual({ seed, passes: true });
    const late = inTrace.findLast(({ op }) => op === 'get')!;
    const early = inTrace.find(({ op }) => op === 'set')!;
    Object.assign(late, { cas: early.cas, read: early.value });
    expect({ seed, passes: passes(inTrace, before) }).toEqual({ seed, passes: false });
  }
});
