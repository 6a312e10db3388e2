// What is compared of traces and of generated traffic: their requests by key, operation, size and time.

import { isRead, opcodeInfo } from '../../protocol/opcode.ts';
import { Status } from '../../protocol/status.ts';
import { Outcome, type Batch } from '../../trace/batch.ts';
import { Summarizer, type Summary } from '../fidelity/summary.ts';
import { expiryIn, secondsOf } from './ttl.ts';

/** Of all that was sent and names a key. @param startNs of the batches, ns since 1970, for expiries that are absolute */
export async function summarizeBatches(
  batches: AsyncIterable<Batch> | Iterable<Batch>,
  startNs?: number,
): Promise<Summary> {
  const summarizer = new Summarizer();
  const ids = new Map<string, number>();
  for await (const batch of batches)
    for (let row = 0; row < batch.count; row++) {
      if (batch.keyLength[row] === 0 || batch.outcome[row] === Outcome.conditional) continue;
      const opcode = batch.opcode[row]!;
      const key = batch.key(row).toString('latin1');
      let id = ids.get(key);
      if (id === undefined) ids.set(key, (id = ids.size));
      const isHit =
        isRead[opcode] === 1 && batch.outcome[row] === Outcome.answered && batch.status[row] === Status.ok;
      const bytes = isHit
        ? batch.answerValueLength[row]!
        : batch.valueLength[row]! > 0
          ? batch.valueLength[row]!
          : undefined;
      const isStore = batch.extrasLength[row] === 8 && batch.outcome[row] !== Outcome.gap;
      summarizer.add(
        id,
        opcodeInfo(opcode)?.family ?? 'unknown',
        key.length,
        bytes,
        batch.requestNs[row]!,
        isStore
          ? secondsOf(
              expiryIn(batch, row),
              startNs === undefined ? undefined : startNs + batch.requestNs[row]!,
            )
          : undefined,
      );
    }
  return summarizer.finish();
}
