// memtape from code: `node examples/library.mjs [CAPTURE] [PORT]`, after `npm run build`. A capture is recorded, looked
// at, and replayed against an embedded server that corrupts one answer in fifty; then a model is tried on a healthy one.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  judge,
  openTrace,
  record,
  renderHtml,
  renderText,
  replay,
  startCluster,
  synth,
  synthesize,
  verify,
} from 'memtape';

const [capture = new URL('../fixtures/captures/memjs.pcap', import.meta.url).pathname, port = '38417'] =
  process.argv.slice(2);
const folder = await mkdtemp(join(tmpdir(), 'memtape-example-'));

try {
  // A capture becomes a trace.
  const trace = join(folder, 'capture.tape');
  const { exchanges, connections } = await record(capture, trace, { ports: [Number(port)] });
  console.log(`recorded ${exchanges} exchanges on ${connections} connections`);

  // A trace is walked an exchange at a time.
  const tape = await openTrace(trace);
  const misses = new Map();
  for await (const { opcode, key, answer } of tape.exchanges({ key: /^object:/ }))
    if (opcode === 'get' && answer?.status === 1)
      misses.set(key.toString(), (misses.get(key.toString()) ?? 0) + 1);
  await tape.close();
  console.log(`${misses.size} objects were missed`);

  // It is replayed against a sick server, and judged.
  const sick = await startCluster({ fault: { name: 'corrupt', share: 1 / 50, seed: 1 } });
  const results = join(folder, 'run.results');
  const { survey } = await replay({ trace, results, targets: sick.addresses, speed: 'max', timeoutMs: 5000 });
  await sick.stop();
  const report = await judge(trace, results, { survey, thresholds: ['violations == 0', 'drift.lost < 1%'] });
  console.log(renderText(report));
  await writeFile(join(folder, 'report.html'), renderHtml([{ name: 'a sick server', report }]));

  // A model is a trace too; and verify() is replay() and judge() in one.
  const [first] = synthesize('etc', { seed: 7, requests: 1 });
  console.log(`the first request of etc: ${first.opcode} ${first.key}`);
  const model = join(folder, 'etc.tape');
  await synth('etc', model, { seed: 7, requests: 2000 });
  const healthy = await startCluster();
  const { verdict } = await verify({
    trace: model,
    targets: healthy.addresses,
    speed: 'max',
    timeoutMs: 5000,
  });
  await healthy.stop();
  console.log(`etc against a healthy server: ${verdict}`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
