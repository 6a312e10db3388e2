// What a run of a model shows: the figures that are published of workloads, measured of the requests it generates.

import { opcodeName } from '../protocol/opcode.ts';
import { uint32 } from '../protocol/header.ts';
import { Outcome, RowFlag } from '../trace/batch.ts';
import { widthOf } from '../synth/generate/content.ts';
import { ModelGenerator } from '../synth/generate/generator.ts';
import { Permutation } from '../synth/laws/hash.ts';
import type { Model } from '../synth/model/model.ts';
import type { Sizes } from '../synth/model/published.ts';
import { spaceSeed } from '../synth/generate/space.ts';

const DIGITS = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
const CAS = 'cas';

export interface Sample extends Required<Sizes> {
  /** Standard error of the mean. */
  error: number;
}

export interface Figures {
  requests: number;
  mix: Record<string, number>;
  /** The share of reads that missed, and that in the first tenth of the requests. */
  misses: number;
  missesAtFirst: number;
  reads: number;
  keyBytes: Sample;
  valueBytes: Sample;
  /** Share of stores by seconds. */
  ttls: Map<number, number>;
  /** Share of the requests for keys of the space, by how many of the most popular. */
  topOf: (keys: number) => number;
  /** Mean over the requests of ln(rank + 1 + q). */
  meanLog: number;
  rate: number;
  /** Keys, and those asked for once. */
  distinct: number;
  once: number;
  /** Keys that came in the run, and are too old to be asked for again; and those asked for once. */
  born: { keys: number; once: number };
  /** Requests that nothing made necessary but themselves, of all. */
  arrivals: number;
}

/** @param q of the popularity, where it flattens the head */
export function figuresOf(model: Model, requests: number, q: number): Figures {
  const generator = new ModelGenerator(model, { requests });
  const [tenant] = model.tenants;
  const { space, prefix = '' } = tenant!.keys;
  const permutation = new Permutation(space, spaceSeed(generator.seed, tenant!.name ?? ''));
  const width = widthOf(space);
  const operations = new Map<string, number>();
  const stored = new Map<number, number>();
  const keys = new Map<string, { count: number; bytes: number; number: number }>();
  const keyLengths: number[] = [];
  const ranks: number[] = [];
  const misses = { first: [0, 0], all: [0, 0] };
  let [total, arrivals, lastNs, stores, logs, drawn] = [0, 0, 0, 0, 0, 0];
  for (const batch of generator.batches())
    for (let row = 0; row < batch.count; row++) {
      if (batch.outcome[row] === Outcome.conditional) continue;
      total++;
      lastNs = batch.requestNs[row]!;
      const opcode = opcodeName(batch.opcode[row]!);
      const isCas = batch.casLow[row] !== 0;
      const operation = isCas ? CAS : opcode;
      operations.set(operation, (operations.get(operation) ?? 0) + 1);
      const isRefill = (batch.flags[row]! & RowFlag.refill) !== 0;
      if (!isRefill && !isCas) arrivals++;
      if (opcode === 'get') {
        const isMiss = batch.status[row] === 0 ? 0 : 1;
        misses.all[isMiss]!++;
        if (total <= requests / 10) misses.first[isMiss]!++;
      }
      if (opcode === 'set' || opcode === 'add' || opcode === 'incr') {
        const extras = batch.extras(row);
        const seconds = uint32(extras, extras.length - 4);
        stored.set(seconds, (stored.get(seconds) ?? 0) + 1);
        stores++;
      }
      const key = batch.key(row).toString('latin1');
      let entry = keys.get(key);
      const letter = key[prefix.length]!;
      const isRanked = letter === 'k' || letter === 'x' || letter === 'c';
      const number = isRanked ? numberOf(key, prefix.length + 1, width) : -1;
      if (entry === undefined) {
        keys.set(key, (entry = { count: 0, bytes: -1, number }));
        keyLengths.push(key.length);
      }
      entry.count++;
      const bytes = opcode === 'get' ? batch.answerValueLength[row]! : batch.valueLength[row]!;
      if (
        entry.bytes < 0 &&
        (opcode === 'set' || opcode === 'add' || (opcode === 'get' && batch.status[row] === 0))
      )
        entry.bytes = bytes;
      // What follows a read is for the same key, and DELETEs may be of others.
      if (!isRanked || isRefill || isCas || opcode === 'delete' || number >= space) continue;
      const rank = permutation.rankOf(number);
      ranks.push(rank);
      logs += Math.log(rank + 1 + q);
      drawn++;
    }
  const sortedRanks = Float64Array.from(ranks).toSorted();
  const entries = [...keys.values()];
  // The newest may still be asked for.
  const newest = entries.reduce((most, { number }) => Math.max(most, number), 0);
  const born = entries.filter(({ number }) => number >= space && number < newest - space);
  return {
    requests: total,
    mix: Object.fromEntries(Array.from(operations, ([name, count]) => [name, count / total])),
    misses: missShare(misses.all),
    missesAtFirst: missShare(misses.first),
    reads: misses.all[0]! + misses.all[1]!,
    keyBytes: sizesOf(keyLengths),
    valueBytes: sizesOf(entries.flatMap(({ bytes }) => (bytes < 0 ? [] : [bytes]))),
    ttls: new Map(Array.from(stored, ([seconds, count]) => [seconds, count / stores])),
    topOf: (count) => lowerBound(sortedRanks, count) / sortedRanks.length,
    meanLog: logs / drawn,
    rate: total / (lastNs / 1e9),
    distinct: entries.length,
    once: entries.filter(({ count }) => count === 1).length,
    born: { keys: born.length, once: born.filter(({ count }) => count === 1).length },
    arrivals: arrivals / total,
  };
}

/** Keys that are newer than the run have more digits where they need them. */
function numberOf(key: string, from: number, width: number): number {
  let number = 0;
  let at = from;
  for (; at < key.length && (at < from + width || key[at] !== '.'); at++) {
    const digit = DIGITS.indexOf(key[at]!);
    if (digit < 0) break;
    number = number * 62 + digit;
  }
  return number;
}

function sizesOf(sizes: readonly number[]): Sample {
  const sorted = Float64Array.from(sizes).toSorted();
  const at = (share: number): number => sorted[Math.floor(share * sorted.length)] ?? 0;
  const count = Math.max(1, sorted.length);
  const mean = sorted.reduce((total, size) => total + size, 0) / count;
  const variance = sorted.reduce((total, size) => total + (size - mean) ** 2, 0) / count;
  return { mean, p50: at(0.5), p99: at(0.99), error: Math.sqrt(variance / count) };
}

function missShare([hits, missed]: number[]): number {
  return missed! / Math.max(1, hits! + missed!);
}

/** How many are below. */
function lowerBound(sorted: Float64Array, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
