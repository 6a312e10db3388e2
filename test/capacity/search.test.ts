// The search for a ceiling, against targets that are a number and some noise.

import { expect, test } from 'vitest';
import { MOST_STEPS, Search, type Found, type Outcome, type Tried } from '../../capacity/search.ts';

const options = { start: 1000, max: 1_000_000, growth: 2, precision: 0.03, repeats: 3 };

/** A generator of numbers below 1 that is the same for the same seed. */
function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

async function found(
  of: (rate: number) => Outcome,
  more: Partial<typeof options> = {},
): Promise<Found & { tries: Tried[] }> {
  const tries: Tried[] = [];
  const search = new Search({ ...options, ...more }, async (rate) => {
    const tried = { rate, outcome: of(rate), isSure: false };
    tries.push(tried);
    return tried;
  });
  await search.run();
  return { ...search.found, tries };
}

test('the ceiling of a thousand targets, without noise', async () => {
  const random = numbers(1);
  for (let run = 0; run < 1000; run++) {
    const ceiling = 20 * 10 ** (random() * 4.5);
    const { ceiling: told, above, tries } = await found((rate) => (rate <= ceiling ? 'holds' : 'fails'));
    expect(told! <= ceiling && ceiling < above!, `${told} ${ceiling} ${above}`).toBe(true);
    expect(above! / told!).toBeLessThan(1.04);
    expect(tries.filter(({ rate }) => rate === told)).toHaveLength(3);
    expect(tries.length).toBeLessThan(30);
  }
});

test('a step in twenty fails by chance, one in ten is void: within 5% nevertheless', async () => {
  const random = numbers(2);
  let near = 0;
  for (let run = 0; run < 1000; run++) {
    const ceiling = 1000 * 10 ** (random() * 2);
    const { ceiling: told, tries } = await found((rate) => {
      if (random() < 0.1) return 'void';
      if (random() < 0.05) return 'fails';
      return rate <= ceiling ? 'holds' : 'fails';
    });
    if (told !== null && Math.abs(told / ceiling - 1) < 0.05) near++;
    expect(tries.length).toBeLessThanOrEqual(MOST_STEPS);
  }
  expect(near).toBeGreaterThan(930);
});

test('an edge that is chance comes to an end, near the edge', async () => {
  const random = numbers(3);
  for (let run = 0; run < 200; run++) {
    const { ceiling, tries } = await found((rate) => {
      const chance = 1 / (1 + Math.exp((rate - 10_000) / 200));
      return random() < chance ? 'holds' : 'fails';
    });
    expect(tries.length).toBeLessThanOrEqual(MOST_STEPS);
    expect(Math.abs(ceiling! / 10_000 - 1)).toBeLessThan(0.15);
  }
});

test('a wrong answer decides at once', async () => {
  const tries: number[] = [];
  const search = new Search(options, async (rate) => {
    tries.push(rate);
    return { rate, outcome: rate > 5000 ? 'fails' : 'holds', isSure: true };
  });
  await search.run();
  expect(search.found.ceiling).toBeGreaterThan(4850);
  expect(tries.filter((rate) => rate > 5000)).toHaveLength(new Set(tries.filter((rate) => rate > 5000)).size);
});

test.each<[name: string, of: (rate: number) => Outcome, more: Partial<typeof options>, told: Partial<Found>]>(
  [
    ['nothing holds', () => 'fails', {}, { ceiling: null, limit: 'fails' }],
    ['everything holds', () => 'holds', { max: 5000 }, { ceiling: 5000, above: null, limit: null }],
    ['we are the limit', (rate) => (rate > 4000 ? 'void' : 'holds'), {}, { ceiling: 4000, limit: 'void' }],
    ['nothing can be judged', () => 'thin', {}, { ceiling: null, limit: 'thin' }],
    ['the first rate is the highest', () => 'holds', { start: 9000, max: 5000 }, { ceiling: 5000 }],
  ],
)('%s', async (_, of, more, told) => expect(await found(of, more)).toMatchObject(told));
