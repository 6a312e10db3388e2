// Each scenario against a real memcached: `node dist/scripts/scenarios.js [SECONDS] [SVG]`. A model of 2,000 requests a
// second has it happen a third into the run; nothing may be wrong. Draws requests, hit rate and connections over time.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startMemcached } from '../embedded/memcached.ts';
import { makeReport } from '../report/report.ts';
import type { Report } from '../report/shape.ts';
import { ModelGenerator } from '../synth/generate/generator.ts';
import { checkModel } from '../synth/model/model.ts';
import { applyScenario, listScenarios } from '../synth/scenarios/scenario.ts';
import { writeTrace } from '../synth/generate/write.ts';
import { NEVER } from '../trace/batch.ts';
import { TraceReader } from '../trace/file.ts';
import { emptyEnd } from '../trace/meta.ts';
import { judged } from './judged.ts';

const SECONDS = Number(process.argv[2] ?? 6);
const SVG = process.argv[3];
const BINS = 60;
/** The height of a row of the drawing, and the width of a panel. */
const ROW = 64;
const WIDTH = 200;
const folder = mkdtempSync(join(tmpdir(), 'memtape-scenarios-'));

const base = checkModel({
  format: 'memtape-model/1',
  name: 'plain',
  duration: `${SECONDS}s`,
  start: 'cold',
  tenants: [
    {
      keys: { space: 5000, length: 24 },
      values: { size: { kind: 'lognormal', mean: 500, sigma: 0.8, min: 1, max: 20_000 } },
      mix: { get: 0.85, set: 0.15 },
      ttl: [
        { ttl: '0s', share: 0.9 },
        { ttl: '2s', share: 0.1 },
      ],
      popularity: { kind: 'zipf', alpha: 0.9 },
      arrivals: { rate: 2000 },
      connections: { count: 20 },
    },
  ],
});

interface Drawn {
  name: string;
  about: string;
  requests: number[];
  hits: number[];
  connections: number[];
}

async function run(name: string): Promise<{ report: Report; connections: number[] }> {
  const trace = join(folder, 'scenario.tape');
  const results = join(folder, 'results');
  const model = name === 'none' ? base : applyScenario(base, name, SECONDS * 1000);
  await writeTrace(new ModelGenerator(model, { durationMs: SECONDS * 1000 }), trace, name);
  const server = await startMemcached(['-m', '64', '-c', '20000']);
  try {
    const { diff, end } = await judged({
      trace,
      results,
      targets: [server.address],
      timeoutMs: 5000,
      allow: new Set(['flush']),
    });
    const meta = { speed: 1, order: 'key', targets: [server.address] } as never;
    const report = makeReport({ diff, meta, end: end ?? emptyEnd(), thresholds: [] });
    return { report, connections: await openOver(trace) };
  } finally {
    await server.stop();
  }
}

/** How many connections are open in each part of the run. */
async function openOver(trace: string): Promise<number[]> {
  const reader = await TraceReader.open(trace);
  const open = Array.from({ length: BINS }, () => 0);
  for await (const batch of reader.batches())
    for (const { openNs, closeNs } of batch.connections)
      for (let bin = 0; bin < BINS; bin++) {
        const ns = ((bin + 0.5) / BINS) * SECONDS * 1e9;
        if (openNs <= ns && (closeNs === NEVER || closeNs > ns)) open[bin]!++;
      }
  await reader.close();
  return open;
}

/** Sums of the report's bins, in ours. */
function resampled(values: readonly number[], binSeconds: number): number[] {
  const out = Array.from({ length: BINS }, () => 0);
  for (const [n, value] of values.entries()) {
    const bin = Math.floor((((n + 0.5) * binSeconds) / SECONDS) * BINS);
    if (bin < BINS) out[bin]! += value;
  }
  return out;
}

function sum(lists: readonly (readonly number[])[]): number[] {
  return Array.from({ length: Math.max(0, ...lists.map(({ length }) => length)) }, (_, n) =>
    lists.reduce((total, list) => total + (list[n] ?? 0), 0),
  );
}

const drawn: Drawn[] = [];
let failed = 0;
try {
  for (const { name, about } of [{ name: 'none', about: 'the model alone' }, ...listScenarios()]) {
    const { report, connections } = await run(name);
    const { timeline, violations, exchanges, drift } = report;
    const wrong = Object.values(violations).reduce((total, count) => total + count, 0);
    if (wrong > 0) failed++;
    process.stdout.write(
      `${name}: ${exchanges.sent} sent, ${exchanges.matched} matched, drift ${JSON.stringify(drift)}, violations ${JSON.stringify(violations)}\n`,
    );
    const of = (what: 'requests' | 'hits' | 'reads'): number[] =>
      resampled(sum(timeline.servers.map((server) => server[what])), timeline.binSeconds);
    const reads = of('reads');
    drawn.push({
      name,
      about,
      requests: of('requests').map((count) => (count * BINS) / SECONDS),
      hits: of('hits').map((count, n) => ((reads[n] ?? 0) === 0 ? 0 : count / reads[n]!)),
      connections,
    });
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
if (SVG !== undefined) writeFileSync(SVG, draw(drawn));
process.stdout.write(`${drawn.length} scenarios, ${failed} failed\n`);
process.exitCode = failed === 0 ? 0 : 1;

function draw(all: readonly Drawn[]): string {
  const height = 40 + all.length * ROW;
  const columns = ['requests/s', 'hit rate', 'connections'];
  const body = all.map(({ name, about, requests, hits, connections }, n) => {
    const y = 40 + n * ROW;
    const panels = [requests, hits, connections].map((values, column) => {
      const most = column === 1 ? 1 : Math.max(1, ...values);
      const x = 210 + column * (WIDTH + 50);
      const points = values.map(
        (value, i) =>
          `${(x + (i * WIDTH) / (BINS - 1)).toFixed(1)},${(y + 44 - (value / most) * 38).toFixed(1)}`,
      );
      const label =
        column === 1 ? '100%' : most >= 10_000 ? `${Math.round(most / 1000)}k` : String(Math.round(most));
      return `<line x1="${x}" y1="${y + 44}" x2="${x + WIDTH}" y2="${y + 44}" class="axis"/><polyline points="${points.join(' ')}" class="line"/><text x="${x + WIDTH + 4}" y="${y + 12}" class="small">${label}</text>`;
    });
    return `<text x="10" y="${y + 22}" class="name">${name}</text><text x="10" y="${y + 38}" class="small">${about.slice(0, 34)}${about.length > 34 ? '…' : ''}</text>${panels.join('')}`;
  });
  const heads = columns.map(
    (text, n) => `<text x="${210 + n * (WIDTH + 50)}" y="24" class="name">${text}</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 ${height}" font-family="system-ui, sans-serif" role="img" aria-label="Requests, hit rate and connections over time in each scenario">
<style>.name{font-size:13px;font-weight:600;fill:#333}.small{font-size:10px;fill:#777}.axis{stroke:#ccc}.line{fill:none;stroke:#2563eb;stroke-width:1.5}@media (prefers-color-scheme: dark){.name{fill:#ddd}.small{fill:#999}.axis{stroke:#444}.line{stroke:#7aa2f7}}</style>
${heads.join('')}
${body.join('\n')}
</svg>
`;
}
