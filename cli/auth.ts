// The file of SASL users: lines of `user:password`, empty lines and lines that begin with # apart. Passwords come
// from a file or the environment, never from the command line, and never appear in a message.

import { readFileSync } from 'node:fs';

import { CliError } from './error.ts';

/** The users of a file, in its order. A password may contain colons and spaces; it ends with the line. */
export function readAuthFile(path: string): Map<string, string> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new CliError(`cannot read the auth file ${path}: ${(cause as Error).message}`, 2, { cause });
  }
  return parseAuth(text, path);
}

/** The users that a variable of the environment holds. @throws CliError where there is none */
export function readAuthVariable(name: string, env: NodeJS.ProcessEnv): Map<string, string> {
  const text = env[name];
  if (text === undefined || text === '')
    throw new CliError(
      `expected user:password in the variable ${name}, got none: the environment has no ${name}`,
      2,
    );
  return parseAuth(text, `$${name}`);
}

/** As readAuthFile, of a text; `path` is what messages call it. */
export function parseAuth(text: string, path: string): Map<string, string> {
  const users = new Map<string, string>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.trimStart().startsWith('#')) continue;
    const colon = line.indexOf(':');
    const where = `${path}:${index + 1}`;
    if (colon <= 0) throw new CliError(`${where}: expected user:password, got a line without a user`, 2);
    const user = line.slice(0, colon);
    if (line.includes('\0')) throw new CliError(`${where}: expected text, got a NUL`, 2);
    if (users.has(user)) throw new CliError(`${where}: user ${JSON.stringify(user)} is there twice`, 2);
    users.set(user, line.slice(colon + 1));
  }
  if (users.size === 0) throw new CliError(`${path}: expected at least one line of user:password`, 2);
  return users;
}
