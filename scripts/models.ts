// The models that come with memtape, generated: `node dist/scripts/models.js [REQUESTS]` prints what was measured of each
// beside what was asked for; `--hashes` prints a hash of each, which must be the same on every machine and version of
// Node; `--write` keeps the hashes as golden.

import { writeFileSync } from 'node:fs';
import { opcodeName } from '../protocol/opcode.ts';
import { Outcome } from '../trace/batch.ts';
import { builtinModels } from '../synth/builtin.ts';
import { ModelGenerator } from '../synth/generator.ts';
import { hashOf } from '../synth/digest.ts';
import { checkModel, type ModelInput } from '../synth/model.ts';

const isHashing = process.argv.includes('--hashes') || process.argv.includes('--write');
const REQUESTS = Number(
  process.argv.slice(2).find((text) => !text.startsWith('--')) ?? (isHashing ? 20_000 : 1_000_000),
);

if (isHashing) {
  const hashes = Object.fromEntries(
    Array.from(builtinModels, ([name, model]) => [
      name,
      hashOf(new ModelGenerator(checkModel(model), { requests: REQUESTS })),
    ]),
  );
  const text = `${JSON.stringify(hashes, null, 2)}\n`;
  if (process.argv.includes('--write')) writeFileSync('fixtures/golden/models.json', text);
  else process.stdout.write(text);
} else {
  process.stdout.write(
    '| model | mix (asked for) | key bytes | value bytes | keys | top key, top 1% | hit rate | requests/s (asked for) |\n|---|---|---|---|---|---|---|---|\n',
  );
  for (const [name, model] of builtinModels) process.stdout.write(`${measured(name, model)}\n`);
}

function measured(name: string, input: ModelInput): string {
  const model = checkModel(input);
  const generator = new ModelGenerator(model, { requests: REQUESTS });
  const operations = new Map<string, number>();
  const counts = new Map<string, number>();
  let [keyBytes, keys, valueBytes, values, hits, reads, lastNs] = [0, 0, 0, 0, 0, 0, 0];
  for (const batch of generator.batches()) {
    for (let row = 0; row < batch.count; row++) {
      if (batch.outcome[row] === Outcome.conditional) continue;
      const operation = opcodeName(batch.opcode[row]!);
      operations.set(operation, (operations.get(operation) ?? 0) + 1);
      lastNs = batch.requestNs[row]!;
      if (operation === 'get') {
        reads++;
        if (batch.status[row] === 0) hits++;
      }
      const bytes = operation === 'get' ? batch.answerValueLength[row]! : batch.valueLength[row]!;
      if (operation === 'set' || operation === 'add' || (operation === 'get' && batch.status[row] === 0)) {
        valueBytes += bytes;
        values++;
      }
      const key = batch.key(row).toString('latin1');
      keyBytes += batch.keyLength[row]!;
      keys++;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  }
  const sorted = [...counts.values()].toSorted((a, b) => b - a);
  const total = generator.requests;
  const top = sorted.slice(0, Math.ceil(sorted.length / 100)).reduce((sum, count) => sum + count, 0);
  const [tenant] = model.tenants;
  const asked = Object.entries(tenant!.mix ?? {}).map(([op, share]) => `${op} ${share}`);
  const mix = Array.from(operations, ([op, count]) => `${op} ${(count / total).toFixed(3)}`);
  const rate = total / (lastNs / 1e9);
  const askedRate = tenant!.arrivals!.rate ?? 'a curve';
  return `| ${name} | ${mix.join(' ')} (${asked.join(' ')}) | ${(keyBytes / keys).toFixed(1)} | ${(valueBytes / Math.max(1, values)).toFixed(1)} | ${counts.size} | ${((sorted[0]! / total) * 100).toFixed(2)}%, ${((top / total) * 100).toFixed(1)}% | ${reads === 0 ? '–' : `${((hits / reads) * 100).toFixed(1)}%`} | ${Math.round(rate)} (${askedRate}) |`;
}
