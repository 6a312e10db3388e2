import { expect, test } from 'vitest';

import { parseAuth, readAuthFile } from '../../cli/auth.ts';

test('users, comments, empty lines, and passwords with anything in them', () => {
  const text = '# tenants\n\nalpha:one\r\n  # indented\nbeta:with: colon and space \ngamma:\n';
  expect([...parseAuth(text, 'users.txt')]).toEqual([
    ['alpha', 'one'],
    ['beta', 'with: colon and space '],
    ['gamma', ''],
  ]);
});

test.each([
  ['alpha:one\nsecret-without-user', /^users\.txt:2: expected user:password/],
  [':secret', /^users\.txt:1: expected user:password/],
  ['a:secret\n#\na:secret2', /^users\.txt:3: user "a" is there twice$/],
  ['a:sec\0ret', /^users\.txt:1: expected text, got a NUL$/],
  ['# nobody\n', /^users\.txt: expected at least one line/],
])('%j is refused with file and line, and without the password', (text, message) => {
  let thrown: Error | undefined;
  try {
    parseAuth(text, 'users.txt');
  } catch (error) {
    thrown = error as Error;
  }
  expect(thrown?.message).toMatch(message);
  expect(thrown).toMatchObject({ name: 'CliError', exitCode: 2 });
  expect(thrown?.message).not.toContain('secret');
});

test('a file that is not there', () => {
  expect(() => readAuthFile('no/such/file')).toThrow(/^cannot read the auth file no\/such\/file: ENOENT/);
});
