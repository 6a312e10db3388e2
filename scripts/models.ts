// The models that come with memtape beside what was published of them: `node dist/scripts/models.js [REQUESTS]` prints, for
// each, the published figures and those measured of so many generated requests, and exits with 1 where one is not within
// its tolerance. `--only NAME` takes one of them; `--replay` replays each against a real memcached instead. `--hashes`
// prints a hash of each, which must be the same on every machine and version of Node; `--write` keeps them as golden.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startMemcached } from '../embedded/memcached.ts';
import { builtinModels, publishedFigures } from '../synth/model/builtin.ts';
import { hashOf } from '../fixtures/digest.ts';
import { ModelGenerator } from '../synth/generate/generator.ts';
import { checkModel } from '../synth/model/model.ts';
import type { Published, Sizes } from '../synth/model/published.ts';
import { writeTrace } from '../synth/generate/write.ts';
import { figuresOf, type Figures, type Sample } from './figures.ts';
import { exponentOf, horizonOf, type Horizon } from './horizon.ts';
import { judged } from './judged.ts';

const GOLDEN = 'fixtures/golden/models.json';
const flags = new Set(process.argv.filter((text) => text.startsWith('--')));
const isShort = flags.has('--hashes') || flags.has('--write') || flags.has('--replay');
const [, , ...rest] = process.argv;
const REQUESTS = Number(rest.find((text) => /^\d+$/.test(text)) ?? (isShort ? 20_000 : 1_000_000));
const only = flags.has('--only') ? rest[rest.indexOf('--only') + 1] : undefined;

/** How far a figure may be from what was published: `least`, or this share of it where that is more. */
interface Tolerance {
  least: number;
  share: number;
}
type Figure =
  | 'mix'
  | 'misses'
  | 'size'
  | 'p99'
  | 'ttl'
  | 'alpha'
  | 'top'
  | 'frequency'
  | 'once'
  | 'rate'
  | 'keys';

/** What is published is rounded, often to two digits, and shares of operations sum to .99. */
const whole: Record<Figure, Tolerance> = {
  mix: { least: 0.012, share: 0 },
  misses: { least: 0.002, share: 0.05 },
  size: { least: 0, share: 0.03 },
  p99: { least: 0, share: 0.1 },
  ttl: { least: 0.02, share: 0 },
  alpha: { least: 0.02, share: 0 },
  top: { least: 0.005, share: 0.01 },
  frequency: { least: 0.05, share: 0.05 },
  once: { least: 0.02, share: 0 },
  rate: { least: 0, share: 0.015 },
  keys: { least: 0, share: 0.02 },
};
/** Tolerances for fewer requests, in which there is more chance. */
const sampled: Record<Figure, Tolerance> = {
  ...whole,
  mix: { least: 0.015, share: 0 },
  misses: { least: 0.004, share: 0.08 },
  size: { least: 0, share: 0.06 },
  p99: { least: 0, share: 0.2 },
  ttl: { least: 0.04, share: 0 },
  alpha: { least: 0.04, share: 0 },
  top: { least: 0.01, share: 0.03 },
  frequency: { least: 0.05, share: 0.08 },
  rate: { least: 0, share: 0.05 },
  keys: { least: 0, share: 0.04 },
};
const tolerances = REQUESTS < 500_000 ? sampled : whole;
const outside: string[] = [];

if (flags.has('--replay')) await replayAll();
else if (isShort) hashAll();
else compareAll();
for (const line of outside) process.stderr.write(`${line}\n`);
if (outside.length > 0) process.exitCode = 1;

function* chosen(): Generator<[string, ReturnType<typeof checkModel>]> {
  for (const [name, model] of builtinModels)
    if (only === undefined || only === name) yield [name, checkModel(model)];
}

function hashAll(): void {
  const hashes = Object.fromEntries(
    Array.from(chosen(), ([name, model]) => [
      name,
      hashOf(new ModelGenerator(model, { requests: REQUESTS })),
    ]),
  );
  const text = `${JSON.stringify(hashes, null, 2)}\n`;
  if (flags.has('--write')) writeFileSync(GOLDEN, text);
  else process.stdout.write(text);
}

/** Large values need more than the 64 MB of a server that is not told otherwise. */
function memoryOf(name: string): string {
  return name === 'twitter-37' ? '1024' : name === 'kvcache' ? '256' : '64';
}

async function replayAll(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'memtape-models-'));
  try {
    for (const [name, model] of chosen()) {
      const server = await startMemcached(['-m', memoryOf(name)]);
      try {
        const trace = join(folder, `${name}.tape`);
        await writeTrace(new ModelGenerator(model, { requests: REQUESTS }), trace, name);
        const results = join(folder, `${name}.results`);
        const run = { trace, results, targets: [server.address], speed: 'max', timeoutMs: 20_000 } as const;
        const { diff } = await judged(run);
        const { sent, matched, counts } = diff;
        const violations = sum(counts.violation);
        process.stdout.write(
          `${name.padEnd(10)} -m ${memoryOf(name).padEnd(4)} ${sent} requests: ${((100 * matched) / sent).toFixed(2)}% matched, drift ${JSON.stringify(counts.drift)}, violations ${JSON.stringify(counts.violation)}, untestable ${JSON.stringify(counts.untestable)}\n`,
        );
        if (violations > 0 || matched < 0.99 * sent)
          outside.push(`${name}: expected no violation and 99% matched`);
      } finally {
        await server.stop();
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function compareAll(): void {
  const columns = [
    'mix',
    'reads that miss (first tenth)',
    'key bytes',
    'value bytes',
    'expiry',
    'popularity',
    'keys: requests each, once',
    'requests/s',
  ];
  process.stdout.write(
    `| model | | ${columns.join(' | ')} |\n|---|---|${columns.map(() => '---|').join('')}\n`,
  );
  for (const [name, model] of chosen()) {
    const [tenant] = model.tenants;
    const { popularity = { kind: 'zipf', alpha: 0.99 } } = tenant!;
    const published = publishedFigures.get(name)!;
    const figures = figuresOf(model, REQUESTS, popularity.kind === 'zipf-mandelbrot' ? popularity.q : 0);
    const born = figures.born.once / Math.max(1, figures.born.keys);
    const horizon = (requests: number): Horizon => horizonOf(model, requests, figures.arrivals, born);
    const alpha = exponentOf(popularity, tenant!.keys.space, figures.meanLog);
    const length = published.trace?.requests ?? 0;
    const cells = cellsOf(name, published, figures, horizon(length), alpha, tenant!.keys.space);
    process.stdout.write(`| ${name} | published | ${cells.map(([one]) => one).join(' | ')} |\n`);
    process.stdout.write(`| | measured | ${cells.map(([, one]) => one).join(' | ')} |\n`);
    // Keys that are there from the beginning are few, and counted as if all of them were asked for.
    if (popularity.kind !== 'latest') {
      const run = horizon(figures.requests);
      check(name, 'keys', 'keys of the run, computed', run.keys, figures.distinct);
      check(
        name,
        'once',
        'keys asked for once, computed',
        run.once / run.keys,
        figures.once / figures.distinct,
      );
    }
  }
}

type Cell = [published: string, measured: string];

function cellsOf(
  name: string,
  published: Published,
  figures: Figures,
  horizon: Horizon,
  alpha: number,
  space: number,
): Cell[] {
  const compared = (
    figure: Figure,
    what: string,
    expected: number | undefined,
    got: number,
    show: (value: number) => string,
    error?: number,
  ): Cell => {
    if (expected === undefined) return ['–', show(got)];
    return [show(expected), check(name, figure, what, expected, got, error) ? show(got) : `**${show(got)}**`];
  };
  const joined = (cells: Cell[]): Cell => [
    cells.map(([one]) => one).join(', '),
    cells.map(([, one]) => one).join(', '),
  ];
  const sizes = (what: string, expected: Sizes | undefined, got: Sample): Cell => {
    const shown = (['mean', 'p50', 'p99'] as const).filter((one) => expected?.[one] !== undefined);
    if (shown.length === 0) return ['–', got.mean.toFixed(1)];
    return joined(
      shown.map((one) =>
        compared(
          one === 'p99' ? 'p99' : 'size',
          `${what}, ${one}`,
          expected![one],
          got[one],
          (bytes) => `${one === 'mean' ? '' : `${one} `}${Number(bytes.toFixed(1))}`,
          one === 'mean' ? got.error : 0,
        ),
      ),
    );
  };
  const operations = Object.keys({ ...published.mix, ...figures.mix });
  const popularity = [
    ...(published.alpha === undefined
      ? []
      : [compared('alpha', 'exponent', published.alpha, alpha, (one) => `α ${one.toFixed(2)}`)]),
    ...(published.top ?? []).map(([keys, share]) => {
      const count = keys < 1 ? Math.round(keys * space) : keys;
      const label = keys < 1 ? `top ${keys * 100}%` : 'top key';
      return compared('top', label, share, figures.topOf(count), (one) => `${label} ${percent(one)}`);
    }),
  ];
  const ttls = (published.ttls ?? []).map(([seconds, share]) =>
    compared(
      'ttl',
      `expiry of ${seconds} s`,
      share,
      figures.ttls.get(seconds) ?? 0,
      (one) => `${seconds}s ${one.toFixed(2)}`,
    ),
  );
  const { trace } = published;
  return [
    joined(
      operations.map((operation) =>
        compared(
          'mix',
          operation,
          published.mix[operation as keyof Published['mix']],
          figures.mix[operation] ?? 0,
          (share) => `${operation} ${share.toFixed(3)}`,
        ),
      ),
    ),
    reads(),
    sizes('key bytes', published.keyBytes, figures.keyBytes),
    sizes('value bytes', published.valueBytes, figures.valueBytes),
    ttls.length === 0 ? ['–', ''] : joined(ttls),
    popularity.length === 0 ? ['–', ''] : joined(popularity),
    trace === undefined
      ? ['–', '']
      : joined([
          compared('frequency', 'mean frequency', trace.frequency, trace.requests / horizon.keys, (one) =>
            one.toFixed(1),
          ),
          compared('once', 'keys asked for once', trace.once, horizon.once / horizon.keys, percent),
        ]),
    compared('rate', 'requests a second', published.rate, figures.rate, (one) => one.toFixed(0)),
  ];

  function reads(): Cell {
    if ((figures.mix['get'] ?? 0) === 0) return ['–', '–'];
    const [expected, got] = compared(
      'misses',
      'reads that miss',
      published.misses,
      figures.misses,
      percent,
      figures.reads,
    );
    if (published.misses !== undefined)
      check(
        name,
        'misses',
        'reads that miss, in the first tenth',
        published.misses,
        figures.missesAtFirst,
        figures.reads / 10,
      );
    return [expected, `${got} (${percent(figures.missesAtFirst)})`];
  }
}

/** @param error of what was measured, by chance: three times as much is tolerated */
function check(
  name: string,
  figure: Figure,
  what: string,
  expected: number,
  got: number,
  error = 0,
): boolean {
  const { least, share } = tolerances[figure];
  const most = Math.max(least, share * expected) + 3 * error;
  if (Math.abs(got - expected) <= most) return true;
  outside.push(`${name}: ${what}: expected ${round(expected)} within ${round(most)}, got ${round(got)}`);
  return false;
}

function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)}%`;
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
