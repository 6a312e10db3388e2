// How fast requests are generated: `node dist/bench/synth.js [REQUESTS] [MODEL…]`. Generation alone, without a file;
// requests a second on one core.

import { builtinModels } from '../synth/model/builtin.ts';
import { ModelGenerator } from '../synth/generate/generator.ts';
import { checkModel } from '../synth/model/model.ts';
import { isMain, median, say } from './measure.ts';

/** Requests a second of a built-in model, on one core, and CPU seconds a million of them; medians. */
export function measureGeneration(
  name: string,
  requests: number,
  rounds: number,
): { rate: number; cpuPerMillion: number } {
  const rates: number[] = [];
  const costs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const generator = new ModelGenerator(checkModel(builtinModels.get(name)!), { requests });
    const before = process.cpuUsage();
    const began = performance.now();
    let rows = 0;
    for (const batch of generator.batches()) rows += batch.count;
    const { user, system } = process.cpuUsage(before);
    if (rows < requests) throw new Error(`${name}: expected ${requests} rows at least, got ${rows}`);
    rates.push((generator.requests * 1000) / (performance.now() - began));
    costs.push((user + system) / generator.requests);
  }
  return { rate: median(rates), cpuPerMillion: median(costs) };
}

if (isMain(import.meta)) {
  const requests = Number(process.argv[2] ?? 1_000_000);
  const names = process.argv.length > 3 ? process.argv.slice(3) : ['etc', 'usr', 'twitter-52', 'ycsb-c'];
  for (const name of names) {
    const { rate, cpuPerMillion } = measureGeneration(name, requests, 3);
    say(
      `${name}: ${rate.toFixed(0)} requests/s, ${cpuPerMillion.toFixed(2)} CPU s a million (medians of three)`,
    );
  }
}
