// What fitting takes: `node dist/scripts/fitting.js [REQUESTS] [KEYS] [OUT]`, a generated trace of so many requests is fitted,
// with bounds and without, and compared: seconds, memory, and how near the models are.

import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { renderFidelity } from '../synth/fidelity/drawing.ts';
import { compare } from '../synth/fidelity/fidelity.ts';
import { baseline } from '../synth/fidelity/summary.ts';
import { fitTrace } from '../synth/fit/fit.ts';
import { ModelGenerator } from '../synth/generate/generator.ts';
import { checkModel } from '../synth/model/model.ts';
import { summarizeBatches } from '../synth/fit/summarize.ts';
import { writeTrace } from '../synth/generate/write.ts';
import { TraceReader } from '../trace/file.ts';

const REQUESTS = Number(process.argv[2] ?? 1_000_000);
const KEYS = Number(process.argv[3] ?? REQUESTS / 4);
const MOST = Number(process.argv[4] ?? Infinity);

const source = checkModel({
  format: 'memtape-model/1',
  requests: REQUESTS,
  tenants: [
    {
      keys: { space: KEYS, length: { kind: 'uniform', min: 20, max: 40 } },
      values: { size: { kind: 'lognormal', mean: 100, sigma: 1, min: 1, max: 2000 } },
      mix: { get: 0.9, set: 0.1 },
      popularity: { kind: 'zipf', alpha: 0.9 },
      onMiss: 'none',
      arrivals: { rate: 50_000 },
    },
  ],
});
const path = join(tmpdir(), `memtape-fitting-${process.pid}.tape`);
try {
  await writeTrace(new ModelGenerator(source), path, 'fitting');
  const trace = await TraceReader.open(path);
  const before = process.memoryUsage().rss;
  let most = 0;
  const began = performance.now();
  const model = await fitTrace(trace.batches(), 'fitting', {
    onProgress: () => (most = Math.max(most, process.memoryUsage().rss)),
    ...(MOST === Infinity ? {} : { mostKeys: MOST, mostReferences: MOST * 8 }),
  });
  const seconds = (performance.now() - began) / 1000;
  most = Math.max(most, process.memoryUsage().rss);
  process.stdout.write(
    `${REQUESTS} requests of ${KEYS} keys: fitted in ${seconds.toFixed(1)} s, ${Math.round((most - before) / 1e6)} MB more than before; model ${Math.round(JSON.stringify(model).length / 1000)} kB\n`,
  );
  const original = await summarizeBatches(trace.batches());
  await trace.close();
  const made = await summarizeBatches(new ModelGenerator(checkModel(model), { seed: 2 }).batches());
  process.stdout.write(renderFidelity(compare(original, made), compare(original, baseline(original, 1))));
} finally {
  rmSync(path, { force: true });
}
