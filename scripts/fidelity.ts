// How faithful synthetic references are: `node dist/scripts/fidelity.js [FILE…] [--seeds N] [--svg FOLDER]`. Each FILE is
// of big-endian 32-bit object ids, one for each reference, plain or xz; without any, a stream of phases, Zipf's law and
// scans is made. A model is fitted, streams of N seeds made of it, and their distance from the original printed beside
// that of independent draws; then the same for the second half of the file and a model of its first half. Ends with 1
// where a goal is missed on what the model was fitted to.

import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { drawCurves, renderFidelity } from '../synth/drawing.ts';
import { compare, curves, type FidelityRow } from '../synth/fidelity.ts';
import { baseline, summarizeReferences, type Summary } from '../synth/summary.ts';
import { fitRenewal } from '../synth/learn.ts';
import { dense } from '../synth/mrc.ts';
import { Random, Zipf } from '../synth/random.ts';
import { RenewalStream } from '../synth/renewal.ts';
import { StackStream, fitStack } from '../synth/stack.ts';
import { differenceOf, meanRows } from './rows.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seeds: { type: 'string', default: '4' }, svg: { type: 'string' } },
});
const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => i + 1);

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

function taken(stream: { next(): number }, length: number): Summary {
  return summarizeReferences(Uint32Array.from({ length }, () => stream.next()));
}

function worst(runs: readonly FidelityRow[][], metric: string): string {
  return Math.max(...runs.map((rows) => differenceOf(rows, metric))).toFixed(4);
}

function numbersIn(value: unknown): number {
  if (typeof value === 'number') return 1;
  return typeof value === 'object' && value !== null
    ? Object.values(value).reduce((sum: number, each) => sum + numbersIn(each), 0)
    : 0;
}

/** A table of what streams of a model of some references are, compared with other references. */
function report(title: string, learnedFrom: Uint32Array, references: Uint32Array): boolean {
  const original = summarizeReferences(references);
  const { length } = references;
  const began = performance.now();
  const model = fitRenewal([learnedFrom]);
  const fitted = performance.now();
  const streams = seeds.map((seed) => taken(new RenewalStream(model, { seed, length }), length));
  const generated = performance.now();
  const runs = streams.map((stream) => compare(original, stream));
  const independent = meanRows(seeds.map((seed) => compare(original, baseline(original, seed))));
  const stack = fitStack([learnedFrom]);
  const stacked = meanRows(
    seeds.map((seed) => compare(original, taken(new StackStream(stack, { seed, length }), length))),
  );
  say(`\n## ${title}: ${length} references, ${original.footprint} objects, ${seeds.length} seeds\n`);
  const rows = meanRows(runs);
  say(renderFidelity(rows, independent).trimEnd());
  say(`\nworst seed: LRU ${worst(runs, 'LRU')}, mean of the five ${worst(runs, 'mean')}`);
  say(`LRU stack instead: ${stacked.map((row) => `${row.metric} ${row.difference.toFixed(4)}`).join(' · ')}`);
  if (learnedFrom !== references) {
    const halves = compare(original, summarizeReferences(learnedFrom));
    say(
      `the halves themselves: ${halves.map((row) => `${row.metric} ${row.difference.toFixed(4)}`).join(' · ')}`,
    );
  }
  const rate = (seeds.length * length) / ((generated - fitted) / 1_000);
  say(
    `${numbersIn(model)} numbers, ${JSON.stringify(model).length} bytes; fitted in ${((fitted - began) / 1_000).toFixed(1)} s, generated at ${Math.round(rate / 1_000)}k references/s`,
  );
  const again = taken(new RenewalStream(model, { seed: seeds[0]!, length }), length);
  if (!again.references.every((id, i) => id === streams[0]!.references[i]))
    throw new Error('the same seed gave another stream');
  if (values.svg !== undefined && learnedFrom === references)
    writeFileSync(
      join(values.svg, `fidelity-${title}.svg`),
      drawCurves(curves(original, streams[0]!, baseline(original, 1))),
    );
  return rows.every((row) => row.ok);
}

const inputs =
  positionals.length > 0
    ? positionals.map((file) => ({ title: basename(file).split('.')[0]!, references: read(file) }))
    : [{ title: 'made', references: made(100_000) }];
for (const { title, references } of inputs) {
  if (!report(title, references, references)) process.exitCode = 1;
  const half = references.length >> 1;
  const second = references.subarray(half);
  report(`${title}, held out`, references.subarray(0, half), dense(second, second.length));
}
