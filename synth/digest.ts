// A hash over everything that a generator makes: two machines that agree on it generate the same traffic.

import { createHash } from 'node:crypto';
import type { ModelGenerator } from './generator.ts';

/** SHA-256, in hexadecimal, over times, operations, keys, values and answers. */
export function hashOf(generator: ModelGenerator): string {
  const hash = createHash('sha256');
  const row = Buffer.alloc(40);
  for (const batch of generator.batches()) {
    for (const { id, tenant, openNs, closeNs } of batch.connections)
      hash.update(`${id} ${tenant} ${openNs} ${closeNs}\n`);
    for (let at = 0; at < batch.count; at++) {
      row.writeDoubleLE(batch.requestNs[at]!, 0);
      row.writeDoubleLE(batch.answerNs[at]!, 8);
      row.writeUInt32LE(batch.connection[at]!, 16);
      row.writeUInt32LE(batch.casLow[at]!, 20);
      row.writeUInt32LE(batch.answerCasLow[at]!, 24);
      row.writeUInt16LE(batch.status[at]!, 28);
      row[30] = batch.opcode[at]!;
      row[31] = batch.outcome[at]!;
      row[32] = batch.flags[at]!;
      hash.update(row);
      hash.update(batch.extras(at));
      hash.update(batch.key(at));
      hash.update(batch.value(at));
      hash.update(batch.answerExtras(at));
      hash.update(batch.answerValue(at));
    }
  }
  return hash.digest('hex');
}
