// What the search makes of a history on a key that held nothing before, where each step has the form of an answer.

import type { Explanation } from '../../diff/explanation.ts';
import { Operations } from '../../diff/gather.ts';
import { glance, isSound } from '../../diff/glance.ts';
import { neverThere } from '../../diff/item.ts';
import { circumstancesOf } from '../../diff/keys.ts';
import { explain } from '../../diff/search.ts';
import { rowsOf, type Played } from './histories.ts';

export function explained(steps: readonly Played[]): Explanation & { operations: number } {
  const { batch, results } = rowsOf(steps);
  const operations = new Operations({ speed: 1, recordedAtSeconds: 1_700_000_000 });
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
