// What the two looks make of a history on one key.

import type { Explanation } from '../../diff/explanation.ts';
import { Operations } from '../../diff/gather.ts';
import { glance, isSound } from '../../diff/glance.ts';
import { neverThere } from '../../diff/item.ts';
import { circumstancesOf } from '../../diff/keys.ts';
import { explain } from '../../diff/search.ts';
import { Sequences } from '../../diff/sequence.ts';
import { isFlush } from '../../protocol/semantics.ts';
import { rowsOf, type Played } from './histories.ts';

const clock = { speed: 1, recordedAtSeconds: 1_700_000_000 };

/** Of a key that held nothing before, where each step has the form of an answer. */
export function explained(steps: readonly Played[]): Explanation & { operations: number } {
  const { batch, results } = rowsOf(steps);
  const operations = new Operations(clock);
  for (let row = 0; row < batch.count; row++) {
    const seen = glance(batch, row, results, row);
    operations.add(0, batch, row, results, row, isSound(seen), seen === 'suspect', false);
  }
  const { operations: all } = operations.of(0, '0 0', 'recording');
  const about = circumstancesOf({ hidesValues: false, hidesNumbers: false }, operations, all, {
    isShort: false,
    mayRestart: false,
  });
  return { ...explain(all, neverThere, about), operations: all.length };
}

/** The first look finds nothing to search, where the trace has the requests in this order. @param initial what it held */
export function passes(steps: readonly Played[], initial: { value: string; flags: number } | null): boolean {
  const { batch, results } = rowsOf(steps);
  const sequences = new Sequences(clock);
  sequences.begin(0, initial === null ? null : { value: Buffer.from(initial.value), flags: initial.flags });
  for (let row = 0; row < batch.count; row++) {
    if (isFlush(batch.opcode[row]!)) sequences.mark(0);
    else sequences.see(0, batch, row, results, row, isSound(glance(batch, row, results, row)));
  }
  return !sequences.isOdd(0);
}
