import { expect, test } from 'vitest';
import { given } from '../../config/given.ts';

test('what is undefined is left out; false, 0, null and an empty text stay', () => {
  const options = given({ a: undefined, b: false, c: 0, d: null, e: '', f: 'x' });
  expect(Object.entries(options)).toEqual([
    ['b', false],
    ['c', 0],
    ['d', null],
    ['e', ''],
    ['f', 'x'],
  ]);
});
