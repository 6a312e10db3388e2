// Keys by number, beside a map of strings.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { KeyTable } from '../../trace/keytable.ts';

const key = fc.oneof(
  fc.uint8Array({ maxLength: 250 }),
  // Nearly alike: most hash functions have trouble with some of these.
  fc.integer({ min: 0, max: 20_000 }).map((n) => Buffer.from(`key:${n}`)),
  fc.integer({ min: 0, max: 40 }).map((n) => Buffer.alloc(n)),
);

test('the same key of the same place has one number, and every other another', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.constantFrom(0, 1, 65_536, 2 ** 40), key), { maxLength: 3000 }),
      fc.nat(3),
      (asked, before) => {
        const table = new KeyTable();
        const numbers = new Map<string, number>();
        for (const [place, bytes] of asked) {
          const heap = Buffer.concat([Buffer.alloc(before, 7), bytes, Buffer.alloc(3, 9)]);
          const name = `${place} ${Buffer.from(bytes).toString('latin1')}`;
          const known = numbers.get(name) ?? numbers.size;
          expect(table.numberOf(place, heap, before, bytes.length)).toBe(known);
          numbers.set(name, known);
        }
        expect(table.count).toBe(numbers.size);
        for (const [name, number] of numbers)
          expect(`${table.placeOf(number)} ${table.keyOf(number)}`).toBe(name);
      },
    ),
    { numRuns: 20 },
  );
});

test('a hundred thousand keys, twice', () => {
  const table = new KeyTable();
  for (let turn = 0; turn < 2; turn++)
    for (let n = 0; n < 100_000; n++) {
      const bytes = Buffer.from(`user:${n}:profile`);
      if (table.numberOf(n % 3, bytes, 0, bytes.length) !== n) expect.unreachable(`key ${n}`);
    }
  expect(table.count).toBe(100_000);
});
