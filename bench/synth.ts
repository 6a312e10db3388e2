// How fast requests are generated: `node dist/bench/synth.js [REQUESTS] [MODEL…]`. Generation alone, without a file;
// requests a second on one core.

import { builtinModels } from '../synth/builtin.ts';
import { ModelGenerator } from '../synth/generator.ts';
import { checkModel } from '../synth/model.ts';

const REQUESTS = Number(process.argv[2] ?? 1_000_000);
const names = process.argv.length > 3 ? process.argv.slice(3) : ['etc', 'usr', 'twitter-52', 'ycsb-c'];

for (const name of names) {
  const rates: number[] = [];
  for (let round = 0; round < 3; round++) {
    const generator = new ModelGenerator(checkModel(builtinModels.get(name)!), { requests: REQUESTS });
    const began = performance.now();
    let rows = 0;
    for (const batch of generator.batches()) rows += batch.count;
    const seconds = (performance.now() - began) / 1000;
    rates.push(generator.requests / seconds);
    if (round === 0) process.stdout.write(`${name}: ${generator.requests} requests, ${rows} rows\n`);
  }
  rates.sort((a, b) => a - b);
  process.stdout.write(`  ${Math.round(rates[1]!)} requests/s (median of three)\n`);
}
