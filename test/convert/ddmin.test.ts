// ddmin against what is known of its answer: random needed subsets, and predicates that follow no rule.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ddmin } from '../../convert/ddmin.ts';

const upTo = (length: number): number[] => Array.from({ length }, (_, n) => n);

test('finds exactly the items that are needed', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 300 }), fc.infiniteStream(fc.nat()), async (length, draws) => {
      const items = upTo(length);
      const needed = new Set<number>();
      for (const draw of draws) {
        if (length === 0 || needed.size >= Math.min(8, length) || draw % 5 === 0) break;
        needed.add(draw % length);
      }
      const { kept, isMinimal } = await ddmin(items, async (part) => {
        const there = new Set(part);
        return [...needed].every((item) => there.has(item));
      });
      expect(kept).toEqual([...needed].toSorted((a, b) => a - b));
      expect(isMinimal).toBe(true);
    }),
    { numRuns: 300 },
  );
});

test('of predicates without a rule, ends with a part that holds, and of which no single item can go', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 60 }), fc.func(fc.boolean()), async (length, verdict) => {
      const items = upTo(length);
      const holds = (part: readonly number[]): boolean => part.length === length || verdict(part);
      const { kept } = await ddmin(items, async (part) => holds(part));
      expect(holds(kept)).toBe(true);
      for (const item of kept) expect(holds(kept.filter((other) => other !== item))).toBe(false);
    }),
    { numRuns: 300 },
  );
});

test('of a predicate that answers by chance, ends, and with a part that held', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 60 }),
      fc.infiniteStream(fc.boolean()),
      async (length, chance) => {
        const held = [upTo(length)];
        const { kept } = await ddmin(held[0]!, async (part) => {
          const answer = chance.next().value === true;
          if (answer) held.push([...part]);
          return answer;
        });
        expect(kept).toEqual(held.at(-1));
      },
    ),
    { numRuns: 300 },
  );
});

test('asks few questions where few items are needed', async () => {
  let asked = 0;
  const { kept } = await ddmin(upTo(10_000), async (part) => {
    asked++;
    return [17, 4_000, 9_999].every((item) => part.includes(item));
  });
  expect(kept).toEqual([17, 4_000, 9_999]);
  expect(asked).toBeLessThan(100);
});

test('ends where it is told to, with what there is', async () => {
  let asked = 0;
  const told: number[] = [];
  const { kept, isMinimal } = await ddmin(
    upTo(100),
    async (part) => {
      asked++;
      return part.includes(3);
    },
    { isOver: () => asked === 4, onKept: ({ length }) => told.push(length) },
  );
  expect(isMinimal).toBe(false);
  expect(kept).toContain(3);
  expect(told.at(-1)).toBe(kept.length);
});
