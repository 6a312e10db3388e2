// Which way to make references like those of a trace is the best for it, by evidence: each is fitted to the first half of
// the trace and compared with the second one. The model keeps what was found, so that its users know what to expect of it.

import type { Sample } from '../references/census.ts';
import { methods, type Expected, type LocalityError, type Method } from '../references/expected.ts';
import { compare, curves, type FidelityRow } from '../fidelity/fidelity.ts';
import { HazardStream } from '../references/hazard.ts';
import { fitHazard, fitHazardSample } from '../references/hazardfit.ts';
import type { HazardModel } from '../references/hazardmodel.ts';
import { fitRenewal, fitSample } from '../references/renewalfit.ts';
import { dense, sampled } from '../fidelity/mrc.ts';
import { RenewalStream, type RenewalModel } from '../references/renewal.ts';
import { StackStream, fitStack, type StackModel } from '../references/stack.ts';
import { baseline, summarizeReferences, type Summary } from '../fidelity/summary.ts';

export type LearnedLocality =
  | { kind: 'hazard'; model: HazardModel }
  | { kind: 'renewal'; model: RenewalModel }
  | { kind: 'stack'; model: StackModel };

/** Fewer references say nothing of how good a model is. */
const ENOUGH = 2_000;
/** From this error on it is told where it is. */
const DOUBTFUL = 0.02;
const SEED = 1;

export interface Evidence {
  locality: LearnedLocality;
  expected: Expected;
}

/**
 * Hazard or renewal, whichever is nearer to the trace and to the half of it that it was not fitted to. A stack is told of, and
 * is there for who wants it: it loses who is popular.
 * @param forced the method, where it is not to be chosen
 * @param most references that are compared, of a sample of the objects where there are more
 * @throws RangeError where there are no references, or the method does not do for a sample
 */
export function chooseLocality(sample: Sample, forced?: Method, most = 300_000): Evidence {
  const references = referencesOf(sample);
  const isWhole = sample.known === undefined;
  const part = references.length > most ? sampled(references, most / references.length) : references;
  const doubts = isWhole ? [] : ['The trace has more keys than were kept: a sample of them was fitted.'];
  const whole = summarizeReferences(part);
  doubts.push(...degenerate(whole));
  if (part.length < ENOUGH) {
    doubts.push(
      `${part.length} references are too few to say how near the model is to other traffic; it takes ${ENOUGH}.`,
    );
    return { locality: learn(forced ?? 'hazard', sample), expected: { candidates: [], doubts } };
  }
  const half = part.length >> 1;
  const first = dense(part.subarray(0, half), half);
  const second = summarizeReferences(part.subarray(half));
  const tried = methods.map((method) => tryMethod(method, whole, first, second));
  const best = tried
    .filter(({ method }) => method !== 'stack')
    .reduce((least, one) => (scoreOf(one) < scoreOf(least) ? one : least));
  const chosen = tried.find(({ method }) => method === forced) ?? best;
  const halves = errorsOf(compare(second, summarizeReferences(first)));
  return {
    locality: isWhole && part === references ? chosen.locality : learn(chosen.method, sample),
    expected: {
      candidates: [
        ...tried.map(({ method, held }) => Object.assign({ method }, errorsOf(held))),
        { method: 'independent', ...errorsOf(compare(second, baseline(second, SEED))) },
      ],
      halves,
      fitted: chosen.fitted,
      doubts: [...doubts, ...doubtsOf(chosen.held, halves), ...sizesOf(chosen.stream, whole)],
    },
  };
}

interface Tried {
  method: Method;
  /** Fitted to all. */
  locality: LearnedLocality;
  /** What it makes, as long as all. */
  stream: Summary;
  fitted: LocalityError;
  /** Fitted to the first half, beside the second. */
  held: readonly FidelityRow[];
}

function tryMethod(method: Method, whole: Summary, first: Uint32Array, second: Summary): Tried {
  const locality = learnWhole(method, whole.references);
  const stream = made(locality, whole.references.length);
  return {
    method,
    locality,
    stream,
    fitted: errorsOf(compare(whole, stream)),
    held: compare(second, made(learnWhole(method, first), second.references.length)),
  };
}

/** On other traffic and on the trace itself: halves of a trace that changes say little of what is near to it. */
function scoreOf({ fitted, held }: Tried): number {
  return sumOf(fitted) + sumOf(errorsOf(held));
}

function sumOf({ lru, five, popularity }: LocalityError): number {
  return lru + five + popularity;
}

function referencesOf(sample: Sample): Uint32Array {
  const references: number[] = [];
  sample.each((id) => references.push(id));
  return dense(references, references.length);
}

/** All references there are. */
export function learnWhole(method: Method, references: Uint32Array): LearnedLocality {
  if (method === 'hazard') return { kind: method, model: fitHazard([references]) };
  if (method === 'renewal') return { kind: method, model: fitRenewal([references]) };
  return { kind: method, model: fitStack([references]) };
}

function learn(method: Method, sample: Sample): LearnedLocality {
  if (method === 'hazard') return { kind: method, model: fitHazardSample(sample) };
  if (method === 'renewal') return { kind: method, model: fitSample(sample) };
  if (sample.known !== undefined)
    throw new RangeError('a stack cannot be fitted to a trace of so many keys; hazard and renewal can');
  return { kind: method, model: fitStack([referencesOf(sample)]) };
}

/** References that were made by a model. */
function made(locality: LearnedLocality, length: number): Summary {
  const stream = streamOf(locality, SEED);
  return summarizeReferences(Uint32Array.from({ length }, () => stream.next()));
}

/** An endless stream. */
export function streamOf({ kind, model }: LearnedLocality, seed: number): { next(): number } {
  const options = { seed, length: Infinity };
  if (kind === 'hazard') return new HazardStream(model, options);
  if (kind === 'renewal') return new RenewalStream(model, options);
  return new StackStream(model, options);
}

function errorsOf(rows: readonly FidelityRow[]): LocalityError {
  const of = (name: string): number =>
    Number((rows.find(({ metric }) => metric.startsWith(name))?.difference ?? 0).toFixed(4));
  return { lru: of('LRU'), five: of('mean of the five'), popularity: of('references per object') };
}

function doubtsOf(held: readonly FidelityRow[], halves: LocalityError): string[] {
  const doubts = held
    .filter(({ metric, difference }) => metric.includes('miss ratios') && difference > DOUBTFUL)
    .map(
      ({ metric, difference }) =>
        `${metric.split(' ')[0]} caches: miss ratios of other traffic of this kind may be off by ${difference.toFixed(3)} on average.`,
    );
  if (halves.lru > DOUBTFUL)
    doubts.push(
      `The traffic changes: the two halves of the trace are ${halves.lru.toFixed(3)} apart in an LRU cache on average.`,
    );
  return doubts;
}

/** What a stream says nothing of. */
function degenerate({ references, footprint: objects }: Summary): string[] {
  if (objects === references.length && objects > 1)
    return [
      'No key comes twice: the model knows nothing of what is popular or recent, and every read misses.',
    ];
  if (objects === 1 && references.length > 1)
    return ['There is one key only: the model knows nothing of how keys share a cache.'];
  return [];
}

/** Sizes of LRU caches at which the model is off even on what it was fitted to. */
function sizesOf(stream: Summary, whole: Summary): string[] {
  const { sizes, a, b } = curves(whole, stream, whole).find(({ policy }) => policy === 'lru')!;
  const errors = a.map((ratio, n) => Math.abs(ratio - b[n]!));
  const off = sizes.filter((_, n) => errors[n]! > DOUBTFUL);
  if (off.length === 0) return [];
  return [
    `LRU caches of ${off[0]} to ${off.at(-1)} objects: off by up to ${Math.max(...errors).toFixed(3)} already on the trace that it was fitted to.`,
  ];
}
