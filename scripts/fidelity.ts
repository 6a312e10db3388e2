// How faithful synthetic references are: `node dist/scripts/fidelity.js [FILE…] [--seeds N] [--brief] [--svg FOLDER]`. Each
// FILE is of big-endian 32-bit object ids, one for each reference, plain or xz; without any, a stream of phases, Zipf's law
// and scans is made. Each way to make references is fitted to all of a file, and compared with it; fitted to its first half,
// and compared with the second; and what `synth fit` says of the first two thirds is held against the last third. Ends with
// 1 where the way that `synth fit` chooses misses a goal on what it was fitted to.

import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { sampleOf } from '../synth/references/census.ts';
import { drawCurves } from '../synth/fidelity/drawing.ts';
import { chooseLocality, learnWhole, streamOf, type LearnedLocality } from '../synth/fit/evidence.ts';
import { methods, type Method } from '../synth/references/expected.ts';
import { compare, curves, type FidelityRow } from '../synth/fidelity/fidelity.ts';
import { dense } from '../synth/fidelity/mrc.ts';
import { Random, Zipf } from '../synth/laws/random.ts';
import { baseline, summarizeReferences, type Summary } from '../synth/fidelity/summary.ts';
import { differenceOf, meanRows } from './rows.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seeds: { type: 'string', default: '4' },
    svg: { type: 'string' },
    brief: { type: 'boolean', default: false },
  },
});
const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => i + 1);
/** By the beginnings of their metrics' names; what is good enough stands in the rows. */
const shown = ['LRU', 'FIFO', 'CLOCK', 'SIEVE', 'S3-FIFO', 'mean', 'references per', 'one-hit', 'footprint'];
const decisive = ['LRU', 'mean', 'references per'];

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function read(file: string): Uint32Array {
  let bytes = readFileSync(file);
  if (file.endsWith('.xz')) {
    const xz = spawnSync('xz', ['-dc', file], { maxBuffer: 2 ** 31 - 1 });
    if (xz.status !== 0)
      throw new Error(`xz -dc ${file} failed: ${xz.error?.message ?? xz.stderr.toString()}`);
    bytes = xz.stdout;
  }
  if (bytes.length === 0 || bytes.length % 4 !== 0)
    throw new Error(`${file}: expected references of 4 bytes, got ${bytes.length} bytes`);
  const ids = Uint32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readUInt32BE(i * 4));
  return dense(ids, ids.length);
}

/** Zipf's law over objects that stay and, a third of the time, over a phase's own; bursts; scans of single references. */
function made(length: number): Uint32Array {
  const random = new Random(1);
  const stay = new Zipf(5_000, 0.8);
  const own = new Zipf(1_000, 0.7);
  const ids: number[] = [];
  let fresh = 1_000_000;
  while (ids.length < length) {
    const phase = Math.floor((ids.length * 6) / length);
    const id = random.chance(1 / 3) ? (phase + 1) * 10_000 + own.sample(random) : stay.sample(random);
    ids.push(id);
    if (random.chance(0.05)) for (let n = random.int(6); n >= 0; n--) ids.push(id);
    if (random.chance(0.001)) for (let n = 0; n < 120; n++) ids.push(fresh++);
  }
  return dense(ids.slice(0, length), length);
}

function streamed(locality: LearnedLocality, seed: number, length: number): Summary {
  const stream = streamOf(locality, seed);
  return summarizeReferences(Uint32Array.from({ length }, () => stream.next()));
}

/** Means over the seeds. */
function rowsOf(original: Summary, stream: (seed: number) => Summary): FidelityRow[] {
  return meanRows(seeds.map((seed) => compare(original, stream(seed))));
}

function line(name: string, rows: readonly FidelityRow[]): string {
  const cells = shown.map((metric) => differenceOf(rows, metric).toFixed(4));
  return `| ${[name, ...cells].join(' | ')} |`;
}

function header(): void {
  say(`| | LRU | FIFO | CLOCK | SIEVE | S3-FIFO | five | references per object | once | footprint |`);
  say(`|---${'|---'.repeat(shown.length)}|`);
}

/** All ways, fitted to some references, beside others. @returns what was fitted, by method */
function table(
  learnedFrom: Uint32Array,
  original: Summary,
  chosen: Method,
): Map<Method, { locality: LearnedLocality; rows: FidelityRow[] }> {
  const { length } = original.references;
  const all = new Map<Method, { locality: LearnedLocality; rows: FidelityRow[] }>();
  header();
  for (const method of methods) {
    if (values.brief && method !== chosen) continue;
    const locality = learnWhole(method, learnedFrom);
    const rows = rowsOf(original, (seed) => streamed(locality, seed, length));
    all.set(method, { locality, rows });
    say(line(method === chosen ? `**${method}**` : method, rows));
  }
  say(
    line(
      'independent',
      rowsOf(original, (seed) => baseline(original, seed)),
    ),
  );
  return all;
}

/** What a fit of two thirds says of itself, and what the last third shows. */
function forecast(references: Uint32Array): void {
  const third = Math.floor(references.length / 3);
  const known = dense(references.subarray(0, 2 * third), 2 * third);
  const last = summarizeReferences(references.subarray(2 * third));
  const { locality, expected } = chooseLocality(sampleOf([known]));
  const told = expected.candidates.find(({ method }) => method === locality.kind);
  const rows = rowsOf(last, (seed) => streamed(locality, seed, last.references.length));
  const found = ['LRU', 'mean'].map((metric) => differenceOf(rows, metric));
  say(
    `\nfitted to two thirds, ${locality.kind}: expected LRU ${told?.lru ?? '–'}, five ${told?.five ?? '–'}; on the last third LRU ${found[0]!.toFixed(4)}, five ${found[1]!.toFixed(4)}`,
  );
}

function report(title: string, references: Uint32Array): boolean {
  const { length } = references;
  const original = summarizeReferences(references);
  say(`\n## ${title}: ${length} references, ${original.footprint} objects, seeds: ${seeds.length}\n`);
  const began = performance.now();
  const { locality, expected } = chooseLocality(sampleOf([references]));
  const fitted = performance.now();
  const chosen = locality.kind;
  const stream = streamOf(locality, 1);
  for (let n = 0; n < length; n++) stream.next();
  const generated = performance.now();
  const rate = length / (generated - fitted);
  say(
    `chosen: ${chosen}, ${JSON.stringify(locality.model).length} bytes, chosen and fitted in ${((fitted - began) / 1000).toFixed(1)} s, made at ${rate.toFixed(0)}k references/s\n`,
  );
  const all = table(references, original, chosen);
  const half = length >> 1;
  const second = summarizeReferences(references.subarray(half));
  say('\nheld out: fitted to the first half, beside the second\n');
  const first = dense(references.subarray(0, half), half);
  table(first, second, chosen);
  say(line('the first half itself', compare(second, summarizeReferences(first))));
  forecast(references);
  for (const doubt of expected.doubts) say(`doubt: ${doubt}`);
  if (values.svg !== undefined)
    writeFileSync(
      join(values.svg, `fidelity-${title}.svg`),
      drawCurves(curves(original, streamed(locality, 1, length), baseline(original, 1))),
    );
  const { rows } = all.get(chosen)!;
  return decisive.every((metric) => rows.find((row) => row.metric.startsWith(metric))?.ok === true);
}

const inputs =
  positionals.length > 0
    ? positionals.map((file) => ({ title: basename(file).split('.')[0]!, file }))
    : [{ title: 'made', file: undefined }];
for (const { title, file } of inputs) {
  const references = file === undefined ? made(100_000) : read(file);
  if (report(title, references)) continue;
  say(`${title}: a goal is missed`);
  process.exitCode = 1;
}
