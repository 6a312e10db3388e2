// Versions of a key that nobody can have seen any more are settled: what is legal stays so, and nothing becomes legal by it.

import { expect, test } from 'vitest';
import { Overlap, type Content, type Version } from '../../diff/overlap.ts';
import { Random } from '../../synth/laws/random.ts';

/** A row of the trace comes at most so many places from where its moment would have it. */
const APART = 12;
const forever = { mayLiveNs: Infinity, mustDieNs: Infinity };

interface Row {
  isStore: boolean;
  cas: number;
  atNs: number;
  fromNs: number;
  toNs: number;
}

const contentOf = (cas: number): Content => ({ high: cas % 3, low: 0, length: 1, flags: 0, number: -1 });

/** Stores and reads of one key as a correct server executes them, in an order that is not that of their moments. */
function history(random: Random): Row[] {
  const rows: (Row & { place: number })[] = [];
  let cas = 1;
  for (let n = 0; n < 120; n++) {
    const isStore = random.chance(0.3);
    if (isStore) cas++;
    const atNs = 10 * (n + 1);
    const fromNs = atNs - random.int(60);
    rows.push({ isStore, cas, atNs, fromNs, toNs: atNs + random.int(60), place: n + random.int(APART) });
  }
  return rows.toSorted((a, b) => a.place - b.place);
}

/** Whether some order explains the rows, as far as Overlap sees. @param isForgetful it is told what cannot come any more */
function isExplained(rows: readonly Row[], isForgetful: boolean): boolean {
  const first: Version = {
    ...contentOf(1),
    cas: 1,
    fromNs: -Infinity,
    toNs: Infinity,
    readFromNs: -Infinity,
    readToNs: Infinity,
    expiry: forever,
    isMade: true,
    index: 0,
  };
  const overlap = new Overlap([first], -Infinity, 0);
  for (const [index, { isStore, cas, fromNs, toNs }] of rows.entries()) {
    const fits = isStore
      ? overlap.store(cas, fromNs, toNs, contentOf(cas), forever, index)
      : overlap.read(cas, fromNs, toNs, contentOf(cas), index);
    if (!fits || (isForgetful && !overlap.forget(index - 2 * APART))) return false;
  }
  return overlap.close() !== undefined;
}

test('of a correct server, and of one that serves an id that it should not', () => {
  const random = new Random(9);
  let wrong = 0;
  for (let run = 0; run < 400; run++) {
    const rows = history(random);
    expect(isExplained(rows, true)).toBe(true);
    const at = random.int(rows.length);
    const of = rows[random.int(rows.length)]!;
    const changed = rows.with(at, { ...rows[at]!, cas: of.cas });
    if (isExplained(changed, false)) continue;
    wrong++;
    expect(isExplained(changed, true)).toBe(false);
  }
  expect(wrong).toBeGreaterThan(100);
});
