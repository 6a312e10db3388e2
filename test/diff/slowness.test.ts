// Who is slow: of each key how many answers were, whatever order they come in and however many there are.

import { expect, test } from 'vitest';
import { Attribution, type Culprit } from '../../diff/attribution.ts';
import type { ItemNumbers } from '../../diff/numbers.ts';
import { Samples } from '../../diff/samples.ts';
import type { Sides } from '../../diff/sides.ts';
import { Slowness } from '../../diff/slowness.ts';
import { Random } from '../../synth/laws/random.ts';
import type { SurveyedConnection } from '../../trace/survey.ts';

interface Answer {
  item: number;
  connection: number;
  tookMicros: number;
}

const KEYS = 2000;
/** Items as the judgement numbers them: key n is on server n mod 3. */
const numbers = {
  count: KEYS,
  nameOf: (number: number) => ({ target: number % 3, space: 0, key: `key:${number}` }),
} as ItemNumbers;

function sidesOf(connections: readonly SurveyedConnection[]): Sides {
  return { address: (target: number) => `server ${target}`, survey: { connections, tenants: [''] } } as Sides;
}

const tenantsOf = (names: readonly string[]): SurveyedConnection[] =>
  names.map((tenant, id) => ({ id, tenant, space: 0 }) as SurveyedConnection);

/** Who is slow, of these answers; undefined where nobody is asked. */
function slow(answers: Iterable<Answer>, connections = tenantsOf([''])): Culprit[] | undefined {
  const took = new Samples();
  const slowness = new Slowness(took, connections);
  let n = 0;
  for (const { item, connection, tookMicros } of answers) {
    took.record(Math.round(tookMicros));
    slowness.add(item, connection, tookMicros * 1000, n++ * 1000);
  }
  const attribution = new Attribution('mostly');
  return slowness.tell(attribution, numbers, sidesOf(connections)) ? attribution.culprits('slow') : undefined;
}

function* answers(
  count: number,
  isSlow: (item: number, connection: number) => boolean,
  quickMicros = 200,
): Generator<Answer> {
  const random = new Random(7);
  for (let n = 0; n < count; n++) {
    const item = random.int(KEYS);
    const connection = random.int(4);
    const times = isSlow(item, connection) ? 30 : 1;
    yield { item, connection, tookMicros: quickMicros * times * (0.5 + random.float()) };
  }
}

test('nobody is asked for where all take alike', () => {
  expect(slow(answers(20_000, () => false))).toBeUndefined();
});

test('one of three servers', () => {
  const [first] = slow(answers(20_000, (item) => item % 3 === 1))!;
  expect([first!.factor, first!.value, first!.explained]).toEqual(['server', 'server 1', 1]);
});

test('and so where there are many times more slow answers than are remembered, all of which take long', () => {
  const [first] = slow(answers(1_500_000, (item) => item % 3 === 1, 4000))!;
  expect([first!.factor, first!.value]).toEqual(['server', 'server 1']);
  expect(first!.explained).toBeGreaterThan(0.95);
});

test('one of four tenants that share their keys', () => {
  const tenants = tenantsOf(['a', 'b', 'c', 'd']);
  const [first] = slow(
    answers(40_000, (_, connection) => connection === 2),
    tenants,
  )!;
  expect([first!.factor, first!.value]).toEqual(['tenant', 'c']);
});
