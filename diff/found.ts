// What a read found on the target, wherever it stands: an answer that agrees with the recorded one is not kept again.

import { uint32 } from '../protocol/header.ts';
import type { Batch } from '../trace/batch.ts';
import type { ResultBatch } from '../trace/results.ts';

const FLAGS_BYTES = 4;

export class Found {
  /** Where the value is that of() looked at last, and its flags. */
  heap: Buffer = Buffer.alloc(0);
  at = 0;
  length = 0;
  flags = 0;

  /** @returns false where the answer has no flags, as that of a read has */
  of(batch: Batch, row: number, results: ResultBatch, resultRow: number): boolean {
    const agrees = results.agrees[resultRow] === 1;
    const extrasLength = agrees ? batch.answerExtrasLength[row] : results.extrasLength[resultRow];
    if (extrasLength !== FLAGS_BYTES) return false;
    this.heap = agrees ? batch.heap : results.heap;
    this.at = agrees ? batch.answerValueAt[row]! : results.valueAt[resultRow]!;
    this.length = agrees ? batch.answerValueLength[row]! : results.valueLength[resultRow]!;
    this.flags = uint32(this.heap, agrees ? batch.answerExtrasAt[row]! : results.extrasAt[resultRow]!);
    return true;
  }
}
