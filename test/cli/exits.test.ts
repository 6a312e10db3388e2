// Exit codes never lie: every command under every attack of test/support/endings.ts. A sample of the pairs runs with the
// tests; `npm run proof exits` runs them all.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Random } from '../../synth/laws/random.ts';
import { attacksOf, commands, makeFiles, runAttack, type Ended } from '../support/endings.ts';

const seed = Number(process.env['EXIT_SEED'] ?? 1);
/** Pairs that are tried. */
const pairs = Number(process.env['EXIT_RUNS'] ?? 4);
const folder = mkdtempSync(join(tmpdir(), 'memtape-test-'));

beforeAll(async () => makeFiles(folder));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const only = process.env['EXIT_ONLY'];
const all = attacksOf(seed)
  .filter(({ name }) => only === undefined || only === name)
  .flatMap((attack) => commands.map((command) => ({ attack, command })));
const random = new Random(seed, 1);
const order = all.map((pair) => ({ pair, at: random.float() })).toSorted((a, b) => a.at - b.at);
const chosen = order.slice(0, pairs).map(({ pair }) => pair);

const alone = new Map<string, Promise<Ended>>();

function undisturbed(args: readonly string[]): Promise<Ended> {
  const name = args.join(' ');
  let ended = alone.get(name);
  if (ended === undefined) alone.set(name, (ended = runAttack({ script: '"$@"' }, args, folder)));
  return ended;
}

/** How it ends, but for figures; a JSON document has to be whole. */
function ending(text: string): string {
  if (text.startsWith('{\n')) JSON.parse(text);
  return text.slice(-10).replaceAll(/[\d., ]+/g, '#');
}

test.concurrent.each(
  chosen.map(({ attack, command }) => [attack.name, command.slice(1).join(' '), attack, command] as const),
)('%s: memtape %s', async (_attack, _command, attack, [code, ...args]) => {
  const before = await undisturbed(args);
  expect([before.code, before.stderr]).toEqual([code, expect.not.stringMatching(/^ {4}at /m)]);
  const ended = await runAttack(attack, args, folder);
  expect(attack.expected(before), ended.stderr).toContain(ended.code);
  if (!ended.stderr.includes('boom')) expect(ended.stderr).not.toMatch(/^ {4}at /m);
  if (attack.isWhole === true) expect(ending(ended.stdout)).toBe(ending(before.stdout));
});
